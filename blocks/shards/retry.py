"""Asking again about what failed: a further pass over the plan that reads only those documents.

A document or sample *failed* when something transient was to blame: a server that was down for too long, a time-out. It
is in `rejected/` with its reason. A retry pass hands out the same rows once more, keeps of them only what had failed,
and its commit records say what it took off the failures of the pass before; so every sample is there once, and the
balances stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import fsspec
import orjson
import pyarrow.parquet as pq

from blocks.shards.chunk import Failure
from blocks.shards.commit import Commit, commit_path, load_commit, load_commits, mark_finished
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import Unit
from blocks.shards.run import RunRecord, save_run
from blocks.shards.tally import Tally


def failures_of(folder: RunFolder, unit: int, chunks: Iterable[int]) -> dict[tuple[int, int], Failure]:
    """What failed of a unit in the pass that `folder` retries, by number of the chunk and place of the row in it.

    Args:
        folder: the run as the retry pass sees it.
        unit: the unit's number.
        chunks: its committed chunks in the pass before.

    Raises:
        RunError: `rejected/` is gone.
    """
    assert folder.retries is not None
    before = folder.for_pass(folder.retries)
    found: dict[tuple[int, int], Failure] = {}
    for k in chunks:
        commit = load_commit(commit_path(before, before.chunk_name(unit, k)))
        for row in _failed_rows(before, commit):
            place, _, child = row["lineage"].partition(":")[2].partition("/")
            failure = found.setdefault((k, int(place)), Failure("", {}))
            if row["format"] is None and not child:
                found[k, int(place)] = Failure(row["reason"], {})
            else:
                failure.samples[row["id"]] = (row["format"] or "", row["reason"])
    return found


def begin_retry(folder: RunFolder, record: RunRecord, units: Sequence[Unit]) -> int:
    """Add to a complete run a retry pass for each pass in which something failed.

    Returns:
        How many documents and samples failed.

    Raises:
        RunError: the output cannot be written.
    """
    failed = Counter[int]()
    where: dict[int, set[int]] = {}
    for commit in load_commits(folder):
        number = folder.pass_of(commit.chunk)
        if count := failures_in(commit):
            failed[number] += count
            where.setdefault(number, set()).add(commit.unit)
    retried = set(record.retries.values())
    latest = [number for number in range(len(record.passes)) if number not in retried and failed[number]]
    if not latest:
        return 0
    for number in latest:
        record.retries[len(record.passes)] = number
        record.passes.append(record.passes[number])
    save_run(folder, record)
    # Spares launches from looking into them.
    for number, before in record.retries.items():
        for unit in units if before in latest else ():
            if unit.number not in where[before]:
                mark_finished(folder.for_pass(number), unit.number)
    return sum(failed[number] for number in latest)


def failures_in(commit: Commit) -> int:
    """How many documents and samples of a chunk failed."""
    tally = Tally()
    tally.add({**commit.tally, "retried": None})
    return tally.refused("failed")


def _failed_rows(folder: RunFolder, commit: Commit) -> list[dict[str, Any]]:
    if not failures_in(commit):
        return []
    file = next(file.path for file in commit.files if file.path.startswith("rejected/"))
    columns = ["id", "lineage", "format", "kind", "reason"]
    try:
        with fsspec.open(f"{folder.output}/{file}", "rb") as stream:
            if file.endswith(".jsonl"):
                rows = [orjson.loads(line) for line in stream]
            else:
                rows = pq.read_table(stream, columns=columns).to_pylist()
    except FileNotFoundError as error:
        raise RunError(f"{folder.output}/{file} is gone, so nobody knows what failed there") from error
    return [row for row in rows if row["kind"] == "failed"]
