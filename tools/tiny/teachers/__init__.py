"""Rule-based teachers of finemill-tiny: what its 6 M parameters are to learn, written by rules, not by a large model.

A model of this size can copy and rearrange, no more. So every answer consists of phrases of its document with short,
regular frames around them, in several layouts, and passes the checks that real models are held to. All functions are
deterministic given their `random.Random`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tools.tiny.teachers.faq import faq
from tools.tiny.teachers.frames import GENERIC
from tools.tiny.teachers.generated import documents
from tools.tiny.teachers.halves import split_halves
from tools.tiny.teachers.instantiate import fitting, instantiate
from tools.tiny.teachers.judging import judge_answer, spoil
from tools.tiny.teachers.made_queries import made_query, typed
from tools.tiny.teachers.relevance import judge_pair, spoil_pair
from tools.tiny.teachers.table import table
from tools.tiny.teachers.templatize import templatize
from tools.tiny.teachers.tutorial import tutorial
from tools.tiny.teachers.word_problem import math

TEACHERS: dict[str, Callable[[str, random.Random], str | None]] = {
    "faq": faq,
    "math": math,
    "table": table,
    "tutorial": tutorial,
}
"""Teachers by format: a document and dice give an answer, or None where the document does not suit."""

__all__ = [
    "GENERIC",
    "TEACHERS",
    "documents",
    "fitting",
    "instantiate",
    "judge_answer",
    "judge_pair",
    "made_query",
    "split_halves",
    "spoil",
    "spoil_pair",
    "templatize",
    "typed",
]
