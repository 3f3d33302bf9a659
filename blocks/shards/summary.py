"""The summary of a run, computed from its commit records; only what was paid stands elsewhere."""

from __future__ import annotations

import socket
import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from blocks.shards.alarms import find_alarms
from blocks.shards.commit import Commit, load_commits, pending_units
from blocks.shards.diversity import FormatDiversity
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.paid import paid
from blocks.shards.plan import Unit
from blocks.shards.run import RunRecord
from blocks.shards.tally import Tally

NAMED = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "special_tokens_broken_up",
    "pii_replaced",
    "judge_input_cut",
)
"""Numbers of a tally that have a place of their own in the summary."""


def check_complete(output: str) -> None:
    """Refuse a run that is not finished, as far as its output tells; anything else passes.

    Raises:
        RunError: it has no summary yet, or one that says so.
    """
    folder = RunFolder(output, Path())
    if folder.read_output("run.yaml") is None:
        return
    told = folder.read_output("summary.json")
    if told is None or not orjson.loads(told)["complete"]:
        raise RunError(f"the run {output} is not finished: start it again first")


def log_launch(folder: RunFolder, gpus: int = 0, is_job: bool = False) -> None:
    """Note that a launch begins now, on this machine with so many GPUs, perhaps as a job of a cluster."""
    told = {"at": time.time(), "host": socket.gethostname(), "gpus": gpus, "job": is_job}
    with (folder.state / "launches.jsonl").open("ab") as file:
        file.write(orjson.dumps(told) + b"\n")


def summarize(folder: RunFolder, record: RunRecord, units: Sequence[Unit]) -> dict[str, Any]:
    """Count the run and write `summary.json`.

    Documents are counted in the first pass (later passes read the same ones), samples and tokens in all of them.

    Returns:
        `read`, `done`, `written` (by format), `rejected` and `failed` (by reason, documents and samples together),
        `prompt_tokens`, `completion_tokens`, `paid` (money, where there was a `--price`), `seconds` (wall clock from
        each launch to its last commit), `complete`, `alarms` (see `find_alarms`), `counts` (further numbers, by what a
        step calls them), `spared` (requests that routing did not make, by format and reason), `checks` (by measure),
        `diversity` (by format), and both balances in full under `documents` and `samples`.

    Raises:
        RunError: a balance does not hold.
    """
    totals = Totals(folder)
    for commit in load_commits(folder):
        totals.add(commit)
    summary = totals.summary(record, units)
    folder.write_output("summary.json", orjson.dumps(summary, option=orjson.OPT_INDENT_2) + b"\n")
    return summary


class Totals:
    """What the commit records of a run add up to; takes each once, in any order.

    Args:
        folder: the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.chunks = 0
        self._total = Tally()
        self._passes: dict[int, Tally] = {}
        self._diversity: dict[str, FormatDiversity] = {}
        self._times = array("d")

    def add(self, commit: Commit) -> None:
        """Add a commit record."""
        self.chunks += 1
        self._total.add(commit.tally)
        self._passes.setdefault(self.folder.pass_of(commit.chunk), Tally()).add(commit.tally)
        for file in commit.files:
            if file.diversity is not None:
                name = file.path.split("/")[1]
                self._diversity.setdefault(name, FormatDiversity()).add(file.path, file.diversity)
        self._times.append(commit.at)

    def summary(self, record: RunRecord, units: Sequence[Unit]) -> dict[str, Any]:
        """The summary as `summarize` describes it.

        Raises:
            RunError: a balance does not hold.
        """
        first, total = Tally(), self._total
        for number, tally in self._passes.items():
            if record.root(number) == 0:
                first.add(tally.as_dict())
        total.check()
        launches = [launch["at"] for launch in launches_of(self.folder)]
        last_commit: dict[int, float] = {}
        for at in self._times:
            launch = bisect_right(launches, at) - 1
            last_commit[launch] = max(last_commit.get(launch, 0.0), at)
        seconds = sum(max(0.0, at - launches[launch]) for launch, at in last_commit.items() if launch >= 0)
        documents, samples = first.as_dict()["documents"], total.as_dict()["samples"]
        tokens = total.numbers["completion_tokens"]
        passes = (record.seen_by(self.folder, number) for number in range(len(record.passes)))
        summary: dict[str, Any] = {
            "complete": not any(any(pending_units(one, units, mark=False)) for one in passes),
            "read": documents["read"],
            "done": documents["done"],
            "written": samples["written"],
            "rejected": _by_reason(documents["rejected"], samples["rejected"]),
            "failed": _by_reason(documents["failed"], samples["failed"]),
            "requests": total.numbers["requests"],
            "prompt_tokens": total.numbers["prompt_tokens"],
            "completion_tokens": tokens,
            "paid": round(paid(self.folder.state), 6),
            "seconds": round(seconds, 1),
            "completion_tokens_per_second": round(tokens / seconds, 1) if seconds else None,
            "special_tokens_broken_up": total.numbers["special_tokens_broken_up"],
            "pii_replaced": total.numbers["pii_replaced"],
            "judge_input_cut": total.numbers["judge_input_cut"],
            "chunks": self.chunks,
            "alarms": [],
            "spared": _spared(total.numbers),
            "counts": {name: count for name, count in sorted(total.numbers.items()) if _is_further(name)},
            "checks": _checks(total.numbers),
            "diversity": {name: found.as_dict() for name, found in sorted(self._diversity.items())},
            "documents": documents,
            "samples": samples,
        }
        summary["alarms"] = find_alarms(summary)
        return summary


def _is_further(name: str) -> bool:
    """Whether a number is none of those that have a place of their own; with a slash it has."""
    return "/" not in name and name not in NAMED


def launches_of(folder: RunFolder) -> list[dict[str, Any]]:
    """The launches that worked themselves, oldest first; old ones without `host`, `gpus` and `job`."""
    try:
        lines = (folder.state / "launches.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with suppress(orjson.JSONDecodeError):  # torn by a loss of power
            found.append(orjson.loads(line))
    return sorted(found, key=lambda launch: launch["at"])


def _by_reason(documents: dict[str, int], samples: dict[str, dict[str, int]]) -> dict[str, int]:
    reasons = Counter(documents)
    for counts in samples.values():
        reasons.update(counts)
    return dict(reasons.most_common())


def _checks(numbers: Mapping[str, int]) -> dict[str, Any]:
    """What steps counted as `check/<format>/<measure>/<verdict>` and, of its values, `check/…/=<bucket>`.

    Those that did not pass are counted once more, as `check/…/<verdict>=<bucket>`.

    Returns:
        By measure: samples that passed, were flagged and were rejected, by format the same and the distribution of the
        values (`nothing`: there was nothing to check), of all and of those that did not pass (`unwanted`).
    """
    words = {"pass": "passed", "flag": "flagged", "reject": "rejected"}
    checks: dict[str, Any] = {}
    for key, count in sorted(numbers.items()):
        kind, _, rest = key.partition("/")
        if kind != "check":
            continue
        name, measure, found = rest.rsplit("/", 2)
        entry = checks.setdefault(measure, {**dict.fromkeys(words.values(), 0), "formats": {}})
        empty: dict[str, Any] = {**dict.fromkeys(words.values(), 0), "values": {}, "unwanted": {}}
        of_format = entry["formats"].setdefault(name, empty)
        verdict, at, value = found.partition("=")
        if not at:
            entry[words[verdict]] += count
            of_format[words[verdict]] += count
        elif not verdict:
            of_format["values"][value] = count
        else:
            of_format["unwanted"][value] = of_format["unwanted"].get(value, 0) + count
    for entry in checks.values():
        for of_format in entry["formats"].values():
            for kind in ("values", "unwanted"):
                of_format[kind] = dict(sorted(of_format[kind].items(), key=lambda item: _position(item[0])))
    return checks


def _spared(numbers: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """What `Rephrase` counted as `spared/<format>/<reason>`, the most frequent reason first."""
    spared: dict[str, dict[str, int]] = {}
    for key, count in sorted(numbers.items(), key=lambda item: -item[1]):
        kind, _, rest = key.partition("/")
        if kind == "spared":
            name, _, reason = rest.partition("/")
            spared.setdefault(name, {})[reason] = count
    return dict(sorted(spared.items()))


def _position(bucket: str) -> float:
    return -1.0 if bucket == "nothing" else float(bucket)
