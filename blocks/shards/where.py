"""Column filters: `--where "int_score >= 4"`.

One comparison per filter, several filters are joined by "and"; that is what people type at a command line, and anything
richer belongs into a datatrove filter in the pipeline. A row without the column, or with a null in it, does not match.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from blocks.shards.folder import RunError

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}

_FILTER = re.compile(r"\s*(?P<column>[\w.\-]+)\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+?)\s*$")


@dataclass(frozen=True)
class Where:
    """One parsed filter; calling it with a row tells whether the row stays."""

    column: str
    operator: str
    value: Any

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """Whether `row` matches; values of another type than the filter's do not."""
        found = row.get(self.column)
        if found is None:
            return False
        try:
            return OPERATORS[self.operator](found, self.value)
        except TypeError:
            return False


def parse_where(text: str) -> Where:
    """Parse `COLUMN OPERATOR VALUE`; the value is a YAML scalar (`4`, `0.5`, `en`, `true`, `"4"`).

    Raises:
        RunError: the filter cannot be read.
    """
    match = _FILTER.match(text)
    if match is None:
        raise RunError(f"cannot read --where {text!r}: write COLUMN OPERATOR VALUE with one of {' '.join(OPERATORS)}")
    try:
        value = yaml.safe_load(match["value"])
    except yaml.YAMLError as error:
        raise RunError(f"cannot read the value of --where {text!r}: {error}") from error
    return Where(match["column"], match["operator"], value)
