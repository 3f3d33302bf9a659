"""Reads a document as a list of sentences that can stand alone, each with its subject and what kind of fact it states.

All teachers copy from this list, so what hangs in the air ("He then…"), breaks off or speaks in the first person is
sorted out here, once. A pronoun at the beginning is replaced where the sentence before has only one subject it can
mean. Long sentences are cut where their main clause ends: what is left stays true, and an answer does not consist of
nothing but quotations (the check `copying`).

A small model learns to go on with the next sentence; it cannot learn why one is skipped, unless that is to be seen, as
with one that begins like those before. So sentences that the rules cannot take apart are in the list as well, with the
name of what they are about (`tools.tiny.teachers.loose`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from blocks.filters.checks.tutorial import VERBS
from tools.tiny.teachers.loose import loose
from tools.tiny.teachers.parsing import (
    LONGEST,
    SHORTEST,
    UNWANTED,
    Sentence,
    parse,
)
from tools.tiny.teachers.words import (
    ABBREVIATIONS,
    CONNECTIVES,
    FINITE,
    HANGING,
)

ENOUGH = 2
"""Sentences that can stand alone, from which on the others of a document are not used."""

_NAME = 4
"""Words of the longest name that a sentence can begin with."""

_DATELINE = re.compile(r"^[A-Z][\w .,'-]{2,40}(?: \([\w ]{2,20}\))? ?(?:--|—|–) ")
_BRACKETS = re.compile(r" ?\([^()]{0,200}\)| ?\[[^\[\]]{0,60}\]")
_SPACE_BEFORE = re.compile(r" +([.,;:!?%)]|'s\b|n't\b)")
_GLUED = re.compile(r"([a-z)\"])\.([A-Z][a-z])")
_END = re.compile(r"[.!?][\"”’']? +(?=[\"“]?[A-Z0-9])")
_INSTRUCTION = re.compile(
    r"[A-Z][a-z]+ (?:the|a|an|your|every|each|some|all|off|up|out|\d+|[a-z]+ly|until|for|with|in|on) "
)
_APPOSITIVE = re.compile(r"^([^,]{2,60}), [^,]{2,80}(?:, [^,]{2,40})?, (?=(?:is|was|are|were|has|had|[a-z]{3,12}ed) )")
_PARTICIPLE_LEAD = re.compile(
    r"^(?:[A-Z][a-z]{2,12}(?:ed|ing)|Known|Built|Born|Written|Led|Set) [^,]{3,90}, (?=[A-Za-z])"
)


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
        parsed = parse(_apposition_out(_resolve(written, before, topic, noun)), document)
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
        sentence, stands = (parsed, True) if parsed else loose(written, topic.name if topic else "", document)
        if sentence and sentence.text.lower() not in seen:
            seen.add(sentence.text.lower())
            found.append((sentence, stands))
    alone = [sentence for sentence, stands in found if stands]
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
        and not UNWANTED.search(text)
        and text.count('"') % 2 == 0
    ]


def begins(sentence: Sentence) -> bool:
    """Whether a sentence begins with its subject, and that is short enough to be called by."""
    return bool(sentence.subject) and not sentence.lead and len(sentence.name.split()) <= _NAME


def onward(sentences: list[Sentence], most: int) -> list[Sentence]:
    """The first sentence, and the next ones that are about something new.

    Always from the top: a model that may begin anywhere begins with the last one as well, has nowhere to go then, and
    gives the same sentence again. Not more than two where one does not begin with what it is about.
    """
    chosen = sentences[:1]
    for sentence in sentences[1:]:
        if len(chosen) < most and _all_new([*chosen, sentence]):
            chosen.append(sentence)
    if len(chosen) < 2:
        return sentences[:2]
    return chosen if all(map(begins, chosen)) else chosen[:2]


def _all_new(sentences: Sequence[Sentence]) -> bool:
    """Whether no sentence before names what one is about: asked about that, a small model takes the sentence before."""
    names = [sentence.name.lower().removeprefix("the ") for sentence in sentences]
    texts = [sentence.text.lower() for sentence in sentences]
    return not any(name in text for at, name in enumerate(names) for text in texts[:at])


def told_apart(sentences: list[Sentence], most: int) -> list[Sentence]:
    """The first sentences, each about something else; not more than two where all are about the same.

    Where two steps or answers are about the same name, a small model takes the first one's sentence twice.
    """
    first = {sentence.name.lower(): sentence for sentence in reversed(sentences)}
    apart = [sentence for sentence in sentences if first[sentence.name.lower()] is sentence]
    return apart[:most] if len(apart) > 1 else sentences[:2]


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


def _head(rest: str) -> str:
    """The noun of "an American hip hop group from New York": group."""
    phrase = re.split(
        r" (?:of|in|from|by|for|that|who|which|on|at|to|and|with|based|located|written|directed|used)\b|,", rest
    )
    words = phrase[0].split()
    return words[-1] if len(words) > 1 and words[-1].islower() else ""
