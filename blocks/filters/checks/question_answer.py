"""Finds questions and answers in the text of a sample, however they are marked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from blocks.filters.checks.markdown import plain

QUOTE_MARKS = " \t>"
"""What may stand before any line in a quote."""

# Marks of headings, quotes, lists and emphasis, arrows and emoji.
_BEGIN = re.compile(r"(?:[\s>#*_+•\u2190-\u2bff\ufe0f\U0001f300-\U0001faff-]|\d{1,3}[.)](?=\s)){0,20}")
_LABEL = re.compile(
    r"(?:(?P<word>(?:(?P<question>question)|(?:(?:final|short|correct|sample|model) )?answer)(?: \d{1,3})?)"
    r"|(?:(?P<q>q)|a)\d{0,3}(?=[*_ ]{0,4}[:：]))"
    r"(?: \([^()\n]{0,60}\))?[*_ ]{0,4}"
    r"(?:[:：]|[-–—](?=\s)|\Z)[*_ ]{0,4}",
    re.IGNORECASE,
)
_RULE = re.compile(r"[\s>*_=-]*\Z")
_CLOSING = " \t*_\"'”’»)」』"
# "Q: How many? A: Two." on one line, and "**How many?** Two."
_ANSWER_BEHIND = re.compile(r"(?<=[?？])[*_\"'”’)\s]{1,9}(?:answer|a)[*_ ]{0,4}[:：][*_ ]{0,4}", re.IGNORECASE)
_SENTENCE_BEHIND = re.compile(r"(?<=[?？])[*_\"'”’) ]{1,9}(?=[^\s?？])|(?<=？)(?=[^\s?？*_])")


class _Part(NamedTuple):
    kind: Literal["question", "answer", ""]
    text: str


def questions_and_answers(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """The questions and the answers of some lines, as plain text.

    A question has a label ("**Question:**", "Q1:", a heading "Question"), or is a paragraph that ends in a question
    mark; questions in a row within one paragraph are one. An answer has a label, or is what stands behind a question.
    """
    parts = _joined(lines)
    questions: list[str] = []
    answers: list[list[str]] = []
    labelled = {part.kind for part in parts}
    for kind, text in parts:
        if kind == "answer":
            answers.append([text])
        elif kind == "question" or _asks(text):
            question, answer = _split(text, "answer" not in labelled)
            questions.append(question)
            if answer:
                answers.append([answer])
        elif answers:
            answers[-1].append(text)
        elif questions:
            answers.append([text])
        elif "question" not in labelled and "?" in text.replace("？", "?"):
            question, answer = _split(text, "answer" not in labelled)
            questions.append(question)
            if answer:
                answers.append([answer])
    joined = [" ".join(answer).strip() for answer in answers]
    return [plain(question) for question in questions if question.strip(_CLOSING)], [
        plain(answer) for answer in joined if answer.strip(_CLOSING)
    ]


def _joined(lines: Iterable[str]) -> list[_Part]:
    """Lines joined to the paragraphs they make, each with what its label says it is."""
    parts: list[_Part] = []
    new = True  # whether the next line begins a paragraph
    for line in lines:
        if _RULE.match(line):
            new = True
            continue
        begin = _BEGIN.match(line)
        written = line[begin.end() if begin else 0 :].rstrip()
        label = _LABEL.match(written)
        if label:
            kind: Literal["question", "answer"] = "question" if label["question"] or label["q"] else "answer"
            parts.append(_Part(kind, written[label.end() :].strip()))
            new = False
            continue
        last = parts[-1] if parts else _Part("", "")
        if last.kind and not last.text:  # the label has a line of its own
            joins = True
        elif last.kind == "question" and not _asks(last.text):
            joins = not new or _asks(written)
        else:
            joins = not new and bool(parts) and (_asks(written) if _asks(last.text) and last.kind != "answer" else True)
        if joins and not line.lstrip(QUOTE_MARKS).startswith("#"):
            parts[-1] = _Part(last.kind, f"{last.text} {written}".strip())
        else:
            parts.append(_Part("", written))
        new = line.lstrip().startswith("#")
    return parts


def _asks(text: str) -> bool:
    return text.rstrip(_CLOSING).endswith(("?", "？"))


def _split(text: str, anything: bool) -> tuple[str, str]:
    """A question, and the answer behind it in the same paragraph: what is labelled as one, or anything."""
    match = _ANSWER_BEHIND.search(text)
    if match is None and anything and not _asks(text):
        for match in _SENTENCE_BEHIND.finditer(text):  # noqa: B007 - it is used behind the loop: the last one
            pass
    return (text[: match.start()], text[match.end() :]) if match else (text, "")
