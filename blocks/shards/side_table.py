"""Side tables: columns about the rows of some files that live in a run of their own, such as a judge's scores.

A run whose input were those files knows from its plan which of its shards are about which file, so a join takes one
file's rows into memory, never the table. Rows are found by id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fsspec
import orjson
import pyarrow.parquet as pq

from blocks.shards.commit import commit_path, committed_chunks, load_commit, pending_units
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import load_plan
from blocks.shards.source import InputFile


class SideTable:
    """Columns of a run, to be joined to the rows that it has read.

    Args:
        folder: the run that made the table.
        columns: which of its columns.
    """

    def __init__(self, folder: RunFolder, columns: Sequence[str]) -> None:
        self.folder, self.columns = folder, tuple(columns)
        self._latest: tuple[str, dict[str, Mapping[str, Any]]] = ("", {})  # many units share a file

    def check(self, files: Sequence[InputFile]) -> None:
        """Make sure that the table is about these files.

        Raises:
            RunError: there is no such run, it is not finished, or it has not read one of them.
        """
        units = load_plan(self.folder.state / "plan.jsonl")
        planned = {unit.file.url: unit.file.size for unit in units}
        if not planned:
            raise RunError(f"{self.folder.output} is no run folder: {self.folder.state} has no plan")
        if any(pending_units(self.folder, units)):
            raise RunError(f"the run {self.folder.output} is not finished: start it again first")
        for file in files:
            if planned.get(file.url) != file.size:
                there = "read it when it was another" if file.url in planned else "has not read it"
                raise RunError(f"{file.url}: the run {self.folder.output} {there}; start it again on this input")

    def rows_of(self, file: InputFile) -> dict[str, Mapping[str, Any]]:
        """The table's columns for the rows of a file, by id."""
        if self._latest[0] != file.url:
            self._latest = (file.url, self._load(file))
        return self._latest[1]

    def _load(self, file: InputFile) -> dict[str, Mapping[str, Any]]:
        units = {unit.number for unit in load_plan(self.folder.state / "plan.jsonl") if unit.file.url == file.url}
        done = committed_chunks(self.folder)
        rows: dict[str, Mapping[str, Any]] = {}
        for unit in sorted(units):
            for k in sorted(done.get(unit, ())):
                for shard in load_commit(commit_path(self.folder, self.folder.chunk_name(unit, k))).files:
                    if shard.path.startswith("shards/"):
                        for row in self._read(f"{self.folder.output}/{shard.path}"):
                            rows[row.pop("id")] = row
        return rows

    def _read(self, path: str) -> Iterator[dict[str, Any]]:
        wanted = ["id", *self.columns]
        with fsspec.open(path, "rb") as stream:
            if path.endswith(".parquet"):
                yield from pq.read_table(stream, columns=wanted).to_pylist()
            else:
                for line in stream:
                    row = orjson.loads(line)
                    yield {name: row[name] for name in wanted}
