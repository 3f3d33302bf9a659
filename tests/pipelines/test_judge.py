"""Judging: over samples that are there already, and inside a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import (
    ROOT,
    documents,
    endpoint,
    finephrase,
    rejected,
    samples,
    shards,
    summary,
    write_jsonl,
    write_parquet,
)
from tests.pipelines.test_verify_pipeline import verify

RUBRIC = ROOT / "prompts" / "judge" / "format.md"


def judge_command(server, *arguments):
    at = ["--server", "endpoint", "--endpoint", server.url, "--tokenizer", "none"]
    return [sys.executable, str(ROOT / "pipelines" / "judge.py"), *map(str, [*arguments, *at])]


def judge(server, *arguments):
    command = judge_command(server, *arguments)
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def texts(scores):
    return [
        {"id": f"s{i}", "text": f"Text {i} MOCK-SCORE-{score}", "format": "faq" if i % 2 else "math", "more": i}
        for i, score in enumerate(scores)
    ]


def test_a_side_table_that_other_pipelines_join(tmp_path, mock):
    source = write_parquet(tmp_path / "in" / "a.parquet", texts([3, 1, 2, "none", 7, 3]), row_group_size=2)
    arguments = ["--input", source, "--output", tmp_path / "judged", "--rubric", "format", "--chunk-size", 2]
    done = judge(mock, *arguments)
    assert done.returncode == 0, done.stdout

    scores = {row["id"]: row for row in samples(tmp_path / "judged")}
    assert {name: row["judge_score"] for name, row in scores.items()} == {"s0": 3, "s1": 1, "s2": 2, "s5": 3}
    assert "text" not in scores["s0"] and scores["s0"]["judge_feedback"] == "It has 5 words."
    assert (scores["s0"]["format"], scores["s0"]["judge_rubric"], scores["s0"]["judge_model"]) == (
        "math",
        "format",
        "mock",
    )
    refused = {row["id"]: (row["reason"], row["detail"], row["raw"]) for row in rejected(tmp_path / "judged")}
    assert {name: reason for name, (reason, _, _) in refused.items()} == dict.fromkeys(["s3", "s4"], "judge_unreadable")
    assert "no <score>" in refused["s3"][1] and "not on the scale" in refused["s4"][1]
    assert refused["s3"][2] == "Text 3 MOCK-SCORE-none"
    assert len(mock.requests()) == 4 + 2 * 2  # what cannot be read is asked for once more

    result = summary(tmp_path / "judged")
    assert result["rejected"] == {"judge_unreadable": 2}
    assert result["samples"]["requested"] == {"faq": 3, "math": 3}
    measured = result["checks"]["judge_format"]
    assert (measured["passed"], measured["flagged"], measured["rejected"]) == (2, 2, 0)
    assert measured["formats"]["math"]["values"] == {"2": 1, "3": 1}
    assert "nothing to do" in judge(mock, *arguments).stdout

    checks = ["--checks", "length", "--thresholds", '{"length": {"min_words": 1}}']
    scores_of = ["--scores", tmp_path / "judged", "--where", "judge_score >= 2"]
    joined = verify("--input", source, "--output", tmp_path / "good", *checks, *scores_of)
    assert joined.returncode == 0, joined.stdout
    kept = {row["id"]: row for row in samples(tmp_path / "good")}
    assert {name: (row["judge_score"], row["more"]) for name, row in kept.items()} == {
        "s0": (3, 0),
        "s2": (2, 2),
        "s5": (3, 5),
    }
    assert kept["s5"]["judge_feedback"] == "It has 5 words."
    assert summary(tmp_path / "good")["documents"]["excluded"] == 3


def test_sampling_is_left_to_a_model_that_refuses_it(tmp_path, mock):
    source = write_jsonl(tmp_path / "in.jsonl", texts([3]))
    config = tmp_path / "judge.yaml"
    config.write_text("temperature: none\ntop-p: 0.5\n")  # as a submission writes it for its jobs
    common = ["--input", source, "--rubric", "usefulness"]
    assert judge(mock, *common, "--output", tmp_path / "a", "--top-p", "none").returncode == 0
    assert judge(mock, *common, "--output", tmp_path / "b", "--config", config).returncode == 0
    sent = [request["fields"] for request in mock.requests()]
    assert [(one.get("temperature"), one.get("top_p")) for one in sent] == [(0.1, None), (None, 0.5)]


def test_a_later_launch_opens_no_file_to_see_what_columns_there_are(tmp_path, mock):
    write_jsonl(tmp_path / "in" / "a.jsonl", [{"id": "a", "text": "Text MOCK-SCORE-3"}])
    second = write_jsonl(tmp_path / "in" / "b.jsonl", [{"id": "b", "text": "Text MOCK-SCORE-2", "format": "faq"}])
    arguments = ["--input", tmp_path / "in", "--output", tmp_path / "judged", "--rubric", "usefulness"]
    assert judge(mock, *arguments).returncode == 0
    assert [row["format"] for row in samples(tmp_path / "judged")] == [None, "faq"]
    second.write_bytes(bytes(second.stat().st_size))  # whoever looks finds no column `format` now
    done = judge(mock, *arguments)
    assert done.returncode == 0 and "nothing to do" in done.stdout, done.stdout


def test_a_table_about_something_else_is_refused(tmp_path, mock):
    source = write_parquet(tmp_path / "in" / "a.parquet", texts([3, 1]), row_group_size=2)
    other = write_jsonl(tmp_path / "other.jsonl", texts([3]))
    done = judge(mock, "--input", source, "--output", tmp_path / "judged", "--rubric", "format")
    assert done.returncode == 0, done.stdout
    for folder, message in ((tmp_path / "judged", "has not read it"), (tmp_path / "nothing", "is no run folder")):
        done = verify("--input", other, "--output", tmp_path / "out", "--checks", "length", "--scores", folder)
        assert done.returncode == 1 and message in done.stdout, done.stdout
        assert done.stdout.count("\n") == 1
    judged = ["--input", source, "--output", tmp_path / "out", "--scores", tmp_path / "judged"]
    done = verify(*judged, "--thresholds", '{"length": {"min_words": 9}}', "--verdict", "flag")
    assert done.returncode == 1 and "--thresholds and --verdict change nothing without --checks" in done.stdout


def test_a_join_keeps_what_the_rows_know(tmp_path, mock):
    checks = [{"check": "faq", "value": 2.0, "verdict": "pass"}]
    known = {"source_dataset": "crawl", "lineage": "of their own", "answer_text": "42", "checks": checks}
    rows = [{**row, **known, "format": form} for row, form in zip(texts([3, 1]), ("text/html", None), strict=True)]
    source = write_parquet(tmp_path / "a.parquet", rows, row_group_size=2)
    judged = judge(mock, "--input", source, "--output", tmp_path / "judged", "--rubric", "usefulness")
    assert judged.returncode == 0, judged.stdout
    assert [row["format"] for row in samples(tmp_path / "judged")] == ["text/html", None]
    done = verify("--input", source, "--output", tmp_path / "good", "--scores", tmp_path / "judged")
    assert done.returncode == 0, done.stdout
    scores = {"judge_feedback": "It has 5 words.", "judge_rubric": "usefulness", "judge_model": "mock"}
    assert samples(tmp_path / "good") == [
        {**row, **scores, "judge_score": score} for row, score in zip(rows, (3.0, 1.0), strict=True)
    ]


def test_scores_find_rows_whose_ids_repeat_or_are_missing(tmp_path, mock):
    names = ["a", "a", None, "b", "", "a"]
    rows = [{"id": name, "text": f"Text {i} MOCK-SCORE-{1 + i % 3}"} for i, name in enumerate(names)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    assert judge(mock, "--input", source, "--output", tmp_path / "judged", "--rubric", "usefulness").returncode == 0
    done = verify("--input", source, "--output", tmp_path / "out", "--scores", tmp_path / "judged", "--chunk-size", 4)
    assert done.returncode == 0, done.stdout
    assert {row["text"]: row["judge_score"] for row in samples(tmp_path / "out")} == {
        row["text"]: 1.0 + i % 3 for i, row in enumerate(rows)
    }

    # Two chunks know nothing of each other's ids: here nobody can tell which score is whose.
    chunks = ["--chunk-size", 2, "--rubric", "usefulness"]
    assert judge(mock, "--input", source, "--output", tmp_path / "twice", *chunks).returncode == 0
    done = verify("--input", source, "--output", tmp_path / "none", "--scores", tmp_path / "twice")
    assert done.returncode == 1 and "two rows of" in done.stdout and "have the id 'a'" in done.stdout, done.stdout


def test_scores_find_rows_without_ids_when_the_input_is_named_otherwise(tmp_path, mock):
    for language in ("de", "en"):
        rows = [{"text": f"Text {i} in {language} MOCK-SCORE-{i}", "n": f"{language}{i}"} for i in (1, 3)]
        write_jsonl(tmp_path / "data" / language / "part.jsonl", rows)
    judging = ["--rubric", "usefulness", "--input", tmp_path / "data" / "*" / "*.jsonl"]
    assert judge(mock, *judging, "--output", tmp_path / "judged").returncode == 0
    joining = ["--input", tmp_path / "data" / "en" / "*.jsonl", "--output", tmp_path / "out"]
    done = verify(*joining, "--scores", tmp_path / "judged", "--where", "judge_score >= 2")
    assert done.returncode == 0, done.stdout
    assert [(row["n"], row["judge_score"]) for row in samples(tmp_path / "out")] == [("en3", 3.0)]

    assert judge(mock, *judging, "--output", tmp_path / "named", "--id-column", "n").returncode == 0
    done = verify(*joining, "--scores", tmp_path / "named")
    assert done.returncode == 1 and "has other ids: give --id-column n, as it had" in done.stdout, done.stdout


def test_a_table_that_is_another_one_or_has_read_less_is_refused(tmp_path, mock):
    source = write_jsonl(tmp_path / "in.jsonl", texts([3, 1, 2, 3]))
    judging = ["--input", source, "--output", tmp_path / "judged", "--rubric"]
    joining = ["--input", source, "--output", tmp_path / "out", "--scores", tmp_path / "judged"]
    assert judge(mock, *judging, "format", "--limit", 3).returncode == 0
    done = verify(*joining)
    assert done.returncode == 1 and "has read 3 of its rows" in done.stdout, done.stdout
    assert judge(mock, *judging, "format").returncode == 0
    assert verify(*joining).returncode == 0
    # The same rubric on another scale of sampling is another judge.
    other = judge(mock, *judging, "format", "--temperature", 0.5)
    assert other.returncode == 1 and "temperature: 0.1 there, 0.5 now" in other.stdout
    other = judge(mock, *judging, "usefulness")
    assert other.returncode == 1 and "rubric: " in other.stdout

    shutil.rmtree(tmp_path / "judged")
    assert judge(mock, *judging, "usefulness").returncode == 0
    done = verify(*joining)
    assert done.returncode == 1 and "holds another run: scores: " in done.stdout, done.stdout

    state = tmp_path / "judged" / "state"
    moved = [
        (path, tmp_path / path.parent.name) for part in ("commits", "finished") for path in (state / part).iterdir()
    ]
    for there, here in moved:
        there.rename(here)
    done = verify(*joining)
    assert done.returncode == 1 and "is not finished" in done.stdout, done.stdout
    for there, here in moved:
        here.rename(there)
    write_jsonl(source, texts([3, 1, 2, 3, 1]))
    done = verify(*joining)
    assert done.returncode == 1 and "read it when it was another" in done.stdout, done.stdout


def test_a_rubric_that_holds_another_column_against_the_text(tmp_path, mock):
    rubric = tmp_path / "answered.md"
    front = 'inputs: {question: text}\noutput: {response: answer}\nscores: {0: "No.", 1: "Yes."}\nkeep: 1'
    rubric.write_text(f"---\n{front}\n---\nDoes the response answer the question?")
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "q", "text": "How high is it?", "answer": "MOCK-SCORE-1 m"}])
    arguments = ["--input", source, "--output", tmp_path / "judged", "--rubric", rubric]
    shown = judge(mock, *arguments, "--dry-run").stdout
    assert "<question>\\nHow high is it?\\n</question>" in shown
    assert "<response>\\nMOCK-SCORE-1 m\\n</response>" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--rubric", "truth"],
            "by name there are faithfulness, format, generic, instructional, relevance, usefulness",
        ),
        (["--rubric", "faithfulness"], "no column 'source_text'"),
        (["--rubric", "format", "--text-column", "body"], "no column 'body'"),
        (["--rubric", "format", "--context", "1500"], "no room for a sample in the judge's context: 1500"),
        (["--rubric", "format", "--extra-body", '{"n": 2}'], "--extra-body must not hold 'n'"),
        (["--rubric", "format", "--temperature", "hot"], "--temperature must be a number or none, not 'hot'"),
    ],
)
def test_mistakes_are_found_before_anything_is_asked(tmp_path, mock, arguments, message):
    source = write_jsonl(tmp_path / "in.jsonl", texts([3]))
    done = judge(mock, "--input", source, "--output", tmp_path / "judged", *arguments)
    assert done.returncode == 1 and message in done.stdout, done.stdout
    assert not mock.requests() and not (tmp_path / "judged").exists()


def test_a_long_source_is_cut_and_a_long_sample_is_not(tmp_path, mock):
    rows = [
        {"id": "long source", "text": "Short. MOCK-SCORE-5", "source_text": "Some words. " * 5000 + "The end."},
        {"id": "long sample", "text": "Some words. " * 5000, "source_text": "Short."},
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    arguments = ["--input", source, "--output", tmp_path / "judged", "--rubric", "faithfulness", "--dry-run"]
    shown = judge(mock, *arguments)
    assert shown.returncode == 0 and "The end." not in shown.stdout and "nothing was started" in shown.stdout
    done = judge(mock, *arguments[:-1])
    assert done.returncode == 0, done.stdout
    assert [(row["id"], row["judge_score"]) for row in samples(tmp_path / "judged")] == [("long source", 5)]
    assert [(row["id"], row["reason"]) for row in rejected(tmp_path / "judged")] == [
        ("long sample", "too_long_to_judge")
    ]


def test_killed_and_started_again(tmp_path, start_mock):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"s{i}", "text": f"Text number {i}."} for i in range(400)])
    whole, slow = start_mock(), start_mock("--latency", "0.15")
    common = ["--input", source, "--rubric", "usefulness", "--chunk-size", "50", "--max-in-flight", "8", "--output"]
    assert judge(whole, *common, tmp_path / "whole").returncode == 0
    killed = judge_command(slow, *common, tmp_path / "killed")
    for asked in (30, 150, 270):
        process = subprocess.Popen(killed, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        while len(slow.requests()) < asked:
            assert process.poll() is None, "it goes on until it is killed"
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
    done = judge(slow, *common, tmp_path / "killed")
    assert done.returncode == 0, done.stdout
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    assert summary(tmp_path / "killed")["checks"] == summary(tmp_path / "whole")["checks"]


def test_a_judge_in_the_pipeline(tmp_path, mock, start_mock):
    source = write_jsonl(tmp_path / "in.jsonl", documents(40))
    judging = start_mock("--models", "referee")
    told = {"rubric": "format", "endpoint": judging.url, "tokenizer": "none"}
    arguments = ["--input", source, "--output", tmp_path / "run", "--formats", "faq,table", *endpoint(mock)]
    done = finephrase(*arguments, "--judge", json.dumps(told), "--keep-source")
    assert done.returncode == 0, done.stdout
    rows, refused = samples(tmp_path / "run"), rejected(tmp_path / "run")
    assert {row["judge_score"] for row in rows} == {3} and all(row["judge_feedback"] for row in rows)
    assert {row["source_text"] for row in rows} <= {row["text"] for row in documents(40)}
    assert {row["reason"] for row in refused} == {"judge_format"}
    assert {row["detail"][:2] for row in refused} == {"1:", "2:"} and all(row["raw"] for row in refused)
    assert len(rows) + len(refused) == 80 == len(judging.requests())
    assert summary(tmp_path / "run")["checks"]["judge_format"]["rejected"] == len(refused)
    record = (tmp_path / "run" / "run.yaml").read_text()
    assert "referee" in record

    # What is rejected anyway is not worth a judge.
    checked = ["--output", tmp_path / "checked", "--formats", "summarize,table", "--judge", json.dumps(told)]
    checked += ["--verify", '{"summarize": {"length": "off"}}']
    done = finephrase(*arguments[:2], *endpoint(mock)[:-2], *checked)
    assert done.returncode == 0, done.stdout
    refused = summary(tmp_path / "checked")["rejected"]
    assert refused["table"] == 40 and len(judging.requests()) == 80 + 40

    # Another threshold makes other samples.
    other = finephrase(*arguments, "--judge", json.dumps({**told, "keep": 2}), "--keep-source")
    assert other.returncode == 1 and "holds another run: judge:" in other.stdout, other.stdout


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('{"rubric": "format", "modell": "x"}', "--judge has no 'modell'"),
        ('{"keep": 3}', "--judge needs a rubric"),
        ('{"rubric": "format", "keep": true}', "'keep' cannot be True"),
        ('{"rubric": "format", "max_tokens": -5}', "'max_tokens' must be at least 1"),
        ('{"rubric": "format", "sampling": {"model": "x"}}', "not model: 'x'"),
        ('{"rubric": "format", "sampling": {"temperature": "hot"}}', "not temperature: 'hot'"),
        ('{"rubric": "format", "extra_body": {"n": 3}}', "'extra_body' must not hold 'n'"),
        ('{"rubric": "format", "context": "long"}', "'context' cannot be 'long'"),
        ('{"rubric": "format", "keep": 9}', "has the scores 1, 2, 3, not 9"),
        ("nonsense", "there is no rubric 'nonsense'"),
    ],
)
def test_what_judge_cannot_mean(tmp_path, mock, told, message):
    source = write_jsonl(tmp_path / "in.jsonl", documents(1))
    done = finephrase("--input", source, "--output", tmp_path / "run", *endpoint(mock), "--judge", told)
    assert done.returncode == 1 and message in done.stdout, done.stdout


def test_two_servers_that_do_not_fit_are_refused_in_the_dry_run(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", documents(1))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    models = {"model": str(tmp_path / "model"), "tokenizer": "none", "context": 4096}
    arguments = ["--input", source, "--output", tmp_path / "run", "--server", "vllm", "--model", models["model"]]
    arguments += ["--tokenizer", "none", "--context", 4096, "--dry-run", "--judge"]
    done = finephrase(*arguments, json.dumps({"rubric": "format", **models}))
    assert done.returncode == 1 and "would take 1.80 of its memory" in done.stdout, done.stdout
    shares = {"server_options": {"gpu_memory_utilization": 0.4}}
    both = ["--server-options", '{"gpu_memory_utilization": 0.5}']
    done = finephrase(*arguments, json.dumps({"rubric": "format", **models, **shares}), *both)
    assert done.returncode == 0 and "nothing was started" in done.stdout, done.stdout
