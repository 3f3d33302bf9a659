"""Whose time it was: rates of workers that were started one after another, and hours of GPUs."""

from pathlib import Path

import orjson
import pytest

from blocks.report.timeline import Timeline, gpu_hours
from blocks.shards.commit import Commit
from blocks.shards.folder import RunFolder


def commit(number: int, at: float, worker: str, tokens: int) -> Commit:
    tally = {"numbers": {"completion_tokens": tokens}, "documents": {"read": 10}}
    return Commit(f"{number:05d}-00000", number, 0, True, "t", [], tally, at=at, worker=worker)


def test_a_worker_begins_when_its_own_machine_was_launched():
    """Twelve machines of 1,000 tokens/s are started within ten minutes; the first commit of each takes ten."""
    timeline = Timeline()
    launches = [{"at": 50.0 * number, "host": f"n{number}"} for number in range(12)]
    for number, launch in enumerate(launches):
        for turn in range(1, 11):
            timeline.add(commit(100 * number + turn, launch["at"] + 600.0 * turn, f"n{number}:7", 600_000))
    assert [lane.rate for lane in timeline.lanes(launches)] == pytest.approx([1000.0] * 12)
    drawing = timeline.drawing(launches)
    assert drawing is not None and drawing["peak"] == pytest.approx(12_000, rel=0.02)
    former = [{"at": launch["at"]} for launch in launches]  # of a run that did not note where
    assert timeline.lanes(former)[0].began == 550.0


def test_what_jobs_did_later_is_not_charged_to_the_launch_before(tmp_path: Path):
    folder = RunFolder(str(tmp_path), tmp_path / "state")
    job = folder.state / "launches" / "0001" / "0"
    job.mkdir(parents=True)
    launches = [{"at": 1000.0, "gpus": 8, "job": False}, {"at": 5000.0, "gpus": 8, "job": True}]
    (folder.state / "launches.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in launches))
    told = {
        "node": "n",
        "host": "h",
        "servers": 8,
        "began": 5000,
        "at": 5000 + 72 * 3600,
        "ended": "done",
        "totals": {},
    }
    (job / "report-0.json").write_bytes(orjson.dumps(told))
    timeline = Timeline()
    timeline.add(commit(0, 1600.0, "local:1", 1))
    timeline.add(commit(1, 5000.0 + 72 * 3600, "n:2", 1))
    assert gpu_hours(folder, {"server": "vllm"}, timeline) == pytest.approx(8 * 600 / 3600 + 8 * 72)
