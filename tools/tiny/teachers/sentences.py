"""Reads a document as a list of sentences that can stand alone, each with its subject and what kind of fact it states.

All teachers copy from this list, so what hangs in the air ("He then…"), breaks off or speaks in the first person is
sorted out here, once. A pronoun at the beginning is replaced where the sentence before has only one subject it can
mean. Long sentences are cut where their main clause ends: what is left stays true, and an answer does not consist of
nothing but quotations (the check `copying`).

A small model learns to go on with the next sentence; it cannot learn why one is skipped. So sentences that the rules
cannot take apart are in the list as well, with the name of what they are about (`tools.tiny.teachers.loose`).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from blocks.filters.checks.tutorial import VERBS
from tools.tiny.teachers.words import (
    ABBREVIATIONS,
    BE,
    CONNECTIVES,
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

ENOUGH = 2
"""Sentences that can stand alone, from which on the others of a document are not used."""

_LONG = 13
"""Words from which a sentence is cut where it can be: runs of 13 copied words count as copying."""

_DATELINE = re.compile(r"^[A-Z][\w .,'-]{2,40}(?: \([\w ]{2,20}\))? ?(?:--|—|–) ")
_BRACKETS = re.compile(r" ?\([^()]{0,200}\)| ?\[[^\[\]]{0,60}\]")
_SPACE_BEFORE = re.compile(r" +([.,;:!?%)]|'s\b|n't\b)")
_GLUED = re.compile(r"([a-z)\"])\.([A-Z][a-z])")
_END = re.compile(r"[.!?][\"”’']? +(?=[\"“]?[A-Z0-9])")
_INSTRUCTION = re.compile(
    r"[A-Z][a-z]+ (?:the|a|an|your|every|each|some|all|off|up|out|\d+|[a-z]+ly|until|for|with|in|on) "
)
_FIRST_PERSON = re.compile(r"\b(?:I|we|We|my|our|Our|you|your|You|us|me)\b")
_UNWANTED = re.compile(
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
_APPOSITIVE = re.compile(r"^([^,]{2,60}), [^,]{2,80}(?:, [^,]{2,40})?, (?=(?:is|was|are|were|has|had|[a-z]{3,12}ed) )")
_PARTICIPLE_LEAD = re.compile(
    r"^(?:[A-Z][a-z]{2,12}(?:ed|ing)|Known|Built|Born|Written|Led|Set) [^,]{3,90}, (?=[A-Za-z])"
)
_PHRASE = re.compile(
    r",? (?=(?:in|on|at|from|during|after|before|with|by|within|between|under|across|through|near|along|alongside|"
    r"against|around|around|into|when|while|because of|due to) )"
)
_OPEN_END = re.compile(
    r"\b(?:that|which|who|to|can|could|will|would|may|also|be|been|is|was|are|were) [a-z]+$|ed$|, [a-z]+$|"
    r"\b(?:and|or|but|of|the|a|an|by|for|to|as|than|at|in|on)$"
)
_LIMITED = re.compile(
    r"\b(?:not|no|never|only|first|last|none|few|less|without|than|between|most|least|best|[a-z]{2,9}est|neither|nor|if|"
    r"unless|same|such|both|either|[a-z]{2,6}n['’]t)\b"
)
_YEAR = re.compile(r"\b(1[0-9]{3}|20[0-9]{2})\b(?![-–,]\d| (?:people|miles|feet|metres|meters|inhabitants|km))")
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
        subject: as it stands in `text`.
        verb: its first verb.
        rest: what follows the verb, without the full stop.
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


def read_sentences(document: str) -> list[Sentence]:
    """The sentences of a document that can stand alone, in their order, none twice.

    Those that cannot, for want of better ones, where there are fewer than `ENOUGH`.
    """
    found: list[tuple[Sentence, bool]] = []
    seen: set[str] = set()
    noun = ""
    topic: Sentence | None = None
    before: Sentence | None = None
    for raw in split_sentences(document):
        written = _without_connective(raw)
        parsed = _parse(_apposition_out(_resolve(written, before, topic, noun)), document)
        if parsed and written.startswith(("His ", "Her ", "Its ")):
            pass  # what "It" means next is still the owner
        elif parsed:
            before = parsed
        elif topic is None or not written.startswith((topic.subject, "He ", "She ", "It ")):
            before = None
        else:
            before = topic
        if parsed and topic is None and parsed.kind in ("definition", "person"):
            topic, noun = parsed, _head(parsed.rest)
        sentence, alone = (parsed, True) if parsed else _loose(written, topic.name if topic else "", document)
        if sentence and sentence.text.lower() not in seen:
            seen.add(sentence.text.lower())
            found.append((sentence, alone))
    alone = [sentence for sentence, can in found if can]
    return alone if len(alone) >= ENOUGH else [sentence for sentence, _ in found]


def split_sentences(document: str) -> list[str]:
    """All sentences as they stand there, but for spaces, brackets and datelines."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?=[ \t]*[-*#])|(?<=[.!?])\s*\n", document):
        text = _DATELINE.sub("", " ".join(paragraph.split()).replace("``", '"').replace("''", '"'))
        text = _BRACKETS.sub("", text)
        text = _GLUED.sub(r"\1. \2", _SPACE_BEFORE.sub(r"\1", text).replace("( ", "(")).replace(" .", ".")
        text = re.sub(r"(?<=[sz]) ' ", "' ", text)
        start = 0
        for match in _END.finditer(text):
            word = text[start : match.start() + 1].rpartition(" ")[2]
            if word in ABBREVIATIONS or re.fullmatch(r"(?:[A-Za-z]\.)+", word):
                continue
            found.append(text[start : match.end()].strip())
            start = match.end()
        if text[start:].strip():
            found.append(text[start:].strip())
    return found


def read_instructions(document: str) -> list[str]:
    """The sentences of a document that tell what to do ("Wash the apples.")."""
    return [
        text
        for text in split_sentences(document)
        if SHORTEST - 2 <= len(text.split()) <= LONGEST
        and _INSTRUCTION.match(text)
        and text.partition(" ")[0].lower() in VERBS
        and text.endswith(".")
        and not _UNWANTED.search(text)
        and text.count('"') % 2 == 0
    ]


def topic_of(document: str, sentences: list[Sentence]) -> str:
    """What the document is about, as it stands within a sentence: the subject that comes most often, or first."""
    names = [sentence.name for sentence in sentences]
    counts = {name: document.count(name.removeprefix("the ")) for name in dict.fromkeys(names) if len(name) > 2}
    if not counts:
        return ""
    defined = next((s.name for s in sentences[:2] if s.kind in ("definition", "person")), "")
    title = document.strip().partition("\n")[0].lower()
    if len(title.split()) > 10:
        title = ""

    def rank(name: str) -> tuple[int, int]:
        named = name.lower().rpartition(" ")[2] in title
        return min(counts[name], 6) + 3 * name[0].isupper() + 6 * named, -names.index(name)

    return defined or max(counts, key=rank)


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
        if _OPEN_END.search(head):
            continue
        if least <= len(head.split()) <= most and head.count('"') % 2 == 0 and head.count("“") == head.count("”"):
            cut = head
    return cut.rstrip(" ,")


def counted(sentence: Sentence) -> tuple[str, str] | None:
    """The first number of things that a sentence names, and the things: ("13", "boundaries")."""
    match = _COUNT.search(sentence.text)
    return (match["number"], match["noun"]) if match else None


def _without_connective(text: str) -> str:
    for connective in CONNECTIVES:
        if text.startswith(connective):
            rest = text[len(connective) :]
            return rest[:1].upper() + rest[1:]
    return text


def _resolve(text: str, before: Sentence | None, topic: Sentence | None, noun: str) -> str:
    """The sentence with a subject in place of its pronoun; empty where that cannot be told."""
    first, _, rest = text.partition(" ")
    if noun and topic and text.lower().startswith(f"the {noun} ") and " " in rest:
        after = rest.partition(" ")[2]
        if after.partition(" ")[0] in FINITE:
            return f"{topic.subject} {after}"
    if re.split("['’]", first.lower())[0] not in HANGING:
        return text
    if before is None or first not in ("He", "She", "It", "His", "Her", "Its"):
        return ""
    subject = before.subject
    is_name = all(word[:1].isupper() for word in subject.split())
    plural = before.verb in ("are", "were", "have") or " and " in subject
    person = is_name and len(subject.split()) <= 4 and not subject.startswith("The ")
    thing = before.kind not in ("person", "born", "said", "did")
    if plural or (first in ("He", "She", "His", "Her") and not person) or (first in ("It", "Its") and not thing):
        return ""
    if first in ("His", "Her", "Its"):
        return f"{subject}'{'' if subject.endswith('s') else 's'} {rest}"
    # "It usually clears"
    return f"{subject} {rest}" if not FINITE.isdisjoint(rest.split(" ")[:2]) else ""


def _apposition_out(text: str) -> str:
    """A sentence whose subject and verb are neighbours: without "Built in 1820, …" and "…, a town in Varia, …"."""
    text = _PARTICIPLE_LEAD.sub("", text)
    return _APPOSITIVE.sub(r"\1 ", text[:1].upper() + text[1:])


def _parse(text: str, document: str) -> Sentence | None:
    if not text.endswith(".") or text.count('"') % 2 or text.count("(") != text.count(")"):
        return None
    if not text[0].isupper() or _UNWANTED.search(text) or _FIRST_PERSON.search(text) or ("“" in text) != ("”" in text):
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
    main = _cut(body, len(" ".join(tokens[: at + 1])))
    if not _is_subject(subject):
        return None
    verb = tokens[at]
    if len(main.split()) > _LONG + 2 and not main[: len(subject) + 40].count(" because "):
        main = shortened(main, _LONG - 1, max(7, at + 4))
    rest = main[len(" ".join(tokens[: at + 1])) + 1 :].rstrip(" ,;:")
    if end < at:
        verb = " ".join(tokens[end : at + 1])
    whole = f"{lead} {subject} {verb} {rest}.".strip()
    if not rest or not SHORTEST <= len(whole.split()) <= LONGEST or whole.count('"') % 2:
        return None
    if rest.rpartition(" ")[2].lower() in PREPOSITIONS | DETERMINERS | {"and", "or"}:
        return None
    year = _YEAR.search(whole)
    sentence = Sentence(
        whole, lead, subject, verb, rest, "other", year[0] if year else "", _within(subject, tokens[at], document)
    )
    return sentence._replace(kind=_kind(sentence))


_PROPER = r"[A-Z][\w.'’-]*[\w]"
_NAME = re.compile(
    rf"{_PROPER}(?:(?: (?:of|the|de|von|van|for|and the|of the))? {_PROPER}|(?<=[a-z]) \d{{1,2}}(?!\d))*"
)
_THING = re.compile(
    r"\b(?:the|a|an|its|his|her|their|this|these|some|many) ((?:[a-z]+ )?[a-z]{3,}) ?"
    r"(?=(?:of|in|on|at|to|for|with|and|or|is|are|was|were|had|has|have|by|from|that|which|who|as|will|would|[a-z]+ed)\b|[,.;]|$)",
    re.IGNORECASE,
)


def _loose(text: str, topic: str, document: str) -> tuple[Sentence | None, bool]:
    """A sentence as it stands, or its beginning, with the name of what it is about; whether it can stand alone.

    None for what is no statement: headings, questions, instructions to the reader, scraps.
    """
    for mark in ('"', "“", "”"):
        text = text.replace(mark, "")
    text = re.sub(r"^[-–—•* ]+", "", text).strip()
    words = text.split()
    if not text.endswith(".") or not text[0].isupper() or _UNWANTED.search(text) or len(words) < SHORTEST:
        return None, False
    body = text[:-1]
    if len(words) > _LONG:
        cuts = [_cut(body, len(" ".join(words[:6])))]
        cuts.insert(0, shortened(cuts[0], _LONG - 1))
        commas = [match.start() for match in re.finditer(", ", body) if len(body[: match.start()].split()) <= LONGEST]
        cuts += [body, *(body[:at] for at in reversed(commas))]
        body = next((cut for cut in cuts if len(cut.split()) <= LONGEST and (cut == body or _states(cut))), "")
    if not body:
        return None, False
    name = _named(body, document) or topic
    if not name:
        return None, False
    first = re.split("['’]", words[0].lower())[0]
    year = _YEAR.search(body)
    sentence = Sentence(f"{body}.", "", "", "", body, "other", year[0] if year else "", name)
    return sentence, first not in HANGING and not _FIRST_PERSON.search(text)


def _states(body: str) -> bool:
    """Whether the beginning of a sentence has a verb of its own: "As the sun rose" has none."""
    words = body.split()
    first = words[0].lower()
    if first in PREPOSITIONS | RELATIVE or first.endswith(("ing", "ed")) or first in ("similar", "even"):
        body = body.partition(", ")[2]
    return len(words) >= 7 and not FINITE.isdisjoint(body.split()) and not _OPEN_END.search(body)


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


def _cut(body: str, start: int) -> str:
    """The main clause of a sentence that is long; all of one that is short or has no place to cut."""
    if len(body.split()) < _LONG:
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


def _head(rest: str) -> str:
    """The noun of "an American hip hop group from New York": group."""
    phrase = re.split(
        r" (?:of|in|from|by|for|that|who|which|on|at|to|and|with|based|located|written|directed|used)\b|,", rest
    )
    words = phrase[0].split()
    return words[-1] if len(words) > 1 and words[-1].islower() else ""


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
