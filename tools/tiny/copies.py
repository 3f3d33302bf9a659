"""Copying by itself: stretches of documents that are repeated behind a separator, with nothing to understand in them.

Answers consist of copies, and a model that is shown answers from the beginning does not find out how to copy: after 7 M
tokens its loss is 1.8 nats per answer token, and no name is right. With `first_copies` it copies after 350 steps, and
has a loss of 0.9 after another 1.5 M tokens.

It learns to copy the tokens that it sees. After 89 M tokens with copies at the beginning only, it repeated those that
come 20 times and more in the documents in 96 of a hundred places, but those that come less than five times (a fifth of
the vocabulary) in 42, and took one and the same wrong token for many of them. And where a phrase of eight tokens stood
in six places, it went on rightly behind it in 37 of a hundred, one of twelve in 23. So `further_copies`, which stand
beside the examples of every step, have tokens of the whole vocabulary in them (after another 15 M tokens it was 99 for
both) and phrases that come again and again (after 19 M tokens 91 and 83).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tools.tiny.data import Encoded, Examples
from tools.tiny.tokenizer import END, SPECIAL, VOCABULARY

# Tokens of a stretch, from and to; the model must also keep its place in a whole page.
_SHORT, _LONG = (6, 30), (200, 900)

_AGAIN = 120
"""Tokens that are repeated and count, at most."""

FIRST, FURTHER, FURTHER_LONG = 64, 8, 4
"""Short stretches of a step that only copies; short and long ones beside the examples of a step."""

_SHUFFLED = 0.5
"""Share of the stretches whose tokens are shuffled, so that nothing but copying helps."""

_REPEATING = 0.7
"""Share of the long stretches with a phrase that comes again and again."""

_ANY = 0.3
"""Share of the tokens that are exchanged for any of the vocabulary, in every other one of the further stretches."""

_PHRASE, _EVERY = (2, 12), 16
"""Tokens of a phrase that comes again and again in a long stretch, about once in so many tokens."""


def first_copies(examples: Examples, step: int) -> list[Encoded]:
    """Short stretches of real words only."""
    dice = random.Random(f"{examples.seed}\0copies\0{step}")
    length = dice.randint(*_SHORT)
    return [_copy(examples, length, 0.0, dice) for _ in range(FIRST)]


def further_copies(examples: Examples, step: int) -> Iterator[Encoded]:
    """Short and long stretches; half of them with a share of `_ANY` of other tokens."""
    dice = random.Random(f"{examples.seed}\0further copies\0{step}")
    for room in [_SHORT] * FURTHER + [_LONG] * FURTHER_LONG:
        yield _copy(examples, dice.randint(*room), _ANY if dice.random() < 0.5 else 0.0, dice)


def _copy(examples: Examples, length: int, exchanged: float, dice: random.Random) -> Encoded:
    """A stretch of about `length` tokens, repeated from any place in it on, around its end.

    Args:
        examples: know documents and tokenizer.
        length: in tokens; less where no document is as long.
        exchanged: share of the tokens that are others.
        dice: for everything.
    """
    [separator] = examples.tokenizer.encode(END, add_special_tokens=False).ids
    texts = [dice.choice(examples.documents).text for _ in range(1 if length <= _SHORT[1] else 8)]
    tokens = examples.tokenizer.encode(max(texts, key=len)[: 10 * length + 1000], add_special_tokens=False).ids
    length = min(length, len(tokens))
    first = dice.randint(0, len(tokens) - length)
    stretch = tokens[first : first + length]
    if dice.random() < _SHUFFLED:
        dice.shuffle(stretch)
    stretch = [dice.randrange(len(SPECIAL), VOCABULARY) if dice.random() < exchanged else token for token in stretch]
    if length > _SHORT[1] and dice.random() < _REPEATING:
        _repeat(stretch, dice)
    turn = dice.randrange(length)
    # Where it begins to repeat cannot be known, so that token does not count; in a long stretch, a phrase does not tell
    # the place either.
    given = 1 if length <= _SHORT[1] else _PHRASE[1] + 1
    again = [*stretch[turn:], *stretch[:turn]][: given + _AGAIN]
    return Encoded([*stretch, separator, *again], length + 1 + given)


def _repeat(stretch: list[int], dice: random.Random) -> None:
    """Put a phrase of a stretch into other places of it, too.

    What follows it in each place cannot be told by the phrase, but only by what stands before it. So it is with
    names: they have up to ten tokens, and where one came more than once, the model went on from the wrong place.
    """
    size = dice.randint(*_PHRASE)
    first = dice.randrange(len(stretch) - size)
    phrase = stretch[first : first + size]
    for _ in range(len(stretch) // _EVERY):
        place = dice.randrange(len(stretch) - size)
        stretch[place : place + size] = phrase
