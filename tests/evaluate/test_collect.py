"""What the tools write, read back: scores, means over seeds, the table, the CSV file and the picture."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys

import pytest
import yaml

from blocks.evaluate.collect import arms, collect, noise, plot
from blocks.evaluate.suites import SUITES
from blocks.evaluate.targets import FINAL
from blocks.evaluate.tools.lighteval import GROUPS
from blocks.pretrain.ablation import load_ablation
from blocks.shards.folder import RunError
from tests.conftest import ROOT

TASKS = [task for tasks in GROUPS.values() for task in tasks]


def finephrase(value: float, without: str = "", **changed: float) -> dict[str, object]:
    """lighteval's results: all tasks with one score, but for some."""
    scores = {f"finephrase_{task}|3": changed.get(task, value) for task in TASKS if task not in (without, "mmlu_redux")}
    scores |= {"finephrase_mmlu_redux:anatomy|3": 0.9, "finephrase_mmlu_redux:virology|3": 0.0}
    scores |= {"finephrase_mmlu_redux:_average|3": changed.get("mmlu_redux", value), "all": 0.7}
    return {"results": {name: {"prob_norm_token": score, "acc_norm_token": 1.0} for name, score in scores.items()}}


def evaluated(folder, content=None, file="results/results/model/results_2026-01-01T00-00-00.json"):
    """A folder as a script leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluate.sh").touch()
    if content is not None:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        (folder / "done").touch()
    return folder


def read(tmp_path, suite, content, file):
    return SUITES[suite].read(evaluated(tmp_path / suite, content, file) / "results")


def test_the_study_s_groups_and_means(tmp_path):
    folder = evaluated(tmp_path, finephrase(0.1, gsm8k=0.4, drop=0.3))
    evaluated(tmp_path, finephrase(0.9), "results/results/model/results_2025-12-31T00-00-00.json")  # an older one
    scores = SUITES["finephrase"].read(folder / "results")
    assert scores["RC"] == pytest.approx(0.2) and scores["MATH"] == 0.4 and scores["TABLE"] == pytest.approx(0.1)
    assert scores["overall"] == pytest.approx((0.1 + 0.2 + 0.1 + 0.1 + 0.4 + 0.1) / 6)
    assert scores["micro"] == pytest.approx((10 * 0.1 + 0.4 + 0.3) / 12)
    # Without one of its tasks there is no score for the whole.
    partly = SUITES["finephrase"].read(evaluated(tmp_path / "b", finephrase(0.1, without="piqa")) / "results")
    assert len(partly) == 11 and not {"overall", "micro", "RES"} & set(partly)


def test_what_the_other_tools_write(tmp_path):
    part = {"acc,none": 0.1, "acc_norm,none": 0.2, "exact_match,none": 0.3, "prompt_level_strict_acc,none": 0.4}
    names = ("ifeval", "bbh", "math_hard", "gpqa", "musr", "mmlu_pro")
    board = {"results": {"leaderboard": {"acc,none": 0.9}, **{f"leaderboard_{name}": part for name in names}}}
    scores = read(tmp_path, "open-llm-leaderboard", board, "results/m/results_2026-01-01.json")
    assert scores["overall"] == pytest.approx((0.4 + 0.2 + 0.3 + 0.2 + 0.2 + 0.1) / 6) and len(scores) == 7
    del board["results"]["leaderboard_musr"]
    assert "overall" not in read(tmp_path, "open-llm-leaderboard", board, "results/m/results_2026-01-01.json")

    rows = ",win_rate,length_controlled_winrate,avg_length,n_total\nm,40.5,37.25,1800,805\n"
    scores = read(tmp_path, "alpaca-eval", rows, "results/judge/leaderboard.csv")
    assert scores == {
        "overall": 37.25,
        "length_controlled_winrate": 37.25,
        "win_rate": 40.5,
        "avg_length": 1800,
        "n_total": 805,
    }

    name = "results/20260101_000000/summary/20260101_000000/Subjective_all_results-judged-by--judge.csv"
    for suite, overall in (("mt-bench", "total"), ("mt-bench-101", "average"), ("arena-hard", "score")):
        table = f"Dataset,Detailed Scores,m\nd,{overall},7.5\nd,GR,6\nd,SI,\n"
        assert read(tmp_path, suite, table, name) == {"overall": 7.5, overall: 7.5, "GR": 6.0}
    assert read(tmp_path / "other", "mt-bench", "Dataset,Detailed Scores\n", name) == {}

    means = {"hard:freeform": 0.2, "hard:multichoice": 0.4, "easy:freeform": 0.6, "easy:multichoice": 0.7}
    judged = {f"judged_mixeval_{name}|0": {"judge_score": score} for name, score in means.items()}
    scores = read(tmp_path, "mixeval", {"results": judged}, "results/results/m/results_1.json")
    assert scores["overall"] == scores["hard"] == pytest.approx(0.3) and scores["easy"] == pytest.approx(0.65)
    assert all(suite.read(tmp_path / "nowhere") == {} for suite in SUITES.values())


@pytest.fixture
def compared(tmp_path):
    """An ablation of two arms with two seeds, evaluated at two steps, but for one training at the last."""
    told = {"training": {"model": "1.7b", "steps": 10}, "seeds": [1, 2]}
    told["arms"] = {"faq": {"faq": {"tokens": "t/faq"}}, "web": {"web": {"tokens": "t/web"}}}
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(told))
    for name, value in (("faq-seed1", 0.20), ("faq-seed2", 0.22), ("web-seed1", 0.11), ("web-seed2", 0.13)):
        evaluated(tmp_path / f"out/{name}/500/finephrase", finephrase(value - 0.05))
        evaluated(tmp_path / f"out/{name}/1000/finephrase", finephrase(value))
    evaluated(tmp_path / "out/web-seed2/1500/finephrase", finephrase(0.5))
    evaluated(tmp_path / "out/baseline/final/finephrase", finephrase(0.15))
    return tmp_path


def test_arms_are_compared_at_a_step_that_all_have(compared):
    ablation = load_ablation(compared / "ablation.yaml")
    found = collect(compared / "out")
    faq, web = arms(found, ablation)
    assert (faq.step, web.step) == (1000, 1000)
    assert faq.mean == pytest.approx(0.21) and web.mean == pytest.approx(0.12)
    assert faq.sd == pytest.approx(math.sqrt(2 * 0.01**2)) and [
        one.step for one in found if one.model == "baseline"
    ] == [FINAL]
    assert noise(ablation) == pytest.approx(1.96 * 0.0027)  # two seeds: √(2/2)
    with pytest.raises(RunError, match="all 4 trainings were evaluated; nothing of faq-seed1"):
        arms([one for one in found if one.model != "faq-seed1"], ablation)


def run(*options):
    command = [sys.executable, ROOT / "pipelines/eval_suite.py", *options]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_the_table_the_file_and_the_picture(compared):
    done = run("collect", compared / "out", "--csv", compared / "s.csv", "--plot", compared / "s.svg")
    assert done.returncode == 0, done.stderr
    assert "0.2200" in done.stdout and "1,000" in done.stdout
    with (compared / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 * 20 and rows[0]["suite"] == "finephrase"
    assert {
        "model": "baseline",
        "step": "",
        "suite": "finephrase",
        "score": "overall",
        "value": rows[0]["value"],
    } == rows[0]
    picture = (compared / "s.svg").read_text()
    assert picture.count("<!-- faq-seed1 -->") == 1 and "<!-- baseline -->" in picture and "<!-- steps -->" in picture

    done = run("collect", compared / "out", "--ablation", compared / "ablation.yaml", "--plot", compared / "a.svg")
    assert done.returncode == 0 and "0.2100" in done.stdout and "-0.0900" in done.stdout and "0.0053" in done.stdout
    picture = (compared / "a.svg").read_text()
    assert "<!-- faq -->" in picture and "faq-seed1" not in picture


def test_what_is_missing_is_told(compared, tmp_path):
    evaluated(compared / "out/late/500/finephrase", finephrase(0.1, without="drop"))
    evaluated(compared / "out/late/1000/finephrase")
    done = run("collect", compared / "out")
    assert (
        done.returncode == 1
        and "2 of 12 evaluations are not complete, such as late/finephrase" in done.stdout + done.stderr
    )
    (compared / "out/faq-seed1/1000/finephrase/done").unlink()  # its tool wrote scores, and then it failed
    assert "3 of 12 evaluations are not complete" in run("collect", compared / "out").stdout
    assert arms(collect(compared / "out"), load_ablation(compared / "ablation.yaml"))[0].step == 500
    assert "no evaluations here" in (
        run("collect", tmp_path / "none").stderr + run("collect", tmp_path / "none").stdout
    )
    with pytest.raises(RunError, match="no complete evaluation to draw"):
        plot([one for one in collect(compared / "out") if one.model == "late"], tmp_path / "p.png")
