"""The run folder: where everything of a run lies, and the few file operations that must be atomic.

    OUTPUT/run.yaml                       what this run is: configuration, pins, fingerprint
    OUTPUT/shards/<format>/<chunk>.parquet
    OUTPUT/rejected/<chunk>.parquet       what was not written, with its reason
    OUTPUT/summary.json                   computed from the commit records
    STATE/run                             which run this is the state of
    STATE/plan.jsonl                      what the input consists of
    STATE/commits/<chunk>.json            the only truth about what is done
    STATE/finished/<unit>                 a cache of "the last chunk of this unit is committed"
    STATE/journal/<chunk>.jsonl           answers of chunks that are not committed yet
    STATE/staging/<chunk>.<token>/        files of a chunk on their way into OUTPUT
    STATE/leases/<unit>                   who works on it, where several launches share the run
    STATE/logs/, STATE/servers/, STATE/lock, STATE/launches.jsonl

OUTPUT may be remote (`s3://…`); STATE is on a POSIX file system shared by the workers, because exclusive creation and
locks are needed. A chunk is named `<unit>-<k>`; further passes over the same plan (formats added later) have their own
prefix, `p1-<unit>-<k>`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

_NAME = re.compile(r"(?:p(\d+)-)?(\d+)(?:-(\d+))?")


class RunError(Exception):
    """A run cannot go on; the message is one line for the user that says what to do."""


class TakenOver(RunError):
    """Another process works on this one's unit, since it was thought to be gone; its task begins anew."""


class Retry(NamedTuple):
    """What a retry pass asks about again.

    Args:
        passes: the pass in which it failed and the former retries of that, newest first; what counts of a unit is the
            first of them that has commits of it.
        units: the units of the plan when the retry began; later ones are none of its business.
    """

    passes: tuple[int, ...]
    units: int


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, as a small picklable value.

    Args:
        output: where shards go: a local path, or a URL that fsspec can write (`s3://bucket/run`).
        state: a folder on a POSIX file system that all workers of the run share.
        pass_number: which pass over the plan this is; 0 is the first, formats that are added later get their own.
        shared: whether other launches may work on the run at the same time; units are leased then.
        retries: what this pass asks about again, if it is one that does; see `blocks.shards.retry`.
    """

    output: str
    state: Path
    pass_number: int = 0
    shared: bool = False
    retries: Retry | None = None

    @classmethod
    def at(cls, output: str, state: str | Path | None = None) -> RunFolder:
        """A run folder at `output`, its state in `output/state` unless told otherwise.

        Raises:
            RunError: the output is remote and no local state folder is given, it is on the Hub, or nothing that is
                installed can write there.
        """
        if output.startswith("hf://"):
            raise RunError(
                "writing to hf:// directly would make one commit per file: write to a local folder or s3://, "
                "then publish the finished shards"
            )
        try:
            fs, path = url_to_fs(output)
        except (ImportError, ValueError) as error:
            raise RunError(f"cannot write to --output {output}: {error}") from error
        if isinstance(fs, LocalFileSystem):
            return cls(path, Path(state).absolute() if state else Path(path) / "state")
        if state is None:
            raise RunError(f"--output {output} is not a local folder: give --state, a local or shared folder")
        return cls(output, Path(state).absolute())

    @classmethod
    def named(cls, place: str) -> RunFolder:
        """A run that is there already, named by its output folder, or by its state folder where that lies elsewhere.

        Raises:
            RunError: it is the output folder, and the state is elsewhere; or nothing that is installed can read there.
        """
        if (mark := Path(place) / "run").is_file():  # a state folder knows where its output is
            return cls.at(mark.read_text().strip().partition(" ")[2], place)
        try:
            fs, path = url_to_fs(place)
        except (ImportError, ValueError) as error:
            raise RunError(f"cannot read the run {place}: {error}") from error
        is_local = isinstance(fs, LocalFileSystem)
        if not is_local or ((Path(path) / "run.yaml").is_file() and not (Path(path) / "state").is_dir()):
            raise RunError(f"{place} is a run with a --state of its own: give that folder, which knows its output")
        return cls(path, Path(path) / "state")

    def for_pass(self, number: int, retries: Retry | None = None) -> RunFolder:
        """The same run, seen by pass `number`."""
        return replace(self, pass_number=number, retries=retries)

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

    @staticmethod
    def pass_of(name: str) -> int:
        """The number of the pass that a chunk or unit of this name belongs to."""
        match = _NAME.fullmatch(name)
        assert match is not None, name
        return int(match[1] or 0)

    def parse_name(self, name: str) -> tuple[int, ...] | None:
        """The numbers in a chunk's or unit's name, (unit, k) or (unit,); None for one of another pass."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        pass_number, unit, k = match.groups()
        if int(pass_number or 0) != self.pass_number:
            return None
        return (int(unit),) if k is None else (int(unit), int(k))

    def prepare(self) -> None:
        """Create the state folders.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            # On a slow file system every single look costs.
            try:
                there = {path.name for path in self.state.iterdir()}
            except FileNotFoundError:
                self.state.mkdir(parents=True, exist_ok=True)
                there = set()
            for name in ("commits", "finished", "journal", "staging", "logs", "servers"):
                if name not in there:
                    (self.state / name).mkdir(exist_ok=True)
            if "commits" not in there:
                self._try_links()
                self._try_locks()
        except OSError as error:
            raise RunError(
                f"cannot write the state folder {self.state}: {error.strerror}; choose another --output or --state"
            ) from error

    def _try_links(self) -> None:
        """Do what a commit does: some file systems link within one folder only, or not at all.

        Raises:
            RunError: it cannot be done here.
        """
        name = f".{uuid.uuid4().hex[:12]}.link"
        staged, linked = self.state / "staging" / name, self.state / "commits" / name
        staged.touch()
        try:
            os.link(staged, linked)
        except OSError as error:
            linked.parent.rmdir()  # so that the next launch tries again
            raise RunError(
                f"{self.state} is on a file system without hard links between folders ({error.strerror}), which "
                f"commits need: choose another --state"
            ) from error
        finally:
            staged.unlink()
            linked.unlink(missing_ok=True)

    def _try_locks(self) -> None:
        """Lock a file: some network file systems are mounted without that.

        Raises:
            RunError: it cannot be done here.
        """
        tried = self.state / "staging" / f".{uuid.uuid4().hex[:12]}.lock"
        try:
            with tried.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            (self.state / "commits").rmdir()  # so that the next launch tries again
            raise RunError(
                f"{self.state} is on a file system without locks ({error.strerror}), which launches need: mount it "
                f"with them (Lustre: `-o flock`), or choose another --state"
            ) from error
        finally:
            tried.unlink(missing_ok=True)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Wait until no other process is at `what`, and do it alone."""
        with (self.state / f"{what}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this launch; a second launch on the same state is refused, unless both share the run.

        Raises:
            RunError: another process holds it.
        """
        path = self.state / "lock"
        with path.open("a+") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
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

    def has_shards(self) -> bool:
        """Whether the output holds anything that was committed."""
        fs, root = url_to_fs(self.output)
        return any(fs.exists(f"{root}/{name}") for name in ("shards", "rejected"))

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
        make_folder(target.parent)
        try:
            staged.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # State and output are on different file systems.
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
    except OSError as error:
        # Some network file systems cannot sync a folder; they write entries through.
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Create a folder and those above it, safe from a loss of power."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and force it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content so that readers and crashes see either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    write_synced(part, content)
    part.replace(path)
    sync(path.parent)


def create_exclusively(path: Path, staged: Path) -> bool:
    """Give a whole, synced file the name `path` too, unless something has that name; True when this call did it."""
    try:
        os.link(staged, path)
    except FileExistsError:
        # NFS says so as well when it did create the link and its first reply was lost. It is the same file then; the
        # count of its links would not do, since that may come from a cache.
        try:
            if not staged.samefile(path):
                return False
        except FileNotFoundError:  # a lease that was just given back
            return False
    sync(path.parent)
    return True
