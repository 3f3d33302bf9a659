"""What the tools wrote, as scores by name, all so that more is better.

One name is the score of the whole suite, "overall"; it is missing where the suite has none, or is incomplete.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import fmean
from typing import Any

GROUPS = {
    "GK": ["arc_easy", "mmlu_redux"],
    "RC": ["squad_v2", "drop"],
    "RES": ["openbookqa", "piqa", "xcsqa"],
    "NLU": ["hellaswag", "winogrande"],
    "MATH": ["gsm8k"],
    "TABLE": ["wikitablequestions", "treb_qa"],
}
"""The FinePhrase study's twelve tasks by group, as its code has them (its prose puts PIQA elsewhere)."""

LEADERBOARD = {
    "ifeval": "prompt_level_strict_acc",
    "bbh": "acc_norm",
    "math_hard": "exact_match",
    "gpqa": "acc_norm",
    "musr": "acc_norm",
    "mmlu_pro": "acc",
}
"""The metric that counts for each part of the Open LLM Leaderboard, as lm-evaluation-harness names it."""


def read_finephrase(folder: Path) -> dict[str, float]:
    """`prob_norm_token` of tasks and groups; "overall" is the study's macro score, the mean of the six groups."""
    results = _newest(folder, "results_*.json").get("results", {})
    names = {task: f"finephrase_{task}|3" for tasks in GROUPS.values() for task in tasks}
    names["mmlu_redux"] = "finephrase_mmlu_redux:_average|3"  # each subject counts the same
    scores = {task: results[name]["prob_norm_token"] for task, name in names.items() if name in results}
    if len(scores) < len(names):
        return scores
    groups = {group: fmean(scores[task] for task in tasks) for group, tasks in GROUPS.items()}
    return {"overall": fmean(groups.values()), "micro": fmean(scores.values()), **groups, **scores}


def read_ifeval(folder: Path) -> dict[str, float]:
    """The four accuracies; "overall" is that of prompts all of whose instructions were followed strictly."""
    found = _newest(folder, "results_*.json").get("results", {}).get("ifeval|0", {})
    scores = {name: value for name, value in found.items() if not name.endswith("_stderr")}
    return {"overall": scores["prompt_level_strict_acc"], **scores} if scores else {}


def read_mixeval(folder: Path) -> dict[str, float]:
    """The judge's mean, 0 to 1, by difficulty and kind; a difficulty's own counts each question the same."""
    found = _newest(folder, "results_*.json")
    scores: dict[str, float] = {}
    for level in ("hard", "easy"):
        parts = {}
        for kind in ("freeform", "multichoice"):
            name = f"judged_mixeval_{level}:{kind}|0"
            if name in found.get("results", {}):
                score = found["results"][name]["judge_score_judge"]
                parts[kind] = (score, found["config_tasks"][name]["effective_num_docs"])
        if len(parts) == 2:
            scores[level] = sum(score * count for score, count in parts.values()) / sum(n for _, n in parts.values())
        scores |= {f"{level} {kind}": score for kind, (score, _) in parts.items()}
    return {"overall": scores["hard"], **scores} if "hard" in scores else scores


def read_harness(folder: Path) -> dict[str, float]:
    """Raw scores of the Open LLM Leaderboard's parts: its web page shows them scaled between chance and 1."""
    results = _newest(folder, "results_*.json").get("results", {})
    scores = {}
    for part, metric in LEADERBOARD.items():
        value = results.get(f"leaderboard_{part}", {}).get(f"{metric},none")
        if isinstance(value, int | float):
            scores[part] = float(value)
    return {"overall": fmean(scores.values()), **scores} if len(scores) == len(LEADERBOARD) else scores


def read_alpaca(folder: Path) -> dict[str, float]:
    """Win rates in %, the length-controlled one as "overall"."""
    rows = _rows(folder, "leaderboard.csv")
    if not rows:
        return {}
    wanted = ("length_controlled_winrate", "win_rate", "avg_length", "n_total")
    scores = {name: float(rows[-1][name]) for name in wanted if rows[-1].get(name)}
    return {"overall": scores[wanted[0]], **scores} if wanted[0] in scores else scores


def read_opencompass(folder: Path) -> dict[str, float]:
    """The judge's scores as OpenCompass names them, its average as "overall"."""
    scores = {}
    for row in _rows(folder, "Subjective_all_results-judged-by--*.csv"):
        values = [value for name, value in row.items() if name not in ("Dataset", "Detailed Scores")]
        if values and _is_number(values[0]):
            scores[row["Detailed Scores"]] = float(values[0])
    for name in ("average", "score"):
        if name in scores:
            return {"overall": scores[name], **scores}
    return scores


def _newest(folder: Path, pattern: str) -> dict[str, Any]:
    """The content of the newest file of that name below a folder; {} when there is none. Names hold the time."""
    files = sorted(folder.rglob(pattern), key=lambda path: path.name)
    return json.loads(files[-1].read_text(encoding="utf-8")) if files else {}


def _rows(folder: Path, pattern: str) -> list[dict[str, str]]:
    files = sorted(folder.rglob(pattern), key=lambda path: path.stat().st_mtime)
    if not files:
        return []
    with files[-1].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
