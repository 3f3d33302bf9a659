"""Alarms: what a summary says about a run that went wrong, computed from commit records of a real pipeline."""

from __future__ import annotations

import json
import random

import pytest

from blocks.shards.alarms import find_alarms
from blocks.shards.commit import load_commits
from blocks.shards.plan import load_plan
from blocks.shards.run import RunRecord
from blocks.shards.summary import summarize
from tests.conftest import write_jsonl
from tests.shards.steps import Echo, execute, planned


def run(tmp_path, texts, chunk_size=300):
    """The summary of a run that makes each text a sample; some words make it refuse or fail."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    folder = planned(tmp_path / "run", path, chunk_size)
    execute(folder, chunk_size, [Echo(["faq"])])
    summary = summarize(folder, RunRecord({}, {}, {}, [["faq"]], {}), load_plan(folder.state / "plan.jsonl"))
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    return folder, summary


def different(count):
    dice = random.Random(1)
    syllables = [f"{a}{b}" for a in "bdklmnprst" for b in "aeiou"]
    return [" ".join("".join(dice.choices(syllables, k=3)) for _ in range(30)) for _ in range(count)]


def raised(summary):
    return {(alarm["format"], alarm["measure"]): alarm for alarm in summary["alarms"]}


def test_a_sound_run_raises_none(tmp_path):
    folder, summary = run(tmp_path, different(300), chunk_size=150)
    assert summary["alarms"] == []
    assert summary["diversity"]["faq"]["samples"] == 300 and summary["diversity"]["faq"]["shards"] == 2
    records = [file for commit in load_commits(folder) for file in commit.files]
    assert [file.diversity["samples"] for file in records] == [150, 150]


def test_samples_that_begin_alike_and_repeat(tmp_path):
    same = "In this tutorial we will learn, step by step, how to do everything that the document talks about, and why. "
    texts = [same + text if i % 4 else text for i, text in enumerate(different(140))]
    _, summary = run(tmp_path, [*texts, *texts[:60]])
    alarms = raised(summary)
    assert set(alarms) == {("faq", "beginnings"), ("faq", "near_duplicates")}
    assert 0.7 < alarms["faq", "beginnings"]["value"] < 0.8
    assert "In this tutorial" in alarms["faq", "beginnings"]["text"]


@pytest.mark.parametrize(("bad", "expected"), [(61, {("faq", "refusal")}), (60, set())])
def test_a_reason_that_rejects_a_fifth(tmp_path, bad, expected):
    _, summary = run(tmp_path, ["refuse"] * bad + different(300 - bad))
    assert set(raised(summary)) == expected
    if expected:
        assert "20% of the samples are rejected: refusal (limit 20%)" in raised(summary)["faq", "refusal"]["text"]


def test_documents_and_failures(tmp_path):
    texts = [*different(130), *([""] * 70), *(["fail"] * 4)]
    _, summary = run(tmp_path, texts)
    alarms = raised(summary)
    assert set(alarms) == {("", "empty_text"), ("faq", "failed")}
    assert alarms["", "empty_text"]["value"] == round(70 / 204, 4)


def test_a_run_that_writes_nothing_says_so(tmp_path):
    """However few its documents are."""
    _, summary = run(tmp_path, ["refuse this"] * 3)
    assert [alarm["text"] for alarm in summary["alarms"]] == [
        "none of 3 documents gave a sample: look at some of them, in rejected/ or by their `checks`"
    ]


def test_what_was_asked_for_is_no_alarm_and_low_scores_have_advice_of_their_own():
    samples = {
        "requested": {"faq": 200},
        "rejected": {"faq": {"judge_usefulness": 90}},
        "failed": {},
        "written": {"faq": 110},
    }
    documents = {"read": 200, "rejected": {"no_format_suits": 150, "document_too_long": 60}}
    found = find_alarms({"documents": documents, "samples": samples, "checks": {}, "diversity": {}})
    assert [alarm["measure"] for alarm in found] == ["document_too_long", "judge_usefulness"]
    assert "the judge's feedback" in found[1]["text"]


def test_few_samples_say_nothing(tmp_path):
    _, summary = run(tmp_path, ["refuse"] * 40 + ["the same text"] * 59)
    assert summary["alarms"] == []
