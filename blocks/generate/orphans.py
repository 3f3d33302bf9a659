"""Find and end model servers that nobody looks after any more.

Each guard (`blocks.generate.guard`) names itself, its server and the launching process in a record, and removes that
once all of its processes are gone. A record that stays tells of a guard that was killed; the processes it names
are ended here. A process is recognised by pid and start time on the same boot of the same host, never by pid alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from loguru import logger

from blocks.generate import guard

_LOOK = 0.1  # seconds between two looks at processes that are to end
_AFTER_KILL = 10.0  # seconds for killed processes to vanish


def end_orphans(records: Path, grace: float) -> None:
    """End the servers that killed launching processes have left behind on this host.

    Args:
        records: the folder with the record files; servers whose launching process lives are left alone.
        grace: as in `end_recorded`.
    """
    for path in sorted(records.glob("*.json")):
        record = _read(path)
        if record is not None and not _is(record["launcher"]):
            logger.info(f"ending {record['command']}, pid {record['server']['pid']}, left behind by a killed run")
            end_recorded(path, grace)


def end_recorded(path: Path, grace: float) -> None:
    """End what is left of the server that a record names, its guard, and the record.

    Args:
        path: the record; nothing happens when it is gone or from another host.
        grace: seconds between asking the processes to end and killing them.
    """
    record = _read(path)
    if record is None:
        return
    for sent, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, _AFTER_KILL)):
        deadline = time.monotonic() + patience
        for pid in _left(record):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        while _left(record) and time.monotonic() < deadline:
            time.sleep(_LOOK)
    if left := _left(record):
        logger.error(f"processes {left} of a model server cannot be killed and may hold GPU memory")
    path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """A record of this host; None for others, and for one that is gone or was torn by a power cut."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if record["machine"] and record["machine"] == guard.machine() else None


def _is(process: dict[str, Any]) -> bool:
    return process["started"] is not None and guard.birth(process["pid"]) == process["started"]


def _left(record: dict[str, Any]) -> list[int]:
    """The living processes that a record tells of: the guard and the server's process group."""
    leader = record["server"]
    left = [record["guard"]["pid"]] if _is(record["guard"]) else []
    if guard.birth(leader["pid"]) not in (None, leader["started"]):
        return left  # the pid belongs to somebody else now, which happens only once its group is empty
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    found = ((pid, guard.stat(pid)) for pid in pids)
    return left + [pid for pid, stat in found if stat is not None and stat[1] == leader["pid"] and stat[0] not in "ZX"]
