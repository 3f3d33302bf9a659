"""The writer: the last step, which turns samples into committed shards.

Samples arrive in input order, so the first sample of a later chunk (or the end of the stream) means that nothing of the
earlier chunks is still on its way: they are committed then, also when nothing of them arrived at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from blocks.shards import meter
from blocks.shards.chunk import (
    LINEAGE,
    OpenChunk,
    check_streams,
    chunk_of,
    close_all,
    format_of,
    open_chunks,
    written_by_model,
)
from blocks.shards.commit import Commit, Staging, mark_finished
from blocks.shards.diversity import Diversity
from blocks.shards.folder import RunError, RunFolder, TakenOver
from blocks.shards.shard import Shard, ShardFormat, open_shard

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("lineage", pa.string(), nullable=False),
        pa.field("format", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("raw", pa.string()),
    ]
)
"""One row per document (format null) or sample that was not written; `kind` is rejected or failed, `raw` the answer."""


class WriteShards(PipelineStep):
    """Write samples to `shards/<format>/<unit>-<k>`, commit chunk by chunk.

    Args:
        folder: the run folder.
        schema: columns of a shard. `id` and `text` come from the document, everything else from its metadata; what is
            missing there is null, or an error when the column is not nullable.
        file_format: parquet or jsonl.
    """

    name = "finemill shards"
    type = "💽 - WRITER"

    def __init__(self, folder: RunFolder, schema: pa.Schema, file_format: ShardFormat = "parquet") -> None:
        super().__init__()
        self.folder, self.schema, self.file_format = folder, schema, file_format

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Write what arrives; every sample is passed on once it is in its chunk's (uncommitted) files.

        Raises:
            RunError: a sample does not fit the schema or has lost its lineage, a balance does not hold, the stream was
                cut, or a disk could not be written.
            TakenOver: another process works on a chunk that this one held.
        """
        close_all()  # what an earlier pipeline of this process left open
        writer: _ChunkWriter | None = None
        try:
            for sample in data or ():
                chunk = chunk_of(sample)
                if chunk is None:
                    raise RunError(
                        f"document {sample.id} has no metadata[{LINEAGE!r}]: read with ReadUnits, and keep the "
                        f"metadata in every step between"
                    )
                if writer is None or chunk is not writer.chunk:
                    self._commit_before(chunk, writer)
                    writer = self._open(chunk)
                try:
                    writer.add(sample)
                except OSError as error:
                    raise _disk_error(chunk, error) from error
                meter.add(written=1)
                yield sample
            check_streams()
            self._commit_before(None, writer)
        finally:
            close_all()

    def _commit_before(self, chunk: OpenChunk | None, writer: _ChunkWriter | None) -> None:
        """Commit every open chunk that was read before `chunk`; `writer` holds the only one that has samples."""
        for earlier in open_chunks():
            if earlier is chunk:
                return
            try:
                with self.track_time("chunk"):
                    (writer if writer is not None and writer.chunk is earlier else self._open(earlier)).commit()
            except OSError as error:
                raise _disk_error(earlier, error) from error
            self.stat_update("written", value=earlier.tally.written.total())

    def _open(self, chunk: OpenChunk) -> _ChunkWriter:
        try:
            return _ChunkWriter(self.folder, chunk, self.schema, self.file_format)
        except OSError as error:
            raise _disk_error(chunk, error) from error


def _disk_error(chunk: OpenChunk, error: OSError) -> RunError:
    if chunk.leases is not None and not chunk.leases.holds(chunk.unit_name):
        return TakenOver(f"chunk {chunk.name} was taken over by another process")  # and its staged files with it
    return RunError(
        f"cannot write chunk {chunk.name}: {error}; make sure that --output and --state exist, are writable and have "
        f"free space, then start again to resume"
    )


class _ChunkWriter:
    """The staged files of one chunk."""

    def __init__(self, folder: RunFolder, chunk: OpenChunk, schema: pa.Schema, file_format: ShardFormat) -> None:
        self.folder, self.chunk, self.schema, self.file_format = folder, chunk, schema, file_format
        self.staging = Staging(folder, chunk.name)
        self._shards: dict[str, Shard] = {}  # by format
        self._files: dict[str, Shard] = {}  # by path in the output; the rejects too
        self._diversity: dict[Shard, Diversity] = {}

    def add(self, sample: Document) -> None:
        """Add a sample to its format's shard."""
        name = format_of(sample) or "documents"
        shard = self._shards.get(name)
        if shard is None:
            shard = self._shards[name] = self._shard(f"shards/{name}", self.schema)
            if "text" in self.schema.names:  # a side table has none
                self._diversity[shard] = Diversity()
        shard.add({**sample.metadata, "id": sample.id, "text": sample.text})
        if (diversity := self._diversity.get(shard)) is not None:
            diversity.add(written_by_model(sample))
        self.chunk.write(sample)

    def commit(self) -> None:
        """Close the files, check the balances and commit."""
        chunk = self.chunk
        chunk.finish()
        if chunk.refusals:
            rejects = self._shard("rejected", REJECTED_SCHEMA)
            for lineage, refusal in chunk.refusals:
                rejects.add({**vars(refusal), "format": refusal.format or None, "lineage": lineage})
        for shard in self._files.values():
            shard.close()
        measured = {shard: diversity.as_dict() for shard, diversity in self._diversity.items()}
        files = [
            self.staging.describe(path, shard.rows, measured.get(shard)) for path, shard in sorted(self._files.items())
        ]
        tally = chunk.tally.as_dict()
        record = Commit(chunk.name, chunk.unit, chunk.k, chunk.last_of_unit, self.staging.token, files, tally)
        chunk.journal.check()  # a run that cannot be resumed from here must not go on unnoticed
        if not self.staging.commit(record):
            logger.warning(f"chunk {chunk.name} was committed by another process; this copy is thrown away")
        chunk.journal.discard()
        chunk.forget()
        if chunk.last_of_unit:
            mark_finished(self.folder, chunk.unit)
            if chunk.leases is not None:
                chunk.leases.release(chunk.unit_name)
        meter.add(chunks=1)

    def _shard(self, folder: str, schema: pa.Schema) -> Shard:
        # Passes have formats of their own, so only what all formats share needs the pass in its name; and retries, that
        # add to the formats of another pass.
        shared = folder == "rejected" or self.folder.retries is not None
        stem = self.chunk.name if shared else self.chunk.name.removeprefix(self.folder.prefix)
        path = f"{folder}/{stem}.{self.file_format}"
        shard = self._files[path] = open_shard(self.staging.file(path), schema, self.file_format)
        return shard
