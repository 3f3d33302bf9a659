"""Measures how much of an output comes from its source: its numbers, its names, its very words.

None of it says whether a statement is true. An output whose numbers and names do not occur in the source was made up,
though, and one whose sentences all occur there was not rewritten.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache

from blocks.filters.checks.claims import Claim, claims
from blocks.filters.checks.measure import Measure, nothing
from blocks.filters.checks.text import all_words, all_words_lowered, run_length

RUN_WORDS = 13
"""Words of a run that is no coincidence: the n-grams by which GPT-3 (arXiv 2005.14165) looked for contamination."""

SOURCE_NUMBERS = 200
"""Distinct numbers of a source that steps are tried with."""

STEPS = 200
"""Distinct numbers of an output that steps are tried for; each takes a few hundred look-ups."""

STATED = 12
"""Numbers before and after which an output's number may follow from: a calculation states its operands near by."""

_EXACT = 1e8  # steps with whole numbers below it are exact, and a billionth of them is less than one


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
    stated = list(dict.fromkeys(number for number in claims(text) if not (number.spelled and number.value <= 10)))
    if not stated:
        return [nothing("numbers")]
    known = _source(source).numbers
    occurring = [known.has(number) for number in stated]
    following = _following(stated, occurring, known)
    share = (sum(occurring) + following.count(True)) / len(stated)
    detail = f"{sum(occurring)} of {len(stated)} numbers occur, {following.count(True)} follow"
    if share < min_grounded:
        first = next(n for n, there, follows in zip(stated, occurring, following, strict=True) if not there | follows)
        detail += f"; not {first.value:g}{' %' if first.percent else ''}"
    return [Measure("numbers", share, share >= min_grounded, detail)]


class _Operands:
    """Claims with which steps are tried."""

    def __init__(self, values: Iterable[float]) -> None:
        self.ordered = sorted(values)
        self.factors = [value for value in self.ordered if value not in (0.0, 1.0)]
        whole = not self.ordered or (self.ordered[-1] < _EXACT and all(map(float.is_integer, self.ordered)))
        self.whole = frozenset(self.ordered) if whole else None


class _Known:
    """The numbers of a source: those that are looked up, and those that steps are tried with."""

    def __init__(self, found: Iterable[Claim]) -> None:
        distinct: dict[float, None] = {}
        for number in found:
            distinct[number.value] = None
            if number.percent:
                distinct |= {number.value / 100: None, 100.0: None}
            elif number.spelled and 0 < number.value < 1:
                distinct[1 / number.value] = None  # half of it is often written as a division by 2
        self.ordered = sorted(distinct)
        self.operands = _Operands(list(distinct)[:SOURCE_NUMBERS])

    def has(self, number: Claim) -> bool:
        return self.within(number.value, number) or (number.percent and self.within(number.value / 100, number, 0.01))

    def within(self, value: float, number: Claim, unit: float = 1.0) -> bool:
        """Whether a number of the source is written like this when it is rounded."""
        slack = min(number.half * unit, 0.05 * value) + 1e-9 * value
        at = bisect_left(self.ordered, value - slack)
        return at < len(self.ordered) and self.ordered[at] <= value + slack


def _following(stated: list[Claim], occurring: list[bool], known: _Known) -> list[bool]:
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
            following[at] = _follows(number, _Operands([*before, *after]))
            if not following[at] and _telling(number):
                following[at] = _follows(number, known.operands)
        if occurring[at] or following[at]:
            before.append(number.value)
    return following


def _telling(number: Claim) -> bool:
    """Whether it has so many digits that it hardly follows from a source's numbers by chance; years always do."""
    return number.value / (2 * number.half) >= 100 and not (number.half == 0.5 and 1000 <= number.value <= 2100)


def _follows(number: Claim, operands: _Operands) -> bool:
    """Whether a number is the result of a step with two of the operands."""
    if not operands.ordered:
        return False
    wanted = number.value
    known, factors = operands.ordered, operands.factors
    # Sums and products of whole numbers are exact; what was divided is rounded to the digits that are stated.
    half = number.half if number.half < 0.5 or number.percent else 0.0
    if not half and operands.whole is not None and wanted < _EXACT and wanted.is_integer():
        # What is tried below, without tolerances that make no difference here: four times as fast.
        misses = operands.whole.isdisjoint
        middle = bisect_left(known, wanted)
        return not (
            misses([wanted - value for value in known[:middle]])
            and misses([value - wanted for value in known[middle:]])
            and misses([wanted / value for value in factors])
            and misses([wanted * value for value in factors[: bisect_right(factors, known[-1] / (wanted or 1))]])
        )
    steps = [(abs(wanted - value), half) for value in known]
    steps += [(wanted + value, half) for value in known]
    steps += [(wanted * value, half * value) for value in factors]
    steps += [(wanted / value, half / value) for value in factors]
    if number.percent:
        steps += [(wanted * value / 100, half * value / 100) for value in factors]
    largest = known[-1]
    for value, slack in steps:
        slack += 1e-9 * value
        if value - slack <= largest and known[bisect_left(known, value - slack)] <= value + slack:
            return True
    return False


class _Source:
    """What is read from a source, once for all checks and formats."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def numbers(self) -> _Known:
        return _Known(claims(self.text))

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(all_words(self.text))

    @cached_property
    def size(self) -> int:
        """Words of a run: more where they are letters of a script without spaces."""
        return run_length(all_words_lowered(self.text), RUN_WORDS)

    @property
    def block(self) -> int:
        """Words of a part that every run holds a whole one of, wherever it begins."""
        return (self.size + 1) // 2

    @cached_property
    def blocks(self) -> frozenset[int]:
        """Hashes of all runs of `block` words: they tell that there is nothing to look for in `runs`."""
        return frozenset(map(hash, _runs(all_words_lowered(self.text), self.block)))

    @cached_property
    def runs(self) -> frozenset[tuple[str, ...]]:
        return frozenset(_runs(all_words_lowered(self.text), self.size))


_source = lru_cache(maxsize=1)(_Source)  # the formats of a document follow each other


def copying(text: str, source: str = "", *, max_share: float = 0.5) -> list[Measure]:
    """Share of the output's words that stand in runs of at least `RUN_WORDS` words taken over from the source.

    Where the source is written without spaces, runs are longer (`run_length`).

    Args:
        text: the output.
        source: the document it was made from. Case and punctuation do not matter.
        max_share: the largest share, 0 to 1: a FAQ or a tutorial may quote, but not consist of quotations.
    """
    found = all_words_lowered(text)
    known = _source(source)
    if min(len(found), len(all_words_lowered(source))) < known.size:
        return [nothing("copying")]
    copied = _copied(found, known)
    share = sum(copied) / len(found)
    if share <= max_share:
        return [Measure("copying", share, True)]
    first = copied.index(1)
    return [Measure("copying", share, False, f"copied: {' '.join(found[first : first + known.size])[:80]!r}")]


def _copied(found: Sequence[str], source: _Source) -> bytearray:
    """Which words stand in a run that the source has, as ones and zeros."""
    copied = bytearray(len(found))
    block = source.block
    if source.blocks.isdisjoint(map(hash, zip(*(found[i::block] for i in range(block)), strict=False))):
        return copied
    begins = bytes(map(source.runs.__contains__, _runs(found, source.size)))
    for match in re.finditer(b"\1+", begins):
        end = match.end() + source.size - 1
        copied[match.start() : end] = b"\1" * (end - match.start())
    return copied


def _runs(found: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
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
    there = _source(source).vocabulary
    here = frozenset(all_words(text))
    spoken = _TITLE.sub("\n", text) if "#" in text or "|" in text or "**" in text else text
    found = [
        name
        for name in dict.fromkeys(_NAME.findall(spoken))
        if (lowered := name.lower()) not in there and lowered not in here
    ]
    if len(found) < min_names:
        return [nothing("names")]
    missing = [name for name in found if there.isdisjoint((name, name.upper(), name.capitalize()))]
    share = (len(found) - len(missing)) / len(found)
    passed = share >= min_shared
    return [Measure("names", share, passed, "" if passed else f"not in the source: {', '.join(missing[:3])}"[:120])]
