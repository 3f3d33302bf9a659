"""Halving and completion from end to end, with a scripted teacher."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, rejected, samples, shards, summary, write_jsonl, write_parquet
from tests.generate.small_tokenizers import make_tokenizer

SCRIPT = ROOT / "pipelines" / "noninstruct.py"
WORDS = [f"{a}{b}{c}" for a in "bdklmnprst" for b in "aeiou" for c in "nrst"]


def texts(count):
    dice = random.Random(3)
    return [" ".join(dice.choices(WORDS, k=dice.randint(80, 160))).capitalize() + "." for _ in range(count)]


def command(*arguments):
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(*arguments, code=0):
    done = subprocess.run(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, cwd="/"
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def teacher(server):
    return ["--server", "endpoint", "--endpoint", server.url, "--tokenizer", "none"]


def test_drawn_cut_and_completed(tmp_path, start_mock):
    """Two hundred of a thousand documents, whatever the files and tasks; the same cuts in both arms."""
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts(1000))]
    write_jsonl(tmp_path / "one" / "all.jsonl", rows)
    write_jsonl(tmp_path / "two" / "a.jsonl", rows[:300][::-1])
    write_parquet(tmp_path / "two" / "b.parquet", rows[300:], row_group_size=50)
    known = write_jsonl(tmp_path / "known.jsonl", rows[::5])
    server = start_mock("--completes", "--knows", str(known))
    always = ["--documents", 200, *teacher(server)]
    said = run("--input", tmp_path / "one", "--output", tmp_path / "first", *always)
    assert "200 documents drawn" in said
    run(
        "--input",
        tmp_path / "two",
        "--output",
        tmp_path / "second",
        *always,
        "--tasks",
        3,
        "--workers",
        2,
        "--chunk-size",
        50,
    )
    run("--input", tmp_path / "one", "--output", tmp_path / "control", *always, "--arm", "original")
    found = {row["id"]: row for row in samples(tmp_path / "first")}
    told = summary(tmp_path / "first")
    assert told["read"] == 200 == len(found) + sum(told["rejected"].values())
    assert told["documents"]["excluded"] == 800
    again = {row["id"]: row for row in samples(tmp_path / "second")}
    assert {name: row["completion"] for name, row in found.items()} == {
        n: row["completion"] for n, row in again.items()
    }
    control = {row["id"]: row for row in samples(tmp_path / "control")}
    source = {row["id"]: row["text"] for row in rows}
    assert len(control) == 200 and set(found) <= set(control)
    for name, row in control.items():
        assert row["text"] == source[name] and row["arm"] == "original" and row["model"] is None
        assert 0.25 <= row["cut_fraction"] <= 0.75
    for name, row in found.items():
        assert row["prompt"] == control[name]["prompt"] and row["text"].startswith(row["prompt"])
        assert control[name]["completion"] not in row["completion"]
        assert row["messages"][1] == {"role": "assistant", "content": row["completion"]}
        assert (row["arm"], row["teacher_prompt"], row["model"]) == ("teacher", "bare", "mock")
    reasons = {row["id"]: row["reason"] for row in rejected(tmp_path / "first")}
    assert set(reasons.values()) == {"near_verbatim", "too_short_completion"}
    by_heart = {row["id"] for row in rows[::5]} & set(control)
    assert len(by_heart) > 20
    assert {name for name, reason in reasons.items() if reason == "near_verbatim"} == by_heart


def test_killed_at_random_moments(tmp_path, start_mock):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": one} for n, one in enumerate(texts(400))])
    common = ["--input", source, "--documents", 150, "--chunk-size", 40, "--max-in-flight", 8]
    run(*common, "--output", tmp_path / "whole", *teacher(start_mock("--completes")))
    slow = teacher(start_mock("--completes", "--latency", "0.2"))
    dice, kills = random.Random(5), 0
    for _ in range(6):
        again = command(*common, "--output", tmp_path / "killed", *slow)
        process = subprocess.Popen(again, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.8, 2.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 3
    run(*common, "--output", tmp_path / "killed", *slow)
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    assert rejected(tmp_path / "killed") == rejected(tmp_path / "whole")


@pytest.mark.parametrize("arm", ["teacher", "original"])
def test_a_judge_leaves_out_what_is_instructional(tmp_path, start_mock, arm):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": one} for n, one in enumerate(texts(80))])
    teaching, judging = start_mock("--completes"), start_mock()
    judge = {"rubric": "instructional", "endpoint": judging.url, "tokenizer": "none"}
    said = run(
        "--input", source, "--output", tmp_path / "run", *teacher(teaching), "--arm", arm, "--judge", json.dumps(judge)
    )  # fmt: skip
    rows, told = samples(tmp_path / "run"), summary(tmp_path / "run")
    assert rows and {row["judge_score"] for row in rows} == {3.0} and all(row["judge_feedback"] for row in rows)
    left_out = [row for row in rejected(tmp_path / "run") if row["reason"] == "judge_instructional"]
    assert left_out and all(row["detail"][0] in "12" for row in left_out)
    judged = told["checks"]["judge_instructional"]["formats"]["completions"]
    assert judged["passed"] == len(rows) and judged["rejected"] == len(left_out)
    assert sum(judged["values"].values()) == len(judging.requests()), "every label is counted"
    assert (arm == "original") == (not teaching.requests()) and "judge_instructional" in said


def costs(server):
    """What each answer in a server's log costs, at 2,000 and 10,000 per million tokens."""
    usages = [entry["usage"] for entry in server.requests()]
    return [(2000 * usage["prompt_tokens"] + 10_000 * usage["completion_tokens"]) / 1e6 for usage in usages]


def test_a_cluster_without_the_gpus_of_a_judge_is_told_before(tmp_path, mock, monkeypatch):
    """Also where the judge is the only model: the original second halves are nobody's answers."""
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": one} for n, one in enumerate(texts(3))])
    (tmp_path / "cluster.yaml").write_text("jobs: 1")
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "squeue"):
        (tmp_path / "bin" / name).symlink_to(shutil.which("false"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    judge = {"rubric": "instructional", "model": make_tokenizer(tmp_path / "judge", "plain")}
    common = ["--input", source, "--output", tmp_path / "run", *teacher(mock), "--arm", "original"]
    said = run(*common, "--judge", json.dumps(judge), "--cluster", tmp_path / "cluster.yaml", code=1)
    assert "a server of this run takes 1 GPU(s), and jobs of this profile get 0" in said


@pytest.mark.parametrize("workers", [1, 2])
def test_spending_stops_at_its_limit_and_goes_on_with_a_higher_one(tmp_path, start_mock, workers):
    count = 300 * workers**2
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": one} for n, one in enumerate(texts(count))])
    server = start_mock("--completes", "--latency", "0.1")
    in_flight = 8
    common = ["--input", source, "--documents", count, "--chunk-size", 40, "--max-in-flight", in_flight]
    common += ["--output", tmp_path / "run", *teacher(server), "--price", "2000,10000", "--workers", workers]
    said = run(*common, "--max-spending", 60, code=3)
    paid = sum(costs(server))
    # Two processes look at each other once a second, in which each sends at most 8 requests per 0.05 seconds.
    unseen = 0 if workers == 1 else 2 * in_flight * 1.5 / 0.05
    assert 60 <= paid <= 60 + (workers * in_flight + unseen) * max(costs(server))
    assert len(server.requests()) < 0.7 * count, "the limit is no limit"
    assert f"--max-spending is reached: {paid:,.2f} paid" in said
    before = len(server.requests())
    assert "--max-spending is reached" in run(*common, "--max-spending", 60, code=3)
    assert len(server.requests()) == before, "not even one request was sent again"

    whole = run(*common, "--max-spending", 10_000)
    asked = [entry["hash"] for entry in server.requests()]
    assert len(asked) == len(set(asked)) == count, "nothing was paid for twice"
    told = summary(tmp_path / "run")
    assert told["complete"] and told["read"] == count
    assert told["paid"] == pytest.approx(sum(costs(server))) and f"{told['paid']:,.2f}" in whole


def test_a_judge_is_paid_for_as_well(tmp_path, start_mock):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": one} for n, one in enumerate(texts(100))])
    teaching, judging = start_mock("--completes", "--latency", "0.1"), start_mock("--latency", "0.1")
    judge = {"rubric": "instructional", "endpoint": judging.url, "tokenizer": "none"}
    common = ["--input", source, "--output", tmp_path / "run", *teacher(teaching), "--max-in-flight", 4]
    common += ["--price", "2000,10000", "--max-spending", 60, "--judge"]
    assert "'price' of a judge" in " ".join(run(*common, json.dumps(judge), code=1).split())
    run(*common, json.dumps({**judge, "price": "2000,10000"}), code=3)
    paid = costs(teaching) + costs(judging)
    assert sum(costs(judging)) > 5 and 60 <= sum(paid) <= 60 + 2 * (4 + 4 * 1.5 / 0.05) * max(paid)
    assert len(teaching.requests()) < 100


def test_what_was_paid_survives_a_kill(tmp_path, start_mock):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": one} for n, one in enumerate(texts(300))])
    server = start_mock("--completes", "--latency", "0.1")
    common = ["--input", source, "--documents", 300, "--max-in-flight", 8, "--price", "2000,10000"]
    common += ["--output", tmp_path / "run", *teacher(server), "--max-spending", 60]
    process = subprocess.Popen(command(*common), start_new_session=True, stdout=subprocess.DEVNULL)
    while sum(costs(server)) < 20:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.3)  # what was on the wire is answered, and written to the server's log, after nobody listens any more
    unheard = 8
    run(*common, code=3)
    assert 60 <= sum(costs(server)) <= 60 + (8 + unheard) * max(costs(server))


def test_a_price_needs_an_endpoint_that_counts(tmp_path, start_mock):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "d", "text": texts(1)[0]}])
    server = start_mock("--completes", "--hides-usage")
    common = command("--input", source, "--output", tmp_path / "run", *teacher(server))
    refused = subprocess.run([*common, "--price", "1,2"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "does not say how many tokens" in refused.stdout + refused.stderr
    subprocess.run(common, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-spending", 5], "--max-spending needs the price of mock"),
        (["--price", "0.5"], "money per million tokens of prompts and of answers"),
        (["--price", "1,-2"], "money per million tokens of prompts and of answers"),
        (["--price", "nan,2"], "money per million tokens of prompts and of answers"),
    ],
)
def test_a_price_that_means_nothing_is_refused(tmp_path, mock, options, message):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "d", "text": texts(1)[0]}])
    refused = subprocess.run(
        command("--input", source, "--output", tmp_path / "run", *teacher(mock), *options),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1 and message in " ".join((refused.stdout + refused.stderr).split())


@pytest.mark.parametrize("prompt", ["bare", "onward"])
def test_a_dry_run_shows_the_request(tmp_path, mock, prompt):
    rows = [{"id": "one word", "text": "Word."}, {"id": "d", "text": texts(1)[0]}]  # the first cannot be halved
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    said = run("--input", source, "--output", tmp_path / "run", *teacher(mock), "--prompt", prompt, "--dry-run")
    assert texts(1)[0].split()[0] in said and ("Go on with the text" in said) == (prompt == "onward")
    assert not (tmp_path / "run").exists() and json.dumps("messages") in said
