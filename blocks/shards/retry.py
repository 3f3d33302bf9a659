"""Asking again about what failed: a further pass over the plan that reads only those documents.

A document or sample *failed* when something transient was to blame: a server that was down for too long, a time-out. It
is in `rejected/` with its reason. A retry pass hands out the same rows once more, keeps of them only what had failed,
and its commit records say what it took off the failures of the pass before; so every sample is there once, and the
balances stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def failures_of(
    unit: int, passes: Iterable[tuple[RunFolder, Mapping[int, Iterable[int]]]]
) -> dict[tuple[int, int], Failure]:
    """What has failed of a unit until now, by number of the chunk and place of the row in it.

    Args:
        unit: the unit's number.
        passes: as in `Retry`, each as it sees the run, with the committed chunks of its units.

    Raises:
        RunError: `rejected/` is gone.
    """
    found: dict[tuple[int, int], Failure] = {}
    folder, chunks = next(((one, committed[unit]) for one, committed in passes if unit in committed), (None, ()))
    for k in chunks:
        assert folder is not None
        commit = load_commit(commit_path(folder, folder.chunk_name(unit, k)))
        for row in _failed_rows(folder, commit):
            place, _, child = row["lineage"].partition(":")[2].partition("/")
            failure = found.setdefault((k, int(place)), Failure("", {}))
            if row["format"] is None and not child and commit.tally["documents"]["failed"]:
                found[k, int(place)] = Failure(row["reason"], {})
            else:
                failure.samples[row["id"]] = (row["format"] or "", row["reason"])
    return found


def begin_retry(folder: RunFolder, record: RunRecord, units: Sequence[Unit]) -> int:
    """Add to a complete run a retry pass for each pass of which something has failed until now.

    Returns:
        How many documents and samples that is.

    Raises:
        RunError: the output cannot be written.
    """
    failed: dict[tuple[int, int], dict[int, int]] = {}  # by first pass and unit, in each of its passes
    for commit in load_commits(folder):
        number = folder.pass_of(commit.chunk)
        counts = failed.setdefault((record.root(number), commit.unit), {})
        counts[number] = counts.get(number, 0) + failures_in(commit)
    left = {key: counts[max(counts)] for key, counts in failed.items() if counts[max(counts)]}
    roots = sorted({root for root, _ in left})
    if not roots:
        return 0
    first = len(record.passes)
    for root in roots:
        record.retries[len(record.passes)] = {"of": root, "units": len(units)}
        record.passes.append(record.passes[root])
    save_run(folder, record)
    # Spares launches from looking into them.
    for number, root in enumerate(roots, first):
        for unit in units:
            if (root, unit.number) not in left:
                mark_finished(folder.for_pass(number), unit.number)
    return sum(left.values())


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
