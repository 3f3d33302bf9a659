"""Checks a sample of the `table` format: one table, one question, one answer that follows from the table.

What is a table is a matter of rules and held to them strictly: a table that does not render, or renders with cells
missing, is a fault. How question and answer are marked is a matter of taste, and every way that models have of doing it
is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

from blocks.filters.checks.markdown import Markdown, Table, cells, parse, plain
from blocks.filters.checks.measure import Measure, nothing
from blocks.filters.checks.question_answer import QUOTE_MARKS, questions_and_answers
from blocks.filters.checks.table_answer import share_found

FaultName = Literal[
    "too_long",  # more than MAX_CHARACTERS
    "no_table",
    "table_in_code",  # the only table stands in a block of code, by a fence or by its indentation
    "html_table",  # the only table is written in HTML
    "no_alignment_row",  # rows of cells without the row of dashes that makes them a table
    "no_header",  # a row of dashes with no line of cells right above it
    "several_tables",
    "stray_row",  # a table's row outside of the table, for instance behind a blank line
    "text_in_table",  # a line of text right behind the last row, which is a row itself by the rules
    "too_few_columns",
    "empty_header",  # a header cell beyond the first column that has no text
    "duplicate_header",
    "unequal_cells",  # a row with more or fewer cells than the header
    "empty_row",  # no cell with more than dashes or dots
    "duplicate_row",  # a row that says what one above says, word for word: a model that goes round in circles
    "no_rows",  # fewer rows than asked for
    "question_before_table",
    "no_question",
    "several_questions",
    "no_answer",
    "several_answers",
]
"""What can be wrong, in the order in which it is reported."""

FAULTS: tuple[FaultName, ...] = get_args(FaultName)

MAX_CHARACTERS = 100_000
"""Ten times what the format's `max_tokens` allow. The Markdown parser's time is linear in the length, but was 15 s
for a million characters (unmarked lines behind nested quotes)."""


class Fault(NamedTuple):
    """Something that is wrong: its name, and where."""

    name: FaultName
    where: str = ""


class Sample(NamedTuple):
    """A sample in its parts.

    Args:
        rows: the table's header and body as plain text, without its alignment row; empty if there is no table.
        questions: the questions behind the table.
        answers: the answers behind the table.
        faults: all that is wrong with it.
    """

    rows: list[list[str]]
    questions: list[str]
    answers: list[str]
    faults: list[Fault]


def table(
    text: str, source: str = "", *, min_rows: int = 1, min_columns: int = 2, min_found: float = 1.0
) -> list[Measure]:
    """Measure whether a sample is one table with one question and one answer, and whether the table holds the answer.

    Args:
        text: the sample.
        source: not used: whether the table is true to the source is for other checks.
        min_rows: rows that the table must have below its header.
        min_columns: columns that it must have.
        min_found: share of the answer's key values that the table must hold.

    Returns:
        `table`: the number of different faults (`FaultName`), with the first one by name.
        `table_answer`: the share of the answer's numbers that stand in the table or are computed from it
        (`share_found`); of the names in it if it has no number.
    """
    sample = read(text, min_rows=min_rows, min_columns=min_columns)
    names = {fault.name for fault in sample.faults}
    detail = ""
    if names:
        first = min(sample.faults, key=lambda fault: FAULTS.index(fault.name))
        detail = f"{first.name}: {first.where}" if first.where else first.name
    return [Measure("table", float(len(names)), not names, detail), _answer(sample, min_found)]


def _answer(sample: Sample, min_found: float) -> Measure:
    if not sample.rows or not sample.answers:
        return nothing("table_answer")
    share, missing = share_found(sample.rows, " ".join(sample.questions), "\n".join(sample.answers))
    if share is None:
        return nothing("table_answer")
    detail = f"not in the table: {_quoted(missing)}" if missing else ""
    return Measure("table_answer", share, share >= min_found, detail)


def read(text: str, *, min_rows: int = 1, min_columns: int = 2) -> Sample:
    """Take a sample apart, and find what is wrong with it."""
    if len(text) > MAX_CHARACTERS:
        return Sample([], [], [], [Fault("too_long", f"{len(text)} characters")])
    document = parse(text)
    faults: list[Fault] = []
    found = document.tables[0] if document.tables else None
    if found is None:
        fault, begin, end = _why_no_table(document)
        faults.append(fault)
        rows: list[list[str]] = []
    else:
        # What stands behind the last line with a pipe is text that lacks a blank line before it.
        end = found.end
        while len(found.rows[0]) > 1 and end > found.begin + 2 and "|" not in document.lines[end - 1]:
            end -= 1
        if end < found.end:
            faults.append(Fault("text_in_table", _quoted(document.lines[end])))
        begin = found.begin
        found = Table(begin, end, found.rows[: end - begin])
        rows = [[plain(cell) for cell in row] for row in (found.rows[0], *found.rows[2:])]
        faults += _table_faults(rows, min_rows, min_columns)
        faults += _more_tables(document, found)
    questions, answers = questions_and_answers(_without_tables(document, begin, end, len(document.lines)))
    before = [] if questions else _without_tables(document, begin, 0, begin)
    faults += _question_faults(questions, answers, *questions_and_answers(before))
    return Sample(rows, questions, answers, faults)


def _quoted(text: str) -> str:
    text = " ".join(text[:400].split())
    return f'"{text if len(text) <= 78 else text[:77] + "…"}"'


# --- the table ---

_NO_CONTENT = frozenset(" \t\xa0-–—−._…:*~/\\")


def _table_faults(rows: list[list[str]], min_rows: int, min_columns: int) -> Iterator[Fault]:
    header = rows[0]
    if len(header) < min_columns:
        yield Fault("too_few_columns", f"{len(header)}")
    if not all(header[1:]):
        yield Fault("empty_header", f"column {header.index('', 1) + 1}")
    seen = set()
    for name in header:
        name = " ".join(name.casefold().split())
        if name and name in seen:
            yield Fault("duplicate_header", _quoted(name))
            break
        seen.add(name)
    unequal = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if unequal is not None:
        yield Fault("unequal_cells", f"row {unequal} has {len(rows[unequal])}, the header {len(header)}")
    empty = next((i for i, row in enumerate(rows) if i and all(map(_NO_CONTENT.issuperset, row))), None)
    if empty is not None:
        yield Fault("empty_row", f"row {empty}")
    said: set[tuple[str, ...]] = set()
    for i, row in enumerate(rows[1:], 1):
        words = tuple(" ".join(cell.casefold().split()) for cell in row)
        if words in said and not all(map(_NO_CONTENT.issuperset, row)):
            yield Fault("duplicate_row", f"row {i}")
            break
        said.add(words)
    if len(rows) - 1 < min_rows:
        yield Fault("no_rows", f"{len(rows) - 1}")


def _more_tables(document: Markdown, found: Table) -> Iterator[Fault]:
    if len(document.tables) > 1:
        yield Fault("several_tables", f"{len(document.tables)}")
        return
    # Code in a fence is meant as code; a row that is indented too far was meant as one of the table's.
    in_code = {i for code in document.code if code.fenced for i in range(code.begin, code.end)}
    outside = [i for i in (*range(found.begin), *range(found.end, len(document.lines))) if i not in in_code]
    if any(_is_alignment_row(document.lines[i]) for i in outside):
        yield Fault("several_tables")
    elif stray := next((document.lines[i] for i in outside if _is_row(document.lines[i])), ""):
        yield Fault("stray_row", _quoted(stray))


def _why_no_table(document: Markdown) -> tuple[Fault, int, int]:
    """The fault of a text without a table, and the lines of what was meant to be one."""
    lines = document.lines
    for code in document.code:
        if any(_is_alignment_row(lines[i]) for i in range(code.begin, code.end)):
            return Fault("table_in_code"), code.begin, code.end
    rows = [i for i, line in enumerate(lines) if _is_row(line)]
    for i, line in enumerate(lines):
        if not _is_alignment_row(line):
            continue
        begin = i - 1 if i and "|" in lines[i - 1] else i
        end = max((row + 1 for row in rows if row > i), default=i + 1)
        if begin == i:
            return Fault("no_header"), i, end
        marks = QUOTE_MARKS + "-*+"
        counts = len(cells(line.strip(QUOTE_MARKS))), len(cells(lines[begin].lstrip(marks)))
        if counts[0] == counts[1]:  # such as |---||---|
            return Fault("no_alignment_row", _quoted(line)), begin, end
        return Fault("unequal_cells", f"the alignment row has {counts[0]}, the header {counts[1]}"), begin, end
    if len(rows) > 1:
        return Fault("no_alignment_row", _quoted(lines[rows[0]])), rows[0], rows[-1] + 1
    if document.html:
        end = max((i + 1 for i, line in enumerate(lines) if "</table>" in line.lower()), default=0)
        if end:
            return Fault("html_table"), 0, end
    return Fault("no_table"), 0, 0


def _is_alignment_row(line: str) -> bool:
    marks = set(line)
    return "|" in marks and "-" in marks and marks <= set("|-: \t>")


def _is_row(line: str) -> bool:
    line = line.lstrip(QUOTE_MARKS)
    return line.startswith("|") and line.count("|") > 1


def _without_tables(document: Markdown, table_begin: int, begin: int, end: int) -> Iterator[str]:
    """The lines of a part of the text, a blank one in place of each that belongs to a table."""
    inside = {i for more in document.tables if more.begin != table_begin for i in range(more.begin, more.end)}
    return ("" if i in inside or _is_row(document.lines[i]) else document.lines[i] for i in range(begin, end))


# --- question and answer ---


def _question_faults(
    questions: list[str], answers: list[str], questions_before: list[str], answers_before: list[str]
) -> Iterator[Fault]:
    if not questions:
        yield Fault("question_before_table", _quoted(questions_before[0])) if questions_before else Fault("no_question")
    elif len(questions) > 1:
        yield Fault("several_questions", _quoted(questions[1]))
    if len(answers) > 1:
        yield Fault("several_answers", _quoted(answers[1]))
    elif not answers and not (questions_before and answers_before):
        yield Fault("no_answer")
