"""The planner: published figures from published inputs, and its arithmetic against going through every unit."""

import heapq
import json
import subprocess
import sys

import pytest

from blocks.execute.planner import RATES, Conditions, Work, estimate, leased_wall, static_wall
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.run import RunRecord, save_run
from tests.conftest import ROOT

FINEPHRASE = Work(339_347_842, 486_367_076_933 / 339_347_842, 9200)
"""Source documents and completion tokens of the published dataset, and the rate that its authors reckoned with."""

DAY = 86_400


def test_the_published_budget():
    assert round(FINEPHRASE.server_seconds / DAY) == 612
    found = estimate(FINEPHRASE, Conditions(jobs=100, gpus=1, limit=None, spread=2.3, start=300))
    assert 6.0 < found.ideal / DAY < 6.2
    assert 6.0 < found.wall / DAY < 6.3  # with leases
    assert 13.5 < found.static / DAY < 14.5  # "two weeks"
    assert found.tail < 0.05 and found.starting < 0.05 and found.chunk_size == 5000


def every_unit(units: int, unit: float, speeds: list[float]) -> float:
    free = [(0.0, number) for number in range(len(speeds))]
    for _ in range(units):
        at, number = heapq.heappop(free)
        heapq.heappush(free, (at + unit / speeds[number], number))
    return max(at for at, _ in free)


@pytest.mark.parametrize("units", [1, 7, 640, 5000])
@pytest.mark.parametrize("speeds", [[1.0], [1.0, 1.0, 0.1], [0.5, 0.8, 1.2, 1.5]])
def test_leased_wall_is_that_of_going_through_every_unit(units, speeds):
    assert leased_wall(units, 3.0, speeds) == pytest.approx(every_unit(units, 3.0, speeds), rel=0.01)


def test_one_slow_worker_costs_a_unit_or_everything():
    assert leased_wall(210, 1.0, [1, 1, 0.1]) == pytest.approx(100, rel=0.1)
    assert static_wall(210, [1, 1, 0.1]) == pytest.approx(700)


def test_restarts_cost_their_starts():
    work = Work(10_000_000, 1400, 9220)
    calm = estimate(work, Conditions(jobs=4, limit=None))
    short = estimate(work, Conditions(jobs=4, limit=3600))
    assert calm.lives == 1 and calm.starting < 0.01
    assert short.lives > 14 and short.starting > 0.05 and short.wall > calm.wall
    preempted = estimate(work, Conditions(jobs=4, limit=None, preemptions=24))
    assert preempted.wall == pytest.approx(short.wall)


def test_a_server_lies_within_a_job():
    assert Conditions(jobs=3, gpus=8, gpus_per_server=3).servers == 6


def test_small_runs_get_small_units():
    found = estimate(Work(20_000, 1400, 9220), Conditions(jobs=12))
    assert found.units >= 12 and found.chunk_size <= 20_000 // 12


@pytest.mark.parametrize(
    ("under", "message"),
    [(Conditions(jobs=8, gpus=1, gpus_per_server=2), "holds no server"), (Conditions(jobs=1, limit=200), "do nothing")],
)
def test_what_cannot_be(under, message):
    with pytest.raises(RunError, match=message):
        estimate(Work(10, 10, 10), under)


def plan(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "pipelines" / "plan.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_on_the_command_line():
    shown = plan("--documents", FINEPHRASE.documents, "--tokens", FINEPHRASE.tokens, "--rate", 9200, "--jobs", 100,
                 "--gpus", 1, "--spread", 2.3, "--price", 2).stdout  # fmt: skip
    assert "612" in shown and "6.1 days" in shown and "14.1 days" in shown and "29,461" in shown
    assert (
        "9,220 tokens/s per server, 96" in plan("--documents", 1000, "--cluster", ROOT / "slurm" / "h100.yaml").stdout
    )
    unknown = plan("--documents", 10, "--model", "me/mine")
    assert unknown.returncode == 1 and "--calibrate" in unknown.stdout
    assert RATES["HuggingFaceTB/SmolLM2-1.7B-Instruct"] == 9220


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokens", 10, "--asked", 0.5], "--asked change nothing where --tokens"),
        (["--calibrate", "run", "--asked", 0.5, "--formats", "faq"], "--formats and --asked change nothing where"),
        (["--formats", " , "], "nothing is asked for"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments, message):
    done = plan("--documents", 10, *arguments)
    assert done.returncode == 1 and message in " ".join(done.stdout.split())


def test_formats_are_known_by_their_names():
    shown = plan("--documents", 10, "--formats", "faq, table").stdout
    assert "(698 per document)" in shown and "assumed" not in shown
    shown = " ".join(plan("--documents", 10, "--formats", "faq,tabel").stdout.split())
    assert "(782 per document)" in shown and "tabel: 350 tokens per document are assumed" in shown


def test_calibrated_on_a_machine_with_several_gpus(tmp_path):
    made = {"done": 20, "completion_tokens": 500, "completion_tokens_per_second": 8.0}
    (tmp_path / "summary.json").write_text(json.dumps(made))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "launches.jsonl").write_text('{"at": 1, "gpus": 4, "job": false}\n')
    for config, tokens, gpus in (({"endpoint": None}, 2, 4), ({"endpoint": "http://there"}, 8, 1)):
        save_run(RunFolder.at(str(tmp_path)), RunRecord({}, {}, {}, [[]], config))
        shown = " ".join(plan("--documents", 100, "--calibrate", tmp_path, "--gpus", 1).stdout.split())
        assert f"{tokens} tokens/s" in shown and f"was done with {gpus} GPU(s)" in shown


def test_calibrated_on_a_run(tmp_path):
    (tmp_path / "summary.json").write_text(
        '{"done": 20, "completion_tokens": 500, "completion_tokens_per_second": 8.0}'
    )
    shown = plan("--documents", 100, "--calibrate", tmp_path, "--gpus", 1)
    assert "2,500 (25 per document)" in shown.stdout and "8 tokens/s" in shown.stdout
    assert "no summary.json" in plan("--documents", 1, "--calibrate", tmp_path / "none").stdout
