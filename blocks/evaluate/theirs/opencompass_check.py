"""End with an error where OpenCompass has not judged every answer: `python opencompass_check.py RESULTS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def unjudged(run: Path) -> list[str]:
    """What one of its runs (a folder named by the time) has not finished, one line each."""
    found = []
    answered = sorted(path for path in run.glob("predictions/*/*.json") if not path.name.startswith("tmp_"))
    for predictions in answered:
        model, asked = predictions.parent.name, len(json.loads(predictions.read_text(encoding="utf-8")))
        judged = sorted(run.glob(f"results/{model}_judged-by--*/{predictions.name}"))
        if compared := sorted(run.glob(f"results/*_{model}_judged-by--*/{predictions.name}")):
            judged, asked = compared, 2 * asked  # against a base model, in both orders
        done = len(json.loads(judged[-1].read_text(encoding="utf-8"))) if judged else 0
        if done < asked:
            found.append(f"{predictions.name}: {done} of {asked} judgements")
    return found or ([] if answered else ["there are no answers"])


def main() -> int:
    """Look at the newest run; the exit status."""
    runs = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    found = unjudged(runs[-1]) if runs else ["there is no run"]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
