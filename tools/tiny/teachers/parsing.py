"""Takes a sentence apart by rules: its subject, its verb, what kind of fact it states, and where it can be cut."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from blocks.filters.checks.tutorial import VERBS
from tools.tiny.teachers.words import (
    BE,
    DETERMINERS,
    FINITE,
    HANGING,
    HAVE,
    LOWERED,
    MODALS,
    NO_VERBS,
    PAST,
    PEOPLE,
    PREPOSITIONS,
    PRESENT,
    RELATIVE,
)

Kind = Literal["definition", "person", "place", "born", "by", "date", "reason", "count", "said", "did", "have", "other"]
"""What a sentence states; it decides which question fits."""

LONGEST = 30
"""Words of the longest sentence that is used, after cutting."""

SHORTEST = 5

LONG = 13
"""Words from which a sentence is cut where it can be: runs of 13 copied words count as copying."""

FIRST_PERSON = re.compile(r"\b(?:I|we|We|my|our|Our|you|your|You|us|me)\b")
UNWANTED = re.compile(
    r"[|{}<>*_#\[\]\\=@]|https?:|www\.|\.\.|…|`|\" *\"| ,|,,|\( *\)|\.[A-Za-z]{3}|"
    r"\b(?:of|at|in|to|is|by|from|with|the|a),| \" | -|- |--"
)

# A clause that may be left out behind the main clause. Never one that limits it (if, unless, but, except, because).
_TAIL = re.compile(
    r",? (?=whose\b)|, (?=(?:which|who|where|while|whereas|including|with|such as|as well as|making|giving|leaving|"
    r"becoming|following|using|being|having|allowing|causing|particularly|especially|also|although|though|"
    r"and (?:it|he|she|they|then|later|was|is|are|were|has|had)|and [a-z]{3,12}ed|"
    r"[a-z]{3,12}ing (?:the|a|an|to|in|his|her|its|their))\b)|; | – | — "
)
_PHRASE = re.compile(
    r",? (?=(?:in|on|at|from|during|after|before|with|by|within|between|under|across|through|near|along|alongside|"
    r"against|around|around|into|when|while|because of|due to) )"
)
OPEN_END = re.compile(
    r"\b(?:that|which|who|to|can|could|will|would|may|also|be|been|is|was|are|were) [a-z]+$|ed$|, [a-z]+$|"
    r"\b(?:and|or|but|of|the|a|an|by|for|to|as|than|at|in|on)$"
)
_LIMITED = re.compile(
    r"\b(?:not|no|never|only|first|last|none|few|less|without|than|between|most|least|best|[a-z]{2,9}est|neither|nor|if|"
    r"unless|same|such|both|either|[a-z]{2,6}n['’]t)\b"
)
YEAR = re.compile(r"\b(1[0-9]{3}|20[0-9]{2})\b(?![-–,]\d| (?:people|miles|feet|metres|meters|inhabitants|km))")
_COUNT = re.compile(
    r"(?<![\w.,$£€-])(?P<number>\d{1,3}(?:,\d{3}){1,2}|\d{1,4}) (?P<noun>[a-z]{3,14}s|people|feet|men|women|children)\b"
)
_PLACE = re.compile(
    r"(?:located|situated|found|based|headquartered|bordered|in|on|near|at|off|along|between|part of)\b"
)
_PERSON = re.compile(r"[a-z]{3,}(?:ician|ologist|grapher|wright|sman|swoman|onist|alist|orist)")
_PLURAL = re.compile(r"(?!.{0,20}(?:ed|ing) )(?:[a-z]+ )?[a-z]{3,}s (?:of|that|which|who|with|from|in|for)\b")
_BY = re.compile(r"(?P<verb>[a-z]{3,14}(?:ed|en|wn|de|ung|uilt|et|ld|id|t)) by (?=[A-Z]|the |a |an )")
_COMMON_ENDS = ("tion", "tions", "ness", "ment", "ments", "ers", "ials", "ity", "ities", "ance", "ence", "ism", "logy")
_JOINED = ("of ", "and", "or ", "in ", "the", "de ", "von", "van", "fro")
_SAY = frozenset("said says told announced claimed explained argued warned reported added".split())


class Sentence(NamedTuple):
    """A sentence that can stand alone.

    Args:
        text: the whole of it, with its full stop.
        lead: what stands before the subject, "In 1990," or nothing.
        subject: as it stands in `text`; empty, like `verb`, where the sentence was not taken apart.
        verb: its first verb.
        rest: what follows the verb, or all of the sentence, without the full stop.
        kind: what it states.
        year: the first year it names, or nothing.
        name: the subject as it stands within a question.
    """

    text: str
    lead: str
    subject: str
    verb: str
    rest: str
    kind: Kind
    year: str
    name: str


def clause(sentence: Sentence) -> str:
    """The sentence without what stands before its subject and without its full stop."""
    return f"{sentence.subject} {sentence.verb} {sentence.rest}".strip()


def small(text: str) -> str:
    """A clause as it stands behind other words: without the capital of an article."""
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}" if first in LOWERED else text


def shortened(text: str, most: int, least: int = 7) -> str:
    """A clause without its last phrases ("in…", "with…"), cut to `least` to `most` words where that leaves it true.

    It stays whole where it is short enough, where there is no such place, and where what follows could limit what is
    said: behind a negation or a superlative.
    """
    if len(text.split()) <= most or _LIMITED.search(text):
        return text
    cut = text
    for match in _PHRASE.finditer(text):
        head = text[: match.start()]
        if OPEN_END.search(head):
            continue
        if least <= len(head.split()) <= most and head.count('"') % 2 == 0 and head.count("“") == head.count("”"):
            cut = head
    return cut.rstrip(" ,")


def counted(sentence: Sentence) -> tuple[str, str] | None:
    """The first number of things that a sentence names, and the things: ("13", "boundaries")."""
    match = _COUNT.search(sentence.text)
    return (match["number"], match["noun"]) if match else None


def parse(text: str, document: str) -> Sentence | None:
    if not text.endswith(".") or text.count('"') % 2 or text.count("(") != text.count(")"):
        return None
    if not text[0].isupper() or UNWANTED.search(text) or FIRST_PERSON.search(text) or ("“" in text) != ("”" in text):
        return None
    if len(text.split()) > 2 * LONGEST:
        return None
    body, lead = text[:-1], ""
    if body.partition(" ")[0].lower() in PREPOSITIONS:
        lead, comma, body = body.partition(", ")
        if not comma or len(lead.split()) > 8:
            return None
        lead += ","
    at = _verb_at(body.split(" "))
    if at is None:
        return None
    tokens = body.split(" ")
    end = at
    while end > 1 and (tokens[end - 1].endswith("ly") or tokens[end - 1] in ("also", "often", "never", "still", "now")):
        end -= 1
    subject = " ".join(tokens[:end])
    main = cut(body, len(" ".join(tokens[: at + 1])))
    if not _is_subject(subject):
        return None
    verb = tokens[at]
    if len(main.split()) > LONG + 2 and not main[: len(subject) + 40].count(" because "):
        main = shortened(main, LONG - 1, max(7, at + 4))
    rest = main[len(" ".join(tokens[: at + 1])) + 1 :].rstrip(" ,;:")
    if end < at:
        verb = " ".join(tokens[end : at + 1])
    whole = f"{lead} {subject} {verb} {rest}.".strip()
    if not rest or not SHORTEST <= len(whole.split()) <= LONGEST or whole.count('"') % 2:
        return None
    if rest.rpartition(" ")[2].lower() in PREPOSITIONS | DETERMINERS | {"and", "or"}:
        return None
    year = YEAR.search(whole)
    sentence = Sentence(
        whole, lead, subject, verb, rest, "other", year[0] if year else "", _within(subject, tokens[at], document)
    )
    return sentence._replace(kind=_kind(sentence))


def _verb_at(tokens: list[str]) -> int | None:
    for at, token in enumerate(tokens[1:11], 1):
        word = token.strip('"')
        if at == 1 and word in VERBS and re.fullmatch(r"[A-Z][a-z]+[^s'’]s", tokens[0]):
            return at  # "Farmers use"
        if word in FINITE or (word.endswith("ed") and len(word) > 4 and word not in NO_VERBS and word.islower()):
            previous = tokens[at - 1].lower()
            adjective = (
                previous.isdigit()
                or previous in DETERMINERS
                or previous in PREPOSITIONS
                or previous.endswith(("'s", "s'"))
            )
            described = previous == "well" or (word.endswith("ed") and previous.endswith("ly"))
            participle = at + 1 < len(tokens) and tokens[at + 1] == "by" and word not in BE
            if word not in BE | HAVE | MODALS and (
                adjective or described or participle or previous == "and" or _describes(tokens[at : at + 11])
            ):
                continue
            return at
        if word in RELATIVE or word in ("to", "not") or token.endswith((",", ";", ":")):
            return None
    return None


def _describes(tokens: list[str]) -> bool:
    """Whether a word in -ed belongs to the noun before it: "A video uploaded to X showed"."""
    if not tokens[0].endswith("ed") or tokens[1:2] == [] or tokens[1] not in PREPOSITIONS:
        return False
    for token in tokens[2:]:
        if token in ("and", "but", "which", "that", "who", "when", "where", "while", "as") or token.endswith(","):
            return False
        if token in BE | HAVE | PAST.keys() | MODALS:
            return True
    return False


def cut(body: str, start: int) -> str:
    """The main clause of a sentence that is long; all of one that is short or has no place to cut."""
    if len(body.split()) < LONG:
        return body
    for match in _TAIL.finditer(body, start):
        head = body[: match.start()]
        if len(head.split()) >= 7 and head.count('"') % 2 == 0:
            return head
    return body


def _is_subject(subject: str) -> bool:
    words = subject.split(" ")
    if len(words) > 7 or not subject or any(mark in subject for mark in ',;:"“?!'):
        return False
    if re.split("['’]", words[0].lower())[0] in HANGING or words[-1].lower() in DETERMINERS | PREPOSITIONS:
        return False
    if len(words) == 1 and (words[0].lower().endswith(("ing", "ly")) or words[0].lower() in PREPOSITIONS):
        return False
    if subject.lower() in (
        "the other",
        "the others",
        "the two",
        "the former",
        "the latter",
        "the same",
        "the last",
        "the first",
        "the one",
        "the rest",
        "the second",
        "the third",
        "the following",
        "the result",
    ):
        return False
    if len(words) > 1 and words[0].lower() in VERBS and words[1].islower():
        return False  # an instruction, most likely
    if "year-old" in subject or subject.isdigit() or (words[0].isupper() and len(words[0]) > 4 and len(words) > 1):
        return False
    if any(word in ("it", "he", "she", "they", "them", "time") for word in words) or words[-1] in ("and", "or"):
        return False
    return not any(word in RELATIVE or word in BE or word in ("before", "after", "during") for word in words)


def _within(subject: str, verb: str, document: str) -> str:
    """The subject as it stands within a sentence: with a small letter where it does not look like a name."""
    first, _, rest = subject.partition(" ")
    lowered = first.lower()
    # "Limpets wear", "Similar games"
    if rest:
        plain = rest[0].islower() and (rest[:3] not in _JOINED or bool(re.match(r"(?:and|or) [a-z]", rest)))
    else:
        plain = verb in ("are", "were", "have") or verb in VERBS
    named = first.endswith(("an", "ish", "ese", "'s", "’s")) or re.search(rf"[a-z,] {re.escape(first)}\b", document)
    is_common = first in LOWERED or (
        not first.isupper()
        and not (re.match(r"[A-Z]", rest) and not first.endswith("s"))
        and (
            (plain and not named)
            or first.endswith(_COMMON_ENDS)
            or bool(re.search(rf"[a-z,] {re.escape(lowered)}\b", document))
        )
    )
    return f"{lowered}{' ' if rest else ''}{rest}" if is_common else subject


def _kind(sentence: Sentence) -> Kind:
    verb, rest = sentence.verb.rpartition(" ")[2], sentence.rest
    first = rest.partition(" ")[0]
    if " because " in rest and verb in BE:
        return "reason"
    if verb in BE:
        if rest.startswith("born "):
            return "born"
        if re.match(r"(?:an?|the|one of|any)\b", rest):
            head = re.split(r"[,;]| (?:who|which|that|of|for|from|in|by|as)\b", rest)[0]
            words = head.lower().split()
            titled = re.search(r"\b(?:Rev|Dr|Mr|Mrs|Ms|Sir|Prof|Saint|St)\b", sentence.subject)
            is_person = (
                bool(titled) or not PEOPLE.isdisjoint(words) or any(map(_PERSON.fullmatch, words))
            ) and sentence.subject[:4] not in (
                "The ",
                "A ",
                "An ",
            )
            return "person" if is_person else "definition"
        if verb in ("are", "were") and _PLURAL.match(rest):
            return "definition"
        if _PLACE.match(rest) and verb in BE and not re.match(r"(?:in|on|at) (?:\d|the \d|order|fact|love)", rest):
            if re.match(r"(?:located|situated|based|headquartered|bordered)\b", rest):
                return "place"
            if not re.match(r"(?:found|part)\b", rest) and re.search(r"^[a-z]+ (?:the )?[A-Z]", rest):
                return "place"
        if sentence.year and re.match(r"[a-z]{3,14}(?:ed|en|wn|de|uilt|ung|ld|id|un)\b", rest):
            return "date"
        if _BY.search(rest, 0, 60):
            return "by"
        return "other"
    if verb in HAVE:
        return "count" if re.match(r"(?:\d[\d,]* [a-z]+s\b)", rest) else "have"
    if verb in _SAY and not first.istitle():
        return "said"
    if sentence.year:
        return "date"
    object_follows = first in DETERMINERS or first[:1].isdigit() or first[:1].isupper()
    return "did" if (verb in PAST or verb in PRESENT or verb in VERBS) and object_follows else "other"
