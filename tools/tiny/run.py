"""A training run's folder: what it was begun with, and the stages on it.

`run.json` holds what shapes the result. A run refuses to go on with other documents, prompts or seed: half of its
weights would come from something that the card does not name.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import xxhash

from blocks.shards.folder import RunError
from tools.tiny.card import EVALUATION, TRAINING
from tools.tiny.data import (
    GENERATED,
    MIXTURE,
    Examples,
    load_teachers,
    prompt_hashes,
    read_documents,
    split_off,
    tokenizer_texts,
)
from tools.tiny.evaluate import evaluate
from tools.tiny.model import export
from tools.tiny.tokenizer import train_tokenizer
from tools.tiny.train import LOG, Budget, train


def train_run(
    files: Sequence[Path], out: Path, tokens: int | None, seconds: float | None, seed: int, compiled: bool
) -> None:
    """Train and export to `out / "model"`, from where a former call was killed.

    Args:
        files: documents.
        out: folder of the run.
        tokens: budget in tokens.
        seconds: budget in seconds of training; at least one of the two is needed.
        seed: of everything.
        compiled: whether torch compiles the network.

    Raises:
        RunError: `out` holds a run that was begun otherwise, or there is no budget.
    """
    if tokens is None and seconds is None:
        raise RunError("say when training shall end: --tokens or --minutes")
    documents, aside = split_off(read_documents(files))
    digest = xxhash.xxh3_64_hexdigest(orjson.dumps([document.text for document in documents]))
    begun = {
        "seed": seed,
        "documents": len(documents),
        "documents_hash": digest,
        "set_aside": len(aside),
        "prompts": prompt_hashes(),
        "mixture": MIXTURE,
        "generated": GENERATED,
    }
    _same_run(out, begun)
    teachers = load_teachers()
    tokenizer = out / "tokenizer"
    if not (tokenizer / "tokenizer_config.json").is_file():  # written last
        train_tokenizer(tokenizer_texts(documents, teachers, seed), tokenizer)
    model = train(Examples(documents, teachers, tokenizer, seed), out, Budget(tokens, seconds), compiled=compiled)
    finished = out / "model"
    shutil.copytree(tokenizer, finished, dirs_exist_ok=True)
    export(model, finished)
    lines = [orjson.loads(line) for line in (out / LOG).read_bytes().splitlines()]
    told = {
        "files": [file.name for file in files],
        "parameters": model.num_parameters(),
        "tokens": lines[-1]["tokens"],
        "seconds": lines[-1]["seconds"],
        "steps": len(lines),
        "loss": _curve(lines),
    }
    _write(finished / TRAINING, begun | told)


def evaluate_run(files: Sequence[Path], out: Path, limit: int | None) -> dict[str, Any]:
    """Evaluate `out / "model"` on the documents set aside; the figures, which lie beside the weights then, too.

    Some of the samples go to `out / "samples.json"`.
    """
    _, aside = split_off(read_documents(files))
    random.Random(0).shuffle(aside)
    figures = evaluate(out / "model", aside[:limit], load_teachers())
    _write(out / "samples.json", figures.pop("samples"))  # they quote the documents, so they stay out of the model
    _write(out / "model" / EVALUATION, figures)
    return figures


def _same_run(out: Path, begun: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    file = out / "run.json"
    if not file.is_file():
        _write(file, begun)
    before = orjson.loads(file.read_bytes())
    if different := [name for name, value in begun.items() if before.get(name) != value]:
        raise RunError(f"{out} was begun with other {', '.join(different)}: take another --out, or delete it")


def _curve(lines: Sequence[dict[str, Any]], points: int = 12) -> list[dict[str, float]]:
    """Mean loss over equal parts of the training."""
    size = max(1, len(lines) // points)
    parts = [lines[start : start + size] for start in range(0, len(lines) - size + 1, size)]
    return [
        {"tokens": part[-1]["tokens"], "loss": round(sum(line["loss"] for line in part) / len(part), 3)}
        for part in parts
    ]


def _write(file: Path, content: Any) -> None:
    file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
