"""Runs on a real Slurm: submitted, preempted, stopped, killed; and in the end each sample exactly once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import (
    ROOT,
    samples,
    summary,
)
from tests.slurm import Slurm


def each_once(run: Path) -> None:
    assert Counter(row["id"] for row in samples(run)) == {
        f"doc-{i}/{name}": 1 for i in range(60) for name in ("faq", "table")
    }
    result = summary(run)
    assert result["complete"] and result["written"] == {"faq": 60, "table": 60}


def log(run: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((run / "state" / "launches").rglob("*.log")))


def test_an_array_of_jobs_shares_a_run(slurm, submit, mock, tmp_path):
    job = submit(mock)
    slurm.wait(lambda: not slurm.queue(job), "end")
    each_once(tmp_path / "run"), log(tmp_path / "run")
    hosts = {path.name for path in (tmp_path / "run" / "state" / "launches" / "0001").iterdir()}
    assert hosts >= {"0.log", "1.log", "job.json", "job.sh", "options.yaml"}
    assert len(mock.requests()) == 120
    assert submit(mock) == ""  # nothing is left


def running(slurm: Slurm, job: str, count: int = 2) -> Callable[[], bool]:
    return lambda: sum(" RUNNING" in line for line in slurm.queue(job)) >= count


def begun(mock: Any, requests: int) -> Callable[[], bool]:
    return lambda: len(mock.requests()) >= requests


def status(run: Path, *arguments: object) -> str:
    command = [sys.executable, ROOT / "pipelines" / "status.py", run, *arguments]
    environment = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_last_worker_died_before_it_moved_its_files(slurm, submit, mock, tmp_path):
    job = submit(mock)
    slurm.wait(lambda: not slurm.queue(job), "end")
    run = tmp_path / "run"
    state = run / "state"
    record = json.loads((state / "commits" / "00003-00000.json").read_text())
    for file in record["files"]:
        staged = state / "staging" / f"00003-00000.{record['token']}" / file["path"]
        staged.parent.mkdir(parents=True, exist_ok=True)
        (run / file["path"]).rename(staged)
    (run / "summary.json").unlink()
    assert submit(mock) == ""
    each_once(run)


def test_requeued_in_the_middle(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "0.3")
    job = submit(mock, "--max-in-flight", 4)
    slurm.wait(begun(mock, 30), "requests")
    slurm.run("scontrol", "requeue", f"{job}_0")
    slurm.wait(lambda: not slurm.queue(job), "end")
    each_once(tmp_path / "run")
    assert len(mock.requests()) < 120 + 20, "what was answered was asked again"


def test_preempted_by_more_urgent_work(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "1")
    job = submit(mock, "--max-in-flight", 2)
    slurm.wait(begun(mock, 10), "requests")
    slurm.run("sbatch", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null", "--wrap", "sleep 3")
    slurm.wait(lambda: "PENDING" in str(slurm.queue(job)), "preemption")
    slurm.wait(lambda: not slurm.queue(), "end", 120)
    each_once(tmp_path / "run")
    assert len(mock.requests()) < 120 + 10, "what was answered was asked again"


def test_drained_by_a_signal_and_back_in_the_queue(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "0.5")
    job = submit(mock, "--max-in-flight", 4)
    slurm.wait(begun(mock, 20), "requests")
    slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_0")
    slurm.wait(lambda: not slurm.queue(job), "end")
    assert "back into the queue" in log(tmp_path / "run")
    each_once(tmp_path / "run")
    assert len(mock.requests()) == 120, "something that was under way was lost"


def test_watched_stopped_and_resumed(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "0.5")
    run = tmp_path / "run"
    job = submit(mock, "--max-in-flight", 2, jobs=3)  # the third one waits
    slurm.wait(begun(mock, 30), "requests")
    shown = status(run)
    assert re.search(r"0001/0 +│ running +│ n1", shown) and re.search(r"0001/2 +│ pending", shown), shown
    assert "of 60 (" in shown and "unit(s) left" in shown
    assert "3 job(s) of this run wait or are at work already" in status(run, "resume")
    assert len(slurm.queue(job)) == len(slurm.queue()), "another array beside the one that runs"

    assert f"told {job} to stop" in status(run, "stop")
    slurm.wait(lambda: not slurm.queue(job), "end")
    assert "told to stop" in status(run)
    asked = len(mock.requests())
    assert asked < 120

    assert "submitted job" in status(run, "resume")
    slurm.wait(lambda: not slurm.queue(), "end")
    each_once(run)
    assert len(mock.requests()) == 120, "an answer that was under way when it was stopped was lost"
    shown = status(run)
    assert "60 of 60 (100.0%) documents committed" in shown and re.search(r"0002/0 +│ done", shown)
    assert shown.count("alarm") == 0


def test_rows_and_formats_are_added_while_jobs_are_at_work(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "0.6")
    run = tmp_path / "run"
    job = submit(mock, "--max-in-flight", 2, "--limit", 30)
    slurm.wait(begun(mock, 4), "requests")
    assert submit(mock, "--max-in-flight", 2) == ""
    more = ["--max-in-flight", 2, "--formats", "faq,table,tutorial"]
    assert submit(mock, *more) == ""
    slurm.wait(lambda: not slurm.queue(job), "end", 90)
    assert Counter(row["id"] for row in samples(run)) == {
        f"doc-{i}/{name}": 1 for i in range(60) for name in ("faq", "table")
    }
    assert not summary(run)["complete"], "nobody has made the tutorials"
    job = submit(mock, *more)
    assert job
    slurm.wait(lambda: not slurm.queue(job), "end", 90)
    assert summary(run)["complete"] and summary(run)["written"] == {"faq": 60, "table": 60, "tutorial": 60}


def test_the_time_limit_comes(slurm, submit, start_mock, tmp_path):
    """Slurm warns up to a minute early, so with less than two minutes it may come before a job can listen."""
    mock = start_mock("--latency", "1.5")
    job = submit(mock, "--max-in-flight", 1, jobs=1, time="00:02:00", sbatch={"signal": "B:USR1@55"})
    slurm.wait(lambda: "back into the queue" in log(tmp_path / "run"), "warning", 150)
    asked = len(mock.requests())
    slurm.run("scontrol", "update", f"jobid={job}", "timelimit=30")
    slurm.wait(lambda: len(mock.requests()) > asked, "second life", 90)
    slurm.run("scancel", job)
    slurm.wait(lambda: not slurm.queue(job), "end")


def test_a_node_daemon_is_killed_and_started_again(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "0.3")
    job = submit(mock, "--max-in-flight", 4)
    slurm.wait(begun(mock, 20), "requests")
    slurm.kill_node("n1")
    time.sleep(3)
    slurm.start_node("n1")
    slurm.wait(lambda: not slurm.queue(job), "end")
    each_once(tmp_path / "run")


def test_no_secret_is_written(slurm, submit, start_mock, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canary_token")
    monkeypatch.setenv("MY_KEY", "canary-key")
    mock = start_mock("--key", "canary-key")
    job = submit(mock, "--api-key-env", "MY_KEY")
    slurm.wait(lambda: not slurm.queue(job), "end")
    each_once(tmp_path / "run")
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 30
    assert not [path for path in files if b"canary" in path.read_bytes()]
