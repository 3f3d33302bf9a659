"""Asks the question that a sentence answers, in the few regular ways that a model of 6 M parameters can learn."""

from __future__ import annotations

import random
import re

from blocks.filters.checks.tutorial import VERBS
from tools.tiny.teachers.parsing import Sentence, counted, small
from tools.tiny.teachers.words import BE, HAVE, MODALS, PAST, PREPOSITIONS, PRESENT

_STRANDED = frozenset("for as of with on into from to".split())
_PARTICIPLES = frozenset("known made seen shown given held built found called taken written chosen sent set".split())
_OPEN_ADJECTIVES = frozenset("capable responsible famous native similar aware notable close adjacent home".split())
_OBLIGED = frozenset("required allowed ordered forced expected asked supposed told permitted invited".split())
_ADJECTIVE_ENDS = ("ful", "ous", "ive", "ant", "ent", "ic", "able", "ible", "ight", "less", "lar")

OPEN = (
    "What should one know about {}?",
    "What is known about {}?",
    "What is important to know about {}?",
    "What is there to learn about {}?",
    "What can be said about {}?",
)
"""Questions that any sentence answers."""


def ask(sentence: Sentence, dice: random.Random) -> str:
    """The question that fits a sentence; an open one where its kind has none."""
    return fitting(sentence, dice) or dice.choice(OPEN).format(sentence.name)


def fitting(sentence: Sentence, dice: random.Random) -> str:
    """The question that fits a sentence; empty where its kind has none."""
    name, verb, rest, kind = sentence.name, sentence.verb, sentence.rest, sentence.kind
    word = verb.rpartition(" ")[2]
    if kind == "person":
        return f"Who {word} {name}?"
    if kind == "definition":
        return f"What {word} {name}?"
    if kind == "born":
        return f"When was {name} born?" if sentence.year else f"Where was {name} born?" if " in " in rest else ""
    if kind == "place":
        placed = re.match(r"(?:located|situated|based|headquartered)\b", rest)
        if rest.startswith("bordered"):
            return f"What {word} {name} bordered by?"
        return f"Where {word} {name}{f' {placed[0]}' if placed else ''}?"
    if kind == "reason":
        return f"Why {word} {name} {rest.partition(' because ')[0]}?"
    if kind == "by":
        made = re.match(r"[a-z]+", rest)
        return f"By whom or what {word} {name} {made[0]}?" if made and f"{made[0]} by" in rest else ""
    if kind == "date" and word in BE:
        made = re.match(r"[a-z]+", rest)
        near = sentence.year in sentence.lead or re.match(rf"[a-z]+ [^,]{{0,30}}\b{sentence.year}\b", rest)
        return f"When {word} {name} {made[0]}?" if made and near else f"What happened to {name}?"
    if kind == "date":
        return dice.choice(("What happened in {}?", "What took place in {}?")).format(sentence.year)
    if kind == "said":
        return f"What did {name} say?"
    if kind == "count" and (number := counted(sentence)):
        does = {"has": "does", "have": "do", "had": "did"}[word]
        return f"How many {number[1]} {does} {name} have?"
    if kind == "have" and (figure := re.match(r"an? (population|area|length|height|capacity|diameter) of", rest)):
        return f"What {'was' if word == 'had' else 'is'} the {figure[1]} of {name}?"
    if kind == "have" and word in ("has", "had"):
        return f"What {'does' if word == 'has' else 'did'} {name} have?" if re.match(r"(?:an?|the) ", rest) else ""
    if kind == "did":
        base = PAST.get(word) or PRESENT.get(word, word)
        return f"What {'did' if word in PAST else 'does' if word in PRESENT else 'do'} {name} {base}?"
    if word in MODALS and not rest.startswith(("be ", "have ", "not ")):
        base, _, after = rest.partition(" ")
        has_object = base in VERBS and after.partition(" ")[0] not in PREPOSITIONS
        return f"What {word} {name} {base if has_object and after else 'do'}?"
    if word in BE:
        return _of_state(name, word, rest)
    if word in HAVE and (done := rest.partition(" ")[0]) in PAST and done != "been":
        return f"What {word} {name} done?"
    if word in HAVE:
        return ""
    if base := PAST.get(word) or PRESENT.get(word, "") or (word if word in VERBS else ""):
        does = "did" if word in PAST else "do" if word == base else "does"
        led = rest.partition(" ")[0]
        if led == "to" and rest.split(" ")[1] in VERBS:
            return f"What {does} {name} {base} to do?"
        return f"What {does} {name} {base} {led}?" if led in _STRANDED else f"What {does} {name} do?"
    return ""


def _of_state(name: str, word: str, rest: str) -> str:
    """The question to "S is used for…", "S was abandoned in Y", "S were lightweight"."""
    first, _, after = rest.partition(" ")
    then = after.partition(" ")[0]
    participle = first.endswith("ed") or first in _PARTICIPLES
    if first in _OPEN_ADJECTIVES and then in ("of", "for", "to", "from"):
        return f"What {word} {name} {first} {then}?"
    infinitive = after.partition(" ")[2].partition(" ")[0]
    if then == "to" and (participle or first in ("able", "likely", "willing")):
        if infinitive in ("be", "have"):
            return f"What {word} {name} {first} to {infinitive}?" if participle else ""
        if infinitive in VERBS and (first in _OBLIGED or not participle):
            return f"What {word} {name} {first} to do?"
    if participle and then in _STRANDED and not (then == "to" and infinitive in VERBS):
        return f"What {word} {name} {first} {then}?"
    if participle and then == "to":
        return f"Why {word} {name} {first}?"
    if (
        participle
        and then in ("in", "near", "at")
        and re.match(r"[A-Z]", after.split(" ")[-1 if " " not in after else 1])
    ):
        return f"Where {word} {name} {first}?"
    if participle and word in ("was", "were"):
        return f"What happened to {name}?"
    if first.endswith("ing") and len(first) > 5:
        return f"What {word} {name} doing?"
    if first.endswith(_ADJECTIVE_ENDS) or then == "and":
        return f"What {word} {name} like?"
    return ""


def aspect(sentence: Sentence) -> str:
    """What a sentence says about its subject, in a word or two: the label of a table's row."""
    if sentence.kind == "other" or sentence.kind == "have":
        return "Size" if re.match(r"an? (?:population|area|length|height|capacity)", sentence.rest) else "Description"
    return {
        "definition": "What it is",
        "person": "Who it is",
        "place": "Location",
        "born": "Birth",
        "by": "Origin",
        "date": "Date",
        "reason": "Reason",
        "count": "Number",
        "said": "Statement",
        "did": "Action",
    }[sentence.kind]


def step_title(sentence: Sentence, dice: random.Random) -> str:
    """What to do in the step of a tutorial that a sentence stands in, as an imperative with its full stop."""
    name, word = sentence.name, sentence.verb.rpartition(" ")[2]
    learn = dice.choice(("Learn", "Understand", "Remember"))
    if sentence.kind == "person":
        return f"{learn} who {name} {word}."
    if sentence.kind == "definition":
        return f"{learn} what {name} {word}."
    if sentence.kind == "place":
        return f"Find out where {name} {word}."
    if sentence.kind == "reason":
        return f"Understand why {small(name)} {word} {sentence.rest.partition(' because ')[0]}."
    if sentence.kind == "said":
        return f"Note what {name} said."
    if sentence.year:
        return dice.choice(("Remember the year {}.", "Note what happened in {}.", "Mark the year {}.")).format(
            sentence.year
        )
    if number := counted(sentence):
        return dice.choice(("Count the {}.", "Remember the number of {}.", "Note how many {} there are.")).format(
            number[1]
        )
    return dice.choice(
        ("Read about {}.", "Look at {}.", "Consider {}.", "Study {}.", "Take note of {}.", "Get to know {}.")
    ).format(name)
