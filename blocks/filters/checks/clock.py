"""Reads times as a solution states them: times of day, and durations in hours, minutes and seconds."""

from __future__ import annotations

import re

from blocks.filters.checks.values import Value

_HALF_DAY = 12 * 60

_TIME_OF_DAY = re.compile(
    r"(?<![\d:.,])(?P<hour>\d{1,2})(?:(?::(?P<minute>[0-5]\d))(?::[0-5]\d)?(?![\d:])(?:[ \t]?[ap]\.?m\b\.?)?"
    r"|[ \t]?[ap]\.?m\b\.?)",
    re.IGNORECASE,
)
# Each is sixty times the one before.
_UNITS = (
    re.compile(r"\bsec(?:ond)?s?\b", re.IGNORECASE),
    re.compile(r"\bmin(?:ute)?s?\b", re.IGNORECASE),
    re.compile(r"\bh(?:(?:ou)?rs?)?\b", re.IGNORECASE),
)
_COMPOUND = re.compile(
    r"(?P<more>\d{1,6})[ \t]?(?:h(?:(?:ou)?rs?)?|min(?:ute)?s?),?[ \t](?:and[ \t])?(?P<less>\d{1,2})[ \t]?(?:min|sec)",
    re.IGNORECASE,
)


def times_of_day(text: str) -> list[int]:
    """Times such as 12:40, 3:05 PM and 9 a.m., in minutes since noon or midnight, as steps mix 3:05 and 15:05."""
    return [(int(match["hour"]) * 60 + int(match["minute"] or 0)) % _HALF_DAY for match in _TIME_OF_DAY.finditer(text)]


def without_times_of_day(text: str) -> str:
    """The text with a blank in place of each."""
    return _TIME_OF_DAY.sub(" ", text)


def durations(text: str) -> list[Value]:
    """Durations in two units (1 hour and 45 minutes), in the smaller one."""
    return [Value(int(match["more"]) * 60 + int(match["less"]), 0) for match in _COMPOUND.finditer(text)]


def units_of_time(text: str) -> set[int]:
    """The units of time that a text names, as powers of sixty seconds: 0 seconds, 1 minutes, 2 hours."""
    return {power for power, unit in enumerate(_UNITS) if unit.search(text)}
