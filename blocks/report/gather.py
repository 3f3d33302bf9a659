"""What a report says of a run, out of its record, its commit records and its prompts; no text of a sample is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import yaml

from blocks.generate.prompts import PROMPTS, known_prompts, load_prompt
from blocks.judge.flow import judge_prompt
from blocks.judge.rubric import RUBRICS, Rubric, load_rubric
from blocks.report.timeline import Timeline, gpu_hours, jobs_of
from blocks.shards.commit import Commit, commit_path, load_commit, load_commits
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import load_plan
from blocks.shards.run import RunRecord, load_run
from blocks.shards.summary import Totals, launches_of

STRUCTURE = ("faq", "table", "math_problem", "tutorial")
"""Checks whose value does not decide: a FAQ with three pairs may be sound or not."""


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


class Gathered:
    """A run, as far as its commit records tell; what has been read is not read again.

    Args:
        folder: the run.

    Attributes:
        places: names of the committed chunks that hold rows, by the place in the input that they were made from. The
            same input has the same places in every run with chunks of this size.
        reasons: for each format and reason of what was not kept, a place where that is.
        missing: files that were not in their place when samples were read.

    Raises:
        RunError: there is no run.
    """

    def __init__(self, folder: RunFolder) -> None:
        record = load_run(folder)
        if record is None:
            raise RunError(f"{folder.output} is no run folder: there is no run.yaml in it")
        if not (folder.state / "commits").is_dir():
            raise RunError(f"{folder.state} is not the state of {folder.output}: give --state")
        self.folder = folder
        self.record: RunRecord = record
        self.timeline = Timeline()
        self.places: dict[str, list[str]] = {}
        self.reasons: dict[tuple[str, str], str] = {}
        self.missing = 0
        self._totals = Totals(folder)
        self._known: set[str] = set()

    def look(self) -> dict[str, Any]:
        """Read what is new; everything but the samples."""
        self.record = load_run(self.folder) or self.record
        commits = load_commits(self.folder, self._known)
        # With the first one they are listed: a plan that is read after that has the units of all of them.
        first = list(islice(commits, 1))
        units = load_plan(self.folder.state / "plan.jsonl")
        size = self.record.fingerprint.get("chunk_size") or 1
        for commit in chain(first, commits):
            self._known.add(commit.chunk)
            self._totals.add(commit)
            self.timeline.add(commit)
            if any(file.rows for file in commit.files):
                unit = units[commit.unit]
                place = f"{unit.file.name}:{unit.start + commit.k * size}"
                self.places.setdefault(place, []).append(commit.chunk)
                for reason in _reasons(commit):
                    self.reasons.setdefault(reason, place)
        record, folder = self.record, self.folder
        launches = launches_of(folder)
        summary = self._totals.summary(record, units)
        return {
            "name": folder.output,
            "record": record,
            "summary": summary,
            "documents": document_flow(summary["documents"]),
            "samples": sample_flow(summary["samples"]),
            "checks": [check_bars(name, found) for name, found in summary["checks"].items()],
            "lengths": {name: length_bars(found) for name, found in summary["diversity"].items()},
            "drawing": self.timeline.drawing(launches),
            "lanes": self.timeline.lanes(launches),
            "launches": len(launches),
            "places": len(self.places),
            "jobs": jobs_of(folder),
            "gpu_hours": gpu_hours(folder, record.config, self.timeline),
            "prompts": _prompts(record),
            "config": _yaml(record.config),
            "fingerprint": _yaml(record.fingerprint),
            "pins": _yaml(record.pins),
        }

    def commits(self, place: str) -> list[tuple[Commit, bool]]:
        """The commit records of a place, each with whether what failed in it has been tried again since."""
        commits = [load_commit(commit_path(self.folder, name)) for name in self.places[place]]
        passes = [self.folder.pass_of(name) for name in self.places[place]]
        newest = {self.record.root(number): number for number in sorted(passes)}
        return [
            (commit, number < newest[self.record.root(number)]) for commit, number in zip(commits, passes, strict=True)
        ]


def _reasons(commit: Commit) -> Iterator[tuple[str, str]]:
    """Format and reason of all that a chunk refused; of documents, `documents`."""
    for kind in ("rejected", "failed"):
        yield from (("documents", reason) for reason in commit.tally["documents"][kind])
        for name, reasons in commit.tally["samples"][kind].items():
            yield from ((name, reason) for reason in reasons)


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


@dataclass
class Values:
    """The samples with like values of a check.

    Args:
        value: where the bucket begins, as in the summary.
        count: how many there are.
        unwanted: those of them that did not pass.
        share: of the largest bucket, 0 to 1.
        or_less: share of the samples with this value or less: what such a threshold would keep.
        or_more: likewise, with this value or more.
        threshold: whether the threshold lies between this bucket and the one before, or within this one.
    """

    value: str
    count: int
    unwanted: int
    share: float
    or_less: float
    or_more: float
    threshold: bool


def check_bars(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A check: its verdicts, and for each format the distribution of its values with the threshold in it."""
    words = ("passed", "flagged", "rejected")
    formats = {}
    for format, told in found["formats"].items():
        values = {bucket: count for bucket, count in told["values"].items() if bucket != "nothing"}
        most, whole = max(values.values(), default=1), max(1, sum(values.values()))
        # Runs of finemill before thresholds were counted have no `unwanted`.
        bad = {bucket: told.get("unwanted", {}).get(bucket, 0) for bucket in values}
        lines = set() if name in STRUCTURE else _thresholds(values, bad)
        below, rows = 0, []
        for bucket, count in values.items():
            or_more = (whole - below) / whole
            below += count
            rows.append(
                Values(bucket, count, bad[bucket], count / most, below / whole, or_more, threshold=bucket in lines)
            )
        formats[format] = {"rows": rows, **{kind: told[kind] for kind in words}}
    return {"name": name, "formats": formats, **{kind: found[kind] for kind in words}}


def _thresholds(values: Mapping[str, int], bad: Mapping[str, int]) -> set[str]:
    """Buckets at which samples begin to pass, or cease to: from there on, or somewhere within."""
    kinds = ["bad" if bad[bucket] == count else "mixed" if bad[bucket] else "good" for bucket, count in values.items()]
    if ("mixed", "mixed") in pairwise(kinds):
        return set()  # something else decides
    lines = set()
    for at, bucket in enumerate(values):
        before, after = kinds[at - 1 : at] if at else [], kinds[at + 1 : at + 2]
        within = kinds[at] == "mixed" and before != after
        if within or {*before, kinds[at]} == {"good", "bad"}:
            lines.add(bucket)
    return lines


def length_bars(found: Mapping[str, Any]) -> list[Bar]:
    """Samples by their number of words, in powers of two."""
    sizes = found["words"]["sizes"]
    most = max(sizes.values(), default=1)
    return [
        Bar("0" if int(size) == 0 else f"{int(size):,} to {2 * int(size) - 1:,}", count, count / most)
        for size, count in sizes.items()
    ]


def _largest(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def _prompts(record: RunRecord) -> list[dict[str, Any]]:
    """The prompts and rubrics of a run in full, as far as they are still as they were.

    A run notes the hash of each; whatever file has it now is shown.
    """
    made_of = " ".join([*record.formats.values(), _yaml(record.fingerprint)])
    files = [*PROMPTS.rglob("*.md"), *map(Path, record.config.get("prompt") or ())]
    found = []
    for file in sorted(files):
        with suppress(OSError, ValueError):  # not every file there is a prompt
            rubric = file.is_relative_to(RUBRICS)
            loaded = load_rubric(str(file)) if rubric else load_prompt(str(file))
            name = f"judge/{loaded.name}" if isinstance(loaded, Rubric) else loaded.title
            text = _rubric_text(loaded) if isinstance(loaded, Rubric) else loaded.text
            if loaded.hash in made_of:
                found.append({"name": name, "hash": loaded.hash, "text": text})
    there = {prompt["name"].partition(".")[0] for prompt in found}
    known = {prompt.name for prompt in known_prompts()}
    changed = [name for name in record.formats if name in known and name not in there]
    return found + [{"name": name, "hash": record.formats[name], "text": None} for name in changed]


def _rubric_text(rubric: Rubric) -> str:
    return judge_prompt(rubric, {name: f"[{name}]" for name in rubric.inputs}, "[output]")


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
