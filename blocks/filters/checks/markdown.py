"""Finds the tables of a Markdown text, with the cells as they were written.

Where a table begins and ends is decided by a CommonMark parser with the table rule of GitHub Flavored Markdown (GFM).
Its tokens would not do, though: GFM fills up rows that are too short and cuts those that are too long, and both are
faults that have to be found. So the rule here hands on the source lines of a table, free of list and quote marks, and
`cells` splits them by GFM's rule. Inline markup is left unparsed (it would take most of the time); `plain` removes it.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import table as gfm_table

# A backslash keeps a pipe in its cell whatever stands before the backslash, also in a code span.
_PIPE = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,500}(?:\s\"[^\"]{0,200}\")?\)")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_BACKSLASH = re.compile(r"\\([!-/:-@\[-`{-~])")
_UNDERSCORES = re.compile(r"(?<!\w)_{1,3}|_{1,3}(?!\w)")
_MARKUP = frozenset("*_`~[<&\\")
_NO_EMPHASIS = {ord(mark): None for mark in "*`~"}
# Full-width forms of ASCII, as in Chinese and Japanese text.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_NEWLINE = re.compile(r"\r\n?")


class Table(NamedTuple):
    """A table of a text.

    Args:
        begin: the index of its header's line.
        end: the index of the line behind its last row.
        rows: the cells by row, as written: first those of the header, then of the alignment row, then of the body.
    """

    begin: int
    end: int
    rows: list[list[str]]


class Code(NamedTuple):
    """A block of code: the index of its first line, of the line behind its last one, and whether it is in a fence."""

    begin: int
    end: int
    fenced: bool


class Markdown(NamedTuple):
    """What is looked for in a text: its lines, its tables, its blocks of code and of HTML."""

    lines: list[str]
    tables: list[Table]
    code: list[Code]
    html: bool


def cells(line: str) -> list[str]:
    r"""The cells of a table's line; the outer pipes may be missing, and `\|` is content."""
    found = _PIPE.split(line.strip())
    if not found[0]:
        del found[0]
    if found and not found[-1]:
        del found[-1]
    return [cell.strip() for cell in found]


def plain(text: str) -> str:
    """Text without the marks of inline markup, with full-width letters and digits as ASCII."""
    if not text.isascii():
        text = text.translate(_FULL_WIDTH)
    if not _MARKUP.isdisjoint(text):
        if "[" in text:
            text = _LINK.sub(r"\1", text)
        if "<" in text:
            text = _TAG.sub(" ", text)
        if "_" in text:
            text = _UNDERSCORES.sub("", text)
        text = text.translate(_NO_EMPHASIS)
        if "\\" in text:
            text = _BACKSLASH.sub(r"\1", text)
        if "&" in text:
            text = html.unescape(text)
    return text.strip()


def parse(text: str) -> Markdown:
    """The tables and blocks of code of a text, those in lists and quotes included."""
    text = _NEWLINE.sub("\n", text)
    tables: list[Table] = []
    code: list[Code] = []
    has_html = False
    for token in _parser().parse(text):
        if token.type == "table" and token.map:
            tables.append(Table(token.map[0], token.map[1], [cells(line) for line in token.meta["lines"]]))
        elif token.type in ("fence", "code_block") and token.map:
            code.append(Code(token.map[0], token.map[1], token.type == "fence"))
        has_html = has_html or token.type == "html_block"
    return Markdown(text.split("\n"), tables, code, has_html)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": 10}).enable("table")
    # Underlined headings and link definitions make no difference to where tables stand.
    parser.disable(["inline", "text_join", "lheading", "reference"])
    parser.block.ruler.at("table", _table_rule, {"alt": ["paragraph", "reference"]})
    return parser


def _table_rule(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    """The rule for tables: the parser's own finds the begin; the lines become one token instead of three per cell."""
    if not gfm_table(state, begin, end, True):
        return False
    if silent:
        return True
    before = state.parentType
    state.parentType = "table"
    line = begin + 2
    # As in the parser's rule: a blank line, code, another block or the end of the list that holds the table ends it.
    terminators = state.md.block.ruler.getRules("blockquote")
    while (
        line < end
        and not state.isEmpty(line)
        and state.sCount[line] >= state.blkIndent
        and not state.is_code_block(line)
        # No other block begins with a pipe, as most rows do.
        and (
            state.src.startswith("|", state.bMarks[line] + state.tShift[line])
            or not any(terminator(state, line, end, True) for terminator in terminators)
        )
    ):
        line += 1
    state.parentType = before
    token = state.push("table", "table", 0)
    token.map = [begin, line]
    token.meta = {"lines": [state.src[state.bMarks[i] + state.tShift[i] : state.eMarks[i]] for i in range(begin, line)]}
    state.line = line
    return True
