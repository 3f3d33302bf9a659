"""Reports of runs of every kind, and of a training that is planned."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT, samples, summary, write_jsonl, write_parquet
from tests.generate.small_tokenizers import make_tokenizer
from tests.pipelines.test_judge import judge
from tests.pipelines.test_judge import texts as judged_texts
from tests.pipelines.test_noninstruct import run as noninstruct
from tests.pipelines.test_noninstruct import teacher
from tests.pipelines.test_noninstruct import texts as whole_texts
from tests.pipelines.test_tokens import rows as plain_rows
from tests.pipelines.test_tokens import tokens
from tests.report.conftest import barriers, number, report


def checked(page, run):
    """What every report has, and nobody is kept out."""
    told = summary(run)
    assert number(page.locator("#read").inner_text()) == told["read"] > 0
    assert number(page.locator("#written").inner_text()) == sum(told["written"].values())
    assert barriers(page) == []
    return page.locator("main").inner_text()


def test_completions(tmp_path, start_mock, opened):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": t} for n, t in enumerate(whole_texts(40))])
    out = tmp_path / "run"
    noninstruct("--input", source, "--output", out, "--documents", 20, *teacher(start_mock("--completes")))
    text = checked(opened(report(out, output=tmp_path / "r.html")), out)
    beside = [row for row in samples(out) if row["completion"][:60] in text and row["prompt"][:60] in text]
    assert len(beside) > 4, "beside their documents"
    assert "Prompt onward" in text or "Prompt bare" in text


def test_judgements(tmp_path, mock, opened):
    rows = judged_texts([3, 1, 2, "none", 3, 3])
    source = write_parquet(tmp_path / "in" / "a.parquet", rows, row_group_size=3)
    done = judge(mock, "--input", source, "--output", tmp_path / "run", "--rubric", "format", "--chunk-size", 3)
    assert done.returncode == 0, done.stdout
    text = checked(opened(report(tmp_path / "run", output=tmp_path / "r.html")), tmp_path / "run")
    assert "judge_format" in text and "Prompt judge/format" in text and "MOCK-SCORE-3" in text
    assert "best by the judge" in text and "judge_unreadable" in text


def test_templates(tmp_path, start_mock, opened):
    asked = [f"who wrote the song number {n}" for n in range(12)]
    source = write_jsonl(tmp_path / "q.jsonl", [{"id": f"q{n}", "text": text} for n, text in enumerate(asked)])
    program = [sys.executable, ROOT / "pipelines" / "fineinstructions.py", "templates", "--input", source]
    at = ["--server", "endpoint", "--endpoint", start_mock("--instructs").url, "--tokenizer", "none"]
    done = subprocess.run(
        [*map(str, [*program, "--output", tmp_path / "run", *at])], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = checked(opened(report(tmp_path / "run", output=tmp_path / "r.html")), tmp_path / "run")
    assert any(row["template"] in text for row in samples(tmp_path / "run")) and "Prompt templatize" in text


@pytest.fixture
def tokenized(tmp_path):
    model = make_tokenizer(tmp_path / "model", "plain")
    source = write_jsonl(tmp_path / "in.jsonl", plain_rows(300))
    out = tmp_path / "tokens"
    asked = ["--tokenizer", model, "--chunk-size", 50, "--tokens-per-file", 0.005]
    assert tokens("--input", source, "--output", out, *asked).returncode == 0
    return out


def test_tokens_and_a_training_of_them(tmp_path, tokenized, opened):
    checked(opened(report(tokenized, output=tmp_path / "t.html")), tokenized)
    experiment = {
        "name": "small",
        "model": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2},
        "sources": {"few": {"tokens": str(tokenized), "weight": 3}, "again": {"tokens": str(tokenized)}},
        "steps": 20, "sequence_length": 64, "batch": 16, "micro_batch": 4, "gpus": 2,
    }  # fmt: skip
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    page = opened(report(tmp_path / "experiment.yaml", output=tmp_path / "p.html"), 390, "dark")
    assert barriers(page) == [] and page.evaluate("document.documentElement.scrollWidth") <= 390
    assert number(page.locator("#tokens").inner_text()) == 20 * 16 * 64
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("[aria-label=Sources] tr").all()[1:]]
    assert [(row[0], row[1]) for row in rows] == [("again", "25.0%"), ("few", "75.0%")]  # as YAML wrote them
    takes = [number(row[3]) for row in rows]
    assert 20 * 16 * 64 <= sum(takes) <= 20 * 16 * 64 + 2 * 64
    for row, taken in zip(rows, takes, strict=True):
        assert float(row[5]) == pytest.approx(taken / number(row[4]), abs=0.005)
