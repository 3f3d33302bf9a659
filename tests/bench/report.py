"""How long a report of a million samples takes, and in how much memory.

    python tests/bench/report.py [--documents 500000]

A scripted server answers the first few chunks of a run; their commits and shards are then repeated under other names
until the run has all of its documents, in two formats each. The last line is JSON: samples, seconds and peak memory of
`pipelines/report.py`, and of the same on the first chunks alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from common import HERE, SENTENCE, scratch, server

from blocks.shards.commit import commit_path, load_commits
from blocks.shards.folder import RunFolder
from blocks.shards.plan import extend_plan, load_plan, save_plan
from blocks.shards.source import list_files

CHUNK, ANSWERED = 1000, 4
ROOT = HERE.parents[1]


def write_input(path: Path, count: int) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, count, CHUNK):
            numbers = range(first, min(count, first + CHUNK))
            rows = {"id": [f"doc-{n}" for n in numbers], "text": [f"{n} {SENTENCE * 8}" for n in numbers]}
            writer.write_table(pa.table(rows, schema=schema))


def repeat(folder: RunFolder, source: Path) -> int:
    """Commit everything that the first chunks did not: what they have, under other names. The number of samples."""
    plan = folder.state / "plan.jsonl"
    save_plan(plan, extend_plan(load_plan(plan), list_files(str(source)), CHUNK, None))
    commits = [commit for commit in load_commits(folder) if commit.tally["documents"]["read"] == CHUNK]
    samples = sum(sum(commit.tally["samples"]["requested"].values()) for commit in load_commits(folder))
    for unit in load_plan(plan)[len(commits) :]:
        of = commits[unit.number % len(commits)]
        name = folder.chunk_name(unit.number, 0)
        files = []
        for file in of.files:
            path = file.path.replace(of.chunk, name)
            os.link(f"{folder.output}/{file.path}", f"{folder.output}/{path}")
            files.append(replace(file, path=path))
        copy = replace(of, chunk=name, unit=unit.number, files=files, at=of.at + unit.number)
        commit_path(folder, name).write_bytes(orjson.dumps(copy))
        samples += sum(copy.tally["samples"]["requested"].values())
    return samples


def report(run: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB."""
    began = time.perf_counter()
    command = [sys.executable, str(ROOT / "pipelines" / "report.py"), str(run), "--output", str(run.parent / "r.html")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("pipelines/report.py failed")
    assert isinstance(usage, resource.struct_rusage)
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=500_000)
    options = parser.parse_args()
    with scratch() as scratched, server() as url:
        source, run = scratched / "in.parquet", scratched / "run"
        write_input(source, options.documents)
        asked = ["--input", source, "--output", run, "--formats", "faq,tutorial", "--chunk-size", CHUNK]
        asked += ["--limit", ANSWERED * CHUNK, "--server", "endpoint", "--endpoint", url, "--tokenizer", "none"]
        command = [sys.executable, ROOT / "pipelines" / "finephrase.py", *asked]
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
        few = report(run)
        samples = repeat(RunFolder.at(str(run)), source)
        many = report(run)
        print(f"{2 * ANSWERED * CHUNK:9,} samples: {few[0]:.1f} s, {few[1]:.0f} MB")
        print(f"{samples:9,} samples: {many[0]:.1f} s, {many[1]:.0f} MB")
        size = (scratched / "r.html").stat().st_size / 1e3
    told = {"samples": samples, "seconds": round(many[0], 1), "peak_mb": round(many[1]), "report_kb": round(size)}
    print(json.dumps(told | {"few_seconds": round(few[0], 1), "few_peak_mb": round(few[1])}))


if __name__ == "__main__":
    main()
