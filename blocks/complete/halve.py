"""Halving: a document is cut at one random point of its middle half.

Non-instructional fine-tuning (arXiv 2409.00096) gives a teacher the first part to go on with. That the cut lies between
the end of the first quarter and the beginning of the last one is the paper's, at second hand; in what unit it is drawn,
and how, is not known. Here it is drawn evenly among the ends of units, by the seed and the document's id alone, so
every task and every launch cuts a document alike. `prompt + rest` is the document, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import regex
import xxhash

from blocks.filters.words import WORD
from blocks.generate.budget import SENTENCE_END
from blocks.generate.errors import Rejected
from blocks.generate.tokenizer import TokenCounter

Unit = Literal["word", "sentence", "token", "character"]

LOW, HIGH = 0.25, 0.75
"""The least and the largest share of a document's units in the first part."""

MIN_UNITS = {"word": 64, "sentence": 4, "token": 96, "character": 384}
"""Units below which both parts would be fragments. Ours."""

_CHARACTER = regex.compile(r"\X")  # with its marks, joiners and modifiers


class Halved(NamedTuple):
    """A document in two parts.

    Args:
        prompt: the first part.
        rest: what was cut off; a completion must not hold it.
        unit: in which the cut was drawn.
        units: how many the document has.
        cut: how many of them are in the first part.
    """

    prompt: str
    rest: str
    unit: Unit
    units: int
    cut: int

    @property
    def fraction(self) -> float:
        """Share of the units in the first part, 0 to 1."""
        return self.cut / self.units


def halve(
    text: str,
    document_id: str,
    seed: int = 0,
    unit: Unit = "word",
    tokenizer: TokenCounter | None = None,
    low: float = LOW,
    high: float = HIGH,
    min_units: int | None = None,
) -> Halved:
    """Cut a document.

    Args:
        text: the document.
        document_id: its id.
        seed: of all cuts.
        unit: at the end of which it is cut.
        tokenizer: for the unit `token`.
        low: least share of the units in the first part.
        high: largest share.
        min_units: least units of a document; None for `MIN_UNITS`.

    Raises:
        Rejected: `too_short`.
        ValueError: tokens without a tokenizer, or shares that are none.
    """
    if not 0 < low <= high < 1:
        raise ValueError(f"a cut must lie inside: 0 < {low} <= {high} < 1 does not hold")
    if unit == "token":
        if tokenizer is None:
            raise ValueError("to cut at tokens takes a tokenizer")
        units, ends = tokenizer.count(text), None
    else:
        ends = list(_ends(text, unit))
        units = len(ends)
    least = MIN_UNITS[unit] if min_units is None else min_units
    first, last = -int(-low * units // 1), int(high * units)
    if units < max(2, least) or first > last or last < 1:
        raise Rejected("too_short", f"{units} of at least {least} {unit}s")
    lot = xxhash.xxh3_64_intdigest(f"{seed}\0{document_id}".encode(errors="surrogatepass"))
    cut = max(1, first) + lot % (last - max(1, first) + 1)
    place = ends[cut - 1] if ends is not None else tokenizer.prefix_end(text, cut) if tokenizer is not None else 0
    if not text[place:].strip():
        raise Rejected("too_short", "nothing is left behind the cut")
    return Halved(text[:place], text[place:], unit, units, cut)


def count_words(text: str) -> int:
    """Words of a text, as cuts count them."""
    return sum(1 for _ in WORD.finditer(text))


def _ends(text: str, unit: Unit) -> Iterator[int]:
    """Where each unit ends, in characters."""
    if unit == "sentence":
        end = 0
        for found in SENTENCE_END.finditer(text):
            end = found.end()
            yield end
        if text[end:].strip():
            yield len(text)
        return
    for found in (WORD if unit == "word" else _CHARACTER).finditer(text):
        yield found.end()
