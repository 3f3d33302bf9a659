"""Tokens per second of pipelines/tokens.py and of plain datatrove over the same documents, one after the other.

    python tests/bench/tokens.py [--documents 20000] [--rounds 3]

Both read JSON Lines in one process and write shuffled `.ds` files that end each document with EOS; datatrove's way is
JsonlReader and DocumentTokenizer. finemill's also writes its shards and commit records first, and starts from nothing.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocks.generate.tokenizer import read_tokenizer
from tests.bench.common import scratch
from tests.generate.small_tokenizers import make_tokenizer

ROOT = Path(__file__).resolve().parents[2]

PLAIN = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
source, output, tokenizer = sys.argv[1:]
steps = [JsonlReader(source, glob_pattern="*.jsonl"), DocumentTokenizer(output, tokenizer, eos_token="<|im_end|>")]
LocalPipelineExecutor(steps, logging_dir=output + "-logs").run()
"""


def write_documents(path: Path, count: int) -> None:
    """Documents of about 3 kB of the repository's own prose, no two alike."""
    words = " ".join(file.read_text() for file in sorted(ROOT.glob("**/*.md")) if ".venv" not in file.parts).split()
    with path.open("w") as file:
        for number in range(count):
            start = number * 37 % max(1, len(words) - 500)
            text = f"Document {number}. " + " ".join(words[start : start + 500])
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")


def seconds(command: list[object]) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios, found = [], {}
    with scratch() as folder:
        model = Path(make_tokenizer(folder / "model", "plain"))
        # Its file asks for truncation, which datatrove would do.
        tokenizer = read_tokenizer(str(model), None)
        tokenizer.save(str(model / "tokenizer.json"))
        (folder / "in").mkdir()
        write_documents(folder / "in" / "in.jsonl", options.documents)
        for number in range(options.rounds):
            plain, own = folder / f"plain{number}", folder / f"own{number}"
            took = {
                "datatrove": seconds(["-c", PLAIN, folder / "in", plain, model / "tokenizer.json"]),
                "finemill": seconds(
                    ["pipelines/tokens.py", "--input", folder / "in", "--output", own, "--tokenizer", model]
                ),
            }
            tokens = json.loads((own / "tokens.json").read_text())["formats"]["documents"]["tokens"]
            written = sum(file.stat().st_size for file in plain.glob("*.ds")) // 2
            if written != tokens:
                raise SystemExit(f"datatrove wrote {written} tokens and finemill {tokens}")
            rates = {name: tokens / value for name, value in took.items()}
            ratios.append(rates["finemill"] / rates["datatrove"])
            print(f"{tokens:,} tokens; " + ", ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items()))
    found = {"ratio": round(statistics.median(ratios), 2), "tokens": tokens, "rounds": options.rounds}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
