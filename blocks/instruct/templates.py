"""Instruction templates: queries in which what is special was replaced by a description of what goes there.

    What are the symptoms of <fi>name of a disease</fi> in <fi>group of patients</fi>?

The form is FineInstructions' (arXiv 2601.22146). What a template has to fulfil is ours: the paper does not
say what was rejected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import orjson

from blocks.filters.words import bare_words
from blocks.generate.errors import Rejected

_TAG = re.compile(r"<(/?)fi>")
_WORD = re.compile(r"\w+")

MIN_RESEMBLANCE = 0.8
"""Share of a template's own words, in their order, that an instruction made of it must have. Ours."""


@dataclass(frozen=True)
class Template:
    """A template whose tags are sound.

    Attributes:
        text: with its tags.
        literals: what stands outside of them, one more than there are variables; some may be empty.
        variables: the descriptions inside, in order.
    """

    text: str
    literals: tuple[str, ...]
    variables: tuple[str, ...]

    @property
    def complexity(self) -> int:
        """The number of variables, by which the paper samples templates."""
        return len(self.variables)

    @cached_property
    def words(self) -> list[str]:
        """Its own words, without those of the variables, and `a` for `an`: what is filled in decides which it is."""
        return _comparable(" ".join(self.literals))

    def resemblance(self, instruction: str) -> float:
        """How much of the template an instruction has: the share of its own words found in order, 0 to 1.

        A template without words of its own resembles everything.
        """
        if not self.words:
            return 1.0
        return _in_order(self.words, _comparable(instruction)) / len(self.words)


def parse_template(text: str) -> Template:
    """Read a template.

    Raises:
        Rejected: `template_unbalanced` (a tag that is not closed, or in another), `template_empty_variable`,
            `template_no_variable`, or `template_only_variables` (nothing says what is asked).
    """
    literals: list[str] = []
    variables: list[str] = []
    position, inside = 0, False
    for tag in _TAG.finditer(text):
        if bool(tag[1]) != inside:
            raise Rejected("template_unbalanced", text)
        (variables if inside else literals).append(text[position : tag.start()])
        position, inside = tag.end(), not inside
    if inside:
        raise Rejected("template_unbalanced", text)
    literals.append(text[position:])
    if not variables:
        raise Rejected("template_no_variable", text)
    if not all(_WORD.search(variable) for variable in variables):
        raise Rejected("template_empty_variable", text)
    if not any(_WORD.search(literal) for literal in literals):
        raise Rejected("template_only_variables", text)
    return Template(text, tuple(literals), tuple(variables))


@dataclass(frozen=True)
class Templatized:
    """What a model made of a query.

    Attributes:
        template: the template.
        description: of documents that could fill it and hold the answer.
    """

    template: Template
    description: str


def parse_templatized(query: str, answer: str) -> Templatized:
    """Read a model's answer to a query: a JSON object with `template` and `compatible_document_description`.

    Args:
        query: what was to be made general.
        answer: the model's text; a fence of code around the object is taken off.

    Raises:
        Rejected: `templatizer_json`, `templatizer_keys`, `templatizer_no_description`, `template_lost_text` (the
            template's own words are not those of the query), or a reason of `parse_template`.
    """
    told = read_object(answer, "templatizer_json")
    text, description = told.get("template"), told.get("compatible_document_description")
    if not isinstance(text, str) or not isinstance(description, str):
        raise Rejected("templatizer_keys", ", ".join(sorted(told)))
    if not _WORD.search(description):
        raise Rejected("templatizer_no_description", text)
    template = parse_template(text.strip())
    # What is left of the query must be the query's: nothing is put into somebody's mouth.
    rest = iter(_comparable(query))
    if not all(word in rest for word in template.words):
        raise Rejected("template_lost_text", text)
    return Templatized(template, " ".join(description.split()))


def read_object(text: str, reason: str) -> dict[str, object]:
    """The JSON object that a model answered with, perhaps in a fence of code.

    Raises:
        Rejected: with that reason; it is none.
    """
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", text, re.DOTALL)
    try:
        found = orjson.loads(fenced[1] if fenced else text)
    except orjson.JSONDecodeError as error:
        raise Rejected(reason, str(error)) from error
    if not isinstance(found, dict):
        raise Rejected(reason, f"a JSON {type(found).__name__}, no object")
    return found


def _comparable(text: str) -> list[str]:
    return ["a" if word == "an" else word for word in bare_words(text)]


def _in_order(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence (`difflib` looks for long runs, and misses words beside them)."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, 1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return row[-1]
