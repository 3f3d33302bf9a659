"""`LocalExecutor`: runs the tasks of a pipeline in worker processes of this machine and survives what happens to them.

datatrove's `LocalPipelineExecutor` waits forever when a worker is killed or raises. Here the launching process watches
its workers by their process handles: a worker that was killed is replaced and its task starts again (what was answered
is in the journal), an error in a task ends the run with that one error, and a worker whose parent is gone ends itself.
It is datatrove's own kind (`PipelineExecutor`), so pipelines move between the two unchanged.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import multiprocess
from datatrove.executor.base import DistributedEnvVars, PipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from multiprocess import forkserver

from blocks.shards import meter
from blocks.shards.folder import RunError, TakenOver

MAX_DEATHS = 3
"""Times a task's worker may be killed in one launch before the run gives up: it is then the task that kills it."""

REPORT_PERIOD = 0.5
"""Seconds between two reports of a worker."""

NEEDED_LATER = ("datatrove.pipeline.dedup.minhash",)
"""Modules that steps import only in the middle of their work."""

STOP_GRACE = 10.0
"""Seconds that workers get to sync their journals when the run is stopped."""


LIMIT_REACHED = 3
"""Exit code of a run that has stopped at its limit of spending: what waits for its end must not take it for done."""


class Drained(SystemExit):
    """The run has stopped before its end: all that was answered is kept.

    Exits with code 0 where it was told to stop, with `LIMIT_REACHED` at its limit of spending.
    """


class LocalExecutor(PipelineExecutor):
    """Run `tasks` tasks of a pipeline in `workers` processes.

    Args:
        pipeline: the steps; they are pickled to the workers.
        tasks: number of tasks, the pipeline's world size.
        workers: processes at a time.
        logging_dir: a local folder for logs and stats.
        on_progress: called about twice a second in this process with the totals of all workers.
        watch: called about twice a second; an exception that it returns (a model server that cannot be kept alive) ends
            the run.
        drain_seconds: how long `drain` waits for answers.
    """

    def __init__(
        self,
        pipeline: Sequence[PipelineStep | Callable[..., Any]],
        tasks: int,
        workers: int,
        logging_dir: Path,
        on_progress: Callable[[dict[str, int]], None] | None = None,
        watch: Callable[[], Exception | None] | None = None,
        drain_seconds: float = 60.0,
    ) -> None:
        # The commit records say what is done; datatrove's completion markers would skip a task whose input has grown.
        super().__init__(list(pipeline), str(logging_dir), skip_completed=False)
        self.tasks, self.workers = tasks, min(workers, tasks)
        self.log_folder = logging_dir
        self._on_progress, self._watch = on_progress, watch
        self.drain_seconds = drain_seconds
        self._draining = False
        self.limit_reached = False  # of spending

    def drain(self) -> None:
        """Let `run` end soon; may be called by a signal handler.

        Workers send nothing new, and wait for the answers that are under way.
        """
        self._draining = True

    @property
    def world_size(self) -> int:
        """Number of tasks."""
        return self.tasks

    def get_distributed_env(self, node_rank: int = -1) -> DistributedEnvVars:
        """What datatrove wants to know of the machine: one node, nothing else."""
        return DistributedEnvVars(
            datatrove_node_ips="localhost",
            datatrove_cpus_per_task="-1",
            datatrove_mem_per_cpu="-1",
            datatrove_gpus_on_node="-1",
            datatrove_executor="LOCAL",
        )

    def __getstate__(self) -> dict[str, Any]:
        """Workers need the pipeline, not the launcher's callbacks."""
        return {**self.__dict__, "_on_progress": None, "_watch": None}

    def run(self) -> None:
        """Run every task.

        Raises:
            RunError: a task raised, or its worker was killed again and again, or `watch` found a reason to stop.
            Drained: `drain` was called.
        """
        if not self.log_folder.is_dir():
            self.log_folder.mkdir(parents=True)
        todo = deque(range(self.tasks))
        deaths: Counter[int] = Counter()
        past: Counter[str] = Counter()
        workers = [_Worker(self, number) for number in range(self.workers)]
        try:
            while todo or any(worker.rank is not None for worker in workers):
                if self._draining:
                    self._drain(workers)
                for worker in workers:
                    if worker.rank is None and todo:
                        worker.start(todo.popleft())
                self._wait(workers)
                for worker in workers:
                    worker.read()
                    if worker.error is not None:
                        raise RunError(worker.error)
                    if worker.taken_over is not None:
                        todo.append(worker.taken_over)
                        past.update(worker.totals)
                        worker.join(STOP_GRACE)
                        worker.reset()
                    if worker.died:
                        rank, code = worker.rank, worker.process.exitcode
                        past.update(worker.totals)
                        worker.reset()
                        if rank is not None:
                            deaths[rank] += 1
                            past["worker_deaths"] += 1
                            if deaths[rank] >= MAX_DEATHS:
                                raise RunError(
                                    f"task {rank} lost its worker process {MAX_DEATHS} times ({_exit(code)}); is the "
                                    f"machine out of memory? Logs: {self.log_folder}"
                                )
                            todo.appendleft(rank)
                self._report(past, workers)
                busy = [worker for worker in workers if worker.rank is not None]
                if busy and all(worker.totals.get("limit_reached") for worker in busy):
                    self.limit_reached = self._draining = True
                if self._watch is not None and (problem := self._watch()) is not None:
                    raise problem
            self._report(past, workers)
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join(STOP_GRACE)

    def _drain(self, workers: list[_Worker]) -> None:
        busy = [worker for worker in workers if worker.rank is not None]
        for worker in busy:
            worker.drain()
        deadline = time.monotonic() + self.drain_seconds + STOP_GRACE
        for worker in busy:
            worker.join(max(0.0, deadline - time.monotonic()))
        raise Drained(LIMIT_REACHED if self.limit_reached else 0)

    def _wait(self, workers: list[_Worker]) -> None:
        handles: list[Any] = []
        for worker in workers:
            if worker.rank is not None:
                handles += [worker.connection, worker.process.sentinel]
        wait(handles, timeout=REPORT_PERIOD)

    def _report(self, past: Counter[str], workers: list[_Worker]) -> None:
        if self._on_progress is not None:
            totals = Counter(past)
            for worker in workers:
                totals.update(worker.totals)
            self._on_progress(dict(totals))


def start_forkserver() -> Any:
    """The context that makes workers; call it early, so that their imports are done when they are needed.

    Workers are forked from a process of their own, which has imported what the launcher had and runs no threads of
    Python: importing once takes less time and memory than in every worker, and no lock is inherited in a held state.
    """
    # loguru would show the values of variables with a traceback, and those can be anybody's secrets.
    os.environ.setdefault("LOGURU_DIAGNOSE", "NO")
    context = multiprocess.get_context("forkserver")
    loaded = [name for name in sys.modules if name.startswith("blocks.")]
    context.set_forkserver_preload([*loaded, *NEEDED_LATER])
    forkserver.ensure_running()
    return context


class _Worker:
    """A worker process as the launcher sees it; started with its first task, reused for the next ones."""

    def __init__(self, executor: LocalExecutor, number: int) -> None:
        self._executor, self._number = executor, number
        self.reset()

    def reset(self) -> None:
        self.process: Any = None
        self.connection: Any = None
        self.rank: int | None = None
        self.error: str | None = None
        self.taken_over: int | None = None  # a rank that has to begin anew
        self.totals: dict[str, int] = {}

    @property
    def died(self) -> bool:
        return self.process is not None and self.process.exitcode is not None

    def start(self, rank: int) -> None:
        self.rank = rank
        if self.process is None:
            context = start_forkserver()
            self.connection, theirs = context.Pipe()
            log = self._executor.log_folder / f"worker-{self._number}.log"
            self.process = context.Process(
                target=_work, args=(self._executor, theirs, log), name=f"worker-{self._number}"
            )
            self.process.start()
            theirs.close()
        with suppress(OSError):  # the worker is gone; its sentinel says so
            self.connection.send(rank)

    def read(self) -> None:
        try:
            while self.connection is not None and self.connection.poll():
                kind, value = self.connection.recv()
                if kind == "totals":
                    self.totals = value
                elif kind == "done":
                    self.rank = None
                elif kind == "taken over":
                    self.rank, self.taken_over = None, self.rank
                elif kind == "error":
                    self.error = value
        except (EOFError, OSError):
            if self.process is not None:
                self.process.join(1.0)

    def drain(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGUSR1)

    def stop(self) -> None:
        if self.process is not None and self.process.exitcode is None:
            self.process.terminate()

    def join(self, grace: float) -> None:
        if self.process is not None:
            self.process.join(grace)
            if self.process.exitcode is None:
                self.process.kill()
                self.process.join()


def _work(executor: LocalExecutor, connection: Connection[Any, Any], log: Path) -> None:
    """The worker process: take a rank, run it, say how it went."""
    _end_with_parent()
    _share_cores(executor.workers)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # unwinds the pipeline, which syncs the journals
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the launcher decides
    signal.signal(signal.SIGUSR1, lambda *_: _drain_in_background(executor.drain_seconds))
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    sending = threading.Lock()

    def send(kind: str, value: Any = None) -> None:
        with sending:
            connection.send((kind, value))

    def report() -> None:
        with suppress(OSError):  # the launcher has gone, and so will this process
            while True:
                time.sleep(REPORT_PERIOD)
                send("totals", meter.totals())

    threading.Thread(target=report, name="finemill-report", daemon=True).start()
    pipeline = executor.pipeline
    while True:
        rank = connection.recv()
        executor.pipeline = deepcopy(pipeline)
        try:
            executor._run_for_rank(rank)
        except TakenOver as error:
            logger.warning(str(error))
            send("totals", meter.totals())
            send("taken over")
            return  # threads of the pipeline may still sleep in a read; they must not wake up beside the next one
        except RunError as error:
            send("error", str(error))
        except Exception as error:
            send("error", f"task {rank} stopped with {type(error).__name__}: {error} (see {log})")
        else:
            send("totals", meter.totals())
            send("done")


def _drain_in_background(seconds: float) -> None:
    from blocks.generate.drain import drain

    def drain_and_end() -> None:
        drain(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=drain_and_end, name="finemill-drain", daemon=True).start()


def _share_cores(workers: int) -> None:
    """Let torch and FAISS, which steps import later, take this worker's share of the cores, unless the user has said.

    They start a thread per core, which wait for each other: workers that compete for the cores are slower than one. A
    share stays as it is when the others have nothing left to do. With the number of threads the last bits of an
    embedding change (by 1e-7, measured), as they do between machines.
    """
    if workers > 1:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // workers)))


def _end_with_parent() -> None:
    """End this process when the launcher is gone, however it went."""

    def watch() -> None:
        wait([multiprocess.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="finemill-parent", daemon=True).start()


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
