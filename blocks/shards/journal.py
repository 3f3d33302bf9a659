"""The journal: what the model answered for a chunk that is not committed yet.

One append-only file per open chunk, one line per answer: `<xxh3-64 of the rest, hex> <JSON>`. A line is the unit of
damage: on replay a torn tail is cut off and a line whose checksum does not hold is skipped (it costs one repeated
request, nothing else). Replay keeps only `key → offset` in memory and reads an answer when it is asked for, so a
journal of any size replays in some 200 bytes per request.

Writing and syncing happen in one thread per process (`Syncer`): it collects what arrived during `PERIOD` and writes it
with one fdatasync, so that the event loop never touches the disk and an answer is safe well within a second.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import orjson
import xxhash

from blocks.shards.folder import RunError

PERIOD = 0.2
"""Seconds between syncs while answers arrive; the promise to users is one second."""


class Syncer:
    """Appends to journals off the event loop, in the order in which it was asked to."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[int, bytes | None] | threading.Event] = SimpleQueue()
        self.error: OSError | None = None
        threading.Thread(target=self._run, name="journal-sync", daemon=True).start()
        atexit.register(self.flush, 10.0)

    def append(self, handle: int, line: bytes) -> None:
        """Append `line` to the file `handle` soon."""
        if self.error is not None:
            raise RunError(f"cannot write the journal: {self.error}; free disk space and start again to resume")
        self._queue.put((handle, line))

    def close(self, handle: int) -> None:
        """Close the file `handle` after everything that was appended before."""
        self._queue.put((handle, None))

    def flush(self, timeout: float) -> None:
        """Wait until everything appended so far is on disk, at most `timeout` seconds."""
        event = threading.Event()
        self._queue.put(event)
        event.wait(timeout)

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            if not isinstance(batch[0], threading.Event):
                time.sleep(PERIOD)
            try:
                while True:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            self._write(batch)

    def _write(self, batch: list[tuple[int, bytes | None] | threading.Event]) -> None:
        lines: dict[int, list[bytes]] = {}
        for item in batch:
            if not isinstance(item, threading.Event) and item[1] is not None:
                lines.setdefault(item[0], []).append(item[1])
        closing = [item[0] for item in batch if not isinstance(item, threading.Event) and item[1] is None]
        for handle, parts in lines.items():
            try:
                data = memoryview(b"".join(parts))
                while data:
                    data = data[os.write(handle, data) :]
                os.fdatasync(handle)
            except OSError as error:
                self.error = error
        for handle in closing:
            os.close(handle)
        for item in batch:
            if isinstance(item, threading.Event):
                item.set()


_syncer: Syncer | None = None
_syncer_lock = threading.Lock()


def syncer() -> Syncer:
    """The journal thread of this process."""
    global _syncer
    with _syncer_lock:
        if _syncer is None:
            _syncer = Syncer()
        return _syncer


class Journal:
    """The answers recorded for one chunk.

    Args:
        path: the journal's file; created when missing, replayed when not.
        patience: seconds to wait for a dying predecessor to let go of the file.

    Raises:
        RunError: another live process works on the same chunk.
    """

    def __init__(self, path: Path, patience: float = 20.0) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._offsets: dict[bytes, tuple[int, int]] = {}
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._handle)
                    raise RunError(f"another process is working on this chunk: {path}") from None
                time.sleep(0.1)
        self._replay()

    def _replay(self) -> None:
        offset = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._handle, offset)
                    break
                checksum, _, body = line[:-1].partition(b" ")
                if checksum == _checksum(body):
                    key = bytes.fromhex(orjson.loads(body)["key"])
                    self._offsets[key] = (offset + 17, len(body))
                offset += len(line)

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, key: bytes) -> dict[str, Any] | None:
        """The answer recorded under `key` by an earlier process, None if there is none."""
        place = self._offsets.get(key)
        if place is None:
            return None
        record: dict[str, Any] = orjson.loads(os.pread(self._handle, place[1], place[0]))["answer"]
        return record

    def put(self, key: bytes, answer: dict[str, Any]) -> None:
        """Record an answer; on disk within a second.

        Raises:
            RunError: the disk could not be written.
        """
        body = orjson.dumps({"key": key.hex(), "answer": answer})
        syncer().append(self._handle, _checksum(body) + b" " + body + b"\n")

    def close(self) -> None:
        """Let go of the file."""
        syncer().close(self._handle)

    def discard(self) -> None:
        """Delete the journal: its chunk is committed."""
        self.path.unlink(missing_ok=True)
        self.close()


def _checksum(body: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(body).encode()
