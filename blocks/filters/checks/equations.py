r"""Finds the equations in a text that consist of numbers alone, and recomputes them.

Models calculate in prose: "12 apples * 3 = 36 apples", `\frac{1}{2} \times 8 = 4`, "20% of $50 = $10". An equation is
judged only if it can be read without doubt. One with a variable, a word in place of a number, or a sign that is not
known here is left alone: data engineers drop samples because of this check, so that a false alarm costs more than a
miss. For the same reason rounding is accepted, and what people mean by a percentage is read in their favour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import NamedTuple

from blocks.filters.checks.arithmetic import Formula, Reading, Unreadable, evaluate
from blocks.filters.checks.doubt import is_doubtful
from blocks.filters.checks.measure import Measure, nothing
from blocks.filters.checks.notation import Token, Value, tokens
from blocks.filters.checks.sides import MAX_SIDE, Side, left_side, right_side

MAX_SIGNS = 10_000
"""Equality signs that are looked at in one text, or a little more: a limit for hostile ones."""

_BULLET = re.compile(r"[ \t>]*(?:(?:[-*+•–]|\d{1,3}[.)]|#{1,6})[ \t]+)?")
_CONTINUES = re.compile(r"[ \t&]*(?:=|≈|\\approx)")
_SIGNS = ("=", "≈", "\\approx", "\\sim", "~", "equal")
_MARK = re.compile(r"<<([^<>\n]{1,300})>>")

_CALCULATES = re.compile(r"[n)%s][-+*/^(]|f")
# Thousands as they are written where the comma marks decimals; with two points it is no number here.
_POINT_GROUPS = re.compile(r"(?<![\d.])[1-9]\d{0,2}\.\d{3}(?![\d.])")
_PLAIN = Reading()
_READINGS = (_PLAIN,)


class Equation(NamedTuple):
    """A closed equation.

    Args:
        left: its left side as written.
        stated: the result it states.
        computed: the right result; None where it divides by zero.
        start: offset of the left side in the text.
        end: offset behind the right side.
        correct: whether the stated result is the right one, rounding allowed.
    """

    left: str
    stated: Value
    computed: Value | None
    start: int
    end: int
    correct: bool


def equations(text: str, source: str = "", *, max_wrong: float = 0.0) -> list[Measure]:
    """The share of wrong equations among those that consist of numbers alone.

    Args:
        text: the output.
        source: not needed.
        max_wrong: the largest share that passes, from 0 to 1. By default every equation has to be right.
    """
    found = find_equations(text)
    if not found:
        return [nothing("equations")]
    wrong = [equation for equation in found if not equation.correct]
    share = len(wrong) / len(found)
    return [Measure("equations", share, share <= max_wrong, _fault(text, wrong[0]) if wrong else "")]


def _fault(text: str, equation: Equation) -> str:
    written = " ".join(text[equation.start : equation.end].split())
    if len(written) > 80:
        written = f"{written[:79]}…"
    if equation.computed is None:
        return f"{written} (divides by zero)"
    return f"{written} (right: {_decimal(equation.computed)})"


def _decimal(value: Value) -> str:
    if value.denominator == 1 and _magnitude(value) < 10**15:
        return str(value.numerator)
    try:
        return f"{float(value):.6g}"
    except OverflowError:
        return "a huge number"


def find_equations(text: str) -> list[Equation]:
    """The closed equations of a text, in order. Of `a = b = c` each equality sign is judged on its own."""
    if not any(sign in text for sign in _SIGNS):
        return []
    found: list[Equation] = []
    signs = 0
    for start, end in _blocks(text):
        found.extend(_in_block(text, start, end))
        signs += text.count("=", start, end)
        if signs > MAX_SIGNS:
            break
    return found


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """The lines that hold an equality sign, joined with the line before where they begin with it."""
    start = position = 0
    signs = False
    for line in text.splitlines(keepends=True):
        if position and not _CONTINUES.match(line):
            if signs:
                yield start, position
            start = position
            signs = False
        position += len(line)
        signs = signs or any(sign in line for sign in _SIGNS)
    if signs:
        yield start, position


def _in_block(text: str, start: int, end: int) -> Iterator[Equation]:
    bullet = _BULLET.match(text, start, end)
    begin = bullet.end() if bullet else start
    found = list(_in_tokens(text, tokens(text, begin, end)))
    if text.find("<<", start, end) >= 0:
        for mark in _MARK.finditer(text, start, end):
            found.extend(_in_tokens(text, tokens(text, *mark.span(1)), in_mark=True))
        found.sort(key=lambda equation: equation.start)
    yield from found


def _in_tokens(text: str, line: list[Token], in_mark: bool = False) -> Iterator[Equation]:
    signs = [index for index, token in enumerate(line) if token.kind == "="][:MAX_SIGNS]
    for number, sign in enumerate(signs):
        before = signs[number - 1] + 1 if number else 0
        after = signs[number + 1] if number + 1 < len(signs) else len(line)
        if line[sign].text == "m" or before == sign or after == sign + 1:
            continue
        # One token more than a side may have tells that it is too long.
        left = left_side(line[max(before, sign - MAX_SIDE - 1) : sign])
        if left is None:
            continue
        right = right_side(line[sign + 1 : min(after, sign + MAX_SIDE + 2)])
        if right is None:
            continue
        equation = _judge(text, left, right, line[sign].text == "~", in_mark)
        if equation is not None:
            yield equation


def _judge(text: str, left: Side, right: Side, approximate: bool, in_mark: bool) -> Equation | None:
    """The equation of two sides; None where it holds nothing to compute, or cannot be read without doubt."""
    formula, result = left.formula, right.formula
    if not _calculates(formula):
        if _calculates(result):
            if left.has_words and not in_mark:
                return None  # a name: "Area of room 2 = 3 * 4", "5 apples = 5 * $2"
            formula, result = result, formula
        elif not (in_mark or _is_share(left, right)):
            return None
    try:
        computed, stated, correct = _compare(formula, result, approximate)
    except Unreadable:
        return None
    if not correct and _POINT_GROUPS.search(text, left.tokens[0].start, right.tokens[-1].end):
        with suppress(Unreadable):
            correct = _compare(_in_groups(formula), _in_groups(result), approximate)[2]
    if not correct and not in_mark and is_doubtful(left, right, computed, stated):
        return None
    start, end = left.tokens[0].start, right.tokens[-1].end
    return Equation(text[start : left.tokens[-1].end], stated, computed, start, end, correct)


def _compare(formula: Formula, result: Formula, approximate: bool) -> tuple[Value | None, Value, bool]:
    """The right result, the stated one, and whether they agree in any reading."""
    first: tuple[Value, Value] | None = None
    for reading in _readings(formula, result):
        try:
            computed = evaluate(formula, reading)
        except ZeroDivisionError:
            return None, 0, False
        for candidate in _results(result):
            try:
                stated = evaluate(candidate, reading)
            except ZeroDivisionError:
                continue
            if computed == stated or _rounds(computed, stated, candidate, reading, approximate):
                return computed, stated, True
            first = first or (computed, stated)
    return (*first, False) if first else (None, 0, False)


def _in_groups(formula: Formula) -> Formula:
    """The formula in which 1.200 is one thousand two hundred."""
    tokens = [
        token._replace(value=int(token.value * 1000), decimals=0) if _POINT_GROUPS.fullmatch(token.text) else token
        for token in formula.tokens
    ]
    return formula._replace(tokens=tokens)


def _readings(formula: Formula, result: Formula) -> Sequence[Reading]:
    percent = "%" in formula.shape
    scaled = "s" in formula.shape or "s" in result.shape
    if not (percent or scaled or "%" in result.shape):
        return _READINGS
    readings = [_PLAIN]
    if percent:
        readings.append(Reading(relative=True))
    whole = any(formula.shape[index + 1 : index + 2] == "%" for index, t in enumerate(formula.tokens) if t.value == 100)
    if whole or not (percent and re.search(r"[*/^(f]", formula.shape)):
        readings.append(Reading(percent=1))  # 100% - 80% = 20, 1/4 * 100% = 25, 30 / 50 * 100 = 60%
    return [*readings, *(reading._replace(scaled=False) for reading in readings)] if scaled else readings


def _calculates(formula: Formula) -> bool:
    if formula.shape == "n":
        return formula.tokens[0].decimals < 0
    return _CALCULATES.search(formula.shape) is not None or any(token.decimals < 0 for token in formula.tokens)


def _results(formula: Formula) -> Iterator[Formula]:
    """What may be the result: the whole, or what has been reached before a running total goes on.

    12 of "= 12 + 5", 1/3 of "= 1/3 of $150".
    """
    yield formula
    if len(formula.shape) > 1:
        operators = [match.end() - 1 for match in _CALCULATES.finditer(formula.shape) if match[0] != "f"]
        for end in operators[:1]:
            yield formula.until(end)
            if formula.shape[end] == "/" and len(operators) > 1:
                yield formula.until(operators[1])


def _is_share(left: Side, right: Side) -> bool:
    """Whether a decimal number is set equal to a percentage: 0.2 = 20%, but not 20% = 1.5 hours."""
    if right.has_words or len(left.tokens) > len(left.formula.tokens):
        return False
    number = {("n", "n%"): left, ("n%", "n"): right}.get((left.formula.shape, right.formula.shape))
    return number is not None and number.tokens[0].decimals > 0


def _rounds(computed: Value, stated: Value, result: Formula, reading: Reading, approximate: bool) -> bool:
    """Whether a stated result is the computed one, rounded or cut off."""
    size = _magnitude(computed)
    difference = _magnitude(computed - stated)
    place = _last_place(result, reading)
    if place is None:
        # A formula on both sides: its decimals may be rounded.
        return any(token.decimals > 0 for token in result.tokens) and difference * 200 <= size
    if place < 1:
        return difference < place
    if approximate and difference * 50 <= size:
        return True
    if difference * 5 > size:
        return False  # 1/4 = 0
    return difference < (_significant(stated) if approximate else place)


def _magnitude(value: Value) -> Value:
    return -value if value < 0 else value


def _last_place(result: Formula, reading: Reading) -> Value | None:
    """What one unit of the last digit of a lone number is worth: 1/100 of 3.33; None for other expressions."""
    place: Value | None = None
    for token in result.tokens:
        if token.kind == "n":
            if place is not None or token.decimals < 0:
                return None
            place = Fraction(1, 10**token.decimals) if token.decimals else 1
        elif token.kind == "%" and place is not None:
            place = place * reading.percent
        elif token.kind == "s" and place is not None:
            place = place * (token.value if reading.scaled else 1)
        elif token.kind not in "()" and token.text != "-":
            return None
    return place


def _significant(stated: Value) -> int:
    """What one unit of the last digit other than zero is worth: 100 in 4,500."""
    place = 1
    while stated and stated % (place * 10) == 0:
        place *= 10
    return place
