"""What a run will take: GPU-hours, days, money, and how much of it starting, stragglers and preemptions eat.

The published FinePhrase took twice its ideal time: as many ranks as workers, each with a fixed part, so that all waited
for the slowest (arXiv 2604.13977; see `static_wall`). Here workers lease units until none is left (`leased_wall`), so
what the slowest can cost is one unit.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from blocks.shards.folder import RunError

RATES = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": 45_540,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 23_996,
    "google/gemma-3-270m-it": 23_585,
    "Qwen/Qwen3-0.6B": 14_069,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 9_220,
    "google/gemma-3-1b-it": 16_762,
    "Qwen/Qwen3-1.7B": 12_313,
    "google/gemma-3-4b-it": 9_253,
    "Qwen/Qwen3-4B": 8_086,
    "Qwen/Qwen3-8B": 6_443,
    "google/gemma-3-12b-it": 3_046,
    "Qwen/Qwen3-14B": 4_549,
    "openai/gpt-oss-20b": 14_671,
    "google/gemma-3-27b-it": 1_724,
    "Qwen/Qwen3-30B-A3B": 5_310,
    "Qwen/Qwen3-32B": 2_078,
    "openai/gpt-oss-120b": 6_117,
}
"""Completion tokens per second and GPU (H100) in FinePhrase's benchmark (tutorial prompt, 8,192 tokens of context, best
settings). Its production runs reached 29 % of such rates on average, so measure your own: `--calibrate`."""

TOKENS = {"faq": 432.0, "math": 271.0, "table": 266.0, "tutorial": 429.0}
"""Completion tokens per document by format: means of the published ablations with SmolLM2-1.7B."""

OTHER_TOKENS = 350.0
"""The same for other formats."""

SHARE = 0.05
"""Share of the whole that starting servers, and the tail at the end, may take."""


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Args:
        documents: how many.
        tokens: completion tokens per document, over all formats.
        rate: completion tokens per second and server.
    """

    documents: int
    tokens: float
    rate: float

    @property
    def server_seconds(self) -> float:
        """Time that one server would take."""
        return self.documents * self.tokens / self.rate


@dataclass(frozen=True)
class Conditions:
    """With what it is done.

    Args:
        jobs: at a time.
        gpus: per job.
        gpus_per_server: GPUs that one server takes.
        start: seconds from the start of a job to its first answer.
        limit: seconds that a job may run; None for as long as it takes.
        preemptions: of a job per day.
        spread: how many times as long as the average worker the slowest takes for the same.
        in_flight: documents that a worker has in its window.
    """

    jobs: int
    gpus: int = 8
    gpus_per_server: int = 1
    start: float = 300.0
    limit: float | None = 86_400.0
    preemptions: float = 0.0
    spread: float = 1.5
    in_flight: int = 768

    @property
    def servers(self) -> int:
        """Model servers at a time; none goes over the GPUs of two jobs."""
        return self.jobs * (self.gpus // self.gpus_per_server)

    @property
    def speeds(self) -> list[float]:
        """Speed of each job relative to the average: evenly spread, the slowest 1/`spread`."""
        slowest = 1 / self.spread
        step = 2 * (1 - slowest) / max(1, self.jobs - 1)
        return [slowest + step * number for number in range(self.jobs)] if self.jobs > 1 else [1.0]


@dataclass(frozen=True)
class Estimate:
    """What comes out; times in seconds.

    Args:
        ideal: wall time if nothing were lost.
        wall: wall time.
        static: wall time with a fixed part of the input for each job, as published.
        gpu_hours: GPU-hours that are held, idle ones included.
        chunk_size: documents per unit.
        units: how many.
        lives: how often a job starts.
        starting: share of the time that starting takes.
        tail: share of the time in which not all jobs have work left.
    """

    ideal: float
    wall: float
    static: float
    gpu_hours: float
    chunk_size: int
    units: int
    lives: float
    starting: float
    tail: float


def estimate(work: Work, under: Conditions, chunk_size: int | None = None) -> Estimate:
    """Estimate a run.

    Args:
        work: what is to be done.
        under: with what.
        chunk_size: documents per unit; None chooses it.

    Raises:
        RunError: there are too few GPUs for one server, or no time between two starts.
    """
    if under.servers < 1:
        raise RunError(f"a job of {under.gpus} GPU(s) holds no server of {under.gpus_per_server} GPU(s)")
    ideal = work.server_seconds / under.servers
    # Between two starts of a job lies its limit, or a preemption.
    per_second = (1 / under.limit if under.limit else 0.0) + under.preemptions / 86_400
    useful = 1 - under.start * per_second
    if useful <= 0:
        raise RunError(f"jobs that start for {under.start:.0f} s do nothing else under these limits")
    per_document = work.tokens / (work.rate * under.servers / under.jobs)  # seconds of one job
    size = chunk_size or _chunk_size(work, under, ideal, per_document)
    units = -(-work.documents // size)
    busy = leased_wall(units, size * per_document, under.speeds)
    wall = busy / useful + under.start
    lives = 1 + wall * per_second
    return Estimate(
        ideal=ideal,
        wall=wall,
        static=static_wall(units * size * per_document, under.speeds) / useful + under.start,
        gpu_hours=wall * under.jobs * under.gpus / 3600,
        chunk_size=size,
        units=units,
        lives=lives,
        starting=lives * under.start / wall,
        tail=1 - units * size * per_document / sum(under.speeds) / busy,
    )


def _chunk_size(work: Work, under: Conditions, ideal: float, per_document: float) -> int:
    """Documents per unit: as many as the slowest job does in a fifth of the tail that is allowed, within reason.

    A unit smaller than what is in flight would only be claimed ahead by a worker that cannot begin it yet.
    """
    wanted = SHARE / 5 * ideal / (per_document * under.spread)
    return int(min(5000, max(under.in_flight, wanted), max(1, work.documents // under.jobs)))


def leased_wall(units: int, unit: float, speeds: Sequence[float]) -> float:
    """Seconds until the last of `units` units is done, each of which takes an average worker `unit` seconds.

    Whoever is free takes the next one. For many units it is computed without going through all of them.
    """
    alike = max(0, units - 200 * len(speeds))  # so long before the end nobody is ever idle
    begun = alike * unit / sum(speeds)
    free = [(begun, number) for number in range(len(speeds))]
    last = begun
    for _ in range(units - alike):
        at, number = heapq.heappop(free)
        at += unit / speeds[number]
        last = max(last, at)
        heapq.heappush(free, (at, number))
    return last


def static_wall(seconds: float, speeds: Sequence[float]) -> float:
    """Seconds until the slowest worker has done its fixed part, of `seconds` for one average worker in all."""
    return seconds / len(speeds) / min(speeds)
