"""Measures that any text can be put to: its length, whether it loops, and what is left in it of the chat.

Small models loop: they write the same sentence, list item or table row until their tokens are spent. Filters of web
text look for that with shares of repeated n-grams (Gopher, arXiv 2112.11446, table A1), and so does `repetition`, but
it leaves out what repeats by nature in a FAQ, a table or a tutorial: short labels, numbering, single cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import regex
from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate, find_duplicates

from blocks.filters.checks.measure import Measure, nothing
from blocks.filters.words import UNSPACED
from blocks.generate.prompts import PLACEHOLDER

_WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[\w--[{UNSPACED}]]+", regex.V1)
# One for each word of the first kind: the scripts' own marks (vowels, tones) belong to the letter before them.
_LETTER = regex.compile(rf"[[{UNSPACED}]--\p{{M}}]", regex.V1)
_TYPOGRAPHIC = "’‘“”–—…•×\u00a0"
_RUN = re.compile(r"\w+")
_BETWEEN_RUNS = {code: " " for code in range(128) if not _RUN.match(chr(code))}

REPEATED_WORDS = 8
"""Words of a run whose repetition counts. Gopher's have 5 to 10; a FAQ repeats shorter ones ("what is the role of")."""

LETTERS_PER_WORD = 2.5
"""Letters that say as much as a word where no spaces are written: 1.5 in Chinese, 2 to 3 in Japanese, 3 to 4 in Thai,
marks not counted. If each counted as a word, a name that a FAQ repeats ("データサイエンティスト") would be a loop."""

LONG_WORD = 40
"""Characters from which a word is looked into. No language needs as many; "hahaha…" and "0.333…" do."""

_LONG_WORD = re.compile(rf"[^\W_]{{{LONG_WORD},}}")
_NUMBERING = re.compile(r"(?:\d{1,3}[.):]|\|[ \t]{0,9}\d{1,3}[ \t]{0,9}\|)")

# HTML's <s> (struck text) is caught, too: nothing that a prompt asks for needs it.
_TOKEN = re.compile(
    r"<(?:\|[A-Za-z][\w-]{0,40}\||｜[^<>｜]{1,40}｜|/?(?:s|think|thinking|bos|eos|pad|unk|tool_call)|"
    r"(?:start|end)_of_turn|</?SYS>)>|\[(?:/?INST|PAD)\]|" + re.escape(PLACEHOLDER)
)
_FORMAT = (
    r"(?:FAQs?|frequently asked questions|Q&As?|tables?|tutorials?|(?:word|math) problems?|"
    r"rewrit(?:e|ten|ing)|rephrased|output|response)"
)
_ABOUT_THE_TASK = r"\b(?:the|this|your) (?:given |provided |original )?(?:document|text|passage)\b"
AS_ASKED = (
    r"(?:as (?:you )?requested|(?:based on|using|from|according to) (?:the|this|your) (?:\w{1,12} ){0,2}"
    r"(?:document|text|passage|article|information|content)(?: (?:you )?(?:provided|given|shared))?)"
)
"""Expression of what stands before an announcement: "Based on the document provided, here is a tutorial"."""

_PLAN = re.compile(
    r"[*_]{0,3}(?P<yes>(?:sure|certainly|of course|absolutely|okay|ok|alright|great)[!,.]{1,3} )?let(?:'s|’s| us) "
    r"(?:create|write|make|build|craft|develop|generate|turn|convert|transform|rewrite|rephrase|put together) "
    r"(?P<rest>[^.!:\n]{0,200})[.!:][*_]{0,3}[ \t]{0,9}(?:\n\s*|\Z)",
    re.IGNORECASE,
)
_PLAN_ABOUT = re.compile(
    r"\b(?:the|this|your|provided|given) (?:\w{1,12} )?(?:document|text|passage|article)\b", re.IGNORECASE
)
_PLAN_FORMAT = re.compile(rf"\b{_FORMAT}\b", re.IGNORECASE)
_LABEL = re.compile(
    r"[ \t#>*_]{0,9}(?:"
    # The label of a document in a prompt. "Documents:" stands above many a list.
    r"document|"
    # Sure! Here is the table you asked for:
    r"(?:sure(?: thing)?|certainly|of course|absolutely)[!,.] {0,3}here(?:'s|’s| is| are)\b.{0,200}|"
    # Here is the FAQ about knots: With another article it may well be a sentence of a tutorial ("Here is a table of").
    rf"here(?:'s|’s| is| are) (?:the|your) (?:[\w-]{{1,30}} ){{0,4}}{_FORMAT}\b.{{0,80}}|"
    # As requested, here is a tutorial:
    rf"{AS_ASKED},? here(?:'s|’s| is| are)\b.{{0,200}}|"
    # Here is a list based on the document:
    rf"here(?:'s|’s| is| are) .{{0,80}}{_ABOUT_THE_TASK}.{{0,40}}"
    r")",
    re.IGNORECASE,
)
# The labels of Alpaca's training examples, and of many recipes, forms and descriptions of interfaces.
_TRAINING = re.compile(r"[ \t>*_]{0,9}#{2,3} ?(?P<kind>instruction|input|response)s?", re.IGNORECASE)
_HEADING = re.compile(r"^[ \t>*_]{0,9}#{2,6}(?![#\w])", re.MULTILINE)
_MARKS = {ord(mark): None for mark in "#*_"}
# Whom else a reader may ask: "feel free to ask your bank" belongs to the text.
_OTHERS = r"(?: to)? (?:your|our|their|his|her|its|staff|any (?:of|member)|(?:an?|the) (?!(?:\w{1,12} )?questions?\b))"
_CLOSING = re.compile(
    rf"(?:please )?(?:let me know (?:if|whether|how)\b|feel free to (?:ask|reach out)\b(?!{_OTHERS})|"
    r"I hope (?:this|that|these)\b.{0,60}\bhelp)|"
    # If you have any further questions, feel free to ask!
    r"if you(?:['’]d| have| need| want| would)\b[^.!?\n]{0,100}?,? (?:please )?(?:just )?"
    r"(?:let me know|ask me|(?:feel free to (?:ask|reach out)|(?:don['’]t|do not) hesitate to ask)"
    r"(?: me| to me| away)?(?=[.!*_ ]{0,9}\Z))",
    re.IGNORECASE,
)
# Would you like me to create another problem?
_OFFER = re.compile(
    r"(?:for example, )?(?:(?:let me know if you(?:['’]d| would) like|would you like|do you want) me to\b|"
    r"would you like (?:another|more|some more|a different) (?:\w{1,15} ){0,2}"
    r"(?:examples?|problems?|questions?|details?|information|tables?|tutorials?|FAQs?)\b|"
    r"is there anything else (?:I can|you(?:['’]d| would) like)\b)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"[ \t>]{0,9}(?:[-*+•]|\d{1,3}[.)])[ \t]|\s*\Z")
_ASIDE = re.compile(r" {0,3}\([^()\n]{0,200}\)[*_]{0,3}\Z")


def runs(text: str) -> list[str]:
    """Letters, digits and underscores in a row; whole sentences in scripts that write no spaces."""
    # Both give the same for ASCII, where the first is many times as fast.
    return text.translate(_BETWEEN_RUNS).split() if text.isascii() else _RUN.findall(text)


def words(text: str) -> list[str]:
    """The words of a text as written, without punctuation; single characters in scripts that write no spaces."""
    if not text.isascii():
        # Most English text is plain but for these.
        for mark in _TYPOGRAPHIC:
            text = text.replace(mark, " ")
    return runs(text) if text.isascii() else _WORD.findall(text)


# Several checks ask for the words of the same output and of the same source; four formats share one.
@lru_cache(maxsize=2)
def all_words(text: str) -> Sequence[str]:
    """The words of an output or a source, remembered."""
    return words(text)


@lru_cache(maxsize=2)
def all_words_lowered(text: str) -> Sequence[str]:
    """The words of an output or a source in lower case, remembered."""
    return words(text.lower())


def run_length(found: Sequence[str], count: int) -> int:
    """How many of these words say as much as `count` words that spaces divide: more where they are single letters."""
    letters = len(_LETTER.findall("".join(found)))
    return round(count * len(found) / (len(found) - letters + letters / LETTERS_PER_WORD)) if letters else count


def length(
    text: str,
    source: str = "",
    *,
    min_words: int = 20,
    max_words: int = 4000,
    max_ratio: float | None = None,
    usual_ratio: Sequence[float] | None = None,
) -> list[Measure]:
    """How long the text is, and whether that is usual for its format.

    Args:
        text: the output.
        source: the document it was made from.
        min_words: the fewest words it may have. Half a dozen table cells and a question have as many.
        max_words: the most; 2,048 tokens, the longest answer of the prompts, are some 1,600 words of English.
        max_ratio: the most words per word of the source; None for no such bound.
        usual_ratio: the fewest and the most words per word of the source that are usual; with them there is a second
            measure, `length_ratio`. A prompt says them as `length_ratio: [low, high]`.
    """
    count = len(all_words(text))
    detail = ""
    if count < min_words:
        detail = f"fewer than {min_words} words"
    elif count > max_words:
        detail = f"more than {max_words} words"
    elif max_ratio is not None and source and count > max_ratio * (expected := max(len(all_words(source)), 1)):
        detail = f"{count / expected:.1f} words per word of the source"
    found = [Measure("length", count, not detail, detail)]
    if usual_ratio is None:
        return found
    if not source:
        return [*found, nothing("length_ratio")]
    low, high = usual_ratio
    ratio = count / max(len(all_words(source)), 1)
    unusual = "" if low <= ratio <= high else f"usual are {low:g} to {high:g} words per word of the source"
    return [*found, Measure("length_ratio", ratio, not unusual, unusual)]


def repetition(text: str, source: str = "", *, max_share: float = 0.3) -> list[Measure]:
    """Share of the text that repeats what it said before, by characters of words.

    A run of prose repeats when all its `REPEATED_WORDS` words (`run_length`), numbers left out, occurred before; a
    table row when the whole row did; a word of at least `LONG_WORD` characters when it repeats itself.

    Args:
        text: the output.
        source: not used.
        max_share: the largest share, 0 to 1. Gopher's bound for lines; its 8-grams get 0.12, which is meant for whole
            web pages and cannot be kept by a short FAQ.
    """
    prose, rows = _prose_and_rows(text)
    total = sum(map(len, prose)) + sum(map(len, rows))
    if not total:
        return [nothing("repetition")]
    size = run_length(prose, REPEATED_WORDS)
    repeated = find_all_duplicate(prose, size) if _repeats(prose, size) else 0
    repeated += find_duplicates(rows)[1]
    if max(map(len, text.split())) >= LONG_WORD:
        repeated += sum(len(word) for word in _LONG_WORD.findall(text) if _loops(word))
    share = min(repeated / total, 1.0)
    if share <= max_share:
        return [Measure("repetition", share, True)]
    return [Measure("repetition", share, False, f"repeated: {_first_repetition(prose, size, rows)[:80]!r}")]


def _prose_and_rows(text: str) -> tuple[list[str], list[str]]:
    """The words outside tables, numbers left out where they are few; and the table rows, without their counter."""
    lines: list[str] = []
    rows: list[str] = []
    for line in text.split("\n"):
        line = line.lstrip(" \t>*-+#")
        numbering = _NUMBERING.match(line)
        if line.startswith("|"):
            rows.append(" ".join(words(line[numbering.end() if numbering else 0 :].lower())))
        else:
            lines.append(line[numbering.end() if numbering else 0 :])
    found = words("\n".join(lines).lower())
    # "Step 7: repeat step 6" counts on; without its numbers it says the same. Sums consist of numbers.
    spoken = [word for word in found if not word.isdigit()]
    return (spoken if 2 * len(spoken) >= len(found) else found), rows


def _repeats(prose: list[str], size: int) -> bool:
    # Most texts do not, and this says so in a fifth of the time that counting takes.
    hashes = set(map(hash, zip(*(prose[i:] for i in range(size)), strict=False)))
    return len(hashes) < len(prose) - size + 1


def _loops(word: str) -> bool:
    """Whether the second half of a long word is one sequence of at most 16 characters, again and again."""
    end = word[-16:]
    period = len(word) - 16 - word.rfind(end, 0, -1)
    if word.find(end, len(word) // 2 - 16, -1) < 0 or period > 16:
        return False
    half = word[len(word) // 2 :]
    return half[period:] == half[:-period]


def _first_repetition(prose: list[str], size: int, rows: list[str]) -> str:
    """What is repeated first; a word that repeats itself if there is nothing else."""
    seen: set[str] = set()
    for run in [*rows, *(" ".join(prose[i : i + size]) for i in range(len(prose) - size + 1))]:
        if run and run in seen:
            return run
        seen.add(run)
    return max(prose, key=len, default="")


def markup(text: str, source: str = "") -> list[Measure]:
    """Number of leftovers of the prompt and the chat: tokens of chat templates, labels, announcements, closing remarks.

    Args:
        text: the output.
        source: the document it was made from; what stands there is no leftover.
    """
    found = list(_leftovers(text))
    if found:
        # The source says "Instructions: Mix" where the output has a heading.
        there = source.translate(_MARKS).casefold()
        found = [leftover for leftover in found if leftover.translate(_MARKS).strip().casefold() not in there]
    return [Measure("markup", len(found), not found, repr(found[0][:80]) if found else "")]


def _leftovers(text: str) -> Iterator[str]:
    if "<" in text or "[" in text:
        yield from _TOKEN.findall(text)
    training: list[tuple[str, str]] = []
    for line in text.split("\n"):
        label = line.rstrip(" \t*_")
        if label.endswith(":") and len(label) <= 400:
            said = label[:-1].rstrip("*_")
            if _LABEL.fullmatch(said):
                yield label
            elif match := _TRAINING.fullmatch(said):
                training.append((match["kind"].lower(), label))
    kinds = {kind for kind, _ in training}
    # One alone is a heading like others, unless it is the only one and what a model's answer begins with.
    if len(kinds) > 1 or (kinds == {"response"} and len(_HEADING.findall(text)) == len(training)):
        yield from (label for _, label in training)
    if end := plan_end(text.lstrip()):
        yield text.lstrip()[:end].rstrip()
    if closing := text[closing_begin(text) :].strip():
        yield closing


def plan_end(text: str) -> int:
    """Where the plan ends that an answer begins with ("Okay, let's turn this document into a FAQ!"); 0 without one.

    It is one of a model if two of three say so: a yes to the prompt, the name of a format, the document to work on.
    """
    plan = _PLAN.match(text)
    if plan is None:
        return 0
    about, format_ = _PLAN_ABOUT.search(plan["rest"]), _PLAN_FORMAT.search(plan["rest"])
    return plan.end() if (plan["yes"] is not None) + (about is not None) + (format_ is not None) > 1 else 0


def closing_begin(text: str) -> int:
    """Where the words to the one who asked begin that an answer ends with; its length where it has none.

    Only the last line, or a list with the line above it, is looked at: elsewhere a tutorial may quote such words, from
    a letter for example.
    """
    ended = text.rstrip()
    start = max(0, len(ended) - 1500)
    lines = ended[start:].split("\n")
    offered = len(lines)
    while offered and _ITEM.match(lines[offered - 1]):
        offered -= 1
    if offered < len(lines):
        # Do you want me to: - explain a step?
        at, asks = offered - 1, [_OFFER]
        line = lines[at] if offered and lines[at].rstrip(" \t*_").endswith(":") else ""
    else:
        at, asks = offered - 1, [_CLOSING, _OFFER]
        line = _ASIDE.sub("", lines[at][-300:])
    sentence = _last_sentence(line)
    if not any(ask.match(sentence) for ask in asks):
        return len(text)
    return start + sum(len(before) + 1 for before in lines[:at]) + lines[at].rfind(sentence)


def _last_sentence(line: str) -> str:
    return re.split(r"(?<=[.!?])[*_]{0,3}\s", line)[-1].strip(" \t>*_")
