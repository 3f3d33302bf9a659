"""Which samples a report shows: a few of every kind, chosen from some chunks of the run, the same ones every time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import xxhash

from blocks.execute.look import add_documents, rows_of
from blocks.shards.chunk import SOURCE
from blocks.shards.commit import Commit, load_commits
from blocks.shards.documents import Documents
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import load_plan
from blocks.shards.run import load_run
from blocks.shards.source import list_files

CHUNKS = 12
"""Chunks that samples are chosen from: what they hold is read as a whole, so this bounds memory and time."""

RANDOM, FLAGGED, REFUSED, EXTREME = 6, 2, 3, 1
"""Samples of a format; of a check that flags; of a reason; at each end of a judge's or a check's scale."""


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
        """What the model wrote."""
        return str(self.row.get("text") if self.kind == "written" else self.row.get("raw") or "")

    @property
    def source(self) -> str | None:
        """The document."""
        return self.row.get(SOURCE)

    @property
    def checks(self) -> list[dict[str, Any]]:
        """What was measured."""
        return list(self.row.get("checks") or ())


def choose_samples(folder: RunFolder, most: int, seed: int = 0) -> list[Shown]:
    """Samples of a run.

    Args:
        folder: the run.
        most: at most so many.
        seed: of the choice.
    """

    def lot(name: str) -> int:
        return xxhash.xxh3_64_intdigest(f"{seed}\0{name}".encode(errors="surrogatepass"))

    with_rows = (commit for commit in load_commits(folder) if any(file.rows for file in commit.files))
    commits = heapq.nsmallest(CHUNKS, with_rows, key=lambda commit: lot(commit.chunk))
    rows = sorted(_rows(folder, commits), key=lambda shown: lot(f"{shown.kind}\0{shown.row['id']}"))
    chosen: dict[int, Shown] = {}

    def take(candidates: Iterable[Shown], count: int, why: str) -> None:
        for shown in list(candidates)[:count]:
            shown.why.append(why)
            chosen[id(shown)] = shown

    written = [shown for shown in rows if shown.kind == "written"]
    for name in sorted({str(shown.row.get("format") or "") for shown in rows}):
        of_format = [shown for shown in written if (shown.row.get("format") or "") == name]
        take(of_format, RANDOM, "at random")
        judged = [shown for shown in of_format if shown.row.get("judge_score") is not None]
        judged.sort(key=lambda shown: float(shown.row["judge_score"]))
        take(judged, EXTREME, "worst by the judge")
        take(judged[::-1], EXTREME, "best by the judge")
        for check in sorted({one["check"] for shown in of_format for one in shown.checks}):
            measured = sorted(
                ((value, shown) for shown in of_format if (value := _value(shown, check)) is not None),
                key=lambda pair: pair[0],
            )
            if measured and measured[0][0] < measured[-1][0]:
                take([shown for _, shown in measured], EXTREME, f"least {check}")
                take([shown for _, shown in measured[::-1]], EXTREME, f"most {check}")
            flagged = [shown for shown in of_format if _verdict(shown, check) == "flag"]
            take(flagged, FLAGGED, f"flagged: {check}")
        refused = [shown for shown in rows if shown.kind != "written" and (shown.row.get("format") or "") == name]
        for reason in sorted({shown.row["reason"] for shown in refused}):
            take([shown for shown in refused if shown.row["reason"] == reason], REFUSED, f"{reason}")
    order = {"written": 0, "rejected": 1, "failed": 2}
    kept = sorted(chosen.values(), key=lambda shown: lot(str(shown.row["id"])))[:most]
    return sorted(kept, key=lambda shown: (order[shown.kind], shown.row.get("format") or "", shown.row["id"]))


def _value(shown: Shown, check: str) -> float | None:
    return next((one["value"] for one in shown.checks if one["check"] == check), None)


def _verdict(shown: Shown, check: str) -> str | None:
    return next((one["verdict"] for one in shown.checks if one["check"] == check), None)


def _rows(folder: RunFolder, commits: Sequence[Commit]) -> Iterator[Shown]:
    record = load_run(folder)
    assert record is not None
    units = {unit.number: unit for unit in load_plan(folder.state / "plan.jsonl")}
    documents = Documents(record.fingerprint)
    for commit in commits:
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
