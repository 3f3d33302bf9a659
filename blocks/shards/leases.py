"""Leases: who works on which unit, where several launches work on one run at the same time.

A lease is a file `leases/<unit>`, created exclusively, whose time of modification its holder renews. One that was not
renewed for `EXPIRES` seconds, or whose process is known to be gone, may be taken over. Leases only save work: when a
stopped process wakes up and finds its unit taken over, commit records still see to it that each chunk counts once.

So there is no scheduler: whoever has nothing to do takes the next unit that is neither finished nor leased. A slow node
takes fewer of them, a dead one holds its units up for `EXPIRES` seconds.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from blocks.generate.guard import machine
from blocks.shards.commit import pending_units, recover, staged_units
from blocks.shards.folder import RunFolder, create_exclusively, write_synced
from blocks.shards.plan import Unit

EXPIRES = float(os.environ.get("FINEMILL_LEASE_SECONDS", 300))
"""Seconds without a renewal after which a lease is free. Longer than network file systems cache attributes (60 s)."""

RENEWALS = 10
"""Renewals in that time."""


class Leases:
    """The leases that this process holds; a thread renews them.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.state / "leases"
        self.path.mkdir(exist_ok=True)
        self.token = uuid.uuid4().hex[:12]
        self._held: set[str] = set()
        self._clock = self.path / f".{self.token}"
        self._closed = threading.Event()
        self._finished = False
        threading.Thread(target=self._renew, name="finemill-leases", daemon=True).start()

    def claim(self, unit: str) -> bool:
        """Take a unit that nobody holds, or whose holder is gone; False when somebody works on it.

        Args:
            unit: the unit's name, see `RunFolder.unit_name`.
        """
        path = self.path / unit
        if path.exists() and not self._take_away(path):
            return False
        if not self._create(path):
            return False
        self._held.add(unit)
        return True

    @property
    def closed(self) -> bool:
        """Whether everything was given back."""
        return self._closed.is_set()

    def holds(self, unit: str) -> bool:
        """Whether this process still holds a unit: it may have slept while another took it over."""
        found = _read(self.path / unit)
        return found is not None and found["token"] == self.token

    def release(self, unit: str) -> None:
        """Give a unit back, unless it was taken over."""
        if unit in self._held:
            self._held.discard(unit)
            self._remove(self.path / unit, self.token)

    def finish(self) -> None:
        """Claim nothing more: when all is released, nothing of this is left."""
        self._finished = True

    def close(self) -> None:
        """Give everything back."""
        self._closed.set()
        for unit in list(self._held):
            self.release(unit)
        self._clock.unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        """Create a file with this holder's name in it; False when there is one already."""
        # A name of its own: one thread claims what comes next while another releases what is finished.
        staged = self.path / f".{uuid.uuid4().hex[:12]}.staged"
        write_synced(staged, orjson.dumps(_holder(self.token)))
        try:
            return create_exclusively(path, staged)
        finally:
            staged.unlink(missing_ok=True)

    def _take_away(self, path: Path) -> bool:
        """Remove a file of a holder that is gone; False when it lives, or when another process is at it."""
        holder = _read(path)
        if holder is None:
            return True
        if not _is_gone(holder) and not self._expired(path):
            return False
        return self._remove(path, holder["token"], lambda: _is_gone(holder) or self._expired(path))

    def _remove(self, path: Path, token: str, still: Callable[[], bool] = lambda: True) -> bool:
        """Remove a holder's file; False when it has become another's, or when another process is at it.

        Two that look, find the same holder and remove one after the other would remove what a third has put there
        in between. So whoever removes has, for that moment, a lock that bears the holder's token, and looks again.
        A lock whose owner was killed is taken away in the same manner.
        """
        lock = self.path / f".{path.name.lstrip('.')}.after.{token}"
        if not self._create(lock) and not (self._take_away(lock) and self._create(lock)):
            return False
        try:
            found = _read(path)
            if found is None:
                return True
            if found["token"] != token or not still():  # it may have woken up
                return False
            path.unlink(missing_ok=True)
            return True
        finally:
            lock.unlink(missing_ok=True)

    def _expired(self, path: Path) -> bool:
        with suppress(FileNotFoundError):
            return _time_of(self._clock) - path.stat().st_mtime > EXPIRES
        return True

    def _renew(self) -> None:
        while not self._closed.wait(EXPIRES / RENEWALS):
            for unit in list(self._held):
                with suppress(OSError):
                    if self.holds(unit):
                        os.utime(self.path / unit)
            if self._finished and not self._held:
                self.close()


def live_leases(folder: RunFolder) -> list[dict[str, Any]]:
    """The leases of a run, of all passes, whose holders are not known to be gone; each with `unit` and `renewed`."""
    path = folder.state / "leases"
    if not path.is_dir():
        return []
    clock = path / f".{uuid.uuid4().hex[:12]}"
    now = _time_of(clock)
    clock.unlink()
    found = []
    for file in sorted(path.iterdir()):
        holder = None if file.name.startswith(".") else _read(file)
        if holder is None or _is_gone(holder):
            continue
        with suppress(FileNotFoundError):
            renewed = file.stat().st_mtime
            if now - renewed <= EXPIRES:
                found.append({**holder, "unit": file.name, "renewed": renewed})
    return found


def claimed_units(folder: RunFolder, leases: Leases, units: Sequence[Unit]) -> Iterator[tuple[Unit, set[int]]]:
    """Claim one unit after the other until none is left that is neither finished nor leased.

    Each claimed unit is cleared up after whoever had it before, and comes with the numbers of its committed chunks.

    Args:
        folder: the run as this pass sees it.
        leases: where to claim.
        units: the plan.
    """
    while True:
        left = [unit for unit, _ in pending_units(folder, units)]
        # Everybody begins somewhere else, so that they seldom want the same unit.
        start = random.SystemRandom().randrange(len(left)) if left else 0
        found = False
        for unit in left[start:] + left[:start]:
            name = folder.unit_name(unit.number)
            if (folder.state / "finished" / name).exists() or not leases.claim(name):
                continue
            recover(folder, name)
            now = [done for _, done in pending_units(folder, [unit])]
            if now:
                found = True
                yield unit, now[0]
            else:  # its former holder has finished it
                leases.release(name)
        if not found and not somebody_is_gone(folder, leases.token):
            return


def somebody_is_gone(folder: RunFolder, me: str = "") -> bool:
    """Watch the leases of others until each has been renewed, which takes a tenth of `EXPIRES`.

    Whoever finds nothing to do would leave for good. So it first makes sure that the others live: a process that has
    just died holds leases that look as good as any.

    Args:
        folder: the run folder.
        me: token of leases that need no proof.

    Returns:
        Whether one was given back or has run out, so that there may be something to do.
    """
    unproven = {(lease["unit"], lease["token"]): lease["renewed"] for lease in live_leases(folder)}
    unproven = {key: renewed for key, renewed in unproven.items() if key[1] != me}
    while unproven:
        time.sleep(EXPIRES / RENEWALS / 2)
        now = {(lease["unit"], lease["token"]): lease["renewed"] for lease in live_leases(folder)}
        if any(key not in now for key in unproven):
            return True
        unproven = {key: renewed for key, renewed in unproven.items() if now[key] == renewed}
    return False


def recover_abandoned(folder: RunFolder) -> None:
    """Clear up after processes that were killed, where nobody holds the unit that they worked on any more."""
    leases = Leases(folder)
    for name in staged_units(folder):
        if leases.claim(name):
            recover(folder, name)
            leases.release(name)
    leases.close()


def settle(folder: RunFolder) -> None:
    """Wait until all that is committed is in its place: another job may be about to move its last files."""
    while staged := staged_units(folder):
        recover_abandoned(folder)
        if not staged & {lease["unit"] for lease in live_leases(folder)}:
            return
        time.sleep(1)


def _time_of(clock: Path) -> float:
    """The time as the file server has it: the clocks of nodes differ."""
    clock.touch()
    return clock.stat().st_mtime


def _holder(token: str) -> dict[str, Any]:
    return {
        "token": token,
        "host": socket.gethostname(),
        "machine": machine(),
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "life": _life(),
    }


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the holder is known to have ended: its process was on this host, or its job has been started anew."""
    if holder["job"] is not None and holder["job"] == os.environ.get("SLURM_JOB_ID") and holder["life"] < _life():
        return True
    # Where the holder's pid means nothing, as in another container on this host, only time tells.
    same = bool(machine()) and (holder["host"], holder.get("machine")) == (socket.gethostname(), machine())
    return same and not Path(f"/proc/{holder['pid']}").exists()


def _life() -> int:
    """How many times Slurm has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = orjson.loads(path.read_bytes())
        return content
    except (OSError, orjson.JSONDecodeError):  # gone, perhaps while it was read
        return None
