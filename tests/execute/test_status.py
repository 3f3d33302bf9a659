"""What a run on a cluster says about itself, and which of it is an alarm."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from blocks.execute.report import Report, reports_of
from blocks.execute.status import Watch, show_status
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.run import begin_run
from tests.conftest import documents, write_parquet
from tests.shards.steps import execute, planned


def life(began: float, tokens: int, rate: float, ended: str | None = None, at: float | None = None) -> dict[str, Any]:
    return {
        "job": "1", "host": "h", "node": "n1", "life": 0, "servers": 8, "began": began, "at": at or time.time(),
        "ended": ended, "rate": rate, "totals": {"documents": 10, "completion_tokens": tokens, "retries": 1},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of 20 documents, half of them done, on a machine without Slurm."""
    monkeypatch.setenv("PATH", "")
    source = write_parquet(tmp_path / "in.parquet", documents(20), row_group_size=5)
    made = planned(tmp_path / "run", source, 5)
    begin_run(made, {}, {"faq": "x"}, {}, {})
    execute(made, 5, rank=0, tasks=2)
    return made


def submitted(folder: RunFolder, jobs: list[list[dict[str, Any]]], rate: float | None = None) -> Path:
    here = folder.state / "launches" / "0001"
    here.mkdir(parents=True)
    (here / "job.json").write_bytes(orjson.dumps({"id": "1", "jobs": len(jobs), "rate": rate}))
    for number, lives in enumerate(jobs):
        (here / str(number)).mkdir()
        for count, told in enumerate(lives):
            (here / str(number) / f"report-{count}.json").write_bytes(orjson.dumps(told))
    return here


def shown(folder: RunFolder) -> str:
    said = io.StringIO()
    show_status(Console(file=said, width=200), folder, Watch(folder).look())
    return said.getvalue()


def test_what_is_done_and_what_is_left(folder):
    now = time.time()
    submitted(folder, [[life(now - 100, 8000, 30, "told to stop", now - 50), life(now - 40, 3200, 10)]])
    said = shown(folder)
    assert (
        "10 of 20 (50.0%) documents committed, about 0:0" in said and "20 samples" in said and "2 unit(s) left" in said
    )
    row = next(line for line in said.splitlines() if "0001/0" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["0001/0", "unknown", "n1", "20", "10", "16", "2", "1"]
    assert "alarm" not in said


def test_a_job_that_is_slower_than_the_others(folder):
    now = time.time()
    submitted(folder, [[life(now - 60, 1, rate)] for rate in (100, 110, 90, 40)])
    said = shown(folder)
    assert said.count("alarm") == 1 and "job 0001/3 on n1 makes 40 tokens/s per GPU, the median is 95" in said


def test_all_jobs_are_slower_than_expected(folder):
    submitted(folder, [[life(time.time() - 60, 1, rate)] for rate in (100, 110)], rate=9000)
    assert shown(folder).count("the profile expects 9,000") == 2


def test_a_job_that_is_silent_and_one_that_failed(folder):
    now = time.time()
    failed = life(now - 60, 1, 0, "RunError: the server keeps failing")
    here = submitted(folder, [[life(now - 900, 1, 5, at=now - 600)], [failed]])
    (here / "1.log").write_text("".join(f"line {n}\n" for n in range(20)))
    said = shown(folder)
    assert "job 0001/0 on n1 has not reported for 0:10:00" in said
    assert "job 0001/1 on n1 ended: RunError: the server keeps failing" in said and "line 19" in said
    assert "line 14" not in said


def test_jobs_that_died_without_a_word(folder, monkeypatch, tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\nexit 0\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    submitted(folder, [[life(time.time() - 60, 1, 5)], []])
    said = shown(folder)
    assert said.count("ended: without a word") == 2
    squeue.write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
    assert "alarm" not in shown(folder)  # who knows


def test_before_anything_was_submitted(folder, tmp_path):
    assert "10 of 20" in shown(folder)
    with pytest.raises(RunError, match="there is no run"):
        Watch(RunFolder.at(str(tmp_path / "none")))


def test_reports_of_several_lives(tmp_path, monkeypatch):
    for count in ("0", "1", "10"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        report = Report(tmp_path, 4)
        assert reports_of(tmp_path)[-1]["rate"] is None  # it has only begun
        report.update({"completion_tokens": 100})
        report.update({"completion_tokens": 100_000})  # too soon
        report.end("done")
    assert [(told["life"], told["totals"]["completion_tokens"], told["ended"]) for told in reports_of(tmp_path)] == [
        (0, 100, "done"),
        (1, 100, "done"),
        (10, 100, "done"),
    ]
