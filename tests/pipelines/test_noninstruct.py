"""Halving and completion from end to end, with a scripted teacher."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, rejected, samples, shards, summary, write_jsonl, write_parquet

SCRIPT = ROOT / "pipelines" / "noninstruct.py"
WORDS = [f"{a}{b}{c}" for a in "bdklmnprst" for b in "aeiou" for c in "nrst"]


def texts(count):
    dice = random.Random(3)
    return [" ".join(dice.choices(WORDS, k=dice.randint(80, 160))).capitalize() + "." for _ in range(count)]


def command(*arguments):
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(*arguments):
    done = subprocess.run(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, cwd="/"
    )
    assert done.returncode == 0, done.stdout
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


@pytest.mark.parametrize("prompt", ["bare", "onward"])
def test_a_dry_run_shows_the_request(tmp_path, mock, prompt):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "d", "text": texts(1)[0]}])
    said = run("--input", source, "--output", tmp_path / "run", *teacher(mock), "--prompt", prompt, "--dry-run")
    assert texts(1)[0].split()[0] in said and ("Go on with the text" in said) == (prompt == "onward")
    assert not (tmp_path / "run").exists() and json.dumps("messages") in said
