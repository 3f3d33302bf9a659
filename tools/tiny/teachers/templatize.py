"""Teacher of templates: a search query by its frame, with descriptions in the place of what is special to it."""

from __future__ import annotations

import re

import orjson

from blocks.generate.errors import Rejected
from blocks.instruct.templates import parse_templatized
from tools.tiny.teachers.frames import FRAMES, KINDS, NOUNS, Frame

_YEAR = re.compile(
    r"(?P<before>.*?)(?P<joint>\b(?:in|of|for|since|on)\s+)?\b(?P<year>(?:1[0-9]{3}|20[0-9]{2})s?)\b", re.IGNORECASE
)
_TITLES = frozenset(("work", "song", "book", "game"))
_NOUN = "|".join(sorted(NOUNS, key=len, reverse=True))
_BEFORE = re.compile(
    rf"((?:the |a |an )?(?P<noun>{_NOUN}) (?:called |of |on )?)"
    r"(?P<name>(?!(?:is|are|was|were|do|does|did|has|have|had|can|given) ).+)",
    re.IGNORECASE,
)
_BEHIND = re.compile(rf"(?P<name>.+)( (?P<noun>{_NOUN}))", re.IGNORECASE)
_ASKING = re.compile(
    r"(?:(?:in )?(?:who|what|when|where|which|how|why|whose)(?:'s)? )"
    r"(?:(?:is|are|was|were|do|does|did|can|could|will|would|has|have|had|many|much|long|the|a|an|type|kind|you|of) )*"
    r"(?:(?<=^what )\w+ |(?<=^which )\w+ |(?<=^who )\w+ |(?<=many )\w+ |(?<=of )\w+ )?"
    r"(?:(?:is|are|was|were|do|does|did) )?",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"(?:\S+ ){1,4}?(?:of|in|on|to|for|by|with|from|at|is|are|was|were|and|the|that) (?P<topic>.+)", re.IGNORECASE
)
_OPEN = re.compile(r"(?:the|a|an|of|in|on|to|for|by|with|from|at|and|or|it|he|she|they|there|i|you|we)", re.IGNORECASE)

_ANY = Frame(re.compile("(?P<topic>.+)"), "An article about a subject that says what is to know about it.")


def templatize(query: str) -> str | None:
    """The template of a query and the documents that fit it, as one line of JSON; None where nothing is special."""
    query = " ".join(query.split())
    for frame in FRAMES:
        if (match := frame.pattern.fullmatch(query)) and not any(map(_OPEN.fullmatch, match.groupdict("").values())):
            return _checked(query, _filled(query, match), frame, match)
    if (asked := _ASKING.match(query)) and (match := _ANY.pattern.fullmatch(query, asked.end())):
        return _checked(query, _filled(query, match), _ANY, match)
    # The first joint of the first words: a small model decides while it copies, and cannot know which is the last.
    if match := _JOINT.fullmatch(query):
        return _checked(query, _filled(query, match), _ANY, match)
    first, _, rest = query.partition(" ")
    return _checked(query, f"{first} {_variable('topic', rest)}", _ANY, None) if rest else None


def _checked(query: str, template: str, frame: Frame, match: re.Match[str] | None) -> str | None:
    words = match.groupdict("") if match else {}
    documents = frame.documents.format(v=words.get("v", "").lower(), w=words.get("w", "").lower())
    answer = orjson.dumps({"template": template, "compatible_document_description": documents}).decode()
    try:
        parse_templatized(query, answer)
    except Rejected:
        return None
    return answer


def _filled(query: str, match: re.Match[str]) -> str:
    parts: list[str] = []
    position = 0
    spans = [(match.span(name), name.rstrip("0123456789")) for name, found in match.groupdict().items() if found]
    for (start, end), kind in sorted(spans):
        if kind in KINDS:
            parts += [query[position:start], _special(kind, query[start:end])]
            position = end
    return "".join([*parts, query[position:]])


def _special(kind: str, text: str) -> str:
    """What stands for a special part: one variable, or several with the words between them."""
    tail = re.search(r"[?!.]*$", text)
    end = tail[0] if tail else ""
    text = text[: len(text) - len(end)]
    year = None if kind in _TITLES else _YEAR.match(text)
    if year and (year.end() == len(text) or not year["before"].strip()):
        before = _special(kind, year["before"].rstrip()) if year["before"].strip() else ""
        rest = text[year.end() :]
        after = f" {_special(kind, rest.strip())}" if rest.strip() and not before else rest
        return f"{before}{' ' if before else ''}{year['joint'] or ''}<fi>{KINDS['year']}</fi>{after}{end}"
    if found := _BEFORE.fullmatch(text):
        return f"{found[1]}{_variable(NOUNS[found['noun'].lower()], found['name'])}{end}"
    if found := _BEHIND.fullmatch(text):
        return f"{_variable(NOUNS[found['noun'].lower()], found['name'])}{found[2]}{end}"
    return f"{_variable(kind, text)}{end}"


def _variable(kind: str, text: str) -> str:
    return f"<fi>{KINDS['number' if text.strip().isdigit() else kind]}</fi>"
