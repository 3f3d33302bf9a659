"""What checking a sample costs, by check, and whether it grows with its length alone.

    python tests/bench/verify.py [--seconds 0.5]

Four outputs of about 360 tokens, one per format, made from a source of 3 kB, with all the checks that their prompts ask
for; then each check on texts of 100 kB and of 1 MB, made of the same outputs. The last line is JSON: milliseconds per
sample for the dearest format, and how many times as long the longer text takes (10 is linear) for the dearest check.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from common import HERE, SENTENCE

sys.path.insert(0, str(HERE.parents[1]))

from blocks.generate.prompts import load_prompts
from blocks.rephrase.verify import CHECKS, run_rules, verify

SIZE = 1440  # characters of 360 tokens
NAMES = ("Anna", "Bell Rock", "Cornelia", "Dover", "Eddystone", "Fastnet", "Gibraltar", "Hanover")


def outputs() -> dict[str, str]:
    """A whole output of each format, as a model would write it."""
    pair = "**Q{0}: How high is {1}, built in 18{0:02}?**\n\n{1} has 3{0} m, and {0} keepers lived in it for years.\n\n"
    row = "| {1} {0} | 18{0:02} | 3{0} m | granite, finished after {0} years |\n"
    step = "{0}. **Measure the tower of {1}.** Write 3{0} m into the book, and light the lamp at {0}.\n"
    line = "In year {0}, {0} * 3 = {2} lamps burn, and {2} / 3 = {0} of them are new.\n"
    table = "| Tower | Built | Height | Notes |\n|---|---|---|---|\n"
    question = "\n**Question:** Which tower has 33 m?\n\n**Answer:** It is Dover 3, with 33 m."
    problem = "**Problem:** How many lamps burn after 9 years, with 3 new ones each?\n\n**Solution:**\n"
    return {
        "faq": _filled("", pair, ""),
        "table": _filled(table, row, question),
        "tutorial": _filled("# How to measure towers\n\n", step, ""),
        "math": _filled(problem, line, "\n**Answer:** 27 lamps."),
    }


def _filled(head: str, part: str, tail: str) -> str:
    text = head
    for i in range(1, 100):
        more = part.format(i, NAMES[i % len(NAMES)], 3 * i)
        if len(text) + len(more) + len(tail) > SIZE:
            break
        text += more
    return text + tail


def cost(work: Callable[[], Any], seconds: float) -> float:
    """Seconds that `work` takes: the fastest of the runs that fit into `seconds`, at least one."""
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        work()
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended > until:
            return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.5, help="for each measurement")
    options = parser.parse_args()
    source = (" ".join(NAMES) + " " + SENTENCE + " ".join(map(str, range(20, 60)))) * 20
    source, samples = source[:3000], outputs()
    rules = run_rules(load_prompts(",".join(samples)), {})
    per_sample = {}
    for name, text in samples.items():
        checks = rules[name]
        found = verify(text, source, checks)
        per_sample[name] = 1000 * cost(lambda text=text, checks=checks: verify(text, source, checks), options.seconds)
        print(f"{name:10} {len(text)} characters, {len(found)} measures: {per_sample[name]:.3f} ms")
    ratios = {}
    for name, check in CHECKS.items():
        kind = {"faq": "faq", "tutorial": "tutorial", "math_problem": "math", "equations": "math"}.get(name, "table")
        short = 1e6 * cost(lambda check=check, kind=kind: check(samples[kind], source), options.seconds)
        times = []
        for size in (100_000, 1_000_000):
            text = (samples[kind] + "\n\n") * (size // SIZE)
            long = source * (size // len(source))
            times.append(cost(lambda check=check, text=text, long=long: check(text, long), 0))
        ratios[name] = times[1] / times[0]
        print(
            f"{name:14} {short:8.0f} µs per sample, {1000 * times[1]:8.0f} ms per MB, {ratios[name]:5.1f} times 100 kB"
        )
    print(json.dumps({"ms_per_sample": round(max(per_sample.values()), 3), "growth": round(max(ratios.values()), 1)}))


if __name__ == "__main__":
    main()
