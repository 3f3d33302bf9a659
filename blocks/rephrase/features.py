"""What a document is like, in some numbers that are cheap to count: how many quantities, names, steps, table rows.

Which formats suit a document is decided by these (`blocks/rephrase/route.py`), before a model is asked. So a document
must cost far less than a request, and nothing here understands it: words are looked up in lists, numbers are told apart
by what stands next to them. Every expression is linear: its repeats are possessive or bounded.

The words looked up are English. What depends on them is None for a document in another language, or in one that cannot
be told, and a rule lets None pass. Numbers are counted everywhere.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from blocks.filters.checks.language import language_of
from blocks.filters.checks.text import words as words_of
from blocks.filters.checks.tutorial import AFTER_NOUNS, VERBS

VERSION = 2
"""Raise it when a feature counts differently: it is part of a run's fingerprint."""


class Features(NamedTuple):
    """What a document is like. None stands for what cannot be counted in its language.

    Args:
        words: number of words, as in the `length` check: in scripts without spaces each letter is one.
        sentences: letters, digits and closing marks with a full stop, question or exclamation mark behind, before a
            space; None in scripts that write none (Thai, Lao, Khmer, Burmese).
        questions: share of sentences, 0 to 1, that end with a question mark.
        language: ISO code as the `language` check finds it; empty when it cannot be told.
        numbers: distinct numbers that stand alone, without dates, times, years, numbering, versions, phone numbers and
            labels ("Figure 3", "H-60", "[12]").
        years: distinct numbers from 1000 to 2100 that may be years.
        quantities: distinct numbers with a currency, a percent sign, a unit or a counted noun ("11 seasons", "three
            days"); all `numbers` outside English, where these cannot be told.
        number_density: `quantities` per 100 words.
        table_lines: share of lines, 0 to 1, that look like rows: cells between `|`, tabs, wide gaps or commas, mostly
            numbers, `key: value`.
        list_lines: share of lines, 0 to 1, that begin with a bullet or a number.
        names: distinct runs of capitalised words behind another word. English only.
        facts: `quantities`, `years`, `names`, enumerations ("a, b and c") and words that classify or compare ("types",
            "whereas"), all together. English only.
        procedural: numbered lines, sentences that begin with a verb ("Press") or a word of order ("Next"), "how to",
            per 100 words. English only.
        explaining: words of cause, condition, rule and address ("because", "if", "usually", "you") per 100 words.
            English only.
        narrating: names, and words of persons and of the past ("he", "said", "was"), per 100 words. English only.
    """

    words: int
    sentences: int | None
    questions: float
    language: str
    numbers: int
    years: int
    quantities: int
    number_density: float
    table_lines: float
    list_lines: float
    names: int | None
    facts: int | None
    procedural: float | None
    explaining: float | None
    narrating: float | None


_EXPLAINING = frozenset(
    """
    because if when whenever therefore thus hence since unless whether depending so causes cause caused makes make
    allows allow prevents prevent requires require means mean called known usually often generally typically commonly
    normally always can may might must should need needs cannot become becomes form forms contain contains consist
    consists occur occurs produce produces use uses used using each these this such types type example examples process
    steps method rule you your we our us let it its both same different more less
    """.split()
)
_NARRATING = frozenset(
    """
    he she his her him hers himself herself who whom was were had did said says told asked went came took made became
    got met died born married killed arrested announced reported mr mrs ms dr spokesman according yesterday
    monday tuesday wednesday thursday friday saturday sunday ago season album film actor actress band
    """.split()
)
_COMPARING = frozenset(
    """
    types kinds groups categories classes forms classified divided subdivided unlike whereas compared contrast differ
    differs difference differences respectively former latter
    """.split()
)
_ORDER = frozenset("first firstly second secondly third thirdly then next finally lastly step".split())
_MONTHS = frozenset(
    """
    january february march april may june july august september october november december jan feb mar apr jun jul aug
    sep sept oct nov dec
    """.split()
)
# Behind these words a number tells which one, not how many.
_LABELS = frozenset(
    """
    figure fig table page p pp chapter section sect no nos nr number act article art paragraph volume vol issue part
    appendix equation eq example exercise question step lesson unit version v build release milestone channel route road
    highway interstate type class level stage phase row column line item note psalm verse room apartment apt suite box
    flight bus isbn issn id
    """.split()
)
# They may stand behind a number without being counted by it: "of 12 in", "the 5 and the 7", "11 a.m.".
_NOT_COUNTED = frozenset(
    """
    a am an and are as at be been before but by during for from had has have he if in into is it its like may of off on
    onto or over p plus pm said she since so than that the their then there these they this through to under until up
    upon versus via vs was were when where which while who will with within without would
    """.split()
)
_UNITS = frozenset(
    """
    percent per c f k m g l h kg mg km cm mm ft lb lbs oz mi mph kmh kph ml cl dl ha hz khz mhz ghz kb mb gb tb w kw mw
    gw kwh kj kcal cal pa kpa hpa bar psi ms ns min mins sec secs hr hrs yr yrs bn mn thousand million billion trillion
    hundred dozen kilometre kilometres kilometer kilometers metre metres meter meters centimetre centimetres centimeter
    centimeters millimetre millimetres millimeter millimeters mile miles yard yards foot feet inch inches acre acres
    hectare hectares litre litres liter liters gallon gallons pint pints cup cups tablespoon tablespoons teaspoon
    teaspoons tbsp tsp gram grams gramme grammes kilogram kilograms kilo kilos pound pounds ounce ounces ton tons tonne
    tonnes degree degrees second seconds minute minutes hour hours day days night nights week weeks month months year
    years decade decades century centuries dollar dollars cent cents euro euros pence penny yen rupees usd eur gbp chf
    people persons
    men women children times volt volts watt watts joule joules calories
    """.split()
)
_SPELLED = frozenset(
    """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand dozen half quarter
    """.split()
)
# Texts about anything have two or three of them; behind the words of the last line stands another thing.
_UNCOUNTED = frozenset(
    """
    types kinds parts groups ways forms categories classes sides things others reasons aspects features names terms
    words cases versions sections stages steps methods
    of and the or in to is was has as are were
    """.split()
)
_PLURAL = re.compile(r"[a-z]{2,20}[^su\W]s")

# A number with what stands behind it. Separators are taken in, so that dates, times, versions and phone numbers stay in
# one piece. The word behind may be glued on ("35K", "15th"), hyphenated ("25-year-old") or stand apart.
_NUMBER = re.compile(
    r"(\d++(?:[,٬]\d{3}(?!\d)|,\d{1,2}(?![\d,])|[.٫:/–—-]\d++|[\u00a0\u202f]\d{3}(?!\d))*+)"
    r"(?:([ \u00a0\u202f]?[%‰°％٪$€£¥₹])|([ \u00a0\u202f-]?)([^\W\d_]{1,20}+))?"
)
_SEPARATOR = re.compile(r"[^\d]")
_GROUPED = re.compile(r"\d{1,3}(?:[.,٬\u00a0\u202f]\d{3})++(?:[.,٫]\d++)?")
_YEARS = re.compile(r"\d{4}(?:[–—-](?:\d\d|\d{4}))?")
_CURRENCIES = ("$", "€", "£", "¥", "₹", "₽", "₩", "USD", "EUR", "GBP", "Rs", "Rs.")
_ATTACHED = re.compile(r"(?:[^\W\d]|\w[.:-]|[#@=&?/\[])\Z")
_NUMBERING_END = re.compile(r"[.)](?:\s|\Z)")
# Scripts in which a word stands right beside a number: Thai to Burmese, kana, Chinese, Korean.
_NO_GAP = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_DATE_MARKS = frozenset("年月日년월일")

_NO_STOPS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
# Both begin with what is rare and look back only then, which takes a fifth of the time.
_SENTENCE = re.compile(r"[.!?؟।。！？](?<=[\w)\]\"”’»% ].)[.!?؟।。！？]*+(?:(?<=[。！？])|(?=[\s\"”’»)\[]|\Z))")
_NAME = re.compile(r"[A-ZÀ-ÖØ-Þ](?<=[a-z,] .)[^\W\d_]++(?:[ -][A-ZÀ-ÖØ-Þ][^\W\d_]*+)*+")
_ENUMERATION = re.compile(r",[ \w'’-]{2,60}?,? (?:and|or) ")
# A line or a sentence: its number, its first word, the next one.
_BEGIN = re.compile(
    r"[.!?\n][\"”’)]?+[ \t>*•–-]{0,9}+(\d{1,2}[.):][ \t]{1,9}+)?([A-Z][a-z]{1,20}+)(?:[ ,]([a-z]{1,20}+))?"
)
_ITEM = re.compile(r"(?:[-*•–+]|\d{1,3}[.)])[ \t]")
_GAP = re.compile(r"\t| {2,}+")

_LONGEST_ROW = 300
"""Characters; a longer line is a paragraph."""


def features(text: str) -> Features:
    """Count what a document holds; pure, and linear in its length."""
    lower = text.lower()
    lowered = words_of(lower)
    hundreds = max(len(lowered), 1) / 100
    language = language_of(text)
    english = language == "en"
    numbers, years, quantities = _numbers(text)
    if english:
        quantities |= _spelled(lowered)
    else:
        quantities = numbers
    table_lines, list_lines = _lines(text)
    ends = _SENTENCE.findall(text)
    names = len(set(_NAME.findall(text))) if english else 0
    return Features(
        words=len(lowered),
        sentences=len(ends) if ends or not _NO_STOPS.search(text) else None,
        questions=sum("?" in end or end in "؟？" for end in ends) / len(ends) if ends else 0.0,
        language=language,
        numbers=len(numbers),
        years=len(years),
        quantities=len(quantities),
        number_density=len(quantities) / hundreds,
        table_lines=table_lines,
        list_lines=list_lines,
        names=names if english else None,
        facts=len(quantities) + len(years) + names + _enumerations(text, lowered) if english else None,
        procedural=(_steps(text) + lower.count("how to ")) / hundreds if english else None,
        explaining=_count(lowered, _EXPLAINING) / hundreds if english else None,
        narrating=(names + _count(lowered, _NARRATING)) / hundreds if english else None,
    )


def _count(lowered: list[str], wanted: frozenset[str]) -> int:
    return sum(map(wanted.__contains__, lowered))


def _enumerations(text: str, lowered: list[str]) -> int:
    return len(_ENUMERATION.findall(text)) + _count(lowered, _COMPARING)


def _spelled(lowered: list[str]) -> set[str]:
    """Distinct quantities in words: "three days", "fifteen smaller councils"."""
    found = set()
    for at in [at for at, word in enumerate(lowered) if word in _SPELLED]:
        noun, behind = [*lowered[at + 1 : at + 3], "", ""][:2]
        if noun in _UNITS or _counted(noun) or (noun not in _UNCOUNTED and _counted(behind)):
            found.add(f"{lowered[at]} {noun}")
    return found


def _counted(noun: str) -> bool:
    return _PLURAL.fullmatch(noun) is not None and noun not in _UNCOUNTED


def _numbers(text: str) -> tuple[set[str], set[str], set[str]]:
    """Distinct numbers that stand alone, years, and quantities of English."""
    numbers: set[str] = set()
    years: set[str] = set()
    quantities: set[str] = set()
    for match in _NUMBER.finditer(text):
        number, mark, gap, word = match.groups(default="")
        start, end = match.span(1)
        before = text[max(start - 14, 0) : start]
        last = before[-1:]
        if last not in " \n" and _ATTACHED.search(before) and not _NO_GAP.match(last):
            continue
        lower = word.lower()
        glued = bool(word) and not gap
        measured = bool(mark) or lower in _UNITS or before.rstrip().endswith(_CURRENCIES)
        if (
            _YEARS.fullmatch(number)
            and 1000 <= int(number[:4]) <= 2100
            and not measured
            and (not glued or lower == "s" or word[0] in _DATE_MARKS)
        ):
            years.add(number[:4])
            continue
        if glued and not measured and (not _NO_GAP.match(word) or word[0] in _DATE_MARKS):
            continue  # 15th, 3D, 12月
        if not _plain(number) or (not measured and _labelled(text, start, end, before, lower)):
            continue
        numbers.add(number)
        if measured or (word == lower != "" and lower not in _NOT_COUNTED):
            quantities.add(number)
    return numbers, years, quantities


def _plain(number: str) -> bool:
    """Whether it is a number and not a date, a time, a version, a phone number or a code."""
    if number.isdigit():
        return len(number) <= 7 and (number[0] != "0" or len(number) == 1)
    separators = _SEPARATOR.findall(number)
    return (len(separators) == 1 and separators[0] not in ":/") or _GROUPED.fullmatch(number) is not None


def _labelled(text: str, start: int, end: int, before: str, following: str) -> bool:
    """Whether it says which one (Figure 3, 16 June) or is the number of a list item."""
    previous = (before.split() or [""])[-1].strip(".#(").lower()
    if previous in _MONTHS or previous in _LABELS or following in _MONTHS:
        return True
    line = before.rpartition("\n")[2]
    begins = len(line) < len(before) or start <= len(before)
    return begins and not line.strip(" \t#>*-") and _NUMBERING_END.match(text, end) is not None


def _lines(text: str) -> tuple[float, float]:
    """Shares of lines that look like rows of a table, and of those that begin like an item of a list."""
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    if not lines:
        return 0.0, 0.0
    return sum(map(_is_row, lines)) / len(lines), sum(_ITEM.match(line) is not None for line in lines) / len(lines)


def _is_row(line: str) -> bool:
    if len(line) > _LONGEST_ROW:
        return False
    spaces = line.count(" ")
    if line.count("|") > 1 or 1 < line.count(",") > spaces or "\t" in line:
        return True
    if "  " in line and (len(_GAP.findall(line)) > 1 or len(line) < 60):
        return True
    if ": " in line[:40] and len(line) < 80 and line[-1] not in ".!?":
        return True
    cells = line.split()
    return 1 < 2 * sum(cell[0].isdigit() or cell[-1].isdigit() for cell in cells) >= len(cells) > 2


def _steps(text: str) -> int:
    """How many lines and sentences begin like a step of an instruction."""
    found = 0
    for number, word, following in _BEGIN.findall("\n" + text):
        begin = word.lower()
        found += bool(number) or begin in _ORDER or (begin in VERBS and following not in AFTER_NOUNS)
    return found
