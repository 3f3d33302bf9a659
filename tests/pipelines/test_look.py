"""Looking at samples: in a run, in files, on the Hub; each beside what it was made from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, documents, endpoint, finephrase, write_jsonl


def look(*arguments, **environment):
    program = [sys.executable, ROOT / "pipelines" / "look.py", *arguments]
    told = {**os.environ, "COLUMNS": "160", **environment}
    done = subprocess.run([*map(str, program)], capture_output=True, text=True, timeout=60, env=told)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture
def run(tmp_path, mock):
    rows = documents(12)
    rows[3]["text"] = "A lighthouse. MOCK-SAY-empty"
    rows[5]["text"] = "Numbers of towers. MOCK-SAY-table"
    corpus = write_jsonl(tmp_path / "in.jsonl", [{"name": row["id"], "body": row["text"]} for row in rows])
    run = tmp_path / "run"
    at = [option for option in endpoint(mock) if option not in ("--verify", "off")]
    columns = ["--text-column", "body", "--id-column", "name"]
    flagged = dict.fromkeys(["length", "repetition", "markup", "language"], "flag")
    verdict = {name: {**flagged, name: "flag"} for name in ("faq", "table")}
    asked = ["--formats", "faq,table", "--chunk-size", 5, *columns, "--verify", json.dumps(verdict)]
    done = finephrase("--input", corpus, "--output", run, *asked, *at)
    assert done.returncode == 0, done.stdout
    return run


def test_samples_stand_beside_their_documents(run):
    shown = look(run, "--format", "faq", "--count", 2, "--skip", 6)
    assert "doc-7/faq" in shown and "doc-8/faq" in shown and "doc-9" not in shown  # doc-3 was rejected
    assert "Document 7. Some words about it." in shown and "Answer" in shown
    assert "nothing matches" in look(run, "--format", "math")


def test_what_was_rejected_stands_there_with_its_reason(run):
    shown = look(run, "--reason", "empty", "--format", "table")
    assert "doc-3/table: rejected, empty" in shown and "A lighthouse." in shown and "doc-3/faq" not in shown


def test_by_column_and_by_check(run):
    shown = look(run, "--where", "source_id == doc-5", "--count", 9)
    assert "doc-5/faq" in shown and "doc-5/table" in shown and "doc-6" not in shown
    assert "doc-5/table" not in look(run, "--format", "table", "--check", "table > 0", "--count", 20)
    failed = look(run, "--format", "faq", "--check", "faq >= 0", "--count", 1)
    assert "(flag)" in failed


def test_what_is_on_its_way_is_passed_over(run, tmp_path):
    (run / "shards" / "faq" / "00000-00000.parquet").rename(tmp_path / "away")
    shown = look(run, "--format", "faq", "--count", 2)
    assert "doc-5/faq" in shown and "doc-6/faq" in shown and "error" not in shown
    assert "1 files are not in their place, the first is shards/faq/00000-00000" in look(run, "--count", 99)


def test_files_and_what_is_not_there(run, tmp_path):
    assert "doc-0/faq" in look(run / "shards" / "faq")
    assert "does not exist" in look(tmp_path / "nothing")
    assert "is no run folder" in look(run / "shards", "--reason", "empty")
    assert "cannot read" in look(run, "--check", "copying high")
