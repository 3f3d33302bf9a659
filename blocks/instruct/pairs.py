"""Pairs of an instruction and its answer, as a model makes them of a template and a document.

    {"instruction": "what are the symptoms of measles?", "answer": "They are <excerpt>high fever<...>a rash</excerpt>."}

or `null` where the document does not fit (FineInstructions, arXiv 2601.22146). The keys that the released
model answers with are not published; those of its data set are understood as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from blocks.generate.errors import Rejected
from blocks.instruct.excerpts import Expanded, Source
from blocks.instruct.templates import MIN_RESEMBLANCE, Template, read_object

KEYS = {"instruction": ("instruction", "instantiated_instruction"), "answer": ("answer",)}
"""What each field may be called."""

MIN_GROUNDED = 0.8
"""Share of an answer that has to be the document's own, as in the paper; of its characters, which is our reading."""

_LEFT_OVER = re.compile(r"</?(?:excerpt|fi)\b[^>]*>|<\s*(?:\.\s?){3}>", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """An instruction and its answer, with excerpts expanded.

    Attributes:
        instruction: what is asked.
        answer: what is answered.
        resemblance: of the instruction to its template, 0 to 1, see `Template.resemblance`.
    """

    instruction: Expanded
    answer: Expanded
    resemblance: float

    @property
    def grounded(self) -> float:
        """Share of the answer's characters that were copied, 0 to 1."""
        return self.answer.grounded

    @property
    def position(self) -> float | None:
        """Where in the document, by its characters, the middle of what the answer copies lies."""
        copied = self.answer.copied
        total = sum(one.end - one.start for one in copied)
        if not total:
            return None
        middles = ((one.source_start + one.source_end) / 2 * (one.end - one.start) for one in copied)
        return sum(middles) / total

    @property
    def text(self) -> str:
        """What a model is trained on, with the words of the paper."""
        return f"Instruction: {self.instruction.text}\n\nAnswer: {self.answer.text}"


def parse_pair(template: Template, source: Source, answer: str) -> Pair | None:
    """Read what a model made of a template and a document.

    Thresholds are not applied here, so that they can be changed later: see `MIN_GROUNDED` and `MIN_RESEMBLANCE`.

    Args:
        template: the template.
        source: the document.
        answer: the model's text; a fence of code around it is taken off.

    Returns:
        None where the model says that they do not fit.

    Raises:
        Rejected: `pair_json`, `pair_keys`, `pair_empty`, `pair_left_over_tags`, `pair_same` (the answer is the
            instruction), or a reason of `Source.expand`.
    """
    if answer.strip().strip("`").removeprefix("json").strip() == "null":
        return None
    told = read_object(answer, "pair_json")
    fields = {}
    for name, keys in KEYS.items():
        found = [told[key] for key in keys if key in told]
        if len(found) != 1 or not isinstance(found[0], str):
            raise Rejected("pair_keys", orjson.dumps(sorted(told)).decode())
        if not found[0].strip():
            raise Rejected("pair_empty", name)
        fields[name] = source.expand(found[0].strip())
    for name, field in fields.items():
        if left := _LEFT_OVER.search(field.text):
            raise Rejected("pair_left_over_tags", f"{name}: {left[0]}")
    instruction, reply = fields["instruction"], fields["answer"]
    if instruction.text.split() == reply.text.split():
        raise Rejected("pair_same", instruction.text)
    return Pair(instruction, reply, template.resemblance(instruction.text))


def is_sound(pair: Pair, min_grounded: float = MIN_GROUNDED, min_resemblance: float = MIN_RESEMBLANCE) -> bool:
    """Whether enough of the answer is the document's, and enough of the instruction its template's."""
    return pair.grounded >= min_grounded and pair.resemblance >= min_resemblance
