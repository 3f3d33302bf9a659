"""Checks at work: in a run, and over texts that are there already."""

from __future__ import annotations

import subprocess
import sys

import pytest

from blocks.filters.checks.text import words
from tests.conftest import ROOT, endpoint, finephrase, rejected, samples, summary, write_jsonl, write_parquet

GOOD = (
    "| Lighthouse | Built | Height (m) |\n|---|---|---:|\n| Bell Rock | 1810 | 35 |\n| Eddystone | 1882 | 49 |\n\n"
    "**Question:** Which is higher?\n\n**Answer:** Eddystone, with 49 m."
)
TORN = GOOD.replace("| 1882 | 49 |", "| 1882 | 49 | 3 |")
WRONG = GOOD.replace("with 49 m", "with 61 m")
SOURCE = (
    "The lighthouse on Bell Rock was built in 1810 and is 35 m high. The fourth one on Eddystone, which was finished "
    "in 1882, has a height of 49 m. Both stand on reefs that the sea covers at high water, far from the coast."
)


def verify(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "pipelines" / "verify.py"), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def test_a_run_measures_rejects_and_flags(tmp_path, mock):
    kinds = ["table", "torn", "table", "refusal", "table", "torn"]
    source = write_jsonl(
        tmp_path / "in.jsonl", [{"id": f"d{i}", "text": f"{SOURCE} MOCK-SAY-{kind}"} for i, kind in enumerate(kinds)]
    )
    arguments = ["--input", source, "--output", tmp_path / "run", "--formats", "table", "--chunk-size", 4]
    arguments += endpoint(mock)[:-2]  # the checks that the prompt asks for
    done = finephrase(*arguments)
    assert done.returncode == 0, done.stdout
    assert [row["id"] for row in samples(tmp_path / "run")] == ["d0/table", "d2/table", "d4/table"]
    measured = {entry["check"]: entry for entry in samples(tmp_path / "run")[0]["checks"]}
    assert measured["table"]["verdict"] == "pass" and measured["numbers"]["value"] == 1.0
    assert {"length", "repetition", "language", "copying", "names", "table_answer"} <= measured.keys()

    reasons = {row["id"]: (row["reason"], row["detail"]) for row in rejected(tmp_path / "run")}
    assert reasons["d3/table"][0] == "refusal"
    assert reasons["d1/table"][0] == "table" and "cells" in reasons["d1/table"][1]
    result = summary(tmp_path / "run")
    assert result["rejected"] == {"table": 2, "refusal": 1}
    table = result["checks"]["table"]
    assert (table["passed"], table["flagged"], table["rejected"]) == (3, 0, 2)
    assert sum(table["formats"]["table"]["values"].values()) == 5

    assert "nothing to do" in finephrase(*arguments).stdout
    other = finephrase(*arguments, "--verify", '{"table": {"table": {"min_rows": 3}}}')
    assert other.returncode == 1 and "min_rows" in other.stdout
    wrong = finephrase(*arguments, "--verify", '{"table": {"spelling": "flag"}}')
    assert wrong.returncode == 1 and "no check 'spelling'" in wrong.stdout


def test_texts_that_are_there_already(tmp_path):
    rows = [
        {"name": "good", "text": SOURCE, "made": GOOD, "score": 1.5, "tags": ["a", "b"]},
        {"name": "torn", "text": SOURCE, "made": TORN, "score": None, "tags": []},
        {"name": "wrong", "text": SOURCE, "made": WRONG, "score": 2.5, "tags": None},
        {"name": "empty", "text": SOURCE, "made": " ", "score": 0.0, "tags": None},
    ]
    source = write_parquet(tmp_path / "made.parquet", rows, row_group_size=2)
    arguments = ["--input", source, "--text-column", "made", "--source-column", "text", "--id-column", "name"]
    arguments += ["--checks", "table,numbers", "--thresholds", '{"numbers": {"min_grounded": 0.9}}']
    done = verify(*arguments, "--output", tmp_path / "out", "--chunk-size", 2)
    assert done.returncode == 0, done.stdout
    kept = samples(tmp_path / "out")
    assert [row["id"] for row in kept] == ["good"]
    assert kept[0]["text"] == kept[0]["made"] == GOOD and kept[0]["source_text"] == SOURCE
    assert (kept[0]["score"], kept[0]["tags"]) == (1.5, ["a", "b"])
    assert {entry["check"] for entry in kept[0]["checks"]} == {"table", "table_answer", "numbers"}
    reasons = {row["id"]: row["reason"] for row in rejected(tmp_path / "out")}
    assert reasons == {"torn": "table", "wrong": "table_answer", "empty": "empty_text"}
    assert summary(tmp_path / "out")["checks"]["numbers"]["rejected"] == 2  # 61, and the 3 of the cell too many
    assert verify(*arguments, "--output", tmp_path / "out", "--chunk-size", 2).returncode == 0

    flagged = verify(*arguments, "--output", tmp_path / "flagged", "--verdict", "flag", "--shard-format", "jsonl")
    assert flagged.returncode == 0, flagged.stdout
    assert summary(tmp_path / "flagged")["written"] == {"": 3}
    assert "flagged by check: table_answer" in flagged.stdout


def test_all_columns_stay_whatever_is_measured(tmp_path):
    row = {"id": 7, "url": "a/b", "text": f"How high is it? {GOOD}", "completion": GOOD, "source_text": SOURCE}
    less = {"url": "c", "completion": GOOD, "source_text": SOURCE}
    source = write_jsonl(tmp_path / "in.jsonl", [row, less])
    columns = ["--text-column", "completion", "--id-column", "url", "--checks", "length,copying"]
    done = verify("--input", source, "--output", tmp_path / "out", *columns)
    assert done.returncode == 0, done.stdout
    found = samples(tmp_path / "out")
    measured, _ = ({entry["check"]: entry["value"] for entry in one.pop("checks")} for one in found)
    assert found == [{**row, "id": "a/b"}, {**less, "id": "c", "text": GOOD}]
    assert measured["length"] == len(words(GOOD))

    more = ["--verdict", "reject", "--thresholds", '{"length": {"min_words": 900}}']
    done = verify("--input", source, "--output", tmp_path / "refused", *columns, *more)
    assert done.returncode == 0, done.stdout
    assert [(row["id"], row["raw"]) for row in rejected(tmp_path / "refused")] == [("a/b", GOOD), ("c", GOOD)]

    done = verify("--input", source, "--output", tmp_path / "two", *columns, "--source-column", "text")
    assert done.returncode == 1 and "the input has a source_text of its own: rename that one" in done.stdout


def test_json_lines_of_several_shapes(tmp_path):
    rows = [{"text": GOOD, "a": 1}, {"text": TORN, "b": {"c": [1]}}, {"text": GOOD, "a": 2.5}]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    done = verify("--input", source, "--output", tmp_path / "out", "--checks", "table")
    assert done.returncode == 0, done.stdout
    assert [(row["id"], row["a"], row["b"]) for row in samples(tmp_path / "out")] == [
        ("in.jsonl:0", 1.0, None),
        ("in.jsonl:2", 2.5, None),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checks", "spelling"], "no check 'spelling'"),
        (["--checks", "table", "--thresholds", '{"table": {"rows": 2}}'], "no threshold 'rows'"),
        (["--checks", "table", "--text-column", "body"], "no column 'body'"),
        (["--checks", ""], "at least one check"),
        (
            ["--checks", "length", "--thresholds", '{"length": {"min_words": "ten"}}'],
            "'min_words' of the check 'length' must be a number",
        ),
        (
            ["--checks", "numbers", "--thresholds", '{"numbers": 0.8}', "--source-column", "text"],
            "the thresholds of the check 'numbers' must be a JSON object by name, not 0.8",
        ),
        (["--checks", "table,copying,language"], "copying, language hold a text against the one it was made from"),
        (
            ["--checks", "length", "--thresholds", '{"length": {"max_ratio": 2, "usual_ratio": [0.5, 1]}}'],
            "max_ratio, usual_ratio hold a text against",
        ),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, arguments, said):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": GOOD}])
    done = verify("--input", source, "--output", tmp_path / "out", *arguments)
    assert done.returncode == 1 and said in done.stdout
    assert not (tmp_path / "out").exists()
