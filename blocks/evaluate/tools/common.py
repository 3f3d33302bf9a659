"""What the tools' modules share."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

THEIRS = Path(__file__).parents[1] / "theirs"
"""Files that the tools load themselves."""

RESULTS = "results"
"""The folder, beside its script, that a tool writes into."""

Written = tuple[dict[str, str], list[str]]
"""What a suite needs: files by name, and the lines of its script after the model is there."""


def quoted(*words: str) -> str:
    """A command for the shell."""
    return " ".join(shlex.quote(word) for word in words)


def newest_json(folder: Path, pattern: str) -> dict[str, Any]:
    """The content of the newest file of that name below a folder; {} when there is none. Names hold the time."""
    files = sorted(folder.rglob(pattern), key=lambda path: path.name)
    return json.loads(files[-1].read_text(encoding="utf-8")) if files else {}


def newest_rows(folder: Path, pattern: str) -> list[dict[str, str]]:
    """The rows of the newest CSV file of that name below a folder; [] when there is none."""
    files = sorted(folder.rglob(pattern), key=lambda path: path.stat().st_mtime)
    if not files:
        return []
    with files[-1].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
