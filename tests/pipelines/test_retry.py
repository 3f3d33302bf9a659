"""`--retry-failed`: what failed is asked again, comes out once, and no longer counts as failed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter

import pytest

from tests.conftest import command, documents, endpoint, finephrase, rejected, samples, summary, write_jsonl
from tests.pipelines.test_judge import judge
from tests.pipelines.test_verify_pipeline import verify


@pytest.fixture
def corpus(tmp_path):
    rows = documents(50)
    for number, row in enumerate(rows):
        row["format"] = "faq"  # for the judge
        if number % 5 == 0:
            row["text"] += " MOCK-BROKEN" + ("-ALL" if number % 10 == 0 else "")
    return write_jsonl(tmp_path / "in.jsonl", rows)


@pytest.fixture
def breaking(tmp_path, start_mock):
    """A server, and a function that mends it."""
    mended = tmp_path / "mended"
    return start_mock("--mended", str(mended)), mended.touch


def options(corpus, run, server, *more):
    return ["--input", corpus, "--output", run, "--formats", "faq,table,math", "--chunk-size", 8,
            "--max-failure-rate", 1, *endpoint(server), *more]  # fmt: skip


def as_set(rows):
    return Counter(tuple(sorted((name, str(value)) for name, value in row.items())) for row in rows)


def test_only_what_failed_is_asked_again_and_the_run_is_as_if_nothing_had_been(tmp_path, corpus, breaking, start_mock):
    server, mend = breaking
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    first = [*options(corpus, run, server), "--formats", "faq,table"]  # what is said last counts
    assert finephrase(*first).returncode == 0
    assert finephrase(*options(corpus, run, server)).returncode == 0  # math is a pass of its own
    failed = sum(summary(run)["failed"].values())
    assert 15 < failed < 30, "all of five documents, and some formats of five others"
    asked = sum(entry["status"] == 200 for entry in server.requests())
    mend()

    done = finephrase(*options(corpus, run, server, "--retry-failed"))

    assert done.returncode == 0, done.stdout
    assert f"{failed} document(s) and sample(s) failed; they are asked for again" in done.stdout
    assert sum(entry["status"] == 200 for entry in server.requests()) == asked + failed
    assert finephrase(*options(corpus, undisturbed, start_mock("--mended", str(corpus)))).returncode == 0
    after, whole = summary(run), summary(undisturbed)
    assert as_set(samples(run)) == as_set(samples(undisturbed))
    for name in ("read", "done", "written", "rejected", "failed", "documents", "samples", "complete"):
        assert after[name] == whole[name], name
    again = finephrase(*options(corpus, run, server, "--retry-failed"))
    assert again.returncode == 0 and "0 document(s) and sample(s) failed" in again.stdout


def test_killed_while_it_retries_it_goes_on(tmp_path, corpus, start_mock):
    mended = tmp_path / "mended"
    server = start_mock("--mended", str(mended), "--latency", "0.3")
    run = tmp_path / "run"
    assert finephrase(*options(corpus, run, server)).returncode == 0
    mended.touch()
    retry = options(corpus, run, server, "--retry-failed", "--max-in-flight", 2)
    process = subprocess.Popen(command(*retry), stdout=subprocess.DEVNULL, start_new_session=True)
    answered = len(server.requests())
    while len(server.requests()) < answered + 5:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    done = finephrase(*retry)

    assert done.returncode == 0, done.stdout
    assert "The retry that was begun goes on" in done.stdout
    assert summary(run)["failed"] == {} and summary(run)["written"] == {"faq": 50, "math": 50, "table": 50}
    ids = [row["id"] for row in samples(run)]
    assert len(ids) == len(set(ids)) == 150


def test_of_a_split_document_only_the_pieces_that_failed_as_often_as_it_takes(tmp_path, breaking):
    server, mend = breaking
    sentence = "Each of these sentences stands for something that nobody needs to know about in particular. "
    text = "".join(f"{i}. {sentence}{'MOCK-BROKEN. ' if i % 3 == 0 else ''}" for i in range(120))
    corpus = write_jsonl(tmp_path / "in.jsonl", [{"id": "long", "text": text}, {"id": "short", "text": sentence}])
    run = tmp_path / "run"
    common = options(corpus, run, server, "--context", 1500, "--max-tokens", 200, "--long-documents", "split")
    assert finephrase(*common).returncode == 0
    failed, written = summary(run)["failed"], len(samples(run))
    assert sum(failed.values()) > 4 and written > 4
    assert finephrase(*common, "--retry-failed").returncode == 0
    assert summary(run)["failed"] == failed and summary(run)["read"] == 2
    mend()
    assert finephrase(*common, "--retry-failed").returncode == 0
    ids = [row["id"] for row in samples(run)]
    assert len(ids) == len(set(ids)) == written + sum(failed.values())
    # What was tried before stays on record; its lineage says in which pass.
    passes = Counter(row["lineage"].partition("-")[0] for row in rejected(run))
    assert passes == {"00000": sum(failed.values()), "p1": sum(failed.values())}


def test_an_unfinished_run_is_finished_first(tmp_path, mock):
    run, corpus = tmp_path / "run", write_jsonl(tmp_path / "in.jsonl", documents(20))
    assert finephrase(*options(corpus, run, mock, "--limit", 10)).returncode == 0
    again = finephrase(*options(corpus, run, mock, "--retry-failed"))  # and no word of the limit
    assert again.returncode == 0 and summary(run)["read"] == 10
    (run / "state" / "commits" / "00000-00001.json").unlink()
    (run / "state" / "finished" / "00000").unlink()
    again = finephrase(*options(corpus, run, mock, "--retry-failed"))
    assert again.returncode == 1 and "not complete: go on with it first" in again.stdout


def test_judgements_are_retried_as_whole_documents(tmp_path, corpus, breaking):
    server, mend = breaking
    judged = tmp_path / "judged"
    arguments = ["--input", corpus, "--output", judged, "--rubric", "format", "--max-failure-rate", 1]
    assert judge(server, *arguments).returncode == 0
    failed = sum(summary(judged)["failed"].values())
    assert failed > 4 and len(samples(judged)) == 50 - failed
    mend()
    done = judge(server, *arguments, "--retry-failed")
    assert done.returncode == 0, done.stdout
    assert summary(judged)["failed"] == {} and summary(judged)["read"] == summary(judged)["done"] == 50
    assert sorted(row["id"] for row in samples(judged)) == sorted(f"doc-{i}" for i in range(50))
    verified = tmp_path / "verified"
    joined = verify("--input", corpus, "--output", verified, "--scores", judged)
    assert joined.returncode == 0, joined.stdout
    assert all(row["judge_score"] is not None for row in samples(verified)) and len(samples(verified)) == 50


def test_a_run_that_grows_after_a_retry_can_be_retried_again(tmp_path, breaking):
    server, mend = breaking
    run = tmp_path / "run"
    rows = [
        {**row, "text": f"{row['text']} MOCK-BROKEN-ALL"} if i % 8 == 0 else row for i, row in enumerate(documents(32))
    ]
    write_jsonl(tmp_path / "in" / "a.jsonl", rows[:16])
    common = options(tmp_path / "in", run, server, "--formats", "faq")
    assert finephrase(*common).returncode == 0
    # What has failed before may fail again: that is no reason to stop.
    assert finephrase(*common, "--retry-failed", "--max-failure-rate", 0.05).returncode == 0
    assert summary(run)["failed"] == {"connection_lost": 2}
    write_jsonl(tmp_path / "in" / "b.jsonl", rows[16:])
    assert finephrase(*common).returncode == 0
    assert summary(run)["failed"] == {"connection_lost": 4} and summary(run)["complete"]
    mend()
    done = finephrase(*common, "--retry-failed")
    assert "4 document(s) and sample(s) failed; they are asked for again" in done.stdout
    assert summary(run)["failed"] == {} and summary(run)["written"] == {"faq": 32}
    assert len({row["id"] for row in samples(run)}) == len(samples(run)) == 32
