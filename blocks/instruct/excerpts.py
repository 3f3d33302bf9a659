"""Excerpts: a model names a passage by its first and last words, and the document's own text takes their place.

    It holds that <excerpt>the laws of physics<...>the same for all</excerpt>

FineInstructions (arXiv 2601.22146) saves most of what it would have to generate in this way. How it expands them is not
published; the rules here are ours. A passage is found by its words, with any white space between them, any quotation
marks and dashes, and in either Unicode form; it is copied from the document as it stands there. It has to be certain:
where first and last words fit more than one passage, nothing is expanded, also when one of them is shorter. Words that
are quoted in full (no `<...>`) may occur several times, since they are the same wherever they stand.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import regex

from blocks.filters.words import SPACED
from blocks.generate.errors import Rejected

_TAG = re.compile(r"<(/?)excerpt>")
_ELLIPSIS = re.compile(r"<\s*(?:\.\s?\.\s?\.|…)\s*>")
_SPACED = regex.compile(SPACED, regex.V1)
_PIECE = re.compile(r"[!-~]+|\s+|.", re.DOTALL)

_SAME = {
    **dict.fromkeys("‘’‚‛′`´", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "…": "...",
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),  # soft hyphens, and what has no width
}
"""What is compared in the place of a character."""

_ASCII = str.maketrans({"`": "'"})


@dataclass(frozen=True)
class Copied:
    """A passage that was copied.

    Attributes:
        start: where it begins in the expanded text, in characters.
        end: where it ends there.
        source_start: where it begins in the document.
        source_end: where it ends there.
    """

    start: int
    end: int
    source_start: int
    source_end: int


@dataclass(frozen=True)
class Expanded:
    """A text whose excerpts were expanded.

    Attributes:
        text: without tags.
        copied: its passages, in order.
    """

    text: str
    copied: tuple[Copied, ...]

    @property
    def grounded(self) -> float:
        """Share of the text's characters that were copied, 0 to 1; the paper keeps answers from 0.80 on."""
        return sum(one.end - one.start for one in self.copied) / len(self.text) if self.text else 0.0


class Source:
    """A document that excerpts are expanded from.

    Args:
        text: the document.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._normal, self._starts, self._ends = _normalise(text)

    def expand(self, text: str) -> Expanded:
        """Expand all excerpts of a text; one without any is returned as it is.

        Args:
            text: what a model has written.

        Raises:
            Rejected: one of them cannot be expanded: `unbalanced_excerpt`, `stray_ellipsis`, or a reason of `find`.
        """
        parts: list[str] = []
        copied: list[Copied] = []
        length = 0
        for inside, part in _parts(text):
            if inside:
                first, last = self.find(part)
                part = self.text[first:last]
                copied.append(Copied(length, length + len(part), first, last))
            elif found := _ELLIPSIS.search(part):
                raise Rejected("stray_ellipsis", part[max(0, found.start() - 40) : found.end()])
            parts.append(part)
            length += len(part)
        return Expanded("".join(parts), tuple(copied))

    def find(self, body: str) -> tuple[int, int]:
        """Where a passage begins and ends in the document, in characters.

        Args:
            body: `first words<...>last words`, or all of its words.

        Raises:
            Rejected: there is none, or more than one: `empty_excerpt`, `several_ellipses`, `excerpt_not_found`,
                `excerpt_backwards` (the last words only stand before the first) or `ambiguous_excerpt`.
        """
        anchors = [_normalise(part)[0].strip() for part in _ELLIPSIS.split(body)]
        if len(anchors) > 2:
            raise Rejected("several_ellipses", body)
        if not all(anchors):
            raise Rejected("empty_excerpt", body)
        firsts = self._places(anchors[0])
        if not firsts:
            raise Rejected("excerpt_not_found", anchors[0])
        begin = firsts[0] + len(anchors[0])
        if len(anchors) == 1:
            return self._original(firsts[0], begin)
        lasts = self._places(anchors[1])
        if not lasts or lasts[-1] < begin:
            raise Rejected("excerpt_backwards" if lasts else "excerpt_not_found", anchors[1])
        # Each pair of first words and of last words behind them is a passage: one more of either is one too many.
        again = len(firsts) > 1 and firsts[1] + len(anchors[0]) <= lasts[-1]
        if again or (len(lasts) > 1 and lasts[-2] >= begin):
            raise Rejected("ambiguous_excerpt", body)
        return self._original(firsts[0], lasts[-1] + len(anchors[1]))

    def _original(self, start: int, end: int) -> tuple[int, int]:
        return self._starts[start], self._ends[end - 1]

    def _places(self, words: str) -> list[int]:
        """Where words occur that are not cut out of longer ones, also where they overlap."""
        before = rf"(?<!{SPACED})" if _SPACED.match(words[0]) else ""
        after = rf"(?!{SPACED})" if _SPACED.match(words[-1]) else ""
        pattern = f"{before}(?={regex.escape(words)}{after})"
        return [found.start() for found in regex.finditer(pattern, self._normal, regex.V1)]


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """A text, cut at its tags: whether each part is an excerpt, and the part."""
    inside, position = False, 0
    for tag in _TAG.finditer(text):
        if bool(tag[1]) != inside:
            raise Rejected("unbalanced_excerpt", text[max(0, tag.start() - 40) : tag.end()])
        yield inside, text[position : tag.start()]
        inside, position = not inside, tag.end()
    if inside:
        raise Rejected("unbalanced_excerpt", text[-40:])
    yield False, text[position:]


def _normalise(text: str) -> tuple[str, array[int], array[int]]:
    """A text as it is compared, and where each of its characters begins and ends in the original.

    White space becomes one space; quotation marks, dashes and the ellipsis their plain forms; letters and their marks
    one character where there is one (NFC).
    """
    found: list[str] = []
    starts, ends = array("L"), array("L")
    spaced = False
    pieces = _PIECE.finditer(text)
    piece = next(pieces, None)
    while piece is not None:
        start, end = piece.span()
        original, follower = piece[0], next(pieces, None)
        if original.isspace():
            if spaced:  # something without width stands between
                ends[-1] = end
            else:
                found.append(" ")
                starts.append(start)
                ends.append(end)
            spaced, piece = True, follower
            continue
        # The last character and the marks behind it are one.
        while follower is not None and _continues(follower[0]):
            end = follower.end()
            follower = next(pieces, None)
        cut = len(original) - 1 if end > piece.end() else len(original)
        plain = original[:cut].translate(_ASCII) if original.isascii() else _same(original[:cut])
        if original.isascii():
            starts.extend(range(start, start + cut))
            ends.extend(range(start + 1, start + cut + 1))
        else:
            starts.extend([start] * len(plain))
            ends.extend([end] * len(plain))
        if cut < len(original):
            joined = unicodedata.normalize("NFC", text[start + cut : end])
            plain += joined
            starts.extend([start + cut] * len(joined))
            ends.extend([end] * len(joined))
        if plain:
            found.append(plain)
            spaced = False
        piece = follower
    return "".join(found), starts, ends


def _same(character: str) -> str:
    return _SAME.get(character, unicodedata.normalize("NFC", character)) if character else ""


def _continues(piece: str) -> bool:
    """Whether a character belongs to the one before: a mark, or a vowel or final of a Hangul syllable."""
    return unicodedata.combining(piece[0]) > 0 or "\u1160" <= piece[0] <= "\u11ff"
