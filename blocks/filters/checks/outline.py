"""Reads an output line by line: which lines are headings, list items or bold lines, and what they say.

Models write Markdown loosely: lists without blank lines, headings without a space, bold lines in place of headings. A
strict parser turns much of this into one paragraph, and takes about a millisecond. Here each line is read on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from blocks.filters.checks.text import runs

_MARKS = re.compile(
    r"(?P<indent>[ \t>]*+)(?:(?P<heading>#{1,6})(?![#\w])[ \t]*+)?"
    r"(?:(?P<bullet>[-*+•–])(?:[ \t]++|\Z))?(?:(?P<number>\d{1,3})[.)](?:[ \t]++|(?=\*\*|__)|\Z))?"
)
_EMPHASIS = re.compile(r"[*_]{1,3}")
_NUMBER = re.compile(r"(\d{1,3})[.):](?:[ \t]+|\Z)")

FENCE = re.compile(r"^[ \t]*(?:`{3,}+(?![^`\n]*`)|~{3,})", re.MULTILINE)
"""Begins a line that opens or closes a block of code. As in CommonMark, code on one line (three backticks on either
side of it) is no such line."""

# A bold beginning longer than this is a paragraph that happens to be bold.
_BOLD_CHARACTERS = 300


class Line(NamedTuple):
    """One line that says something.

    Args:
        kind: what its outermost mark makes of it; an emphasised number (`**1. Mix**`) leaves it a text line.
        depth: the level of a heading (1 to 6), otherwise the indentation in columns (a tab counts as four).
        number: the number it begins with, None without one.
        text: what it says, without marks, number and bold.
        bold: the emphasised text it begins with, without the number; empty without one.
        rest: what follows on the emphasised text; all of the text without one.
    """

    kind: Literal["heading", "number", "bullet", "text"]
    depth: int
    number: int | None
    text: str
    bold: str
    rest: str


def lines_of(text: str) -> Iterator[Line]:
    """The lines that hold more than a rule; code in fences is text, whatever it looks like."""
    fence = ""
    for raw in text.splitlines():
        stripped = raw.strip()
        if not stripped:
            continue
        if FENCE.match(stripped):
            if not fence:
                fence = stripped[:3]
            elif stripped.startswith(fence):
                fence = ""
        elif fence:
            yield Line("text", 0, None, stripped, "", stripped)
        elif stripped.strip("-*_= "):
            yield _read(raw.rstrip())
        elif stripped in ("-", "*"):
            yield Line("bullet", 0, None, "", "", "")


def _read(raw: str) -> Line:
    marks = _MARKS.match(raw)
    assert marks is not None  # every part of it may be missing
    heading, bullet, number = marks["heading"], marks["bullet"], marks["number"]
    depth = len(heading) if heading else len(marks["indent"].replace(">", "").expandtabs(4))
    kind: Literal["heading", "number", "bullet", "text"]
    kind = "heading" if heading else "bullet" if bullet else "number" if number else "text"
    text = raw[marks.end() :].strip()
    bold, rest = _split_bold(text)
    if not number:
        match = _NUMBER.match(bold or plain(text))
        if match:
            number = match[1]
            bold = bold[match.end() :] if bold else ""
            rest = rest if bold else plain(text)[match.end() :]
    whole = f"{bold}{'' if rest[:1] in ('', ':', '.', ',') else ' '}{rest}" if bold else rest
    return Line(kind, depth, int(number) if number else None, whole, bold, rest)


def _split_bold(text: str) -> tuple[str, str]:
    """The emphasised beginning and what follows it, both without emphasis."""
    opened = _EMPHASIS.match(text)
    if opened:
        closed = text.find(opened[0], opened.end(), opened.end() + _BOLD_CHARACTERS)
        if closed > opened.end():
            return plain(text[opened.end() : closed]), plain(text[closed + len(opened[0]) :])
    return "", plain(text)


def plain(text: str) -> str:
    """Text without bold marks, and without italics around the whole."""
    return text.replace("**", "").replace("__", "").strip("*_ \t#")


def key(text: str) -> str:
    """What two texts have in common that differ only in case, punctuation and spaces."""
    return " ".join(runs(text.lower()))
