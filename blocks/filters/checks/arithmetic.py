"""Evaluates closed expressions exactly.

The limits are for hostile input: whatever exceeds them is no arithmetic that anybody wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from operator import add, mul, sub
from typing import NamedTuple

from blocks.filters.checks.notation import Token, Value

MAX_BITS = 512
"""Size of the numerator and the denominator of every intermediate result."""

MAX_DEPTH = 20
"""Of parentheses."""


class Unreadable(ValueError):
    """This is no closed expression."""


class Formula(NamedTuple):
    """The tokens of an expression without words.

    Args:
        tokens: numbers, operators, parentheses, percent signs, scale words and LaTeX fractions.
        shape: a letter for each: its kind, or the operator ("n*(n+n)").
    """

    tokens: Sequence[Token]
    shape: str

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> Formula:
        """Leaves the words out of an expression."""
        shape = "".join([token.text if token.kind == "o" else token.kind for token in tokens])
        if "w" not in shape:
            return cls(tokens, shape)
        return cls([token for token in tokens if token.kind != "w"], shape.replace("w", ""))

    def until(self, end: int) -> Formula:
        """The first tokens."""
        return Formula(self.tokens[:end], self.shape[:end])


class Reading(NamedTuple):
    """One of the ways in which people mean percentages and scale words.

    Args:
        percent: what "%" multiplies by; 1 to read 100% - 80% = 20 as people write it.
        relative: whether 50 + 10% is 55.
        scaled: whether million and dozen multiply; not in "3 dozen eggs * 12 = 36 eggs".
    """

    percent: Value = Fraction(1, 100)
    relative: bool = False
    scaled: bool = True


def evaluate(formula: Formula, reading: Reading) -> Value:
    """The value of a closed expression.

    Raises:
        Unreadable: it is no expression, or too large.
        ZeroDivisionError: it divides by zero.
    """
    shape, tokens = formula.shape, formula.tokens
    if shape == "n":
        return tokens[0].value
    if shape in _STEPS:
        return _bounded(_STEPS[shape](tokens[0].value, tokens[2].value))
    parser = _Parser(formula, reading)
    value = parser.sum(0)
    if parser.position < len(formula.shape):
        raise Unreadable("something is left over")
    return value


def _bounded(value: Value) -> Value:
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise Unreadable("too large")
    elif value.denominator.bit_length() > MAX_BITS or value.numerator.bit_length() > MAX_BITS:
        raise Unreadable("too large")
    return value


def _quotient(above: Value, below: Value) -> Value:
    """A division whose result is an integer where it can be."""
    if isinstance(above, int) and isinstance(below, int) and below and above % below == 0:
        return above // below
    return Fraction(above) / below


# Most formulas; without them the parser reads the same.
_STEPS: dict[str, Callable[[Value, Value], Value]] = {"n+n": add, "n-n": sub, "n*n": mul, "n/n": _quotient}


class _Parser:
    """Recursive descent; every method reads from `position` on."""

    def __init__(self, formula: Formula, reading: Reading) -> None:
        self.tokens = formula.tokens
        self.shape = formula.shape + "$"  # ends it
        self.reading = reading
        self.position = 0

    def sum(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise Unreadable("too deep")
        value = self.product(depth)
        while (sign := self.shape[self.position]) in "+-":
            self.position += 1
            begin = self.position
            term = self.product(depth)
            if self.reading.relative and self.shape[begin : self.position] == "n%":
                term = value * term
            value = _bounded(value + term if sign == "+" else value - term)
        return value

    def product(self, depth: int) -> Value:
        value = self.power(depth)
        while (sign := self.shape[self.position]) in "*/(f":
            if sign in "*/":
                self.position += 1
            tight = sign == "/" and self.tight_fraction()
            factor = self.power(depth)
            if tight:  # 12 / 3/4
                self.position += 1
                factor = _quotient(factor, self.power(depth))
            value = _bounded(_quotient(value, factor) if sign == "/" else value * factor)
        return value

    def tight_fraction(self) -> bool:
        """Whether a fraction without spaces follows a division sign that has them."""
        at = self.position
        if self.shape[at : at + 3] != "n/n":
            return False
        sign, above, slash, below = self.tokens[at - 1 : at + 3]
        return above.start > sign.end and above.end == slash.start and slash.end == below.start

    def power(self, depth: int) -> Value:
        negative = self.shape[self.position] == "-"
        self.position += negative
        value = self.atom(depth)
        if self.shape[self.position] == "^":
            self.position += 1
            inverse = self.shape[self.position] == "-"
            self.position += inverse
            exponent = self.atom(depth)
            if isinstance(exponent, int) and exponent < 0:
                inverse, exponent = not inverse, -exponent
            value = _power(value, exponent)
            if inverse:
                value = _quotient(1, value)
        return -value if negative else value

    def atom(self, depth: int) -> Value:
        kind = self.shape[self.position]
        value: Value
        if kind == "n":
            value = self.tokens[self.position].value
            self.position += 1
            if self.shape[self.position] == "f" and isinstance(value, int):  # 3\frac{1}{2}
                value += self.fraction(depth)
        elif kind == "(":
            value = self.group(depth)
        elif kind == "f":
            value = self.fraction(depth)
        else:
            raise Unreadable("no operand")
        while (kind := self.shape[self.position]) in "%s":
            if kind == "%":
                value = value * self.reading.percent
            elif self.reading.scaled:
                value = value * self.tokens[self.position].value
            self.position += 1
        return value

    def group(self, depth: int) -> Value:
        if self.shape[self.position] != "(":
            raise Unreadable("no group")
        self.position += 1
        value = self.sum(depth + 1)
        if self.shape[self.position] != ")":
            raise Unreadable("not closed")
        self.position += 1
        return value

    def fraction(self, depth: int) -> Value:
        self.position += 1
        above = self.group(depth)
        return _quotient(above, self.group(depth))


def _power(base: Value, exponent: Value) -> Value:
    if not isinstance(exponent, int) or exponent > MAX_BITS:
        raise Unreadable("no exponent that is computed exactly")
    if max(base.numerator.bit_length(), base.denominator.bit_length()) * exponent > MAX_BITS:
        raise Unreadable("too large")
    result: Value = base**exponent
    return result
