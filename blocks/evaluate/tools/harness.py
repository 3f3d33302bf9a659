"""lm-evaluation-harness: the tasks of the Open LLM Leaderboard, which was made with it."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from blocks.evaluate.targets import Settings, Target
from blocks.evaluate.tools.common import RESULTS, Written, newest_json, quoted

INSTALL = "'lm_eval[hf,ifeval,math]>=0.4.9'"

METRICS = {
    "ifeval": "prompt_level_strict_acc",
    "bbh": "acc_norm",
    "math_hard": "exact_match",
    "gpqa": "acc_norm",
    "musr": "acc_norm",
    "mmlu_pro": "acc",
}
"""The metric that counts for each part, as the harness names it."""


def write_leaderboard(target: Target, settings: Settings) -> Written:
    """All six parts, with the examples that the leaderboard gave."""
    arguments = f"pretrained={target.loaded},dtype={settings.dtype}"
    command = ["lm_eval", "--model", "hf", "--model_args", arguments, "--batch_size", str(settings.batch_size)]
    return {}, [quoted(*command, "--tasks", "leaderboard", "--output_path", RESULTS)]


def read_leaderboard(folder: Path) -> dict[str, float]:
    """Raw scores, "overall" their mean: the leaderboard's page showed them scaled between chance and 1."""
    results = newest_json(folder, "results_*.json").get("results", {})
    scores = {}
    for part, metric in METRICS.items():
        value = results.get(f"leaderboard_{part}", {}).get(f"{metric},none")
        if isinstance(value, int | float):
            scores[part] = float(value)
    return {"overall": fmean(scores.values()), **scores} if len(scores) == len(METRICS) else scores
