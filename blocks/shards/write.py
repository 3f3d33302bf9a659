"""The writer: the last step, which turns samples into committed shards.

Samples arrive in input order, so the first sample of a later chunk (or the end of the stream) means that nothing of the
earlier chunks is still on its way: they are committed then, also when nothing of them arrived at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from blocks.shards import meter
from blocks.shards.chunk import FORMAT, LINEAGE, OpenChunk, chunk_of, close_all, open_chunks
from blocks.shards.commit import Commit, Staging, mark_finished
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.shard import ShardFile, ShardFormat, open_shard

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
        """Write what arrives; every sample is passed on once it is in its chunk's (uncommitted) files."""
        current: OpenChunk | None = None
        writer: _ChunkWriter | None = None
        try:
            for sample in data or ():
                chunk = chunk_of(sample)
                if chunk is None:
                    raise RunError(
                        f"document {sample.id} has no metadata[{LINEAGE!r}]: read with ReadUnits, and keep the "
                        f"metadata in every step between"
                    )
                if chunk is not current:
                    self._commit_before(chunk, current, writer)
                    current, writer = chunk, _ChunkWriter(self.folder, chunk, self.schema, self.file_format)
                assert writer is not None
                writer.add(sample)
                self.stat_update("written")
                meter.add(written=1)
                yield sample
            self._commit_before(None, current, writer)
        except BaseException:
            if writer is not None:
                writer.staging.discard()
            raise
        finally:
            close_all()

    def _commit_before(self, chunk: OpenChunk | None, current: OpenChunk | None, writer: _ChunkWriter | None) -> None:
        """Commit every open chunk that was read before `chunk`."""
        for earlier in open_chunks():
            if earlier is chunk:
                return
            if not earlier.read_to_end:
                raise RunError(
                    f"chunk {earlier.name} was not read to its end: a step between reader and commit stopped the stream"
                )
            if earlier is not current or writer is None:
                writer = _ChunkWriter(self.folder, earlier, self.schema, self.file_format)
            with self.track_time("chunk"):
                writer.commit()


class _ChunkWriter:
    """The staged files of one chunk."""

    def __init__(self, folder: RunFolder, chunk: OpenChunk, schema: pa.Schema, file_format: ShardFormat) -> None:
        self.folder, self.chunk, self.schema, self.file_format = folder, chunk, schema, file_format
        self.staging = Staging(folder, chunk.name)
        self._shards: dict[str, ShardFile] = {}

    def add(self, sample: Document) -> None:
        """Add a sample to its format's shard."""
        name = self._path(f"shards/{sample.metadata.get(FORMAT, 'documents')}")
        shard = self._shards.get(name)
        if shard is None:
            shard = self._shards[name] = open_shard(self.staging.file(name), self.schema, self.file_format)
        shard.add({**sample.metadata, "id": sample.id, "text": sample.text})
        self.chunk.write(sample)

    def commit(self) -> None:
        """Close the files, check the balances and commit."""
        chunk = self.chunk
        chunk.finish()
        if chunk.refusals:
            name = f"rejected/{chunk.name}.{self.file_format}"
            rejects = self._shards[name] = open_shard(self.staging.file(name), REJECTED_SCHEMA, self.file_format)
            for lineage, refusal in chunk.refusals:
                rejects.add({**asdict(refusal), "format": refusal.format or None, "lineage": lineage})
        for shard in self._shards.values():
            shard.close()
        files = [self.staging.describe(name, shard.rows) for name, shard in sorted(self._shards.items())]
        tally = chunk.tally.as_dict()
        record = Commit(chunk.name, chunk.unit, chunk.k, chunk.last_of_unit, self.staging.token, files, tally)
        if not self.staging.commit(record):
            logger.warning(f"chunk {chunk.name} was committed by another process; this copy is thrown away")
        chunk.journal.discard()
        chunk.forget()
        if chunk.last_of_unit:
            mark_finished(self.folder, chunk.unit)
        meter.add(chunks=1)

    def _path(self, folder: str) -> str:
        return f"{folder}/{self.chunk.name.removeprefix(self.folder.prefix)}.{self.file_format}"
