"""The sentences of a document as they stand there: what they name, and how to quote them."""

from __future__ import annotations

import re
from typing import NamedTuple

from blocks.generate.errors import Rejected
from blocks.instruct.excerpts import Source
from tools.tiny.teachers.words import ABBREVIATIONS, CONNECTIVES, FINITE, HANGING, PREPOSITIONS

SHORTEST, LONGEST = 5, 40
"""Words of a sentence that is used."""

_END = re.compile(r"(?<=[.!?])[\"”’']{0,2}\s+(?=[\"“‘'(]?[A-Z0-9])|\s*\n\s*")
_FULL = re.compile(r".*[.!?][\"”’')]{0,2}", re.DOTALL)
_NAME = re.compile(r"[A-Z][\w’-]*\w(?: (?:of |de |von |van |the )?[A-Z][\w’-]*\w)*")
_PLAIN = re.compile(r"[\w’ -]+")
_BEHIND_NAME = re.compile(rf",|['’]s?\b| \(| (?:{'|'.join(sorted(FINITE))})\b")
_BESIDE = re.compile(rf"(?P<name>{_NAME.pattern})(?: \(|, (?=\d|an? |the |who |which |one ))")
_START = frozenset(word.capitalize() for word in HANGING | PREPOSITIONS | {"the", "a", "an"})
_TIMES = frozenset(
    "January February March April May June July August September October November December Monday Tuesday Wednesday "
    "Thursday Friday Saturday Sunday".split()
)


class Passage(NamedTuple):
    """A sentence, or several in a row.

    Args:
        text: as it stands in the document.
        number: of the first of its sentences.
    """

    text: str
    number: int


def passages(document: str) -> list[Passage]:
    """The whole sentences of a document that can be quoted."""
    found: list[Passage] = []
    start = number = 0
    ends = [match.span() for match in _END.finditer(document)]
    for end, following in [*ends, (len(document), len(document))]:
        text = document[start:end]
        quotes = re.match(r"[\"”’']{0,2}", document[end:following])
        text += quotes[0] if quotes else ""
        last = text.rpartition(" ")[2]
        opened = text.count("(") > text.count(")")  # "(pop. 1,200)" does not end
        abbreviated = last in ABBREVIATIONS or re.fullmatch(r"(?:[A-Za-z]\.)+", last)
        if "\n" not in document[end:following] and (opened or abbreviated):
            continue
        start = following
        text = text.strip()
        words = len(text.split())
        if SHORTEST <= words <= LONGEST and _FULL.fullmatch(text) and not re.search(r"[<>{}\\]", text):
            found.append(Passage(text, number))
        number += 1
    return found


def quoted(passage: str, source: Source) -> str | None:
    """A passage in full as an excerpt; None where it is none.

    A model of this size copies a sentence, but does not find the end of one by its beginning: when it was taught to
    name the first and last words, five in six of its passages ended with words that were not in the document.
    """
    if "\n" in passage:
        return None
    try:
        first, last = source.find(passage)
    except Rejected:
        return None
    return f"<excerpt>{passage}</excerpt>" if source.text[first:last] == passage else None


def names(text: str) -> list[str]:
    """The names in a sentence, in their order: words with a capital, but for one that only begins it."""
    found = []
    for match in _NAME.finditer(text):
        name = match[0]
        first, _, rest = name.partition(" ")
        if first in _START:
            name = rest
        if len(name) > 2 and name not in found and name not in _START | _TIMES:
            if match.start() == 0 and first == name and not _BEHIND_NAME.match(text, match.end()):
                continue
            found.append(name)
    return found


def subject(text: str) -> str:
    """What stands before the verb of a sentence, as within a question; empty where that is no plain name or thing."""
    if beside := _BESIDE.match(text):  # "Anna Sorberg (1820-1890) was", "Sorberg, a painter, was"
        name = beside["name"]
        return "" if text.startswith(CONNECTIVES) or name in _START | _TIMES else name
    words = text.split(" ")
    for at, word in enumerate(words[:6]):
        if at and (word in FINITE or (word.endswith("ed") and len(word) > 4)):
            break
        if not _PLAIN.fullmatch(word) or word.lower() in PREPOSITIONS - {"of"}:
            return ""
    else:
        return ""
    while at > 1 and words[at - 1].endswith("ly"):
        at -= 1
    first = words[0]
    if at > 3 and words[at] not in FINITE:
        return ""
    if first.lower() in HANGING or words[at - 1].lower() in PREPOSITIONS | {"and", "or", "the"}:
        return ""
    if first in ("The", "A", "An") or (at > 1 and first[1:].islower() and words[1].islower()):
        words[0] = first.lower()
    return " ".join(words[:at])
