"""Reads the sentences that the rules of `tools.tiny.teachers.parsing` cannot take apart, for open questions."""

from __future__ import annotations

import re

from blocks.filters.checks.tutorial import VERBS
from tools.tiny.teachers.parsing import (
    FIRST_PERSON,
    LONG,
    LONGEST,
    OPEN_END,
    SHORTEST,
    UNWANTED,
    YEAR,
    Sentence,
    cut,
    shortened,
)
from tools.tiny.teachers.words import (
    DETERMINERS,
    FINITE,
    HANGING,
    PREPOSITIONS,
    RELATIVE,
)

_PROPER = r"[A-Z][\w.'’-]*[\w]"
_NAME = re.compile(
    rf"{_PROPER}(?:(?: (?:of|the|de|von|van|for|and the|of the))? {_PROPER}|(?<=[a-z]) \d{{1,2}}(?!\d))*"
)
_THING = re.compile(
    r"\b(?:the|a|an|its|his|her|their|this|these|some|many) ((?:[a-z]+ )?[a-z]{3,}) ?"
    r"(?=(?:of|in|on|at|to|for|with|and|or|is|are|was|were|had|has|have|by|from|that|which|who|as|will|would|[a-z]+ed)\b|"
    r"[,.;]|$)",
    re.IGNORECASE,
)

_DAYS = frozenset(
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August "
    "September October November December".split()
)
_NO_NOUNS = (
    VERBS | FINITE | PREPOSITIONS | RELATIVE | DETERMINERS | frozenset("and but or nor also not then now than".split())
)
_NO_NAMES = (
    HANGING
    | DETERMINERS
    | PREPOSITIONS
    | RELATIVE
    | {"even", "later", "often", "early", "recent", "people", "two", "three"}
)


def loose(text: str, topic: str, document: str) -> tuple[Sentence | None, bool]:
    """A sentence as it stands, or its beginning, with the name of what it is about; whether it can stand alone.

    None for what is no statement: headings, questions, instructions to the reader, scraps.
    """
    for mark in ('"', "“", "”"):
        text = text.replace(mark, "")
    text = re.sub(r"^[-–—•* ]+", "", text).strip()
    words = text.split()
    if not text.endswith(".") or not text[0].isupper() or UNWANTED.search(text) or len(words) < SHORTEST:
        return None, False
    body = text[:-1]
    if len(words) > LONG:
        main = cut(body, len(" ".join(words[:6])))
        heads = [body[: comma.start()] for comma in re.finditer(", ", body)]
        tried = (shortened(main, LONG - 1), main, body, *reversed(heads))
        body = next((head for head in tried if len(head.split()) <= LONGEST and (head == body or _states(head))), "")
    if not body:
        return None, False
    name = _named(body, document) or topic
    if not name:
        return None, False
    first = re.split("['’]", words[0].lower())[0]
    year = YEAR.search(body)
    sentence = Sentence(f"{body}.", "", "", "", body, "other", year[0] if year else "", name)
    return sentence, first not in HANGING and not FIRST_PERSON.search(text)


def _states(body: str) -> bool:
    """Whether the beginning of a sentence has a verb of its own: "As the sun rose" has none."""
    words = body.split()
    first = words[0].lower()
    if first in PREPOSITIONS | RELATIVE or first.endswith(("ing", "ed")) or first in ("similar", "even"):
        body = body.partition(", ")[2]
    return len(words) >= 7 and not FINITE.isdisjoint(body.split()) and not OPEN_END.search(body)


def _named(body: str, document: str) -> str:
    """What a sentence is about: its first name, else its first thing."""
    for match in _NAME.finditer(body):
        name, start = match[0], match.start()
        first, _, rest = name.partition(" ")
        known = start > 0 or bool(re.search(rf"[a-z,] {re.escape(first)}\b", document))
        if first.lower() in _NO_NAMES or not (known or rest[:1].isupper()):
            if not rest[:1].isupper():
                continue
            name, start = rest, start + len(first) + 1
        # "the Arab world": what follows belongs to it, unless it may be a verb.
        after = re.match(r" ([a-z]{3,})\b", body[start + len(name) :])
        article = re.search(r"\b[Tt]he $", body[:start])
        if article and after and " " not in name and after[1] not in _NO_NOUNS and not after[1].endswith(("ed", "ing")):
            name = f"{name} {after[1]}"
        if len(name) > 2 and len(name.split()) <= 6 and not _DAYS.intersection(name.split()):
            return f"the {name}" if article else name
    thing = _THING.search(body)
    if thing is None:
        return ""
    noun, _, last = thing[1].lower().rpartition(" ")
    if noun and (last in _NO_NOUNS or last.endswith(("ed", "ly"))):  # "the clock stood at"
        last, noun = noun, ""
    return "" if last in FINITE or last.endswith("ly") else f"the {noun} {last}".replace("  ", " ")
