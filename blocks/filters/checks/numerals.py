"""Reads the numbers of a text: "1,234.5", "2.5 million", "−3,5 °C", "20 %"."""

from __future__ import annotations

import re
from typing import NamedTuple

from blocks.filters.checks.number_words import SCALES

# It begins with a digit, which lets the expression skip other text fast; what stands before is looked at in Python.
NUMBER = re.compile(
    r"(?P<digits>[0-9]{1,3}(?:[,'\u00a0\u202f\u2009][0-9]{3}){1,9}(?![0-9])(?:\.[0-9]{1,12})?"
    r"|[0-9]{1,20}(?:[.,][0-9]{1,12})?)"
    r"(?P<ordinal>(?:st|nd|rd|th)\b)?"
    r"(?:[ \u00a0-]?(?:(?P<scale>thousand|million|billion|trillion|(?:[kKMB]|bn|mn)\b)"
    r"|(?P<percent>%|percent|per cent)))?"
)
DIGIT = re.compile(r"[0-9]")
_NO_GROUPS = str.maketrans("", "", ",'\u00a0\u202f\u2009")
_SIGN = re.compile(r"(?:^|[\s(|:=~])[-−][$€£¥]?\Z")
_SCALES: dict[str, float] = {**SCALES, "k": 1e3, "m": 1e6, "mn": 1e6, "b": 1e9, "bn": 1e9}
_ABOUT = re.compile(r"(?:about|approximately|approx\.?|around|roughly|nearly|almost|over|~|≈|more than)\W{0,3}\Z", re.I)


class Number(NamedTuple):
    """A number of a text.

    Args:
        value: as written, without its scale ("million"); negative with a minus sign.
        scale: what it is multiplied by.
        half: half a unit of its last digit, the most by which it may differ from the number it was rounded from.
        percent: whether it is a percentage.
        text: how it is written.
    """

    value: float
    scale: float
    half: float
    percent: bool
    text: str

    def ranges(self) -> list[tuple[float, float]]:
        """The numbers it may have been rounded from, with and without its scale; signs do not matter ("fell by 3")."""
        value = abs(self.value)
        half = self.half * (1 + 1e-9)  # 0.25 is not exactly what it is rounded from
        scales = (1.0,) if self.scale == 1 else (1.0, self.scale)
        return [((value - half) * scale, (value + half) * scale) for scale in scales]


def numbers(text: str) -> list[Number]:
    """The numbers of a text; ordinals ("2nd") and digits within words ("H2O") are none."""
    if not DIGIT.search(text):
        return []
    found = []
    for match in NUMBER.finditer(text):
        digits, ordinal, scale, percent = match.groups()
        start = match.start()
        before = text[start - 18 if start > 18 else 0 : start]
        if ordinal or before[-1:].isalnum():
            continue
        half = 0.5
        if digits.isdigit():
            value = float(digits)
            if before[-1:] == "." and not before[-2:-1].isdigit():  # .5
                value /= 10.0 ** len(digits)
                half /= 10.0 ** len(digits)
        else:
            value, half = _decimal(digits)
        if before:
            if half == 0.5 and value >= 10 and _ABOUT.search(before):
                half = max(half, 0.05 * value)
            if ("-" in before or "−" in before) and _SIGN.search(before):
                value = -value
        found.append(Number(value, _SCALES[scale.lower()] if scale else 1.0, half, bool(percent), match.group()))
    return found


def _decimal(written: str) -> tuple[float, float]:
    """The value of digits with marks in them, and half a unit of the last digit; the decimal mark may be a comma."""
    whole, mark, fraction = written.rpartition(".")
    if not mark:
        whole, mark, fraction = written.rpartition(",")
        if len(fraction) == 3 or "," in whole or not mark:
            return float(written.translate(_NO_GROUPS)), 0.5
    return float(f"{whole.translate(_NO_GROUPS)}.{fraction}"), 0.5 / 10.0 ** len(fraction)
