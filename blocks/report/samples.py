"""Which samples a report shows: a few of every kind, chosen from some chunks of the run, the same ones every time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import xxhash
import yaml

from blocks.execute.look import add_documents, rows_of
from blocks.instruct.instantiate import PAIRS
from blocks.report.gather import Gathered
from blocks.shards.chunk import SOURCE
from blocks.shards.commit import Commit
from blocks.shards.documents import Documents
from blocks.shards.folder import RunError
from blocks.shards.plan import load_plan
from blocks.shards.source import list_files

PLACES, ROWS = 12, 50_000
"""Places in the input of which all samples are read to choose from; fewer from so many rows on."""

RANDOM, FLAGGED, REFUSED, EXTREME = 6, 2, 3, 1
"""Samples of a format; of a check that flags; of a reason; at each end of a judge's or a check's scale."""


_NOT_TOLD = ("id", "text", "format", "checks", "judge_score", "judge_feedback", SOURCE)
"""Columns that stand elsewhere on the page."""


@dataclass
class Shown:
    """A sample, or what was not kept.

    Args:
        row: as it was written; `source_text` is its document, where that can be had.
        kind: `written`, `rejected` or `failed`.
        commit: that it belongs to.
        why: what it was chosen for.
    """

    row: dict[str, Any]
    kind: str
    commit: Commit
    why: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the model wrote, or what was found out about the document."""
        if self.kind != "written":
            return str(self.row.get("raw") or "")
        made = self.row.get("completion") or self.row.get("text")
        if made is not None and made != self.source:
            return str(made)
        told = {name: value for name, value in self.row.items() if value is not None and name not in _NOT_TOLD}
        return str(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000))

    @property
    def source(self) -> str | None:
        """The document."""
        return self.row.get(SOURCE)

    @property
    def format(self) -> str:
        """Its format; `documents` of what was not kept before one was asked for."""
        return str(self.row.get("format") or "documents")

    @property
    def id(self) -> str:
        """As it stands in its row."""
        return str(self.row["id"])

    @property
    def document(self) -> str:
        """The id of its document."""
        # The id of a pair ends in that of its template.
        made_of = self.id.rpartition("/")[0] if self.format == PAIRS else self.id.removesuffix(f"/{self.format}")
        return str(self.row.get("source_id") or made_of)

    @property
    def reason(self) -> str:
        """Why it was not written; empty of what was."""
        return str(self.row["reason"]) if self.kind != "written" else ""

    @property
    def remarks(self) -> list[str]:
        """What is known of its fault, and what a judge said."""
        return [str(said) for name in ("detail", "judge_feedback") if (said := self.row.get(name))]

    @property
    def score(self) -> float | None:
        """A judge's score."""
        return self.row.get("judge_score")

    @property
    def checks(self) -> list[dict[str, Any]]:
        """What was measured."""
        return list(self.row.get("checks") or ())


def lots(seed: int) -> Callable[[str], int]:
    """An order of names that a seed decides."""
    return lambda name: xxhash.xxh3_64_intdigest(f"{seed}\0{name}".encode(errors="surrogatepass"))


def choose_places(run: Gathered, among: Iterable[str], seed: int) -> list[str]:
    """The places to read."""
    chosen: list[str] = []
    rows = 0
    for place in heapq.nsmallest(PLACES, among, key=lots(seed)):
        chosen.append(place)
        rows += sum(file.rows for commit, _ in run.commits(place) for file in commit.files)
        if rows >= ROWS:
            break
    return chosen


class _Best:
    """The first few of many in some order; holds no more than these."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._heap: list[tuple[float, int, int, Shown]] = []
        self._number = count()

    def offer(self, order: float, lot: int, shown: Shown) -> None:
        """Take it for one of the first, unless there are better ones; `lot` decides among equals."""
        found = (-order, -lot, -next(self._number), shown)
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, found)
        elif found[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, found)

    def take(self) -> list[Shown]:
        """Them, best first."""
        return [shown for *_, shown in sorted(self._heap, key=lambda found: found[:3], reverse=True)]

    @property
    def order(self) -> float:
        """Of the best."""
        return -max(found[0] for found in self._heap)


def choose_samples(run: Gathered, most: int, seed: int = 0) -> list[Shown]:
    """Samples of a run.

    Args:
        run: which has been looked at.
        most: at most so many.
        seed: of the choice.
    """
    run.missing = 0
    lot = lots(seed)
    best: dict[tuple[str, str], _Best] = {}

    def offer(shown: Shown, why: str, most: int, order: float = 0.0) -> None:
        best.setdefault((shown.format, why), _Best(most)).offer(order, lot(f"{shown.kind}\0{shown.id}"), shown)

    seen: set[tuple[str, str]] = set()
    for shown in rows_at(run, choose_places(run, run.places, seed)):
        seen.add((shown.format, shown.reason))
        if shown.kind != "written":
            offer(shown, shown.reason, REFUSED)
            continue
        offer(shown, "at random", RANDOM)
        if shown.score is not None:
            offer(shown, "worst by the judge", EXTREME, shown.score)
            offer(shown, "best by the judge", EXTREME, -shown.score)
        for check in shown.checks:
            if check["verdict"] == "flag":
                offer(shown, f"flagged: {check['check']}", FLAGGED)
            if check["value"] is not None:
                offer(shown, f"least {check['check']}", EXTREME, check["value"])
                offer(shown, f"most {check['check']}", EXTREME, -check["value"])
    elsewhere = {reason: place for reason, place in run.reasons.items() if reason not in seen}
    for shown in rows_at(run, sorted(set(elsewhere.values()))[:PLACES]):
        if shown.kind != "written" and (shown.format, shown.reason) in elsewhere:
            offer(shown, shown.reason, REFUSED)
    chosen: dict[int, Shown] = {}
    for (format, why), found in sorted(best.items()):
        kind, _, of = why.partition(" ")
        ends = [best[format, f"{end} {of}"].order for end in ("least", "most") if kind in ("least", "most")]
        if ends and ends[0] == -ends[1]:
            continue  # all have the same value
        for shown in found.take():
            shown.why.append(why)
            chosen[id(shown)] = shown
    order = {"written": 0, "rejected": 1, "failed": 2}
    kept = sorted(chosen.values(), key=lambda shown: lot(shown.id))[:most]
    add_sources(run, kept)
    return sorted(kept, key=lambda shown: (order[shown.kind], shown.format, shown.id))


def rows_at(run: Gathered, places: Iterable[str]) -> Iterator[Shown]:
    """All that was made of some places, one by one; without what failed and has been tried again.

    Files that are not in their place are counted in `run.missing`.
    """
    for place in places:
        for commit, tried_again in run.commits(place):
            for file in commit.files:
                try:
                    [written] = list_files(f"{run.folder.output}/{file.path}")
                except RunError:  # a worker is about to move it, or was killed before
                    run.missing += 1
                    continue
                kept = file.path.startswith("shards/")
                for row in rows_of(written):
                    kind = "written" if kept else row["kind"]
                    if not (tried_again and kind == "failed"):
                        yield Shown(row, kind, commit)


def add_sources(run: Gathered, chosen: Iterable[Shown]) -> None:
    """Add the documents to some samples, as far as they can be had; one chunk of the input at a time."""
    units = {unit.number: unit for unit in load_plan(run.folder.state / "plan.jsonl")}
    documents = Documents(run.record.fingerprint)
    bare: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for shown in chosen:
        if SOURCE not in shown.row and shown.commit.unit in units:
            bare.setdefault((shown.commit.unit, shown.commit.k), []).append(shown.row)
    # In the order of the input: JSON Lines can be read from the start only, so this is once.
    for (unit, k), rows in sorted(bare.items()):
        with suppress(OSError, RunError):  # the input may be gone since
            add_documents(rows, documents.of_chunk(units[unit], k))
