"""Makes documents fit: how many tokens one may have, and where to cut one that has more.

The room for the document is what the context leaves after the longest answer and the rendered prompt, so only the
document is ever cut and never the instruction, wherever it stands. A cut falls on the best boundary near the end of
what fits: a paragraph's end in the last quarter, else a sentence's, a line's or a word's end in the last half, else
anywhere. Every piece is counted after it was cut, because cutting can change the tokens around the cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from blocks.generate.prompts import Layout, Prompt
from blocks.generate.tokenizer import TokenCounter

# The document and the text around it are counted apart, and tokens can differ where they meet (a merged newline, a word
# boundary). A few tokens in practice; these are taken off the room.
SEAM_SLACK = 16

# With less room than this a document is a fragment of a sentence, and one exotic character may not fit (U+FDFA has 18
# characters after NFKC): more likely a wrong --max-tokens than a wish.
LEAST_ROOM = 64

_CLOSING = r"[)\]\"'”’»*_`]*"
# Latin punctuation ends a sentence only before whitespace (not in 3.14), CJK punctuation always.
SENTENCE_END = re.compile(rf"[.!?…]{_CLOSING}(?=\s|\Z)|[。！？｡]+[」』”’）]*")
_PARAGRAPH_END = re.compile(rf"(?:\n[ \t\r]*(?=\n)|[.!?…。！？]{_CLOSING}[ \t\r]*(?=\n))")
_LINE_END = re.compile(r"(?=\n)")
_WORD_END = re.compile(r"(?<=\S)(?=\s)")

# Boundary and the earliest place of a cut there, as a share of what fits.
_CUTS = ((_PARAGRAPH_END, 0.75), (SENTENCE_END, 0.5), (_LINE_END, 0.5), (_WORD_END, 0.5))

_SPACE = re.compile(r"\s*")


def document_room(
    prompt: Prompt,
    layout: Layout,
    tokenizer: TokenCounter,
    context: int,
    max_tokens: int,
    system: str | None = None,
    template_options: Mapping[str, Any] | None = None,
) -> int:
    """Tokens a document may have in one request.

    Args:
        prompt: the prompt it is put in.
        layout: where the document stands in it.
        tokenizer: the model's.
        context: the model's context length in tokens, prompt and answer together.
        max_tokens: the longest answer in tokens.
        system: a system message sent along; None sends none.
        template_options: the request's `chat_template_kwargs`.

    Raises:
        ValueError: fewer than 64 tokens are left; the message holds the arithmetic.
    """
    messages = [{"role": "user", "content": prompt.render("", layout)}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    around = tokenizer.count_chat(messages, template_options)
    room = context - max_tokens - around - SEAM_SLACK
    if room < LEAST_ROOM:
        raise ValueError(
            f"no room for a document in prompt {prompt.name!r}: context {context} − max_tokens {max_tokens} − prompt "
            f"{around} − slack {SEAM_SLACK} leaves {room} tokens, and {LEAST_ROOM} is the least that makes sense; "
            "lower --max-tokens, shorten the prompt or use a model with a longer context"
        )
    return room


def truncate(text: str, room: int, tokenizer: TokenCounter) -> tuple[str, bool]:
    """The text, or the beginning of it that fits.

    Args:
        text: a document.
        room: tokens it may have, at least 64 (see `document_room`).
        tokenizer: the model's.

    Raises:
        ValueError: `room` is too small for a single character.

    Returns:
        The text and whether something was cut off. A text that fits comes back unchanged; from one that does not, the
        whitespace at both ends goes first, and goes uncounted.
    """
    if tokenizer.fits(text, room):
        return text, False
    first = next(_pieces(text, room, tokenizer), "")
    return first, len(first) < len(text.strip())


def split(text: str, room: int, tokenizer: TokenCounter) -> list[str]:
    """The whole text in consecutive pieces that each fit.

    Joined, the pieces are the text, but for the whitespace at its ends and at the cuts. A text that fits is the only
    piece, unchanged; a text of nothing but whitespace that does not fit has no pieces.

    Args:
        text: a document.
        room: tokens a piece may have, at least 64 (see `document_room`).
        tokenizer: the model's.

    Raises:
        ValueError: `room` is too small for a single character.
    """
    if tokenizer.fits(text, room):
        return [text]
    return list(_pieces(text, room, tokenizer))


def _pieces(text: str, room: int, tokenizer: TokenCounter) -> Iterator[str]:
    text = text.strip()
    start = 0
    while start < len(text):
        piece = _first_piece(text, start, room, tokenizer)
        yield piece
        after = _SPACE.match(text, start + len(piece))
        start = len(text) if after is None else after.end()


def _first_piece(text: str, start: int, room: int, tokenizer: TokenCounter) -> str:
    aim = room
    while aim > 0:
        limit = tokenizer.prefix_end(text, aim, start)
        end = limit if limit == len(text) else _cut(text, start, limit)
        piece = text[start:end].rstrip()
        if not piece:
            break
        excess = tokenizer.count(piece) - room
        if excess <= 0:
            return piece
        aim -= excess
    raise ValueError(f"a room of {room} tokens does not hold one character of the document")


def _cut(text: str, start: int, limit: int) -> int:
    """The best place to cut `text[start:limit]`, at most `limit`."""
    for boundary, share in _CUTS:
        earliest = start + int(share * (limit - start))
        # The pattern sees one character more: whether a word or sentence ends at the limit depends on what follows.
        ends = [match.end() for match in boundary.finditer(text, earliest, limit + 1) if match.end() <= limit]
        if ends:
            return ends[-1]
    return limit
