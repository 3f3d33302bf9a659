"""Hygiene of queries: duplicates over a whole plan, length, language."""

from __future__ import annotations

import pickle
import tracemalloc

import pytest

from blocks.filters.decontaminate import EvaluationSets
from blocks.instruct.queries import Duplicates, Hygiene, normalised, query_hash
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import extend_plan, load_plan, save_plan
from blocks.shards.source import list_files
from blocks.shards.where import parse_where
from tests.conftest import write_jsonl, write_parquet

QUERIES = [
    "Who wrote Emma?",
    "how old is the sun",
    "who wrote  emma",
    "HOW OLD IS THE SUN",
    "who wrote emma",
    "where is Oslo",
]


def planned(tmp_path, source, chunk_size, limit=None):
    """A run folder with a plan of the input, grown where there is one."""
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    path = folder.state / "plan.jsonl"
    save_plan(path, extend_plan(load_plan(path), list_files(str(source)), chunk_size, limit))
    return folder


def test_what_is_the_same_query():
    assert normalised(" Who  wrote “Émma”? ") == normalised("who wrote E\u0301mma") == "who wrote émma"
    assert normalised("It's 'so'") == "it's so"
    for one, other in (
        ("a b", "b a"),
        ("how to sort a list in c#", "how to sort a list in c++"),
        ("what is 7 + 2", "what is 7 - 2"),
        ("कि क्या है", "का क्या है"),
    ):
        assert normalised(one) != normalised(other)


def test_the_first_of_a_plan_stays_wherever_the_others_stand(tmp_path):
    rows = [{"text": text} for text in QUERIES]
    write_jsonl(tmp_path / "in" / "a.jsonl", rows[:3])
    write_parquet(tmp_path / "in" / "b.parquet", rows[3:], row_group_size=2)
    folder = planned(tmp_path, tmp_path / "in", 2)
    duplicates = Duplicates(folder, 2, "text")
    duplicates.find()
    found = []
    for unit in load_plan(folder.state / "plan.jsonl"):
        for offset in range(3 if unit.rows is None else unit.rows):
            sent = pickle.loads(pickle.dumps(duplicates))
            sent.find()
            lineage = f"{unit.number:05d}-{offset // 2:05d}:{offset % 2}"
            found.append(sent.look_up(QUERIES[len(found)], lineage))
    assert found == [(True, 3), (True, 2), (False, 3), (False, 2), (False, 3), (True, 1)]


def test_a_plan_that_grows_gets_another_table(tmp_path):
    """Who has the old one notices, and never takes what is new for a duplicate."""
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in QUERIES])
    old = Duplicates(planned(tmp_path, source, 10, 2), 10, "text")
    old.find()
    assert old.look_up(QUERIES[0], "00000-00000:0") == (True, 1)
    folder = planned(tmp_path, source, 10)
    with pytest.raises(RunError, match="newer than the table"):
        old.look_up(QUERIES[5], "00001-00000:3")
    new = Duplicates(folder, 10, "text")
    new.find()
    assert new.look_up(QUERIES[0], "00000-00000:0") == (True, 3)
    assert new.look_up(QUERIES[2], "00001-00000:0") == (False, 3)
    assert old.look_up(QUERIES[0], "00000-00000:0") == (True, 1)
    assert len(list(folder.state.glob("queries-*.table"))) == 2


def test_a_look_up_reads_a_few_pages_of_a_large_table(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": f"query {n}"} for n in range(20_000)])
    duplicates = Duplicates(planned(tmp_path, source, 100_000), 100_000, "text")
    duplicates.find()
    tracemalloc.start()
    for n in range(100):
        assert duplicates.look_up(f"query {n}", f"00000-00000:{n}") == (True, 1)
    assert tracemalloc.get_traced_memory()[1] < 50_000  # a copy of the hashes has 160,000 bytes
    tracemalloc.stop()


def test_rows_that_are_left_out_are_no_duplicates_of_what_stays(tmp_path):
    rows = [{"text": "who wrote emma", "lang": "de"}, {"text": "who wrote emma", "lang": "en"}]
    folder = planned(tmp_path, write_jsonl(tmp_path / "in.jsonl", rows), 10)
    duplicates = Duplicates(folder, 10, "text", [parse_where("lang == en")])
    duplicates.find()
    assert duplicates.look_up("who wrote emma", "00000-00000:1") == (True, 1)


def test_a_column_says_how_often_a_query_was_asked(tmp_path):
    told = [3, 2.0, None, "many", -1, True, 10**15]
    rows = [{"text": "who wrote emma", "asked": number} for number in told]
    write_jsonl(tmp_path / "in" / "a.jsonl", [*rows, {"text": "Who wrote Emma?"}])
    write_parquet(tmp_path / "in" / "b.parquet", [{"text": "who is emma", "asked": 7}], 1)
    duplicates = Duplicates(planned(tmp_path, tmp_path / "in", 10), 10, "text", frequency_column="asked")
    duplicates.find()
    assert duplicates.look_up("who wrote emma", "00000-00000:0") == (True, 3 + 2 + 6)
    assert duplicates.look_up("who is emma", "00001-00000:0") == (True, 7)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("where is oslo", None),
        ("define photosynthesis", None),
        ("photosynthesis", "too_few_words"),
        ("?!", "too_few_words"),
        ("word " * 301, "too_many_words"),
        ("wie heißt die hauptstadt von norwegen und wie viele leute leben dort", "other_language"),
        ("挪威的首都叫什么名字 那里住着多少人 请告诉我", "other_language"),
        ("who sang la vie en rose", None),
    ],
)
def test_what_is_no_query_worth_a_template(tmp_path, query, reason):
    refusal = Hygiene(Duplicates(RunFolder.at(str(tmp_path)), 10, "text")).judge(query)
    assert (refusal and refusal.reason) == reason


def test_all_languages_are_welcome_when_none_is_wanted(tmp_path):
    hygiene = Hygiene(Duplicates(RunFolder.at(str(tmp_path)), 10, "text"), language=None)
    assert hygiene.judge("wie heißt die hauptstadt von norwegen und wie viele leute leben dort") is None
    assert hygiene.judge("糖尿病的早期症状有哪些？") is None
    assert hygiene.judge("病").reason == "too_few_words"
    assert hygiene.judge("病" * 301).reason == "too_many_words"


def test_short_questions_of_an_evaluation_are_known_word_for_word(tmp_path):
    items = [{"question": "Who wrote Emma?", "answer": "Austen"}, {"question": "word " * 12, "answer": "x"}]
    short = list(EvaluationSets([str(write_jsonl(tmp_path / "eval.jsonl", items))]).short_questions())
    assert short == ["Who wrote Emma?"]
    known = frozenset(map(query_hash, short))
    hygiene = Hygiene(Duplicates(RunFolder.at(str(tmp_path)), 10, "text"), known=known)
    refusal = hygiene.judge("who wrote emma")
    assert refusal is not None and refusal.reason == "contaminated"
    assert hygiene.judge("who wrote emma and when") is None
