"""Running totals of this process, for progress displays: documents, requests, tokens.

Only telemetry. What counts is in the ledgers and commit records.
"""

from __future__ import annotations

from collections import Counter

_totals: Counter[str] = Counter()


def add(**numbers: int) -> None:
    """Add to the totals. A lost update under threads costs a display some accuracy and nothing else."""
    for name, number in numbers.items():
        _totals[name] += number


def totals() -> dict[str, int]:
    """A copy of the totals."""
    return dict(_totals)
