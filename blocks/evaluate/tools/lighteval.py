"""lighteval: the FinePhrase study's tasks (with definitions that it no longer ships), IFEval, MixEval."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import yaml

from blocks.evaluate.targets import Settings, Target
from blocks.evaluate.tools.common import RESULTS, THEIRS, Written, newest_json, quoted

INSTALL = "'lighteval[litellm]==0.13.0' langdetect 'huggingface_hub<2' 'xxhash<4' 'litellm<1.80'"
"""With releases of its time: with huggingface_hub 2 it knows no task, with xxhash 4 it saves nothing, with a newer
litellm no request succeeds."""

GROUPS = {
    "GK": ["arc_easy", "mmlu_redux"],
    "RC": ["squad_v2", "drop"],
    "RES": ["openbookqa", "piqa", "xcsqa"],
    "NLU": ["hellaswag", "winogrande"],
    "MATH": ["gsm8k"],
    "TABLE": ["wikitablequestions", "treb_qa"],
}
"""The FinePhrase study's twelve tasks by group, as its code has them (its prose puts PIQA elsewhere)."""


def write_finephrase(target: Target, settings: Settings) -> Written:
    """Three examples per question, as in the study."""
    tasks = [f"finephrase_{task}|3" for group in GROUPS.values() for task in group]
    options = {"override_chat_template": False}  # it asks for the continuation of a text
    files, lines = _write(tasks, target, settings, "finephrase_tasks.py", options)
    lines[-1] += f" --max-samples {settings.max_samples}"
    return files, [f"export FINEMILL_EVAL_MODEL={shlex.quote(target.loaded)}", *lines]


def read_finephrase(folder: Path) -> dict[str, float]:
    """`prob_norm_token` of tasks and groups; "overall" is the study's macro score, the mean of the six groups."""
    results = newest_json(folder, "results_*.json").get("results", {})
    names = {task: f"finephrase_{task}|3" for tasks in GROUPS.values() for task in tasks}
    names["mmlu_redux"] = "finephrase_mmlu_redux:_average|3"  # each subject counts the same
    scores = {task: results[name]["prob_norm_token"] for task, name in names.items() if name in results}
    if len(scores) < len(names):
        return scores
    groups = {group: fmean(scores[task] for task in tasks) for group, tasks in GROUPS.items()}
    return {"overall": fmean(groups.values()), "micro": fmean(scores.values()), **groups, **scores}


def write_ifeval(target: Target, settings: Settings) -> Written:
    """Its rules, without examples."""
    return _write(["ifeval|0"], target, settings)


def read_ifeval(folder: Path) -> dict[str, float]:
    """The four accuracies; "overall" is that of prompts all of whose instructions were followed strictly."""
    found = newest_json(folder, "results_*.json").get("results", {}).get("ifeval|0", {})
    levels = {"prompt": "prompt_level", "instruction": "inst_level"}
    scores = {f"{k} {how}": found[f"{v}_{how}_acc"] for k, v in levels.items() for how in ("strict", "loose") if found}
    return {"overall": scores["prompt strict"], **scores} if scores else {}


def write_mixeval(target: Target, settings: Settings) -> Written:
    """Both difficulties, judged by `settings.judge`."""
    assert settings.judge
    tasks = [f"judged_mixeval_{level}:{kind}|0" for level in ("easy", "hard") for kind in ("freeform", "multichoice")]
    files, lines = _write(tasks, target, settings, "mixeval_tasks.py")
    judge = {"FINEMILL_JUDGE": settings.judge.model, "HOSTED_VLLM_API_BASE": settings.judge.url}
    told = " ".join(f"{name}={shlex.quote(value)}" for name, value in judge.items())
    return files, [f'export {told} HOSTED_VLLM_API_KEY="${{JUDGE_API_KEY:-none}}"', *lines]


def read_mixeval(folder: Path) -> dict[str, float]:
    """The judge's mean, 0 to 1; "overall" is that of the hard half.

    In a half, both kinds of question count the same, which MixEval's own score does not do: it counts questions, and
    lighteval 0.13 does not say how many there were.
    """
    results = newest_json(folder, "results_*.json").get("results", {})
    scores: dict[str, float] = {}
    for level in ("hard", "easy"):
        names = {kind: f"judged_mixeval_{level}:{kind}|0" for kind in ("freeform", "multichoice")}
        parts = {f"{level} {kind}": results[name]["judge_score"] for kind, name in names.items() if name in results}
        scores |= {level: fmean(parts.values()), **parts} if len(parts) == len(names) else parts
    return {"overall": scores["hard"], **scores} if {"hard", "easy"} <= set(scores) else scores


def _write(
    tasks: list[str], target: Target, settings: Settings, custom: str = "", options: Mapping[str, object] | None = None
) -> Written:
    """Its model has a relative name, and the cache a place of its own.

    lighteval caches answers under the name of a model: inside of the model where that is a full path, else in the
    user's home, from where it would give them again when other weights have that name.
    """
    model: dict[str, object] = {"model_name": target.loaded, "cache_dir": "cache"}
    if target.url:
        command = ["lighteval", "endpoint", "litellm", "model.yaml"]
        # Without a length it asks openrouter.ai for one.
        model |= {"model_name": f"openai/{target.model}", "base_url": target.url, "max_model_length": 4096}
        model |= {"api_max_retry": 8, "generation_parameters": {"temperature": 0}}
    else:
        command = ["lighteval", "accelerate", "model.yaml"]
        model |= {"dtype": settings.dtype, "batch_size": settings.batch_size, **(options or {})}
    command += [",".join(tasks), "--output-dir", RESULTS]
    command += ["--custom-tasks", str(THEIRS / custom)] if custom else []
    lines = [
        'for copy in ${DATASETS:+"$DATASETS"/*}; do ln -sfn "$(realpath "$copy")" .; done',
        'if [ "${HF_HUB_OFFLINE:-0}" = 1 ]; then',
        "  # lighteval 0.13 fetches this when it starts, for tasks that nobody asked for, and fails without a network.",
        "  touch \"$(python -c 'import lighteval.tasks as t; print(t.__path__[0])')/tasks/tinyBenchmarks.pkl\"",
        "fi",
    ]
    if target.url:
        # It takes an answer that never came for an empty one, now and from its cache.
        lines += [
            f"{quoted(*command)} 2>&1 | tee lighteval.log",
            'if grep -qi "returning empty response" lighteval.log; then',
            f"  rm -rf cache {RESULTS}",
            '  echo "the endpoint left questions unanswered: nothing is kept" >&2',
            "  exit 1",
            "fi",
        ]
    else:
        lines.append(quoted(*command))
    return {"model.yaml": yaml.safe_dump({"model_parameters": model}, sort_keys=False)}, lines
