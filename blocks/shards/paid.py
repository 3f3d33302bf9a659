"""What a run has paid: the sum of a small file per process, each overwritten after every answer."""

from __future__ import annotations

from pathlib import Path

LEDGERS = "paid"
"""Folder below the state folder with these files."""


def paid(state: Path, but: str = "") -> float:
    """Money that all processes of all launches have paid; 0 where nobody counts.

    Args:
        state: the run's state folder.
        but: name of a file that is left out.
    """
    return sum(_amount(file.read_bytes()) for file in (state / LEDGERS).glob("*") if file.name != but)


def _amount(content: bytes) -> float:
    """What a file says; nothing if a loss of power has left it torn."""
    try:
        return float(content)
    except ValueError:
        return 0.0
