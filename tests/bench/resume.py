"""How long a resumed run takes from its start to its first request.

    python tests/bench/resume.py [--chunks 0 1000 100000]

The run has so many committed chunks (each a unit of its own) and one to go; then the same with a file system that takes
50 ms for every operation on the run folder. The last line is JSON: seconds by number of chunks, local and slow; imports
take some 0.6 of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from common import HERE, scratch, server, write_documents

sys.path.insert(0, str(HERE.parents[1]))

import orjson

from blocks.shards.commit import Commit, commit_path, mark_finished
from blocks.shards.folder import RunFolder
from blocks.shards.plan import load_plan, save_plan
from blocks.shards.tally import Tally

SLOW = 0.05


def launch(source: Path, run: Path, url: str, slow: bool, kill: bool) -> tuple[float, str]:
    """Seconds from the start of the pipeline to the first request, and what it printed."""
    command = [sys.executable, "pipelines/finephrase.py", "--input", source, "--output", run, "--formats", "faq"]
    command += ["--server", "endpoint", "--endpoint", url, "--tokenizer", "none", "--chunk-size", 1]
    environment = dict(os.environ)
    if slow:
        environment |= {"SLOW_DISK_FOLDER": str(run), "SLOW_DISK_SECONDS": str(SLOW)}
        environment["PYTHONPATH"] = str(HERE / "slow_disk")
    record = run.with_suffix(".requests")
    started = time.monotonic()
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=HERE.parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (record.exists() and record.stat().st_size) and process.poll() is None:
        time.sleep(0.002)
    seconds = time.monotonic() - started
    if kill:
        process.kill()
    output, _ = process.communicate()
    if not (record.exists() and record.stat().st_size):
        raise SystemExit(f"there was no request:\n{output}")
    return seconds, output


def prepare(source: Path, run: Path, url: str, chunks: int) -> None:
    """Make a run with `chunks` committed chunks and one more to go."""
    launch(source, run, url, slow=False, kill=True)
    folder = RunFolder.at(str(run))
    for name in ("commits", "finished", "journal"):  # whatever the killed launch still came to
        for path in (folder.state / name).iterdir():
            path.unlink()
    units = load_plan(folder.state / "plan.jsonl")
    template = replace(units[0], rows=1, stop=1)
    save_plan(
        folder.state / "plan.jsonl",
        [*(replace(template, number=i) for i in range(chunks)), replace(units[-1], number=chunks)],
    )
    tally = Tally(read=1, done=1)
    tally.requested["faq"] = tally.written["faq"] = 1
    for i in range(chunks):
        name = folder.chunk_name(i, 0)
        record = Commit(name, i, 0, True, "bench", [], tally.as_dict())
        commit_path(folder, name).write_bytes(orjson.dumps(asdict(record)))
        mark_finished(folder, i)
    run.with_suffix(".requests").write_text("")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, nargs="+", default=[0, 1000, 100_000])
    options = parser.parse_args()
    result: dict[str, float] = {}
    with scratch() as folder:
        source = write_documents(folder / "documents.jsonl", 1)
        for chunks in options.chunks:
            for slow in (False, True):
                run = folder / f"run-{chunks}-{slow}"
                with server("--record", run.with_suffix(".requests")) as url:
                    prepare(source, run, url, chunks)
                with server("--record", run.with_suffix(".requests")) as url:
                    seconds, _ = launch(source, run, url, slow, kill=True)
                key = f"seconds_{chunks}" + ("_slow" if slow else "")
                result[key] = round(seconds, 2)
                print(f"{chunks:7} chunks, {'50 ms per operation' if slow else 'local':20} {seconds:6.2f} s")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
