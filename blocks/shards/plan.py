"""The plan: what the input consists of, written once before anything is generated.

A *unit* is what one task works on at a time: a whole JSON Lines file, or a run of consecutive row groups of a Parquet
file that holds about one chunk, so that one big Parquet file can keep any number of tasks busy. Within a unit, every
`chunk_size` rows are a chunk. Units are numbered in the order of the plan and hold no rank, so any number of tasks can
share a run, and another number tomorrow.

The plan only ever grows: a limit cuts it at a row position, a larger limit later appends units that begin where the cut
was, and new input files are appended too. The unit that reaches the end of its file says so (`stop` is None), so that
later launches need not open a file that is planned to its end. A planned file that has changed since is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import orjson
from datatrove.utils.logging import logger

from blocks.shards.folder import RunError, write_atomically
from blocks.shards.rows import CORRUPT, columns_of_first_rows, json_lines, parquet_file
from blocks.shards.source import InputFile

Range = tuple[int, int | None, int | None]
"""`start`, `stop` and `rows` of a unit."""


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
    units: list[Unit] = []
    for line in lines:
        fields = orjson.loads(line)
        file = fields.pop("file")
        if not units or file["url"] != units[-1].file.url:  # many units share a file
            known = InputFile(**file)
        units.append(Unit(file=known, **fields))
    return units


def save_plan(path: Path, units: Sequence[Unit]) -> None:
    """Replace the plan's file."""
    write_atomically(path, b"".join(orjson.dumps(asdict(unit)) + b"\n" for unit in units))


def check_chunk_size(state: Path, chunk_size: int) -> bool:
    """Hold a chunk size against the one that the run was planned with: chunk numbers are row positions.

    Returns:
        Whether the run has one yet.

    Raises:
        RunError: it has another one.
    """
    try:
        planned = int((state / "chunk_size").read_text())
    except FileNotFoundError:
        return False
    if planned != chunk_size:
        raise RunError(f"this run has a chunk size of {planned}, not {chunk_size}; it cannot change")
    return True


def hold_chunk_size(state: Path, chunk_size: int) -> None:
    """Remember the chunk size of a run, or refuse another one.

    Raises:
        RunError: the run has another chunk size.
    """
    if not check_chunk_size(state, chunk_size):
        write_atomically(state / "chunk_size", str(chunk_size).encode())


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
        limit: total number of rows of the plan; None for all. A limit below what is planned changes nothing, and so
            does any limit once a file that has not been counted is planned.

    Raises:
        RunError: a planned file changed its size or is gone.
    """
    _check_unchanged(units, files)
    planned = planned_rows(units)
    room = None if limit is None else 0 if planned is None else max(0, limit - planned)
    grown = list(units)
    if room == 0:
        return grown
    reached = {unit.file.url: unit.stop for unit in units}
    unfinished = [file for file in files if reached.get(file.url, 0) is not None]
    for file, groups in _with_row_groups(unfinished, room):
        for start, stop, rows in _ranges(file, groups, reached.get(file.url) or 0, chunk_size, room):
            grown.append(Unit(len(grown), file, start, stop, rows))
            if room is not None and rows is not None:
                room -= rows
        if room == 0:
            break
    return grown


def unplanned(files: Sequence[InputFile], units: Sequence[Unit]) -> list[InputFile]:
    """The files that a plan does not know yet."""
    known = {unit.file.url for unit in units}
    return [file for file in files if file.url not in known]


def check_columns(files: Sequence[InputFile], columns: Sequence[str]) -> None:
    """Look for `columns` in the first file that has a row.

    Raises:
        RunError: a column is missing; the message names those there are.
    """
    for file in files:
        found = columns_of_first_rows(file)
        if not found:
            continue
        for column in columns:
            if column not in found:
                raise RunError(f"no column {column!r} in {file.url}; it has {', '.join(sorted(found))}")
        return
    raise RunError("no input file has a single readable row")


def _check_unchanged(units: Sequence[Unit], files: Sequence[InputFile]) -> None:
    now = {file.url: file for file in files}
    for unit in units:
        if unit.file.url not in now:
            raise RunError(
                f"{unit.file.url} is in the plan of this run but not in --input any more: put it back, or start a new "
                f"run in another --output"
            )
        if now[unit.file.url].size != unit.file.size:
            raise RunError(
                f"{unit.file.url} changed since this run was planned ({unit.file.size} → {now[unit.file.url].size} "
                f"bytes): restore it, or start a new run in another --output"
            )


def _with_row_groups(files: Sequence[InputFile], room: int | None) -> Iterator[tuple[InputFile, list[int] | None]]:
    """Each file with the sizes of its row groups, None when it is damaged; 16 footers at a time when all are needed."""

    def groups(file: InputFile) -> list[int] | None:
        if file.format != "parquet":
            return []
        try:
            with parquet_file(file) as parquet:
                return [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        except CORRUPT as error:
            logger.warning(f"cannot read {file.url} ({error}): all of it will be one rejected row, unreadable_rest")
            return None

    if room is not None:
        yield from ((file, groups(file)) for file in files)
        return
    with ThreadPoolExecutor(16) as pool:
        yield from zip(files, pool.map(groups, files), strict=True)


def _ranges(
    file: InputFile, groups: list[int] | None, position: int, chunk_size: int, room: int | None
) -> Iterator[Range]:
    """The units that cover `file` from `position` on, at most `room` rows, up to the end of the file."""
    if groups is None:
        yield position, None, 1  # reading will report the damage as one row
    elif file.format == "parquet":
        yield from _parquet_ranges(groups, position, chunk_size, room)
    elif room is None:
        yield position, None, None
    else:
        rows, ended = _count(file, position, room)
        yield position, None if ended else position + rows, rows


def _parquet_ranges(groups: list[int], position: int, chunk_size: int, room: int | None) -> Iterator[Range]:
    total = sum(groups)
    last = total if room is None else min(total, position + room)
    start, end = position, 0
    for size in groups:
        end = min(end + size, last)
        if end < last and end - start < chunk_size:
            continue
        yield start, None if end == total else end, end - start
        start = end
        if end == last:
            return
    yield start, None, 0  # no row groups at all


def _count(file: InputFile, position: int, room: int) -> tuple[int, bool]:
    """Rows of a JSON Lines file from `position` on, at most `room`, and whether they reach its end."""
    rows = 0
    try:
        with file.open() as stream:
            for _ in islice(json_lines(stream), position, position + room):
                rows += 1
    except CORRUPT:
        return rows + 1, True  # the damage ends the file, and reading will report it as one row
    return rows, rows < room
