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
    Source,
    load_teachers,
    prompt_hashes,
    read_documents,
    split_off,
    tokenizer_texts,
)
from tools.tiny.evaluate import evaluate
from tools.tiny.model import export
from tools.tiny.tokenizer import train_tokenizer
from tools.tiny.train import CHECKPOINT, LOG, STABLE, Budget, progress_of, train


def train_run(
    files: Sequence[Path],
    queries: Sequence[Path],
    out: Path,
    tokens: int | None,
    seconds: float | None,
    seed: int,
    compiled: bool,
    earlier: Path | None = None,
) -> None:
    """Train and export to `out / "model"`, from where a former call was killed.

    Args:
        files: documents.
        queries: search queries; without any, all are made.
        out: folder of the run.
        tokens: budget in tokens.
        seconds: budget in seconds of training; at least one of the two is needed.
        seed: of everything.
        compiled: whether torch compiles the network.
        earlier: folder of a run to go on from, whose tokenizer, weights and log are taken over: its last state before
            the learning rate decayed. The budget is for what comes on top.

    Raises:
        RunError: `out` holds a run that was begun otherwise, there is no budget, or nothing to go on from.
    """
    if tokens is None and seconds is None:
        raise RunError("say when training shall end: --tokens or --minutes")
    documents, aside = split_off(read_documents(files))
    asked, asked_aside = split_off(read_documents(queries))
    begun = {
        "seed": seed,
        "documents": len(documents),
        "documents_hash": _digest(documents),
        "set_aside": len(aside),
        "queries": len(asked),
        "queries_hash": _digest(asked),
        "queries_set_aside": len(asked_aside),
        "prompts": prompt_hashes(),
        "mixture": MIXTURE,
        "generated": GENERATED,
    }
    start = _begin(out, begun, earlier)
    teachers = load_teachers()
    tokenizer = out / "tokenizer"
    if not (tokenizer / "tokenizer_config.json").is_file():  # written last
        train_tokenizer(tokenizer_texts(documents, teachers, seed), tokenizer)
    examples = Examples(documents, teachers, tokenizer, seed, asked)
    budget = Budget(tokens, seconds, start.get("tokens", 0), start.get("seconds", 0.0))
    model = train(examples, out, budget, compiled=compiled)
    finished = out / "model"
    shutil.copytree(tokenizer, finished, dirs_exist_ok=True)
    export(model, finished)
    lines = [orjson.loads(line) for line in (out / LOG).read_bytes().splitlines()]
    told = {
        "files": [file.name for file in files],
        "query_files": [file.name for file in queries],
        "parameters": model.num_parameters(),
        "tokens": lines[-1]["tokens"],
        "seconds": lines[-1]["seconds"],
        "steps": len(lines),
        "loss": _curve(lines),
    }
    _write(finished / TRAINING, begun | told | ({"earlier": start} if start else {}))


def evaluate_run(files: Sequence[Path], queries: Sequence[Path], out: Path, limit: int | None) -> dict[str, Any]:
    """Evaluate `out / "model"` on the documents and queries set aside; the figures, which go beside the weights, too.

    Some of the samples go to `out / "samples.json"`.
    """
    _, aside = split_off(read_documents(files))
    _, asked = split_off(read_documents(queries))
    random.Random(0).shuffle(aside)
    random.Random(0).shuffle(asked)
    figures = evaluate(out / "model", aside[:limit], asked[:limit], load_teachers())
    _write(out / "samples.json", figures.pop("samples"))  # they quote the documents, so they stay out of the model
    _write(out / "model" / EVALUATION, figures)
    return figures


def _begin(out: Path, begun: dict[str, Any], earlier: Path | None) -> dict[str, Any]:
    """Note what a run is begun with, or check that it was begun so; what it goes on from, empty for nothing."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "run.json"
    if not file.is_file():
        start = _take_over(earlier, out, begun) if earlier else {}
        _write(file, begun | ({"earlier": start} if start else {}))
    before = orjson.loads(file.read_bytes())
    different = [name for name, value in begun.items() if before.get(name) != value]
    if earlier and "earlier" not in before:
        different.append("weights than those of --from")
    if different:
        raise RunError(f"{out} was begun with other {', '.join(different)}: take another --out, or delete it")
    found: dict[str, Any] = before.get("earlier", {})
    return found


def _take_over(earlier: Path, out: Path, begun: dict[str, Any]) -> dict[str, Any]:
    """Copy what training goes on from, and tell what the earlier run was.

    Raises:
        RunError: a file of it is missing, or the documents are split otherwise, so that it may have seen those set
            aside.
    """
    needed = [earlier / name for name in ("run.json", STABLE, LOG, "tokenizer/tokenizer_config.json")]
    if missing := [str(file) for file in needed if not file.is_file()]:
        raise RunError(f"there is no run to go on from: {', '.join(missing)} missing")
    told: dict[str, Any] = orjson.loads((earlier / "run.json").read_bytes())
    if told["documents_hash"] != begun["documents_hash"]:
        raise RunError(f"{earlier} was trained on other documents: it may have seen those that are set aside")
    step, tokens, seconds = progress_of(earlier / STABLE)
    shutil.copytree(earlier / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    lines = (earlier / LOG).read_bytes().splitlines(keepends=True)[:step]
    (out / LOG).write_bytes(b"".join(lines))
    shutil.copyfile(earlier / STABLE, out / CHECKPOINT)
    kept: dict[str, Any] = {name: told[name] for name in ("seed", "prompts", "mixture", "earlier") if name in told}
    return {"steps": step, "tokens": tokens, "seconds": round(seconds, 1)} | kept


def _digest(sources: Sequence[Source]) -> str:
    return xxhash.xxh3_64_hexdigest(orjson.dumps([source.text for source in sources]))


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
