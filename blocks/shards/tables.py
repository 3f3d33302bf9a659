"""The files of a run as tables: what was committed, in the order of the plan, whatever their format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from blocks.shards.commit import load_commits
from blocks.shards.folder import RunFolder


def read_tables(folder: RunFolder, columns: Sequence[str], kind: str = "shards") -> Iterator[pa.Table]:
    """A table for each file of a run, in the order of its commits.

    Args:
        folder: the run.
        columns: which columns.
        kind: `shards` or `rejected`.
    """
    for commit in load_commits(folder):
        for file in commit.files:
            if file.path.startswith(f"{kind}/"):
                yield read_table(f"{folder.output}/{file.path}", columns)


def read_table(url: str, columns: Sequence[str]) -> pa.Table:
    """Columns of one Parquet or JSON Lines file."""
    with fsspec.open(url, "rb") as stream:
        if url.endswith(".parquet"):
            return pq.read_table(stream, columns=list(columns))
        rows: list[dict[str, Any]] = [orjson.loads(line) for line in stream]
    return pa.table({name: [row[name] for row in rows] for name in columns})
