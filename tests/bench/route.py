"""What it costs to tell which formats suit a document, and whether it grows with the document's length alone.

    python tests/bench/route.py [--documents 300]

Documents of 3 kB of four kinds with the rules of the four FinePhrase formats, each document new, so that its language
has to be found; then the same at 100 kB and at 1 MB. The last line is JSON: microseconds per 3 kB document of the
dearest kind, and how many times as long the longer text takes (10 is linear) for the kind that grows the most.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time

from common import HERE, SENTENCE

sys.path.insert(0, str(HERE.parents[1]))

from blocks.generate.prompts import load_prompts
from blocks.rephrase.features import features
from blocks.rephrase.route import Route, parse_routes, suits

KINDS = {
    "prose": SENTENCE,
    "news": "On 3 May 2014 Anna Bell of Dover said that 1,200 people, 35 % of them children, had paid $4.5 million. ",
    "steps": "1. Mix 500 g of flour with the water.\n2. Knead it for 10 minutes, because it has to be smooth.\n",
    "table": "Butter    3101   0.7    83.2\nMilk      268    3.4    3.6\n",
}


def cost(part: str, size: int, count: int, routes: dict[str, Route]) -> tuple[float, list[str]]:
    """Median seconds per document of `size` characters, over `count` new documents; the formats that suit the last."""
    chance = random.Random(size)
    times = []
    for _ in range(count):
        begin = " ".join(chance.choices(SENTENCE.split(), k=30)) + ".\n"
        text = (begin + part * (size // len(part) + 1))[:size]
        started = time.perf_counter()
        suiting = suits(features(text), routes)
        times.append(time.perf_counter() - started)
    return statistics.median(times), [name for name, reason in suiting.items() if reason is None]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=300, help="of 3 kB, of each kind")
    options = parser.parse_args()
    routes = parse_routes(load_prompts("faq,math,table,tutorial"))
    short, growth = [], []
    for kind, part in KINDS.items():
        seconds, formats = cost(part, 3_000, options.documents, routes)
        middle, _ = cost(part, 100_000, 5, routes)
        long, _ = cost(part, 1_000_000, 3, routes)
        short.append(1e6 * seconds)
        growth.append(long / middle)
        print(
            f"{kind:6} {short[-1]:4.0f} µs per 3 kB, {1000 * long:4.0f} ms per MB, {growth[-1]:4.1f} times 100 kB; "
            f"suits {', '.join(formats)}"
        )
    print(json.dumps({"us_per_document": round(max(short)), "growth": round(max(growth), 1)}))


if __name__ == "__main__":
    main()
