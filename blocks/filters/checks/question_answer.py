"""Finds questions and answers in the text of a sample, however they are marked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from blocks.filters.checks.markdown import plain

QUOTE_MARKS = " \t>"
"""What may stand before any line in a quote."""


class _Labels(NamedTuple):
    """What a language writes before a question and before its answer: words, or one letter with a colon."""

    question: str
    answer: str
    letters: tuple[str, str] | None = None


# The words are alternatives of an expression. Both FAQs and the questions behind tables are read with them.
_LABELS = {
    "English": _Labels("question", "answer", ("Q", "A")),
    "Spanish": _Labels("pregunta", "respuesta", ("P", "R")),
    "French": _Labels("question", "réponse|reponse", ("Q", "R")),
    "German": _Labels("frage", "antwort", ("F", "A")),
    "Italian": _Labels("domanda", "risposta", ("D", "R")),
    "Portuguese": _Labels("pergunta|questão", "resposta", ("P", "R")),
    "Dutch": _Labels("vraag", "antwoord", ("V", "A")),
    "Polish": _Labels("pytanie", "odpowiedź"),
    "Russian": _Labels("вопрос", "ответ", ("В", "О")),
    "Ukrainian": _Labels("питання|запитання", "відповідь"),
    "Greek": _Labels("ερώτηση", "απάντηση", ("Ε", "Α")),
    "Turkish": _Labels("soru", "cevap|yanıt"),
    "Arabic": _Labels("(?:ال)?سؤال", "(?:ال)?(?:جواب|إجابة|اجابة)", ("س", "ج")),
    "Persian": _Labels("پرسش|سوال|سؤال", "پاسخ|جواب"),
    "Hebrew": _Labels("שאלה", "תשובה"),
    "Hindi": _Labels("प्रश्न|सवाल", "उत्तर|जवाब"),
    "Bengali": _Labels("প্রশ্ন", "উত্তর"),
    "Chinese": _Labels("问题|問題|提问|问|問", "答案|回答|解答|答"),
    "Japanese": _Labels("質問|問い|問", "回答|答え|答"),
    "Korean": _Labels("질문|문", "답변|대답|답"),
    "Vietnamese": _Labels("câu hỏi|hỏi", "câu trả lời|trả lời|đáp"),
    "Indonesian": _Labels("pertanyaan|tanya", "jawaban|jawab"),
    "Thai": _Labels("คำถาม|ถาม", "คำตอบ|ตอบ"),
}


def _alternatives(found: Iterable[str]) -> str:
    return f"(?:{'|'.join(dict.fromkeys(found))})"


def _letters(place: Literal[0, 1], but: str) -> str:
    """The letters before questions (0) or answers (1) but for the one of English."""
    found = (labels.letters[place] for labels in _LABELS.values() if labels.letters)
    return _alternatives(letter.lower() for letter in found if letter != but)


QUESTION_WORD = _alternatives(labels.question for labels in _LABELS.values())
"""Expression of the words that mark a question, in any language; to be matched without regard to case."""

ANSWER_WORD = _alternatives(labels.answer for labels in _LABELS.values())
"""The same for an answer."""

# Beside Q and A a letter stands for many things: a chapter ("R. What is it?"), a choice ("D: none"), "F: female".
_COLON = r"[ \t]{0,2}\d{0,3}[*_ \t]{0,4}:"
QUESTION_LETTER = rf"(?:q|{_letters(0, but='Q')}(?={_COLON}[^?\n]{{0,300}}\?))"
"""Expression of the letters that mark a question, to be matched without regard to case."""

ANSWER_LETTER = rf"(?:a|{_letters(1, but='A')}(?={_COLON}))"
"""The same for an answer."""

_GREEK = re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]")
_GREEK_QUESTION = re.compile(r"(?<=[\u0370-\u037d\u037f-\u03ff\u1f00-\u1fff\d)»\"”’*_]);")
_QUESTION_WITHOUT_SPACE = re.compile(r"？(?=[^\W_])")
_AS_IN_ENGLISH = {ord("？"): "?", ord("؟"): "?", 0x37E: "?", ord("："): ":"}


def marked_as_in_english(text: str) -> str:
    """The text with the question marks and colons of English in place of those of other scripts."""
    if text.isascii():
        return text
    # The question mark of Greek is mostly typed as a semicolon, which Greek itself writes as a raised dot.
    if ";" in text and 2 * len(_GREEK.findall(text)) > sum(map(str.isalpha, text)):
        text = _GREEK_QUESTION.sub("?", text)
    return _QUESTION_WITHOUT_SPACE.sub("? ", text).translate(_AS_IN_ENGLISH)


# Marks of headings, quotes, lists and emphasis, arrows and emoji.
_BEGIN = re.compile(r"(?:[\s>#*_+•\u2190-\u2bff\ufe0f\U0001f300-\U0001faff-]|\d{1,3}[.)](?=\s)){0,20}")
_LABEL = re.compile(
    rf"(?:(?P<word>(?:(?P<question>{QUESTION_WORD})|(?:(?:final|short|correct|sample|model) )?{ANSWER_WORD})"
    r"(?: ?\d{1,3})?)"
    rf"|(?:(?P<q>{QUESTION_LETTER})|{ANSWER_LETTER})\d{{0,3}}(?=[*_ ]{{0,4}}:))"
    r"(?: \([^()\n]{0,60}\))?[*_ ]{0,4}"
    r"(?::|[-–—](?=\s)|\Z)[*_ ]{0,4}",
    re.IGNORECASE,
)
_RULE = re.compile(r"[\s>*_=-]*\Z")
_CLOSING = " \t*_\"'”’»)」』"
# "Q: How many? A: Two." on one line, and "**How many?** Two."
_ANSWER_BEHIND = re.compile(
    rf"(?<=\?)[*_\"'”’»)」』\s]{{1,9}}(?:{ANSWER_WORD}|{ANSWER_LETTER})[*_ ]{{0,4}}:[*_ ]{{0,4}}", re.IGNORECASE
)
_SENTENCE_BEHIND = re.compile(r"(?<=\?)[*_\"'”’»)」』 ]{1,9}(?=[^\s?])")


class _Part(NamedTuple):
    kind: Literal["question", "answer", ""]
    text: str


def questions_and_answers(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """The questions and the answers of some lines, as plain text.

    A question has a label ("**Question:**", "Q1:", a heading "Question"), or is a paragraph that ends in a question
    mark; questions in a row within one paragraph are one. An answer has a label, or is what stands behind a question.
    """
    parts = _joined(marked_as_in_english("\n".join(lines)).split("\n"))
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
        elif "question" not in labelled and "?" in text:
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
    return text.rstrip(_CLOSING).endswith("?")


def _split(text: str, anything: bool) -> tuple[str, str]:
    """A question, and the answer behind it in the same paragraph: what is labelled as one, or anything."""
    match = _ANSWER_BEHIND.search(text)
    if match is None and anything and not _asks(text):
        for match in _SENTENCE_BEHIND.finditer(text):  # noqa: B007 - it is used behind the loop: the last one
            pass
    return (text[: match.start()], text[match.end() :]) if match else (text, "")
