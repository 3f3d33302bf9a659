"""Teacher of the table: years, quantities or facts of a document in rows, and a question that a row answers."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tools.tiny.teachers.parsing import Sentence, clause, counted, shortened
from tools.tiny.teachers.questions import ask, aspect
from tools.tiny.teachers.sentences import onward, read_sentences

MOST = 3
"""Rows of the longest table: see `tools.tiny.teachers.faq.MOST`."""

_CELL = 10
"""Words to which a cell is cut where it can be."""

_ENDS = (
    "**Question:** {}\n\n**Answer:** {}",
    "Question: {}\nAnswer: {}",
    "Q: {}\nA: {}",
    "**{}**\n\n{}",
)


def table(document: str, dice: random.Random) -> str | None:
    """A table of two or three rows with its question; None for a document with fewer than two usable sentences."""
    sentences = read_sentences(document)
    makers = [maker for maker in (_years, _quantities) if maker(sentences, random.Random(0))]
    made = dice.choice(makers)(sentences, dice) if makers and dice.random() < 0.7 else _facts(sentences, dice)
    if made is None:
        return None
    rows, question, answer = made
    return f"{rows}\n\n{dice.choice(_ENDS).format(question, answer)}"


_Made = tuple[str, str, str]


def _years(sentences: Sequence[Sentence], dice: random.Random) -> _Made | None:
    events: dict[str, str] = {}
    for sentence in sentences:
        if sentence.year and sentence.year not in events and len(re.findall(r"\b\d{4}\b", sentence.text)) == 1:
            event = shortened(clause(sentence).replace(f" in {sentence.year}", "", 1), _CELL)
            events[sentence.year] = event[:1].upper() + event[1:]
    years = list(events)[:MOST]
    if len(years) < 2 or years != sorted(years):  # to sort is too much for a small model
        return None
    year = dice.choice(years)
    header = dice.choice(
        (("Year", "What happened"), ("Year", "Event"), ("Date", "Event"), ("When", "What is reported"))
    )
    question, answer = dice.choice(
        (
            (f"What happened in {year}?", f"In {year}: {events[year]}."),
            ("Which is the earliest year in the table?", f"The earliest year is {years[0]}: {events[years[0]]}."),
            ("Which is the latest year in the table?", f"The latest year is {years[-1]}: {events[years[-1]]}."),
        )
    )
    return _rows(header, [(found, events[found]) for found in years], "---:"), question, answer


def _quantities(sentences: Sequence[Sentence], dice: random.Random) -> _Made | None:
    found: dict[str, tuple[str, str, str]] = {}
    for sentence in sentences:
        stated = counted(sentence) if sentence.subject else None
        if stated and stated[1] not in found and all(stated[0] != row[0] for row in found.values()):
            found[stated[1]] = (*stated, sentence.name)
    if len(found) < 2:
        return None
    rows = list(found.values())[:MOST]
    number, noun, name = dice.choice(rows)
    header = dice.choice((("Number", "Of what", "Told about"), ("Quantity", "What is counted", "In connection with")))
    question, answer = dice.choice(
        (
            (f"How many {noun} are named in connection with {name}?", f"The number is {number} {noun}."),
            (f"Which number of {noun} does the table give?", f"The table gives {number} {noun}."),
            (f"What is the number {number} told about?", f"It is the number of {noun} told about {name}."),
        )
    )
    return _rows(header, rows, "---:"), question, answer


def _facts(sentences: list[Sentence], dice: random.Random) -> _Made | None:
    chosen = onward(sentences, MOST)
    if len(chosen) < 2:
        return None
    # A whole sentence ends where every small model sees it; where its subject ends, and the next cell has to begin, it
    # did not see in one row of twelve.
    if len({sentence.name for sentence in chosen}) == 1:
        header = dice.choice((("Fact", "Aspect"), ("Details", "Point"), ("What is said", "Kind of fact")))
        rows = [(sentence.text[:-1], aspect(sentence)) for sentence in chosen]
        header = f"{header[0]} about {chosen[0].name}", header[1]
    else:
        header = dice.choice(
            (("Fact", "About"), ("Statement", "Subject"), ("What is said", "Who or what"), ("What one learns", "Name"))
        )
        rows = [(sentence.text[:-1], _capital(sentence.name)) for sentence in chosen]
    asked = dice.choice(chosen)
    return _rows(header, rows, "---"), ask(asked, dice), asked.text


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]], first: str) -> str:
    """A Markdown table; `first` is how its first column is aligned."""
    marks = (first, *["---"] * (len(header) - 1))
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, marks, *rows))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
