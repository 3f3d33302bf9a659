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
    return sum(float(file.read_bytes() or 0) for file in (state / LEDGERS).glob("*") if file.name != but)
