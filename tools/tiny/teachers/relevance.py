"""Teacher of the judge of pairs: whether an answer is about what its instruction asks, as far as rules can see.

They see whether the answer has the words of the instruction, whether it holds what is asked for (a year for "when", a
number for "how many"), whether it breaks off or repeats itself, and how much of it is something else.
"""

from __future__ import annotations

import random
import re

from tools.tiny.teachers.instantiate import asked_for, stems

_EMPTY = (
    "That is an interesting question.",
    "There is much to say about this.",
    "Many people ask this.",
    "It depends on what is meant.",
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_WORD = re.compile(r"\w[\w’'-]*")


def judge_pair(instruction: str, answer: str, dice: random.Random) -> str:
    """A judge's whole answer in the Flow Judge format, on the scale of the rubric `relevance`.

    Args:
        instruction: what is asked.
        answer: what is answered.
        dice: draws the wording, never the score.
    """
    score, found = _score(instruction, answer)
    opening = dice.choice(("The answer begins with {}.", "It opens with {}.", "The first words are {}."))
    told = opening.format(_quoted(answer.split()[:6]))
    verdict = dice.choice(("This matches score {}.", "The description of score {} fits best.", "So the score is {}."))
    feedback = f"{told} {found} {verdict.format(score)}"
    return f"<feedback>\n{feedback}\n</feedback>\n<score>\n{score}\n</score>"


def spoil_pair(answer: str, other: str, dice: random.Random) -> str:
    """An answer with a fault.

    Args:
        answer: a good one.
        other: the text of another document.
        dice: draws the fault.
    """
    foreign = [part for part in _SENTENCE.split(other) if len(part.split()) > 4 and "\n" not in part] or [other[:200]]
    words = answer.split(" ")
    kind = dice.choice(("other", "empty", "cut", "repeated", "more"))
    if kind == "other":
        return dice.choice(foreign)
    if kind == "empty":
        return dice.choice(_EMPTY)
    if kind == "cut" and len(words) > 7:
        return " ".join(words[: dice.randint(4, len(words) - 3)]).rstrip(" .,;!?")
    if kind == "repeated":
        return " ".join([answer] * dice.randint(3, 4))
    first = dice.randrange(len(foreign))
    return " ".join([answer, *foreign[first : first + 3]])


def _score(instruction: str, answer: str) -> tuple[int, str]:
    there = stems(answer.lower())
    wanted = [word for word in dict.fromkeys(_WORD.findall(instruction)) if stems(word.lower())]
    shared = [word for word in wanted if stems(word.lower()) <= there]
    missing = [word for word in wanted if word not in shared]
    if not shared:
        about = f" about {_quoted(missing[:3])}" if missing else " to the question"
        return 1, f"It says nothing{about}."
    said = f"It has {_quoted(shared[:3])} of the instruction."
    if lacking := [name for name, need in asked_for(instruction.lower()) if not need.search(answer)]:
        return 2, f"{said} But it does not say {lacking[0]}."
    if not answer.rstrip().endswith((".", "!", "?", '"', "”", ")", "'")):
        return 3, f"{said} But it breaks off after {_quoted(answer.split()[-4:])}."
    sentences = _SENTENCE.split(answer)
    if len(set(sentences)) < len(sentences):
        return 3, f"{said} But it says the same several times."
    foreign = [part for part in sentences if not stems(part.lower()) & stems(instruction.lower())]
    if len(foreign) > 1:
        return 3, f"{said} But much of it is something else: {_quoted(foreign[-1].split()[:6])}."
    if foreign:
        return 4, f"{said} A part of it is something else: {_quoted(foreign[-1].split()[:6])}."
    return 5, f"{said} There is nothing else in it."


def _quoted(words: list[str]) -> str:
    return '"' + " ".join(words).replace('"', "").replace("<", "").replace(">", "") + '"'
