"""Search queries that nobody typed: frames with names out of documents, so that no name need come twice."""

from __future__ import annotations

import random

from blocks.instruct.templates import parse_template
from tools.tiny.teachers.passages import names, passages, subject


def made_query(template: str, document: str, dice: random.Random) -> str | None:
    """A query with the frame of a template and names of a document, mostly in small letters as people type."""
    read = parse_template(template)
    found = [name for passage in passages(document) for name in (*names(passage.text), subject(passage.text)) if name]
    if not found:
        return None
    parts = [read.literals[0]]
    for variable, literal in zip(read.variables, read.literals[1:], strict=True):
        drawn = str(dice.randint(1700, 2024)) if variable == "year" else dice.choice(found)
        parts += [drawn, literal]
    return typed("".join(parts), dice)


def typed(query: str, dice: random.Random) -> str:
    """A query in small letters, sometimes with capitals and a question mark."""
    if dice.random() < 0.85:
        return query.lower()
    return f"{query[:1].upper()}{query[1:].rstrip('?')}?"
