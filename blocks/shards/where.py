"""Column filters: `--where "int_score >= 4"`.

One comparison per filter, several filters are joined by "and"; that is what people type at a command line, and anything
richer belongs into a datatrove filter in the pipeline. A row without the column, or with a null in it, does not match.
Values are not read as YAML, which would take the language code `no` for false and `2024-01-31` for something that no
text is equal to.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from blocks.shards.folder import RunError

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "in": lambda found, values: found in values,  # for pipelines; `parse_where` does not know it
}

_FILTER = re.compile(r"\s*(?P<column>[\w.\-]+)\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>[^=\s].*?)\s*$")


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
    """Parse `COLUMN OPERATOR VALUE`; the value is JSON (`4`, `0.5`, `true`, `"4"`) or plain text (`en`, `2024-01-31`).

    Raises:
        RunError: the filter cannot be read.
    """
    match = _FILTER.match(text)
    if match is None:
        raise RunError(f"cannot read --where {text!r}: write COLUMN OPERATOR VALUE with one of {' '.join(OPERATORS)}")
    try:
        value = orjson.loads(match["value"])
    except orjson.JSONDecodeError:
        value = match["value"]
        if len(value) > 1 and value[0] == value[-1] == "'":
            value = value[1:-1]
    if not isinstance(value, str | int | float):
        raise RunError(f"cannot read --where {text!r}: the value must be a number, true, false or text")
    return Where(match["column"], match["operator"], value)
