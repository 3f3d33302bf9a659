"""The rule-based teachers: what they write passes the checks, comes from the document, and is judged by its faults."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import pytest

from blocks.filters.verify import run_rules, verify
from blocks.generate.prompts import load_prompts
from blocks.judge.flow import parse_judgement
from blocks.judge.rubric import load_rubric
from blocks.shards.alarms import diversity_alarms
from blocks.shards.diversity import Diversity, FormatDiversity
from tools.tiny.teachers import TEACHERS, documents, judge_answer, split_halves, spoil

DEMO = [
    json.loads(line)["text"]
    for line in (Path(__file__).parents[2] / "demo" / "documents.jsonl").read_text(encoding="utf-8").splitlines()
]
GENERATED = list(itertools.islice(documents(random.Random(3)), 120))
RULES = run_rules(load_prompts(",".join(TEACHERS)), {})
OPERATIONS = {"+": int.__add__, "-": int.__sub__, "×": int.__mul__}
# Faults that a rubric shows: the form is judged without the source.
SEEN = {
    "faithfulness": {"numbers", "names", "other", "cut", "repeated"},
    "format": {"cut", "repeated", "format"},
    "usefulness": {"cut", "repeated", "format"},
}


def answers(name: str, texts: list[str]) -> list[tuple[str, str]]:
    found = [(text, TEACHERS[name](text, random.Random(number))) for number, text in enumerate(texts)]
    return [(text, answer) for text, answer in found if answer is not None]


@pytest.mark.parametrize("name", TEACHERS)
def test_most_documents_get_an_answer_and_no_check_rejects_it(name: str) -> None:
    for texts in (DEMO, GENERATED):
        found = answers(name, texts)
        assert len(found) >= 0.8 * len(texts)
        for text, answer in found:
            faults = [measure for measure, verdict in verify(answer, text, RULES[name]) if verdict == "reject"]
            assert not faults, answer


@pytest.mark.parametrize("name", TEACHERS)
def test_the_same_dice_give_the_same_answer_and_others_another(name: str) -> None:
    text = DEMO[0]
    drawn = [TEACHERS[name](text, random.Random(seed)) for seed in (1, 1, *range(2, 12))]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 3


@pytest.mark.parametrize("name", TEACHERS)
def test_answers_do_not_all_look_alike(name: str) -> None:
    shard = Diversity()
    for _, answer in answers(name, GENERATED):
        shard.add(answer)
    merged = FormatDiversity()
    merged.add(name, shard.as_dict())
    found = diversity_alarms(name, merged.as_dict())
    # Generated documents resemble each other but for names and numbers; real ones do not.
    assert [alarm for alarm in found if alarm["measure"] != "near_duplicates"] == []


@pytest.mark.parametrize("name", ["faq", "table", "tutorial"])
def test_numbers_come_from_the_document(name: str) -> None:
    for text, answer in answers(name, DEMO + GENERATED):
        numbering = re.sub(r"^[*# ]*(?:Q|A|Step )?\d+[.:]", "", answer, flags=re.MULTILINE)
        assert set(re.findall(r"\d[\d,]*\d|\d", numbering)) <= set(re.findall(r"\d[\d,]*\d|\d", text))


def test_no_answer_is_said_twice_or_begins_with_a_pronoun_where_two_do_not() -> None:
    for _, answer in answers("faq", DEMO + GENERATED):
        lines = [
            re.sub(r"^(?:A\d*: | +)", "", line)
            for line in answer.splitlines()
            if re.match(r"[^#]", line) and "?" not in line
        ]
        hanging = [re.match(r"(?:He|She|It|They|His|Her|Its|Their|This|These)\b", line) is not None for line in lines]
        assert not any(hanging) or hanging.count(False) < 2
        assert len(lines) == len(set(lines))


def test_every_equation_is_right_and_the_last_result_is_the_answer() -> None:
    for _, answer in answers("math", DEMO + GENERATED):
        steps = re.findall(r"(\d+) ([-+×]) (\d+) = (\d+)", answer)
        assert 1 <= len(steps) <= 3
        assert answer.count("=") == len(steps)
        for left, operation, right, result in steps:
            assert OPERATIONS[operation](int(left), int(right)) == int(result)
        assert re.search(rf"\b{steps[-1][3]}\b", answer.splitlines()[-1])


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Kelmark is a town in Varia. It was founded in 1820 by monks.", "When was Kelmark founded?"),
        ("Anna Sorberg was a painter from Kelmark. She painted a bridge.", "Who was Anna Sorberg?"),
        ("Kelmark is an old town. The bridge was closed because the river rose.", "Why was the bridge closed?"),
        ("Kelmark is an old town. The town has 12 schools and 3 mills.", "How many schools does Kelmark have?"),
        ("Kelmark is an old town. Kelmark is located on the river Orna.", "Where is Kelmark located?"),
        ("Kelmark is an old town. The mayor said the bridge would stay closed.", "What did the mayor say?"),
    ],
)
def test_questions_fit_their_answers(text: str, question: str) -> None:
    assert question in (TEACHERS["faq"](text, random.Random(1)) or "")


@pytest.mark.parametrize("name", ["faq", "table"])
def test_answers_begin_at_the_top_and_go_on_with_what_is_new(name: str) -> None:
    text = (
        "Kelmark is a town in Varia. The old walls of Kelmark stand beside the river. The river runs through Ulmouth. "
        "Tora Belstad came to the mill. The baker sells bread."
    )
    made = {TEACHERS[name](text, random.Random(number)) or "" for number in range(20)}
    for said in made:
        places = [said.index(words) for words in ("Kelmark is a town", "The river runs", "Tora Belstad came")]
        assert places == sorted(places) and "old walls" not in said and "baker" not in said, said
    lone = "Kelmark is a town in Varia. In 1820 Tora Belstad came from Ulmouth. The baker sells bread."
    assert all("baker" not in (TEACHERS[name](lone, random.Random(number)) or "") for number in range(20))


@pytest.mark.parametrize("text", ["", "No.", "alberta\n - arctic ocean\n - bow river", "He said so. They left."])
def test_documents_without_sentences_get_no_answer(text: str) -> None:
    assert [teacher(text, random.Random(1)) for teacher in TEACHERS.values()] == [None] * len(TEACHERS)


@pytest.mark.parametrize("name", SEEN)
def test_judge_answers_can_be_read_and_score_spoiled_samples_lower(name: str) -> None:
    rubric = load_rubric(name)
    met: set[str] = set()
    for format in TEACHERS:
        found = answers(format, DEMO + GENERATED)
        for number, (text, good) in enumerate(found):
            dice = random.Random(number)
            other = found[(number + 31) % len(found)][1]
            spoilt, kind = spoil(good, dice, other)
            assert spoilt != good
            best = parse_judgement(judge_answer(rubric, text, good, format, dice), rubric)
            worse = parse_judgement(judge_answer(rubric, text, spoilt, format, dice), rubric)
            assert best.score == max(rubric.scores), (best, good)
            if kind in SEEN[name]:
                met.add(kind)
                assert worse.score < best.score, (kind, worse, spoilt)
    assert met == SEEN[name]


def test_judge_names_what_is_wrong() -> None:
    source = "Kelmark is a town in Varia. It was founded in 1820 by monks. It has 12 schools."
    text = "### What is Kelmark?\nKelmark is a town in Varia.\n\n### How many schools are there?\nThere are 77 schools."
    answer = judge_answer(load_rubric("faithfulness"), source, text, "faq", random.Random(1))
    assert "77" in parse_judgement(answer, load_rubric("faithfulness")).feedback


def test_halves_are_the_text_cut_at_a_sentence_near_the_middle() -> None:
    found = [(text, halves) for text in DEMO + GENERATED if (halves := split_halves(text, random.Random(2)))]
    assert len(found) > 0.95 * len(DEMO + GENERATED)
    for text, halves in found:
        assert "".join("".join(halves).split()) == "".join(text.split())
        assert 0.3 < len(halves[0]) / len(text) < 0.7
        assert halves[0].rstrip("\"'”)")[-1] in ".!?" or "\n" in text


def test_generated_documents_differ_and_are_the_same_for_the_same_dice() -> None:
    assert list(itertools.islice(documents(random.Random(3)), 20)) == GENERATED[:20]
    assert len(set(GENERATED)) == len(GENERATED)
    assert len({text.split(".")[0] for text in GENERATED}) > 0.95 * len(GENERATED)
    for text in GENERATED:
        assert 80 <= len(text.split()) <= 250
        assert not re.search(r"[\[\]{}|?+]", text), text
