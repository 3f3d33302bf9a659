"""The window: documents enter in order, are worked on in any order, and leave in order.

Three threads meet here. The *feeder* pulls documents from upstream into a small inbox. The *event loop* admits them: it
starts a rollout whenever fewer requests than `backlog` are waiting for a slot, so that slots never run dry, whatever
the number of requests per document. The *consumer* takes finished rollouts from the head.

Admission is never stopped by a count of documents, only by the bytes that are held for reordering: with one request
hanging until its timeout, the others go on. The seconds for which that bound did stop admission are counted.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any

from datatrove.data import Document

INBOX = 256
"""Documents read ahead of admission."""

INBOX_BYTES = 64 << 20
"""Bytes of text read ahead of admission."""

WAKE_AFTER = 0.02
"""Seconds in which finished rollouts are collected before the consumer is woken: a thread switch per document, each of
which takes the interpreter lock from the event loop, cost more than the rest of the window."""


class Ticket:
    """A document in the window."""

    __slots__ = ("document", "done", "outcome", "size")

    def __init__(self, document: Document) -> None:
        self.document = document
        self.size = 2 * len(document.text) + 2000
        self.outcome: Any = None
        self.done = False


class Window:
    """Runs one rollout per document and returns their outcomes in order.

    Args:
        loop: the event loop.
        rollout: makes the coroutine for a document; its result is (outcome, bytes held by it). What it raises stops
            everything. Its second argument is to be called whenever a request of it joins or leaves the queue for a
            slot.
        unplaced: how many requests are waiting for a slot; called on the loop.
        backlog: admit while `unplaced` is below this.
        max_bytes: bound on what is held for reordering.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rollout: Callable[[Document, Callable[[], None]], Coroutine[Any, Any, tuple[Any, int]]],
        unplaced: Callable[[], int],
        backlog: int,
        max_bytes: int,
    ) -> None:
        self._loop, self._rollout, self._unplaced = loop, rollout, unplaced
        self._backlog, self._max_bytes = backlog, max_bytes
        self._inbox: deque[Ticket] = deque()
        self._inbox_bytes = 0
        self._window: deque[Ticket] = deque()
        self._held = 0
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)  # in the inbox
        self._ready = threading.Condition(self._lock)  # the head, or the end
        self._exhausted = False
        self._error: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = 0  # rollouts that have not come to their first request
        self._waking = False  # the consumer will be woken
        self._stalled_since: float | None = None
        self.stalled_seconds = 0.0

    def run(self, documents: Iterable[Document]) -> Generator[tuple[Document, Any], None, None]:
        """Yield (document, outcome) in input order.

        Raises:
            Whatever upstream or a rollout raised.
        """
        feeder = threading.Thread(target=self._feed, args=(documents,), name="finemill-feeder", daemon=True)
        feeder.start()
        try:
            while (ticket := self._take()) is not None:
                yield ticket.document, ticket.outcome
        finally:
            if not sys.is_finalizing():  # the other threads have stopped then, perhaps while they held the lock
                self._stop()
                feeder.join(timeout=5.0)

    # The feeder's side.

    def _feed(self, documents: Iterable[Document]) -> None:
        try:
            for document in documents:
                ticket = Ticket(document)
                with self._lock:
                    while self._error is None and (
                        len(self._inbox) >= INBOX or (self._inbox and self._inbox_bytes > INBOX_BYTES)
                    ):
                        self._room.wait()
                    if self._error is not None:
                        break
                    self._inbox.append(ticket)
                    self._inbox_bytes += ticket.size
                    wake = len(self._inbox) == 1
                if wake:
                    self._loop.call_soon_threadsafe(self.admit)
        except BaseException as error:
            self._fail(error)
        finally:
            with self._lock:
                self._exhausted = True
                self._ready.notify()
            # This is the thread that runs the upstream generators, so it is the one that can end them.
            if isinstance(documents, Generator):
                documents.close()

    # The loop's side.

    def admit(self) -> None:
        """Start rollouts while slots could run dry; called whenever that may have changed."""
        while self._inbox and self._error is None and self._unplaced() + self._starting < self._backlog:
            with self._lock:
                if self._window and self._held + self._inbox[0].size > self._max_bytes:
                    self._stalled_since = self._stalled_since or time.monotonic()
                    return
                ticket = self._inbox.popleft()
                self._inbox_bytes -= ticket.size
                self._held += ticket.size
                self._window.append(ticket)
                if len(self._inbox) == INBOX // 2 or not self._inbox:
                    self._room.notify()
            if self._stalled_since is not None:
                self.stalled_seconds += time.monotonic() - self._stalled_since
                self._stalled_since = None
            self._starting += 1
            task = self._loop.create_task(self._work(ticket))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, ticket: Ticket) -> None:
        starting = True

        def queued() -> None:
            nonlocal starting
            if starting:
                starting = False
                self._starting -= 1
            self.admit()

        try:
            ticket.outcome, extra = await self._rollout(ticket.document, queued)
        except BaseException as error:
            self._fail(error)
            return
        with self._lock:
            ticket.size += extra
            self._held += extra
            ticket.done = True
            wake = self._window[0].done and not self._waking
        if wake:
            self._waking = True
            self._loop.call_later(WAKE_AFTER, self._wake)
        queued()

    def _wake(self) -> None:
        self._waking = False
        with self._lock:
            self._ready.notify()

    # The consumer's side.

    def _take(self) -> Ticket | None:
        """The document at the head when it is finished; None at the end."""
        with self._lock:
            while not (self._window and self._window[0].done):
                if self._error is not None:
                    raise self._error
                if self._exhausted and not self._window and not self._inbox:
                    return None
                self._ready.wait()
            ticket = self._window.popleft()
            self._held -= ticket.size
            stalled = self._stalled_since is not None
        if stalled:
            self._loop.call_soon_threadsafe(self.admit)
        return ticket

    # Everybody's.

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
            self._room.notify()
            self._ready.notify()

    def _stop(self) -> None:
        self._fail(GeneratorExit())
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])
