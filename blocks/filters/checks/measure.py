"""What a check found out about one output."""

from __future__ import annotations

from typing import NamedTuple


class Measure(NamedTuple):
    """One measured property of an output.

    Args:
        check: its name, as in the `checks` column.
        value: what was measured; None when there was nothing to measure.
        passed: whether the value keeps to the threshold; True when there was nothing to measure.
        detail: for people: the first fault, or "nothing to check".
    """

    check: str
    value: float | None
    passed: bool
    detail: str = ""


def nothing(check: str) -> Measure:
    """The measure of an output in which there is nothing to check."""
    return Measure(check, None, True, "nothing to check")
