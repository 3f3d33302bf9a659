"""Reads numbers as a solution states them, with units and formatting, and compares them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from blocks.filters.checks.number_words import SMALL, TENS

# How far a result may stand behind its equals sign, in characters, and how many equals signs are looked at from the
# end. They bound the time for hostile text.
_RESULT_CHARACTERS = 200
_EQUALS_SIGNS = 50

_VALUE = re.compile(
    r"(?P<whole>(?:\d{1,3}(?:[, \u00a0\u202f]\d{3}){1,5}(?!\d)|\d{1,15})(?:\.\d{1,15})?|(?<!\d)\.\d{1,15})"
    r"(?:(?P<above>[ \t]\d{1,4})?[ \t]?/[ \t]?(?P<below>\d{1,9})(?!\d))?"
    r"(?:[ \t]?(?P<scale>%|percent\b|thousand\b|million\b|billion\b|trillion\b))?",
    re.IGNORECASE,
)
_POWERS = {"%": -2, "percent": -2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
# What may stand between an equals sign and its result, and what makes it an operand instead.
_BEFORE_RESULT = re.compile(r"[^\d=+*/×÷^().-]{0,24}[-−–]?[^\d=+*/×÷^().-]{0,4}(?=\.?\d)")
_OPERATION = re.compile(
    r"[ \t]{0,4}(?:[^\W\d]{1,20}[ \t]{1,4})?[-−–+*/×÷^][ \t]{0,4}[$€£(]{0,2}[\d(]|\(\d|"
    r"[ \t]?[xyn]\b|[ \t]?x[ \t]?[\d$(]"
)
_LETTERS = re.compile(r"[a-z]+")
_CHAIN_END = re.compile(r"[.;,:!?][*_]{0,3}\s")


class Value(NamedTuple):
    """A number and the decimals it was written with; 1.2 million has -5."""

    value: float
    decimals: int


def last_results(steps: str) -> list[Value]:
    """What stands behind the last equals sign with a result, and behind those before it in the same chain."""
    results: list[Value] = []
    end = len(steps)
    for _ in range(_EQUALS_SIGNS):
        at = steps.rfind("=", 0, end)
        if at < 0:
            break
        segment = steps[at + 1 : min(end, at + 1 + _RESULT_CHARACTERS)]
        if results and ("\n" in segment.strip() or _CHAIN_END.search(segment)):
            break
        before = _BEFORE_RESULT.match(segment)
        value = _VALUE.match(segment, before.end()) if before else None
        if value and not _OPERATION.match(segment, value.end()):
            results += _meanings(value)
        end = at
    return results


def values_in(text: str) -> list[Value]:
    """All numbers of a text as they may be meant; without any, those that are spelled out, up to ninety-nine."""
    values = [value for match in _VALUE.finditer(text) for value in _meanings(match)]
    return values or list(_spelled(_LETTERS.findall(text.lower())))


def _spelled(words: Sequence[str]) -> Iterator[Value]:
    tens = 0
    for word in words:
        if word in TENS:
            tens = TENS[word]
            yield Value(tens, 0)
        else:
            if word in SMALL:
                yield Value(tens + SMALL[word], 0)
            tens = 0


def _meanings(match: re.Match[str]) -> list[Value]:
    """A number as it may be meant: 50 % is 50 or 0.5, 3 million is 3 or 3,000,000."""
    written = re.sub(r"[,\s]", "", match["whole"])
    decimals = len(written.partition(".")[2])
    value = float(written)
    if match["below"] and float(match["below"]):
        below = float(match["below"])
        value = value + float(match["above"]) / below if match["above"] else value / below
        decimals = 9
    values = [Value(value, decimals)]
    if match["scale"]:
        power = _POWERS[match["scale"].lower()]
        values.append(Value(value * 10.0**power, decimals - power))
    return values


def same(answer: Value, result: Value, rounded: bool) -> bool:
    """Whether an answer is a result or a rounding of it; `rounded` allows the next whole number on either side."""
    difference = abs(answer.value - result.value)
    if math.isclose(answer.value, result.value, rel_tol=1e-9, abs_tol=1e-9):
        return True
    # Either may have been rounded; a whole result was not.
    if answer.decimals < result.decimals or result.decimals > 0:
        return difference <= 0.501 * 10.0 ** -min(answer.decimals, result.decimals) or (
            rounded and answer.decimals == 0 and difference < 1
        )
    return False
