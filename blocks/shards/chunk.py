"""An open chunk: the ledger of what happened to each of its documents, from reading to commit.

Every document carries its *lineage* in `metadata[LINEAGE]`, a plain string that any datatrove step passes on:
`00003-00001:17` is row 17 of chunk 1 of unit 3, and `00003-00001:17/2` is the third document that a `Generate` step
made of it. The ledger knows every lineage that is alive. A sample is written, rejected or failed; what is still alive
when the chunk is committed was dropped by a step in between and is recorded as such. A lineage that was never handed
out, or that arrives twice, is an error: so the balances are checked, not assumed.

Steps of one task run in several threads of one process and find their chunk here by name.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Literal, NamedTuple

from datatrove.data import Document

from blocks.shards import meter
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.journal import Journal, flush_journals
from blocks.shards.leases import Leases
from blocks.shards.tally import Retried, Tally

LINEAGE = "finemill/lineage"
"""The metadata key that ties a document to the row it came from; no column has such a name."""

FORMAT = "format"
"""The metadata key that names the kind of a sample; balances and shards are kept by it."""

SOURCE = "source_text"
"""The metadata key of the text that a sample was made from, as the model saw it; written on request."""

ANSWER = "finemill/answer"
"""The metadata key of what the model wrote, where a sample's text holds more than that; it is not written."""

RETRIED = "finemill/retried"
"""The metadata key of a document of which samples failed: their ids. It is read again, and nothing else of it is kept.
"""

DROPPED = "dropped_by_pipeline"
"""The reason of documents that vanished in a step between reader and commit."""

_FOLDER_NAME = re.compile(r"\w[\w.+-]{0,63}")


@dataclass
class Refusal:
    """A document or sample that will not be written.

    Args:
        reason: a short snake_case reason; summaries count by it.
        kind: `rejected` is a property of the document or the answer, `failed` is transient and worth another try.
        id: id of the sample (or document).
        format: format of a sample; empty for a whole document.
        raw: what the model answered, or what was read, as far as there is anything.
        detail: anything a person would want to know, such as the server's message.
    """

    reason: str
    kind: Literal["rejected", "failed"] = "rejected"
    id: str = ""
    format: str = ""
    raw: str = ""
    detail: str = ""


class Failure(NamedTuple):
    """What failed of one row in an earlier pass.

    Args:
        reason: why the whole document failed; empty when only samples of it did.
        samples: format and reason of each sample that failed, by its id.
    """

    reason: str
    samples: dict[str, tuple[str, str]]


class OpenChunk:
    """The ledger and the journal of one chunk while it is worked on.

    Args:
        folder: the run folder.
        unit: the unit's number in the plan.
        k: the chunk's number within the unit.
        leases: hold the unit, where other launches work on the same run.
    """

    def __init__(self, folder: RunFolder, unit: int, k: int, leases: Leases | None = None) -> None:
        self.name = folder.chunk_name(unit, k)
        self.unit_name, self.leases = folder.unit_name(unit), leases
        self.unit, self.k = unit, k
        self.tally = Tally()
        self.refusals: list[tuple[str, Refusal]] = []
        self.last_of_unit = False
        # Documents that came to a `Generate` step, and those whose rollout has begun; the others are only read ahead.
        self.entered = self.begun = 0
        self._alive: dict[str, tuple[str, str]] = {}  # lineage → (id, format)
        self._retried: dict[str, dict[str, str]] = {}  # lineage → format of each sample of it that failed, by id
        self._lock = threading.Lock()
        self.journal = Journal(folder.state / "journal" / f"{self.name}.jsonl", leased=leases is not None)
        with _lock:
            _open[self.name] = self

    def hand_out(self, row: int, document_id: str) -> str:
        """Count a document that was read and return its lineage."""
        lineage = f"{self.name}:{row}"
        with self._lock:
            self.tally.read += 1
            self._alive[lineage] = (document_id, "")
        return lineage

    def retry(self, lineage: str, failure: Failure) -> None:
        """Take what failed of a document that was handed out off the failures: it is tried again."""
        with self._lock:
            retried = self.tally.retried = self.tally.retried or Retried()
            if not failure.samples:
                retried.documents[failure.reason] += 1
                return
            retried.partly += 1
            for name, reason in failure.samples.values():
                retried.samples.setdefault(name, Counter())[reason] += 1
            self._retried[lineage] = {sample_id: name for sample_id, (name, _) in failure.samples.items()}

    def refuse_row(self, row: int, refusal: Refusal) -> None:
        """Count a row that never became a document."""
        meter.add(left_out=1)
        with self._lock:
            self.tally.read += 1
            self._refuse(f"{self.name}:{row}", refusal)

    def exclude(self) -> None:
        """Count a row that the user's column filter leaves out; it is not part of the run."""
        meter.add(left_out=1)
        self.tally.excluded += 1

    def replace(self, lineage: str, children: Iterable[Document], refusals: Iterable[Refusal]) -> list[Document]:
        """Record what a `Generate` step made of a document: its children live on, refusals are final.

        Returns:
            The children; of a document that is tried again, those that had failed.

        Raises:
            RunError: the document is not one of this chunk's living ones.
        """
        made = [(f"{lineage}/{i}", child) for i, child in enumerate(children)]
        refused = list(refusals)
        if (retried := self._retried.pop(lineage, None)) is not None:
            own = self._alive.get(lineage, ("", ""))[0]
            made = [(name, child) for name, child in made if child.id in retried]
            refused = [refusal for refusal in refused if (refusal.id or own) in retried]
            come = {child.id for _, child in made} | {refusal.id or own for refusal in refused}
            refused += [Refusal("no_output", id=i, format=name) for i, name in retried.items() if i not in come]
        with self._lock:
            parent_id, parent_format = self._take(lineage)
            if is_document(lineage):
                self.tally.done += 1
            else:
                self.tally.requested[parent_format] -= 1
            for child_lineage, child in made:
                name = format_of(child)
                child.metadata[LINEAGE] = child_lineage
                self._alive[child_lineage] = (child.id, name)
                self.tally.requested[name] += 1
            for refusal in refused:
                refusal.id, refusal.format = refusal.id or parent_id, refusal.format or parent_format
                self.tally.requested[refusal.format] += 1
                self._refuse_sample(lineage, refusal)
        return [child for _, child in made]

    def refuse(self, lineage: str, refusal: Refusal) -> None:
        """Record that a document or sample ends here."""
        if lineage in self._retried:  # it was done before; what ends is only what had failed of it
            named = self._retried[lineage].items()
            self.replace(lineage, [], [replace(refusal, id=sample_id, format=name) for sample_id, name in named])
            return
        with self._lock:
            document_id, name = self._take(lineage)
            refusal.id = refusal.id or document_id
            if is_document(lineage):
                self._refuse(lineage, refusal)
            else:
                refusal.format = refusal.format or name
                self._refuse_sample(lineage, refusal)

    def write(self, document: Document) -> None:
        """Count a sample that is written to a shard."""
        lineage = document.metadata[LINEAGE]
        with self._lock:
            self._take(lineage)
            name = format_of(document)
            if is_document(lineage):  # a pipeline without a Generate step: the document is its own sample
                self.tally.done += 1
                self.tally.requested[name] += 1
            self.tally.written[name] += 1

    def count(self, **numbers: int) -> None:
        """Add to the chunk's running totals, such as tokens."""
        with self._lock:
            self.tally.numbers.update(numbers)

    def finish(self) -> None:
        """Record what vanished, put the refusals in input order and check the balances."""
        with self._lock:
            vanished = list(self._alive.items())
        for lineage, (document_id, name) in vanished:
            self.refuse(lineage, Refusal(DROPPED, id=document_id, format=name))
        self.refusals.sort(key=lambda entry: [int(n) for n in entry[0].partition(":")[2].split("/")])
        self.tally.check()

    def forget(self) -> None:
        """Take the chunk off the list of open ones."""
        with _lock:
            _open.pop(self.name, None)

    def _take(self, lineage: str) -> tuple[str, str]:
        try:
            return self._alive.pop(lineage)
        except KeyError:
            raise RunError(
                f"document {lineage} arrived twice or was never read: steps between reader and commit may drop or "
                f"change documents, but must not copy them"
            ) from None

    def _refuse(self, lineage: str, refusal: Refusal) -> None:
        self.tally.document_refusals[refusal.kind][refusal.reason] += 1
        self._keep(lineage, refusal)

    def _refuse_sample(self, lineage: str, refusal: Refusal) -> None:
        self.tally.sample_refusals[refusal.kind].setdefault(refusal.format, Counter())[refusal.reason] += 1
        self._keep(lineage, refusal)

    def _keep(self, lineage: str, refusal: Refusal) -> None:
        self.refusals.append((lineage, refusal))
        meter.add(**{refusal.kind: 1})


_open: dict[str, OpenChunk] = {}
_unfinished: dict[object, str] = {}  # streams that have begun and not ended → step
_lock = threading.Lock()


def format_of(document: Document) -> str:
    """The kind of a sample; empty when nothing tells, or what tells cannot name a folder, as `text/html`."""
    name: Any = document.metadata.get(FORMAT)
    return name if isinstance(name, str) and _FOLDER_NAME.fullmatch(name) else ""


def written_by_model(document: Document) -> str:
    """What the model wrote of a sample: what is to be measured and judged."""
    answer: str | None = document.metadata.get(ANSWER)
    return answer or document.text


def batched_by_chunk(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """Batches that end where a chunk ends, so that what is in them does not depend on where a run began."""
    for _, of_chunk in groupby(documents, key=lambda document: document.metadata.get(LINEAGE, "").partition(":")[0]):
        while batch := list(islice(of_chunk, size)):
            yield batch


def is_document(lineage: str) -> bool:
    """Whether a lineage is that of a document as read, not of a sample made from it."""
    return "/" not in lineage


def chunk_of(document: Document) -> OpenChunk | None:
    """The open chunk a document belongs to; None when it was read by a reader that knows no plan."""
    lineage = document.metadata.get(LINEAGE)
    return None if lineage is None else open_chunk(lineage.partition(":")[0])


def open_chunk(name: str) -> OpenChunk:
    """The open chunk called `name`.

    Raises:
        RunError: no such chunk is open in this process.
    """
    chunk = _open.get(name)
    if chunk is None:
        raise RunError(
            f"chunk {name} is not open in this process: reader and commit must run in the same task, and the steps "
            f"between them must keep the order of the documents"
        )
    return chunk


def open_chunks() -> list[OpenChunk]:
    """The open chunks of this process in the order in which they were opened, which is input order."""
    with _lock:
        return list(_open.values())


@contextmanager
def stream_of(step: str) -> Iterator[None]:
    """Around all that a step yields: remembers whether it came to its end or was stopped by a later step.

    What a stopped step still holds must not be taken for dropped: the writer refuses to commit then.
    """
    stream = object()
    _unfinished[stream] = step
    yield
    _unfinished.pop(stream, None)  # not reached when the step's generator is closed early


def check_streams() -> None:
    """Hold the end of the writer's stream against the steps before it.

    Raises:
        RunError: one of them was not asked for all it has.
    """
    for step in _unfinished.values():
        raise RunError(
            f"a step after {step!r} stopped before the end: between reader and commit, documents may be "
            f"dropped one by one, but the stream must not be cut; use --limit to read less"
        )


def close_all() -> None:
    """Let go of every open chunk of this process, once all that was answered is in its journal, on disk."""
    with _lock:
        chunks = list(_open.values())
        _open.clear()
        _unfinished.clear()
    for chunk in chunks:
        chunk.journal.close()
    if chunks:  # now, since a worker process does not come to its atexit functions
        flush_journals()
    for chunk in chunks:  # whoever has the lease reads the journal
        if chunk.leases is not None:
            chunk.leases.close()
