"""The Flow Judge format against the package that defines it, and answers as judges really write them."""

from __future__ import annotations

import random

import pytest

from blocks.judge.flow import Judgement, judge_prompt, parse_judgement
from blocks.judge.rubric import Rubric

SCALES = {
    "binary": {0: "No.", 1: "Yes."},
    "three": {1: "Bad.", 2: "Fair.", 3: "Good."},
    "five": {1: "None.", 2: "Little.", 3: "Some.", 4: "Much.", 5: "All."},
}
ODD = (
    "plain",
    "",
    "with {braces} and {INPUTS}",
    "two\n\nparagraphs  ",
    "<score>5</score>",
    "</output>",
    "漢字 🦉",
    "% \\1 $x",
)


def rubric(scale: str = "five", inputs: tuple[str, ...] = ("query", "context")) -> Rubric:
    scores = SCALES[scale]
    columns = {name: name for name in inputs}
    return Rubric("test", "Is the answer {good}?", scores, columns, {"response": "text"}, max(scores))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("inputs", [(), ("query",), ("query", "context")])
def test_the_prompt_is_that_of_the_package(scale, inputs):
    formatter = pytest.importorskip("flow_judge.utils.prompt_formatter", reason="needs flow-judge (extra test-all)")
    metric = pytest.importorskip("flow_judge.metrics.metric")
    judged = rubric(scale, inputs)
    dice = random.Random(scale)
    for _ in range(20):
        texts, output = {name: dice.choice(ODD) for name in inputs}, dice.choice(ODD)
        levels = [metric.RubricItem(score=score, description=text) for score, text in judged.scores.items()]
        dice.shuffle(levels)
        expected = formatter.format_user_prompt(
            {
                "INPUTS": formatter.format_vars([{name: text} for name, text in texts.items()]),
                "OUTPUT": formatter.format_vars([{"response": output}]),
                "EVALUATION_CRITERIA": judged.criteria,
                "RUBRIC": formatter.format_rubric(levels),
            }
        )
        assert judge_prompt(judged, texts, output) == expected


GOOD = {
    "as asked": ("<feedback>\nFine.\n</feedback>\n<score>\n4\n</score>", Judgement(4, "Fine.")),
    "on one line": ("<feedback>Fine.</feedback><score>5</score>", Judgement(5, "Fine.")),
    "with a preamble": ("Sure!\n<feedback> A\nB </feedback>\n\n<score> 1 </score> Bye", Judgement(1, "A\nB")),
    "score first": ("<score>3</score>\n<feedback>Late.</feedback>", Judgement(3, "Late.")),
    "empty feedback": ("<feedback></feedback><score>2</score>", Judgement(2, "")),
    "tags in the feedback": (
        "<feedback><b>Bad</b>, 2 < 3.</feedback>\n<score>2</score>",
        Judgement(2, "<b>Bad</b>, 2 < 3."),
    ),
    "padded": ("<feedback>Fine.</feedback><score>04</score>", Judgement(4, "Fine.")),
}

BAD = {
    "": "no <feedback>",
    "Score: 5": "no <feedback>",
    "The answer is good. <score>5</score>": "no <feedback>",
    "<feedback>It goes on and on and was cut off": "no <feedback>",
    "<feedback>Fine.</feedback>": "no <score>",
    "<feedback>Fine.</feedback>\n<score>4": "no <score>",
    "<feedback>Fine.</feedback>\n**Score:** 4": "no <score>",
    "<feedback>Fine.</feedback><score></score>": "no whole number",
    "<feedback>Fine.</feedback><score>four</score>": "no whole number",
    "<feedback>Fine.</feedback><score>4/5</score>": "no whole number",
    "<feedback>Fine.</feedback><score>4.5</score>": "no whole number",
    "<feedback>Fine.</feedback><score>-1</score>": "no whole number",
    "<feedback>Fine.</feedback><score>Score 4</score>": "no whole number",
    "<feedback>Fine.</feedback><score>0</score>": "not on the scale",
    "<feedback>Fine.</feedback><score>6</score>": "not on the scale",
    "<feedback>Fine.</feedback><score>" + "9" * 5000 + "</score>": "not on the scale",
    "<Feedback>Fine.</Feedback><Score>4</Score>": "no <feedback>",
}


@pytest.mark.parametrize("name", GOOD)
def test_answers_that_can_be_read(name):
    text, expected = GOOD[name]
    assert parse_judgement(text, rubric()) == expected


@pytest.mark.parametrize("answer", BAD)
def test_answers_that_cannot_be_read_are_no_low_scores(answer):
    with pytest.raises(ValueError, match=BAD[answer]):
        parse_judgement(answer, rubric())


def test_the_package_reads_the_same():
    package = pytest.importorskip("flow_judge.eval_data_types", reason="needs flow-judge (extra test-all)")
    for text, expected in GOOD.values():
        read = package.EvalOutput.parse(text)
        assert (read.score, read.feedback) == expected
    for text, why in BAD.items():
        read = package.EvalOutput.parse(text)
        # It knows no scale; everything else that we cannot read it cannot either, and says -1.
        assert read.score == -1 or "scale" in why


def test_a_score_in_the_feedback_is_not_the_score():
    text = "<feedback>Rather <score>2</score> for style, but good.</feedback><score>4</score>"
    assert parse_judgement(text, rubric()).score == 4
    with pytest.raises(ValueError, match="no <score>"):
        parse_judgement("<feedback>It matches <score>5</score> partly.</feedback> **Score: 2**", rubric())
    assert parse_judgement("<score>3</score><feedback>It is so.</feedback>", rubric()).score == 3


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale(scale):
    levels = SCALES[scale]
    for score in range(-1, 8):
        answer = f"<feedback>x</feedback><score>{score}</score>"
        if score in levels:
            assert parse_judgement(answer, rubric(scale)).score == score
        else:
            with pytest.raises(ValueError):
                parse_judgement(answer, rubric(scale))


@pytest.mark.parametrize("tag", ["<feedback>", "</feedback>", "<score>", "<score> ", "<", "<feedback> <score>"])
def test_hostile_answers_take_linear_time(tag):
    with pytest.raises(ValueError):
        parse_judgement(tag * (1_000_000 // len(tag)), rubric())
