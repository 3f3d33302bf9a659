"""Reads the numbers that prose claims, in digits and in words: "3.1 million", "20 %", "twenty-five", "1,00,000".

Numbering is no claim: "3." before a list item, "Step 3". All numbers are positive; a dash before one is mostly none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from blocks.filters.checks.number_words import SCALES, SMALL, TENS
from blocks.filters.checks.text import all_words_lowered

_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
)
_WORD_VALUES: dict[str, float] = {
    **SMALL,
    **TENS,
    **{word: value for value, word in enumerate(_ORDINALS.split(), 1)},
    **{"quarter": 0.25, "half": 0.5, "twice": 2.0, "double": 2.0, "triple": 3.0, "dozen": 12.0},
}
_TENS_VALUES = frozenset(TENS.values())
_SCALES = {"hundred": 10**2, **SCALES, "bn": 10**9, "k": 10**3}
# Thousands stand in groups of three digits, in India also of two. Digits behind a letter belong to a name (V12, Q4).
_DIGITS = re.compile(
    r"(?P<number>[.\d](?<![A-Za-z_\d].)(?:(?<=\.)\d{1,15}|(?<=\d)\d{0,2}+(?:,\d{2,3}){1,8}(?!\d)(?:\.\d{1,15})?|"
    r"(?<=\d)\d{0,29}(?:[.,]\d{1,15})?))"
    rf"(?P<percent> ?(?:\\?%|％|per ?cent\b))?(?:[ -]?(?=[htmbk])(?P<scale>{'|'.join(_SCALES)})\b)?",
    re.IGNORECASE,
)
# What counts items is no number of the text: "3." and "| 3 |" at the begin of a line, "Step 3", "Table 2".
_COUNTED = frozenset(
    ("step", "question", "answer", "part", "example", "problem", "section", "chapter", "figure", "table", "tip", "item")
)
_MARKERS = " \t#>*_+-("
# What stands before a counter, markers left out: a line's begin, a cell's begin, the end of a word of `_COUNTED`.
_BEFORE_COUNTER = frozenset(("", "\n", "|", *(word[-1] for word in _COUNTED)))
_COUNTER_END = re.compile(r"[.):](?!\d)")
_COUNTER_CELL_END = re.compile(r"[ \t*]{0,9}\|")


class Claim(NamedTuple):
    """A number of a text.

    Args:
        value: its absolute value, scales applied: 3000000 for "3 million".
        half: half a unit of its last digit that counts: 50000 for "3.1 million", 0.05 for 39.5.
        percent: whether it is a percentage.
        spelled: whether it is a word.
    """

    value: float
    half: float
    percent: bool
    spelled: bool


def claims(text: str) -> list[Claim]:
    """The numbers of a text: first those in digits, then those in words; numbering is left out."""
    found = []
    for match in _DIGITS.finditer(text):
        start, end = match.span()
        if end - start > 3 or not _counts_items(text, start, end):
            digits, percent, scale = match.groups()
            found.append(_written(digits, scale, percent is not None))
    spoken = all_words_lowered(text)
    if not _WORD_VALUES.keys().isdisjoint(spoken):
        found.extend(_spelled(spoken))
    return found


def _spelled(found: Sequence[str]) -> Iterator[Claim]:
    tens: float = 0
    for at in [at for at, word in enumerate(found) if word in _WORD_VALUES]:
        value = _WORD_VALUES[found[at]]
        following = found[at + 1] if at + 1 < len(found) else ""
        if value in _TENS_VALUES and 0 < _WORD_VALUES.get(following, 0) < 10:
            tens = value  # twenty-five
            continue
        scale = following if following in _SCALES else None
        yield _number(f"{tens + value:g}", scale, following == "percent", spelled=True)
        tens = 0


def _counts_items(text: str, start: int, end: int) -> bool:
    before = text[start - 16 if start > 16 else 0 : start]
    if before.rstrip(_MARKERS)[-1:].lower() not in _BEFORE_COUNTER:
        return False  # so it is for most numbers
    label = before.rstrip(" #*").rpartition(" ")[2].rpartition("\n")[2]
    if label.strip(_MARKERS).lower() in _COUNTED and not before.endswith(label):
        return True
    if start > 16 and "\n" not in before:
        return False
    prefix = before.rpartition("\n")[2].strip(_MARKERS)
    return bool(_COUNTER_CELL_END.match(text, end) if prefix == "|" else not prefix and _COUNTER_END.match(text, end))


@lru_cache(maxsize=8192)  # the same numbers come again and again
def _written(digits: str, scale: str | None, percent: bool) -> Claim:
    if digits.count(",") == 1 and "." not in digits and len(digits.partition(",")[2]) != 3:
        digits = digits.replace(",", ".")  # a decimal comma
    return _number(digits.replace(",", ""), scale, percent)


def _number(digits: str, scale: str | None, percent: bool, spelled: bool = False) -> Claim:
    factor = _SCALES.get(scale.lower(), 1.0) if scale else 1.0
    value = float(digits) * factor
    whole, _, decimals = digits.partition(".")
    unit = 10.0 ** -len(decimals) if decimals else 10.0 ** (len(whole) - len(whole.rstrip("0") or whole))
    if not decimals and not scale and len(whole) == 4 and 1000 <= value <= 2100:
        unit = 1.0  # a year is not rounded
    return Claim(value, unit * factor / 2, percent, spelled)
