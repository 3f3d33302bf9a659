"""Which formats suit a document: the `route:` of a prompt, judged by the document's features.

FinePhrase sends every document to every prompt, and 23 % of its math samples hold no digit (SmolLM2; arXiv 2604.13977,
template collapse). A rule is a list of conditions that must all hold, in the syntax of `--where`; one condition may
offer alternatives:

    route:
      - quantities >= 2
      - narrating < 8 or procedural >= 1

To ask in vain costs one answer, to spare a document wrongly costs a sample, so rules are meant to be generous: a
condition on a feature that cannot be judged in the document's language holds, and a prompt without rules suits every
document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

from blocks.generate.prompts import Prompt
from blocks.rephrase.features import VERSION, Features, features
from blocks.shards.folder import RunError
from blocks.shards.where import OPERATORS, Where, parse_where

_OPPOSITES = {"==": "!=", "!=": "==", "<=": ">", ">": "<=", ">=": "<", "<": ">="}


class Condition(NamedTuple):
    """Comparisons of which one must hold.

    Args:
        alternatives: each compares a feature.
        written: how it stands in the prompt.
    """

    alternatives: tuple[Where, ...]
    written: str

    def holds(self, found: Features) -> bool:
        """Whether one of the comparisons holds, or one of the features cannot be judged."""
        return any(_holds(where, getattr(found, where.column)) for where in self.alternatives)

    @property
    def failure(self) -> str:
        """What is the case when it does not hold, as a reason: `quantities < 2`."""
        return " and ".join(f"{where.column} {_OPPOSITES[where.operator]} {where.value}" for where in self.alternatives)


Route = tuple[Condition, ...]
"""What a format asks of a document: all conditions must hold; none for a format that suits every document."""


class Suited(TypedDict):
    """How many documents suit a format, and how many do not, by reason."""

    suits: int
    spared: dict[str, int]


def _holds(where: Where, value: object) -> bool:
    # None and "" say that a feature cannot be judged. (`Where` lets a row without a value fail.)
    return value is None or value == "" or bool(OPERATORS[where.operator](value, where.value))


def parse_routes(prompts: Iterable[Prompt]) -> dict[str, Route]:
    """The rules of each format, from `route` in its prompt's front matter.

    Raises:
        ValueError: a rule that cannot be read; the message names the prompt, the key and what there is.
    """
    routes: dict[str, Route] = {}
    for prompt in prompts:
        if prompt.name not in routes:  # further wordings of a prompt share its front matter
            try:
                routes[prompt.name] = _parse(prompt.extra.get("route"))
            except ValueError as error:
                raise ValueError(f"`route` of prompt {prompt.name!r}: {error}") from error
    return routes


def _parse(written: Any) -> Route:
    if written is None:
        return ()
    lines = [written] if isinstance(written, str) else written
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError(f"write a list of conditions such as 'quantities >= 2', not {written!r}")
    return tuple(Condition(tuple(map(_comparison, line.split(" or "))), line.strip()) for line in lines)


def _comparison(written: str) -> Where:
    try:
        where = parse_where(written)
    except RunError as error:
        raise ValueError(
            f"cannot read {written!r}: write FEATURE OPERATOR VALUE with one of {' '.join(OPERATORS)}, "
            "and ` or ` between alternatives"
        ) from error
    if where.column not in Features._fields:
        raise ValueError(f"there is no feature {where.column!r}; there are {', '.join(Features._fields)}")
    if where.column == "language":
        if not isinstance(where.value, str) or where.operator not in ("==", "!="):
            raise ValueError(f"{written.strip()!r}: compare `language` with a code, by == or !=")
    elif isinstance(where.value, bool | str):
        raise ValueError(f"{written.strip()!r}: compare `{where.column}` with a number")
    return where


def suits(found: Features, routes: Mapping[str, Route]) -> dict[str, str | None]:
    """For each format None if the document suits it, otherwise which condition failed first: `quantities < 2`."""
    return {
        name: next((condition.failure for condition in route if not condition.holds(found)), None)
        for name, route in routes.items()
    }


def describe(route: Route) -> str:
    """A rule as it stands in a run's fingerprint, with the version of the features."""
    return f"features {VERSION}: {', '.join(condition.written for condition in route)}" if route else "every document"


def routing_report(texts: Iterable[str], routes: Mapping[str, Route]) -> dict[str, Suited]:
    """How many of the texts suit each format, and why the others do not, the most frequent reason first."""
    counted: dict[str, Counter[str | None]] = {name: Counter() for name in routes}
    for text in texts:
        for name, reason in suits(features(text), routes).items():
            counted[name][reason] += 1
    return {
        name: {"suits": counts[None], "spared": {reason: n for reason, n in counts.most_common() if reason is not None}}
        for name, counts in counted.items()
    }
