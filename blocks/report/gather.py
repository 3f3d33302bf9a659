"""What a report says of a run, out of its record, its commit records and its prompts; no text of a sample is read."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from blocks.generate.prompts import load_prompt
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import load_plan
from blocks.shards.run import load_run
from blocks.shards.summary import Totals

STEPS = 60
"""Points of the curves over time."""


@dataclass
class Bar:
    """A line of a bar chart.

    Args:
        name: what it is.
        count: how many.
        share: of the longest bar or of the whole, 0 to 1.
        kind: `kept`, `flagged`, `rejected` or `failed`, for its colour.
    """

    name: str
    count: int
    share: float
    kind: str = "kept"


def gather(folder: RunFolder) -> dict[str, Any]:
    """Everything but the samples.

    Raises:
        RunError: there is no run.
    """
    record = load_run(folder)
    if record is None:
        raise RunError(f"{folder.output} is no run folder: there is no run.yaml in it")
    totals, times, tokens = Totals(folder), list[float](), list[int]()
    workers: dict[str, dict[str, int]] = {}
    for commit in load_commits(folder):
        totals.add(commit)
        numbers = commit.tally["numbers"]
        times.append(commit.at)
        tokens.append(numbers.get("completion_tokens", 0))
        told = workers.setdefault(commit.worker, {"chunks": 0, "documents": 0, "tokens": 0})
        told["chunks"] += 1
        told["documents"] += commit.tally["documents"]["read"]
        told["tokens"] += numbers.get("completion_tokens", 0)
    summary = totals.summary(record, load_plan(folder.state / "plan.jsonl"))
    return {
        "record": record,
        "summary": summary,
        "documents": document_flow(summary["documents"]),
        "samples": sample_flow(summary["samples"]),
        "checks": [check_bars(name, found) for name, found in summary["checks"].items()],
        "lengths": {name: length_bars(found) for name, found in summary["diversity"].items()},
        "curve": curve(times, tokens),
        "launches": _launches(folder),
        "workers": sorted(workers.items()),
        "prompts": _prompts(record.formats),
        "config": yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True),
        "fingerprint": yaml.safe_dump(record.fingerprint, sort_keys=False, allow_unicode=True),
        "pins": yaml.safe_dump(record.pins, sort_keys=False, allow_unicode=True),
    }


def document_flow(documents: Mapping[str, Any]) -> list[Bar]:
    """What became of the documents that were read; the first bar is all of them."""
    read = max(1, documents["read"])
    bars = [Bar("read", documents["read"], 1.0), Bar("done", documents["done"], documents["done"] / read)]
    for kind in ("rejected", "failed"):
        bars += [Bar(reason, count, count / read, kind) for reason, count in _largest(documents[kind])]
    return bars


def sample_flow(samples: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """What became of the samples that were asked for, by format; the first bar is all of them."""
    flow = {}
    for name, requested in samples["requested"].items():
        whole, written = max(1, requested), samples["written"].get(name, 0)
        flow[name] = [Bar("asked for", requested, 1.0), Bar("written", written, written / whole)]
        for kind in ("rejected", "failed"):
            reasons = _largest(samples[kind].get(name, {}))
            flow[name] += [Bar(reason, count, count / whole, kind) for reason, count in reasons]
    return flow


def check_bars(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A check: its verdicts, and for each format the distribution of its values.

    Beside each value stands the share of samples that have it or less: what another threshold would keep.
    """
    formats = {}
    for format, told in found["formats"].items():
        values = {bucket: count for bucket, count in told["values"].items() if bucket != "nothing"}
        most, whole, below = max(values.values(), default=1), max(1, sum(values.values())), 0
        rows = []
        for bucket, count in values.items():
            below += count
            rows.append({"bar": Bar(bucket, count, count / most), "at_most": below / whole})
        formats[format] = {"rows": rows, **{kind: told[kind] for kind in ("passed", "flagged", "rejected")}}
    return {"name": name, "formats": formats, **{kind: found[kind] for kind in ("passed", "flagged", "rejected")}}


def length_bars(found: Mapping[str, Any]) -> list[Bar]:
    """Samples by their number of words, in powers of two."""
    sizes = found["words"]["sizes"]
    most = max(sizes.values(), default=1)
    return [
        Bar("0" if int(size) == 0 else f"{int(size):,} to {2 * int(size) - 1:,}", count, count / most)
        for size, count in sizes.items()
    ]


def curve(times: Sequence[float], tokens: Sequence[int]) -> dict[str, Any] | None:
    """Tokens committed over time, as points of a line from (0, 0) to (1, 1); None for fewer than two commits."""
    if len(times) < 2 or not sum(tokens):
        return None
    first, last = min(times), max(times)
    width = max(1e-9, last - first)
    steps = [0] * (STEPS + 1)
    for at, count in zip(times, tokens, strict=True):
        steps[math.ceil(STEPS * (at - first) / width)] += count
    total, points = 0, []
    for number, count in enumerate(steps):
        total += count
        points.append((number / STEPS, total / sum(tokens)))
    shown = [time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) for at in (first, last)]
    return {"points": points, "from": shown[0], "to": shown[1], "tokens": sum(tokens), "first": first, "seconds": width}


def _largest(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def _launches(folder: RunFolder) -> list[float]:
    try:
        lines = (folder.state / "launches.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [orjson.loads(line)["at"] for line in lines if line.endswith(b"}")]


def _prompts(formats: Mapping[str, str]) -> list[dict[str, Any]]:
    """The prompts of a run in full, as far as they are still as they were."""
    found = []
    for name, made_of in formats.items():
        try:
            prompt = load_prompt(name)
        except (OSError, ValueError):
            continue
        same = prompt.hash in made_of
        found.append({"name": name, "hash": made_of, "text": prompt.text if same else None})
    return found
