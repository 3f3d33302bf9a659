"""End with an error where OpenCompass has not judged every answer: `python opencompass_check.py RESULTS SET...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path


def unjudged(run: Path, sets: Sequence[str]) -> list[str]:
    """What one of its runs (a folder named by the time) has not finished, one line each.

    Args:
        run: the folder.
        sets: names of the data sets that are to be there.
    """
    found = []
    for name in sets:
        answered = sorted(run.glob(f"predictions/*/{name}.json"))
        if not answered:
            found.append(f"{name}: no answers")
            continue
        model, asked = answered[-1].parent.name, _count(answered[-1])
        judged = sorted(run.glob(f"results/{model}_judged-by--*/{name}.json"))
        if compared := sorted(run.glob(f"results/*_{model}_judged-by--*/{name}.json")):
            judged, asked = compared, 2 * asked  # against a base model, in both orders
        done = _count(judged[-1]) if judged else 0
        if done < asked:
            found.append(f"{name}: {done} of {asked} judgements")
    return found


def _count(path: Path) -> int:
    return len(json.loads(path.read_text(encoding="utf-8")))


def main() -> int:
    """Look at the newest run; the exit status."""
    runs = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    found = unjudged(runs[-1], sys.argv[2:]) if runs else ["there is no run"]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
