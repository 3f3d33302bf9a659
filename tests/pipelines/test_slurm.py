"""Runs on a real Slurm: submitted, preempted, stopped, killed; and in the end each sample exactly once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.execute.status import find_jobs
from blocks.shards.folder import RunFolder
from tests.conftest import (
    ROOT,
    documents,
    endpoint,
    fake_vllm,
    finephrase,
    samples,
    start_slurm,
    summary,
    write_parquet,
)
from tests.generate.small_tokenizers import make_tokenizer
from tests.pipelines.test_judge import judge
from tests.pipelines.test_publish import REPO, Hub, published
from tests.slurm import Slurm


@pytest.fixture
def three_nodes() -> Iterator[Slurm]:
    yield from start_slurm(3)


@pytest.fixture
def submit(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Submit `finephrase.py` over 60 documents in units of 5; the id of the array."""
    source = write_parquet(tmp_path / "in.parquet", documents(60), row_group_size=5)
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("FINEMILL_LEASE_SECONDS", "5")

    def call(server: Any, *arguments: object, **profile: object) -> str:
        file = tmp_path / "cluster.yaml"
        file.write_text(yaml.safe_dump({"jobs": 2, "cpus": 1, "warning": 65, **profile}))
        always = ["--input", source, "--output", tmp_path / "run", "--chunk-size", 5, "--formats", "faq,table"]
        done = finephrase(*always, *endpoint(server), "--cluster", file, *arguments)
        assert done.returncode == 0, done.stdout
        found = re.search(r"submitted job (\d+)", done.stdout)
        return found[1] if found else ""

    return call


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


def test_the_time_limit_comes(slurm, submit, start_mock, tmp_path):
    """The warning comes at once here: Slurm's limits are whole minutes, and `warning` is longer than this one."""
    mock = start_mock("--latency", "1.5")
    job = submit(mock, "--max-in-flight", 1, jobs=1, time="00:01:00", sbatch={"signal": "B:USR1@55"})
    slurm.wait(lambda: "back into the queue" in log(tmp_path / "run"), "warning", 90)
    asked = len(mock.requests())
    slurm.run("scontrol", "update", f"jobid={job}", "timelimit=30")
    slurm.wait(lambda: len(mock.requests()) > asked, "second life", 90)
    slurm.run("scancel", job)
    slurm.wait(lambda: not slurm.queue(job), "end")


def test_killed_at_its_time_limit_and_resumed(slurm, submit, start_mock, tmp_path):
    """Without a warning: `signal` of the profile is taken away. Slurm looks at limits every half minute."""
    mock = start_mock("--latency", "1")
    job = submit(mock, "--max-in-flight", 1, jobs=1, time="00:01:00", sbatch={"signal": None})
    slurm.wait(lambda: not slurm.queue(job), "time limit", 150)
    assert "TIMEOUT" in slurm.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T")
    run = tmp_path / "run"
    asked = len(mock.requests())
    assert 20 < asked < 110
    assert "No job is at work" in status(run)
    submit(mock, "--max-in-flight", 20)
    slurm.wait(lambda: not slurm.queue(), "end")
    each_once(run)
    assert len(mock.requests()) <= 120 + 1, "what was answered was asked again"


def test_one_run_waits_for_another(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "0.3")
    run, judged = tmp_path / "run", tmp_path / "judged"
    profile = tmp_path / "cluster.yaml"
    arguments = ["--input", run / "shards", "--output", judged, "--rubric", "format", "--cluster", profile]
    profile.write_text("jobs: 1")
    early = judge(mock, *arguments, "--after", run)
    assert early.returncode == 1 and "there is no run" in early.stdout
    job = submit(mock, "--max-in-flight", 4)
    put_off = judge(mock, *arguments, "--after", run)
    assert put_off.returncode == 0 and f"which waits for {job}" in put_off.stdout, put_off.stdout
    assert not judged.exists()
    slurm.wait(lambda: not slurm.queue(), "end", 120)
    each_once(run)
    assert "submitted job" in (run / "state" / "followers" / "0001" / "job.log").read_text()
    assert Counter(row["id"] for row in samples(judged)) == Counter(row["id"] for row in samples(run))
    done = judge(mock, *arguments, "--after", run)
    assert done.returncode == 0 and "there is nothing to submit" in done.stdout


def test_published_when_its_jobs_are_over(slurm, mock, tmp_path, monkeypatch):
    there = Hub(tmp_path / "hub")
    try:
        for name, value in there.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
        source = write_parquet(tmp_path / "in.parquet", documents(20), row_group_size=5)
        (tmp_path / "cluster.yaml").write_text("jobs: 2\ncpus: 1")
        asked = ["--input", source, "--output", f"hf://datasets/{REPO}", "--chunk-size", 5, "--formats", "faq"]
        done = finephrase(*asked, *endpoint(mock), "--cluster", tmp_path / "cluster.yaml", cwd=tmp_path)
        assert done.returncode == 0 and f"which publishes to {REPO} afterwards" in done.stdout, done.stdout
        slurm.wait(lambda: not slurm.queue(), "end", 90)
        log = tmp_path / "runs" / "org--made" / "state" / "followers" / "0001" / "job.log"
        assert "20 samples in 1 file(s)" in log.read_text()
        assert len(published(there.files())) == 20
    finally:
        there.process.kill()


def test_what_failed_is_submitted_again(slurm, submit, start_mock, tmp_path):
    mended = tmp_path / "mended"
    mock = start_mock("--mended", str(mended))
    rows = [
        {**row, "text": f"{row['text']} {'MOCK-BROKEN' if i % 6 == 0 else ''}"} for i, row in enumerate(documents(60))
    ]
    write_parquet(tmp_path / "in.parquet", rows, row_group_size=5)
    run = tmp_path / "run"
    job = submit(mock, "--max-failure-rate", 1)
    slurm.wait(lambda: not slurm.queue(job), "end", 90)
    assert 3 < sum(summary(run)["failed"].values()) < 20
    mended.touch()
    assert "submitted job" in status(run, "retry-failed")
    slurm.wait(lambda: not slurm.queue(), "end")
    each_once(run)
    assert summary(run)["failed"] == {}


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


def test_work_moves_away_from_nodes_that_are_slow_or_die(three_nodes, tmp_path, monkeypatch):
    """Every job starts servers of its own, as with vLLM; that of n1 is ten times as slow, the job on n3 is killed."""
    program = fake_vllm(tmp_path / "bin")
    setup = f"""
export PATH={program.parent}:$PATH CUDA_VISIBLE_DEVICES=0 FAKE_VLLM_LATENCY=0.3
if [ "$SLURMD_NODENAME" = n1 ]; then FAKE_VLLM_LATENCY=3; fi
"""
    monkeypatch.setenv("SLURM_CONF", three_nodes.environment["SLURM_CONF"])
    monkeypatch.setenv("FINEMILL_LEASE_SECONDS", "5")
    run, model = tmp_path / "run", tmp_path / "model"
    make_tokenizer(model, "plain")
    source = write_parquet(tmp_path / "in.parquet", documents(120), row_group_size=4)
    profile = tmp_path / "cluster.yaml"
    profile.write_text(yaml.safe_dump({"jobs": 3, "cpus": 2, "warning": 65, "setup": setup, "requeue": False}))
    asked = ["--formats", "faq,table", "--verify", "off", "--max-in-flight", 4, "--chunk-size", 4, "--model", model]
    done = finephrase("--input", source, "--output", run, *asked, "--cluster", profile)
    assert done.returncode == 0, done.stdout
    job = three_nodes.queue()[0].split("_")[0]
    by_node: dict[str, int] = {}

    def n3_is_at_work() -> bool:
        by_node.update({job.node: job.total("documents") for job in find_jobs(RunFolder.at(str(run)))})
        return by_node.get("n3", 0) >= 4

    three_nodes.wait(n3_is_at_work, "work on n3")
    [victim] = [line.split()[0] for line in three_nodes.queue(job) if line.endswith(" n3")]
    three_nodes.run("scancel", "--signal=KILL", "--full", victim)
    three_nodes.wait(lambda: not three_nodes.queue(job), "end", 120)
    assert Counter(row["id"] for row in samples(run)) == {
        f"doc-{i}/{n}": 1 for i in range(120) for n in ("faq", "table")
    }
    by_node = {job.node: job.total("documents") for job in find_jobs(RunFolder.at(str(run)))}
    assert by_node["n1"] < by_node["n2"] / 3, by_node
