"""Which samples a report shows: a few of every kind, chosen from some chunks of the run, the same ones every time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import xxhash
import yaml

from blocks.execute.look import add_documents, rows_of
from blocks.report.gather import Gathered
from blocks.shards.chunk import SOURCE
from blocks.shards.documents import Documents
from blocks.shards.folder import RunError
from blocks.shards.plan import load_plan
from blocks.shards.source import list_files

CHUNKS = 12
"""Places in the input of which all samples are read to choose from: this bounds memory and time."""

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
        why: what it was chosen for.
    """

    row: dict[str, Any]
    kind: str
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


def choose_places(places: Iterable[str], seed: int) -> list[str]:
    """The places to read."""
    return heapq.nsmallest(CHUNKS, places, key=lots(seed))


def choose_samples(run: Gathered, most: int, seed: int = 0) -> list[Shown]:
    """Samples of a run.

    Args:
        run: which has been looked at.
        most: at most so many.
        seed: of the choice.
    """
    lot = lots(seed)
    found = rows_at(run, choose_places(run.places, seed))
    rows = sorted(found, key=lambda shown: lot(f"{shown.kind}\0{shown.id}"))
    chosen: dict[int, Shown] = {}

    def take(candidates: Iterable[Shown], count: int, why: str) -> None:
        for shown in list(candidates)[:count]:
            shown.why.append(why)
            chosen[id(shown)] = shown

    for name in sorted({shown.format for shown in rows}):
        written = [shown for shown in rows if shown.format == name and shown.kind == "written"]
        take(written, RANDOM, "at random")
        judged = sorted((s for s in written if s.score is not None), key=lambda shown: shown.score or 0.0)
        take(judged, EXTREME, "worst by the judge")
        take(judged[::-1], EXTREME, "best by the judge")
        for check in sorted({one["check"] for shown in written for one in shown.checks}):
            measured = sorted(
                ((value, shown) for shown in written if (value := _value(shown, check)) is not None),
                key=lambda pair: pair[0],
            )
            if measured and measured[0][0] < measured[-1][0]:
                take([shown for _, shown in measured], EXTREME, f"least {check}")
                take([shown for _, shown in measured[::-1]], EXTREME, f"most {check}")
            flagged = [shown for shown in written if _verdict(shown, check) == "flag"]
            take(flagged, FLAGGED, f"flagged: {check}")
        refused = [shown for shown in rows if shown.format == name and shown.kind != "written"]
        for reason in sorted({shown.reason for shown in refused}):
            take([shown for shown in refused if shown.reason == reason], REFUSED, f"{reason}")
    order = {"written": 0, "rejected": 1, "failed": 2}
    kept = sorted(chosen.values(), key=lambda shown: lot(shown.id))[:most]
    return sorted(kept, key=lambda shown: (order[shown.kind], shown.format, shown.id))


def _value(shown: Shown, check: str) -> float | None:
    return next((one["value"] for one in shown.checks if one["check"] == check), None)


def _verdict(shown: Shown, check: str) -> str | None:
    return next((one["verdict"] for one in shown.checks if one["check"] == check), None)


def rows_at(run: Gathered, places: Sequence[str]) -> Iterator[Shown]:
    """All that was made of some places, with its documents as far as they can be had."""
    folder = run.folder
    units = {unit.number: unit for unit in load_plan(folder.state / "plan.jsonl")}
    documents = Documents(run.record.fingerprint)
    for commit in run.commits(places):
        found: list[Shown] = []
        for file in commit.files:
            with suppress(RunError):  # a worker is about to move it
                [written] = list_files(f"{folder.output}/{file.path}")
                kept = file.path.startswith("shards/")
                found += [Shown(row, "written" if kept else row["kind"]) for row in rows_of(written)]
        bare = [shown.row for shown in found if SOURCE not in shown.row]
        if bare and commit.unit in units:
            with suppress(OSError, RunError):  # the input may be gone since
                of_chunk = documents.of_chunk(units[commit.unit], commit.k)
                for refused in (True, False):
                    add_documents([row for row in bare if ("lineage" in row) is refused], of_chunk)
        yield from found
