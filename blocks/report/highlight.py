"""Marks what an output has from its document: stretches that are copied, and numbers that are there or are not."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

from blocks.filters.checks.grounding import RUN_WORDS

SHOWN = 6000
"""Characters of a text that are shown."""

COMPARED = 400_000
"""Characters of the other text in which they are looked for."""

_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"(?<![\w.])\d(?:[\d,.]*\d)?(?!\w)")
_LIST_NUMBER = re.compile(r"^[ \t#*>_-]*(?:Step )?(\d{1,3})(?=[.):])", re.MULTILINE)
# Controls, formats (bidirectional ones among them), separators of lines, fillers, tags: what is not seen, and repeated.
_HIDDEN = re.compile(
    r"([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff])\1*"
)


def highlight(text: str, other: str, is_output: bool) -> Markup:
    """A text as HTML.

    Args:
        text: what is shown.
        other: its document, or what was made of it.
        is_output: whether numbers that the other does not have are marked.
    """
    text, cut = text[:SHOWN], len(text) - SHOWN
    words = list(_WORD.finditer(text))
    ours = _grams([_key(word[0]) for word in words])
    there = set(ours).intersection(_grams([_key(word) for word in other[:COMPARED].split()]))
    copied = [False] * len(words)
    for at, gram in enumerate(ours):
        if gram in there:
            copied[at : at + RUN_WORDS] = [True] * RUN_WORDS
    numbers = {number.replace(",", "") for number in _NUMBER.findall(other)}
    listed = {found.start(1) for found in _LIST_NUMBER.finditer(text)}
    made, at, first = Markup(""), 0, 0
    while first < len(words):
        last = first
        while last + 1 < len(words) and copied[last + 1] == copied[first]:
            last += 1
        start, end = words[first].start(), words[last].end()
        made += visible(text[at:start])
        inner = _numbers(text[start:end], numbers, is_output, {place - start for place in listed})
        made += Markup("<mark>{}</mark>").format(inner) if copied[first] else inner
        at, first = end, last + 1
    made += visible(text[at:])
    if cut > 0:
        made += Markup('<span class="cut"> … {} more characters</span>').format(f"{cut:,}")
    return made


def visible(text: str) -> Markup:
    """Text with characters that would not be seen, or would turn what follows around, by their names."""
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    made, at = Markup(""), 0
    for found in _HIDDEN.finditer(text):
        name = unicodedata.name(found[1], f"U+{ord(found[1]):04X}")
        if len(found[0]) > 1:
            name = f"{len(found[0])} × {name}"
        made += escape(text[at : found.start()]) + Markup('<span class="hidden">{}</span>').format(name)
        at = found.end()
    return made + escape(text[at:])


def _numbers(text: str, known: set[str], is_output: bool, listed: set[int]) -> Markup:
    made, at = Markup(""), 0
    for number in _NUMBER.finditer(text):
        there = number[0].replace(",", "") in known
        if number.start() in listed or (not there and not is_output):
            continue
        made += visible(text[at : number.start()])
        made += Markup('<span class="{}">{}</span>').format("number" if there else "new number", number[0])
        at = number.end()
    return made + visible(text[at:])


def _grams(words: list[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(RUN_WORDS)), strict=False))


def _key(word: str) -> str:
    return word.strip(".,;:!?\"'()[]*_#`“”‘’").lower()
