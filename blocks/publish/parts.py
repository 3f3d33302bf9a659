"""Which files a published dataset has: shards joined to files of a good size, along runs of chunks that do not move.

Thousands of shards of a few megabytes are slow to list, to stream and to look at. So the shards of a format are joined,
in the order of the plan, until a file has `TARGET` bytes. A file is due when all units up to its last chunk are
finished; so what is in it depends on the run and not on when somebody published it. Only the last one of a pass may be
smaller, and is due when the pass is complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TypedDict

import fsspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from blocks.shards.chunk import SOURCE
from blocks.shards.commit import load_commits, pending_units
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import Unit
from blocks.shards.run import RunRecord
from blocks.shards.shard import BATCH_ROWS, ParquetShard
from blocks.shards.summary import Totals

TARGET = 256 << 20
"""Bytes of a published file, about."""


_Chunk = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A file of the published dataset.

    Args:
        path: in the repository, such as `faq/train-00003.parquet`.
        format: of its samples.
        chunks: the first and the last chunk that it may have samples of.
        shards: of the run, in their order.
        rows: samples.
        bytes: of the shards together.
    """

    path: str
    format: str
    chunks: tuple[str, str]
    shards: tuple[str, ...]
    rows: int
    bytes: int


class Measured(TypedDict):
    """What a file holds.

    Args:
        rows: samples.
        words: of all texts.
        sizes: samples by the power of two at or below their words.
        completion_tokens: of all samples, as far as the server counted.
    """

    rows: int
    words: int
    sizes: dict[str, int]
    completion_tokens: int


class Stored(Measured):
    """What the list of published files says of one.

    Args:
        format: of its samples.
        chunks: as in `Part`.
        bytes: of the file.
        sha256: of its content.
    """

    format: str
    chunks: list[str]
    bytes: int
    sha256: str


def measure(file: Path) -> Measured:
    """Count what a file holds."""
    rows = words = tokens = 0
    sizes: Counter[int] = Counter()
    for batch in _batches(file):
        rows += batch.num_rows
        if "completion_tokens" in batch.schema.names:
            tokens += pc.sum(batch["completion_tokens"]).as_py() or 0
        if "text" not in batch.schema.names:  # a judge's side table
            continue
        counts = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(batch["text"]))).to_numpy(False)
        words += int(counts.sum())
        sizes.update(1 << max(0, int(count).bit_length() - 1) for count in counts)
    return {
        "rows": rows,
        "words": words,
        "sizes": {str(size): count for size, count in sorted(sizes.items())},
        "completion_tokens": tokens,
    }


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    if file.suffix == ".parquet":
        parquet = pq.ParquetFile(file)
        wanted = [name for name in ("id", "text", "completion_tokens") if name in parquet.schema_arrow.names]
        yield from parquet.iter_batches(BATCH_ROWS, columns=wanted)
        return
    with file.open("rb") as lines:
        while some := list(islice(lines, BATCH_ROWS)):
            rows = [orjson.loads(line) for line in some]
            columns = {"id": pa.array([row["id"] for row in rows], pa.string())}
            if "text" in rows[0]:
                columns["text"] = pa.array([row["text"] for row in rows], pa.string())
            columns["completion_tokens"] = pa.array([row.get("completion_tokens") for row in rows], pa.int64())
            yield pa.RecordBatch.from_pydict(columns)


class Committed:
    """What a run has committed; each commit record is read once, however often one looks.

    Args:
        folder: the run.

    Attributes:
        totals: what the records add up to.
        shards: path, samples and bytes by pass, chunk (unit and number in it) and format.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.totals = Totals(folder)
        self.shards: dict[int, dict[_Chunk, dict[str, tuple[str, int, int]]]] = {}
        self._known: set[str] = set()

    def look(self) -> None:
        """Read the records that have come since."""
        for commit in load_commits(self.folder, self._known):
            self._known.add(commit.chunk)
            self.totals.add(commit)
            of_pass = self.shards.setdefault(self.folder.pass_of(commit.chunk), {})
            of_pass[commit.unit, commit.k] = {
                file.path.split("/")[1]: (file.path, file.rows, file.bytes)
                for file in commit.files
                if file.path.startswith("shards/") and file.rows
            }

    def first_shards(self) -> list[str]:
        """The first shard of each format, in the order of the plan."""
        found: dict[str, str] = {}
        for _, chunks in sorted(self.shards.items()):
            for _, formats in sorted(chunks.items()):
                for name, (path, _, _) in formats.items():
                    found.setdefault(name, path)
        return list(found.values())


def due_parts(
    committed: Committed,
    record: RunRecord,
    units: Sequence[Unit],
    published: Mapping[str, Stored],
    target: int = TARGET,
) -> tuple[list[Part], bool]:
    """The files that can be published now and are not yet, and whether nothing else will ever come.

    Args:
        committed: of the run, as it was when somebody last looked.
        record: what it is.
        units: its plan.
        published: what is published, by path, with `chunks`: the first and the last one.
        target: bytes of a file.
    """
    passes = [record.seen_by(committed.folder, number) for number in range(len(record.passes))]
    # Before the records are read: what is committed meanwhile must not seem to have no samples.
    pending = [{unit.number for unit, _ in pending_units(seen, units)} for seen in passes]
    committed.look()
    parts: list[Part] = []
    for number, seen in enumerate(passes):
        finished = min(pending[number], default=len(units))
        chunks = {at: found for at, found in sorted(committed.shards.get(number, {}).items()) if at[0] < finished}
        for name in sorted({name for found in chunks.values() for name in found}):
            # As in the run: retries add to the formats of another pass, so they have its number in their names.
            stem = f"{name}/train-{seen.prefix if seen.retries else ''}"
            there = {path: file["chunks"] for path, file in published.items() if path.startswith(stem)}
            ranges = sorted(_range(seen, ends) for ends in there.values() if seen.parse_name(ends[0]) is not None)
            of_name = {at: found[name] for at, found in chunks.items() if name in found}
            free = (number for number in count() if not any(path.startswith(f"{stem}{number:05d}") for path in there))
            for group in _groups(of_name, ranges, target, whole=not pending[number]):
                paths, rows, sizes = zip(*(of_name[at] for at in group), strict=True)
                path = f"{stem}{next(free):05d}{Path(paths[0]).suffix}"
                ends = (seen.chunk_name(*group[0]), seen.chunk_name(*group[-1]))
                parts.append(Part(path, name, ends, paths, sum(rows), sum(sizes)))
    return parts, bool(units) and not any(pending)


def _range(folder: RunFolder, ends: Sequence[str]) -> tuple[_Chunk, _Chunk]:
    """The first and the last chunk of a published file as numbers: their names are in no order beyond five digits."""
    (first_unit, first_k), (last_unit, last_k) = (folder.parse_name(name) or (0, 0) for name in ends)
    return (first_unit, first_k), (last_unit, last_k)


def _groups(
    shards: Mapping[_Chunk, tuple[str, int, int]],
    published: Sequence[tuple[_Chunk, _Chunk]],
    target: int,
    whole: bool,
) -> Iterator[list[_Chunk]]:
    """Runs of chunks of about `target` bytes between those that are published; the last one only if nothing follows."""
    group: list[_Chunk] = []
    size = at = 0
    for chunk, (_, _, weight) in shards.items():
        while at < len(published) and published[at][1] < chunk:
            at += 1
        if at < len(published) and published[at][0] <= chunk:
            if group:
                yield group
            group, size = [], 0
            continue
        group.append(chunk)
        size += weight
        if size >= target:
            yield group
            group, size = [], 0
    if group and whole:
        yield group


class NotThere(RunError):
    """A shard that is committed has not been moved to its place: its worker is about to, or was killed before."""


Sources = Callable[[str], Mapping[str, str]]
"""The documents of a shard's chunk by their `source_hash`; given the shard's path."""


def join(folder: RunFolder, part: Part, target: Path, sources: Sources | None = None) -> None:
    """Write the samples of a part's shards to one file.

    Args:
        folder: the run.
        part: what to join.
        target: where to.
        sources: to add the documents as `source_text` where the run has not kept them (Parquet only).

    Raises:
        NotThere: a shard is missing.
        RunError: the joined file has not the rows that the records say, or a document is not found.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if target.suffix == ".parquet":
            rows = _join_parquet(folder, part, target, sources)
        else:
            rows = _join_lines(folder, part, target)
    except FileNotFoundError as error:
        raise NotThere(
            f"a committed shard is missing ({error}): start the run again, which moves what a killed worker has left"
        ) from None
    if rows != part.rows:
        raise RunError(
            f"{part.path} would have {rows:,} samples and the records say {part.rows:,}: shards were changed"
        )


def _join_parquet(folder: RunFolder, part: Part, target: Path, sources: Sources | None) -> int:
    writer: ParquetShard | None = None
    for shard in part.shards:
        with fsspec.open(f"{folder.output}/{shard}", "rb") as stream:
            parquet = pq.ParquetFile(stream)
            names = parquet.schema_arrow.names
            documents = sources(shard) if sources and "source_hash" in names and SOURCE not in names else None
            for batch in parquet.iter_batches(BATCH_ROWS):
                if documents is not None:
                    hashes = batch["source_hash"].to_pylist()
                    if missing := [name for name in hashes if name not in documents]:
                        raise RunError(
                            f"{len(missing)} samples of {shard} were made from no document of the run's input: either "
                            f"that was changed, or the run reads samples; publish without --with-source"
                        )
                    texts = [documents[name] for name in hashes]
                    batch = batch.append_column(pa.field(SOURCE, pa.string()), pa.array(texts, pa.string()))
                writer = writer or ParquetShard(target, batch.schema)
                writer.add_batch(batch)
    assert writer is not None, "a part has shards"
    writer.close()
    return writer.rows


def _join_lines(folder: RunFolder, part: Part, target: Path) -> int:
    rows = 0
    with target.open("wb") as file:
        for shard in part.shards:
            with fsspec.open(f"{folder.output}/{shard}", "rb") as stream:
                for line in stream:
                    file.write(line)
                    rows += 1
    return rows
