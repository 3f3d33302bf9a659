"""Measures how much of an output comes from its source: its numbers, its names, its very words.

None of it says whether a statement is true. An output whose numbers and names do not occur in the source was made up,
though, and one whose sentences all occur there was not rewritten.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from blocks.rephrase.checks.measure import Measure, nothing
from blocks.rephrase.checks.text import words

RUN_WORDS = 13
"""Words of a run that is no coincidence: the n-grams by which GPT-3 (arXiv 2005.14165) looked for contamination."""

SOURCE_NUMBERS = 200
"""Distinct numbers of a source that steps are tried with."""

STEPS = 200
"""Distinct numbers of an output that steps are tried for; each takes a few hundred look-ups."""

STATED = 12
"""Numbers before and after which an output's number may follow from: a calculation states its operands near by."""

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORD_VALUES: dict[str, float] = {
    **{word: float(value) for value, word in enumerate(_SMALL.split())},
    **{word: float(value) for value, word in enumerate(_ORDINALS.split(), 1)},
    **{word: 10.0 * value for value, word in enumerate(_TENS.split(), 2)},
    **{"quarter": 0.25, "half": 0.5, "twice": 2.0, "double": 2.0, "triple": 3.0, "dozen": 12.0},
}
_TENS_VALUES = frozenset(range(20, 100, 10))
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "bn": 1e9, "k": 1e3}
# Thousands stand in groups of three digits, in India also of two. Digits behind a letter belong to a name (V12, Q4).
_DIGITS = re.compile(
    r"(?P<number>[.\d](?<![A-Za-z_\d].)(?:(?<=\.)\d{1,15}|(?<=\d)\d{0,2}(?:,\d{2,3}){1,8}(?!\d)(?:\.\d{1,15})?|"
    r"(?<=\d)\d{0,29}(?:[.,]\d{1,15})?))"
    rf"(?P<percent> ?(?:\\?%|％|per ?cent\b))?(?:[ -]?(?P<scale>{'|'.join(_SCALES)})\b)?",
    re.IGNORECASE,
)
# What counts items is no number of the text: "3." and "| 3 |" at the begin of a line, "Step 3", "Table 2".
_COUNTED = frozenset(
    ("step", "question", "answer", "part", "example", "problem", "section", "chapter", "figure", "table", "tip", "item")
)
_MARKERS = " \t#>*_+-("
_COUNTER_END = re.compile(r"[.):](?!\d)")
_COUNTER_CELL_END = re.compile(r"[ \t*]{0,9}\|")


class Number(NamedTuple):
    """A number of a text.

    Args:
        value: its absolute value, scales applied: 3000000 for "3 million".
        half: half a unit of its last digit that counts: 50000 for "3.1 million", 0.05 for 39.5.
        percent: whether it is a percentage.
        spelled: whether it is a word.
    """

    value: float
    half: float
    percent: bool
    spelled: bool


def numbers(text: str, source: str = "", *, min_grounded: float = 0.5) -> list[Measure]:
    """Share of the output's distinct numbers that occur in the source or follow from stated ones by one step.

    A number occurs if the source has it, in digits or words, rounded (to what the output states, at most by 5 %) or as
    a percentage of 100. It follows if it is the sum, difference, product, quotient or share of two numbers: of grounded
    ones that the output states near by, or, if it has at least three digits, of any two of the source; small numbers
    nearly always follow from some pair.

    Args:
        text: the output. Its numbering, and spelled numbers up to ten, make no claims.
        source: the document it was made from.
        min_grounded: the least share, 0 to 1.
    """
    if not source:
        return [nothing("numbers")]
    stated = list(dict.fromkeys(number for number in _numbers(text) if not (number.spelled and number.value <= 10)))
    if not stated:
        return [nothing("numbers")]
    known = _Known(_numbers(source))
    occurring = [known.has(number) for number in stated]
    following = _following(stated, occurring, known)
    share = (sum(occurring) + following.count(True)) / len(stated)
    detail = f"{sum(occurring)} of {len(stated)} numbers occur, {following.count(True)} follow"
    if share < min_grounded:
        first = next(n for n, there, follows in zip(stated, occurring, following, strict=True) if not there | follows)
        detail += f"; not {first.value:g}{' %' if first.percent else ''}"
    return [Measure("numbers", share, share >= min_grounded, detail)]


def _numbers(text: str) -> Iterator[Number]:
    for match in _DIGITS.finditer(text):
        if _counts_items(text, match.start(), match.end()):
            continue
        digits = match["number"]
        if digits.count(",") == 1 and "." not in digits and len(digits.partition(",")[2]) != 3:
            digits = digits.replace(",", ".")  # a decimal comma
        yield _number(digits.replace(",", ""), match["scale"], bool(match["percent"]))
    yield from _spelled(words(text.lower()))


def _spelled(found: list[str]) -> Iterator[Number]:
    tens = 0.0
    for at in [at for at, word in enumerate(found) if word in _WORD_VALUES]:
        value = _WORD_VALUES[found[at]]
        following = found[at + 1] if at + 1 < len(found) else ""
        if value in _TENS_VALUES and 0 < _WORD_VALUES.get(following, 0) < 10:
            tens = value  # twenty-five
            continue
        scale = following if following in _SCALES else None
        yield _number(f"{tens + value:g}", scale, following == "percent", spelled=True)
        tens = 0.0


def _counts_items(text: str, start: int, end: int) -> bool:
    if end - start > 3:
        return False
    before = text[max(start - 16, 0) : start]
    label = before.rstrip(" #*").rpartition(" ")[2].rpartition("\n")[2]
    if label.strip(_MARKERS).lower() in _COUNTED and not before.endswith(label):
        return True
    if start > 16 and "\n" not in before:
        return False
    prefix = before.rpartition("\n")[2].strip(_MARKERS)
    return bool(_COUNTER_CELL_END.match(text, end) if prefix == "|" else not prefix and _COUNTER_END.match(text, end))


def _number(digits: str, scale: str | None, percent: bool, spelled: bool = False) -> Number:
    factor = _SCALES.get(scale.lower(), 1.0) if scale else 1.0
    value = float(digits) * factor
    whole, _, decimals = digits.partition(".")
    unit = 10.0 ** -len(decimals) if decimals else 10.0 ** (len(whole) - len(whole.rstrip("0") or whole))
    if not decimals and not scale and len(whole) == 4 and 1000 <= value <= 2100:
        unit = 1.0  # a year is not rounded
    return Number(value, unit * factor / 2, percent, spelled)


class _Known:
    """The numbers of a source: those that are looked up, and those that steps are tried with."""

    def __init__(self, found: Iterator[Number]) -> None:
        distinct: dict[float, None] = {}
        for number in found:
            distinct[number.value] = None
            if number.percent:
                distinct |= {number.value / 100: None, 100.0: None}
            elif number.spelled and 0 < number.value < 1:
                distinct[1 / number.value] = None  # half of it is often written as a division by 2
        self.ordered = sorted(distinct)
        self.operands = list(distinct)[:SOURCE_NUMBERS]

    def has(self, number: Number) -> bool:
        return self.within(number.value, number) or (number.percent and self.within(number.value / 100, number, 0.01))

    def within(self, value: float, number: Number, unit: float = 1.0) -> bool:
        """Whether a number of the source is written like this when it is rounded."""
        slack = min(number.half * unit, 0.05 * value) + 1e-9 * value
        at = bisect_left(self.ordered, value - slack)
        return at < len(self.ordered) and self.ordered[at] <= value + slack


def _following(stated: list[Number], occurring: list[bool], known: _Known) -> list[bool]:
    """Which numbers follow from others by one step, without those that occur."""
    following = [False] * len(stated)
    before: deque[float] = deque(maxlen=STATED)
    tried = 0
    for at, number in enumerate(stated):
        if not occurring[at] and tried < STEPS:
            tried += 1
            after = [
                n.value for n, there in zip(stated[at + 1 : at + 4], occurring[at + 1 : at + 4], strict=True) if there
            ]
            following[at] = _follows(number, [*before, *after])
            if not following[at] and _telling(number):
                following[at] = _follows(number, known.operands)
        if occurring[at] or following[at]:
            before.append(number.value)
    return following


def _telling(number: Number) -> bool:
    """Whether it has so many digits that it hardly follows from a source's numbers by chance; years always do."""
    return number.value / (2 * number.half) >= 100 and not (number.half == 0.5 and 1000 <= number.value <= 2100)


def _follows(number: Number, operands: list[float]) -> bool:
    """Whether a number is the result of a step with two of the operands."""
    wanted = number.value
    known = sorted(operands)
    # Sums and products of whole numbers are exact; what was divided is rounded to the digits that are stated.
    half = number.half if number.half < 0.5 or number.percent else 0.0
    for operand in known:
        steps = [(abs(wanted - operand), half), (wanted + operand, half)]
        if operand and operand != 1.0:
            steps += [(wanted * operand, half * operand), (wanted / operand, half / operand)]
            if number.percent:
                steps.append((wanted * operand / 100, half * operand / 100))
        for value, slack in steps:
            slack += 1e-9 * value
            at = bisect_left(known, value - slack)
            if at < len(known) and known[at] <= value + slack:
                return True
    return False


def copying(text: str, source: str = "", *, max_share: float = 0.5) -> list[Measure]:
    """Share of the output's words that stand in runs of at least `RUN_WORDS` words taken over from the source.

    Args:
        text: the output.
        source: the document it was made from. Case and punctuation do not matter.
        max_share: the largest share, 0 to 1: a FAQ or a tutorial may quote, but not consist of quotations.
    """
    found = words(text.lower())
    there = words(source.lower())
    if len(found) < RUN_WORDS or len(there) < RUN_WORDS:
        return [nothing("copying")]
    copied = _copied(found, there)
    share = sum(copied) / len(found)
    if share <= max_share:
        return [Measure("copying", share, True)]
    first = copied.index(1)
    return [Measure("copying", share, False, f"copied: {' '.join(found[first : first + RUN_WORDS])[:80]!r}")]


def _copied(found: list[str], there: list[str]) -> bytearray:
    """Which words stand in a run that the source has, as ones and zeros."""
    copied = bytearray(len(found))
    # Any run of 13 words holds a whole one of these blocks of 7, so without any there is no run to look for.
    block = (RUN_WORDS + 1) // 2
    blocks = {tuple(found[i : i + block]) for i in range(0, len(found) - block + 1, block)}
    if blocks.isdisjoint(_runs(there, block)):
        return copied
    runs = set(_runs(there, RUN_WORDS))
    begins = bytes(map(runs.__contains__, _runs(found, RUN_WORDS)))
    for match in re.finditer(b"\1+", begins):
        end = match.end() + RUN_WORDS - 1
        copied[match.start() : end] = b"\1" * (end - match.start())
    return copied


def _runs(found: list[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(found[i:] for i in range(size)), strict=False)


# A capital begins every sentence, line, cell, item and quotation; behind another word it marks a name.
_NAME = re.compile(r"[A-ZÀ-ÖØ-ÞΑ-ΩЀ-Я](?:(?<=[^\W_] .)|(?<=[^\W_], .)|(?<=[^\W\d_]-.))[^\W\d_]{1,40}")
# Headings, bold labels and the header of a table capitalise all words.
_TITLE = re.compile(
    r"^[ \t]{0,9}(?:#{1,6} [^\n]*|[-*+0-9.) \t]{0,9}\*\*[^*\n]{1,200}\*\*|\|[^\n]*(?=\n[ \t]*\|[ \t]*:?--))",
    re.MULTILINE,
)


def names(text: str, source: str = "", *, min_shared: float = 0.3, min_names: int = 3) -> list[Measure]:
    """Share of the distinct names of the output that occur in the source.

    A name is a capitalised word behind another word that neither text writes in lower case. German capitalises all
    nouns, which makes names of them.

    Args:
        text: the output.
        source: the document it was made from.
        min_shared: the least share, 0 to 1.
        min_names: with fewer names there is nothing to check: an explanation may well bring in one or two.
    """
    if not source:
        return [nothing("names")]
    there = set(words(source))
    common = there.union(words(text))
    spoken = _TITLE.sub("\n", text) if "#" in text or "|" in text or "**" in text else text
    found = [name for name in dict.fromkeys(_NAME.findall(spoken)) if name.lower() not in common]
    if len(found) < min_names:
        return [nothing("names")]
    missing = [name for name in found if there.isdisjoint((name, name.upper(), name.capitalize()))]
    share = 1 - len(missing) / len(found)
    passed = share >= min_shared
    return [Measure("names", share, passed, "" if passed else f"not in the source: {', '.join(missing[:3])}"[:120])]
