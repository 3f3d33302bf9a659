"""Shard files: rows in, one Parquet or JSON Lines file out, with a declared schema.

Nothing is inferred from the first row: a value that does not fit its column is an error that names the column.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from blocks.shards.folder import RunError

BATCH_ROWS = 1000
"""Rows encoded at a time: bounds memory and the time the interpreter is held."""

ShardFormat = Literal["parquet", "jsonl"]


class ShardFile(Protocol):
    """A file that rows can be added to."""

    rows: int

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row; columns that it lacks are null."""

    def close(self) -> None:
        """Write what is left and close the file."""


class ParquetShard:
    """A Parquet file with page index and content-defined chunking, so that the Hub deduplicates and previews it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._batch: list[Mapping[str, Any]] = []
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        )

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self.rows += 1
        self._batch.append(row)
        if len(self._batch) == BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write the last batch and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._batch:
            columns = [_column(field, [row.get(field.name) for row in self._batch]) for field in self._schema]
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
            self._batch = []


class JsonlShard:
    """A JSON Lines file with the columns of the schema, checked like Parquet."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._file = path.open("wb")

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self.rows += 1
        values = {field.name: _column(field, [row.get(field.name)])[0].as_py() for field in self._schema}
        self._file.write(orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_shard(path: Path, schema: pa.Schema, file_format: ShardFormat) -> ShardFile:
    """A new shard file of the given format at `path`."""
    return ParquetShard(path, schema) if file_format == "parquet" else JsonlShard(path, schema)


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    try:
        column = pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, UnicodeEncodeError) as error:
        raise RunError(f"a sample's {field.name!r} does not fit its column ({field.type}): {error}") from error
    if column.null_count and not field.nullable:
        raise RunError(f"a sample has no {field.name!r}: the step that makes samples must set metadata[{field.name!r}]")
    return column
