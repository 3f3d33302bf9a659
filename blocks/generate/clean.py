"""Cleans an answer of what belongs to the chat and not to the text, and says when there is no text worth keeping.

Instruct models like to announce what they write ("Sure! Here is the FAQ:") and to wrap it in a code fence; small ones
repeat the instruction or decline. None of it may be trained on. Every rule here errs on the side of leaving text
alone: a lead-in goes only if it stands first, names what was asked for (a FAQ, a table, …) and ends where an
announcement ends, and only short answers count as refusals. All rules take time linear in the answer's length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from blocks.filters.checks.outline import FENCE
from blocks.filters.checks.text import AS_ASKED, closing_begin, plan_end, runs
from blocks.generate.budget import SENTENCE_END
from blocks.generate.prompts import PLACEHOLDER

Reason = Literal["empty", "prompt_echo", "refusal"]

VERSION = 2
"""Raise it when a rule changes what is kept: it is part of a run's fingerprint."""

# As many words in a row hardly occur by chance both in an instruction and in a text about something else.
ECHO_WORDS = 12

# Longer answers that decline something still hold a text.
REFUSAL_CHARACTERS = 600

# What an answer calls itself. With a name of the first kind a line is an announcement even when it names its subject
# ("Here is a tutorial on knots:"); the others are common in real text ("Here is a list of the rivers:").
_FORMAT = r"(?:FAQs?|frequently asked questions|Q&As?|tables?|tutorials?|(?:word|math) problems?)"
_OTHER = (
    r"(?:questions?|guides?|problems?|solutions?|answers?|responses?|rewrites?|rewriting|versions?|summar(?:y|ies)|"
    r"outputs?|articles?|lists?|explanations?|text)"
)
# Up to six words such as "a comprehensive step-by-step", none of which turns the sentence to another subject.
_QUALIFIERS = r"(?:(?!(?:about|of|for|on|in|to|from|that|which|how|why|what|who)\b)[\w'’*-]{1,40} ){0,6}"
_YES = r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|great|no problem|understood)\b"
_GLAD = r"(?:I(?:'d|’d| would) be |I(?:'m|’m| am) )?(?:happy|glad|pleased) to (?:help|assist)\b[^.!?:\n]{0,30}"
_PLEASANTRY = rf"(?:{_YES}(?:[.!,]{{1,3}} {_GLAD})?|{_GLAD})"
_OPENING = (
    r"(?:here(?:'s|’s| is| are)|below (?:is|are)|the following (?:is|are)|"
    r"I(?:'ve|’ve| have)? (?:created|written|wrote|prepared|made|generated|rewritten|converted|turned))"
)
_EMPHASIS = r"[*_]{0,3}"
_PLEASANTRY_LINE = re.compile(
    rf"{_EMPHASIS}{_PLEASANTRY}[.!,]{{0,3}}{_EMPHASIS}[ \t]{{0,9}}(?:\n\s*|\Z)", re.IGNORECASE
)
_LEAD_IN = re.compile(
    rf"{_EMPHASIS}(?P<pleasantry>{_PLEASANTRY}[.!,:]{{0,3}}[ \t]{{1,9}})?"
    rf"(?P<asked>{AS_ASKED},? )?{_OPENING} {_QUALIFIERS}{_EMPHASIS}(?:(?P<format>{_FORMAT})|{_OTHER})\b{_EMPHASIS}"
    rf"(?P<rest>[^:\n]{{0,200}})"
    rf"(?:(?P<colon>:){_EMPHASIS}[ \t]*(?P<newline>\n\s*)?|[ \t]{{0,9}}\n[ \t]*\n\s*)",
    re.IGNORECASE,
)
_ABOUT_THE_TASK = re.compile(
    r"\b(?:(?:the|this|your|provided|given) (?:\w+ )?(?:document|text|passage|article)|requested|based on)\b",
    re.IGNORECASE,
)

_FENCE = re.compile(r"(?P<fence>`{3,}|~{3,})[ \t]*(?:markdown|md|text|txt|plaintext|plain)?[ \t]*\n", re.IGNORECASE)

_SOURCE = r"(?:the|this|your) (?:given |provided )?(?:document|text|passage|article|input)"
_REFUSAL = re.compile(
    r"\W*(?:(?:(?:I(?:'m| am) )?(?:very |so )?sorry|(?:I )?apologi[sz]e|unfortunately)\b[^.!?\n]{0,60}?\b)?(?:"
    # I cannot help with that. I am unable to create a table.
    r"(?:I|we)(?:'m| am| are)? (?:can't|cannot|can not|couldn't|could not|won't|will not|unable to|not able to) "
    r"(?:(?:help|assist)(?: you| with|[.,!])|(?:fulfill?|comply|create|provide|generate|produce|write|rewrite|complete)"
    r" (?:with|a|an|the|this|that|any|your|such)\b)|"
    r"as an (?:AI|artificial intelligence)(?: language)?(?: model| assistant)?, I\b|"
    # The text does not contain any numbers. There is not enough information in the document.
    rf"{_SOURCE} (?:you provided )?(?:does not|doesn't) (?:\w+ to |explicitly )?"
    r"(?:contain|provide|include|mention|have|give|specify) (?:any|enough|sufficient|specific|numerical|information)\b|"
    rf"there (?:is|are) (?:no|not enough|insufficient) [^.!?\n]{{0,60}}\bin {_SOURCE}\b|"
    # Please provide the document.
    rf"(?:please|(?:could|can) you(?: please)?) (?:provide|share|send|paste)(?: me)?(?: with)? {_SOURCE}\b"
    r")",
    re.IGNORECASE,
)

_LIST_MARKER = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])(?:[ \t]+|\Z)")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Cleaned:
    """An answer after cleaning.

    Args:
        text: what remains of it.
        reason: why it must not be used: `empty`, `prompt_echo` or `refusal`; None when it may.
    """

    text: str
    reason: Reason | None


def clean(text: str, instruction: str) -> Cleaned:
    """Strip an answer of lead-ins, closing remarks and a fence around the whole, and judge what is left.

    Args:
        text: the answer, without its reasoning.
        instruction: the prompt's own text (`Prompt.text`), for which an echo is looked for.
    """
    text = text.strip()
    # A lead-in may hide a fence and a fence a lead-in. Four rounds see to that, and bound the time for hostile answers.
    for _ in range(4):
        before = text
        text = _without_fence(_without_lead_in(text)).strip()
        if text == before:
            break
    text = _without_closing(text)
    if not _WORD.search(text):
        return Cleaned(text, "empty")
    if _echoes(text, instruction):
        return Cleaned(text, "prompt_echo")
    if len(text) <= REFUSAL_CHARACTERS and _REFUSAL.match(text.replace("’", "'")):
        return Cleaned(text, "refusal")
    return Cleaned(text, None)


def _without_lead_in(text: str) -> str:
    if end := plan_end(text):
        return text[end:]
    match = _PLEASANTRY_LINE.match(text)
    if match is None:
        match = _LEAD_IN.match(text)
        if match is None or not _announces(match):
            return text
    return text[match.end() :]


def _announces(match: re.Match[str]) -> bool:
    if match["pleasantry"] or match["asked"] or _ABOUT_THE_TASK.search(match["rest"]):
        return True
    if match["colon"] and not match["newline"]:
        return False  # "Here is the answer: 42" is a sentence
    return not match["rest"].strip(" .!*_") or bool(match["colon"] and match["format"])


def _without_closing(text: str) -> str:
    """Without the remarks and offers at the end, and the rule above them; one that is nothing else stays."""
    for _ in range(3):  # I hope this helps! Let me know if …
        begin = closing_begin(text)
        if begin == len(text):
            break
        line = text.rfind("\n", 0, begin) + 1
        head = text[: begin if text[line:begin].strip(" \t*_>") else line].rstrip()
        rule = head[head.rfind("\n") + 1 :]
        if not rule.strip(" -*_"):
            head = head.removesuffix(rule).rstrip()
        if not head:
            break
        text = head
    return text


def _without_fence(text: str) -> str:
    """Without the fence around the whole answer; it may never close (small models forget, or were cut off)."""
    opened = _FENCE.match(text)
    if opened is None:
        return text
    fence = opened["fence"]
    body = text[opened.end() :]
    # Fence lines inside: a block with a language opens one of its own; a bare line closes the innermost.
    depth = 1
    position = 0
    for line in body.splitlines(keepends=True):
        stripped = line.strip()
        if stripped == fence:
            depth -= 1
            if depth == 0:
                return text if body[position + len(line) :].strip() else body[:position]
        elif stripped.startswith(fence) and FENCE.match(stripped):
            depth += 1
        position += len(line)
    return body if depth == 1 else text


@lru_cache(maxsize=64)
def _marks_and_runs(instruction: str) -> tuple[tuple[frozenset[str], ...], tuple[str, ...]]:
    """The words of every other half run of an instruction, and all its whole runs, as text."""
    half = ECHO_WORDS // 2
    parts = [runs(part.lower()) for part in instruction.split(PLACEHOLDER)]
    marks = [frozenset(words[i : i + half]) for words in parts for i in range(0, len(words) - half + 1, half)]
    whole = [_joined(words[i : i + ECHO_WORDS]) for words in parts for i in range(len(words) - ECHO_WORDS + 1)]
    return tuple(marks), tuple(whole)


def _joined(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "


def _echoes(text: str, instruction: str) -> bool:
    marks, whole = _marks_and_runs(instruction)
    words = runs(text.lower())
    # A run holds a whole mark wherever it begins, so without the words of a mark there is no run to look for.
    if not any(map(set(words).issuperset, marks)):
        return False
    joined = _joined(words)
    return any(run in joined for run in whole)


def trim_to_sentence(text: str) -> str:
    """The answer up to its last complete sentence, list line or table row; empty if there is none.

    A block of code that was not closed goes altogether, as do headings and introductions (`For example:`) that nothing
    follows any more, and a table without rows. Clean the answer first: a fence around the whole is such a block, too.
    """
    fences = list(FENCE.finditer(text))
    if len(fences) % 2:
        text = text[: fences[-1].start()]
    lines = text.rstrip().split("\n")
    last = True  # the last line of an answer that was cut off may be unfinished
    while lines:
        line = lines.pop().rstrip()
        if _is_row(line):
            if set(line) <= set("|-: \t"):
                # What stands above is the header.
                lines = lines[:-1]
            elif not last or (lines and _cells(line) == _cells(lines[-1])):
                return "\n".join([*lines, line])
        else:
            marker = _LIST_MARKER.match(line)
            begin = marker.end() if marker else 0
            if marker and not last and begin < len(line) and not line.endswith(":"):
                return "\n".join([*lines, line])
            ends = [match.end() for match in SENTENCE_END.finditer(line, begin)]
            if ends:
                return "\n".join([*lines, line[: ends[-1]]])
        last = False
    return ""


def _is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


def _cells(line: str) -> int:
    return line.count("|") - line.count("\\|")
