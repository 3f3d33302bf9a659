"""Pairs: what a model makes of a template and a document, read strictly."""

from __future__ import annotations

import orjson
import pytest

from blocks.generate.errors import Rejected
from blocks.instruct.excerpts import Source
from blocks.instruct.pairs import is_sound, parse_pair
from blocks.instruct.templates import parse_template

TEMPLATE = parse_template("what are the symptoms of <fi>name of a disease</fi>?")
TEXT = "Measles begins with a high fever, a cough and red eyes. After some days\nthere is a rash on the whole body."
ANSWER = "They are <excerpt>a high fever<...>on the whole body.</excerpt>"


def told(instruction: object = "what are the symptoms of <excerpt>Measles</excerpt>?", answer: object = ANSWER) -> str:
    return orjson.dumps({"instruction": instruction, "answer": answer}).decode()


def parse(text: str):
    return parse_pair(TEMPLATE, Source(TEXT), text)


def test_a_pair_is_grounded_in_its_document():
    pair = parse(told())
    assert pair.text == (
        "Instruction: what are the symptoms of Measles?\n\nAnswer: They are a high fever, a cough and red eyes. After "
        "some days\nthere is a rash on the whole body."
    )
    copied = len(TEXT) - TEXT.index("a high fever")
    assert pair.grounded == pytest.approx(copied / (copied + len("They are "))) and pair.resemblance == 1
    assert pair.position == pytest.approx((TEXT.index("a high fever") + len(TEXT)) / 2)
    assert is_sound(pair) and not is_sound(pair, min_grounded=0.95)


def test_pairs_that_are_kept_with_their_measures():
    """Which of them are good enough is decided later, and can be decided again."""
    invented = parse(told(answer="They are a fever and a rash."))
    assert invented.grounded == 0 and invented.position is None and not is_sound(invented)
    other = parse(told(instruction="Tell me about measles, please."))
    assert other.grounded > 0.8 and other.resemblance < 0.5 and not is_sound(other)


@pytest.mark.parametrize("text", ["null", " null\n", "```json\nnull\n```"])
def test_a_document_that_does_not_fit(text):
    assert parse(text) is None


def test_other_keys_and_fences():
    fields = {"instantiated_instruction": "what are the symptoms of Measles?", "answer": ANSWER, "more": 1}
    assert parse(f"```json\n{orjson.dumps(fields).decode()}\n```").answer.text.startswith("They are a high fever")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("None", "pair_json"),
        (told()[:-2], "pair_json"),
        ('"null"', "pair_json"),
        ('{"instruction": "a"}', "pair_keys"),
        (told(answer=None), "pair_keys"),
        ('{"instruction": "a", "instantiated_instruction": "b", "answer": "c"}', "pair_keys"),
        (told(answer=" "), "pair_empty"),
        (told(instruction="what are the symptoms of <fi>measles</fi>?"), "pair_left_over_tags"),
        (told(answer="They are </Excerpt> a fever."), "pair_left_over_tags"),
        (told(answer="what are the  symptoms of Measles?"), "pair_same"),
        (told(answer="They are <excerpt>a high fever<...>no rash</excerpt>."), "excerpt_not_found"),
        (told(instruction="what are the symptoms of <excerpt>Rubella</excerpt>?"), "excerpt_not_found"),
        (told(answer="They are <excerpt>a high fever"), "unbalanced_excerpt"),
    ],
)
def test_what_is_refused(text, reason):
    with pytest.raises(Rejected) as error:
        parse(text)
    assert error.value.reason == reason
