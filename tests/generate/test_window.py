"""The window: order, full slots, bounds, ends of every kind. Rollouts are plain coroutines here, on the real loop."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from datatrove.data import Document

from blocks.generate.loop import event_loop, run_on_loop
from blocks.generate.window import INBOX, Window

Rollout = Callable[[Document], Coroutine[Any, Any, Any]]


def stream(count: int, text: str = "text") -> Iterator[Document]:
    return (Document(text, str(i)) for i in range(count))


class Slots:
    """Stands in for the client: requests queue for slots; counts what is held at a time."""

    def __init__(self, slots: int) -> None:
        self.free = asyncio.Semaphore(slots)
        self.waiting = self.busy = self.most_busy = 0
        self.busy_seconds = 0.0
        self._since = time.monotonic()

    async def request(self, seconds: float, queued: Callable[[], None]) -> None:
        self.waiting += 1
        queued()
        try:
            await self.free.acquire()
        finally:
            self.waiting -= 1
            queued()
        self.change(1)
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.change(-1)
            self.free.release()

    def change(self, by: int) -> None:
        now = time.monotonic()
        self.busy_seconds += self.busy * (now - self._since)
        self.busy, self._since = self.busy + by, now


def window(
    rollout: Callable[[Document, Callable[[], None]], Coroutine[Any, Any, tuple[Any, int]]],
    slots: Slots | None = None,
    backlog: int = 8,
    max_bytes: int = 1 << 30,
) -> Window:
    return Window(event_loop(), rollout, lambda: slots.waiting if slots else 0, backlog, max_bytes)


async def at_once(document: Document, queued: Callable[[], None]) -> tuple[str, int]:
    return f"did {document.id}", 0


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "finemill-feeder"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_order_whatever_the_latencies() -> None:
    slots = Slots(16)

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[str, int]:
        await slots.request(random.Random(document.id).uniform(0, 0.02), queued)
        return document.id, 0

    found = list(window(rollout, slots).run(stream(500)))
    assert [document.id for document, _ in found] == [outcome for _, outcome in found] == [str(i) for i in range(500)]
    assert slots.most_busy == 16


@pytest.mark.parametrize("count", [0, 1, INBOX, 5 * INBOX])
def test_rollouts_without_requests(count: int) -> None:
    assert len(list(window(at_once).run(stream(count)))) == count


@pytest.mark.parametrize("shape", ["one", "four at once", "four in turn"])
def test_slots_stay_full_while_one_hangs_and_the_consumer_is_away(shape: str) -> None:
    slots = Slots(16)
    hanging = asyncio.Event()
    done = 0
    latency = random.Random(1)

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[str, int]:
        nonlocal done
        if document.id == "5":
            await hanging.wait()
        requests = [slots.request(latency.uniform(0.005, 0.02), queued) for _ in range(1 if shape == "one" else 4)]
        if shape == "four at once":
            await asyncio.gather(*requests)
        else:
            for request in requests:
                await request
        done += 1
        return document.id, 0

    async def occupancy() -> float:
        """The share of slot-time in use between first fill and last admission."""
        slots.change(0)
        began, used = time.monotonic(), slots.busy_seconds
        while done < count - 40:
            await asyncio.sleep(0.002)
        slots.change(0)
        return (slots.busy_seconds - used) / (time.monotonic() - began) / 16

    count = 600 if shape == "one" else 200
    results = window(rollout, slots).run(stream(count))
    next(results)  # and the consumer goes away, while document 5 hangs
    wait_for(lambda: done > 20)
    occupied = run_on_loop(occupancy())
    wait_for(lambda: done == count - 1)
    event_loop().call_soon_threadsafe(hanging.set)
    assert len(list(results)) == count - 1
    assert occupied > 0.95


def test_answers_that_come_all_at_once_do_not_leave_slots_empty() -> None:
    slots = Slots(200)
    gate = asyncio.Event()
    placed = 0

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        nonlocal placed
        slots.waiting += 1
        queued()
        try:
            await slots.free.acquire()
        finally:
            slots.waiting -= 1
            queued()
        placed += 1
        await gate.wait()
        slots.free.release()
        return None, 0

    def open_gate() -> None:
        nonlocal gate
        gate.set()
        gate = asyncio.Event()

    results = window(rollout, slots, backlog=8).run(stream(600))
    consumer = threading.Thread(target=lambda: list(results), daemon=True)
    consumer.start()
    for total in (200, 400, 600):  # 200 end in the same turn of the loop, far more than the backlog
        wait_for(lambda total=total: placed == total)
        event_loop().call_soon_threadsafe(open_gate)
    consumer.join(10)
    assert not consumer.is_alive()


def test_nothing_is_admitted_while_nothing_gets_a_slot() -> None:
    slots = Slots(1)
    started = 0

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        nonlocal started
        started += 1
        await slots.request(0 if document.id == "0" else 3600, queued)
        return None, 0

    read = 0

    def documents() -> Iterator[Document]:
        nonlocal read
        for document in stream(100_000):
            read += 1
            yield document

    results = window(rollout, slots, backlog=8).run(documents())
    next(results)
    wait_for(lambda: started == 1 + 1 + 8)
    time.sleep(0.05)
    assert started == 1 + 1 + 8 and read <= started + INBOX + 1
    results.close()


def test_bytes_held_for_order_are_bounded() -> None:
    hanging = asyncio.Event()
    started: list[str] = []

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        started.append(document.id)
        if document.id == "0":
            await hanging.wait()
        return None, 0

    bounded = window(rollout, max_bytes=1_000_000)
    results = bounded.run(stream(200, "x" * 49_000))  # 100,000 bytes each
    consumer_got: list[Document] = []
    consumer = threading.Thread(target=lambda: consumer_got.extend(d for d, _ in results), daemon=True)
    consumer.start()
    wait_for(lambda: len(started) == 10)
    time.sleep(0.05)
    assert len(started) == 10
    event_loop().call_soon_threadsafe(hanging.set)
    consumer.join(10)
    assert len(consumer_got) == 200
    assert bounded.stalled_seconds > 0.04


def test_bytes_count_until_the_consumer_takes_the_document() -> None:
    started: list[str] = []

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        started.append(document.id)
        return None, 0

    results = window(rollout, max_bytes=1_000_000).run(stream(200, "x" * 49_000))
    next(results)
    wait_for(lambda: len(started) == 11)
    time.sleep(0.05)
    assert len(started) == 11
    assert len(list(results)) == 199


def test_answers_count_as_bytes_too() -> None:
    done = 0

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        nonlocal done
        done += 1
        return None, 400_000

    results = window(rollout, backlog=1, max_bytes=1_000_000).run(stream(50))
    next(results)
    time.sleep(0.05)
    assert done <= 4
    assert len(list(results)) == 49


def test_a_document_larger_than_the_bound() -> None:
    found = list(window(at_once, max_bytes=1000).run(stream(20, "x" * 5000)))
    assert [outcome for _, outcome in found] == [f"did {i}" for i in range(20)]


def test_many_small_windows_of_bytes_never_stall_for_good() -> None:
    for _ in range(50):
        assert len(list(window(at_once, max_bytes=5000).run(stream(100, "x" * 500)))) == 100


@pytest.mark.parametrize("error", [KeyError("lost"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_upstream_raises(error: BaseException) -> None:
    def documents() -> Iterator[Document]:
        yield from stream(30)
        raise error

    with pytest.raises(type(error)):
        list(window(at_once).run(documents()))
    assert not feeders()


@pytest.mark.parametrize("error", [KeyError("lost"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_rollout_raises(error: BaseException) -> None:
    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        if document.id == "17":
            raise error
        await asyncio.sleep(3600 if int(document.id) > 17 else 0)
        return None, 0

    found = []
    with pytest.raises(type(error)):
        found.extend(window(rollout).run(stream(1000)))
    assert not feeders()
    assert list(window(at_once).run(stream(1)))  # the loop lives on


def test_a_rollout_exits_in_a_task_of_its_own() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        await asyncio.gather(leave(), asyncio.sleep(3600))
        return None, 0

    with pytest.raises(SystemExit):
        list(window(rollout).run(stream(10)))
    assert list(window(at_once).run(stream(1)))


def test_the_consumer_leaves_early() -> None:
    closed = threading.Event()
    started = cancelled = 0

    def documents() -> Iterator[Document]:
        try:
            yield from stream(1_000_000)
        finally:
            closed.set()

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        nonlocal started, cancelled
        started += 1
        try:
            await asyncio.sleep(3600 if int(document.id) else 0)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return None, 0

    upstream = documents()  # a reference that a traceback could hold just as well
    results = window(rollout).run(upstream)
    next(results)
    wait_for(lambda: started == 1 + 8)  # as many as the backlog holds
    results.close()
    assert closed.wait(5)  # upstream is ended too, in the thread that ran it
    wait_for(lambda: cancelled == 8)
    assert not feeders()


def test_runs_leave_nothing_behind() -> None:
    async def tasks() -> int:
        return len(asyncio.all_tasks())

    async def rollout(document: Document, queued: Callable[[], None]) -> tuple[None, int]:
        await asyncio.sleep(0.001)
        if document.id == "30":
            raise KeyError(document.id)
        return None, 0

    list(window(at_once).run(stream(1)))
    before, threads = run_on_loop(tasks()), threading.active_count()
    for count in range(50):
        results = window(rollout).run(stream(10 + count))
        try:
            for number, _ in enumerate(results):
                if number == count:
                    break
        except KeyError:
            pass
        results.close()
    wait_for(lambda: run_on_loop(tasks()) == before)
    assert threading.active_count() == threads
