"""`pipelines/finephrase.py` as a user meets it: run, look, resume, grow, and do things wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from blocks.rephrase.schema import REPHRASED_SCHEMA
from tests.conftest import (
    command,
    documents,
    endpoint,
    fake_vllm,
    finephrase,
    rejected,
    samples,
    shards,
    summary,
    write_jsonl,
    write_parquet,
)

FORMATS = ("faq", "math", "table", "tutorial")


@pytest.fixture
def corpus(tmp_path):
    return write_jsonl(tmp_path / "documents.jsonl", documents(25))


def fails(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """The run stopped with one line that says what is wrong."""
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.stdout
    for word in words:
        assert word in lines[0], lines[0]


def test_explains_itself_without_arguments():
    for arguments in ((), ("--help",)):
        shown = finephrase(*arguments, env={**os.environ, "COLUMNS": "100"})
        assert shown.returncode in (0, 2)
        for option in ("--input", "--output", "--formats", "--server", "--dry-run", "--config"):
            assert option in shown.stdout


def test_every_document_becomes_one_row_per_format(tmp_path, corpus, mock):
    run = tmp_path / "run"
    result = finephrase(
        "--input", corpus, "--output", run, *endpoint(mock), "--samples", 3, "--seed", 7, "--temperature", 0.5
    )
    assert result.returncode == 0, result.stdout
    assert sorted(shards(run)) == [f"shards/{name}/00000-00000.parquet" for name in FORMATS]
    rows = samples(run)
    assert sorted(row["id"] for row in rows) == sorted(f"doc-{i}/{name}" for i in range(25) for name in FORMATS)
    for name in FORMATS:  # input order within a shard
        assert [row["source_id"] for row in rows if row["format"] == name] == [f"doc-{i}" for i in range(25)]
    row = next(row for row in rows if row["id"] == "doc-3/table")
    assert row["text"].startswith("Answer ")
    assert (row["model"], row["temperature"], row["top_p"], row["max_tokens"]) == ("mock", 0.5, None, 2048)
    assert (row["input_cut"], row["piece"], row["pieces"], row["finish_reason"]) == (False, 0, 1, "stop")
    assert len(row["source_hash"]) == len(row["prompt_hash"]) == 16
    assert list(row) == REPHRASED_SCHEMA.names
    seeds = [entry["fields"]["seed"] for entry in mock.requests()]
    assert len(set(seeds)) == 100
    for shown in ("doc-0/faq", "doc-1/math", "doc-2/table"):  # of different documents
        assert shown in result.stdout
    for text in ("documents read", "samples written: table", "completion tokens", "doc-0/faq"):
        assert text in result.stdout

    started = mock.requests()
    again = finephrase("--input", corpus, "--output", run, *endpoint(mock), "--seed", 7, "--temperature", 0.5)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert mock.requests() == started


def test_dry_run_shows_requests_and_plan_and_writes_nothing(tmp_path, corpus, mock):
    run = tmp_path / "run"
    result = finephrase(
        "--input",
        corpus,
        "--output",
        run,
        *endpoint(mock),
        "--dry-run",
        "--limit",
        10,
        "--extra-body",
        '{"min_p": 0.1}',
    )
    assert result.returncode == 0, result.stdout
    assert "10 rows" in result.stdout and "Document 0." in result.stdout
    assert result.stdout.count('"min_p": 0.1') == 4
    assert not run.exists()
    assert mock.requests() == []
    long = write_jsonl(tmp_path / "long.jsonl", [{"id": "a", "text": "A sentence stands here. " * 9000}])
    shown = finephrase("--input", long, "--output", run, *endpoint(mock), "--dry-run", "--long-documents", "skip")
    assert shown.returncode == 0 and "A sentence stands here." in shown.stdout


def test_document_first_layout_shares_its_beginning(tmp_path, corpus, mock):
    result = finephrase(
        "--input",
        corpus,
        "--output",
        tmp_path / "run",
        *endpoint(mock),
        "--dry-run",
        "--prompt-layout",
        "document-first",
    )
    contents = result.stdout.replace("\n", "").split('"content": "')[1:]
    assert len(contents) == 4
    assert all(text.startswith("Document:\\nDocument 0. Some words") for text in contents)


def test_resumes_with_other_tasks_and_workers_and_grows(tmp_path, mock):
    """25 rows, then 70 with three tasks, then all with five: every document once, whatever the cuts."""
    write_jsonl(tmp_path / "in" / "a.jsonl", documents(30))
    more = [{"id": f"more-{i}", "text": f"More text, number {i}."} for i in range(60)]
    write_parquet(tmp_path / "in" / "b.parquet", more, row_group_size=9)
    run = tmp_path / "run"
    common = ["--input", tmp_path / "in", "--output", run, "--formats", "faq", "--chunk-size", 8, *endpoint(mock)]
    before: dict[str, list[dict[str, object]]] = {}
    for limit, tasks, workers in ((25, 1, 1), (70, 3, 2), (None, 5, 2)):
        cut = ["--limit", limit] if limit else []
        result = finephrase(*common, *cut, "--tasks", tasks, "--workers", workers)
        assert result.returncode == 0, result.stdout
        rows = samples(run)
        expected = [f"{row['id']}/faq" for row in documents(30) + more][: limit or 90]
        assert sorted(row["id"] for row in rows) == sorted(expected)
        assert summary(run)["read"] == len(expected)
        now = shards(run)
        assert {name: now[name] for name in before} == before  # a committed shard is never rewritten
        before = now
    assert len(mock.requests()) == 90
    smaller = finephrase(*common, "--limit", 5)
    assert smaller.returncode == 0 and "does not shrink" in smaller.stdout
    assert len(samples(run)) == 90


def test_limit_is_exact_for_any_number_of_tasks(tmp_path, mock):
    rows = documents(40)
    write_parquet(tmp_path / "in" / "a.parquet", rows[:25], row_group_size=4)
    write_jsonl(tmp_path / "in" / "b.jsonl", rows[25:])
    for limit, tasks in ((1, 4), (13, 2), (27, 3), (40, 7), (99, 2)):
        run = tmp_path / f"run-{limit}"
        result = finephrase(
            "--input", tmp_path / "in", "--output", run, "--formats", "faq", "--limit", limit, "--tasks", tasks,
            "--workers", 2, "--chunk-size", 5, *endpoint(mock),
        )  # fmt: skip
        assert result.returncode == 0, result.stdout
        assert sorted(r["source_id"] for r in samples(run)) == sorted(r["id"] for r in rows[:limit])


def test_formats_added_later_become_a_pass_of_their_own(tmp_path, corpus, mock):
    whole, run = tmp_path / "whole", tmp_path / "run"
    common = ["--input", corpus, "--chunk-size", 10, *endpoint(mock)]
    assert finephrase(*common, "--output", whole).returncode == 0
    assert finephrase(*common, "--output", run, "--formats", "faq,math", "--limit", 12).returncode == 0
    first = {path: path.stat().st_mtime_ns for path in (run / "shards").rglob("*.parquet")}
    assert finephrase(*common, "--output", run, "--limit", 12).returncode == 0
    assert finephrase(*common, "--output", run).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in first} == first
    by_id = {row["id"]: row for row in samples(whole)}
    assert {row["id"]: row for row in samples(run)} == by_id and len(samples(run)) == len(by_id)
    result = summary(run)
    assert result["complete"] and result["read"] == 25
    assert result["written"] == dict.fromkeys(FORMATS, 25)
    fails(finephrase(*common, "--output", run, "--formats", "faq"), "math, table, tutorial", "not asked for now")


def test_refuses_to_continue_as_another_run(tmp_path, corpus, mock):
    mine = tmp_path / "mine.md"
    mine.write_text("Shorten the document.\n\n[[DOCUMENT]]\n")
    common = ["--input", corpus, "--output", tmp_path / "run", "--formats", "none", "--prompt", mine, *endpoint(mock)]
    assert finephrase(*common, "--limit", 5).returncode == 0
    assert {row["format"] for row in samples(tmp_path / "run")} == {"mine"}
    fails(finephrase(*common, "--temperature", 0.7), "temperature: None there, 0.7 now")
    fails(finephrase(*common, "--chunk-size", 10, "--max-tokens", 9), "chunk_size: 5000 there, 10 now", "max_tokens")
    mine.write_text("Shorten the document, please.\n\n[[DOCUMENT]]\n")
    fails(finephrase(*common), "the prompt 'mine' was")
    assert len(samples(tmp_path / "run")) == 5


def test_a_prompt_with_another_answer_length_is_another_prompt(tmp_path, corpus, mock):
    mine = tmp_path / "mine.md"
    mine.write_text("---\nmax_tokens: 900\n---\nShorten it.\n\n[[DOCUMENT]]\n")
    common = ["--input", corpus, "--output", tmp_path / "run", "--formats", "none", "--prompt", mine, *endpoint(mock)]
    assert finephrase(*common, "--limit", 5).returncode == 0
    mine.write_text(mine.read_text().replace("900", "100"))
    fails(finephrase(*common), "the prompt 'mine'", "900 tokens", "100 tokens")


def test_output_and_state_belong_together(tmp_path, corpus, mock):
    common = ["--input", corpus, *endpoint(mock), "--formats", "faq"]
    assert finephrase(*common, "--output", tmp_path / "a", "--state", tmp_path / "st").returncode == 0
    other = finephrase(*common, "--output", tmp_path / "b", "--state", tmp_path / "st")
    fails(other, "belongs to another run", str(tmp_path / "a"))
    fails(finephrase(*common, "--output", tmp_path / "a"), "holds shards", "--state")
    assert len(samples(tmp_path / "a")) == 25
    again = finephrase(*common, "--output", tmp_path / "a", "--state", tmp_path / "st")
    assert again.returncode == 0 and "nothing to do" in again.stdout


def test_answers_are_cleaned_or_rejected_with_their_reason(tmp_path, mock):
    texts = [
        "A plain one.",
        "MOCK-SAY-empty",
        "MOCK-SAY-fence",
        "MOCK-SAY-refusal",
        "MOCK-SAY-think",
        "MOCK-SAY-echo",
        "MOCK-FINISH-length",
        "MOCK-FINISH-content_filter",
        "MOCK-FINISH-tool_calls",
        "MOCK-STATUS-400 CONTEXT",
    ]
    corpus = write_jsonl(tmp_path / "in.jsonl", [{"id": text, "text": text} for text in texts])
    run = tmp_path / "run"
    assert finephrase("--input", corpus, "--output", run, "--formats", "faq", *endpoint(mock)).returncode == 0
    kept = {row["source_id"]: row for row in samples(run)}
    assert set(kept) == {"A plain one.", "MOCK-SAY-fence", "MOCK-SAY-think"}
    assert kept["MOCK-SAY-fence"]["text"] == "What is it?\nA thing."
    assert kept["MOCK-SAY-think"]["text"] == "The answer of a thinker."
    assert kept["MOCK-SAY-think"]["reasoning"] == "Let me see."
    reasons = {row["id"].removesuffix("/faq"): row["reason"] for row in rejected(run)}
    assert reasons == {
        "MOCK-SAY-empty": "empty",
        "MOCK-SAY-refusal": "refusal",
        "MOCK-SAY-echo": "prompt_echo",
        "MOCK-FINISH-length": "cut_off",
        "MOCK-FINISH-content_filter": "content_filter",
        "MOCK-FINISH-tool_calls": "odd_finish_reason",
        "MOCK-STATUS-400 CONTEXT": "too_long",
    }
    raw = {row["reason"]: row["raw"] for row in rejected(run)}
    assert raw["refusal"].startswith("I'm sorry")


@pytest.mark.parametrize(("policy", "kept"), [("keep", 1), ("trim", 0), ("reject", 0)])
def test_truncated_output(tmp_path, mock, policy, kept):
    corpus = write_jsonl(tmp_path / "in.jsonl", [{"id": "a", "text": "no sentence end MOCK-FINISH-length here"}])
    run = tmp_path / "run"
    arguments = ["--input", corpus, "--output", run, "--formats", "faq", *endpoint(mock)]
    assert finephrase(*arguments, "--truncated-output", policy).returncode == 0
    assert len(samples(run)) == kept


def test_long_documents(tmp_path, mock):
    text = "\n\n".join(f"Paragraph {i} says something. And it ends here." for i in range(400))
    corpus = write_jsonl(tmp_path / "in.jsonl", [{"id": "long", "text": text}, {"id": "short", "text": "Short."}])
    common = ["--input", corpus, "--formats", "faq", "--context", 1024, "--max-tokens", 256, *endpoint(mock)]
    rows = {}
    for policy in ("truncate", "split", "skip"):
        run = tmp_path / policy
        assert finephrase(*common, "--output", run, "--long-documents", policy).returncode == 0
        rows[policy] = samples(run)
    assert [(row["id"], row["input_cut"]) for row in rows["truncate"]] == [("long/faq", True), ("short/faq", False)]
    pieces = [row for row in rows["split"] if row["source_id"] == "long"]
    assert len(pieces) > 5
    assert [row["id"] for row in pieces] == [f"long/{i}/faq" for i in range(len(pieces))]
    assert {row["pieces"] for row in pieces} == {len(pieces)}
    assert [row["id"] for row in rows["skip"]] == ["short/faq"]
    assert [(row["id"], row["reason"]) for row in rejected(tmp_path / "skip")] == [("long", "document_too_long")]
    assert summary(tmp_path / "skip")["done"] == 1


def test_jsonl_shards_and_column_names(tmp_path, mock):
    rows = [{"key": i, "body": f"Text {i}.", "int_score": i % 5} for i in range(20)]
    corpus = write_jsonl(tmp_path / "in.jsonl", rows)
    run = tmp_path / "run"
    result = finephrase(
        "--input", corpus, "--output", run, "--formats", "faq", "--text-column", "body", "--id-column", "key",
        "--where", "int_score >= 3", "--shard-format", "jsonl", *endpoint(mock),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    lines = [json.loads(line) for line in (run / "shards/faq/00000-00000.jsonl").read_text().splitlines()]
    assert [line["source_id"] for line in lines] == [str(i) for i in range(20) if i % 5 >= 3]
    assert list(lines[0]) == REPHRASED_SCHEMA.names
    assert summary(run)["read"] == 8 and summary(run)["documents"]["excluded"] == 12


def test_configuration_file(tmp_path, corpus, mock):
    config = tmp_path / "run.yaml"
    config.write_text(f"input: {corpus}\noutput: {tmp_path / 'run'}\nformats: [faq, math]\nlimit: 4\nchunk-size: 3\n")
    result = finephrase("--config", config, *endpoint(mock), "--limit", 7)
    assert result.returncode == 0, result.stdout
    assert sorted(shards(tmp_path / "run")) == [
        f"shards/{name}/00000-0000{k}.parquet" for name in ("faq", "math") for k in range(3)
    ]
    assert len(samples(tmp_path / "run")) == 14
    config.write_text("inputt: x\n")
    wrong = finephrase("--config", config)
    assert wrong.returncode == 2 and "inputt" in wrong.stdout


def test_wrong_input_is_one_clear_line(tmp_path, corpus, mock):
    common = ["--output", tmp_path / "run", *endpoint(mock)]
    (tmp_path / "empty").mkdir()
    fails(finephrase("--input", tmp_path / "nothing.jsonl", *common), "does not exist")
    fails(finephrase("--input", tmp_path / "empty", *common), "no file")
    fails(finephrase("--input", corpus, "--text-column", "body", *common), "no column 'body'", "id, text")
    fails(finephrase("--input", corpus, "--where", "score > 3", *common), "no column 'score'")
    fails(finephrase("--input", corpus, "--where", "score about 3", *common), "--where")
    fails(finephrase("--input", corpus, "--formats", "faq,poem", *common), "poem", "tutorial")
    fails(finephrase("--input", corpus, "--extra-body", "{", *common), "--extra-body")
    fails(finephrase("--input", corpus, "--max-tokens", 8190, *common), "8190", "--max-tokens")
    fails(finephrase("--input", corpus, "--output", "hf://datasets/me/x/y", *endpoint(mock)), "without a path")
    fails(finephrase("--input", corpus, "--output", corpus / "run", *endpoint(mock)), "cannot write")
    assert not (tmp_path / "run").exists()


def test_wrong_model_or_endpoint_is_one_clear_line(tmp_path, corpus, mock, start_mock):
    common = ["--input", corpus, "--output", tmp_path / "run"]
    fails(finephrase(*common, *endpoint(mock), "--model", "gpt-oss"), "gpt-oss", "mock")
    fails(finephrase(*common, "--server", "endpoint", "--endpoint", mock.url), "--tokenizer")
    fails(finephrase(*common, "--server", "endpoint"), "--endpoint URL")
    fails(
        finephrase(*common, "--server", "endpoint", "--endpoint", "http://127.0.0.1:9", "--tokenizer", "none"),
        "127.0.0.1:9",
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_SUCH_KEY"}
    fails(finephrase(*common, *endpoint(mock), "--api-key-env", "NO_SUCH_KEY", env=environment), "NO_SUCH_KEY")
    locked = start_mock("--key", "sesame")
    fails(finephrase(*common, *endpoint(locked)), "does not accept the key")
    if shutil.which("vllm") is None:
        fails(finephrase(*common, "--model", tmp_path, "--server", "vllm"), "tokenizer.json")


def test_api_key_reaches_the_server_and_no_file(tmp_path, corpus, start_mock):
    canary = "canary-3fa85f64"
    locked = start_mock("--key", canary)
    run = tmp_path / "run"
    result = finephrase(
        "--input",
        corpus,
        "--output",
        run,
        *endpoint(locked),
        "--api-key-env",
        "MY_KEY",
        env={**os.environ, "MY_KEY": canary},
    )
    assert result.returncode == 0, result.stdout
    assert len(samples(run)) == 100
    assert canary not in result.stdout
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if canary.encode() in path.read_bytes()]


def test_a_server_that_quotes_the_key_does_not_get_it_into_the_logs(tmp_path, corpus, start_mock):
    """The key is right for the first look and refused later, by an error that quotes it."""
    canary = "canary-77d1e2"
    quoting = start_mock("--quote-key")
    run = tmp_path / "run"
    result = finephrase(
        "--input",
        corpus,
        "--output",
        run,
        *endpoint(quoting),
        "--api-key-env",
        "MY_KEY",
        env={**os.environ, "MY_KEY": canary},
    )
    fails(result, "HTTP 401", "MY_KEY")
    assert canary not in result.stdout
    files = [path for path in run.rglob("*") if path.is_file()]
    assert any("worker-0.log" in str(path) for path in files)
    assert not [path for path in files if canary.encode() in path.read_bytes()]


def test_fields_with_an_option_of_their_own_are_refused_in_extra_body(tmp_path, corpus, mock):
    common = ["--input", corpus, "--output", tmp_path / "run", *endpoint(mock)]
    fails(finephrase(*common, "--extra-body", '{"temperature": 0.3}'), "temperature", "--temperature")
    config = tmp_path / "run.yaml"
    config.write_text("extra-body:\n  min_p: 0.05\n")
    result = finephrase(*common, "--config", config, "--limit", 1, "--formats", "faq")
    assert result.returncode == 0, result.stdout
    assert mock.requests()[0]["fields"]["min_p"] == 0.05


def test_extra_body_and_sampling_reach_the_server(tmp_path, corpus, mock):
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    result = finephrase(
        "--input", corpus, "--output", tmp_path / "run", "--formats", "faq", "--limit", 1, *endpoint(mock),
        "--extra-body", json.dumps(extra), "--top-k", 20, "--top-p", 0.9,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    (request,) = mock.requests()
    assert request["fields"] == {"model": "mock", "top_p": 0.9, "top_k": 20, **extra, "max_tokens": 2048}


def test_too_many_failures_stop_the_run(tmp_path, mock):
    rows = [{"id": str(i), "text": f"{i} MOCK-GARBAGE" if i % 4 == 0 else f"{i}"} for i in range(300)]
    corpus = write_jsonl(tmp_path / "in.jsonl", rows)
    started = time.monotonic()
    result = finephrase(
        "--input", corpus, "--output", tmp_path / "run", "--formats", "faq", *endpoint(mock), "--max-in-flight", 300
    )
    assert time.monotonic() - started < 110
    fails(result, "documents failed", "malformed_answer", "--max-failure-rate")


def test_a_launch_on_a_run_in_use_is_refused(tmp_path, corpus, start_mock):
    slow = start_mock("--latency", "3")
    arguments = command("--input", corpus, "--output", tmp_path / "run", *endpoint(slow))
    first = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "run" / "state" / "plan.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        fails(
            finephrase("--input", corpus, "--output", tmp_path / "run", *endpoint(slow)),
            "another launch",
            str(first.pid),
        )
    finally:
        first.send_signal(signal.SIGINT)
        assert first.wait(30) == 130


def test_interrupted_by_ctrl_c_it_goes_on_later(tmp_path, corpus, start_mock):
    server = start_mock("--latency", "0.3")
    arguments = [
        "--input",
        corpus,
        "--output",
        tmp_path / "run",
        *endpoint(server),
        "--max-in-flight",
        4,
        "--chunk-size",
        5,
    ]
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True, start_new_session=True)
    while len(server.requests()) < 30:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "goes on from here" in output
    assert finephrase(*arguments, "--max-in-flight", 64).returncode == 0
    assert len(samples(tmp_path / "run")) == 100
    # What was answered is not paid for again; what was on the wire is.
    assert len(server.requests()) <= 100 + 4


def test_user_prompt_files_are_found_from_any_folder(tmp_path, corpus, mock):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "brief.md").write_text(
        "---\nname: brief\nmax_tokens: 50\n---\nBe brief.\n\n[[DOCUMENT]]\n"
    )
    result = finephrase(
        "--input", "../documents.jsonl", "--output", "run", "--formats", "faq", "--prompt", "brief.md", *endpoint(mock),
        cwd=tmp_path / "elsewhere",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    rows = samples(tmp_path / "elsewhere" / "run")
    assert {(row["format"], row["max_tokens"]) for row in rows} == {("faq", 2048), ("brief", 50)}


def test_managed_vllm_serves_dies_and_leaves_nothing(tmp_path, corpus):
    """The whole way with a program that stands in for vLLM: it crashes twice, and is gone at the end."""
    program = fake_vllm(tmp_path / "bin")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"max_position_embeddings": 4096}')
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "0",
        "FAKE_VLLM_PIDS": str(tmp_path / "pids"),
        "FAKE_VLLM_DIE_AFTER": "40",
    }
    run = tmp_path / "run"
    result = finephrase(
        "--input", corpus, "--output", run, "--server", "vllm", "--model", model, "--tokenizer", "none",
        "--verify", "off", "--max-in-flight", 4, "--chunk-size", 5, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    assert len(samples(run)) == 100 and summary(run)["failed"] == {}
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) >= 6  # two processes, started three times
    alive = [
        pid for pid in pids if Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()
    ]
    assert alive == []
