"""Tokens for nanotron: read back as a loader does it, each document once, whatever happened on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from blocks.pretrain.encode import Vocabulary
from tests.conftest import ROOT, documents, endpoint, finephrase, samples, summary, write_jsonl, write_parquet
from tests.generate.small_tokenizers import CORPUS, make_tokenizer

PROSE = [line for text in CORPUS for line in text.splitlines() if len(line) > 40]


def tokens(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, ROOT / "pipelines" / "tokens.py", *arguments]
    return subprocess.run([*map(str, program)], capture_output=True, text=True, timeout=120, **options)


def rows(count: int) -> list[dict]:
    return [{"id": f"d{i}", "text": f"{i}. " + " ".join(PROSE[i % 50 : i % 50 + 3])} for i in range(count)]


def manifest(run: Path) -> dict:
    return json.loads((run / "tokens.json").read_text())


def read(run: Path, name: str) -> list[list[int]]:
    """The documents of a format, by the index files."""
    found = []
    for file in sorted((run / "ds-s3" / name).glob("*.ds")):
        all_tokens = np.frombuffer(file.read_bytes(), f"<u{manifest(run)['tokenizer']['token_size']}")
        ends = np.frombuffer(Path(f"{file}.index").read_bytes(), "<u8").astype(int)
        assert ends[-1] == len(all_tokens)
        found += [all_tokens[start:end].tolist() for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return found


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("model") / "model", "plain")


def test_the_loader_of_datatrove_reads_each_document_once(tmp_path, model):
    pytest.importorskip("torch", reason="torch is not installed: make cpu")
    from datatrove.utils.dataset import DatatroveFolderDataset

    run, window = tmp_path / "run", 64
    source = write_jsonl(tmp_path / "in.jsonl", [*rows(200), {"id": "empty", "text": " "}])
    done = tokens(
        "--input", source, "--output", run, "--tokenizer", model, "--chunk-size", 30, "--tokens-per-file", 0.01
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = manifest(run)
    eos, found = told["tokenizer"]["eos_id"], told["formats"]["documents"]
    assert (found["documents"], summary(run)["rejected"]) == (200, {"empty_text": 1})
    assert len(found["files"]) > 2 and found["tokens"] == sum(file["tokens"] for file in found["files"])
    decoder = Vocabulary(model).tokenizer
    texts = Counter()
    for file in found["files"]:
        path = run / file["path"]
        assert Path(f"{path}.metadata").read_text().splitlines()[:2] == [f"{model}|2", str(file["tokens"])]
        windows = DatatroveFolderDataset(
            str(path.parent),
            window - 1,
            filename_pattern=path.name,
            return_positions=True,
            positions_from_eos_token_id=eos,
        )
        assert len(windows) == file["tokens"] // window
        ids = [token for item in windows for token in item["input_ids"].tolist()]
        positions = [position for item in windows for position in item["positions"].tolist()]
        whole = np.frombuffer(path.read_bytes(), "<u2").tolist()
        assert ids == whole[: len(ids)]
        for at, position in enumerate(positions):  # from the EOS before, or the beginning of the window
            start = at - at % window
            before = max((i + 1 for i in range(start, at) if ids[i] == eos), default=start)
            assert position == at - before
        document: list[int] = []
        for token in whole:
            if token == eos:
                texts[decoder.decode(document)] += 1
                document = []
            else:
                document.append(token)
        assert not document, "the file ends with EOS"
    assert texts == Counter(row["text"] for row in rows(200))


def test_each_format_of_a_run_has_its_folder(tmp_path, model, mock):
    run, out = tmp_path / "run", tmp_path / "tokens"
    source = write_parquet(tmp_path / "in.parquet", documents(20), row_group_size=5)
    asked = ["--formats", "faq,table", "--chunk-size", 5]
    assert finephrase("--input", source, "--output", run, *asked, *endpoint(mock)).returncode == 0
    done = tokens("--input", run / "shards", "--output", out, "--tokenizer", f"{model}/tokenizer.json")
    assert done.returncode == 0, done.stdout + done.stderr
    vocabulary = Vocabulary(model)
    for name in ("faq", "table"):
        wanted = [row["text"] for row in samples(run) if row["format"] == name]
        assert sorted(read(out, name)) == sorted(found.tolist() for found in vocabulary.encode(wanted))
    assert sorted(path.name for path in (out / "ds-s3").iterdir()) == ["faq", "table"]
    assert read(out, "faq") != [found.tolist() for found in vocabulary.encode([r["text"] for r in samples(run)][:20])]


FIRST = "ds-s3/documents/00000.ds"


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in (run / "ds-s3").rglob("*") if path.is_file()}


def test_a_run_that_was_killed_makes_the_same_bytes(tmp_path, model):
    source = write_jsonl(tmp_path / "in.jsonl", rows(4000))
    asked = ["--input", source, "--tokenizer", model, "--chunk-size", 100, "--tokens-per-file", 0.05]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert tokens(*asked, "--output", whole, "--workers", 2).returncode == 0
    program = [sys.executable, ROOT / "pipelines" / "tokens.py", *asked, "--output", killed]
    for waits_for, count in (("commits/*.json", 5), ("ds/*.json", 2)):
        process = subprocess.Popen([*map(str, program)], stdout=subprocess.DEVNULL, start_new_session=True)
        while len(list((killed / "state").glob(waits_for))) < count:
            assert process.poll() is None, "it was over before it could be killed"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (killed / "tokens.json").exists()
    assert tokens(*asked, "--output", killed).returncode == 0
    assert contents(killed) == contents(whole) and len(contents(whole)) > 6
    assert manifest(killed) == manifest(whole)


def test_what_is_gone_is_made_again_and_what_has_grown_is_laid_out_anew(tmp_path, model):
    source = write_jsonl(tmp_path / "in.jsonl", rows(300))
    run = tmp_path / "run"
    asked = ["--input", source, "--output", run, "--tokenizer", model, "--chunk-size", 50, "--tokens-per-file", 0.01]
    assert tokens(*asked, "--limit", 100).returncode == 0
    before = contents(run)
    written = {path: (run / path).stat().st_mtime_ns for path in before}
    [first, *_] = [path for path in before if path.endswith(".ds")]
    (run / first).unlink()
    done = tokens(*asked, "--limit", 100)
    assert done.returncode == 0 and contents(run) == before
    assert {path for path, at in written.items() if (run / path).stat().st_mtime_ns == at} == {
        path for path in before if not path.startswith(first)
    }
    assert tokens(*asked).returncode == 0
    assert manifest(run)["formats"]["documents"]["documents"] == len(read(run, "documents")) == 300
    assert tokens(*asked[:-1], 10).returncode == 0
    assert sorted(path for path in contents(run) if path.endswith(".ds")) == ["ds-s3/documents/00000.ds"]
    assert len(read(run, "documents")) == 300
    one = contents(run)
    for name in (f"{FIRST}.index", f"{FIRST}.metadata"):
        (run / name).unlink()
        assert tokens(*asked[:-1], 10).returncode == 0 and contents(run) == one
    [record] = (run / "state" / "ds").glob("*.json")  # those of larger layouts are gone
    record.write_bytes(b"")  # as after a loss of power
    assert tokens(*asked[:-1], 10).returncode == 0 and contents(run) == one
    assert tokens(*asked[:-1], 10, "--seed", 1).returncode == 0
    other = contents(run)
    assert other[FIRST] != one[FIRST] and len(other[FIRST]) == len(one[FIRST])


def test_another_layout_that_was_killed_is_trusted_by_nobody(tmp_path, model):
    source, run = write_jsonl(tmp_path / "in.jsonl", rows(2000)), tmp_path / "run"
    asked = ["--input", source, "--output", run, "--tokenizer", model, "--chunk-size", 50, "--tokens-per-file", 0.001]
    assert tokens(*asked).returncode == 0
    before = contents(run)
    program = [sys.executable, ROOT / "pipelines" / "tokens.py", *asked, "--seed", 1]
    process = subprocess.Popen([*map(str, program)], stdout=subprocess.DEVNULL)
    while (run / FIRST).read_bytes() == before[FIRST]:
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (run / "tokens.json").exists() and 0 < len(contents(run).items() - before.items()) < len(before)
    assert tokens(*asked).returncode == 0
    assert contents(run) == before


def test_what_cannot_be_is_one_clear_line(tmp_path, model):
    source = write_jsonl(tmp_path / "in.jsonl", rows(10))
    run = tmp_path / "run"
    for options, word in (
        (["--tokenizer", tmp_path], "has no tokenizer.json"),
        (["--tokenizer", "/nowhere/model"], "--tokenizer /nowhere/model: no such folder here"),
        (["--tokenizer", model, "--eos", "<end>"], "has no token '<end>'"),
        (["--tokenizer", model, "--text-column", "body"], "body"),
    ):
        done = tokens("--input", source, "--output", run, *options)
        assert done.returncode == 1 and word in done.stdout and "Traceback" not in done.stderr, (
            done.stdout + done.stderr
        )
        assert not run.exists()
    assert tokens("--input", source, "--output", run, "--tokenizer", model).returncode == 0
    other = tokens("--input", source, "--output", run, "--tokenizer", model, "--eos", "</s>")
    assert other.returncode == 1 and "eos" in other.stdout


def test_a_tokenizer_on_the_hub_is_pinned(tmp_path, model):
    files = tmp_path / "hub" / "models" / "org" / "model"
    files.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (files / name).write_bytes((Path(model) / name).read_bytes())
    hub = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "fake_hub.py", tmp_path / "hub"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert hub.stdout is not None
        told = {
            "HF_ENDPOINT": hub.stdout.readline().strip(),
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": "1",
        }
        source = write_jsonl(tmp_path / "in.jsonl", rows(10))
        done = tokens(
            "--input", source, "--output", tmp_path / "run", "--tokenizer", "org/model", env={**os.environ, **told}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        hub.kill()
        hub.wait()
    told = manifest(tmp_path / "run")["tokenizer"]
    assert told["name"] == "org/model" and len(told["revision"]) == 40
    assert (tmp_path / "run" / "ds-s3" / "documents" / "00000.ds.metadata").read_text().startswith("org/model|2\n")


def test_on_a_cluster_the_last_job_lays_out(slurm, tmp_path, model, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    source = write_parquet(tmp_path / "in.parquet", rows(60), row_group_size=10)
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"jobs": 2, "cpus": 1}))
    run = tmp_path / "run"
    asked = ["--input", source, "--output", run, "--tokenizer", model, "--chunk-size", 10]
    done = tokens(*asked, "--cluster", tmp_path / "cluster.yaml")
    assert done.returncode == 0 and "submitted job" in done.stdout, done.stdout + done.stderr
    slurm.wait(lambda: not slurm.queue(), "end", 90)
    assert len(read(run, "documents")) == 60
    before = contents(run)
    (run / FIRST).unlink()  # as if the last job had been killed before it came to that
    done = tokens(*asked, "--cluster", tmp_path / "cluster.yaml")
    assert done.returncode == 0 and "submitted job" in done.stdout, done.stdout + done.stderr
    slurm.wait(lambda: not slurm.queue(), "end", 90)
    assert contents(run) == before
    assert "nothing to submit" in tokens(*asked, "--cluster", tmp_path / "cluster.yaml").stdout
