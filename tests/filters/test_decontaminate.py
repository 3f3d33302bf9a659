"""Decontamination: which documents and samples hold an evaluation item, and which only look like it."""

from __future__ import annotations

import pickle

import pytest
from datatrove.data import Document

from blocks.execute.launch import sum_up
from blocks.filters.decontaminate import EvaluationSets
from blocks.shards.folder import RunError
from tests.conftest import rejected, samples, write_jsonl, write_parquet
from tests.shards.steps import Echo, execute, planned

FERRY = (
    "A ferry carries 48 cars on each crossing and makes 6 crossings a day. On Sunday a storm cancels half of the "
    "crossings. How many cars does the ferry carry from Monday to Sunday?"
)
FERRY_ANSWER = (
    "On a usual day the ferry carries 48*6 = <<48*6=288>>288 cars.\nFrom Monday to Saturday these are "
    "288*6 = <<288*6=1728>>1728 cars.\nOn Sunday it carries 288/2 = <<288/2=144>>144 cars.\n#### 1872"
)
MOSS = "Which part of a moss plant takes up most water?"  # 10 words are too few without the choices
MOSS_CHOICES = ["the roots", "the leaves", "the spore capsule", "the flower"]


@pytest.fixture
def sets(tmp_path):
    word_problems = [{"question": FERRY, "answer": FERRY_ANSWER}, {"question": "What is 2 + 2?", "answer": "4"}]
    choices = [{"question": MOSS, "subject": "biology", "choices": MOSS_CHOICES, "answer": 1}]
    return [
        str(write_jsonl(tmp_path / "evals" / "problems.jsonl", word_problems)),
        str(write_parquet(tmp_path / "evals" / "mc.parquet", choices, 10)),
    ]


@pytest.fixture
def index(sets, tmp_path):
    return EvaluationSets(sets).index(tmp_path / "state" / "decontaminate")


def contaminated(index, text):
    return not list(index.filter().run([Document(text, "x")]))


def test_documents_that_hold_an_item_are_rejected_with_what_was_found(index, tmp_path):
    documents = {
        "clean": "Ferries carry cars across the water. How many cars a ferry can carry depends on its deck.",
        "whole": f"Some practice for the weekend.\n\n{FERRY.upper()}\n\nAnd the solution: {FERRY_ANSWER}",
        "layout": "**Ferry:** " + FERRY.replace(" ", "\n").replace(",", " —"),
        "choices": f"Quiz! {MOSS}\n(A) the roots\n(B) the leaves\n(C) the spore capsule\n(D) the flower",
    }
    rows = [{"id": name, "text": text} for name, text in documents.items()]
    folder = planned(tmp_path / "run", write_jsonl(tmp_path / "a.jsonl", rows), 3)
    execute(folder, 3, [index.filter(), Echo(["faq"])])
    assert [row["id"] for row in samples(tmp_path / "run")] == ["clean/faq"]
    found = {row["id"]: row for row in rejected(tmp_path / "run")}
    assert {name: (row["reason"], row["raw"]) for name, row in found.items()} == {
        name: ("contaminated", text) for name, text in documents.items() if name != "clean"
    }
    assert found["whole"]["detail"] == (
        "contaminated_ngram: a ferry carries 48 cars on each crossing and makes 6 crossings; "
        "contaminated_task: problems.jsonl"
    )
    assert found["choices"]["detail"].endswith("contaminated_task: mc.parquet")
    summary = sum_up(folder)
    assert summary["complete"] and (summary["read"], summary["done"]) == (4, 1)
    assert summary["rejected"] == {"contaminated": 3}


def test_samples_that_hold_an_item_are_rejected_by_format(index, tmp_path):
    rows = [{"id": "a", "text": FERRY}, {"id": "b", "text": "No ferry."}]
    folder = planned(tmp_path / "run", write_jsonl(tmp_path / "a.jsonl", rows), 3)
    execute(folder, 3, [Echo(), index.filter()])
    assert sum_up(folder)["samples"] == {
        "requested": {"faq": 2, "table": 2},
        "written": {"faq": 1, "table": 1},
        "rejected": {"faq": {"contaminated": 1}, "table": {"contaminated": 1}},
        "failed": {},
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # A copy with a word changed here and there is found as long as 12 words in a row are not.
        (FERRY.replace("storm", "strike"), True),
        (FERRY.replace("each", "every").replace("Sunday", "Friday").replace("crossings. How", "trips. How"), False),
        # Other numbers are other words, but there are long runs between them.
        (FERRY.replace("48", "52").replace("6", "7"), True),
        (FERRY.replace("48", "52").replace("6", "7").replace("half", "2").replace("Monday", "Friday"), False),
        # The answer alone; its calculations do not make a row of numbers an evaluation item.
        (FERRY_ANSWER, True),
        ("48 6 48 6 288 288 288 6 288 6 1728 1728 288 2 288 2 144 144", False),
        ("| 1 | 2 |\n|---|---|\n" + "| 3 | 4 |\n" * 20, False),
        # The end of the question with the right choice, and with another one.
        (f"{MOSS} The leaves.", True),
        (f"{MOSS} The flower.", True),
        (MOSS, False),
        ("How many cars does the ferry carry? Which part of a moss plant takes up water?", False),
        ("What is 2 + 2? 4", False),
        ("", False),
    ],
)
def test_near_copies(index, text, found):
    assert contaminated(index, text) is found


def test_items_that_are_too_short_are_counted(index):
    assert str(index).startswith("mc.parquet: 1 items, ")
    assert str(index).endswith(" runs of 12 words, 1 items too short to be found")
    assert [(name, found.items, found.too_short) for name, found in index.sets.items()] == [
        ("mc.parquet", 1, 0),
        ("problems.jsonl", 2, 1),
    ]


def test_an_index_is_built_once_and_known_by_content(sets, tmp_path, index):
    state = tmp_path / "state" / "decontaminate"
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}
    assert EvaluationSets(sets[::-1]).index(state) == index
    assert {path: path.stat().st_mtime_ns for path in state.rglob("*")} == before
    former = EvaluationSets(sets).fingerprint
    rows = [{"question": MOSS, "choices": MOSS_CHOICES[::-1], "answer": 2}]
    write_parquet(tmp_path / "evals" / "mc.parquet", rows, 10)
    changed = EvaluationSets(sets)
    assert changed.fingerprint["files"][0] != former["files"][0]
    assert changed.fingerprint["files"][1] == former["files"][1]
    assert changed.index(state).folder != index.folder
    assert EvaluationSets(sets[:1], 8).fingerprint != EvaluationSets(sets[:1]).fingerprint


def test_a_build_that_was_killed_is_done_again(sets, tmp_path, index, monkeypatch):
    other = tmp_path / "other"
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            EvaluationSets(sets).index(other)
    again = EvaluationSets(sets).index(other)
    assert [path.name for path in other.iterdir()] == [again.folder.name]
    for path in again.folder.iterdir():
        assert path.read_bytes() == (index.folder / path.name).read_bytes()


def test_the_step_travels_to_a_worker(index):
    step = pickle.loads(pickle.dumps(index.filter()))
    assert [document.id for document in step.run([Document(FERRY, "a"), Document("Ferry.", "b")])] == ["b"]
    assert step.stats["contaminated_problems.jsonl"].total == 1


@pytest.mark.parametrize(
    "row",
    [
        {"text": FERRY},
        {"Question": FERRY, "Correct Answer": "1872"},
        {"problem": "Solve.", "solution": FERRY},
        {"ctx": "A ferry carries 48 cars on each", "endings": ["deck.", FERRY.removeprefix("A ferry carries 48 cars")]},
        {"question": "A ferry?", "choices": {"label": ["A", "B"], "text": ["No.", FERRY]}, "answerKey": "B"},
        {"question": FERRY, "answer": {"value": "1872", "aliases": ["1,872"]}},
        {"question": None, "answers": [FERRY, "1872"]},
    ],
)
def test_columns_of_known_evaluation_sets(row, tmp_path):
    """Plain text, GPQA, MATH, HellaSwag, ARC, TriviaQA, Natural Questions."""
    for file in (write_jsonl(tmp_path / "e" / "a.jsonl", [row]), write_parquet(tmp_path / "e" / "b.parquet", [row], 1)):
        assert contaminated(EvaluationSets([str(file)]).index(tmp_path / "state"), f"Look: {FERRY}")


def test_sets_in_folders_keep_their_names(sets, tmp_path):
    index = EvaluationSets([str(tmp_path)]).index(tmp_path / "state")
    assert sorted(index.sets) == ["evals/mc.parquet", "evals/problems.jsonl"]
    document = Document(FERRY, "a")
    assert not list(index.filter().run([document]))
    assert document.metadata["contaminated_task"] == "evals/problems.jsonl"


def test_mistakes_are_named(tmp_path):
    with pytest.raises(RunError, match=r"^--decontaminate \S*nowhere.jsonl does not exist"):
        EvaluationSets([str(tmp_path / "nowhere.jsonl")])
    odd = write_jsonl(tmp_path / "odd.jsonl", [{"context": FERRY, "label": 1}])
    with pytest.raises(RunError, match=r"odd.jsonl: no column with a question \(question, .*it has context, label"):
        EvaluationSets([str(odd)])
    short = write_jsonl(tmp_path / "short.jsonl", [{"question": "Why?", "answer": "So."}] * 3)
    with pytest.raises(RunError, match=r"short.jsonl: none of its 3 items has 12 words"):
        EvaluationSets([str(short)]).index(tmp_path / "state")
    short.write_text('{"question": "Why?"}\nno JSON\n')
    with pytest.raises(RunError, match=r"short.jsonl: row 1 cannot be read \(invalid_json\)"):
        EvaluationSets([str(short)]).index(tmp_path / "state")
