"""Shard files: rows in, one Parquet or JSON Lines file out, with a declared schema.

Nothing is inferred from the first row: a value that does not fit its column is an error that names the column.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from blocks.shards.folder import RunError

BATCH_ROWS = 1000
"""Most rows encoded at a time, and rows of a Parquet row group."""

BATCH_CHARACTERS = 32 << 20
"""Text after which fewer rows are encoded at a time: bounds memory where documents are huge."""

ShardFormat = Literal["parquet", "jsonl"]


class Shard(ABC):
    """A file that rows can be added to; they are encoded in batches."""

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._fields = [(field.name, field) for field in schema]
        self._batch: list[Mapping[str, Any]] = []
        self._characters = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row; columns that it lacks are null.

        Raises:
            RunError: a row of the batch does not fit the schema.
        """
        self.rows += 1
        self._batch.append(row)
        self._characters += sum(len(value) for value in row.values() if type(value) is str)
        if len(self._batch) == BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def close(self) -> None:
        """Write what is left and close the file.

        Raises:
            RunError: a row of the last batch does not fit the schema.
        """
        self._flush()
        self._close()

    def _flush(self) -> None:
        if self._batch:
            columns = [_column(field, [row.get(name) for row in self._batch]) for name, field in self._fields]
            self._write(pa.RecordBatch.from_arrays(columns, schema=self._schema))
            self._batch, self._characters = [], 0

    @abstractmethod
    def _write(self, batch: pa.RecordBatch) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class ParquetShard(Shard):
    """A Parquet file with page index and content-defined chunking, so that the Hub deduplicates and previews it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(schema)
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        )

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add rows of another shard; not together with `add`."""
        self.rows += batch.num_rows
        self._writer.write_batch(batch)

    def _write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def _close(self) -> None:
        self._writer.close()


class JsonlShard(Shard):
    """A JSON Lines file with the columns of the schema, checked like Parquet."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(schema)
        self._file = path.open("wb")

    def _write(self, batch: pa.RecordBatch) -> None:
        self._file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist())

    def _close(self) -> None:
        self._file.close()


def open_shard(path: Path, schema: pa.Schema, file_format: ShardFormat) -> Shard:
    """A new shard file of the given format at `path`."""
    return ParquetShard(path, schema) if file_format == "parquet" else JsonlShard(path, schema)


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    try:
        if pa.types.is_integer(field.type) and any(type(value) is float and value % 1 for value in values):
            raise ValueError("a number with a fraction")  # which Arrow would cut off without a word
        column = pa.array(values, field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise RunError(f"a sample's {field.name!r} does not fit its column ({field.type}): {error}") from error
    if column.null_count and not field.nullable:
        raise RunError(f"a sample has no {field.name!r}: the step that makes samples must set metadata[{field.name!r}]")
    return column
