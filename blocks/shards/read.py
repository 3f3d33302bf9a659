"""The reader: this task's units of the plan, row by row, as documents that know where they came from.

Chunks that are committed are passed over by position. Every other row is either a document with a lineage, or a refusal
with a reason in its chunk's ledger: empty text, text that is no string, a line that is no JSON. Nothing is materialised
on disk.

An input in which many rows cannot be read at all is more likely a wrong input than a damaged one: the task stops then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.shards.chunk import LINEAGE, RETRIED, Failure, OpenChunk, Refusal, open_chunks, stream_of
from blocks.shards.commit import committed_chunks, mark_finished, pending_units
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.leases import Leases, claimed_units
from blocks.shards.plan import Unit, check_chunk_size, load_plan
from blocks.shards.retry import failures_of
from blocks.shards.rows import PATIENCE, BadRow, read_rows
from blocks.shards.sample import Sample
from blocks.shards.side_table import SideTable
from blocks.shards.source import InputFile
from blocks.shards.where import Where

MAX_UNREADABLE = 0.05
"""Share of a task's rows that may be unreadable (no JSON, no UTF-8, …); the same as `Generate`'s for failures."""

NOTHING_FAILED = Failure("", {})
"""Stands for a row of a retry pass that is not tried again."""

JUDGED_AFTER = 1000
"""Rows of a task after which that share is looked at."""


class ReadUnits(PipelineStep):
    """Read what the plan gives this task: every `world_size`-th unit, from unit `rank` on.

    Where other launches work on the same run (`folder.shared`), it is the units that this task can lease.

    Args:
        folder: the run folder; its plan must have been written.
        chunk_size: rows per chunk; the same for the whole run.
        text_column: column with the text.
        id_column: column with the id; a row without one becomes `{file}:{row}`, and one that repeats an id of its
            chunk gets `#{row}` behind it.
        where: rows must match all of these.
        columns: further columns to keep in the documents' metadata, for steps that need them; a mapping keeps them
            under other names.
        source_dataset: what `metadata["source_dataset"]` says; None leaves a column of that name as it is.
        joined: a side table whose columns are added to the rows, before `where` looks at them; null where it has none.
        sample: rows must be in it; the others are counted like those that do not match `where`.
    """

    name = "finemill units"
    type = "📖 - READER"

    def __init__(
        self,
        folder: RunFolder,
        chunk_size: int,
        text_column: str = "text",
        id_column: str = "id",
        where: Sequence[Where] = (),
        columns: Sequence[str] | Mapping[str, str] = (),
        source_dataset: str | None = None,
        joined: SideTable | None = None,
        sample: Sample | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.chunk_size = chunk_size
        self.text_column, self.id_column = text_column, id_column
        self.where = tuple(where)
        self.columns = dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}
        self.source_dataset = source_dataset
        self.joined = joined
        self.sample = sample

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents of every chunk that is not committed yet, in order."""
        if data:
            raise ValueError("ReadUnits must be the first step of a pipeline")
        check_chunk_size(self.folder.state, self.chunk_size)
        units = load_plan(self.folder.state / "plan.jsonl")
        self._rows = self._unreadable = 0
        if self.folder.retries is not None:
            before = (self.folder.for_pass(number) for number in self.folder.retries.passes)
            self._committed_before = [(folder, committed_chunks(folder)) for folder in before]
        with stream_of(self.name):
            if self.folder.shared:
                yield from self._read_leased(units)
            else:
                for unit, done in pending_units(self.folder, units[rank::world_size]):
                    yield from self._read_unit(unit, done)

    def _read_leased(self, units: Sequence[Unit]) -> Iterator[Document]:
        leases = Leases(self.folder)
        try:
            for unit, done in claimed_units(self.folder, leases, units):
                yield from self._read_unit(unit, done, leases)
                # Do not hold what cannot be begun yet: somebody else may have nothing to do.
                while any(chunk.begun < chunk.entered for chunk in open_chunks()):
                    time.sleep(0.02)
                if leases.closed:
                    return
            leases.finish()
        except BaseException:
            leases.close()
            raise

    def _read_unit(self, unit: Unit, done: set[int], leases: Leases | None = None) -> Iterator[Document]:
        failures = None
        if self.folder.retries is not None:
            failures = failures_of(unit.number, self._committed_before)
            if not failures:
                mark_finished(self.folder, unit.number)
                if leases is not None:
                    leases.release(self.folder.unit_name(unit.number))
                return
        k = next(k for k in range(len(done) + 1) if k not in done)
        start = unit.start + k * self.chunk_size
        found = read_rows(unit.file, start, unit.stop, self._needed(), self._drawn_in(unit), PATIENCE)
        rows = _with_end(found if self.joined is None else self._join(found, self.joined, unit.file, start))
        chunk: OpenChunk | None = None
        for offset, (row, is_last) in enumerate(rows, start=k * self.chunk_size):
            number, place = divmod(offset, self.chunk_size)
            if number not in done:
                if chunk is None:
                    chunk, ids = OpenChunk(self.folder, unit.number, number, leases), set[str]()
                failure = None if failures is None else failures.get((number, place), NOTHING_FAILED)
                document = None if row is None else self._document(row, chunk, place, unit, offset, ids, failure)
                if document is not None:
                    yield document
            if is_last or place == self.chunk_size - 1:
                if chunk is not None:
                    chunk.last_of_unit = is_last
                    self.stat_update("documents", value=chunk.tally.read)
                chunk = None

    def _drawn_in(self, unit: Unit) -> Callable[[int, int], bool] | None:
        """Whether any of the rows of a unit's file was drawn; None where all are."""
        if (sample := self.sample) is None:
            return None
        return lambda first, last: sample.any_of(unit.number, first - unit.start, last - unit.start)

    def _join(
        self, rows: Iterator[dict[str, Any] | BadRow], table: SideTable, file: InputFile, start: int
    ) -> Iterator[dict[str, Any] | BadRow]:
        further, nothing, called = table.rows_of(file), dict.fromkeys(table.columns), table.name_of(file)
        for number, row in enumerate(rows, start):
            if isinstance(row, dict):
                # By the ids that a reader like this one gave them; the first one if they repeat an id of their chunk.
                name = self._id(row, f"{called}:{number}")
                row |= further.get(f"{name}#{number}") or further.get(name, nothing)
            yield row

    def _id(self, row: Mapping[str, Any], position: str) -> str:
        found = row.get(self.id_column)
        return position if found is None or found == "" else str(found)

    def _needed(self) -> list[str]:
        return list(dict.fromkeys([self.text_column, self.id_column, *(w.column for w in self.where), *self.columns]))

    def _document(
        self,
        row: dict[str, Any] | BadRow,
        chunk: OpenChunk,
        place: int,
        unit: Unit,
        offset: int,
        ids: set[str],
        failure: Failure | None,
    ) -> Document | None:
        """The row as a document, or None after the ledger has been told why not.

        In a retry pass (`failure` is not None) rows of which nothing failed are none, and nobody is told.
        """
        position = f"{unit.file.name}:{unit.start + offset}"
        self._rows += 1
        if failure is NOTHING_FAILED and isinstance(row, BadRow):
            return None
        if isinstance(row, BadRow):
            if failure is not None:  # it could be read when it failed
                chunk.retry(f"{chunk.name}:{place}", failure)
            self._judge(unit, row)
            chunk.refuse_row(place, Refusal(row.reason, id=position, raw=row.raw))
            return None
        drawn = self.sample is None or (unit.number, offset) in self.sample
        if not drawn or not all(where(row) for where in self.where):
            if failure is None:
                chunk.exclude()
            return None
        document_id = self._id(row, position)
        while document_id in ids:
            document_id = f"{document_id}#{unit.start + offset}"
        ids.add(document_id)
        if failure is NOTHING_FAILED:  # it only takes its id
            return None
        text = row.get(self.text_column)
        if not isinstance(text, str) or not text.strip():
            reason = "no_text" if text is None else "empty_text" if isinstance(text, str) else "text_is_no_string"
            chunk.refuse_row(place, Refusal(reason, id=document_id, raw="" if text is None else str(text)))
            return None
        metadata = {key: row[name] for name, key in self.columns.items() if name in row}
        if self.source_dataset is not None:
            metadata["source_dataset"] = self.source_dataset
        metadata[LINEAGE] = lineage = chunk.hand_out(place, document_id)
        if failure is not None:
            chunk.retry(lineage, failure)
            if failure.samples:
                metadata[RETRIED] = list(failure.samples)
        return Document(text=text, id=document_id, metadata=metadata)

    def _judge(self, unit: Unit, row: BadRow) -> None:
        self._unreadable += 1
        if self._rows >= JUDGED_AFTER and self._unreadable > MAX_UNREADABLE * self._rows:
            raise RunError(
                f"{self._unreadable} of {self._rows} rows cannot be read, the last one ({row.reason}) in "
                f"{unit.file.url}: is this JSON Lines or Parquet in UTF-8? Repair it, or leave it out of --input"
            )


def look(
    units: Sequence[Unit],
    text_column: str,
    where: Sequence[Where] = (),
    columns: Mapping[str, str] | None = None,
    count: int = 1,
) -> Iterator[Document]:
    """The first documents of a plan, for a look and not for work: rows that cannot be used are passed over.

    Args:
        units: the plan.
        text_column: column with the text.
        where: rows must match all of these.
        columns: further columns, and the metadata keys to keep them under.
        count: how many documents.
    """
    further = columns or {}
    for unit in units:
        needed = [text_column, *(found.column for found in where), *further]
        for row in read_rows(unit.file, unit.start, unit.stop, needed):
            if count <= 0:
                return
            if isinstance(row, dict) and all(matches(row) for matches in where):
                text = row.get(text_column)
                if isinstance(text, str) and text.strip():
                    count -= 1
                    yield Document(text, "", metadata={key: row[name] for name, key in further.items() if name in row})


def _with_end(rows: Iterator[dict[str, Any] | BadRow]) -> Iterator[tuple[dict[str, Any] | BadRow | None, bool]]:
    """Each row with whether it is the last one; an empty input is one `None` that is the last."""
    current: dict[str, Any] | BadRow | None = next(rows, None)
    for following in rows:
        yield current, False
        current = following
    yield current, True
