"""What must not be published: text of evaluation sets, addresses; and what a reader of the summary must not miss."""

from __future__ import annotations

import json

from tests.conftest import documents, endpoint, finephrase, rejected, samples, summary, write_jsonl

QUESTION = "A gardener plants seven rows of tulips with thirteen bulbs in every row and sells a third of all flowers"


def test_documents_with_evaluation_items_are_rejected_before_they_cost_anything(tmp_path, mock):
    rows = documents(20)
    rows[7]["text"] += f" {QUESTION}, how many are left?"
    rows[9]["text"] += f" {' '.join(QUESTION.split()[:11])}."  # one word less than it takes
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    items = [{"question": f"{QUESTION}, how many are left?", "answer": "61"}, {"question": "Too short?", "answer": "B"}]
    evaluation = write_jsonl(tmp_path / "evaluation.jsonl", items)
    arguments = ["--input", source, "--output", tmp_path / "run", "--formats", "faq", *endpoint(mock)]
    done = finephrase(*arguments, "--decontaminate", evaluation)
    assert done.returncode == 0, done.stdout
    assert "2 items" in done.stdout and "1 items too short to be found" in done.stdout
    (refused,) = rejected(tmp_path / "run")
    assert (refused["id"], refused["reason"]) == ("doc-7", "contaminated")
    assert "evaluation.jsonl" in refused["detail"] and refused["raw"] == rows[7]["text"]
    assert len(samples(tmp_path / "run")) == 19 == len(mock.requests())

    write_jsonl(tmp_path / "evaluation.jsonl", items[:1])
    other = finephrase(*arguments, "--decontaminate", evaluation)
    assert other.returncode == 1 and "holds another run: decontaminate:" in other.stdout, other.stdout


def test_samples_that_know_an_evaluation_by_heart_are_rejected(tmp_path, mock):
    item = {"text": "Eddystone is the higher one, with 49 m against the 35 m of Bell Rock."}
    evaluation = write_jsonl(tmp_path / "evaluation.jsonl", [item])
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "d", "text": "A text about stars. MOCK-SAY-table"}])
    arguments = ["--input", source, "--output", tmp_path / "run", "--formats", "table", *endpoint(mock)]
    done = finephrase(*arguments, "--decontaminate", evaluation)
    assert done.returncode == 0, done.stdout
    (refused,) = rejected(tmp_path / "run")
    assert (refused["id"], refused["format"], refused["reason"]) == ("d/table", "table", "contaminated")
    assert "| Bell Rock | 1810 | 35 |" in refused["raw"]


def test_evaluation_sets_are_looked_at_before_anything_starts(tmp_path, mock):
    source = write_jsonl(tmp_path / "in.jsonl", documents(1))
    odd = write_jsonl(tmp_path / "odd.jsonl", [{"title": "x"}])
    short = write_jsonl(tmp_path / "short.jsonl", [{"question": "Why?"}])
    for path, message in (
        (tmp_path / "none.jsonl", "--decontaminate"),
        (odd, "no column with a question"),
        (short, "none of its 1 items has 12 words"),
    ):
        done = finephrase("--input", source, "--output", tmp_path / "run", *endpoint(mock), "--decontaminate", path)
        assert done.returncode == 1 and message in done.stdout and done.stdout.count("\n") == 1, done.stdout
    assert not mock.requests()
    # The folder is not spoilt by any of them.
    done = finephrase("--input", source, "--output", tmp_path / "run", *endpoint(mock))
    assert done.returncode == 0, done.stdout


def test_addresses_are_replaced_in_all_that_is_written(tmp_path, mock):
    rows = [
        {"id": "a", "text": "About ships, by ann@harbour.net. MOCK-SAY-address"},
        {"id": "b", "text": "About stars."},
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    arguments = ["--input", source, "--output", tmp_path / "run", "--formats", "faq", "--keep-source", *endpoint(mock)]
    judging = json.dumps({"rubric": "format", "keep": 1, "endpoint": mock.url, "tokenizer": "none"})
    done = finephrase(*arguments, "--pii", "--judge", judging, "--samples", 1)
    assert done.returncode == 0, done.stdout
    assert "About ships, by" in done.stdout  # the document is shown beside its sample
    first, _ = samples(tmp_path / "run")
    assert first["judge_feedback"].endswith("It names 192.0.2.1.")
    assert first["text"] == "Write to email@example.com or look at 192.0.2.1 for more."
    assert first["source_text"].startswith("About ships, by email@example.com.")
    assert summary(tmp_path / "run")["pii_replaced"] == 1 and "addresses replaced" in done.stdout
    other = finephrase(*arguments, "--judge", judging)
    assert other.returncode == 1 and "pii: True there, False now" in other.stdout
    other = finephrase(*[argument for argument in arguments if argument != "--keep-source"], "--pii")
    assert "keep_source: True there, False now" in other.stdout


def test_alarms_are_printed_and_in_the_summary(tmp_path, mock):
    rows = [
        {"id": f"d{i}", "text": f"Document {i} about ships. MOCK-SAY-{'table' if i % 3 else 'empty'}"}
        for i in range(160)
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    done = finephrase("--input", source, "--output", tmp_path / "run", "--formats", "table", *endpoint(mock))
    assert done.returncode == 0, done.stdout
    result = summary(tmp_path / "run")
    raised = {alarm["measure"]: alarm for alarm in result["alarms"]}
    assert set(raised) == {"empty", "beginnings", "near_duplicates"}
    assert raised["beginnings"]["value"] == 1 and raised["near_duplicates"]["value"] > 0.9
    assert "alarm: table: 34% of the samples are rejected: empty" in done.stdout
    assert result["diversity"]["table"]["openings"]["top"] == [{"text": "| Lighthou", "count": 106, "share": 1.0}]
    assert json.dumps(result["diversity"]).count("00000-00000.parquet") >= 1
