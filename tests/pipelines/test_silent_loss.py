"""Nothing vanishes: the cases in which datatrove 0.10.1's runner reports success and documents are missing.

Each was reproduced against the stock `InferenceRunner`; here the same thing happens to `finephrase.py`. What a case is
about stands in its name. Cases about one module have their test there: a full disk, failing moves and copied documents
in tests/shards, best-of-n after a restart and unserialisable outcomes in tests/generate.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import (
    ROOT,
    documents,
    endpoint,
    finephrase,
    rejected,
    samples,
    summary,
    write_jsonl,
    write_parquet,
)


def test_one_refused_request_leaves_its_siblings(tmp_path, mock):
    """Stock: `gather` raises, the other answers of the document are thrown away and the document is dropped."""
    bad = tmp_path / "bad.md"
    bad.write_text("MOCK-STATUS-400\n\n[[DOCUMENT]]")
    flaky = tmp_path / "flaky.md"
    flaky.write_text("MOCK-ONCE-500\n\n[[DOCUMENT]]")
    run = tmp_path / "run"
    result = finephrase(
        "--input", write_jsonl(tmp_path / "in.jsonl", documents(30)), "--output", run, "--formats", "faq",
        "--prompt", bad, "--prompt", flaky, *endpoint(mock),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    assert summary(run)["written"] == {"faq": 30, "flaky": 30}
    assert summary(run)["rejected"] == {"bad_request": 30} and summary(run)["done"] == 30
    assert {row["format"] for row in rejected(run)} == {"bad"}


def test_a_429_that_mentions_bad_requests_is_not_one(tmp_path, mock):
    """Stock: errors are told apart by searching their text, and the text holds the prompt."""
    rows = [{"id": "a", "text": "About BadRequestError and error code 400. MOCK-ONCE-429"}]
    run = tmp_path / "run"
    corpus = write_jsonl(tmp_path / "in.jsonl", rows)
    assert finephrase("--input", corpus, "--output", run, "--formats", "faq", *endpoint(mock)).returncode == 0
    assert len(samples(run)) == 1
    assert [entry["status"] for entry in mock.requests()] == [429, 200]


def test_growing_a_finished_run_whose_last_chunk_was_partial(tmp_path, mock):
    """Stock: the partial chunk counts as full, and the documents between are skipped."""
    corpus = write_jsonl(tmp_path / "in.jsonl", documents(45))
    run = tmp_path / "run"
    common = ["--input", corpus, "--output", run, "--formats", "faq", "--chunk-size", 10, *endpoint(mock)]
    for limit in (25, 45):
        assert finephrase(*common, "--limit", limit).returncode == 0
    assert [row["source_id"] for row in samples(run)] == [row["id"] for row in documents(45)]


def test_input_that_grows_after_the_run(tmp_path, mock):
    """Stock: positions shift and documents are skipped. Here new files are added, and a changed file is refused."""
    folder = tmp_path / "in"
    write_jsonl(folder / "m.jsonl", documents(7))
    run = tmp_path / "run"
    common = ["--input", folder, "--output", run, "--formats", "faq", *endpoint(mock)]
    assert finephrase(*common).returncode == 0
    write_jsonl(folder / "a.jsonl", [{"id": f"new-{i}", "text": f"New {i}."} for i in range(4)])
    assert finephrase(*common).returncode == 0
    assert len(samples(run)) == 11 and len(mock.requests()) == 11
    write_jsonl(folder / "m.jsonl", documents(9))
    refused = finephrase(*common)
    assert refused.returncode == 1 and "m.jsonl changed" in refused.stdout


def test_duplicate_and_missing_ids(tmp_path, mock):
    """Stock: a set of ids stands for positions, so duplicates swallow each other after a restart."""
    rows = [{"id": "same", "text": f"Text {i}."} for i in range(6)] + [{"text": f"No id {i}."} for i in range(3)]
    run = tmp_path / "run"
    corpus = write_jsonl(tmp_path / "in.jsonl", rows)
    assert finephrase("--input", corpus, "--output", run, "--formats", "faq", *endpoint(mock)).returncode == 0
    ids = [row["source_id"] for row in samples(run)]
    assert len(ids) == len(set(ids)) == 9
    assert ids[:2] == ["same", "same#1"] and ids[6] == "in.jsonl:6"


def test_a_chunk_of_which_nothing_is_written(tmp_path, mock):
    """Stock: an unreadable file of 0 bytes."""
    rows = [{"id": str(i), "text": "MOCK-SAY-empty" if i < 10 else "fine"} for i in range(20)]
    run = tmp_path / "run"
    corpus = write_jsonl(tmp_path / "in.jsonl", rows)
    result = finephrase("--input", corpus, "--output", run, "--formats", "faq", "--chunk-size", 10, *endpoint(mock))
    assert result.returncode == 0, result.stdout
    assert [path.name for path in (run / "shards" / "faq").iterdir()] == ["00000-00001.parquet"]
    assert summary(run)["rejected"] == {"empty": 10} and summary(run)["chunks"] == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_output_that_vanishes(tmp_path, mock, moment):
    """Shards deleted by hand are not silently "done": the records are the truth, and a lost state starts anew."""
    run = tmp_path / "run"
    corpus = write_jsonl(tmp_path / "in.jsonl", documents(5))
    common = ["--input", corpus, "--output", run, "--formats", "faq", *endpoint(mock)]
    if moment == "before":
        run.mkdir()
        (run / "state").write_text("a file where a folder should be")
        result = finephrase(*common)
        assert result.returncode == 1 and "cannot write the state folder" in result.stdout
        (run / "state").unlink()
    else:
        assert finephrase(*common).returncode == 0
        shutil.rmtree(run)
    assert finephrase(*common).returncode == 0
    assert len(samples(run)) == 5


def test_several_ranks_in_one_process(tmp_path, mock):
    """Stock (Slurm, tasks_per_job > 1): state of the first rank makes the later ones write nothing."""
    script = tmp_path / "ranks.py"
    script.write_text(f"""
from datatrove.executor import LocalPipelineExecutor
from blocks.execute.launch import plan_run
from blocks.generate.probe import resolve
from blocks.generate.prompts import load_prompts
from blocks.generate.tokenizer import load_tokenizer
from blocks.rephrase.rephrase import Rephrase
from blocks.rephrase.schema import REPHRASED_SCHEMA
from blocks.shards.folder import RunFolder
from blocks.shards.read import ReadUnits
from blocks.shards.write import WriteShards

folder = RunFolder.at({str(tmp_path / "run")!r})
plan_run(folder, {str(tmp_path / "in")!r}, chunk_size=10)
rephrase = Rephrase(load_prompts("faq"), resolve({mock.url!r}), load_tokenizer(None))
pipeline = [ReadUnits(folder, 10), rephrase, WriteShards(folder, REPHRASED_SCHEMA)]
for rank in range(3):  # the very same step objects, as Slurm does with tasks_per_job
    stream = None
    for step in pipeline:
        stream = step(stream, rank, 3)
    for _ in stream:
        pass
""")
    for name in "abc":
        write_jsonl(tmp_path / "in" / f"{name}.jsonl", [{"id": f"{name}{i}", "text": f"Text {i}."} for i in range(45)])
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(row["source_id"] for row in samples(tmp_path / "run")) == sorted(
        f"{n}{i}" for n in "abc" for i in range(45)
    )


def test_damaged_and_odd_input_is_counted(tmp_path, mock):
    """Good rows are used, everything else is a reject with its reason; nothing stops the run."""
    folder = tmp_path / "in"
    write_jsonl(folder / "good.jsonl", documents(400))
    lines = [json.dumps({"id": i, "text": f"Line {i}."}) for i in range(50)]
    lines[3], lines[4] = '{"id": 3, "text": "torn', '["not", "an", "object"]'
    lines[5] = json.dumps({"id": 5, "text": 7})
    lines[6] = json.dumps({"id": 6, "text": None})
    lines[7] = json.dumps({"id": 7, "text": " \n "})
    lines[8] = '{"id": 8, "text": "\\ud800 alone"}'
    lines[9] = json.dumps({"id": 9, "text": "NUL \u0000 and <|im_end|> and [[DOCUMENT]]"})
    content = [line.encode() for line in lines]
    content[10] = b'{"id": 10, "text": "\xff\xfe"}'
    (folder / "odd.jsonl").write_bytes(b"\n\n".join(content) + b"\n")
    (folder / "empty.jsonl").touch()
    packed = gzip.compress(
        b"".join(json.dumps({"id": f"z{i}", "text": f"Zipped {i}."}).encode() + b"\n" for i in range(90))
    )
    (folder / "torn.jsonl.gz").write_bytes(packed[: len(packed) - 40])
    write_parquet(folder / "other.parquet", [{"id": i, "body": "no text column"} for i in range(3)], row_group_size=2)
    write_jsonl(folder / "big.jsonl", [{"id": "big", "text": "A long sentence comes here. " * 180_000}])
    run = tmp_path / "run"
    result = finephrase("--input", folder, "--output", run, "--formats", "faq", "--workers", 2, *endpoint(mock))
    assert result.returncode == 0, result.stdout
    counts = summary(run)
    reasons = counts["documents"]["rejected"]
    assert reasons.pop("unreadable_rest") == 1
    assert reasons == {
        "invalid_json": 2,
        "not_an_object": 1,
        "text_is_no_string": 1,
        "no_text": 1 + 3,
        "empty_text": 1,
        "invalid_utf8": 1,
    }
    ids = {row["source_id"] for row in samples(run)}
    assert {row["id"] for row in documents(400)} | {"0", "9", "11", "49", "z0", "big"} <= ids
    assert counts["read"] == counts["done"] + 1 + sum(reasons.values())
    assert next(row for row in samples(run) if row["source_id"] == "big")["input_cut"]


def test_rows_that_cannot_be_read_stop_a_run_when_they_are_many(tmp_path, mock):
    """Every tenth line is no JSON: that is the wrong file, or the wrong format."""
    corpus = tmp_path / "in.jsonl"
    corpus.write_text(
        "".join("{torn\n" if i % 10 == 0 else json.dumps({"id": i, "text": "x"}) + "\n" for i in range(3000))
    )
    result = finephrase("--input", corpus, "--output", tmp_path / "run", "--formats", "faq", *endpoint(mock))
    assert result.returncode == 1 and "Traceback" not in result.stdout
    assert "in.jsonl" in result.stdout.replace("\n", "")
    assert samples(tmp_path / "run") == []
