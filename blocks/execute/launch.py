"""A launch: everything around a pipeline's steps that every job of finemill needs.

with launch(folder, record_of_the_run) as run:
    run.plan(files, chunk_size, limit)
    if not run.submitted(options, [model]):
        for part in run.passes():
            run.execute([ReadUnits(part, …), Rephrase(…), WriteShards(part, …)], tasks, workers)
        run.summary()
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from datatrove.pipeline.base import PipelineStep
from rich.console import Console

from blocks.execute.cluster import DRAIN, Cluster, changed_options, job_folder, jobs_at_work, requeue, stopped, submit
from blocks.execute.local import LIMIT_REACHED, Drained, LocalExecutor, start_forkserver
from blocks.execute.progress import display
from blocks.execute.report import LIMIT, Report
from blocks.generate.generate import Generate
from blocks.generate.model import Model
from blocks.generate.placement import visible_gpus
from blocks.shards.commit import pending_units, recover
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.leases import live_leases, recover_abandoned, settle, somebody_is_gone
from blocks.shards.paid import paid
from blocks.shards.plan import Unit, extend_plan, hold_chunk_size, load_plan, planned_rows, save_plan
from blocks.shards.retry import begin_retry
from blocks.shards.run import RunRecord, load_run
from blocks.shards.source import InputFile, list_files
from blocks.shards.summary import log_launch, summarize


class Launch:
    """One launch of a run, holding its lock; made by `launch`."""

    def __init__(self, folder: RunFolder, record: RunRecord, console: Console, cluster: Cluster | None = None) -> None:
        self.folder, self.record, self.console, self.cluster = folder, record, console, cluster
        self.units: list[Unit] = []
        self.chunk_size = 0
        self.stopping: signal.Signals | None = None
        self.is_finishing = False
        self._rows_left: dict[int, int] = {}
        self._executor: LocalExecutor | None = None
        here = job_folder()
        self.report = None if here is None else Report(here, len(visible_gpus()))

    def plan(self, files: Sequence[InputFile], chunk_size: int, limit: int | None, grow: bool = True) -> None:
        """Write the plan, or grow the one there is unless `grow` is False.

        Raises:
            RunError: the input changed under the plan.
        """
        hold_chunk_size(self.folder.state, chunk_size)
        path = self.folder.state / "plan.jsonl"
        before = load_plan(path)
        self.chunk_size = chunk_size
        # What the jobs of a cluster have to do was settled when they were submitted.
        if self.report is not None or (before and not grow):
            self.units = before
            return
        self.units = extend_plan(before, files, chunk_size, limit)
        if len(self.units) > len(before):
            save_plan(path, self.units)
        planned = planned_rows(before)
        if limit is not None and before and (planned is None or planned > limit):
            rows = "everything" if planned is None else f"{planned:,} rows"
            self.console.print(f"The plan of this run has {rows} already; --limit {limit:,} does not shrink it.")

    def pending_passes(self) -> list[tuple[RunFolder, list[str]]]:
        """Passes with work left for this launch: the folder as this pass sees it, and its formats."""
        while True:
            passes, others = [], False
            if self.folder.shared:  # another launch may have added input
                self.units = load_plan(self.folder.state / "plan.jsonl")
            leased = {lease["unit"] for lease in live_leases(self.folder)} if self.folder.shared else set()
            for number, formats in self._passes():
                folder = self.record.seen_by(self.folder, number)
                pending = list(pending_units(folder, self.units))
                # Of a unit that was not counted nobody knows; then the display shows no total either.
                self._rows_left[number] = sum((unit.rows or 0) - len(done) * self.chunk_size for unit, done in pending)
                if any(folder.unit_name(unit.number) not in leased for unit, _ in pending):
                    passes.append((folder, formats))
                elif pending:
                    others = True
            if passes:
                return passes
            if not others:
                self.console.print("All of the plan is committed; there is nothing to do.")
                return []
            if not somebody_is_gone(self.folder):
                self.console.print("Other jobs are at work on all that is left; there is nothing to do.")
                return []

    def passes(self) -> Iterator[tuple[RunFolder, list[str]]]:
        """The same, again and again where other jobs may leave work behind, until nothing is left."""
        while passes := self.pending_passes():
            yield from passes
            if not self.folder.shared:
                return

    @property
    def units_left(self) -> int:
        """Units that are not committed in some pass, whoever is at work on them."""
        passes = (self.record.seen_by(self.folder, number) for number, _ in self._passes())
        return max(len(list(pending_units(folder, self.units))) for folder in passes)

    def _passes(self) -> Iterator[tuple[int, list[str]]]:
        """Numbers and formats of the passes that are this launch's; see `partly` of `begin_run`."""
        return ((number, formats) for number, formats in enumerate(self.record.passes) if formats)

    def retry_failed(self) -> None:
        """Add a pass that asks again about what failed.

        Raises:
            RunError: the run is not complete.
        """
        # A job may have been killed between committing a chunk and moving the file that tells what failed in it.
        recover_abandoned(self.folder) if self.folder.shared else recover(self.folder)
        passes = {number: self.record.seen_by(self.folder, number) for number in range(len(self.record.passes))}
        pending = [number for number, folder in passes.items() if any(pending_units(folder, self.units))]
        if any(number not in self.record.retries for number in pending):
            raise RunError("this run is not complete: go on with it first, without --retry-failed")
        if pending:
            self.console.print("The retry that was begun goes on.")
            return
        count = begin_retry(self.folder, self.record, self.units)
        self.console.print(f"{count:,} document(s) and sample(s) failed; they are asked for again", highlight=False)

    def submitted(
        self,
        options: Mapping[str, Any],
        models: Sequence[Model],
        unfinished: Callable[[], bool] = lambda: False,
        asks: bool = True,
    ) -> bool:
        """Submit what is left to do to the cluster, where there is one; True when this launch is over then.

        Args:
            options: of the command line.
            models: those that the run asks, the one of `options` first; none for a pipeline without one.
            unfinished: whether something is to be done when all of the plan is committed; asked only then.
            asks: whether the model of `options` is among `models`; there may be a judge without one.

        Raises:
            RunError: see `submit`.
        """
        if self.cluster is None:
            return False
        left = self.units_left
        if not left:
            self.summary()  # its last worker may have been killed before that
            if not unfinished():
                self.console.print("All of the plan is committed; there is nothing to submit.")
                return True
        at_work = jobs_at_work(self.folder)
        jobs = min(self.cluster.jobs, max(1, left)) - at_work
        if jobs < 1:
            self.console.print(
                f"{at_work} job(s) of this run wait or are at work already; nothing is submitted. For more at a time, "
                f"raise `jobs` in the profile.",
                soft_wrap=True,
            )
            if changed := changed_options(self.folder, options):
                self.console.print(
                    f"They were submitted with another {', '.join(changed)}: give this command once more when they "
                    f"have ended.",
                    soft_wrap=True,
                )
            return True
        job = submit(self.cluster, self.folder, options, models, jobs, asks)
        self.console.print(f"submitted job {job}: {jobs} job(s) for {left:,} unit(s)", highlight=False)
        return True

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Around work that follows when all is committed: a job that is stopped in it goes back into the queue."""
        self.is_finishing = True
        yield
        self.is_finishing = False

    def stop(self, number: int, _frame: Any = None) -> None:
        """Handler of a signal that asks for an end: at once for SIGTERM, after the answers under way for SIGUSR1."""
        self.stopping = signal.Signals(number)
        if self._executor is None or number == signal.SIGTERM:
            raise Drained(0)
        self._executor.drain()

    def execute(
        self,
        folder: RunFolder,
        pipeline: Sequence[PipelineStep],
        tasks: int,
        workers: int,
        *watches: Callable[[], Exception | None] | None,
    ) -> None:
        """Run a pipeline over everything that its pass has not committed.

        Args:
            folder: the run as this pass sees it.
            pipeline: the steps.
            tasks: parts of the input.
            workers: processes at a time.
            watches: each tells of a reason to stop, such as a model server that cannot be kept alive.

        Raises:
            RunError: see `LocalExecutor.run`.
        """
        # Of a retry pass only a few rows are read, and of a run that others work on only a part.
        rows = planned_rows(self.units) if folder.retries is None and not folder.shared else None
        done = 0 if rows is None else rows - self._rows_left[folder.pass_number]

        def watch() -> Exception | None:
            return next((problem for look in watches if look is not None and (problem := look()) is not None), None)

        if folder.shared:
            tasks = workers  # who leases units needs no other parts
        if folder.retries is not None:
            for step in pipeline:
                if isinstance(step, Generate):
                    step.max_failure_rate = 1.0  # documents that have failed before may well fail again

        def tell(totals: dict[str, int]) -> None:
            shown.update(totals)
            if self.report is not None:
                self.report.update(totals)

        with display(self.console, rows, done) as shown:
            seconds = float(os.environ.get(DRAIN, 60))
            logs = job_folder() or folder.state / "logs"
            self._executor = LocalExecutor(pipeline, tasks, workers, logs, tell, watch, seconds)
            try:
                self._executor.run()
            except Drained:
                if self._executor.limit_reached:
                    money = paid(self.folder.state)
                    self.console.print(
                        f"--max-spending is reached: {money:,.2f} paid, and all that was paid for is kept. The same "
                        f"command with a higher one goes on.",
                        highlight=False,
                        soft_wrap=True,
                    )
                raise
            finally:
                self._executor = None

    def summary(self) -> dict[str, Any]:
        """Compute `summary.json` from the commit records, when no worker of this launch is left."""
        # A worker may have been killed between committing a chunk and moving its files.
        recover_abandoned(self.folder) if self.folder.shared else recover(self.folder)
        if self.folder.shared:
            self.units = load_plan(self.folder.state / "plan.jsonl")
            if not self.units_left:
                settle(self.folder)  # who reads a complete run lists its files
        with self.folder.alone("summary"):
            # Another launch may have added a pass meanwhile; without that the run is not complete.
            return summarize(self.folder, load_run(self.folder) or self.record, self.units)


def plan_run(folder: RunFolder, source: str, chunk_size: int, limit: int | None = None) -> None:
    """Prepare a run for a script of one's own: clear up after a kill, write or grow the plan.

    Such a script runs alone on its folder, and does not change what shapes its samples between two launches: there is
    no `run.yaml` to hold it to that.

    Args:
        folder: the run folder.
        source: the input, as `--input` takes it.
        chunk_size: rows per chunk; the same in `ReadUnits`.
        limit: rows to plan, None for all.

    Raises:
        RunError: the folder cannot be written, or the input is missing or changed under the plan.
    """
    folder.prepare()
    recover(folder)
    path = folder.state / "plan.jsonl"
    hold_chunk_size(folder.state, chunk_size)
    save_plan(path, extend_plan(load_plan(path), list_files(source), chunk_size, limit))


def sum_up(folder: RunFolder) -> dict[str, Any]:
    """Compute `summary.json` of a script of one's own, after its pipeline has run; see `summarize`."""
    recover(folder)
    record = load_run(folder) or RunRecord({}, {}, {}, [[]], {})
    return summarize(folder, record, load_plan(folder.state / "plan.jsonl"))


@contextmanager
def launch(
    folder: RunFolder, begin: Callable[[], RunRecord], console: Console, cluster: Cluster | None = None
) -> Iterator[Launch]:
    """Take the run's lock, check that it is the same run, and clear up after a former launch that was killed.

    Args:
        folder: the run folder.
        begin: creates or checks the run's record; called under the lock.
        console: for messages and progress.
        cluster: where the run is to be submitted.

    Raises:
        RunError: the folder cannot be written, is in use, or holds another run.
    """
    in_job = job_folder() is not None
    if in_job or cluster is not None:
        folder = replace(folder, shared=True)
    else:
        start_forkserver()
    folder.prepare()
    with folder.lock(), ExitStack() as alone:
        if cluster is not None and not in_job:
            alone.enter_context(folder.alone("submission"))
        run = Launch(folder, begin(), console, None if in_job else cluster)
        if not folder.shared:
            recover(folder)
        if run.cluster is None:
            log_launch(folder, len(visible_gpus()), in_job)
        if in_job:
            alone.enter_context(_job(run))
        yield run


@contextmanager
def _job(run: Launch) -> Iterator[None]:
    """A job of a cluster: it ends when it is told to, and goes back into the queue if there is work left."""
    assert run.report is not None
    handled = (signal.SIGUSR1, signal.SIGTERM)
    start_forkserver()
    for number in handled:
        signal.signal(number, run.stop)
    try:
        if stopped():  # while it was on its way back into the queue
            raise Drained(0)
        yield
    except Drained as drained:
        for number in handled:
            signal.signal(number, signal.SIG_IGN)
        left = run.is_finishing or run.units_left > 0
        again = run.stopping is signal.SIGUSR1 and not stopped() and left
        why = LIMIT if drained.code == LIMIT_REACHED else "told to stop"
        run.report.end(why)
        run.console.print(f"{why}; what was answered is kept{', back into the queue' if again else ''}")
        if again and not requeue():
            run.console.print("Slurm does not take it back: what is left wants `pipelines/status.py RUN resume`")
        raise
    except BaseException as error:
        run.report.end(f"{type(error).__name__}: {error}")
        raise
    run.report.end("done")
