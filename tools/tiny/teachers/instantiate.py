"""Teacher of pairs: a template filled in with what a document names, and the document's sentence that answers it.

Whether a document fits is decided by what a small model can see: the template's own content words have to occur, and a
sentence with them must hold what the template asks for (a year for "when", a number for "how many", a name for "who").
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

import orjson

from blocks.instruct.excerpts import Source
from blocks.instruct.pairs import is_sound, parse_pair
from blocks.instruct.templates import Template, parse_template
from tools.tiny.teachers.passages import Passage, names, passages, quoted, subject
from tools.tiny.teachers.words import FINITE, PAST, PRESENT

_WORD = re.compile(r"[a-z]{3,}")
_STOP = frozenset(
    """
    the and for are was were has have had did does what who when where which how why whose many much this that there
    with from about into its it's his her you your they can could will would should one some any all not but been being
    known know happen happened tell describe explain summarize give account short story few lines fact write
    name related important work old long far tall role take took place year play part use used mean means get got
    come came out first last most made make called named done history subject live lived due list top new
    """.split()
)
_TITLE = "<fi>title of"
_YEAR_WANTED = "year"
_YEAR = re.compile(r"(?<![\d,.])(?:1[0-9]{3}|20[0-9]{2})(?![\d,]*\d)")
_DATE = re.compile(
    _YEAR.pattern + r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December|"
    r"Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)\b|\bcentury\b"
)
_NUMBER = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|hundred|thousand|million)\b"
)
_PLACE = re.compile(
    r"\b(?:[Ii]n|[Aa]t|[Nn]ear|[Ff]rom|[Oo]f|[Tt]o|[Oo]n) (?:the )?(?P<name>[A-Z][\w-]+(?: [A-Z][\w-]+)*)"
)
_REASON = re.compile(r"\b(?:because|since|due to|so that|as a result|therefore|in order to|thus)\b", re.IGNORECASE)
_WORK = re.compile(
    r"\b(?:film|movie|song|album|book|novel|series|show|game|episode|poem|band|story|television|TV|drama|comedy|"
    r"director|actor|actress|singer|author|writer|published|premiered)s?\b"
)
_QUOTED = re.compile(r"[\"“]([A-Z][^\"“”<>]{2,40}\w)[\"”]")
_MEANING = re.compile(r"\b(?:is|are|was|were|means|refers|called|known as|describes|defined)\b")
_PERSON = re.compile(r"\b(?:he|she|his|her|him|who|hers)\b", re.IGNORECASE)
_COUNTED = re.compile(r"\b\d[\d,.]* (?P<name>[a-z]{4,}s|people)\b")
_THING = re.compile(
    r"\b(?:the|an?) (?P<name>(?:[a-z]{3,} )?[a-z]{4,})"
    r"(?= (?:is|was|are|were|of|in|that|which|for|to|and|has|had|by)\b|[,.])"
)

_ASKED = (
    ("when", re.compile(r"\A(?:in )?(?:when|(?:what|which) (?:year|date|day|month))\b"), _DATE),
    ("how many", re.compile(r"\Ahow (?:many|much|long|old|far|tall|big|high|deep|fast|often|large)\b"), _NUMBER),
    ("where", re.compile(r"\Awhere\b"), _PLACE),
    ("what it is", re.compile(r"\Awhat does .*\bmean\b"), _MEANING),
    ("why", re.compile(r"\Awhy\b"), _REASON),
)
_WIDE = re.compile(r"\b(?:summarize|describe|explain|tell|account|lines|story|know|about|history)\b")

_LEADS = {
    "when": ("The date: ", "About the time: "),
    "where": ("The place: ", "About the place: "),
    "who": ("It says who: ", "The name: "),
    "how": ("In numbers: ", "It says: "),
    "why": ("The reason: ", "It says why: "),
}
_MOST_WORDS = 32
"""Words of an answer of two passages."""

_ANY_LEADS = ("It says: ", "In short: ", "This is known: ")

LEAD = 0.3
"""Share of the answers that begin with some words of their own, where the passage is long enough."""


def instantiate(template: str, document: str, dice: random.Random) -> str:
    """The pair as one line of JSON, or `null` where the document does not fit."""
    read = parse_template(template)
    found = passages(document)
    source = Source(document)
    if (_TITLE in template and not _WORK.search(document)) or (
        "person</fi>" in template and not _PERSON.search(document)
    ):
        return "null"
    for passage in _ranked(read, found):
        filled = _fill(read, passage, found)
        if filled is None:
            continue
        text = _answer(read, passage, found, source, dice)
        if text is None:
            continue
        told = orjson.dumps({"instruction": filled, "answer": text}).decode()
        pair = parse_pair(read, source, told)
        if pair is not None and is_sound(pair):
            return told
    return "null"


def fitting(templates: Sequence[str], document: str) -> str:
    """Of some templates that which has most content words in common with a document, as a search would find it."""
    words = stems(document.lower())
    return max(templates, key=lambda template: len(_content(parse_template(template)) & words))


def _content(template: Template) -> set[str]:
    return stems(" ".join(word for word in template.words if word not in _STOP))


def stems(text: str) -> set[str]:
    """The content words of a text in small letters, cut so that their forms are alike."""
    words = (PAST.get(word, PRESENT.get(word, word)) for word in _WORD.findall(text))
    return {word[:5] for word in words if word not in _STOP}


def asked_for(question: str) -> list[tuple[str, re.Pattern[str]]]:
    """What a question in small letters asks for by its first words, and the pattern of it."""
    return [(name, needed) for name, asked, needed in _ASKED if asked.search(question)]


def _ranked(template: Template, found: Sequence[Passage]) -> list[Passage]:
    """The sentences that could answer, the best of them first.

    Whether a sentence can be copied easily does not matter: which one it is to be is seen at its beginning. When those
    with brackets or quotation marks were left out, the model took them all the same, and left out the brackets.

    All begin with what the question can name: a small model finds a name, but not the beginning of the sentence around
    it. When any sentence was good enough, half of them began otherwise, and the model began one answer in eight with
    words that are in no sentence. Only one that holds all that is asked for may begin otherwise.
    """
    wanted = _content(template)
    literal = " ".join(template.words)
    needs = [needed for _, needed in asked_for(literal)]
    if _YEAR_WANTED in template.variables:
        needs.append(_YEAR)
    able = [passage for passage in found if all(need.search(passage.text) for need in needs)]
    if literal.startswith(("who", "whose")):
        able = [passage for passage in able if _persons(passage.text)]
    shared = {passage: len(wanted & stems(passage.text.lower())) for passage in able}

    def answers(passage: Passage) -> bool:
        if wanted and shared[passage] == len(wanted):
            return True
        return bool(subject(passage.text)) and 3 * shared[passage] >= len(wanted)

    return sorted(
        filter(answers, able), key=lambda passage: (-shared[passage], not names(passage.text), passage.number)
    )


def _persons(text: str) -> list[str]:
    return [name for name in names(text) if 2 <= len(name.split()) <= 4]


def _fill(template: Template, passage: Passage, found: Sequence[Passage]) -> str | None:
    """The template with what the passage names in the place of its variables; None where it names too little."""
    taken: list[str] = []
    parts = [template.literals[0]]
    for variable, literal in zip(template.variables, template.literals[1:], strict=True):
        options = _options(variable, " ".join(template.words), passage, found)
        free = [option for option in options if option and not any(_same(option, other) for other in taken)]
        if not free:
            return None
        taken.append(free[0])
        parts += [free[0], literal]
    return "".join(parts)


def _same(one: str, other: str) -> bool:
    return one.lower() in other.lower() or other.lower() in one.lower()


def _options(variable: str, literal: str, passage: Passage, found: Sequence[Passage]) -> Iterable[str]:
    text = passage.text
    if variable == _YEAR_WANTED:
        return _YEAR.findall(text)
    if variable == "number":
        return re.findall(r"\b\d+\b", text)
    if "group of things" in variable:
        return [match["name"] for match in _COUNTED.finditer(text)]
    here, others = names(text), [name for other in found[:1] for name in names(other.text)]
    things = [m["name"] for m in _THING.finditer(text) if FINITE.isdisjoint(m["name"].split())]
    own = subject(text)
    if "person" in variable or "character" in variable:
        many = _persons(text)
        if literal.startswith(("who is", "who was")):
            return [*many, *here]
        return [own] * own[:1].isupper() + many + here
    if "place" in variable:
        places = [match["name"] for match in _PLACE.finditer(text)]
        return places + here + others
    if variable.startswith("title of"):
        return [*_QUOTED.findall(text), *here[literal.startswith("who") :], *here, *others]
    if literal.startswith("who ") and len(here) > 1:
        # The first name is the answer more often than not.
        return [own] * (bool(own) and not own[:1].isupper()) + here[1:] + things + here
    return [own, *here, *things, *([subject(found[0].text)] if found else []), *others]


def _answer(
    template: Template, passage: Passage, found: Sequence[Passage], source: Source, dice: random.Random
) -> str | None:
    literal = " ".join(template.words)
    excerpt = quoted(passage.text, source)
    if excerpt is None:
        return None
    length = len(passage.text)
    if _WIDE.search(literal):
        follower = next((other for other in found if other.number == passage.number + 1), None)
        more = quoted(follower.text, source) if follower else None
        if more is not None and len(excerpt.split()) + len(more.split()) <= _MOST_WORDS:
            return f"{excerpt} {more}"
    if dice.random() >= LEAD:
        return excerpt
    first = template.words[0]
    lead = dice.choice(_LEADS.get(first, _ANY_LEADS))
    return f"{lead}{excerpt}" if len(lead) <= 0.18 * length else excerpt
