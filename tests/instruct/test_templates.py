"""Templates: what a model makes of a query, read strictly."""

from __future__ import annotations

import orjson
import pytest

from blocks.generate.errors import Rejected
from blocks.instruct.templates import parse_template, parse_templatized

SOUND = "what are the symptoms of <fi>name of a disease</fi> in <fi>group of patients</fi>?"
QUERY = "what are the symptoms of measles in small children?"
WANTED = "Medical texts about the course of a disease."


def answer(template: object = SOUND, description: object = WANTED, **more: object) -> str:
    return orjson.dumps({"template": template, "compatible_document_description": description, **more}).decode()


def test_the_parts_of_a_template():
    template = parse_template(SOUND)
    assert template.literals == ("what are the symptoms of ", " in ", "?")
    assert template.variables == ("name of a disease", "group of patients") and template.complexity == 2
    assert template.words == ["what", "are", "the", "symptoms", "of", "in"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("what is <fi>a thing?", "template_unbalanced"),
        ("what is </fi>a<fi> thing?", "template_unbalanced"),
        ("what is <fi>a <fi>thing</fi></fi>?", "template_unbalanced"),
        ("what is a thing?", "template_no_variable"),
        ("what is <fi> – </fi>?", "template_empty_variable"),
        ("what is <fi></fi>?", "template_empty_variable"),
        ("<fi>question</fi>? <fi>another</fi>", "template_only_variables"),
    ],
)
def test_what_is_no_template(text, reason):
    with pytest.raises(Rejected) as error:
        parse_template(text)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("instruction", "least", "most"),
    [
        (QUERY, 1, 1),
        ("What ARE the symptoms of flu, in the old?", 1, 1),
        ("what symptoms of flu are there in the old?", 0.6, 0.9),
        ("Tell me about flu.", 0, 0.2),
        ("in of symptoms the are what", 0, 0.2),  # the words, but not their order
    ],
)
def test_how_much_an_instruction_has_of_its_template(instruction, least, most):
    assert least <= parse_template(SOUND).resemblance(instruction) <= most


def test_words_count_wherever_they_stand_in_order():
    template = parse_template("How <fi>property</fi> is <fi>a thing</fi> or <fi>another</fi>")
    assert template.resemblance("How hot is tea or how is coffee") == 1
    assert template.resemblance("Is tea hot or coffee, and how") == pytest.approx(2 / 3)


def test_what_is_filled_in_decides_between_a_and_an():
    template = parse_template("is <fi>food</fi> a <fi>kind of food</fi>?")
    assert template.resemblance("Is tomato an ingredient?") == template.resemblance("Is tomato a fruit?") == 1
    for query, text in (("is an apple a fruit?", "is a <fi>food</fi> an <fi>kind</fi>?"), ("a pen?", "an <fi>x</fi>?")):
        assert parse_templatized(query, answer(template=text)).template.text == text


def test_languages_that_write_no_spaces():
    wanted = answer(template="<fi>疾病</fi>的早期症状有哪些？")
    template = parse_templatized("糖尿病的早期症状有哪些？", wanted).template
    assert len(template.words) == 8
    assert template.resemblance("肺炎的早期症状有哪些？") == 1
    assert template.resemblance("肺炎有哪些症状？") < 0.8
    with pytest.raises(Rejected) as error:
        parse_templatized("糖尿病的症状？", wanted)
    assert error.value.reason == "template_lost_text"


def test_what_a_model_answers_to_a_query():
    for text in (answer(), f"```json\n{answer()}\n```", f"\n```\n{answer(topic='medicine')}\n```\n"):
        found = parse_templatized(QUERY, text)
        assert (found.template.text, found.description) == (SOUND, WANTED)
    assert parse_templatized(QUERY, answer(description=" two\n lines ")).description == "two lines"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Here is it: {}", "templatizer_json"),
        (answer()[:-1], "templatizer_json"),
        ("[]", "templatizer_json"),
        ("null", "templatizer_json"),
        ('{"template": "what <fi>x</fi>"}', "templatizer_keys"),
        (answer(description=None), "templatizer_keys"),
        (answer(template=["a"]), "templatizer_keys"),
        (answer(description=" . "), "templatizer_no_description"),
        (answer(template="what are the symptoms of measles?"), "template_no_variable"),
        (answer(template="which symptoms does <fi>disease</fi> have?"), "template_lost_text"),
        (answer(template="what are symptoms the of <fi>disease</fi>"), "template_lost_text"),
    ],
)
def test_what_is_refused(text, reason):
    with pytest.raises(Rejected) as error:
        parse_templatized(QUERY, text)
    assert error.value.reason == reason
