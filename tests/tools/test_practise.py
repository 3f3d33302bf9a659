"""Practice of the bundled model: what it learns from is its own answer where that is good, else the teacher's."""

import orjson
import pytest

pytest.importorskip("torch", reason="torch is not installed: make cpu")
pytest.importorskip("transformers", reason="transformers is not installed: make cpu")

from pathlib import Path

from tools.tiny import practise as practice
from tools.tiny.card import BUNDLED
from tools.tiny.data import DECISION, Examples, load_teachers, read_documents
from tools.tiny.generate import Generated
from tools.tiny.practise import PRACTISED, practise, read_practised

DOCUMENTS = Path(__file__).parents[2] / "demo" / "documents.jsonl"


@pytest.fixture
def examples() -> Examples:
    return Examples(read_documents([DOCUMENTS]), load_teachers(), BUNDLED, seed=1)


def test_practice_keeps_good_answers_and_goes_on_after_a_kill(examples, tmp_path, monkeypatch):
    monkeypatch.setattr(practice, "_AT_ONCE", 3)
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    told = practise(BUNDLED, examples, whole, 0, 9)
    rows = [orjson.loads(line) for line in whole.read_bytes().splitlines()]
    assert told["examples"] == len(rows) > 5 and sum(row["own"] for row in rows) == sum(
        told[task] for task in PRACTISED
    )
    assert any(row["own"] for row in rows)
    for row in rows:
        example = examples.example(row["number"])
        assert (row["task"], row["prompt"]) == (example.task, example.prompt)
        assert row["own"] or row["answer"] == example.answer

    lines = whole.read_bytes().splitlines(keepends=True)
    killed.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    practise(BUNDLED, examples, killed, 0, 9)
    assert killed.read_bytes() == whole.read_bytes()


def test_answers_with_a_fault_are_not_learned(examples):
    """The teachers' answers are good, and are not when something is added to them or missing."""
    checks = practice._Checks(examples)
    asked = {example.task: example for number in range(60) if (example := examples.example(number)).answer != "null"}
    for task in PRACTISED:
        example = asked[task]
        assert checks.good(example, Generated(example.answer, True)), task
        assert not checks.good(example, Generated(example.answer, False))
        half = len(example.answer) // 2
        assert not checks.good(example, Generated(example.answer[:half], True)), task
        assert not checks.good(example, Generated(example.answer.replace(" the ", " the Wyomhorus "), True)), task
    pair = asked["instantiate"]
    assert not checks.good(pair, Generated("null", True))
    assert not checks.good(pair._replace(answer="null"), Generated(pair.answer, True)), "the teacher finds none"


def test_practised_examples_stand_among_the_others(examples, tmp_path):
    file = tmp_path / "own.jsonl"
    row = {"number": 3, "task": "instantiate", "prompt": "Pair?", "answer": "null", "own": False}
    file.write_bytes(orjson.dumps(row) + b"\n" + b'{"torn')
    [known] = read_practised([file])
    again = Examples(examples.documents, examples.teachers, BUNDLED, seed=1, practised=[known])
    asked = [again.example(number) for number in range(400)]
    pairs = [example for example in asked if example.task == "instantiate"]
    assert 60 < len(pairs) < 140
    assert 0.3 < pairs.count(known) / len(pairs) < 0.7
    assert again.encode(known).decision == DECISION
