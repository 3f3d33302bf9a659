"""Rows out of files: JSON Lines (plain, gzip, zstd) and Parquet, streamed, with damage told apart from a bad network.

A row that cannot be read is a row all the same: it keeps its position and is reported with a reason, because positions
are what plans, chunks and limits are made of. Blank lines are no rows.
"""

from __future__ import annotations

import codecs
import gzip
import json
import time
import zlib
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from loguru import logger

from blocks.shards.folder import RunError
from blocks.shards.source import InputFile


class DamagedParquet(Exception):
    """Arrow met data that makes no sense."""


CORRUPT = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, pa.ArrowInvalid, DamagedParquet)
"""What damaged data raises."""

PATIENCE = 900.0
"""Seconds for which a store of files may fail before a launch that works ends, as long as a model's server may."""

_LONGEST_WAIT = 30.0
"""Seconds between two tries; a job that is told to drain has a minute to spare."""

_FOR_GOOD = (
    FileNotFoundError,
    IsADirectoryError,
    PermissionError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What no later try helps against; the errors of a network have too many types to be listed."""

READ_ROWS = 1000
"""Rows decoded at a time from Parquet: datatrove's batch size, small next to a row group."""

READ_BYTES = 32 << 20
"""Bytes decoded at a time from Parquet, if a row is no larger; Python's strings take up to four times that."""

_EXACT = 2.0**63
"""Whole numbers from which on they are read as floats."""

LOOK_ROWS = 100
"""Rows of JSON Lines that are looked at for their columns: a row may lack what is null in it."""


class BadRow:
    """A row that is there but cannot be used, with its reason and what could be read of it."""

    def __init__(self, reason: str, raw: str = "") -> None:
        self.reason, self.raw = reason, raw


def json_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream that are not blank."""
    for line in stream:
        if not line.isspace():
            yield line


@contextmanager
def parquet_file(file: InputFile) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file through fsspec.

    Raises:
        DamagedParquet: what was read in the block makes no sense.
        pa.ArrowInvalid: the same, of a file without a footer.
    """
    try:
        with fsspec.open(file.url, "rb") as stream, pq.ParquetFile(stream) as parquet:
            yield parquet
    except OSError as error:
        # Arrow reports corrupt pages as plain OSErrors; those of file systems have a number or a type of their own.
        if type(error) is not OSError or error.errno is not None:
            raise
        raise DamagedParquet(str(error)) from error


def columns_of_first_rows(file: InputFile) -> set[str]:
    """Columns of the first readable rows; none when there is no such row."""
    columns: set[str] = set()
    try:
        if file.format == "parquet":
            with parquet_file(file) as parquet:
                return set(parquet.schema_arrow.names) if parquet.metadata.num_rows else columns
        with file.open() as stream:
            for row in islice(map(parse_line, json_lines(stream)), LOOK_ROWS):
                if isinstance(row, dict):
                    columns |= row.keys()
    except CORRUPT:
        pass  # with what was found so far
    return columns


def schema_of(files: Sequence[InputFile], only: Container[str] | None = None) -> pa.Schema:
    """The columns of all files together; of JSON Lines, those of the first 1,000 rows of each file.

    Args:
        files: the files.
        only: columns to look at, None for all: others may hold what has no type.

    Raises:
        RunError: a column has types that do not go together.
    """
    with ThreadPoolExecutor(16) as pool:  # files on S3 or the Hub take a tenth of a second each
        schemas = list(pool.map(lambda file: _schema_of(file, only), files))
    try:
        return pa.unify_schemas([pa.schema([]), *schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise RunError(f"the columns of the input files do not go together: {error}") from error


def _schema_of(file: InputFile, only: Container[str] | None) -> pa.Schema:
    """The columns of a file; none of one that cannot be read."""
    try:
        if file.format == "parquet":
            with parquet_file(file) as parquet:
                found = parquet.schema_arrow.remove_metadata()
                return pa.schema([field for field in found if only is None or field.name in only])
        with file.open() as stream:
            rows = [row for row in map(parse_line, islice(json_lines(stream), READ_ROWS)) if type(row) is dict]
    except CORRUPT:
        return pa.schema([])
    names = dict.fromkeys(name for row in rows for name in row if only is None or name in only)
    return pa.schema([(name, _type_of(name, rows, file)) for name in names])


def _type_of(name: str, rows: Sequence[dict[str, Any]], file: InputFile) -> pa.DataType:
    try:
        return pa.array([row.get(name) for row in rows]).type
    except (pa.ArrowException, OverflowError) as error:
        raise RunError(
            f"the column {name} of {file.url} has values of several types, or numbers beyond 64 bits: {error}"
        ) from error


def parse_line(line: bytes) -> dict[str, Any] | BadRow:
    """One line of JSON as a row; also as Python writes it, with NaN and whole numbers of any size."""
    line = line.removeprefix(codecs.BOM_UTF8)  # of the first row
    try:
        row = orjson.loads(line)
        if isinstance(row, dict) and any(type(value) is float and abs(value) >= _EXACT for value in row.values()):
            row = json.loads(line)  # an id of 20 digits must not become that of another row
    except orjson.JSONDecodeError:
        try:
            raw = line.decode()
        except UnicodeDecodeError:
            return BadRow("invalid_utf8", line.decode(errors="replace"))
        try:
            row = json.loads(raw)
            json.dumps(row, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError):
            return BadRow("invalid_json", raw)
    return row if isinstance(row, dict) else BadRow("not_an_object", line.decode(errors="replace"))


def read_rows(
    file: InputFile,
    start: int,
    stop: int | None,
    columns: Sequence[str],
    wanted: Callable[[int, int], bool] | None = None,
    patience: float = 0.0,
) -> Generator[dict[str, Any] | BadRow]:
    """The rows `start` to `stop` of a file, one item per row position.

    Damage that makes the rest of the file unreadable is one last `BadRow("unreadable_rest")`.

    Args:
        file: the file.
        start: first row position; earlier rows are passed over unparsed.
        stop: position after the last; None reads to the end.
        columns: columns to read from Parquet; those that a file lacks are absent from its rows.
        wanted: whether any row from a position up to another one is; row groups of Parquet without one are not read,
            and their rows are empty.
        patience: seconds for which the store of a remote file is asked again when it fails; `PATIENCE` where a run
            would end otherwise, and the servers of a model with it.
    """
    position, failing, wait = start, None, 1.0
    while True:
        try:
            for row in _rows(file, position, stop, columns, wanted):
                position, failing, wait = position + 1, None, 1.0
                yield row
            return
        except CORRUPT as error:
            yield BadRow("unreadable_rest", f"{type(error).__name__}: {error}")
            return
        except Exception as error:
            now = time.monotonic()
            failing = failing or now
            if now - failing >= patience or not _may_pass(file, error):
                raise
            logger.warning(f"cannot read {file.url}, trying again in {wait:g} s: {type(error).__name__}: {error}")
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


def _may_pass(file: InputFile, error: Exception) -> bool:
    """Whether an error of reading may be over soon."""
    status = getattr(getattr(error, "response", None), "status_code", getattr(error, "status", None))
    refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429)
    return not (file.url.startswith("file:") or refused or isinstance(error, _FOR_GOOD))


def _rows(
    file: InputFile, start: int, stop: int | None, columns: Sequence[str], wanted: Callable[[int, int], bool] | None
) -> Iterator[dict[str, Any] | BadRow]:
    if file.format == "jsonl":
        with file.open() as stream:
            yield from map(parse_line, islice(json_lines(stream), start, stop))
    else:
        yield from _read_parquet(file, start, stop, columns, wanted)


def _read_parquet(
    file: InputFile, start: int, stop: int | None, columns: Sequence[str], wanted: Callable[[int, int], bool] | None
) -> Iterator[dict[str, Any] | BadRow]:
    with parquet_file(file) as parquet:
        names = [name for name in columns if name in parquet.schema_arrow.names]
        position = end = 0
        for group in range(parquet.num_row_groups):
            end += parquet.metadata.row_group(group).num_rows
            if end <= start:
                position = end
                continue
            first, last = max(start, position), end if stop is None else min(end, stop)
            if wanted is not None and not wanted(first, last):
                yield from ({} for _ in range(first, last))
                position = end
                if stop is not None and position >= stop:
                    return
                continue
            told = parquet.metadata.row_group(group)
            rows = min(READ_ROWS, max(1, READ_BYTES * told.num_rows // max(1, told.total_byte_size)))
            for batch in parquet.iter_batches(rows, row_groups=[group], columns=names):
                first = max(start - position, 0)
                last = batch.num_rows if stop is None else min(batch.num_rows, stop - position)
                position += batch.num_rows
                if first < last:
                    yield from _plain_rows(batch.slice(first, last - first))
                if stop is not None and position >= stop:
                    return
            if position != end:
                raise DamagedParquet(f"row group {group} ends {end - position} rows early")


def _plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any] | BadRow]:
    """The rows of a batch as Python values; a row that has none is told apart from its neighbours."""
    try:
        rows: list[dict[str, Any] | BadRow] = batch.to_pylist()
        return rows
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [BadRow("invalid_utf8", error.object.decode(errors="replace"))]
    except (ValueError, OverflowError) as error:  # such as a timestamp beyond the year 9999
        if batch.num_rows == 1:
            return [BadRow("unreadable_value", str(error))]
    return [row for i in range(batch.num_rows) for row in _plain_rows(batch.slice(i, 1))]
