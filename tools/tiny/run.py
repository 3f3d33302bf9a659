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
from tools.tiny.copies import FURTHER, FURTHER_LONG
from tools.tiny.data import (
    GENERATED,
    MIXTURE,
    PRACTISED,
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
from tools.tiny.practise import practise, read_practised
from tools.tiny.tokenizer import TOKENIZER_FILES, train_tokenizer
from tools.tiny.train import LOG, Budget, begin_with, train


def train_run(
    files: Sequence[Path],
    queries: Sequence[Path],
    out: Path,
    tokens: int | None,
    seconds: float | None,
    seed: int,
    compiled: bool,
    earlier: Path | None = None,
    practised: Sequence[Path] = (),
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
        earlier: folder of a finished model to go on from. Its weights and tokenizer are taken over, the optimizers
            begin anew, and the budget is for what comes on top.
        practised: files of `practise_run`.

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
        "copies": {"short": FURTHER, "long": FURTHER_LONG},
    }
    from_practice = read_practised(practised)
    if from_practice:
        begun["practised"] = {
            "share": PRACTISED,
            "examples": len(from_practice),
            "tasks": sorted({example.task for example in from_practice}),
            "hash": xxhash.xxh3_64_hexdigest(orjson.dumps([example[:3] for example in from_practice])),
        }
    start = _begin(out, begun, earlier)
    teachers = load_teachers()
    tokenizer = out / "tokenizer"
    if not (tokenizer / TOKENIZER_FILES[-1]).is_file():
        train_tokenizer(tokenizer_texts(documents, teachers, seed), tokenizer)
    examples = Examples(documents, teachers, tokenizer, seed, asked, from_practice)
    budget = Budget(tokens, seconds, start.get("steps", 0), start.get("tokens", 0), start.get("seconds", 0.0))
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
        "steps": lines[-1]["step"] + 1,
        "loss": [*start.get("loss", []), *_curve(lines)],
    }
    start.pop("loss", None)  # the curve above holds it
    _write(finished / TRAINING, begun | told | ({"earlier": start} if start else {}))


def practise_run(
    files: Sequence[Path], queries: Sequence[Path], model: Path, out: Path, first: int, number: int, seed: int
) -> dict[str, int]:
    """Ask a finished model about the documents to train on; see `practise`.

    Raises:
        RunError: there is no finished model, or it was trained on other documents or queries.
    """
    documents, _ = split_off(read_documents(files))
    asked, _ = split_off(read_documents(queries))
    _finished(model, {"documents_hash": _digest(documents), "queries_hash": _digest(asked)})
    examples = Examples(documents, load_teachers(), model, seed, asked)
    return practise(model, examples, out, first, number)


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
    different = [name for name in begun | before if name != "earlier" and before.get(name) != begun.get(name)]
    if earlier and before.get("earlier", {}).get("weights") != _weights(earlier):
        different.append("weights than those of --from")
    if different:
        raise RunError(f"{out} was begun with other {', '.join(different)}: take another --out, or delete it")
    found: dict[str, Any] = before.get("earlier", {})
    return found


def _take_over(earlier: Path, out: Path, begun: dict[str, Any]) -> dict[str, Any]:
    """Make the first checkpoint of a model that is finished, and tell how that was trained."""
    told = _finished(earlier, begun)
    (out / "tokenizer").mkdir(exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(earlier / name, out / "tokenizer" / name)
    begin_with(earlier, out, told["steps"], told["tokens"], told["seconds"])
    names = ("steps", "tokens", "seconds", "seed", "prompts", "mixture", "generated", "copies", "practised", "loss")
    return {name: told[name] for name in (*names, "earlier") if name in told} | {"weights": _weights(earlier)}


def _finished(earlier: Path, begun: dict[str, Any]) -> dict[str, Any]:
    """How a finished model was trained.

    Raises:
        RunError: a file of it is missing, or the documents are split otherwise, so that it may have seen those set
            aside.
    """
    needed = [earlier / name for name in (TRAINING, "model.safetensors", *TOKENIZER_FILES)]
    if missing := [str(file) for file in needed if not file.is_file()]:
        raise RunError(f"there is no finished model to go on from: {', '.join(missing)} missing")
    told: dict[str, Any] = orjson.loads((earlier / TRAINING).read_bytes())
    for name in ("documents", "queries"):
        if told.get(name) and told[f"{name}_hash"] != begun[f"{name}_hash"]:
            raise RunError(f"{earlier} was trained on other {name}: it may have seen those that are set aside")
    return told


def _weights(model: Path) -> str | None:
    file = model / "model.safetensors"
    return xxhash.xxh3_64_hexdigest(file.read_bytes()) if file.is_file() else None


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
