"""The teachers of templates and pairs: what they write passes the parsers of the pipeline, and fits by their rules."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import pytest

from blocks.instruct.excerpts import Source
from blocks.instruct.pairs import is_sound, parse_pair
from blocks.instruct.templates import parse_template, parse_templatized
from blocks.judge.flow import parse_judgement
from blocks.judge.rubric import load_rubric
from tools.tiny.teachers import (
    GENERIC,
    documents,
    fitting,
    instantiate,
    judge_pair,
    made_query,
    spoil_pair,
    templatize,
    typed,
)
from tools.tiny.teachers.passages import names, passages, quoted, subject

DEMO = [
    json.loads(line)["text"]
    for line in (Path(__file__).parents[2] / "demo" / "documents.jsonl").read_text(encoding="utf-8").splitlines()
]
GENERATED = list(itertools.islice(documents(random.Random(5)), 80))
RUBRIC = load_rubric("relevance")
TOWN = (
    "Kelmark is a town in Varia. It was founded in 1820 by Anna Sorberg and her brother. The town has 12 schools, and "
    'its people say that it is "the quietest of all". The bridge was closed because the river rose.'
)


def pair(template: str, document: str, seed: int = 1) -> tuple[str, str] | None:
    told = json.loads(instantiate(template, document, random.Random(seed)))
    return None if told is None else (told["instruction"], told["answer"])


@pytest.mark.parametrize(
    ("query", "template"),
    [
        (
            "who played the wizard in wizard of oz",
            "who played <fi>name of a character</fi> in <fi>title of a film or series</fi>",
        ),
        ("when was jane doe born", "when was <fi>name of a person</fi> born"),
        ("what is the capital of france", "what is the capital of <fi>subject</fi>"),
        ("who won the cup final in 2017", "who won <fi>name of a contest</fi> in <fi>year</fi>"),
        ("where was the movie summer of 42 filmed", "where was the movie <fi>title of a film or series</fi> filmed"),
        ("Who wrote Dracula?", "Who wrote <fi>title of a book</fi>?"),
        ("five tools of security management", "five tools of <fi>subject</fi>"),
        ("location of the ten commandments in the bible", "location of <fi>subject</fi>"),
    ],
)
def test_queries_become_templates(query: str, template: str) -> None:
    answer = templatize(query)
    assert answer is not None and "\n" not in answer
    assert parse_templatized(query, answer).template.text == template


@pytest.mark.parametrize("query", ["", "dracula", "<fi>", "1999"])
def test_queries_without_a_frame_have_no_template(query: str) -> None:
    assert templatize(query) is None


def test_made_queries_have_templates_that_the_parser_takes() -> None:
    dice = random.Random(4)
    made = [made_query(template, text, dice) for text in DEMO + GENERATED for template in GENERIC[::7]]
    assert made == [
        made_query(t, text, dice) for dice in [random.Random(4)] for text in DEMO + GENERATED for t in GENERIC[::7]
    ]
    found = [(query, answer) for query in made if query and (answer := templatize(query))]
    assert len(found) > 0.9 * len(made)
    for query, answer in found:
        parse_templatized(query, answer)
    assert typed("Who is Mara", random.Random(0)) in ("who is mara", "Who is Mara?")


def test_every_pair_is_sound_and_some_documents_do_not_fit() -> None:
    null = 0
    asked = [(template, text) for number, text in enumerate(DEMO + GENERATED) for template in GENERIC[number % 3 :: 3]]
    for number, (template, text) in enumerate(asked):
        answer = instantiate(template, text, random.Random(number))
        found = parse_pair(parse_template(template), Source(text), answer)
        null += found is None
        assert found is None or (is_sound(found) and "\n" not in answer)
        assert answer == instantiate(template, text, random.Random(number))
    assert 0.1 < null / len(asked) < 0.7


@pytest.mark.parametrize(
    ("template", "instruction", "answer"),
    [
        ("when was <fi>name of a place</fi> founded", "when was Anna Sorberg founded", "It was founded"),
        ("why was <fi>name of a thing</fi> closed", "why was the bridge closed", "because the river"),
    ],
)
def test_the_sentence_that_is_asked_for_answers(template: str, instruction: str, answer: str) -> None:
    found = parse_pair(parse_template(template), Source(TOWN), instantiate(template, TOWN, random.Random(1)))
    assert found is not None
    assert found.instruction.text == instruction
    assert answer in found.answer.text


def test_a_sentence_begins_with_what_is_asked_about_unless_it_holds_all_that_is_asked_for() -> None:
    text = "In Varia the old mill was sold. Kelmark is a quiet town. Since then it was closed."
    asked, answer = pair("what about <fi>subject</fi>", text) or ("", "")
    assert asked == "what about Kelmark" and "<excerpt>Kelmark is a quiet town.</excerpt>" in answer
    asked, answer = pair("what was sold in <fi>name of a place</fi>", text) or ("", "")
    assert asked == "what was sold in Varia" and "<excerpt>In Varia the old mill was sold.</excerpt>" in answer
    assert pair("what about <fi>subject</fi>", text.replace("Kelmark", "There")) is None


@pytest.mark.parametrize(
    "template",
    [
        "when did <fi>event</fi> end",
        "who sang <fi>title of a song</fi>",
        "what is the melting point of <fi>name of a metal</fi>",
        "how many people live in <fi>name of a place</fi>",
    ],
)
def test_what_the_document_does_not_hold_gives_null(template: str) -> None:
    assert pair(template, "The roof is red. It was once painted by a man from the village of tiles.") is None
    assert pair(template, "") is None


def test_the_template_with_most_words_of_the_document_is_taken() -> None:
    templates = ["who sang <fi>title</fi>", "how many schools has <fi>town</fi>", "what is <fi>subject</fi>"]
    assert fitting(templates, TOWN) == templates[1]


def test_passages_stand_in_the_document_and_quotations_lead_back_to_them() -> None:
    count = 0
    for text in DEMO + GENERATED:
        source = Source(text)
        for passage in passages(text):
            assert passage.text in text
            if (excerpt := quoted(passage.text, source)) is not None:
                count += 1
                assert source.expand(excerpt).text == passage.text
    assert count > 200
    twice = Source("The red otter sleeps during the long day. The red otter sleeps during the long day.")
    assert quoted("The red otter sleeps during the long day.", twice), "the same words wherever they stand"
    assert quoted("The red fox sleeps during the long day.", twice) is None
    assert quoted("The red otter\nsleeps", Source("The red otter\nsleeps")) is None


def test_a_sentence_is_quoted_with_its_brackets_and_quotation_marks() -> None:
    first = 'Kelmark (formerly "Old Kell"; pop. 1,200) is a town in Varia.'
    asked, answer = pair("what is <fi>subject</fi>", f"{first} Kelmark has a mill.") or ("", "")
    assert asked == "what is Kelmark" and f"<excerpt>{first}</excerpt>" in answer


def test_subjects_and_names_are_copied() -> None:
    assert subject("The red otter is about 30 centimetres long.") == "the red otter"
    assert subject("It was founded in 1820.") == ""
    assert subject("Anna Sorberg (1820-1890) was a painter.") == "Anna Sorberg"
    assert subject("Sorberg, a painter, went to Varia.") == "Sorberg"
    assert subject("However, the mill was sold.") == subject("In 1820, the mill was sold.") == ""
    assert names("Today Anna Sorberg met the King of Varia in March.") == ["Anna Sorberg", "King of Varia"]


def test_relevance_is_judged_by_what_can_be_seen() -> None:
    def score(instruction: str, answer: str) -> int:
        return parse_judgement(judge_pair(instruction, answer, random.Random(2)), RUBRIC).score

    question, good = "when was Kelmark founded", "Kelmark was founded in 1820 by miners."
    assert score(question, good) == 5
    assert score(question, "The red otter sleeps during the day.") == 1
    assert score(question, "Kelmark was founded by miners.") == 2
    assert score(question, "Kelmark was founded in 1820 by") == 3
    assert score(question, " ".join([good] * 3)) == 3
    assert score(question, f"{good} The red otter sleeps.") == 4


def test_spoiled_pairs_score_lower() -> None:
    lower = same = 0
    for number, text in enumerate(GENERATED):
        if (found := pair("what is <fi>subject</fi>", text, number)) is None:
            continue
        instruction, answer = found[0], Source(text).expand(found[1]).text
        spoiled = spoil_pair(answer, DEMO[number % len(DEMO)], random.Random(number))
        best, worse = (
            parse_judgement(judge_pair(instruction, told, random.Random(number)), RUBRIC).score
            for told in (answer, spoiled)
        )
        assert spoiled != answer and worse <= best
        lower += worse < best
        same += worse == best
    assert lower > 4 * same
    assert not re.search("[<>]", judge_pair("what is <x>", "It is <x>.", random.Random(1)).split("</feedback>")[0][12:])
