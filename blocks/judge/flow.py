"""The Flow Judge format: the prompt that flowaicom/Flow-Judge-v0.1 was trained on, and how its answers are read.

The wording, its missing space included, is that of the package flow-judge 0.1.2 (Flow AI, Apache-2.0): a judge trained
on it must see exactly it, and any other chat model understands it as well. Tests hold it against the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from blocks.judge.rubric import Rubric

GOAL = """# GOAL
Your job is to evaluate a task carried out by an AI system powered by a large language model.

You will be provided {what} of the task, as well as the evaluation criteria and scoring rubric. \
Your task is to evaluate the output of the AI system based on the evaluation criteria and scoring rubric provided.

"""

INPUTS = """# INPUT
Below are the inputs required for performing the task:
<inputs>
"""

OUTPUT = """# OUTPUT
Below is the output of the task:
<output>
"""

RUBRIC = """# EVALUATION CRITERIA AND SCORING RUBRIC
Here are the evaluation criteria and the rubric that you need to use for evaluating the task:
<evaluation_criteria>
"""

INSTRUCTIONS = """# INSTRUCTIONS FOR THE EVALUATION
1. Understand the task and criteria: Familiarize yourself with the task to be evaluated. \
Review the evaluation criteria and scoring rubric to understand the different levels of \
performance and the descriptions for each score.
2. Review the {what}: {look} \
generated from completing the task.
3. Compare output to score descriptions: Compare the output against the criteria and score \
descriptions in the scoring rubric. For each criterion,decide which description best matches the \
output.
4. After comparing the output to the score descriptions, pay attention to the small details that \
might impact the final score that you assign. Sometimes a small difference can dictate the final \
score.
5. Write verbal feedback justifying your evaluation that includes a detailed rationale, referring \
to specific aspects of the output and comparing them to the rubric.
6. Assign a final score based on the scoring rubric.

## FORMAT FOR THE EVALUATION
- Write the verbal feedback inside <feedback> tags without any additional surrounding text.
- Write the numeric score inside <score> tags, without any additional surrounding text and always \
after the feedback.

Please accurately evaluate the task. Strictly adhere to the evaluation criteria and rubric."""


def judge_prompt(rubric: Rubric, inputs: Mapping[str, str], output: str) -> str:
    """The user message for one sample; there is no system message.

    Args:
        rubric: what to judge.
        inputs: text by the names in `rubric.inputs`.
        output: the text to judge.
    """
    levels = "\n".join(f"- Score {score}: {meaning}" for score, meaning in sorted(rubric.scores.items()))
    tagged = "\n".join(_tagged(name, inputs[name]) for name in rubric.inputs)
    (name,) = rubric.output
    goal = GOAL.format(what="with the inputs and output" if inputs else "the output")
    instructions = INSTRUCTIONS.format(
        what="inputs and output" if inputs else "output",
        look="Look at the inputs provided for the task. Examine the output" if inputs else "Examine the output",
    )
    return "".join(
        [
            goal,
            f"{INPUTS}{tagged}\n</inputs>\n\n" if inputs else "",
            f"{OUTPUT}{_tagged(name, output)}\n</output>\n\n",
            f"{RUBRIC}{rubric.criteria}\n</evaluation_criteria>\n\n<scoring_rubric>\n{levels}\n</scoring_rubric>\n\n",
            instructions,
        ]
    )


def _tagged(name: str, text: str) -> str:
    return f"<{name}>\n{text}\n</{name}>"


class Judgement(NamedTuple):
    """A score on the rubric's scale, and the judge's reasons for it."""

    score: int
    feedback: str


def parse_judgement(answer: str, rubric: Rubric) -> Judgement:
    """Read a judge's answer.

    As in the package: the first `<feedback>` and a `<score>` that holds nothing but digits are both needed. A score in
    the feedback does not count, one before it does where none follows, and a score that the rubric lacks is none.

    Raises:
        ValueError: there is no feedback or no such score; the message says what is wrong. It is never a low score.
    """
    feedback, after = _between(answer, "feedback", 0)
    if feedback is None:
        raise ValueError("no <feedback>")
    score, _ = _between(answer, "score", after)
    if score is None:
        score, _ = _between(answer[: answer.find("<feedback>")], "score", 0)
    if score is None:
        raise ValueError("no <score>")
    if not score.isdecimal():
        raise ValueError(f"the score is {score[:20]!r}, no whole number")
    if int(score[:9]) not in rubric.scores or len(score) > 9:
        raise ValueError(f"the score {score[:20]} is not on the scale")
    return Judgement(int(score), feedback)


def _between(text: str, tag: str, start: int) -> tuple[str | None, int]:
    """What stands in the first such tag at or after `start`, and where it ends."""
    begin = text.find(f"<{tag}>", start)
    end = text.find(f"</{tag}>", begin) if begin >= 0 else -1
    if end < 0:
        return None, start
    return text[begin + len(tag) + 2 : end].strip(), end
