"""Teacher of the FAQ: every sentence that can stand alone becomes the answer to the question it answers."""

from __future__ import annotations

import itertools
import random

from tools.tiny.teachers.parsing import Sentence
from tools.tiny.teachers.questions import OPEN, fitting
from tools.tiny.teachers.sentences import onward, read_sentences, topic_of

MOST = 3
"""Questions of the longest FAQ: with each more, the model is likelier to lose its place and to give an answer again."""

_TITLES = ("## Questions about {}", "# FAQ: {}", "## {}: questions and answers", "# Common questions about {}")


def faq(document: str, dice: random.Random) -> str | None:
    """A FAQ of two or three pairs; None for a document with fewer sentences that can stand alone."""
    sentences = read_sentences(document)
    pairs = _pairs(onward(sentences, MOST), dice)
    if len(pairs) < 2:
        return None
    layout = dice.choice(_LAYOUTS)
    lines = [layout.format(number=n, question=q, answer=a) for n, (q, a) in enumerate(pairs, 1)]
    topic = topic_of(document, sentences)
    if topic and dice.random() < 0.4:
        title = dice.choice(_TITLES)
        lines.insert(0, title.format(topic if "about" in title else topic[:1].upper() + topic[1:]))
    return "\n\n".join(lines)


def _pairs(sentences: list[Sentence], dice: random.Random) -> list[tuple[str, str]]:
    # The open questions go round. That each comes after the one before can be learned from a single look back; that one
    # of them is still free, when half of all questions are open ones, cannot: the model asked the same thing twice.
    forms = itertools.islice(itertools.cycle(OPEN), dice.randrange(len(OPEN)), None)
    pairs: dict[str, str] = {}
    for sentence in sentences:
        question = fitting(sentence, dice)
        if not question or question in pairs:
            question = next(forms).format(sentence.name)
        pairs[question] = sentence.text
    return list(pairs.items())


_LAYOUTS = (
    "**Q: {question}**\nA: {answer}",
    "Q{number}: {question}\nA{number}: {answer}",
    "### {question}\n{answer}",
    "**{question}**\n{answer}",
    "{number}. **{question}**\n   {answer}",
)
