"""The event loop: one thread per process that does nothing but move requests and answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; its thread is started on first use and lives as long as the process."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            # Work that rollouts hand off (tokenizing long documents) must not starve on a machine with many cores.
            _loop.set_default_executor(ThreadPoolExecutor(2, thread_name_prefix="finemill-offload"))
            threading.Thread(target=_loop.run_forever, name="finemill-loop", daemon=True).start()
        return _loop


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop and wait for its result."""
    return asyncio.run_coroutine_threadsafe(work, event_loop()).result()
