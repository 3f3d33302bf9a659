"""Checks a FAQ: every question is one, has its own answer, and both can be read without anything else.

Models mark questions in many ways: labels (`Q1:`), headings, bold lines, list items, plain lines. The check first finds
the way most of an output's questions are marked, then holds the whole output to it: a question inside an answer is not
an item of the FAQ, and a heading that asks nothing is, if the other headings of its level ask.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import regex

from blocks.filters.checks.leaning import leaning_phrase
from blocks.filters.checks.measure import Measure, nothing
from blocks.filters.checks.outline import Line, key, lines_of
from blocks.filters.checks.question_answer import (
    ANSWER_LETTER,
    ANSWER_WORD,
    QUESTION_LETTER,
    QUESTION_WORD,
    marked_as_in_english,
)

Style = Literal["label", "heading", "bold", "number", "bullet", "plain"]

# The stronger mark comes first: it wins over a weaker one that marks up to twice as many questions.
_STYLES: tuple[Style, ...] = ("label", "heading", "bold", "number", "bullet", "plain")

# Shorter answers ("Yes.", "No, never.") may well come twice.
_DUPLICATE_WORDS = 4

_LABEL_END = r"(?:[ \t]*\([^()\n]{0,40}\))?(?:[ \t]*(?P<mark>[:.)])|[ \t]+[-–—](?=[ \t]))"
# "Question 1", "Question no. 1", "问题一"
_LABEL_NUMBER = r"(?:[ \t]*(?:#|№|n[°ºo]\.?)?[ \t]?(?P<number>\d{1,3})|[一二三四五六七八九十]{1,3})?"
_QUESTION = re.compile(
    rf"(?:{QUESTION_LETTER}|{QUESTION_WORD}|FAQ(?=[ \t]*#?\d)){_LABEL_NUMBER}(?:{_LABEL_END}[ \t]*|\Z)", re.IGNORECASE
)
_ANSWER = re.compile(
    rf"(?:(?P<short>{ANSWER_LETTER})|{ANSWER_WORD}|Ans|Response){_LABEL_NUMBER}(?:{_LABEL_END}[ \t]*|\Z)", re.IGNORECASE
)
# Where small models write a whole FAQ in one line.
_LABEL_IN_LINE = re.compile(
    r"(?:(?<=[.!?*_\"”»)।])[ \t]{1,4}|(?<=[。！」』])[ \t]{0,4})"
    rf"(?=[*_]{{0,3}}(?:{QUESTION_LETTER}|A|{QUESTION_WORD}|{ANSWER_WORD})[ \t]?\d{{0,3}}[*_]{{0,3}}:)",
    re.IGNORECASE,
)

_ASKS = re.compile(
    r"(?:what|how|why|when|where|who|whom|whose|which|is|are|was|were|do|does|did|can|could|should|would|will|has|have|"
    r"had|may|might|must|am|in what|in which|to what|for what|at what|by what|on what|from what|"
    r"explain|describe|define|discuss|compare|contrast|outline|summari[sz]e|identify|list|name|state|give|tell|show|"
    r"mention|elaborate|provide|distinguish|calculate|illustrate|clarify|specify|trace)\b",
    re.IGNORECASE,
)
_CLOSING = "\"'”’»)*_」』）"
_QUESTION_END = re.compile(rf"\?[{re.escape(_CLOSING)}]{{0,4}}(?=\s|\Z)")
# Scripts without capitals are the letters of the second kind.
_STATEMENT_FIRST = regex.compile(r"[\p{Ll})][.!] {1,3}\p{Lu}|\p{Lo}[.!] {1,3}\p{Lo}|[。！।]")
# Headings that stand among the questions and are none.
_SECTION = re.compile(
    r"\b(?:faqs?|questions?|introduction|overview|conclusion|summary|references|sources|resources|further reading|"
    r"note|notes|takeaways|disclaimer|glossary|contact|about|appendix|topics?|(?:final|closing|concluding) \w+|"
    r"wrap(?:ping)?[- ]up|in short|key (?:facts|points)|(?:more|additional|further) information|learn more)\b|"
    # The beginnings of the commonest of them in other languages.
    r"\b(?:preguntas|fréquentes|häufig|domande|perguntas|частые|introdu[cçz]|einleitung|einführung|введение|"
    r"conclu[sz]i|conclusão|fazit|заключение|вывод|r[eé]s[uú]m|resumo|zusammenfassung|riassunto|итог)|"
    r"परिचय|निष्कर्ष|सारांश|مقدمة|خاتمة|خلاصة|الأسئلة|引言|介绍|简介|結論|结论|总结|常见问题|はじめに|概要|まとめ|よくある|"
    r"소개|결론|요약|자주",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\s*(?:\[[^\[\]]{0,80}\]|<[^<>]{0,80}>|TBD|TBA|N/A|\(?answer\)?)[\s.]*", re.IGNORECASE)


class _Item(NamedTuple):
    """A line that marks a question, or stands where one should: its style, the question, what follows on the line."""

    style: Style
    question: str
    rest: str
    number: int | None = None


@dataclass
class _Pair:
    question: str
    answer: list[str] = field(default_factory=list)
    number: int | None = None
    answer_label: bool = False
    answer_number: int | None = None
    depth: int = 0
    fault: str = ""


def faq(
    text: str, source: str = "", *, min_pairs: int = 2, max_pairs: int = 30, max_leaning: float = 0.2
) -> list[Measure]:
    """Count question–answer pairs, name the first fault, and measure how many of them lean on another text.

    Args:
        text: the output.
        source: not used.
        min_pairs: fewer pairs are a fault. Short documents of ours give three or more.
        max_pairs: more pairs are a fault; 2,048 tokens hold some thirty answers of two sentences.
        max_leaning: the largest share (0 to 1) of pairs that may refer to "the document" or to another answer. One in
            five leaves room for documents that are about a document.

    Returns:
        `faq`: the number of pairs. Its faults, in the order in which they stand: `answer_without_question`,
        `empty_question`, `not_a_question`, `question_without_answer` (nothing follows), `empty_answer` (only a label
        or a placeholder follows), `wrong_answer_number`, `duplicate_question`, `duplicate_answer`; and of the whole:
        `no_pairs`, `too_few_pairs`, `too_many_pairs`.
        `faq_self_contained`: the share of pairs that lean on what the reader does not have.
    """
    pairs = _read_pairs(text)
    fault = _first_fault(pairs)
    complete = sum(1 for pair in pairs if pair.question and _holds_text(pair))
    if not fault:
        fault = "too_few_pairs" if complete < min_pairs else "too_many_pairs" if complete > max_pairs else ""
    measure = Measure("faq", complete, not fault, fault)
    if not pairs:
        return [measure, nothing("faq_self_contained")]
    phrases = [phrase for pair in pairs if (phrase := leaning_phrase(" ".join((pair.question, *pair.answer))))]
    share = len(phrases) / len(pairs)
    detail = f'"{phrases[0][:80]}"' if phrases else ""
    return [measure, Measure("faq_self_contained", share, share <= max_leaning, detail)]


def _first_fault(pairs: Sequence[_Pair]) -> str:
    if not pairs:
        return "no_pairs"
    questions: set[str] = set()
    answers: set[str] = set()
    for pair in pairs:
        fault = pair.fault or _fault_of(pair)
        if fault:
            return f"{fault}: {pair.question[:80]}"
        question = key(pair.question)
        if question in questions:
            return f"duplicate_question: {pair.question[:80]}"
        questions.add(question)
        answer = key(" ".join(pair.answer))
        if answer in answers and answer.count(" ") + 1 >= _DUPLICATE_WORDS:
            return f"duplicate_answer: {pair.question[:80]}"
        answers.add(answer)
    return ""


def _fault_of(pair: _Pair) -> str:
    if not any(map(str.isalnum, pair.question)):
        return "empty_question"
    if "?" not in pair.question and not _ASKS.match(pair.question.lstrip("\"'“‘(")):
        return "not_a_question"
    if not _holds_text(pair):
        return "empty_answer" if pair.answer or pair.answer_label else "question_without_answer"
    if pair.number and pair.answer_number and pair.number != pair.answer_number:
        return "wrong_answer_number"
    return ""


def _holds_text(pair: _Pair) -> bool:
    return any(
        any(map(str.isalnum, part)) and not (len(pair.answer) == 1 and _PLACEHOLDER.fullmatch(part))
        for part in pair.answer
    )


def _read_pairs(text: str) -> list[_Pair]:
    """All questions with what follows them."""
    lines = list(lines_of(_LABEL_IN_LINE.sub("\n", marked_as_in_english(text))))
    items = [_item(line) for line in lines]
    style = _main_style(lines, items)
    if style is None:
        return []
    if style == "label":
        return _labelled(lines, items)
    return _unlabelled(lines, items, style)


def _main_style(lines: Sequence[Line], items: Sequence[_Item | None]) -> Style | None:
    counts = dict.fromkeys(_STYLES, 0)
    for item in items:
        if item and (item.style == "label" or "?" in item.question):
            counts[item.style] += 1
    if not any(counts.values()):
        for line, item in zip(lines, items, strict=True):
            if item and item.style in ("heading", "bold") and _is_asked(item, item.style, line):
                counts[item.style] += 1
    most = max(counts.values())
    return next(style for style in _STYLES if counts[style] * 2 >= most) if most else None


def _item(line: Line) -> _Item | None:
    """How a line marks a question; whether it really asks is seen later. None for a line that cannot hold one."""
    label = _QUESTION.match(line.text)
    if label:
        number = label["number"]
        return _Item("label", line.text[label.end() :].strip(), "", int(number) if number else line.number)
    if _ANSWER.match(line.text):
        return None
    if line.kind == "heading":
        return _Item("heading", line.text, "")
    if line.bold and "?" not in line.rest:
        return _Item("bold", line.bold, line.rest.lstrip(" :–—-"))
    question, rest = _split_question(line.bold or line.text)
    if line.bold:
        return _Item("bold", line.bold, line.rest.lstrip(" :–—-")) if question else None
    if line.kind == "number":
        return _Item("number", question or line.text, rest)
    if question:
        return _Item("bullet" if line.kind == "bullet" else "plain", question, rest)
    return None


def _split_question(text: str) -> tuple[str, str]:
    """A question and what follows it on its line; empty strings where the line does not begin with a question."""
    end = _QUESTION_END.search(text)
    if end is None:
        return "", ""
    if text.rstrip(_CLOSING).endswith("?"):
        return text, ""
    question = text[: end.end()]
    return ("", "") if _STATEMENT_FIRST.search(question) else (question, text[end.end() :].lstrip(" :–—-"))


def _labelled(lines: Sequence[Line], items: Sequence[_Item | None]) -> list[_Pair]:
    """Pairs marked `Q:` and `A:`; without `A:` the answer is what follows the question."""
    pairs: list[_Pair] = []
    dotted = any(_has_dot(line.text) for line, item in zip(lines, items, strict=True) if item and item.style == "label")
    for line, item in zip(lines, items, strict=True):
        pair = pairs[-1] if pairs else None
        if item and item.style == "label":
            pairs.append(_Pair(item.question, number=item.number))
            continue
        answer = _answer_label(line, dotted)
        if answer:
            if pair is None or pair.answer_label:
                pairs.append(_Pair(line.text, fault="answer_without_question"))
                continue
            # What stood between the labels belongs to the question: a list to choose from, a second sentence.
            pair.question = " ".join((pair.question, *pair.answer)).strip()
            pair.answer_label = True
            pair.answer_number = int(answer["number"]) if answer["number"] else None
            rest = line.text[answer.end() :].strip()
            pair.answer = [rest] if rest else []
        elif pair is None or (line.kind == "heading" and (pair.answer or pair.answer_label)):
            continue  # a title, or the heading of the next group of questions
        elif not pair.question and not pair.answer_label:
            pair.question = line.text  # "Question 1" stood on a line of its own
        elif line.text:
            pair.answer.append(line.text)
    for pair in pairs:
        if not pair.answer and not pair.answer_label:
            question, rest = _split_question(pair.question)
            if rest:
                pair.question, pair.answer = question, [rest]
    return pairs


def _has_dot(text: str) -> bool:
    label = _QUESTION.match(text)
    return label is not None and label["mark"] in (".", ")")


def _answer_label(line: Line, dotted: bool) -> re.Match[str] | None:
    """The label of an answer; `A.` and `A)` are choices of a quiz unless questions are marked `Q.`."""
    match = _ANSWER.match(line.text)
    if match and match["short"] and match["mark"] != ":":
        return match if dotted and match["mark"] else None
    return match


def _unlabelled(lines: Sequence[Line], items: Sequence[_Item | None], style: Style) -> list[_Pair]:
    """Pairs whose questions are marked by their form: what follows a question, up to the next one, is its answer."""
    asked = [item is not None and _is_asked(item, style, line) for line, item in zip(lines, items, strict=True)]
    asking = [line for line, asks in zip(lines, asked, strict=True) if asks]
    levels = {line.depth for line in asking}
    if style != "heading":
        levels = set(range(min(levels) + 2))  # what is indented by more stands in an answer
    numbers = {line.number for line in asking}
    pairs: list[_Pair] = []
    pair: _Pair | None = None
    for line, below, item, asks in zip(lines, [*lines[1:], None], items, asked, strict=True):
        marked = item is not None and item.style == style and line.depth in levels
        if item and marked and (asks or _stands_for_question(line, below, style, pair, numbers)):
            pair = _Pair(item.question, [item.rest] if item.rest else [], line.number, depth=line.depth)
            pairs.append(pair)
        elif line.kind == "heading" and (style != "heading" or line.depth <= max(levels)):
            pair = None  # the next group of questions
        elif pair is not None:
            _add_answer(pair, line)
    return _without_titles(pairs)


def _is_asked(item: _Item, style: Style, line: Line) -> bool:
    if item.style != style:
        return False
    if "?" in item.question:
        return True
    # "Explain tides" asks on a line of its own. In a list that stands in an answer it does not ask: see below.
    return (line.kind in ("heading", "text") and not item.rest) and _ASKS.match(item.question) is not None


def _stands_for_question(
    line: Line, below: Line | None, style: Style, pair: _Pair | None, numbers: AbstractSet[int | None]
) -> bool:
    """Whether a line that asks nothing, marked like a question, stands where a question should."""
    if _SECTION.search(line.text):
        return False
    if style == "heading":
        return True
    answered = pair is None or bool(pair.answer)
    if style == "bold":
        # Otherwise it is a part of the answer, as is the title of a list.
        return line.kind == "text" and not line.rest and answered and (below is None or below.kind == "text")
    if style == "number" and line.number not in numbers:
        # An answer's own list begins with 1 and uses the questions' numbers again.
        return pair is not None and pair.number is not None and line.number == pair.number + 1
    return False


def _add_answer(pair: _Pair, line: Line) -> None:
    label = None if pair.answer or pair.answer_label else _answer_label(line, dotted=False)
    text = line.text
    if label:
        pair.answer_label = True
        text = text[label.end() :].strip()
    if text:
        pair.answer.append(text)


def _without_titles(pairs: Sequence[_Pair]) -> list[_Pair]:
    """Without what has nothing beneath it and asks nothing, or stands directly above a heading of a lower level."""
    kept = []
    for index, pair in enumerate(pairs):
        if not pair.answer and not pair.answer_label:
            above = index + 1 < len(pairs) and pairs[index + 1].depth > pair.depth
            if above or ("?" not in pair.question and not _ASKS.match(pair.question)):
                continue
        kept.append(pair)
    return kept
