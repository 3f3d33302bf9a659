"""Hygiene of queries: duplicates over a whole plan, length, language."""

from __future__ import annotations

import pickle

import pytest

from blocks.instruct.queries import Duplicates, Hygiene, normalised
from blocks.shards.plan import extend_plan
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


def test_same_words_are_the_same_query():
    assert normalised(" Who  wrote “Émma”? ") == normalised("who wrote E\u0301mma") == "who wrote émma"
    assert normalised("a b") != normalised("b a")


def test_the_first_of_a_plan_stays_wherever_the_others_stand(tmp_path):
    rows = [{"text": text} for text in QUERIES]
    write_jsonl(tmp_path / "in" / "a.jsonl", rows[:3])
    write_parquet(tmp_path / "in" / "b.parquet", rows[3:], row_group_size=2)
    units = extend_plan([], list_files(str(tmp_path / "in")), 2, None)
    duplicates = Duplicates(tmp_path / "table", 2)
    duplicates.find(units, "text")
    found = []
    for unit in units:
        size = 3 if unit.rows is None else unit.rows
        for offset in range(size):
            text = QUERIES[len(found)]
            lineage = f"{unit.number:05d}-{offset // 2:05d}:{offset % 2}"
            found.append(pickle.loads(pickle.dumps(duplicates)).look_up(text, lineage))
    assert found == [(True, 3), (True, 2), (False, 3), (False, 2), (False, 3), (True, 1)]


def test_a_table_grows_with_its_plan_and_stays_otherwise(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text, "lang": "en"} for text in QUERIES])
    files = list_files(str(source))
    duplicates = Duplicates(tmp_path / "table", 10)
    duplicates.find(extend_plan([], files, 10, 2), "text")
    first = (tmp_path / "table").read_bytes()
    assert duplicates.look_up(QUERIES[0], "00000-00000:0") == (True, 1)
    duplicates.find(extend_plan([], files, 10, 2), "text")
    assert (tmp_path / "table").read_bytes() == first
    grown = extend_plan(extend_plan([], files, 10, 2), files, 10, None)
    duplicates = Duplicates(tmp_path / "table", 10)
    duplicates.find(grown, "text")
    assert duplicates.look_up(QUERIES[0], "00000-00000:0") == (True, 3)
    assert duplicates.look_up(QUERIES[2], "00001-00000:0") == (False, 3)


def test_rows_that_are_left_out_are_no_duplicates_of_what_stays(tmp_path):
    rows = [{"text": "who wrote emma", "lang": "de"}, {"text": "who wrote emma", "lang": "en"}]
    units = extend_plan([], list_files(str(write_jsonl(tmp_path / "in.jsonl", rows))), 10, None)
    duplicates = Duplicates(tmp_path / "table", 10)
    duplicates.find(units, "text", [parse_where("lang == en")])
    assert duplicates.look_up("who wrote emma", "00000-00000:1") == (True, 1)


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
    refusal = Hygiene(Duplicates(tmp_path, 10))._judge(query)
    assert (refusal and refusal.reason) == reason


def test_all_languages_are_welcome_when_none_is_wanted(tmp_path):
    hygiene = Hygiene(Duplicates(tmp_path, 10), language=None)
    assert hygiene._judge("wie heißt die hauptstadt von norwegen und wie viele leute leben dort") is None
