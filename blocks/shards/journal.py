"""The journal: what the model answered for a chunk that is not committed yet.

One append-only file per open chunk, one line per answer: `<xxh3-64 of the rest, hex> <key, hex> <JSON>`. A line is the
unit of damage: on replay a torn tail is cut off and a line whose checksum does not hold is skipped (it costs one
repeated request, nothing else). Replay keeps only the key and the place of each answer in memory and reads an answer
when it is asked for, so a journal of any size replays in some 200 bytes per request.

Writing and syncing happen in one thread per process (`Syncer`): it collects what arrived during `PERIOD` and writes it
with one fdatasync, so that the event loop never touches the disk and an answer is safe well within a second.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import threading
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import orjson
import xxhash

from blocks.shards.folder import RunError, write_atomically

PERIOD = 0.2
"""Seconds between syncs while answers arrive; the promise to users is one second."""

_CHECKSUM, _KEY = 16, 32  # hexadecimal digits
_LENGTH_BITS = 32


class Syncer:
    """Appends to journals off the event loop, in the order in which it was asked to."""

    def __init__(self) -> None:
        # A line to append, None to close the file, or an event to set when everything before it is done.
        self._queue: SimpleQueue[tuple[FileIO, bytes | None] | threading.Event] = SimpleQueue()
        self._error: OSError | None = None
        threading.Thread(target=self._run, name="journal-sync", daemon=True).start()
        atexit.register(self.flush, 10.0)

    def append(self, file: FileIO, line: bytes) -> None:
        """Append `line` to `file` soon; nothing happens when the file has been closed by then."""
        self.check()
        self._queue.put((file, line))

    def close(self, file: FileIO) -> None:
        """Close `file` after everything that was appended before."""
        self._queue.put((file, None))

    def flush(self, timeout: float) -> None:
        """Wait until everything appended so far is on disk, at most `timeout` seconds."""
        event = threading.Event()
        self._queue.put(event)
        event.wait(timeout)

    def check(self) -> None:
        """Raise what went wrong when writing.

        Raises:
            RunError: something that was appended is not on disk.
        """
        if self._error is not None:
            raise RunError(f"cannot write the journal: {self._error}; free disk space and start again to resume")

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            if not isinstance(batch[0], threading.Event):
                time.sleep(PERIOD)
            with suppress(Empty):
                while True:
                    batch.append(self._queue.get_nowait())
            self._write([item for item in batch if not isinstance(item, threading.Event)])
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()

    def _write(self, batch: list[tuple[FileIO, bytes | None]]) -> None:
        lines: dict[FileIO, list[bytes]] = {}
        for file, line in batch:
            if line is not None and not file.closed:  # only this thread closes files
                lines.setdefault(file, []).append(line)
        for file, parts in lines.items():
            try:
                data = memoryview(b"".join(parts))
                while data:
                    data = data[os.write(file.fileno(), data) :]
                os.fdatasync(file.fileno())
            except OSError as error:
                self._note(error)
        for file, line in batch:
            if line is None:
                try:
                    file.close()
                except OSError as error:  # network file systems report a full disk as late as here
                    self._note(error)

    def _note(self, error: OSError) -> None:
        # On NFS so is a file called that another node has deleted, after it took the unit over and committed the chunk.
        if error.errno != errno.ESTALE:
            self._error = error


_syncer: Syncer | None = None
_syncer_lock = threading.Lock()


def syncer() -> Syncer:
    """The journal thread of this process."""
    global _syncer
    with _syncer_lock:
        if _syncer is None:
            _syncer = Syncer()
        return _syncer


def flush_journals() -> None:
    """Wait until everything that was put into journals is on disk; at most 10 seconds."""
    syncer().flush(10.0)


class Journal:
    """The answers recorded for one chunk.

    Args:
        path: the journal's file; created when missing, replayed when not.
        patience: seconds to wait for a dying predecessor to let go of the file.
        leased: whether this process holds the lease of the unit: who has the file open after that time is a zombie, and
            goes on with a file of its own.

    Raises:
        RunError: another live process works on the same chunk.
    """

    def __init__(self, path: Path, patience: float = 20.0, leased: bool = False) -> None:
        self.path = path
        self._file = _open_alone(path, 2.0 if leased else patience, leased)
        self._inode = os.fstat(self._file.fileno()).st_ino
        self._places: dict[bytes, int] = {}  # key → offset and length of the JSON, in one integer
        self._replay()

    def _replay(self) -> None:
        offset = 0
        with open(self._file.fileno(), "rb", closefd=False) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    self._file.truncate(offset)
                    break
                if line[:_CHECKSUM] == _checksum(line[_CHECKSUM + 1 : -1]):
                    key = bytes.fromhex(line[_CHECKSUM + 1 : _CHECKSUM + 1 + _KEY].decode())
                    head = _CHECKSUM + _KEY + 2
                    self._places[key] = (offset + head) << _LENGTH_BITS | (len(line) - head - 1)
                offset += len(line)

    def __contains__(self, key: bytes) -> bool:
        """Whether an earlier process recorded an answer under `key`; looks into memory only."""
        return key in self._places

    def get(self, key: bytes) -> dict[str, Any] | None:
        """The answer recorded under `key` by an earlier process, None if there is none."""
        place = self._places.get(key)
        if place is None:
            return None
        offset, length = place >> _LENGTH_BITS, place & (1 << _LENGTH_BITS) - 1
        answer: dict[str, Any] = orjson.loads(os.pread(self._file.fileno(), length, offset))
        return answer

    def put(self, key: bytes, answer: dict[str, Any]) -> None:
        """Record an answer under a key of 16 bytes; on disk within a second.

        Raises:
            RunError: the disk could not be written.
        """
        body = key.hex().encode() + b" " + orjson.dumps(answer)
        syncer().append(self._file, _checksum(body) + b" " + body + b"\n")

    def check(self) -> None:
        """Notice a disk that could not be written, where no `put` follows.

        Raises:
            RunError: an answer of this process is not on disk.
        """
        syncer().check()

    def close(self) -> None:
        """Let go of the file."""
        syncer().close(self._file)

    def discard(self) -> None:
        """Delete the journal: its chunk is committed."""
        with suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:  # it may have been taken over
                self.path.unlink()
        self.close()


def _open_alone(path: Path, patience: float, take_over: bool) -> FileIO:
    """Open a journal that no other process holds; `take_over` leaves the old file to its holder and copies it."""
    deadline = time.monotonic() + patience
    while True:
        # A FileIO knows that it is closed; a bare descriptor's number may belong to another file by then.
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            if time.monotonic() > deadline and take_over:
                with suppress(FileNotFoundError):  # its holder commits in this very moment
                    write_atomically(path, path.read_bytes())
                continue
            if time.monotonic() > deadline:
                raise RunError(
                    f"another process is working on this chunk ({path}): end it, or wait for it, and start again"
                ) from None
            time.sleep(0.1)
            continue
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # its holder committed the chunk and deleted the journal in the meantime


def _checksum(body: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(body).encode()
