"""What checking a sample costs, by format and by check, and whether it grows with its length alone.

    python tests/bench/verify.py [--seconds 2]

Documents of 3 kB, each with four outputs of about 360 tokens, one per format, as they come in a run: one after another,
all different, every document's outputs in a row. Once both are dense with numbers, once they are prose that has few.
Then each check on texts of 100 kB and of 1 MB, made of the same outputs. The last line is JSON: milliseconds per sample
for the dearest format of either kind, and how many times as long the longer text takes (10 is linear) for the dearest
check.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from common import HERE

sys.path.insert(0, str(HERE.parents[1]))

from blocks.filters.verify import CHECKS, run_rules, verify
from blocks.generate.prompts import load_prompts

SIZE = 1440  # characters of 360 tokens
SOURCE_SIZE = 3000
DOCUMENTS = 50
FORMATS = ("faq", "table", "tutorial", "math")
NAMES = ("Anna", "Bell Rock", "Cornelia", "Dover", "Eddystone", "Fastnet", "Gibraltar", "Hanover")
WORDS = (
    "the of and a to in is was that for on with as by at from it which were are their has one had be not this its have "
    "tower light keeper stone harbour water lamp granite ship coast storm winter village engineer visible built stands "
    "carries shines warns guides burns replaces repairs measures paints climbs oil lens island rock wall door bell boat"
).split()

# Filled with the number of the part, a name, three times the number, and a sentence without numbers.
DENSE = {
    "faq": ("", "**Q{0}: How high is {1}, built in 18{0:02}?**\n\n{1} has 3{0} m, and {0} keepers {3}.\n\n", ""),
    "table": (
        "| Tower | Built | Height | Notes |\n|---|---|---|---|\n",
        "| {1} {0} | 18{0:02} | 3{0} m | granite, finished after {0} years |\n",
        "\n**Question:** Which tower was built in 18{0:02}?\n\n**Answer:** It is {1} {0}, with 3{0} m.",
    ),
    "tutorial": (
        "# How to measure towers\n\n",
        "{0}. **Measure the tower of {1}.** Write 3{0} m into the book, then {3} at {0}.\n",
        "",
    ),
    "math": (
        "**Problem:** How many lamps burn after 9 years, with 3 new ones each?\n\n**Solution:**\n",
        "In year {0}, {0} * 3 = {2} lamps burn, and {2} / 3 = {0} of them are new.\n",
        "\n**Answer:** 27 lamps.",
    ),
}
PROSE = {
    "faq": ("", "**What is known about {1}?**\n\n{1} {3}. {3}, and {3}.\n\n", ""),
    "table": (
        "| Tower | What it is |\n|---|---|\n",
        "| {1} {0} | {3} |\n",
        "\n**Question:** Which tower comes first?\n\n**Answer:** It is {1} {0}.",
    ),
    "tutorial": ("# How to look after a tower\n\n", "{0}. **Look at {1}.** Make sure that {3}. {3}.\n", ""),
    "math": (
        "**Problem:** In 1874 {1} had 4 lamps, and got 3 more every year. How many are there after 9 years?\n\n",
        "Remember that {3}, and {3}.\n",
        "\n**Solution:** The keepers add 3 * 9 = 27 lamps, and 27 + 4 = 31.\n\n**Answer:** 31 lamps.",
    ),
}


def sentence(chance: random.Random, words: int = 9) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def document(chance: random.Random, dense: bool) -> str:
    parts = []
    while sum(map(len, parts)) < SOURCE_SIZE:
        parts.append(f"{chance.choice(NAMES)} {sentence(chance, 18)}. ")
        numbers = [chance.randint(1, 100) for _ in range(40 if dense else 1)]
        parts.append(f"In {chance.randint(1700, 2020)}: {' '.join(map(str, numbers))}. ")
    return "".join(parts)[:SOURCE_SIZE]


def output(chance: random.Random, head: str, part: str, tail: str) -> str:
    """A whole output of a format, as a model would write it."""
    first = chance.randint(1, 20)
    parts = [filled(head, first, chance)]
    end = filled(tail, first, chance)
    for i in range(first, 100):
        more = filled(part, i, chance)
        if sum(map(len, parts)) + len(more) + len(end) > SIZE:
            break
        parts.append(more)
    return "".join([*parts, end])


def filled(template: str, i: int, chance: random.Random) -> str:
    """A part of an output, every sentence another one."""
    while "{3}" in template:
        template = template.replace("{3}", sentence(chance), 1)
    return template.format(i, NAMES[i % len(NAMES)], 3 * i)


def documents(templates: dict[str, tuple[str, str, str]]) -> list[tuple[str, dict[str, str]]]:
    """Sources with their outputs by format."""
    chance = random.Random(0)
    return [
        (document(chance, templates is DENSE), {name: output(chance, *templates[name]) for name in FORMATS})
        for _ in range(DOCUMENTS)
    ]


def rounds(seconds: float) -> Iterator[None]:
    """As many rounds as fit into `seconds`, at least two."""
    until = time.perf_counter() + seconds
    yield
    yield
    while time.perf_counter() < until:
        yield


def by_format(pairs: list[tuple[str, dict[str, str]]], seconds: float) -> dict[str, float]:
    """Milliseconds per sample of each format, with all checks that its prompt asks for."""
    rules = run_rules(load_prompts(",".join(FORMATS)), {})
    best = dict.fromkeys(FORMATS, float("inf"))
    for _ in rounds(seconds):
        spent = dict.fromkeys(FORMATS, 0.0)
        for number, (source, outputs) in enumerate(pairs):
            # Who comes first reads the source; it is another one every time.
            for place in range(len(FORMATS)):
                name = FORMATS[(number + place) % len(FORMATS)]
                started = time.perf_counter()
                verify(outputs[name], source, rules[name])
                spent[name] += time.perf_counter() - started
        best = {name: min(best[name], 1000 * spent[name] / len(pairs)) for name in FORMATS}
    return best


def by_check(pairs: list[tuple[str, dict[str, str]]], seconds: float) -> dict[str, float]:
    """Microseconds per sample of each check on its own, on the outputs of the formats that have it."""
    rules = run_rules(load_prompts(",".join(FORMATS)), {})
    best = dict.fromkeys(CHECKS, float("inf"))
    for check in CHECKS:
        wanted = [name for name in FORMATS if any(rule.check == check for rule in rules[name])]
        for _ in rounds(seconds):
            started = time.perf_counter()
            for source, outputs in pairs:
                for name in wanted:
                    CHECKS[check](outputs[name], source)
            spent = time.perf_counter() - started
            best[check] = min(best[check], 1e6 * spent / len(pairs) / len(wanted))
    return best


def seconds_of(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def growth(pairs: list[tuple[str, dict[str, str]]]) -> dict[str, tuple[float, float]]:
    """Milliseconds that each check takes for 1 MB, and how many times as long as for 100 kB."""
    grown = {}
    for name, check in CHECKS.items():
        kind = {"faq": "faq", "tutorial": "tutorial", "math_problem": "math", "equations": "math"}.get(name, "table")
        times = []
        for size in (100_000, 1_000_000):
            text = "\n\n".join(outputs[kind] for _, outputs in pairs * (size // SIZE // len(pairs) + 1))[:size]
            source = "".join(source for source, _ in pairs * (size // SOURCE_SIZE // len(pairs) + 1))[:size]
            times.append(seconds_of(lambda check=check, text=text, source=source: check(text, source)))
        grown[name] = 1000 * times[1], times[1] / times[0]
    return grown


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    options = parser.parse_args()
    kinds = {"dense": documents(DENSE), "prose": documents(PROSE)}
    per_sample = {kind: by_format(pairs, options.seconds) for kind, pairs in kinds.items()}
    for name in FORMATS:
        print(f"{name:14} " + ", ".join(f"{per_sample[kind][name]:6.3f} ms {kind}" for kind in kinds))
    per_check = {kind: by_check(pairs, options.seconds / 4) for kind, pairs in kinds.items()}
    grown = growth(kinds["dense"])
    for name in CHECKS:
        shown = ", ".join(f"{per_check[kind][name]:6.0f} µs {kind}" for kind in kinds)
        print(f"{name:14} {shown}, {grown[name][0]:6.0f} ms per MB, {grown[name][1]:5.1f} times 100 kB")
    result = {f"ms_per_{kind}_sample": round(max(times.values()), 3) for kind, times in per_sample.items()}
    print(json.dumps(result | {"growth": round(max(times for _, times in grown.values()), 1)}))


if __name__ == "__main__":
    main()
