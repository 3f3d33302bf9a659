"""The event loop: one thread per process that does nothing but move requests and answers."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

GC_THRESHOLD = 20_000
"""Allocations between two runs of the garbage collector. Python's 700 make it walk every waiting document again and
again, for nothing: it took a quarter of the engine's CPU time at 256 requests in flight."""

_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_lock = threading.Lock()


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; its thread is started on first use and lives as long as the process."""
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            # Work that rollouts hand off (tokenizing long documents) must not starve on a machine with many cores.
            _loop.set_default_executor(ThreadPoolExecutor(2, thread_name_prefix="finemill-offload"))
            _thread = threading.Thread(target=_run, args=(_loop,), name="finemill-loop", daemon=True)
            _thread.start()
            if 0 < gc.get_threshold()[0] < GC_THRESHOLD:
                gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
            # asyncio receives into a fresh buffer of 256 KiB each time. glibc maps and unmaps one as large as that with
            # three system calls, until a larger one has been freed once (mallopt(3), M_MMAP_THRESHOLD).
            bytearray(257 << 10)
        return _loop


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop and wait for its result."""
    return asyncio.run_coroutine_threadsafe(work, event_loop()).result()


def finish_on_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the loop and wait for it where that is possible.

    A generator that nobody closed is finalised by the garbage collector, in whichever thread that happens to run: the
    loop's own cannot wait for itself. Or it is finalised at interpreter exit, when the loop's thread has stopped.
    """
    if sys.is_finalizing():
        work.close()
        return
    done = asyncio.run_coroutine_threadsafe(work, event_loop())
    if threading.current_thread() is not _thread:
        done.result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        # A rollout's `sys.exit()` also reaches whoever awaits its task; it must not take the loop along.
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


def _forget() -> None:
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)  # threads do not survive a fork
