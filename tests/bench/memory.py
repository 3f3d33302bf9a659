"""Peak memory does not grow with the input, and an old journal replays in little.

    python tests/bench/memory.py [--small 10000 --large 100000]

The last line is JSON: growth of the peak from the small to the large run, and of a process that opens the journal of a
chunk of 100,000 documents (360 tokens each) with every answer in it, both in MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from common import HERE, run_client, scratch, server, write_documents

REPLAY = """
import resource, sys
from pathlib import Path
import xxhash
from blocks.shards.journal import Journal
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
journal = Journal(Path(sys.argv[1]))
last = xxhash.xxh3_128_digest(str(int(sys.argv[2]) - 1).encode())
assert journal.get(last)["finish_reason"] == "stop"
print(peak() - before)
"""

WRITE = """
import sys
from pathlib import Path
import xxhash
from blocks.shards.journal import Journal, syncer
journal = Journal(Path(sys.argv[1]))
for i in range(int(sys.argv[2])):
    answer = {"text": "word " * 288, "finish_reason": "stop", "usage": {"completion_tokens": 360}, "reasoning": None}
    journal.put(xxhash.xxh3_128_digest(str(i).encode()), answer)
journal.close()
syncer().flush(120)
"""


def python(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def replay(folder: Path, count: int) -> float:
    """Growth in MB of a process that opens a journal of `count` answers."""
    journal = folder / "journal.jsonl"
    python(WRITE, journal, count)
    return float(python(REPLAY, journal, count))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000)
    options = parser.parse_args()
    peaks = []
    with scratch() as folder:
        for count in (options.small, options.large):
            source = write_documents(folder / f"{count}.jsonl", count)
            with server() as url:
                result = run_client("finemill", url, source, folder / str(count), "--chunk-size", 5000)
            if result["documents"] != count:
                raise SystemExit(f"{result['documents']} of {count} documents were delivered")
            peaks.append(result["rss_mb"])
            print(f"{count:7} documents: peak {result['rss_mb']:.0f} MB, {count / result['seconds']:.0f} documents/s")
        replayed = replay(folder, options.large)
        print(f"replay of {options.large} answers: {replayed:.0f} MB more")
    print(json.dumps({"rss_growth_mb": round(peaks[1] - peaks[0], 1), "replay_mb": round(replayed, 1)}))


if __name__ == "__main__":
    main()
