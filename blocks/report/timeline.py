"""When a run worked: tokens over time, each worker's commits and pauses, launches and restarts, what it cost."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from blocks.execute.report import reports_of
from blocks.shards.commit import Commit
from blocks.shards.folder import RunFolder
from blocks.shards.summary import launches_of

STEPS = 60
"""Parts into which the time of a run is cut."""

STALL, STALL_FACTOR = 60.0, 5.0
"""A pause between two commits is a stall when it is longer than this many seconds and so many usual pauses."""

LANES = 24
"""Workers that are drawn; the others stand in the table."""


@dataclass
class Lane:
    """What one worker did.

    Args:
        worker: host and process.
        began: when it was launched, as far as that is known, else its first commit.
        documents: that it read.
        times: of its commits, seconds since the epoch.
        tokens: completion tokens of each commit.
    """

    worker: str
    began: float
    documents: int = 0
    times: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float | None:
        """Completion tokens per second since it began; None where that is not known of a single commit."""
        seconds = self.times[-1] - self.began
        # What the first commit holds was made before it.
        return sum(self.tokens[self.began == self.times[0] :]) / seconds if seconds else None

    @property
    def longest_pause(self) -> float:
        """Seconds between two commits, at the most."""
        return max(self._pauses(), default=0.0)

    def stalls(self, launches: Sequence[float]) -> list[tuple[float, float]]:
        """Pauses that are unusually long and in which nobody started the run again."""
        usual = statistics.median(self._pauses()) if len(self.times) > 1 else 0.0
        between = zip(self.times, self.times[1:], strict=False)
        return [
            (since, until)
            for since, until in between
            if until - since > max(STALL, STALL_FACTOR * usual)
            and not any(since < launch < until for launch in launches)
        ]

    def _pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


class Timeline:
    """When commits were made; takes each once, in any order."""

    def __init__(self) -> None:
        self._commits: list[tuple[float, str, int, int]] = []

    def add(self, commit: Commit) -> None:
        """Add a commit record."""
        tokens = commit.tally["numbers"].get("completion_tokens", 0)
        self._commits.append((commit.at, commit.worker, commit.tally["documents"]["read"], tokens))

    def lanes(self, launches: Sequence[Mapping[str, Any]]) -> list[Lane]:
        """The workers, by their first commit."""
        lanes: dict[str, Lane] = {}
        for at, worker, documents, tokens in sorted(self._commits):
            if worker not in lanes:
                host = worker.rpartition(":")[0]
                here = (launch["at"] for launch in launches if launch.get("host", host) == host)
                lanes[worker] = Lane(worker, max((launch for launch in here if launch < at), default=at))
            lane = lanes[worker]
            lane.documents += documents
            lane.times.append(at)
            lane.tokens.append(tokens)
        return list(lanes.values())

    def drawing(self, launches: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """What is drawn, with times from 0 to 1; None where no time has passed.

        Args:
            launches: as `launches_of` gives them.

        Returns:
            `from`, `to` (UTC), `tokens`; `rates`: for each of `STEPS` parts completion tokens per second, as a share of
            the highest (`peak`); `lanes`: of at most `LANES` workers the name, `first`, `last`, its commits (`ticks`)
            and `stalls`; `stalls`: how many there are in all; `launches`: those after the first that can be drawn.
        """
        lanes = self.lanes(launches)
        starts = [launch["at"] for launch in launches]
        first = min((lane.began for lane in lanes), default=0.0)
        width = max((lane.times[-1] for lane in lanes), default=0.0) - first
        if not width:
            return None
        sums = np.zeros(STEPS)
        edges = np.linspace(first, first + width, STEPS + 1)
        for lane in lanes:
            # What a commit holds was made since the one before, evenly as far as anyone knows.
            tokens = lane.tokens if lane.began < lane.times[0] else lane.tokens[1:]
            times = [lane.began, *lane.times][-len(tokens) - 1 :]
            sums += np.diff(np.interp(edges, times, np.cumsum([0, *tokens])))
        rates = sums / (width / STEPS)

        def place(at: float) -> float:
            return round((at - first) / width, 4)

        drawn = [
            {
                "worker": lane.worker,
                "first": place(lane.began),
                "last": place(lane.times[-1]),
                "ticks": sorted({round(place(at), 3) for at in lane.times}),
                "stalls": [(place(since), place(until)) for since, until in lane.stalls(starts)],
            }
            for lane in lanes[:LANES]
        ]
        shown = [time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) for at in (first, first + width)]
        return {
            "from": shown[0],
            "to": shown[1],
            "tokens": sum(sum(lane.tokens) for lane in lanes),
            "peak": float(rates.max()),
            "rates": (rates / (rates.max() or 1)).tolist(),
            "lanes": drawn,
            "stalls": sum(len(lane.stalls(starts)) for lane in lanes),
            "launches": [place(at) for at in starts if first < at < first + width],
        }

    def last_in(self, since: float, until: float) -> float | None:
        """When the last commit between two times was made."""
        return max((at for at, *_ in self._commits if since <= at < until), default=None)


def jobs_of(folder: RunFolder) -> list[dict[str, Any]]:
    """The jobs of a cluster that worked on the run: `job`, `node`, `gpus`, `seconds`, `gpu_seconds` and so on."""
    found = []
    for here in sorted((folder.state / "launches").glob("*/*/")):
        if not (lives := reports_of(here)):
            continue
        found.append(
            {
                "job": f"{here.parent.name}/{here.name}",
                "node": lives[-1]["node"] or lives[-1]["host"],
                "gpus": lives[-1]["servers"],
                "seconds": sum(life["at"] - life["began"] for life in lives),
                "gpu_seconds": sum((life["at"] - life["began"]) * life["servers"] for life in lives),
                "restarts": len(lives) - 1,
                "retries": sum(life["totals"].get("retries", 0) for life in lives),
                "ended": lives[-1]["ended"] or "",
            }
        )
    return found


def gpu_hours(folder: RunFolder, config: Mapping[str, Any], timeline: Timeline) -> float | None:
    """Hours that GPUs were held for the run; None where it had none of its own.

    Of the jobs of a cluster from their start to their last report, of a launch on one machine to its last commit, each
    with all GPUs of the machine, since nobody else could use them. Whether the models were its own is taken from the
    first launch.
    """
    if config.get("endpoint") or not ("server" in config or "encoder" in config):
        return None
    seconds = sum(job["gpu_seconds"] for job in jobs_of(folder))
    launches = launches_of(folder)
    for launch, following in zip_longest(launches, launches[1:]):
        if launch.get("job"):
            continue
        last = timeline.last_in(launch["at"], following["at"] if following else math.inf)
        seconds += launch.get("gpus", 0) * (last - launch["at"] if last else 0.0)
    return seconds / 3600 if seconds else None
