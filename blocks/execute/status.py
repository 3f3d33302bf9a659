"""How a run on a cluster gets on: its jobs, their rates, what is left, and what is not as it should be."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.execute.progress import duration
from blocks.execute.report import LIMIT, reports_of
from blocks.shards.commit import Commit, load_commits, pending_units
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import load_plan, planned_rows
from blocks.shards.run import load_run
from blocks.shards.tally import Tally

SLOW = 0.5
"""Share of the median rate below which a job is called slow."""

SILENT = 120.0
"""Seconds without a report after which a running job is called silent."""

RECENT = 3600.0
"""Seconds over which documents are counted for the time that is left."""


@dataclass
class Job:
    """One job of an array.

    Args:
        submission: the folder's name, `0001`.
        number: its place in the array.
        state: as Slurm says it; `OVER` when Slurm does not know it any more, `UNKNOWN` where there is no Slurm.
        node: where it runs.
        lives: its reports, oldest first.
        log: its output.
        expected: tokens per second and GPU that the profile promises.
    """

    submission: str
    number: int
    state: str
    node: str
    lives: list[dict[str, Any]]
    log: Path
    expected: float | None = None

    @property
    def rate(self) -> float | None:
        """Completion tokens per second and GPU, lately; None when it has not reported or does not run."""
        return self.lives[-1]["rate"] if self.lives and self.running else None

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        ended = self.lives[-1]["ended"] if self.lives else None
        return self.state in ("RUNNING", "UNKNOWN") and ended is None

    @property
    def alive(self) -> bool:
        """Whether it is at work, or Slurm will start it."""
        return self.running or self.state not in ("OVER", "UNKNOWN")

    @property
    def failed(self) -> bool:
        """Whether its last life ended with an error, or was cut short and Slurm does not start it again."""
        ended = self.lives[-1]["ended"] if self.lives else None
        if self.state == "OVER" and ended is None:
            return True
        return not self.running and ended not in (None, "done", "told to stop", LIMIT)

    def total(self, name: str) -> int:
        """A total over all lives."""
        return sum(int(life.get("totals", {}).get(name, 0)) for life in self.lives)

    @property
    def seconds(self) -> float:
        """Time that it has worked, in all lives."""
        return float(sum(life.get("at", life["began"]) - life["began"] for life in self.lives))


@dataclass
class Status:
    """A run at one moment."""

    jobs: list[Job]
    rows: int | None
    done: int
    units_left: int
    counts: Counter[str] = field(default_factory=Counter)
    seconds_left: float | None = None
    alarms: list[str] = field(default_factory=list)


class Watch:
    """Looks at a run again and again; commit records are read once.

    Args:
        folder: the run.

    Raises:
        RunError: there is no run.
    """

    def __init__(self, folder: RunFolder) -> None:
        if load_run(folder) is None:
            raise RunError(f"there is no run in {folder.output}")
        self.folder = folder
        self._commits: dict[str, Commit] = {}

    def look(self) -> Status:
        """The run now."""
        record = load_run(self.folder)
        assert record is not None
        units = load_plan(self.folder.state / "plan.jsonl")
        for commit in load_commits(self.folder, known=self._commits):
            self._commits[commit.chunk] = commit
        passes = [record.seen_by(self.folder, number) for number in range(len(record.passes))]
        left = sum(len(list(pending_units(one, units))) for one in passes)
        jobs = find_jobs(self.folder)
        counts: Counter[str] = Counter()
        now = time.time()
        total = Tally()
        reading = [c for c in self._commits.values() if self.folder.pass_of(c.chunk) not in record.retries]
        for commit in self._commits.values():
            total.add(commit.tally)
        counts["rows"] = sum(map(_rows, reading))
        counts["written"] = total.written.total()
        for kind in ("rejected", "failed"):
            counts[kind] = total.refused(kind)
        planned = planned_rows(units)
        rows = None if planned is None else planned * (len(passes) - len(record.retries))
        status = Status(jobs, rows, counts["rows"], left, counts)
        if rows is not None:
            began = [life["began"] for job in jobs if job.running for life in job.lives[-1:]]
            since = min(RECENT, now - min(began)) if began else RECENT
            recent = sum(_rows(commit) for commit in reading if now - commit.at < since)
            status.seconds_left = (rows - counts["rows"]) * max(since, 1.0) / recent if recent else None
        status.alarms = _alarms(jobs, now) if left else []
        return status


def _rows(commit: Commit) -> int:
    documents = commit.tally["documents"]
    return int(documents["read"] + documents["excluded"])


def find_jobs(folder: RunFolder) -> list[Job]:
    """The jobs of all submissions of a run, newest submission last."""
    launches = folder.state / "launches"
    jobs: list[Job] = []
    for here in sorted(launches.iterdir()) if launches.is_dir() else []:
        if not (here / "job.json").exists():  # sbatch was killed
            continue
        told = orjson.loads((here / "job.json").read_bytes())
        states = _states(told["id"])
        for number in range(told["jobs"]):
            state, node = ("UNKNOWN", "") if states is None else states.get(number, ("OVER", ""))
            lives = reports_of(here / str(number))
            host = (lives[-1]["node"] or lives[-1]["host"]) if lives else ""
            jobs.append(Job(here.name, number, state, node or host, lives, here / f"{number}.log", told["rate"]))
    return jobs


def _states(array: str) -> dict[int, tuple[str, str]] | None:
    """State and node of the jobs of an array that Slurm still knows; None where there is no Slurm."""
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "-h", "-r", "-j", array, "-o", "%K|%T|%N"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "Invalid job id" not in done.stderr:  # which it says of a job that is long over
        return None
    found = (line.split("|") for line in done.stdout.splitlines())
    return {int(number): (state, node) for number, state, node in found if number.isdigit()}


def _alarms(jobs: Sequence[Job], now: float) -> list[str]:
    alarms = []
    rates = [job.rate for job in jobs if job.rate]
    median = statistics.median(rates) if rates else 0.0
    for job in jobs:
        name = f"job {job.submission}/{job.number} on {job.node or '?'}"
        if job.rate is not None and len(rates) > 2 and job.rate < SLOW * median:
            alarms.append(
                f"{name} makes {job.rate:,.0f} tokens/s per GPU, the median is {median:,.0f}: look at {job.log}"
            )
        if job.rate is not None and job.expected is not None and job.rate < SLOW * job.expected:
            alarms.append(f"{name} makes {job.rate:,.0f} tokens/s per GPU, the profile expects {job.expected:,.0f}")
        if job.running and job.lives and now - job.lives[-1].get("at", now) > SILENT:
            alarms.append(f"{name} has not reported for {duration(now - job.lives[-1]['at'])}: look at {job.log}")
        if job.failed:
            why = (job.lives[-1]["ended"] if job.lives else None) or "without a word, as when it is killed"
            alarms.append(f"{name} ended: {why}; the end of {job.log}:\n{_tail(job.log)}")
    return alarms


def _tail(log: Path, lines: int = 5) -> str:
    try:
        return "\n".join("    " + line[:300] for line in log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def show_status(console: Console, folder: RunFolder, status: Status) -> None:
    """Print it."""
    of = "" if status.rows is None else f" of {status.rows:,} ({status.done / max(1, status.rows):.1%})"
    eta = "" if status.seconds_left is None else f", about {duration(status.seconds_left)} left"
    console.print(f"{folder.output}: {status.done:,}{of} documents committed{eta}", highlight=False, soft_wrap=True)
    counts = status.counts
    console.print(
        f"{counts['written']:,} samples, {counts['rejected']:,} rejected, {counts['failed']:,} failed; "
        f"{status.units_left:,} unit(s) left",
        highlight=False,
    )
    if status.jobs:
        table = Table()
        for name in ("job", "state", "node", "documents", "tokens/s per GPU", "over all", "retries", "restarts"):
            table.add_column(name, justify="left" if name in ("job", "state", "node") else "right")
        for job in status.jobs:
            gpus = max(1, job.lives[-1]["servers"]) if job.lives else 1
            over_all = job.total("completion_tokens") / job.seconds / gpus if job.seconds else 0.0
            ended = job.lives[-1]["ended"] if job.lives else None
            table.add_row(
                f"{job.submission}/{job.number}",
                job.state.lower() if job.state != "OVER" else (ended or "gone"),
                job.node,
                f"{job.total('documents'):,}",
                "-" if job.rate is None else f"{job.rate:,.0f}",
                f"{over_all:,.0f}",
                f"{job.total('retries'):,}",
                f"{max(0, len(job.lives) - 1)}",
            )
        console.print(table)
    if status.units_left and status.jobs and not any(job.alive for job in status.jobs):
        console.print("No job is at work: `pipelines/status.py RUN resume` submits what is left.", highlight=False)
    for alarm in status.alarms:
        console.print(Text(f"alarm: {alarm}", style="bold yellow"), soft_wrap=True)
