"""What a job of a cluster tells about itself while it runs, and what is made of it: one file per job and life.

    STATE/launches/0001/3/report-0.json    job 3 of the first submission, in its first life

Only telemetry: what counts is in the commit records.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

PERIOD = 5.0
"""Seconds between two reports."""

LIMIT = "the limit of spending is reached"
"""How a life ended that had no more money."""

LATELY = 300.0
"""Seconds over which the present rate is taken."""


class Report:
    """The report of this job, rewritten every few seconds.

    Args:
        folder: of the job.
        servers: model servers that it runs, by which rates are divided.
    """

    def __init__(self, folder: Path, servers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        life = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        self._file = folder / f"report-{life}.json"
        self._told: dict[str, Any] = {
            "job": os.environ.get("SLURM_JOB_ID"),
            "host": socket.gethostname(),
            "node": os.environ.get("SLURMD_NODENAME"),
            "life": life,
            "servers": servers,
            "began": time.time(),
            "ended": None,
        }
        self._last = 0.0
        self._past: deque[tuple[float, int]] = deque()
        self._write({}, time.time())

    def update(self, totals: Mapping[str, int]) -> None:
        """Tell the totals of this life."""
        now = time.time()
        if now - self._last < PERIOD:
            return
        self._last = now
        self._write(totals, now)

    def end(self, how: str) -> None:
        """Tell that it is over: `done`, `told to stop` or what went wrong."""
        self._told["ended"] = how
        self._write(self._told.get("totals", {}), time.time())

    def _write(self, totals: Mapping[str, int], now: float) -> None:
        tokens = totals.get("completion_tokens", 0)
        self._past.append((now, tokens))
        while len(self._past) > 2 and now - self._past[1][0] > LATELY:
            self._past.popleft()
        since, before = self._past[0]
        lately = (tokens - before) / (now - since) if tokens and now - since > PERIOD else None
        rate = None if lately is None else round(lately / max(1, self._told["servers"]), 1)
        self._told |= {"at": now, "totals": dict(totals), "rate": rate}
        part = self._file.with_suffix(".part")
        with suppress(OSError):  # a full disk stops the run elsewhere, with a better message
            part.write_bytes(orjson.dumps(self._told))
            part.replace(self._file)


def reports_of(job: Path) -> list[dict[str, Any]]:
    """What a job has told, life after life."""
    found = []
    for file in sorted(job.glob("report-*.json"), key=lambda path: int(path.stem.partition("-")[2])):
        with suppress(FileNotFoundError, orjson.JSONDecodeError):
            found.append(orjson.loads(file.read_bytes()))
    return found
