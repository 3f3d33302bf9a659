"""Teacher of the judge: a score that follows from faults that rules can measure, with feedback that names them.

The faults are those a model of 6 M parameters has a chance to see by comparing and looking: numbers and names that the
source does not have, another subject, an end in the middle of a sentence, repetition, a form that is not the wanted
one. `spoil` makes samples with each of them. What a rubric does not show to the judge (the source, the wanted format)
is not used for its score.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from blocks.filters.checks.equations import equations
from blocks.filters.checks.faq import faq
from blocks.filters.checks.math import math_problem
from blocks.filters.checks.table import table
from blocks.filters.checks.text import words
from blocks.filters.checks.tutorial import tutorial
from blocks.judge.rubric import Rubric

Spoilt = Literal["numbers", "names", "other", "cut", "repeated", "format"]

_CHECKS = {"faq": faq, "math": math_problem, "table": table, "tutorial": tutorial}
_ARTICLES = {"faq": "an FAQ", "math": "a math problem", "table": "a table", "tutorial": "a tutorial"}
_NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*+(?:\.\d+)?+(?!\w)")
_NUMBERING = re.compile(r"^[ \t#*]*(?:(?:Step|Q|A)?[ \t]?\d{1,2}[.:)][ \t])|\b(?:Step |Q|A)\d{1,2}:", re.MULTILINE)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}\b")
_FRAME_WORDS = frozenset(
    """
    question questions answer answers problem solution happened important should explain yourself learned repeat points
    review follows remember understand consider details subject number latest earliest guide understand learning getting
    common aspect statement description action location reason origin connection
    """.split()
)
_LABEL = re.compile(r"\A[#* ]*(?:Problem)?[:* \n]*")
_FRAME = frozenset(
    "Question Answer Step Problem Solution Imagine Suppose Explain Fact Details Topic Year Event".split()
)
_INVENTED_NAMES = """
    Orvelin Maskarra Tolvane Quendry Brisselt Havorno Pellmark Zandrith Corvasse Ilmenta
    Dravock Sennhold Ulmarie Wexlund Yorvane Kestrow Nimbaro Fallgren Rostika Jandelle
""".split()


class _Fault(NamedTuple):
    """What is wrong: how bad it is in steps of a five-point scale, and a sentence that says where."""

    weight: int
    said: str


def judge_answer(rubric: Rubric, source: str | None, text: str, format: str, dice: random.Random) -> str:
    """A judge's whole answer in the Flow Judge format.

    Args:
        rubric: what to judge; by its name for `faithfulness`, `format` and `usefulness`, otherwise all faults count.
        source: the document that the text was made from; only used where the rubric shows it.
        text: the sample.
        format: `faq`, `math`, `table` or `tutorial`; other formats have no form of their own.
        dice: draws the wording, never the score.
    """
    columns = rubric.inputs.values()
    seen = source if source and "source_text" in columns else None
    true = _truth(seen, text, format) if seen is not None else []
    whole = _wholeness(text)
    form = _form(text, format)
    by_rubric: Mapping[str, list[_Fault]] = {
        "faithfulness": true + [fault._replace(weight=1) for fault in whole],
        "format": [fault._replace(weight=2) for fault in whole] + form,
        "usefulness": whole + [fault._replace(weight=1) for fault in form],
    }
    faults = sorted(by_rubric.get(rubric.name, true + whole + form), key=lambda fault: -fault.weight)
    levels = sorted(rubric.scores)
    weights = [fault.weight for fault in faults]
    steps = min(4, max(weights, default=0) if rubric.name == "format" else sum(weights))
    score = levels[-1] - round(steps * (len(levels) - 1) / 4 + (0.01 if steps else 0))
    if steps and score == levels[-1]:
        score = levels[-2]
    praise = _praise(seen, text, "" if form else format, dice) if rubric.name != "format" or not faults else ""
    told = " ".join(fault.said for fault in faults[:2])
    joint = dice.choice(("However, ", "But ", "Still, ")) if praise and told and faults[0].weight < 4 else ""
    parts = [praise if not faults or faults[0].weight < 4 else "", joint + (_small(told) if joint else told)]
    verdict = dice.choice(("This matches score {}.", "The description of score {} fits best.", "So the score is {}."))
    feedback = " ".join(part for part in (*parts, verdict.format(score)) if part)
    return f"<feedback>\n{feedback}\n</feedback>\n<score>\n{score}\n</score>"


def spoil(text: str, dice: random.Random, other: str) -> tuple[str, Spoilt]:
    """A sample with a fault, and which one.

    Args:
        text: a good sample.
        dice: draws the fault.
        other: a sample of another document.

    Returns:
        The spoiled text and the kind of fault: `numbers` and `names` replaced by invented ones, `other` (the sample of
        another document), `cut` off, `repeated`, or without its `format`. Never the text itself.
    """
    kinds: list[Spoilt] = ["numbers", "names", "other", "cut", "repeated", "format"]
    dice.shuffle(kinds)
    for kind in kinds:
        spoilt = _spoil(text, kind, dice, other)
        if spoilt != text:
            return spoilt, kind
    return other, "other"


def _spoil(text: str, kind: Spoilt, dice: random.Random, other: str) -> str:
    if kind == "other":
        return other
    if kind == "cut":
        blanks = [match.start() for match in re.finditer(r"(?<=[a-z]) (?=[a-z])", text)]
        blanks = [at for at in blanks if 0.3 * len(text) < at < 0.85 * len(text)]
        return text[: dice.choice(blanks)] if blanks else text
    if kind == "repeated":
        lines = [line for line in text.split("\n") if len(line.split()) > 6]
        if not lines:
            return text
        line = dice.choice(lines)
        return text.replace(line, "\n".join([line] * dice.randint(4, 6)), 1)
    if kind == "format":
        plain = "\n".join(line for line in text.split("\n") if not set(line) <= set("|-: "))
        plain = re.sub(
            r"[*#|]+|^[ \t]*(?:Step |[QA])?\d{1,2}[.:]|\b(?:Q|A|Question|Answer|Problem|Solution):", " ", plain
        )
        plain = re.sub(r"^[ \t]*\d{1,2}\. ", "", plain, flags=re.MULTILINE)
        plain = re.sub(r"[^.?!\n]{1,300}\?", " ", plain)
        return " ".join(plain.split())
    if kind == "numbers":
        found = _claimed(text)
        marks = [match for match in found if " = " in text[max(0, match.start() - 3) : match.start() + 1]] or found
        return _replaced(text, dice.sample(marks, min(len(marks), dice.randint(2, 3))), dice, _invent_number)
    found = [match for match in _NAME.finditer(text) if match[0] not in _FRAME]
    return _replaced(text, dice.sample(found, min(len(found), dice.randint(2, 4))), dice, _invent_name)


def _replaced(
    text: str, matches: list[re.Match[str]], dice: random.Random, invent: Callable[[str, random.Random], str]
) -> str:
    for match in sorted(matches, key=lambda match: -match.start()):
        text = f"{text[: match.start()]}{invent(match[0], dice)}{text[match.end() :]}"
    return text


def _invent_number(number: str, dice: random.Random) -> str:
    """Another number with as many digits."""
    digits = len(number.replace(",", "").partition(".")[0])
    return str(
        dice.choice(
            [n for n in (dice.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(9)) if str(n) != number]
            or [10**digits + 7]
        )
    )


def _invent_name(name: str, dice: random.Random) -> str:
    return dice.choice(_INVENTED_NAMES)


def _claimed(text: str) -> list[re.Match[str]]:
    """The numbers of a text that are no numbering."""
    numbering = [match.span() for match in _NUMBERING.finditer(text)]
    return [m for m in _NUMBER.finditer(text) if not any(begin <= m.start() < end for begin, end in numbering)]


def _truth(source: str, text: str, format: str) -> list[_Fault]:
    there = {word.lower() for word in words(source)}
    # A word problem goes on from its first sentence with things of its own.
    told = re.split(r"[.!?][\"”]? ", _LABEL.sub("", text), maxsplit=1)[0] if format == "math" else text
    least = 4 if format == "math" else 6
    content = {word for word in words(told.lower()) if len(word) >= least and word not in _FRAME_WORDS}
    known = sum(word in there for word in content)
    if len(content) > 1 and known < 0.45 * len(content):
        strange = sorted(
            (word for word in content if word not in there), key=lambda word: (text.lower().find(word), word)
        )
        return [_Fault(4, f"The text is about something else: the source document does not speak of {_some(strange)}.")]
    faults = []
    stated = {match[0].rstrip(",") for match in _claimed(told)}
    there_in_digits = _plain(source)
    missing = [
        number
        for number in sorted(stated, key=lambda number: (text.find(number), number))
        if number.replace(",", "") not in there_in_digits
    ]
    if format == "math":
        wrong = next((measure for measure in equations(text) if not measure.passed), None)
        if wrong is not None:
            faults.append(_Fault(3, f"One of its equations is wrong: {_quoted(wrong.detail)}."))
    if missing:
        verb = "does" if len(missing) == 1 else "do"
        what = "number" if len(missing) == 1 else "numbers"
        faults.append(
            _Fault(min(3, 1 + len(missing)), f"The {what} {_some(missing)} {verb} not occur in the source document.")
        )
    names = [name for name in dict.fromkeys(_NAME.findall(text)) if name.lower() not in there and name not in _FRAME]
    if names:
        verb = "does" if len(names) == 1 else "do"
        what = "name" if len(names) == 1 else "names"
        faults.append(
            _Fault(min(3, 1 + len(names)), f"The {what} {_some(names)} {verb} not occur in the source document.")
        )
    return faults


def _wholeness(text: str) -> list[_Fault]:
    faults = []
    lines = [line.strip() for line in text.split("\n") if len(line.split()) > 4]
    twice = next((line for line in lines if lines.count(line) > 2), "")
    if twice:
        faults.append(_Fault(3, f"The text says the same {lines.count(twice)} times: {_quoted(twice)}."))
    if not text.rstrip().endswith((".", "!", "?", '"', "”", "|", ")")):
        faults.append(
            _Fault(3, f"The text breaks off in the middle of a sentence, after {_quoted(text[-40:], end=True)}.")
        )
    return faults


def _form(text: str, format: str) -> list[_Fault]:
    check = _CHECKS.get(format)
    if check is None:
        return []
    measure = check(text)[0]
    if measure.passed:
        return []
    name = measure.detail.partition(":")[0].replace("_", " ")
    weight = 4 if name.startswith(("no ", "too few")) else 2
    return [_Fault(weight, f"It is not {_ARTICLES[format]} as it should be: {name}.")]


def _praise(source: str | None, text: str, format: str, dice: random.Random) -> str:
    first = next((re.sub(r"[*#|]+", " ", line) for line in text.split("\n") if len(line.split()) > 2), text[:40])
    opening = dice.choice(("The text begins with {}.", "It opens with {}.", "The first line is {}.")).format(
        _quoted(first)
    )
    if source is not None:
        there = _plain(source)
        numbers = [m[0].rstrip(",") for m in _claimed(text) if m[0].rstrip(",").replace(",", "") in there]
        names = [name for name in dict.fromkeys(_NAME.findall(text)) if name in source]
        found = list(dict.fromkeys(numbers))[:2] + names[:2]
        if found:
            return f"{opening} {_some(found)} {'stand' if len(found) > 1 else 'stands'} in the source document."
        return f"{opening} What it says stands in the source document."
    parts = {
        "faq": f"It has {text.count('?')} questions with their answers.",
        "table": f"The table has {max(text.count(chr(10) + '|') - 1, 0)} rows, and a question with its answer follows.",
        "math": f"It has a problem and a solution with {text.count(' = ')} calculations.",
        "tutorial": "Its steps are in order, and each of them says something.",
    }
    return f"{opening} {parts[format]}" if format in parts else opening


def _plain(source: str) -> frozenset[str]:
    return frozenset(match.rstrip(".").replace(",", "") for match in re.findall(r"\d[\d,.]*", source))


def _some(found: list[str]) -> str:
    shown = found[:3]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _quoted(text: str, end: bool = False) -> str:
    tokens = text.replace("<", "").replace(">", "").replace('"', "").split()
    return f'"{" ".join(tokens[-5:] if end else tokens[:8])}"'


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]
