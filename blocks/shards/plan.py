"""The plan: what the input consists of, written once before anything is generated.

A *unit* is what one task works on at a time: a whole JSON Lines file, or a run of consecutive row groups of a Parquet
file that holds about one chunk, so that one big Parquet file can keep any number of tasks busy. Within a unit, every
`chunk_size` rows are a chunk. Units are numbered in the order of the plan and hold no rank, so any number of tasks can
share a run, and another number tomorrow.

The plan only ever grows: a limit cuts it at a row position, a larger limit later appends units that begin where the cut
was, and new input files are appended too. A planned file that has changed since is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import orjson

from blocks.shards.folder import RunError, write_atomically
from blocks.shards.rows import CORRUPT, columns_of_first_row, json_lines, parquet_file
from blocks.shards.source import InputFile


@dataclass(frozen=True)
class Unit:
    """One unit of work.

    Args:
        number: its position in the plan.
        file: the input file.
        start: first row, counted from the beginning of the file.
        stop: row after the last one; None reads to the end of the file.
        rows: number of rows if known; an uncut JSON Lines file has not been counted.
    """

    number: int
    file: InputFile
    start: int
    stop: int | None
    rows: int | None


def load_plan(path: Path) -> list[Unit]:
    """The units planned so far; none when there is no plan yet."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [Unit(**{**(fields := orjson.loads(line)), "file": InputFile(**fields["file"])}) for line in lines]


def save_plan(path: Path, units: Sequence[Unit]) -> None:
    """Replace the plan's file."""
    write_atomically(path, b"".join(orjson.dumps(asdict(unit)) + b"\n" for unit in units))


def planned_rows(units: Sequence[Unit]) -> int | None:
    """Rows in the plan; None when some unit has not been counted."""
    counts = [unit.rows for unit in units]
    return None if any(count is None for count in counts) else sum(count for count in counts if count is not None)


def extend_plan(units: Sequence[Unit], files: Sequence[InputFile], chunk_size: int, limit: int | None) -> list[Unit]:
    """The plan, grown to cover `files` up to `limit` rows.

    Args:
        units: what is planned already.
        files: the input as it is now.
        chunk_size: rows per chunk, and about the rows of a Parquet unit.
        limit: total number of rows of the plan; None for all. A limit below what is planned changes nothing.

    Raises:
        RunError: a planned file changed its size or is gone.
    """
    now = {file.url: file for file in files}
    for unit in units:
        if unit.file.url not in now:
            raise RunError(f"{unit.file.url} is in the plan of this run but not in --input any more")
        if now[unit.file.url].size != unit.file.size:
            raise RunError(
                f"{unit.file.url} changed since this run was planned ({unit.file.size} → {now[unit.file.url].size} "
                f"bytes): restore it, or start a new run in another --output"
            )
    grown = list(units)
    planned = planned_rows(units)
    room = None if limit is None else (0 if planned is None else max(0, limit - planned))
    for file, groups in _with_row_groups(files, room):
        done = [unit for unit in units if unit.file.url == file.url]
        if any(unit.stop is None for unit in done):
            continue
        position = max((unit.stop for unit in done if unit.stop is not None), default=0)
        for start, stop, rows in _ranges(file, groups, position, chunk_size, room):
            if room is not None and rows is not None:
                room -= rows
            if rows != 0:
                grown.append(Unit(len(grown), file, start, stop, rows))
        if room == 0:
            break
    return grown


def check_columns(files: Sequence[InputFile], columns: Sequence[str]) -> None:
    """Look for `columns` in the first file that has a row.

    Raises:
        RunError: a column is missing; the message names those there are.
    """
    for file in files:
        found = columns_of_first_row(file)
        if found is None:
            continue
        for column in columns:
            if column not in found:
                raise RunError(f"no column {column!r} in {file.url}; it has {', '.join(sorted(found))}")
        return
    raise RunError("no input file has a single readable row")


def _with_row_groups(files: Sequence[InputFile], room: int | None) -> Iterator[tuple[InputFile, list[int]]]:
    """Each file with the sizes of its row groups; footers are fetched 16 at a time when all are needed."""

    def groups(file: InputFile) -> list[int]:
        if file.format != "parquet":
            return []
        try:
            with parquet_file(file) as parquet:
                return [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        except CORRUPT as error:
            raise RunError(f"cannot read {file.url}: {error}; remove it from --input or repair it") from error

    if room is not None:
        yield from ((file, groups(file)) for file in files)
        return
    with ThreadPoolExecutor(16) as pool:
        yield from zip(files, pool.map(groups, files), strict=True)


def _ranges(
    file: InputFile, groups: list[int], position: int, chunk_size: int, room: int | None
) -> Iterator[tuple[int, int | None, int | None]]:
    """Row ranges (start, stop, rows) of the units that cover `file` from `position` on, at most `room` rows."""
    if file.format == "jsonl":
        if room is None:
            yield position, None, None
            return
        try:
            with file.open() as stream:
                rows = sum(1 for _ in islice(json_lines(stream), position, position + room))
        except CORRUPT:  # reading will meet the same damage and record it, with what came before
            yield position, None, None
            return
        yield position, position + rows, rows
        return
    start = end = 0
    for size in groups:
        end += size
        if end <= position:
            start = end
            continue
        if end - max(start, position) >= chunk_size or end == sum(groups):
            first = max(start, position)
            stop = end if room is None else min(end, first + room)
            if stop > first:
                yield first, stop, stop - first
            if room is not None:
                room -= stop - first
            start = end
