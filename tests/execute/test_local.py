"""`LocalExecutor` with real processes: what happens to a run when its workers raise, die or are left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datatrove.pipeline.base import PipelineStep

from blocks.execute.local import LocalExecutor
from blocks.shards import meter
from blocks.shards.folder import RunError, TakenOver


class Touch(PipelineStep):
    """Leaves a file for its rank; misbehaves for rank 1 as told."""

    name, type = "touch", "test"

    def __init__(self, folder: Path, trouble: str = "") -> None:
        super().__init__()
        self.folder, self.trouble = folder, trouble

    def run(self, data=None, rank=0, world_size=1):
        with (self.folder / f"started-{rank}").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if rank == 1 and self.trouble == "raise":
            raise KeyError("no such thing")
        if rank == 1 and self.trouble == "run error":
            raise RunError("do this and that")
        if rank == 1 and self.trouble.startswith("die"):
            lives = len((self.folder / "started-1").read_text().split())
            if self.trouble == "die always" or lives == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        if rank == 1 and self.trouble == "taken over" and len((self.folder / "started-1").read_text().split()) == 1:
            raise TakenOver("another process works on it")
        if self.trouble == "sleep" or (rank == 0 and self.trouble in ("raise", "run error")):
            time.sleep(60)
        meter.add(documents=1)
        (self.folder / f"done-{rank}").touch()
        yield from ()


class Cores(PipelineStep):
    """Writes how many threads numerical libraries would start."""

    name, type = "cores", "test"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data=None, rank=0, world_size=1):
        (self.folder / f"threads-{rank}").write_text(os.environ.get("OMP_NUM_THREADS", "all"))
        yield from ()


def ranks(folder: Path) -> list[str]:
    return sorted(path.name.removeprefix("done-") for path in folder.glob("done-*"))


def executor(folder: Path, trouble: str = "", tasks: int = 3, workers: int = 2, **callbacks) -> LocalExecutor:
    return LocalExecutor([Touch(folder, trouble)], tasks, workers, folder / "logs", **callbacks)


def test_runs_every_task_once(tmp_path):
    seen: list[dict[str, int]] = []
    executor(tmp_path, tasks=7, workers=3, on_progress=seen.append).run()
    assert ranks(tmp_path) == [str(rank) for rank in range(7)]
    assert all(len((tmp_path / f"started-{rank}").read_text().split()) == 1 for rank in range(7))
    assert seen[-1]["documents"] == 7


def test_a_task_that_was_taken_over_begins_anew_in_another_process(tmp_path):
    """Its threads may sleep in a read: they must not wake up beside the new pipeline."""
    executor(tmp_path, "taken over", tasks=2, workers=1).run()
    assert ranks(tmp_path) == ["0", "1"]
    first, second = (tmp_path / "started-1").read_text().split()
    assert first != second


def test_closures_travel_to_workers(tmp_path):
    suffix = "made by a closure"

    def step(data, rank, world_size):
        (tmp_path / f"done-{rank}").write_text(suffix)

    LocalExecutor([step], 2, 2, tmp_path / "logs").run()
    assert ranks(tmp_path) == ["0", "1"]


@pytest.mark.parametrize(("trouble", "said"), [("raise", "KeyError"), ("run error", "do this and that")])
def test_an_error_in_a_task_ends_the_run(tmp_path, trouble, said):
    with pytest.raises(RunError, match=said):
        executor(tmp_path, trouble).run()
    assert ranks(tmp_path) == []  # task 0 was asleep and has been ended
    for started in tmp_path.glob("started-0"):  # unless the error was faster
        process, until = Path(f"/proc/{started.read_text().strip()}"), time.monotonic() + 10
        while process.exists() and time.monotonic() < until:  # it was killed; the kernel takes a moment
            time.sleep(0.05)
        assert not process.exists()


def test_a_killed_worker_is_replaced(tmp_path):
    seen: list[dict[str, int]] = []
    executor(tmp_path, "die once", on_progress=seen.append).run()
    assert ranks(tmp_path) == ["0", "1", "2"]
    assert seen[-1]["worker_deaths"] == 1


def test_a_task_that_kills_its_workers_ends_the_run(tmp_path):
    with pytest.raises(RunError, match=r"task 1 lost its worker process 3 times \(signal SIGKILL\)"):
        executor(tmp_path, "die always").run()


def test_watch_can_end_the_run(tmp_path):
    with pytest.raises(RunError, match="the server is gone"):
        executor(tmp_path, "sleep", watch=lambda: RunError("the server is gone")).run()
    pids = [int(pid) for path in tmp_path.glob("started-*") for pid in path.read_text().split()]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


LAUNCHER = """
import sys
from pathlib import Path
from tests.execute.test_local import executor

if __name__ == "__main__":
    executor(Path(sys.argv[1]), "sleep").run()
"""


def test_workers_end_with_a_killed_launcher(tmp_path):
    script = tmp_path / "launcher.py"
    script.write_text(LAUNCHER)
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, script, tmp_path], env={**os.environ, "PYTHONPATH": root})
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("started-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(path.read_text()) for path in tmp_path.glob("started-*")]
    assert len(pids) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize(("workers", "said", "threads"), [(1, None, "all"), (4, None, "SHARE"), (4, "5", "5")])
def test_workers_share_the_cores(tmp_path, workers, said, threads):
    """In a process of its own: the environment of workers is that in which the first of them was started."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if said:
        environment["OMP_NUM_THREADS"] = said
    program = (
        "import sys; from pathlib import Path; from tests.execute.test_local import Cores, LocalExecutor; "
        "folder = Path(sys.argv[1]); LocalExecutor([Cores(folder)], 4, int(sys.argv[2]), folder / 'logs').run()"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path, str(workers)], env=environment, check=True, timeout=120)
    share = str(max(1, len(os.sched_getaffinity(0)) // 4))
    assert [path.read_text() for path in tmp_path.glob("threads-*")] == [threads.replace("SHARE", share)] * 4
