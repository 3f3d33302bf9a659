"""Side tables: columns about the rows of some files that live in a run of their own, such as a judge's scores.

A run whose input were those files knows from its plan which of its shards are about which file, so a join takes one
file's rows into memory, never the table. Rows are found by the id that the run's reader gave them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from fsspec.core import url_to_fs

from blocks.shards.commit import commit_path, committed_chunks, load_commit, pending_units
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import Unit, load_plan
from blocks.shards.run import RunRecord, load_run
from blocks.shards.source import InputFile
from blocks.shards.tables import read_table


class SideTable:
    """Columns of a run, to be joined to the rows that it has read.

    Args:
        folder: the run that made the table.
        columns: which of its columns.
    """

    def __init__(self, folder: RunFolder, columns: Sequence[str]) -> None:
        self.folder, self.columns = folder, tuple(columns)
        self._wanted = self.columns
        self._latest: tuple[str, dict[str, Mapping[str, Any]]] = ("", {})  # many units share a file

    def check(self, files: Sequence[InputFile], id_column: str | None = None) -> str:
        """Make sure that the table is about these files, and about all of their rows.

        Args:
            files: the files.
            id_column: where ids come from now, if it may be another column than the run's.

        Returns:
            The run's id: another run at the same path is another table, and so is one in which what had failed was
            tried again since.

        Raises:
            RunError: there is no such run, it is not finished, it took ids from another column, or it has not read one
                of the files to its end.
        """
        planned, record = self._finished()
        theirs = record.fingerprint.get("id_column")
        if None not in (id_column, theirs) and id_column != theirs:
            raise RunError(f"the run {self.folder.output} has other ids: give --id-column {theirs}, as it had")
        for file in files:
            last = planned.get(file.url)
            if last is None or last.file.size != file.size:
                there = "read it when it was another" if last else "has not read it"
                raise RunError(f"{file.url}: the run {self.folder.output} {there}; start it again on this input")
            if last.stop is not None:
                raise RunError(
                    f"{file.url}: the run {self.folder.output} has read {last.stop:,} of its rows; start it again with "
                    f"a larger --limit, or none"
                )
        return _identity(record)

    def check_read(self) -> tuple[list[InputFile], str]:
        """Make sure that the files that the table is about are what they were; it may have read only parts of them.

        That will do for whoever wants no other rows than the table has something about.

        Returns:
            These files, and the run's id as `check` does.

        Raises:
            RunError: there is no such run, it is not finished, or one of the files has changed or is gone.
        """
        planned, record = self._finished()
        files = [unit.file for unit in planned.values()]
        with ThreadPoolExecutor(16) as pool:
            sizes = list(pool.map(_size_of, files))
        for file, size in zip(files, sizes, strict=True):
            if size is None:
                raise RunError(f"{file.url} is not there any more: put it back, since {self.folder.output} is about it")
            if size != file.size:
                raise RunError(f"{file.url}: the run {self.folder.output} read another one: put that back")
        return files, _identity(record)

    def _finished(self) -> tuple[dict[str, Unit], RunRecord]:
        """The last unit of each file that the run has read, and the run as it was begun.

        Raises:
            RunError: there is no such run, or it is not finished.
        """
        record = load_run(self.folder)
        if not self._units or record is None:
            raise RunError(f"{self.folder.output} is no run folder: there is no run.yaml, or no plan in its state")
        if any(any(pending_units(one, self._units)) for one in self._passes):
            raise RunError(f"the run {self.folder.output} is not finished: start it again first")
        return self._last, record

    def rows_of(self, file: InputFile) -> dict[str, Mapping[str, Any]]:
        """The table's columns for the rows of a file, by id.

        Raises:
            RunError: two rows have one id.
        """
        if self._latest[0] != file.url:
            self._latest = (file.url, self._load(file))
        return self._latest[1]

    def name_of(self, file: InputFile) -> str:
        """What the run calls a file in the ids of rows that have none: its input may begin at another folder."""
        return self._last[file.url].file.name if file.url in self._last else file.name

    @cached_property
    def _units(self) -> list[Unit]:
        return load_plan(self.folder.state / "plan.jsonl")

    @cached_property
    def _last(self) -> dict[str, Unit]:
        """The last unit of each file."""
        return {unit.file.url: unit for unit in self._units}

    @cached_property
    def _passes(self) -> list[RunFolder]:
        """The first pass and its retries."""
        record = load_run(self.folder)
        return [] if record is None else [record.seen_by(self.folder, number) for number in record.chain(0)]

    @cached_property
    def _chunks(self) -> dict[str, list[str]]:
        """Names of the committed chunks, by the file that they are about."""
        chunks: dict[str, list[str]] = {}
        for one in self._passes:
            done = committed_chunks(one)
            for unit in self._units:
                names = [one.chunk_name(unit.number, k) for k in sorted(done.get(unit.number, ()))]
                chunks.setdefault(unit.file.url, []).extend(names)
        return chunks

    def _load(self, file: InputFile) -> dict[str, Mapping[str, Any]]:
        rows: dict[str, Mapping[str, Any]] = {}
        for row in self._rows(file):
            name = row.pop("id")
            if name in rows:
                raise RunError(
                    f"two rows of {file.url} have the id {name!r}: what {self.folder.output} says cannot be joined to "
                    f"them"
                )
            rows[name] = row
        return rows

    def _rows(self, file: InputFile) -> Iterator[dict[str, Any]]:
        """What the run has written about a file."""
        for chunk in self._chunks.get(file.url, ()):
            for shard in load_commit(commit_path(self.folder, chunk)).files:
                if shard.path.startswith("shards/"):
                    yield from self._read(f"{self.folder.output}/{shard.path}")

    def _read(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_table(path, ["id", *self._wanted]).to_pylist()
        return rows


class GroupedTable(SideTable):
    """A table with any number of rows about one row of the input: they are joined to it as one list.

    Args:
        folder: the run that made the table.
        columns: which of its columns, beside the id.
        key: the column with the id of the row that they are about.
        name: of the list.
    """

    def __init__(self, folder: RunFolder, columns: Sequence[str], key: str, name: str) -> None:
        super().__init__(folder, [name])
        self._wanted, self._key, self._name = tuple(columns), key, name

    def _load(self, file: InputFile) -> dict[str, Mapping[str, Any]]:
        groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in self._rows(file):
            groups.setdefault(row[self._key], {self._name: []})[self._name].append(row)
        return dict(groups)


def _size_of(file: InputFile) -> int | None:
    """Bytes of a file as `list_files` counts them; None where there is none."""
    fs, path = url_to_fs(file.url)
    try:
        return int(fs.info(path)["size"] or 0)
    except FileNotFoundError:
        return None


def _identity(record: RunRecord) -> str:
    return record.id + (f" and {len(record.retries)} retries" if record.retries else "")
