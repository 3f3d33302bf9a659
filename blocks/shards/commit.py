"""Commits: how a chunk's files become part of the output, exactly once.

The files of a chunk are staged in the state folder and synced; then a commit record that lists them with rows and
hashes is created exclusively; then the files are moved into the output. A crash or error before the record leaves
nothing that counts, one after it leaves moves that `recover` finishes: so staged files are never thrown away on an
error, only by whoever knows that no record refers to them. When two processes worked on the same chunk (a requeued job
and its zombie), one record wins and the other's files are thrown away. Everything downstream trusts the records, never
a listing.
"""

from __future__ import annotations

import re
import shutil
import socket
import time
import uuid
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from os import getpid, listdir
from pathlib import Path
from typing import Any

import orjson
import xxhash

from blocks.shards.folder import RunFolder, create_exclusively, sync, write_synced
from blocks.shards.plan import Unit

RECORD = "commit.json"
"""Name of the commit record in the staging folder."""

_CHUNK = re.compile(r"((?:p\d+-)?\d+)-\d+")
_TAKEN = ".recovered"


@dataclass
class ShardFile:
    """A file of a commit.

    Args:
        path: its place in the output.
        rows: how many it has.
        bytes: its size.
        hash: xxh3-64 (hex) of the content.
        diversity: how much its samples differ, see `Diversity.as_dict`; None of rejects.
    """

    path: str
    rows: int
    bytes: int
    hash: str
    diversity: dict[str, Any] | None = None


@dataclass
class Commit:
    """The record of a committed chunk.

    Args:
        chunk: the chunk's name.
        unit: number of its unit in the plan.
        k: its number in the unit.
        last: whether it is the last chunk of its unit.
        token: names the staging folder that the files came from.
        files: what belongs to the chunk.
        tally: the counts, see `Tally.as_dict`.
        at: seconds since the epoch.
        worker: host and process that committed.
    """

    chunk: str
    unit: int
    k: int
    last: bool
    token: str
    files: list[ShardFile]
    tally: dict[str, Any]
    at: float = field(default_factory=time.time)
    worker: str = field(default_factory=lambda: f"{socket.gethostname()}:{getpid()}")


class Staging:
    """The staging folder of one chunk in this process."""

    def __init__(self, folder: RunFolder, chunk: str) -> None:
        self.folder, self.chunk, self.token = folder, chunk, uuid.uuid4().hex[:12]
        self.path = folder.state / "staging" / f"{chunk}.{self.token}"
        self.path.mkdir(parents=True)

    def file(self, name: str) -> Path:
        """Where to write the file that will be `name` in the output."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def describe(self, name: str, rows: int, diversity: dict[str, Any] | None = None) -> ShardFile:
        """Sync a finished file and describe it for the record."""
        path = self.path / name
        sync(path)
        digest = xxhash.xxh3_64()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return ShardFile(name, rows, path.stat().st_size, digest.hexdigest(), diversity)

    def commit(self, record: Commit) -> bool:
        """Make the chunk part of the run; False when another process has committed it already."""
        # The record is written here and linked into its place: when `recover` has taken this folder from a process that
        # was thought dead, that process cannot commit any more.
        staged_record = self.path / RECORD
        write_synced(staged_record, orjson.dumps(asdict(record)))
        above = {folder for file in record.files for folder in (self.path / file.path).parents}
        for folder in {folder for folder in above if folder.is_relative_to(self.path)} | {self.path, self.path.parent}:
            sync(folder)
        created = create_exclusively(commit_path(self.folder, record.chunk), staged_record)
        if created:
            place_files(self.folder, self.path, record)
        self.discard()
        return created

    def discard(self) -> None:
        """Throw the staged files away."""
        shutil.rmtree(self.path, ignore_errors=True)


def commit_path(folder: RunFolder, chunk: str) -> Path:
    """Where the commit record of a chunk lies."""
    return folder.state / "commits" / f"{chunk}.json"


def load_commit(path: Path) -> Commit:
    """Read a commit record."""
    fields = orjson.loads(path.read_bytes())
    fields["files"] = [ShardFile(**file) for file in fields["files"]]
    return Commit(**fields)


def load_commits(folder: RunFolder, known: Container[str] = ()) -> Iterator[Commit]:
    """All commit records of the run, of every pass, by name; read many at a time, for file systems with latency.

    Args:
        folder: the run folder.
        known: names of chunks to leave out.
    """
    names = sorted(name for name in _names(folder.state / "commits") if name.removesuffix(".json") not in known)
    paths = (folder.state / "commits" / name for name in names)
    with ThreadPoolExecutor(32) as pool:
        while batch := list(islice(paths, 1000)):
            yield from pool.map(load_commit, batch)


def count_commits(folder: RunFolder) -> int:
    """How many chunks are committed, of all passes; one listing."""
    return len(_names(folder.state / "commits"))


def committed_chunks(folder: RunFolder) -> dict[int, set[int]]:
    """Committed chunk numbers of this pass, by unit; one listing, nothing is opened."""
    done: dict[int, set[int]] = {}
    for name in _names(folder.state / "commits"):
        if (numbers := folder.parse_name(name.removesuffix(".json"))) is not None:
            done.setdefault(numbers[0], set()).add(numbers[1])
    return done


def finished_units(folder: RunFolder) -> set[int]:
    """Units of this pass whose last chunk is known to be committed."""
    parsed = (folder.parse_name(name) for name in _names(folder.state / "finished"))
    return {numbers[0] for numbers in parsed if numbers is not None}


def pending_units(folder: RunFolder, units: Iterable[Unit], mark: bool = True) -> Iterator[tuple[Unit, set[int]]]:
    """Units that this pass has not finished, each with the numbers of its committed chunks.

    Args:
        folder: the run as the pass sees it.
        units: of the plan.
        mark: whether a unit that turns out to be finished is marked as such; without, nothing is written.
    """
    with ThreadPoolExecutor(2) as pool:  # two listings, in the time of one
        finding = pool.submit(finished_units, folder)
        committed, finished = committed_chunks(folder), finding.result()
    for unit in units:
        done = committed.get(unit.number, set())
        if unit.number in finished or (folder.retries is not None and unit.number >= folder.retries.units):
            continue
        # Its worker may have died between committing the last chunk and saying so.
        whole = bool(done) and done == set(range(len(done)))
        if whole and load_commit(commit_path(folder, folder.chunk_name(unit.number, max(done)))).last:
            if mark:
                mark_finished(folder, unit.number)
            continue
        yield unit, done


def mark_finished(folder: RunFolder, unit: int) -> None:
    """Remember that a unit's last chunk is committed; only spares the next launch from opening its record."""
    (folder.state / "finished" / folder.unit_name(unit)).touch()


def place_files(folder: RunFolder, staged: Path, record: Commit) -> None:
    """Move what is staged for a committed chunk to its place; what was moved before a crash is there already."""
    for file in record.files:
        if (staged / file.path).exists():
            folder.place(staged / file.path, file.path)


def recover(folder: RunFolder, unit: str | None = None) -> None:
    """Finish or undo what a killed process left behind; no process may be working on it.

    Args:
        folder: the run folder.
        unit: only what belongs to the unit of this name (see `RunFolder.unit_name`); None for all, of every pass.
    """

    def mine(chunk: str) -> bool:
        match = _CHUNK.fullmatch(chunk)  # network file systems put names of their own beside ours
        return match is not None and unit in (None, match[1])

    for staged in list((folder.state / "staging").iterdir()):
        chunk, _, token = staged.name.removesuffix(_TAKEN).rpartition(".")
        if not mine(chunk):
            continue
        # First take it away from its process, should that live after all, then see whether it has committed.
        try:
            taken = staged.rename(staged.with_name(f"{chunk}.{token}{_TAKEN}"))
        except FileNotFoundError:  # it lives, and has just ended by itself
            continue
        path = commit_path(folder, chunk)
        if path.exists() and (record := load_commit(path)).token == token:
            place_files(folder, taken, record)
        shutil.rmtree(taken, ignore_errors=True)
    for journal in list((folder.state / "journal").iterdir()):
        if mine(journal.stem) and commit_path(folder, journal.stem).exists():
            journal.unlink(missing_ok=True)


def staged_units(folder: RunFolder) -> set[str]:
    """Names of the units that have files on their way into the output, of every pass."""
    chunks = (name.removesuffix(_TAKEN).rpartition(".")[0] for name in _names(folder.state / "staging"))
    return {match[1] for chunk in chunks if (match := _CHUNK.fullmatch(chunk))}


def _names(folder: Path) -> list[str]:
    """File names in a folder, without those that are still being written."""
    return [name for name in listdir(folder) if not name.startswith(".")]  # noqa: PTH208 - iterdir takes twice as long
