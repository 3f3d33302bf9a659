"""The run folder: where everything of a run lies, and the few file operations that must be atomic.

    OUTPUT/run.yaml                       what this run is: configuration, pins, fingerprint
    OUTPUT/shards/<format>/<chunk>.parquet
    OUTPUT/rejected/<chunk>.parquet       what was not written, with its reason
    OUTPUT/summary.json                   computed from the commit records
    STATE/plan.jsonl                      what the input consists of
    STATE/commits/<chunk>.json            the only truth about what is done
    STATE/finished/<unit>                 a cache of "the last chunk of this unit is committed"
    STATE/journal/<chunk>.jsonl           answers of chunks that are not committed yet
    STATE/staging/<chunk>.<token>/        files of a chunk on their way into OUTPUT
    STATE/logs/, STATE/servers/, STATE/lock, STATE/launches.jsonl

OUTPUT may be remote (`s3://…`); STATE is on a POSIX file system shared by the workers, because exclusive creation and
locks are needed. A chunk is named `<unit>-<k>`; further passes over the same plan (formats added later) have their own
prefix, `p1-<unit>-<k>`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem


class RunError(Exception):
    """A run cannot go on; the message is one line for the user that says what to do."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, as a small picklable value.

    Args:
        output: where shards go: a local path, or a URL that fsspec can write (`s3://bucket/run`).
        state: a folder on a POSIX file system that all workers of the run share.
        pass_number: which pass over the plan this is; 0 is the first, formats that are added later get their own.
    """

    output: str
    state: Path
    pass_number: int = 0

    @classmethod
    def at(cls, output: str, state: str | Path | None = None) -> RunFolder:
        """A run folder at `output`, its state in `output/state` unless told otherwise.

        Raises:
            RunError: the output is remote and no local state folder is given, or it is on the Hub.
        """
        if output.startswith("hf://"):
            raise RunError(
                "writing to hf:// directly would make one commit per file: write to a local folder or s3://, "
                "then publish the finished shards"
            )
        fs, path = url_to_fs(output)
        if isinstance(fs, LocalFileSystem):
            return cls(path, Path(state) if state else Path(path) / "state")
        if state is None:
            raise RunError(f"--output {output} is not a local folder: give --state, a local or shared folder")
        return cls(output, Path(state).absolute())

    @property
    def is_local(self) -> bool:
        """Whether the output is on a local (or mounted) file system."""
        return isinstance(url_to_fs(self.output)[0], LocalFileSystem)

    def for_pass(self, number: int) -> RunFolder:
        """The same run, seen by pass `number`."""
        return RunFolder(self.output, self.state, number)

    @property
    def prefix(self) -> str:
        """What chunk names of this pass begin with."""
        return f"p{self.pass_number}-" if self.pass_number else ""

    def chunk_name(self, unit: int, k: int) -> str:
        """The name of chunk `k` of `unit`, the stem of every file that belongs to it."""
        return f"{self.prefix}{unit:05d}-{k:05d}"

    def unit_name(self, unit: int) -> str:
        """The name of a unit in this pass."""
        return f"{self.prefix}{unit:05d}"

    def parse_name(self, name: str) -> tuple[int, ...] | None:
        """The numbers in a chunk's or unit's name, (unit, k) or (unit,); None for one of another pass."""
        head, *numbers = name.split("-") if name.startswith("p") else ("p0", *name.split("-"))
        return tuple(map(int, numbers)) if head == f"p{self.pass_number}" else None

    def prepare(self) -> None:
        """Create the state folders.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            for name in ("commits", "finished", "journal", "staging", "logs", "servers"):
                (self.state / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot write the state folder {self.state}: {error.strerror}; choose another --output or --state"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this launch; a second launch on the same state is refused.

        Raises:
            RunError: another process holds it.
        """
        path = self.state / "lock"
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise RunError(f"another launch is working on {self.state}: {file.read().strip()}") from None
            file.truncate(0)
            file.write(f"host {socket.gethostname()}, pid {os.getpid()}\n")
            file.flush()
            yield

    def read_output(self, name: str) -> bytes | None:
        """The content of a small file of the output folder, None when there is none."""
        fs, root = url_to_fs(self.output)
        try:
            return bytes(fs.cat_file(f"{root}/{name}"))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_output(self, name: str, content: bytes) -> None:
        """Write a small file of the output folder, atomically.

        Raises:
            RunError: the output cannot be written.
        """
        fs, root = url_to_fs(self.output)
        try:
            if isinstance(fs, LocalFileSystem):
                write_atomically(Path(root) / name, content)
            else:
                fs.pipe_file(f"{root}/{name}", content)
        except OSError as error:
            raise RunError(f"cannot write {self.output}/{name}: {error}") from error

    def place(self, staged: Path, name: str) -> None:
        """Move a staged file to its final place in the output folder; visible there only when it is whole."""
        fs, root = url_to_fs(self.output)
        if not isinstance(fs, LocalFileSystem):
            fs.put_file(str(staged), f"{root}/{name}")
            staged.unlink()
            return
        target = Path(root) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            staged.replace(target)
        except OSError as error:
            if error.errno != 18:  # EXDEV: state and output on different file systems
                raise
            copy = target.with_name(f".{target.name}.part")
            shutil.copyfile(staged, copy)
            sync(copy)
            copy.replace(target)
            staged.unlink()
        sync(target.parent)


def sync(path: Path) -> None:
    """Force a file or a folder's entries to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content so that readers and crashes see either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def create_exclusively(path: Path, content: bytes) -> bool:
    """Create a file with its whole content, or do nothing if it exists; True when this call created it."""
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    sync(path.parent)
    return True
