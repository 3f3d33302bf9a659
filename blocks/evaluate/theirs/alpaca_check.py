"""End with an error where AlpacaEval's judge gave no preference, which it drops: `python alpaca_check.py RESULTS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> int:
    """Count answers and preferences; the exit status."""
    results = Path(sys.argv[1])
    answers = json.loads((results / "model_outputs.json").read_text(encoding="utf-8"))
    judged = max(results.rglob("annotations.json"), key=lambda path: path.stat().st_mtime)
    preferences = [one.get("preference") for one in json.loads(judged.read_text(encoding="utf-8"))]
    given = sum(one is not None and one == one for one in preferences)  # NaN is not itself
    if given < len(answers):
        print(f"{given} of {len(answers)} answers were judged; was it asked for one token, m or M?", file=sys.stderr)
    return int(given < len(answers))


if __name__ == "__main__":
    sys.exit(main())
