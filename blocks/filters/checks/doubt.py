"""Tells whether what looks like a wrong equation may well be something else.

Only what does not agree is asked about: a false alarm costs a sample, while a wrong equation that hides behind one of
these looks is rare.
"""

from __future__ import annotations

import re
from fractions import Fraction

from blocks.filters.checks.arithmetic import Formula, Reading, Unreadable, evaluate
from blocks.filters.checks.notation import Value
from blocks.filters.checks.sides import SHORT_UNITS, Side

# Units that convert into each other, and the factors by which they do.
_CONVERTIBLE = {
    "second=sec=s minute=min hour=hr=h day week month year decade century": "60 3600 24 7 30 52 12 365 10 100",
    "mm=millimeter cm=centimeter m=meter=metre km=kilometer=kilometre": "10 100 1000",
    "inch=inche=in foot=feet=ft yard=yd mile=mi": "12 3 36 5280",
    "mg=milligram g=gram kg=kilogram ounce=oz pound=lb ton=tonne": "1000 16 2000",
    "ml=milliliter l=liter=litre cup pint quart gallon tablespoon teaspoon": "1000 2 4 8 16 3 48",
    "cent dollar penny=pennie nickel dime quarter": "100 5 10 25 4",
    "dozen egg piece pair": "12 2",
}
_UNITS = [
    ({name: unit for unit in units.split() for name in unit.split("=")}, frozenset(map(int, factors.split())))
    for units, factors in _CONVERTIBLE.items()
]
_LABELS = frozenset(["step", "day", "week", "month", "year", "question", "part", "problem", "option", "case", "number"])


def is_doubtful(left: Side, right: Side, computed: Value | None, stated: Value) -> bool:
    """Whether what looks like a wrong equation may well be something else."""
    shape = left.formula.shape
    if computed is None:
        return _may_be_variables(left, right)
    if _is_lone_share(left, right) and (shape == "n%" or 0 < computed < 1 <= stated == stated // 1):
        return True  # 20% = 10 students, so 100% = 50; 3/5 = 30, so 1/5 = 10
    if shape == "n-n" and computed < 0 <= stated and _has_label(left):
        return True  # Weeks 1-2 = 96
    behind = right.beside
    if behind is not None and behind.kind == "w" and stated == computed // 1:
        words = behind.text.lower().split()
        if words[0] in ("r", "rem", "and") or "remainder" in words:
            return True  # 17 / 3 = 5 remainder 2, 5 and 2/3
    return (
        _may_be_variables(left, right)
        or _mixes_units(left, right, computed, stated)
        or _is_dash_behind_label(left, stated)
    )


def _is_lone_share(left: Side, right: Side) -> bool:
    """Whether 20% or 1/5, and nothing else, is set equal to what is no percentage."""
    tokens = left.formula.tokens
    tight = left.formula.shape == "n/n" and tokens[0].end == tokens[1].start and tokens[1].end == tokens[2].start
    return (tight or left.formula.shape == "n%") and "%" not in right.formula.shape


def _may_be_variables(left: Side, right: Side) -> bool:
    """Whether single letters may be no units: 2m + 3h = 12, 4K - 4 = 92; but 10 m x 8 m = 80 square meters."""
    letters = {t.text.lower() for t in (*left.tokens, *right.tokens[:-1]) if t.kind == "w" and len(t.text) == 1}
    if not letters:
        return False
    ends = (right.tokens[-1], right.beside)
    shown = [
        word for t in ends if t is not None and t.kind == "w" for word in re.split("[ /]", t.text.lower())[:3] if word
    ]
    return SHORT_UNITS.isdisjoint(shown) and not letters <= {word[0] for word in shown}


def _mixes_units(left: Side, right: Side, computed: Value, stated: Value) -> bool:
    """Whether units of the same kind may have been converted on the way: 2 hours + 30 minutes = 150 minutes."""
    texts = [token.text.lower() for token in (*left.tokens, *right.tokens, right.beside) if token and token.kind == "w"]
    words = {text.split()[0].rstrip("s") for text in texts}
    if "cent" in words and stated in (computed * 100, Fraction(computed) / 100):
        return True  # $0.25 * 10 = 250 cents
    for units, factors in _UNITS:
        if len({units[word] for word in words if word in units}) > 1:
            added = "+" in left.formula.shape or "-" in left.formula.shape
            if not added and any("/" in text or "per" in text.split() for text in texts):
                return False  # 2 hours * 60 minutes/hour converts in so many words
            ratio = Fraction(computed) / stated if stated else 0
            return added or ratio in factors or (ratio != 0 and 1 / ratio in factors)
    return False


def _is_dash_behind_label(left: Side, stated: Value) -> bool:
    """Whether the first "minus" is a dash: Step 1 - 12 * 3 = 36."""
    if left.formula.shape[:2] != "n-" or len(left.formula.shape) < 3 or not _has_label(left):
        return False
    try:
        return evaluate(Formula(left.formula.tokens[2:], left.formula.shape[2:]), Reading()) == stated
    except (Unreadable, ZeroDivisionError):
        return False


def _has_label(left: Side) -> bool:
    """Whether the word before seems to be numbered: Step 1, Weeks 1-2, day 3."""
    word = left.beside.text.split()[-1] if left.beside is not None and left.beside.kind == "w" else ""
    return word[:1].isupper() or word.rstrip("s") in _LABELS
