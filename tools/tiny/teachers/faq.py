"""Teacher of the FAQ: every sentence that can stand alone becomes the answer to the question it answers."""

from __future__ import annotations

import random

from tools.tiny.teachers.parsing import Sentence
from tools.tiny.teachers.questions import OPEN, ask
from tools.tiny.teachers.sentences import read_sentences, topic_of

MOST = 5
"""Questions of the longest FAQ."""

_TITLES = ("## Questions about {}", "# FAQ: {}", "## {}: questions and answers", "# Common questions about {}")


def faq(document: str, dice: random.Random) -> str | None:
    """A FAQ of two to five pairs; None for a document with fewer sentences that can stand alone."""
    sentences = read_sentences(document)
    pairs: list[tuple[str, str]] = []
    for sentence in sentences:
        question = _question(sentence, [asked for asked, _ in pairs], dice)
        if question and len(pairs) < MOST:
            pairs.append((question, sentence.text))
    if len(pairs) < 2:
        return None
    layout = dice.choice(_LAYOUTS)
    lines = [layout.format(number=n, question=q, answer=a) for n, (q, a) in enumerate(pairs, 1)]
    topic = topic_of(document, sentences)
    if topic and dice.random() < 0.4:
        title = dice.choice(_TITLES)
        lines.insert(0, title.format(topic if "about" in title else topic[:1].upper() + topic[1:]))
    return "\n\n".join(lines)


def _question(sentence: Sentence, asked: list[str], dice: random.Random) -> str:
    """A question that was not asked before; empty where there is none."""
    question = ask(sentence, dice)
    if question not in asked:
        return question
    left = [form.format(sentence.name) for form in OPEN if form.format(sentence.name) not in asked]
    return dice.choice(left) if left else ""


_LAYOUTS = (
    "**Q: {question}**\nA: {answer}",
    "Q{number}: {question}\nA{number}: {answer}",
    "### {question}\n{answer}",
    "**{question}**\n{answer}",
    "{number}. **{question}**\n   {answer}",
)
