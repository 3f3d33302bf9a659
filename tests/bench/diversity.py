"""What measuring the diversity of a shard costs, by part, and whether it grows with the samples' length alone.

    python tests/bench/diversity.py [--seconds 0.5]

A shard of 5,000 different samples of about 360 tokens; then samples of 100 kB and of 1 MB. The last line is JSON:
microseconds per sample over the whole shard, of those that are only counted, of those that are looked at, milliseconds
at the end of a shard, how many times as long the longer sample takes (10 is linear), MB held for the shard, and
microseconds per shard for adding it to its format.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import tracemalloc

from common import HERE

sys.path.insert(0, str(HERE.parents[1]))

from blocks.shards.diversity import LOOKED_AT, Diversity, FormatDiversity

SIZE = 1440  # characters of 360 tokens
SAMPLES = 5000  # of a default chunk


def sample(source: random.Random, words: list[str]) -> str:
    """Lines of words that come up as words do: a few of them most of the time."""
    ranks = [int(len(words) ** source.random()) - 1 for _ in range(SIZE // 5)]
    return "\n".join(" ".join(words[rank] for rank in ranks[i : i + 15]) for i in range(0, len(ranks), 15))[:SIZE]


def seconds_of(texts: list[str], shard: Diversity) -> float:
    """Seconds that adding `texts` takes."""
    started = time.perf_counter()
    for text in texts:
        shard.add(text)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.5, help="for each measurement of a whole shard")
    options = parser.parse_args()
    source = random.Random(1)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 9))) for _ in range(20_000)]
    texts = [sample(source, words) for _ in range(SAMPLES)]
    Diversity().add(texts[0])  # imports
    looked_at = counted = end = float("inf")
    until = time.perf_counter() + options.seconds
    while end == float("inf") or time.perf_counter() < until:
        shard = Diversity()
        looked_at = min(looked_at, seconds_of(texts[:LOOKED_AT], shard) / LOOKED_AT)
        counted = min(counted, seconds_of(texts[LOOKED_AT:], shard) / (SAMPLES - LOOKED_AT))
        started = time.perf_counter()
        found = shard.as_dict()
        end = min(end, time.perf_counter() - started)
    whole = (LOOKED_AT * looked_at + (SAMPLES - LOOKED_AT) * counted + end) / SAMPLES
    print(
        f"{SAMPLES} samples of {SIZE} characters, record of {len(json.dumps(found))} bytes: {1e6 * whole:.1f} µs each"
    )
    print(f"counted {1e6 * counted:.1f} µs, looked at {1e6 * looked_at:.0f} µs, at the end {1e3 * end:.1f} ms")
    growth = 0.0
    for kind, part in {"words": texts[0] + " ", "no blanks": "x" * SIZE, "punctuation": "|-" * SIZE}.items():
        times = [
            min(seconds_of([(part * (size // len(part) + 1))[:size]], Diversity()) for _ in range(5))
            for size in (100_000, 1_000_000)
        ]
        growth = max(growth, times[1] / times[0])
        print(f"{kind:12} {1e3 * times[1]:.2f} ms per MB, {times[1] / times[0]:.1f} times 100 kB")
    tracemalloc.start()
    shard = Diversity()
    seconds_of(["".join(text) for text in texts], shard)
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    total = FormatDiversity()
    started = time.perf_counter()
    for i in range(20_000):
        total.add(str(i), found)
    merging = (time.perf_counter() - started) / 20_000
    print(f"{held:.1f} MB held, {1e6 * merging:.0f} µs to add a shard to its format")
    result = {
        "us_per_sample": 1e6 * whole,
        "us_counted": 1e6 * counted,
        "us_looked_at": 1e6 * looked_at,
        "ms_end": 1e3 * end,
        "growth": growth,
        "mb_held": held,
        "us_per_shard": 1e6 * merging,
    }
    print(json.dumps({name: round(value, 1) for name, value in result.items()}))


if __name__ == "__main__":
    main()
