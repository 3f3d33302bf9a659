import orjson
import pytest
from datatrove.data import Document

from blocks.generate.answer import parse_answer
from blocks.generate.endpoint import Endpoint
from blocks.generate.prompts import load_prompts
from blocks.generate.reasoning import split_reasoning
from blocks.generate.tokenizer import load_tokenizer
from blocks.rephrase.rephrase import Rephrase
from tests.generate.raw_server import ok, script, server_thread
from tests.generate.small_tokenizers import CHAT_TEMPLATE, make_tokenizer

OPENING = CHAT_TEMPLATE.replace(
    "assistant\n' }}", "assistant\n' }}{{ '<think>\n\n</think>\n' if enable_thinking is false else '<think>\n' }}"
)
"""A template that opens the thinking, unless it is told not to."""


@pytest.mark.parametrize(
    ("answer", "text", "reasoning"),
    [
        ("Plain answer.", "Plain answer.", None),
        ("  spaced  ", "  spaced  ", None),
        ("", "", None),
        ("<think>\nHmm.\n</think>\n\nAnswer.", "Answer.", "Hmm."),
        ("\n <think>Hmm.</think>Answer.", "Answer.", "Hmm."),
        ("<think>\n\n</think>\n\nAnswer.", "Answer.", None),
        ("<think>cut off in the mid", "", "cut off in the mid"),
        ("<think>", "", None),
        ("<think>done</think>", "", "done"),
        ("opened by the template\n</think>\nAnswer.", "Answer.", "opened by the template"),
        ("</think>Answer.", "Answer.", None),
        ("<think>a</think>The tag </think> is HTML.", "The tag </think> is HTML.", "a"),
        ("Write <think> and </think> around it.", "Write <think> and </think> around it.", None),
        ("An unclosed <think> later on", "An unclosed <think> later on", None),
        ("<thinking>not ours</thinking>", "<thinking>not ours</thinking>", None),
    ],
)
def test_split_reasoning(answer, text, reasoning):
    assert split_reasoning(answer) == (text, reasoning)


@pytest.mark.parametrize(
    ("answer", "text", "reasoning"),
    [
        ("Hmm, the user", "", "Hmm, the user"),
        ("Hmm: <think> is a tag", "", "Hmm: <think> is a tag"),
        ("<think>Hmm", "", "Hmm"),
        ("Hmm.</think>Answ", "Answ", "Hmm."),
        ("</think>Answ", "Answ", None),
        ("", "", None),
    ],
)
def test_an_answer_that_begins_inside_of_the_thinking(answer, text, reasoning):
    assert split_reasoning(answer, thinking=True) == (text, reasoning)


def said(content, finish="length", **more):
    """The body of an answer."""
    return orjson.dumps({"choices": [{"message": {"content": content, **more}, "finish_reason": finish}]})


def test_only_an_answer_that_was_cut_off_can_be_nothing_but_thinking():
    assert parse_answer(said("Hmm"), opens_thinking=True).text == ""
    assert parse_answer(said("Hmm")).text == "Hmm"
    # The server keeps the thinking apart, or to itself.
    assert parse_answer(said("An answer", reasoning="Hmm"), opens_thinking=True).text == "An answer"
    assert parse_answer(said("An answer", finish="stop"), opens_thinking=True).text == "An answer"
    plain = orjson.dumps({"choices": [{"text": "going on", "finish_reason": "length"}]})  # no template was used
    assert parse_answer(plain, opens_thinking=True).text == "going on"


@pytest.mark.parametrize("policy", ["keep", "trim"])
@pytest.mark.parametrize(("options", "kept"), [({}, 0), ({"enable_thinking": False}, 1)])
def test_thinking_that_was_cut_off_is_no_sample(tmp_path, policy, options, kept):
    tokenizer = load_tokenizer(make_tokenizer(tmp_path / "model", "plain", OPENING))
    cut_off = "First of all, what does it ask for? Questions. And answers to each of them. So I should write"
    with server_thread(script(ok(said(cut_off)))) as server:
        step = Rephrase(
            load_prompts("tutorial"),
            Endpoint((server.url,), "m"),
            tokenizer,
            extra_body={"chat_template_kwargs": options},
            truncated_output=policy,
        )
        samples = list(step.run([Document("Rust is a metal's fate. " * 20, "a")]))
        assert len(samples) == kept and len(server.calls) == 1


def test_long_hostile_answers_finish():
    for answer in ("<think>" * 200_000, "</think>" * 200_000, "<" * 1_000_000, " " * 1_000_000):
        split_reasoning(answer)
