"""The publisher: brings a run's committed shards to a dataset repository, in few commits, each file once.

A commit holds some files, the list of all files that finemill has published there (`MANIFEST`), and the card. It is
made on top of the commit whose list was read, or not at all. So the repository itself says what is done: whoever is
killed, loses an answer or comes second reads the list and goes on.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from huggingface_hub import CommitOperationAdd
from loguru import logger

from blocks.filters.pii import RemovePII
from blocks.publish.card import About, make_card, samples_to_show
from blocks.publish.hub import Conflict, Repository
from blocks.publish.parts import TARGET, Committed, NotThere, Part, Stored, due_parts, join, measure
from blocks.shards.chunk import SOURCE
from blocks.shards.commit import count_commits
from blocks.shards.documents import Documents, source_hash
from blocks.shards.folder import RunError, RunFolder, write_atomically
from blocks.shards.plan import load_plan, planned_rows
from blocks.shards.run import check_state, load_run

MANIFEST = "finemill.json"
"""The list of published files in the repository: run id, and by path `chunks`, `rows`, `bytes` and `sha256`."""

CARD_EVERY = 3600.0
"""Seconds between two commits of the card alone, while the run goes on."""

MISSING = 900.0
"""Seconds for which a committed shard may be on its way to its place, with --follow."""

FILES_PER_COMMIT, BYTES_PER_COMMIT = 50, 8 << 30


_OF_ANY_REPOSITORY = frozenset({".gitattributes", "README.md"})
"""What the Hub puts into a new repository."""


class Publisher:
    """Publishes one run to one repository.

    Args:
        folder: the run.
        repository: where to.
        about: what the card says that only people know; what is not said stays as it was published.
        with_source: whether the documents are published, too, as `source_text`; None for as it was.
        target: bytes of a file.

    Raises:
        RunError: there is no run, or the state is another one's.
    """

    def __init__(
        self,
        folder: RunFolder,
        repository: Repository,
        about: About,
        with_source: bool | None = None,
        target: int = TARGET,
    ) -> None:
        record = load_run(folder)
        if record is None:
            raise RunError(f"there is no run in {folder.output}")
        self.folder, self.record, self.repository, self.about = folder, record, repository, about
        check_state(folder, record)
        self.target, self.with_source = target, with_source
        self.work = folder.state / "publish"
        self.committed = Committed(folder)
        self.units = load_plan(folder.state / "plan.jsonl")
        self._documents = Documents(record.fingerprint)

    def run(self, follow: bool = False, every: float = 60.0, over: threading.Event | None = None) -> dict[str, Stored]:
        """Publish what is due.

        Args:
            follow: again and again, until the run is complete and all of it is published.
            every: seconds between two looks.
            over: set when nobody works on the run any more.

        Returns:
            What is published, by path.

        Raises:
            RunError: the Hub refuses, another publisher is at work, or the repository holds something else.
        """
        ends = over or threading.Event()
        missing_since = None
        with self._alone():
            while True:
                ended = ends.is_set()
                seen = count_commits(self.folder)  # before anything else is read: what comes later is looked at later
                self.record = load_run(self.folder) or self.record
                head, published, card = self._published()
                parts, complete = self.due(published)
                # Who works on the run knows when it is over; a complete plan may grow in the next moment.
                goes_on = follow and (not complete if over is None else not ended)
                lately = time.time() - max(self.repository.committed, default=0.0) < CARD_EVERY
                if parts:
                    try:
                        self._commit(self._batch(parts), published, head)
                        missing_since = None
                    except NotThere:
                        missing_since = missing_since or time.monotonic()
                        if not follow or ended or time.monotonic() - missing_since > MISSING:
                            raise
                        ends.wait(min(every, 10.0))
                elif not (goes_on and lately) and _hash(self.card(published)) != card:
                    if self._commit([], published, head) and not follow:
                        break
                elif goes_on:
                    while not ends.wait(every) and count_commits(self.folder) == seen:
                        pass
                else:
                    break
            for file in self.work.glob("*.part*"):
                file.unlink()
            return published

    def due(self, published: Mapping[str, Stored]) -> tuple[list[Part], bool]:
        """What is due when these files are published; see `due_parts`."""
        self.units = load_plan(self.folder.state / "plan.jsonl")
        return due_parts(self.committed, self.record, self.units, published, self.target)

    def _published(self) -> tuple[str, dict[str, Stored], str]:
        """The newest commit, the files that are there as they were published, and the hash of the card."""
        head = self.repository.head()
        content = self.repository.read(MANIFEST, head)
        there = self.repository.files(head)
        if content is None and (others := sorted(there.keys() - _OF_ANY_REPOSITORY)):
            raise RunError(f"{self.repository.name} holds {others[0]}, which is not ours: give a repository of its own")
        if content is None and "README.md" in there:
            logger.warning(f"the card takes the place of the README.md of {self.repository.name}")
        manifest: dict[str, Any] = orjson.loads(content) if content else {"run": self.record.id, "files": {}}
        if manifest["run"] != self.record.id:
            raise RunError(
                f"{self.repository.name} holds another run ({manifest['run']}): give a repository of its own"
            )
        published: dict[str, Stored] = manifest["files"]
        as_published = {
            path: ((file["bytes"], file["sha256"]), (file["bytes"], None)) for path, file in published.items()
        }
        files = {path: file for path, file in published.items() if there.get(path) in as_published[path]}
        before = manifest.get("with_source", False)
        if self.with_source not in (None, before) and published:
            begun = "with" if before else "without"
            raise RunError(f"{self.repository.name} was begun {begun} the documents: go on like that, or elsewhere")
        self.with_source = bool(before if self.with_source is None else self.with_source)
        self.about = self.about.over(manifest.get("about", {}))
        for path in manifest["files"].keys() - files.keys():
            logger.warning(f"{path} is not in {self.repository.name} as it was published; it is published again")
        return head, files, manifest.get("card", "")

    def _batch(self, parts: list[Part]) -> list[Part]:
        sizes = accumulate(part.bytes for part in parts)
        fitting = sum(size <= BYTES_PER_COMMIT for size in sizes)
        return parts[: max(1, min(fitting, FILES_PER_COMMIT))]

    def _commit(self, parts: list[Part], published: dict[str, Stored], head: str) -> bool:
        """One commit; when it fails (False) the caller looks what is there and goes on from that."""
        operations = []
        files = dict(published)
        for part in parts:
            local = self._joined(part)
            operation = CommitOperationAdd(part.path, local)
            files[part.path] = Stored(
                format=part.format,
                chunks=list(part.chunks),
                bytes=operation.upload_info.size,
                sha256=operation.upload_info.sha256.hex(),
                **measure(local),
            )
            operations.append(operation)
        files = dict(sorted(files.items()))
        readme = self.card(files)
        manifest = {
            "run": self.record.id,
            "card": _hash(readme),
            "about": asdict(self.about),
            "with_source": self.with_source,
            "files": files,
        }
        operations.append(CommitOperationAdd(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2)))
        operations.append(CommitOperationAdd("README.md", readme.encode()))
        rows = sum(part.rows for part in parts)
        message = f"Add {len(parts)} file(s), {rows:,} samples" if parts else "Update the card"
        try:
            self.repository.commit(operations, message, head)
        except Conflict:
            return False
        finally:
            write_atomically(self.work / "commits.json", orjson.dumps(self.repository.committed))
        for file in self.work.glob("*.part*"):
            file.unlink()
        logger.info(f"{self.repository.name}: {len(parts)} file(s), {rows:,} samples")
        return True

    def card(self, files: Mapping[str, Stored]) -> str:
        """The README when these files are published."""
        summary = self.committed.totals.summary(self.record, self.units)
        schema, rows = None, []
        for shard in self.committed.first_shards():
            with suppress(FileNotFoundError), fsspec.open(f"{self.folder.output}/{shard}", "rb") as stream:
                if shard.endswith(".parquet"):
                    parquet = pq.ParquetFile(stream)
                    schema = parquet.schema_arrow
                    if self.with_source and "source_hash" in schema.names and SOURCE not in schema.names:
                        schema = schema.append(pa.field(SOURCE, pa.string()))
                    rows += next(parquet.iter_batches(1)).to_pylist()
                else:
                    rows.append(orjson.loads(next(iter(stream))))
        shown = samples_to_show(rows)
        rows_planned = planned_rows(self.units)
        with_source = bool(self.with_source)
        name = self.repository.name
        return make_card(name, self.record, summary, files, schema, shown, self.about, rows_planned, with_source)

    def _joined(self, part: Part) -> Path:
        """The part as a local file; one that a killed publisher has left is used again if it is of the same shards."""
        whole = self.work / f"{_hash(f'{part}{self.with_source}')}.part{Path(part.path).suffix}"
        if not whole.exists():
            torn = self.work / f"torn{whole.suffix}"
            join(self.folder, part, torn, self._sources if self.with_source else None)
            torn.replace(whole)
        return whole

    def _sources(self, shard: str) -> Mapping[str, str]:
        """The documents that the samples of a shard were made from, by their hash; without addresses if they are."""
        *_, number, k = Path(shard).stem.split("-")
        unit = self.units[int(number)]
        clean = RemovePII().format if self.record.fingerprint.get("pii") else str
        try:
            return {source_hash(found.text): clean(found.text) for found in self._documents.of_chunk(unit, int(k))}
        except OSError as error:
            raise RunError(f"the documents of {unit.file.url} cannot be read: {error}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.folder.state / "publish.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another publisher is at work on {self.folder.output}") from None
            if (self.work / "commits.json").exists():  # the limit per hour holds across restarts
                self.repository.committed[:] = orjson.loads((self.work / "commits.json").read_bytes())
            yield


def _hash(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode())
