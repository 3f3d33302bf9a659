"""Looks for an answer's numbers and names in a table: as they stand there, or computed from what stands there.

A number passes if the table has it or if one step of arithmetic within a column or a row leads to it, so a wrong result
now and then passes by chance: the smaller the number and the larger the table, the more often. To keep that rare, an
operation has to fit the number (only a number with a percent sign may be a percentage), a number is compared at the
precision with which it is written, and where question or answer name rows, only cells of these rows, besides the
largest and the smallest of a column, are combined.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, islice
from operator import ge, gt, le, lt
from typing import NamedTuple

from blocks.filters.checks.number_words import SMALL
from blocks.filters.checks.numerals import DIGIT, NUMBER, Number, numbers

# Work is bounded by these; what lies beyond counts as not computed. A table of a sample has some dozens of numbers.
MAX_OPERANDS = 100
"""Numbers of a table that are computed with."""
MAX_COLUMNS = 20
MAX_COMPUTED = 10
"""Numbers of an answer that are looked for among the computed ones."""
MAX_RESULTS = 50_000
"""Computed numbers that are compared."""
MAX_NAME = 100
"""Characters of a cell in which numbers are looked for to compute with."""
MAX_CELLS = 1000
"""Cells, and words of an answer, among which names are looked for."""

# "One" and "first" rarely count anything.
_NUMBER_WORDS = {word: value for word, value in SMALL.items() if 2 <= value <= 12}
_WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+){0,9}")
_SENTENCE_END = frozenset(".!?:\n。！？：")


def share_found(rows: Sequence[Sequence[str]], question: str, answer: str) -> tuple[float | None, str]:
    """The share of an answer's key values that a table holds.

    Key values are the answer's numbers that do not stand in the question. If there are none, they are the names in it
    (words with a capital within a sentence, and cells of the table that it repeats) and its number words.

    Args:
        rows: the cells of the table's rows as plain text, the header first.
        question: the question as plain text.
        answer: the answer as plain text.

    Returns:
        The share, None if the answer has no key value, and the first value that was not found, "" if all were.
    """
    asked = numbers(question)
    keys = [key for key in numbers(answer) if not any(_same(key, given) for given in asked[:MAX_OPERANDS])]
    if not keys:
        return _share_of_names(rows, question, answer)
    in_table = "|".join(chain.from_iterable(rows))
    # Mostly a number is repeated as it is written, which is found faster than numbers are compared.
    as_written = {match[0] for match in NUMBER.findall(in_table)}
    missing = [key for key in keys if key.text not in as_written]
    stored = [[numbers(cell) for cell in row] for row in rows] if missing else []
    if missing:
        missing = _not_stored(missing, chain.from_iterable(chain.from_iterable(stored)))
    if missing:
        facts = _facts(rows, stored, asked, f"{question}\n{answer}".casefold())
        missing = [key for key in missing[:MAX_COMPUTED] if not _is_computed(key, facts)] + missing[MAX_COMPUTED:]
    return (len(keys) - len(missing)) / len(keys), missing[0].text if missing else ""


def _same(number: Number, other: Number) -> bool:
    return number.value * number.scale == other.value * other.scale


def _not_stored(keys: list[Number], in_table: Iterable[Number]) -> list[Number]:
    values = set()
    for number in in_table:
        # Both readings of "2.5 million": the column's header, or the question, may say the scale.
        values |= {abs(number.value), abs(number.value * number.scale)}
    stored = sorted(values)
    missing = []
    for key in keys:
        places = [(bisect_left(stored, low), high) for low, high in key.ranges()]
        if not any(i < len(stored) and stored[i] <= high for i, high in places):
            missing.append(key)
    return missing


# --- what can be computed ---


class _Facts(NamedTuple):
    """What follows from a table.

    Args:
        counts: how many rows there are: in all, with different cells in a column, with the same cell, above or below a
            number of the question.
        results: sums and means of columns and of parts of them; products.
        pairs: numbers between which there may be a difference, a ratio and so on.
    """

    counts: set[int]
    results: list[float]
    pairs: list[tuple[float, float]]


def _facts(
    rows: Sequence[Sequence[str]], stored: Sequence[Sequence[list[Number]]], asked: list[Number], said: str
) -> _Facts:
    """What follows from a table.

    Args:
        rows: the cells, the header first.
        stored: their numbers.
        asked: the question's numbers.
        said: question and answer, which may name rows.
    """
    body = rows[1 : MAX_OPERANDS + 1]
    given = [number.value * number.scale for number in asked[:MAX_COMPUTED]]
    groups = _groups(body)
    named = _named(body, said)
    parts = [named, *groups[:MAX_OPERANDS]] if len(named) > 1 else groups[:MAX_OPERANDS]
    series = _series(body, stored[1:])
    counts = {len(rows) - 1, *map(len, groups)}
    counts.update(len({cell.casefold() for cell in column if cell}) for column in zip(*body, strict=False))
    results: list[float] = []
    pairs: list[tuple[float, float]] = []
    for values in series:
        column = list(values.values())
        extremes = (max(column), min(column))
        focus = [value for i, value in values.items() if not named or i in named or value in extremes]
        totals = [column, *([values[i] for i in part if i in values] for part in parts)]
        sums = list(dict.fromkeys(sum(total) for total in totals if len(total) > 1))
        means = list(dict.fromkeys(sum(total) / len(total) for total in totals if len(total) > 1))
        results += sums + means
        results += [value * factor for value in (*focus, *sums) for factor in (*given, len(rows) - 1)]
        pairs += chain(combinations(focus, 2), combinations(sums, 2), combinations(means, 2))
        pairs += [(value, other) for value in focus for other in (*given, *sums[:1], *means[:1])]
        for limit in given:
            counts.update(sum(compare(value, limit) for value in column) for compare in (gt, ge, lt, le))
    for i in named or range(len(body)):
        in_row = list(combinations([values[i] for values in series if i in values], 2))
        pairs += in_row
        results += [value * other for value, other in in_row]
    return _Facts(counts, results[:MAX_RESULTS], pairs[:MAX_RESULTS])


def _named(body: Sequence[Sequence[str]], said: str) -> set[int]:
    """The rows that question or answer name by a cell; those the answer is about, if any.

    With all pairs of a table of numbers below 100, most wrong answers could be computed.
    """
    named = set()
    for i, row in enumerate(body):
        for column, cell in enumerate(row[:MAX_COLUMNS]):
            is_name = len(cell) > 2 and not DIGIT.search(cell) if column else bool(cell)
            if is_name and cell.casefold() in said:
                named.add(i)
    return named


def _groups(body: Sequence[Sequence[str]]) -> list[set[int]]:
    """Rows that have the same cell in a column, by their indices."""
    groups: dict[tuple[int, str], set[int]] = {}
    for i, row in enumerate(body):
        for column, cell in enumerate(row[:MAX_COLUMNS]):
            groups.setdefault((column, cell.casefold()), set()).add(i)
    return [rows for (_, cell), rows in groups.items() if cell and len(rows) > 1]


def _series(body: Sequence[Sequence[str]], stored: Sequence[Sequence[list[Number]]]) -> list[dict[int, float]]:
    """The numbers of each column by row; a column of cells such as "3 May 1990", with two numbers, makes two series."""
    series: dict[tuple[int, int], dict[int, float]] = {}
    operands = 0
    for i, row in enumerate(body):
        for column, cell in enumerate(row[:MAX_COLUMNS]):
            found = stored[i][column] if len(cell) <= MAX_NAME else numbers(cell[:MAX_NAME])
            for place, number in enumerate(found[:3]):
                if operands < MAX_OPERANDS:
                    series.setdefault((column, place), {})[i] = number.value * number.scale
                    operands += 1
    return list(series.values())


def _is_computed(key: Number, facts: _Facts) -> bool:
    if key.half == 0.5 and key.value in facts.counts:
        return True
    if key.half == 0.5 and key.scale == 1 and not key.percent:
        # Who rounds a mean or a ratio to a small whole number says "about"; most results are whole numbers anyway.
        key = key._replace(half=min(0.5, 0.005 * abs(key.value)))
    return any(_is_within(low, high, key.percent, facts) for low, high in key.ranges())


def _is_within(low: float, high: float, percent: bool, facts: _Facts) -> bool:
    """Whether a computed number lies in a range; only a percentage may have been computed as one."""
    if any(low <= abs(result) <= high for result in facts.results):
        return True
    for a, b in facts.pairs:
        if low <= abs(a - b) <= high or low <= abs(a + b) <= high:
            return True
        if a and b:
            ratio = abs(a / b)
            if low <= ratio <= high or low * ratio <= 1 <= high * ratio:
                return True
            if percent:
                for part in (ratio, 1 / ratio):
                    if low <= 100 * part <= high or low <= 100 * abs(part - 1) <= high:
                        return True
    return False


# --- an answer without numbers ---


def _share_of_names(rows: Sequence[Sequence[str]], question: str, answer: str) -> tuple[float | None, str]:
    asked = f" {' '.join(_WORD.findall(question.casefold()))} "
    said = f" {' '.join(_WORD.findall(answer.casefold()))} "
    body = [" ".join(_WORD.findall(cell.casefold())) for row in rows[1:] for cell in row]
    stored = f" {' '.join(_WORD.findall(' '.join(chain.from_iterable(rows)).casefold()))} "
    repeated = {cell for cell in body[:MAX_CELLS] if len(cell) > 1 and f" {cell} " in said}
    names = dict.fromkeys(cell for cell in body if cell in repeated and f" {cell} " not in asked)
    found = len(names)
    missing = []
    for name in _names(answer):
        key = name.casefold()
        if key in names or f" {key} " in asked:
            continue
        names[key] = None
        if f" {key} " in stored:
            found += 1
        else:
            missing.append(name)
    for word in set(said.split()) & _NUMBER_WORDS.keys() - set(asked.split()):
        names[word] = None
        if _NUMBER_WORDS[word] <= len(rows) - 1:
            found += 1
        else:
            missing.append(word)
    return (found / len(names), missing[0] if missing else "") if names else (None, "")


def _names(text: str) -> Iterator[str]:
    """Runs of words with a capital, but for a sentence's first word, whose capital says nothing."""
    run: list[str] = []
    end = 0
    for match in islice(_WORD.finditer(text), MAX_CELLS):
        word = match.group()
        between = text[end : match.start()]
        if run and between != " ":
            yield " ".join(run)
            run = []
        starts = not end or not _SENTENCE_END.isdisjoint(between)
        if word[0].isupper() and not starts and len(word) > 1:
            run.append(word)
        elif run:
            yield " ".join(run)
            run = []
        end = match.end()
    if run:
        yield " ".join(run)
