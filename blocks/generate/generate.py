"""`Generate`: a pipeline step that asks a language model and yields what came back.

A subclass says what to ask in an async `rollout`; everything else is done here: order, a full window of requests across
chunk borders, retries, the journal, reproducible seeds, and an account of every document.

    class Rephrase(Generate):
        async def rollout(self, document, generate):
            answer = await generate({"messages": [{"role": "user", "content": f"Rewrite: {document.text}"}]})
            return [Document(text=answer.text, id=f"{document.id}/rewrite", metadata=dict(document.metadata))]

Unlike datatrove's `InferenceRunner`, which writes its own output and ends the pipeline, this step streams: filters,
formatters and further `Generate` steps may stand before and after it.
"""

from __future__ import annotations

import asyncio
import resource
import traceback
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

import orjson
import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from blocks.generate.answer import Answer
from blocks.generate.client import Client
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected, RequestFailed, RequestRefused
from blocks.generate.loop import event_loop, finish_on_loop, run_on_loop
from blocks.generate.window import Window
from blocks.shards import meter
from blocks.shards.chunk import LINEAGE, Refusal, chunk_of, is_document, stream_of
from blocks.shards.folder import RunError
from blocks.shards.journal import Journal

T = TypeVar("T")

Ask = Callable[[Mapping[str, Any]], Awaitable[Answer]]
"""`generate` as a rollout sees it: a request body without `model` in, an answer out. A body with `messages` goes to
`chat/completions`, one with `prompt` to `completions`, one with `input` to `moderations`. Raises `RequestRefused` and
`RequestFailed`."""

Outcome = list[Document | Refusal] | Refusal
"""What became of a document: what its rollout returned, or why there is nothing."""

PATHS = {"messages": "chat/completions", "prompt": "completions", "input": "moderations"}
"""Where a request goes, by the field that it has."""

OTHER_FILES = 256
"""Files that a process may have open besides one connection per request."""

PATIENCE = 900.0
"""Seconds to wait for a server that is down or overloaded, when nobody says."""

JUDGED_AFTER = 100
"""Documents of a task after which its failure rate is held against `max_failure_rate`."""


class Generate(PipelineStep):
    """Ask a model about each document; yield the documents that come out of it, in input order.

    Args:
        endpoint: where the model answers; see `blocks.generate.servers.serve` for one that this process starts.
        parameters: fields of every request (`max_tokens`, `temperature`, …); a rollout's own fields win.
        max_in_flight: requests on the wire at a time, per process.
        seed: with a number, every request carries a seed derived from it, the document's id, the request and how often
            the rollout has asked it; None sends none (per-request seeds cost vLLM throughput).
        max_failure_rate: share of failed documents above which the task stops, judged after 100 documents.
        request_timeout: seconds for one attempt.
        patience: seconds to wait for a server that is down or overloaded.
        max_held_bytes: bound on what is held to restore the order.
        opens_thinking: whether the chat template opens a `<think>` block at the end of the prompt, see
            `TokenCounter.opens_thinking`.
    """

    name = "Generate"
    type = "🤖 - GENERATE"

    def __init__(
        self,
        endpoint: Endpoint,
        parameters: Mapping[str, Any] | None = None,
        max_in_flight: int = 256,
        seed: int | None = None,
        max_failure_rate: float = 0.05,
        request_timeout: float = 1800.0,
        patience: float = PATIENCE,
        max_held_bytes: int = 512 << 20,
        opens_thinking: bool = False,
    ) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.parameters = dict(parameters or {})
        self.max_in_flight = max_in_flight
        self.seed = seed
        self.max_failure_rate = max_failure_rate
        self.request_timeout, self.patience = request_timeout, patience
        self.max_held_bytes = max_held_bytes
        self.opens_thinking = opens_thinking

    @abstractmethod
    async def rollout(self, document: Document, generate: Ask) -> Sequence[Document | Refusal]:
        """Ask the model about `document`; return what came of it.

        Runs on the event loop: hand anything that takes more than a millisecond to `offload`. Must depend on the
        document alone. Whatever it raises ends this document only: `Rejected` and `RequestRefused` reject it, anything
        else fails it.

        Returns:
            New documents (or the same one, changed), and a `Refusal` for each sample that was asked for and is not
            kept. One that failed wants the id that the sample would have had: when failures are retried, what comes
            with another id is taken for a second copy of what is written already.
        """

    async def offload(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run CPU work in a thread, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Pull documents, ask, and yield what comes out of them in the order in which they came."""
        client = run_on_loop(self._connect())

        def unplaced() -> int:
            # A request that rests before its retry has given its slot away, so another may start; but when everything
            # rests, more documents would not help.
            return client.waiting + max(0, client.resting - self.max_in_flight)

        async def work(document: Document, queued: Callable[[], None]) -> tuple[Outcome, int]:
            if (chunk := chunk_of(document)) is not None:
                chunk.begun += 1
            return await self._settle(document, _Request(self, client, document, queued))

        backlog = max(min(8, self.max_in_flight), self.max_in_flight // 8)
        window = Window(event_loop(), work, unplaced, backlog, self.max_held_bytes)
        judge = _FailureRate(self.max_failure_rate)
        try:
            with stream_of(self.name), closing(window.run(_entering(data or ()))) as finished:
                for document, outcome in finished:
                    judge.add(outcome)
                    yield from self._account(document, outcome)
            judge.finish()
        except RunError as error:
            # Without the frames below: loggers that show variables would show the server's answer, or a header.
            raise RunError(str(error)) from None
        finally:
            finish_on_loop(client.close())
            self.stat_update("seconds_stalled_by_order", value=round(window.stalled_seconds, 1), unit="task")

    async def _connect(self) -> Client:
        # A socket per request and a journal per open chunk, of which a straggler can hold up many: take all there are.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.max_in_flight + OTHER_FILES
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise RunError(
                f"--max-in-flight {self.max_in_flight} needs {wanted} open files, the limit is {hard}: raise it "
                f"(`ulimit -Hn`), or ask for fewer answers at a time, with more --workers"
            )
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return Client(self.endpoint, self.max_in_flight, self.request_timeout, self.patience, self.opens_thinking)

    async def _settle(self, document: Document, request: _Request) -> tuple[Outcome, int]:
        """Run the rollout; anything it raises becomes this document's refusal, unless it stops the run."""
        text = document.text  # which the rollout may change
        try:
            outcome = list(await self.rollout(document, request)) or Refusal("no_output")
        except (Rejected, RequestRefused) as error:
            outcome = Refusal(error.reason, detail=error.detail)
        except RequestFailed as error:
            outcome = Refusal(error.reason, kind="failed", detail=error.detail)
        except RunError:
            raise
        except UnicodeEncodeError as error:  # a lone surrogate, which no request can carry
            outcome = Refusal("invalid_unicode", detail=str(error))
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is the window that ends
            # Not loguru's own traceback: that shows the values of variables, and a request's headers hold the key.
            shown = "".join(traceback.format_exception(error))
            logger.warning(f"the rollout of document {document.id} raised; the document failed\n{shown}")
            outcome = Refusal(f"error_{type(error).__name__}", kind="failed", detail=str(error)[:500])
        finally:
            request.abandon()
        if isinstance(outcome, Refusal):
            if not is_document(document.metadata.get(LINEAGE, "")):  # an answer of an earlier step, which was paid for
                outcome.raw = text.encode(errors="replace").decode()  # a shard cannot hold lone surrogates
            return outcome, _size(outcome)
        return outcome, sum(map(_size, outcome))

    def _account(self, document: Document, outcome: Outcome) -> Iterator[Document]:
        """Tell the ledger what became of a document, and pass on what did."""
        chunk = chunk_of(document)
        refusals = [outcome] if isinstance(outcome, Refusal) else [i for i in outcome if isinstance(i, Refusal)]
        children = [] if isinstance(outcome, Refusal) else [i for i in outcome if isinstance(i, Document)]
        self.stat_update("documents")
        if chunk is None or is_document(document.metadata[LINEAGE]):
            meter.add(documents=1)
        for refusal in refusals:
            self.stat_update(f"{refusal.kind}_{refusal.reason}")
            if chunk is None:  # no ledger: a stock reader is in use
                logger.warning(f"{refusal.id or document.id}: {refusal.kind}, {refusal.reason} {refusal.detail}")
        if chunk is not None:
            lineage = document.metadata[LINEAGE]
            for child in children:  # each carries a lineage of its own, and rollouts like to pass their document's on
                child.metadata = dict(child.metadata)
            if isinstance(outcome, Refusal):
                chunk.refuse(lineage, outcome)
            else:
                children = chunk.replace(lineage, children, refusals)
        yield from children


def _size(item: Document | Refusal) -> int:
    """About the bytes that one result holds; what a model thought may be many times as long as what it said."""
    if isinstance(item, Refusal):
        return 2 * len(item.raw) + 500
    return 2 * (len(item.text) + len(item.metadata.get("reasoning") or "")) + 2000


def _entering(documents: Iterable[Document]) -> Iterator[Document]:
    """Count what is read ahead, see `OpenChunk.entered`."""
    try:
        for document in documents:
            if (chunk := chunk_of(document)) is not None:
                chunk.entered += 1
            yield document
    finally:
        if isinstance(documents, Generator):  # now, in the thread that runs it
            documents.close()


class _Request:
    """`generate` for one rollout: builds the body, looks into the journal, asks, records."""

    def __init__(self, step: Generate, client: Client, document: Document, queued: Callable[[], None]) -> None:
        self._step, self._client, self._document, self._queued = step, client, document, queued
        self._chunk = chunk_of(document)
        self._asked: dict[bytes, int] = {}  # digest of a request → how often
        self._asking: set[asyncio.Task[Any] | None] = set()

    async def __call__(self, request: Mapping[str, Any]) -> Answer:
        task = asyncio.current_task()
        self._asking.add(task)
        try:
            return await self._answer(request)
        finally:
            self._asking.discard(task)

    def abandon(self) -> None:
        """Cancel what the rollout has left behind: siblings of a request that failed, whose answers nobody awaits."""
        for task in self._asking:
            if task is not None:
                task.cancel()

    async def _answer(self, request: Mapping[str, Any]) -> Answer:
        body = {"model": self._step.endpoint.model, **self._step.parameters, **request}
        try:
            payload = orjson.dumps(body)
        except orjson.JSONEncodeError as error:
            if "surrogates" not in str(error):
                raise
            raise RequestRefused("invalid_unicode", str(error)) from error
        digest = xxhash.xxh3_128_digest(payload)
        times = self._asked.get(digest, 0)
        self._asked[digest] = times + 1
        asked_before = b"\0%d\0" % times
        if self._step.seed is not None:
            parts = f"{self._step.seed}\0{self._document.id}".encode() + asked_before + digest
            body["seed"] = xxhash.xxh3_64_intdigest(parts) & 0x7FFFFFFF
            payload = orjson.dumps(body)
        path = next((path for field, path in PATHS.items() if field in body), "completions")
        if self._chunk is None:
            return await self._ask(path, payload)
        key = xxhash.xxh3_128_digest(self._document.metadata[LINEAGE].encode() + asked_before + payload)
        answer = await self._ask_once(self._chunk.journal, key, path, payload)
        self._chunk.count(
            requests=1, prompt_tokens=answer.prompt_tokens or 0, completion_tokens=answer.completion_tokens or 0
        )
        return answer

    async def _ask_once(self, journal: Journal, key: bytes, path: str, payload: bytes) -> Answer:
        recorded = await self._step.offload(journal.get, key) if key in journal else None
        if recorded is not None:
            self._queued()
            meter.add(replayed=1)
            if "refused" in recorded:
                raise RequestRefused(recorded["refused"], recorded["detail"])
            self._client.answers += 1  # the configuration is sound
            return Answer(**recorded)
        try:
            answer = await self._ask(path, payload)
        except RequestRefused as error:
            # Before the first answer the configuration may be to blame; only then is a refusal worth keeping.
            if self._client.answers:
                journal.put(key, {"refused": error.reason, "detail": error.detail})
            raise
        journal.put(key, {slot: getattr(answer, slot) for slot in ("text", "finish_reason", "usage", "reasoning")})
        return answer

    async def _ask(self, path: str, payload: bytes) -> Answer:
        answer = await self._client.ask(path, payload, self._queued)
        meter.add(requests=1, prompt_tokens=answer.prompt_tokens or 0, completion_tokens=answer.completion_tokens or 0)
        return answer


class _FailureRate:
    """Stops a task in which too many documents fail: it is the set-up that is broken then.

    Judged over the last `WINDOW` documents, so that weeks of success do not pay for an hour in which all fail.
    """

    WINDOW = 1000

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.recent: deque[bool] = deque(maxlen=self.WINDOW)
        self.failed = 0
        self.last: Refusal | None = None

    def add(self, outcome: Outcome) -> None:
        """Count a document; one that lost a sample to a failure counts as failed."""
        items = [outcome] if isinstance(outcome, Refusal) else outcome
        failed = next((item for item in items if isinstance(item, Refusal) and item.kind == "failed"), None)
        if len(self.recent) == self.WINDOW:
            self.failed -= self.recent[0]
        self.recent.append(failed is not None)
        if failed is not None:
            self.failed, self.last = self.failed + 1, failed
        if len(self.recent) >= JUDGED_AFTER and self.failed > self.limit * len(self.recent):
            self._give_up()

    def finish(self) -> None:
        """At the end: a task in which everything failed has not succeeded, however short it was."""
        if self.recent and self.failed == len(self.recent) and self.limit < 1:
            self._give_up()

    def _give_up(self) -> None:
        assert self.last is not None
        raise RunError(
            f"{self.failed} of {len(self.recent)} documents failed, more than --max-failure-rate {self.limit:g} "
            f"allows; the last one with {self.last.reason}: {self.last.detail}"
        )
