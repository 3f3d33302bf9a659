"""Teacher of the math format: a sentence of the document, a question that goes on from its number, and the steps.

The model has six million parameters, so the steps are one to three sums, differences and products by a small number.
Where the document names two numbers both are used; where it has one or none, others are chosen that fit.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from blocks.filters.checks.number_words import SMALL
from tools.tiny.teachers.parsing import Sentence, counted
from tools.tiny.teachers.sentences import read_sentences, topic_of

LARGEST = 9999
"""Numbers and results have at most four digits."""


class _Problem(NamedTuple):
    """A problem: its statement, its steps as equation, unit and what is found, and its final answer."""

    statement: str
    steps: list[tuple[str, str]]
    answer: str


_LAYOUTS = (
    ("**Problem:** ", "**Solution:**", "**Answer:** {}"),
    ("### Problem\n", "### Solution", "Answer: {}"),
    ("", "**Solution**", "**Answer:** {}"),
    ("", "Solution:", "The answer is {}"),
    ("Problem: ", "Solution:", "Answer: {}"),
)
_MEASURES = frozenset(
    "times points seconds minutes hours days weeks months years decades centuries feet inches miles metres meters "
    "kilometres kilometers centimetres grams kilograms pounds tons tonnes litres hectares acres degrees dollars".split()
)
"""Nouns that nothing can be left out of: "two of these days"."""

_SCENES = (
    ("A class", "reads", "pages"),
    ("A student", "writes", "notes"),
    ("A teacher", "prepares", "questions"),
    ("A museum", "shows", "pictures"),
    ("A reader", "marks", "lines"),
    ("A library", "lends", "books"),
    ("A newspaper", "prints", "letters"),
    ("A school", "plans", "lessons"),
    ("A club", "hears", "talks"),
    ("A collector", "buys", "postcards"),
)
_MARKS = (("1. ", "2. ", "3. "), ("Step 1: ", "Step 2: ", "Step 3: "), ("First, ", "Then, ", "Finally, "))


def math(document: str, dice: random.Random) -> str | None:
    """A word problem with its solution; None for a document without a sentence that can stand alone."""
    sentences = read_sentences(document)
    if not sentences:
        return None
    problem = _with_years(sentences, dice) if dice.random() < 0.6 else None
    numbers = _numbers(document)
    problem = problem or _with_things(sentences, numbers, dice) or _with_years(sentences, dice)
    problem = problem or _with_one_year(sentences, numbers, dice)
    problem = problem or _made_up(sentences, numbers, topic_of(document, sentences), dice)
    begin, solution, end = dice.choice(_LAYOUTS)
    marks = dice.choice(_MARKS)
    steps = [
        f"{mark}{_fit(mark, words)} {equation}." for mark, (words, equation) in zip(marks, problem.steps, strict=False)
    ]
    return "\n\n".join((f"{begin}{problem.statement}", "\n".join((solution, *steps)), end.format(problem.answer) + "."))


def _fit(mark: str, words: str) -> str:
    return words[:1].lower() + words[1:] if mark.endswith(", ") else words


def _with_years(sentences: list[Sentence], dice: random.Random) -> _Problem | None:
    dated = [sentence for sentence in sentences if sentence.year and len(re.findall(r"\b\d{4}\b", sentence.text)) == 1]
    pairs = [(a, b) for a in dated for b in dated if 1 < int(b.year) - int(a.year) <= 400]
    if not pairs:
        return None
    first, last = dice.choice(pairs)
    years = int(last.year) - int(first.year)
    told = " ".join(sentence.text for sentence in sentences if sentence in (first, last))
    steps = [("Subtract the years:", f"{last.year} - {first.year} = {years} years")]
    if dice.random() < 0.5:
        asked = dice.choice(
            (f"How many years lie between {first.year} and {last.year}, and how many months are that?",)
        )
        steps.append(("Turn years into months:", f"{years} × 12 = {years * 12} months"))
        return _Problem(f"{told} {asked}", steps, f"{years * 12} months")
    next_year = int(last.year) + years
    asked = f"How many years passed between these dates, and which year came as many years after {last.year}?"
    steps.append(("Add them to the later year:", f"{last.year} + {years} = {next_year}"))
    return _Problem(f"{told} {asked}", steps, f"the year {next_year}")


def _with_things(sentences: list[Sentence], numbers: list[int], dice: random.Random) -> _Problem | None:
    found: list[tuple[str, int, str]] = []
    for sentence in sentences:
        stated = counted(sentence)
        if stated and "," not in stated[0] and 2 <= int(stated[0]) <= LARGEST // 4:
            found.append((sentence.text, int(stated[0]), stated[1]))
    if not found:
        return None
    told, number, things = dice.choice(found)
    smaller = [other for other in numbers if other < number]
    few = dice.choice(smaller) if smaller else dice.randint(1, max(1, min(number - 1, 20)))
    kind = 0 if things in _MEASURES else dice.randrange(3)
    if kind == 0:
        more = number + few
        imagined = dice.choice(("Imagine a second case with", "Take another case with", "In a second case there are"))
        return _Problem(
            f"{told} {imagined} {few} more {things}. How many {things} are there in both cases together?",
            [
                (f"Count the {things} of the second case:", f"{number} + {few} = {more} {things}"),
                ("Add both cases:", f"{number} + {more} = {number + more} {things}"),
            ],
            f"{number + more} {things}",
        )
    if kind == 1:
        left = number - few
        return _Problem(
            f"{told} Suppose that {few} of these {things} are left out, and that the rest is counted twice. "
            f"How many {things} are counted?",
            [
                (f"Leave out {few} {things}:", f"{number} - {few} = {left} {things}"),
                ("Count the rest twice:", f"{left} + {left} = {left + left} {things}"),
            ],
            f"{left + left} {things}",
        )
    return _Problem(
        f"{told} Suppose that the same number of {things} is added, and then {few} more. "
        f"How many {things} are there at the end?",
        [
            (f"Double the number of {things}:", f"{number} + {number} = {number * 2} {things}"),
            (f"Add {few} {things}:", f"{number * 2} + {few} = {number * 2 + few} {things}"),
        ],
        f"{number * 2 + few} {things}",
    )


def _with_one_year(sentences: list[Sentence], numbers: list[int], dice: random.Random) -> _Problem | None:
    sentence = next((sentence for sentence in sentences if sentence.year), None)
    if sentence is None:
        return None
    year = int(sentence.year)
    later = dice.choice(numbers) if numbers else 10 * dice.randint(1, 5)
    event = dice.choice(("An anniversary is held", "A book about it appears", "A film about it is shown"))
    return _Problem(
        f"{sentence.text} {event} {later} years after {year}, and another one as many years after that. "
        "In which year is the second one?",
        [
            (dice.choice(("Find the first year:", "Add once:")), f"{year} + {later} = {year + later}"),
            (dice.choice(("Find the second year:", "Add again:")), f"{year + later} + {later} = {year + 2 * later}"),
        ],
        f"the year {year + 2 * later}",
    )


def _made_up(sentences: list[Sentence], numbers: list[int], topic: str, dice: random.Random) -> _Problem:
    """A problem around what the document is about, with a number of it if it has one that can be used."""
    # One sentence: a small model that has to decide after each whether another follows goes on without end.
    told = dice.choice(sentences[:3]).text
    many = dice.choice(numbers) if numbers else dice.randint(4, 30)
    who, does, things = dice.choice(_SCENES)
    days, day = dice.choice((("days", "day"), ("weeks", "week"), ("evenings", "evening"), ("mornings", "morning")))
    about = f"{who} {does} {many} {things} about {topic}"
    kind = dice.randrange(3)
    if kind == 0:
        return _Problem(
            f"{told} {about} on one {day}, and as many on two more {days}. How many {things} are that in all?",
            [
                (f"Add the first two {days}:", f"{many} + {many} = {2 * many} {things}"),
                (f"Add the last {day}:", f"{2 * many} + {many} = {3 * many} {things}"),
            ],
            f"{3 * many} {things}",
        )
    few = dice.choice(smaller) if (smaller := [n for n in numbers if n < many]) else dice.randint(1, max(1, many // 2))
    if kind == 1 and few > 1:
        return _Problem(
            f"{told} {about}. {few} of them get lost. Later twice as many as are left are needed. "
            f"How many {things} are needed?",
            [
                (
                    dice.choice(("See what is left:", "Take away what is lost:")),
                    f"{many} - {few} = {many - few} {things}",
                ),
                (
                    dice.choice(("Double it:", "Take it twice:")),
                    f"{many - few} + {many - few} = {2 * (many - few)} {things}",
                ),
            ],
            f"{2 * (many - few)} {things}",
        )
    return _Problem(
        f"{told} {about} in the first {day} and {few} more than that in the second. What is the total of both {days}?",
        [
            (f"Find the second {day}:", f"{many} + {few} = {many + few} {things}"),
            (
                dice.choice(("Find the total:", f"Add both {days}:")),
                f"{many} + {many + few} = {2 * many + few} {things}",
            ),
        ],
        f"{2 * many + few} {things}",
    )


def _numbers(document: str) -> list[int]:
    """Whole numbers of a document that can be computed with, 2 to 999, in digits or words, in their order."""
    found = {int(match): None for match in re.findall(r"(?<![\w.,$£€-])\d{1,3}\b(?![\w%-]|[.,]\d)", document)}
    words = {SMALL[word]: None for word in re.findall(r"[a-z]+", document.lower()) if word in SMALL}
    return [number for number in (*found, *words) if 2 <= number <= 999]
