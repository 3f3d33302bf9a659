"""How good a student is, held against its teacher on the same input: computed from two runs, without a model.

Both have run the same stage of `pipelines/fineinstructions.py` on input that the student has not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from blocks.distill.silver import NOT_COMPATIBLE
from blocks.instruct.instantiate import PAIRS
from blocks.instruct.pairs import MIN_GROUNDED
from blocks.instruct.templatize import TEMPLATES
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.tables import read_tables

UNBALANCED = "template_unbalanced"
"""Why the stage `templates` rejects a template whose tags do not balance."""


def compare_templates(teacher: RunFolder, student: RunFolder) -> dict[str, Any]:
    """Validity of a student's templates.

    Returns:
        `asked` (queries that the student has answered), `valid` (share), `balanced` (share whose tags balance),
        `rejected` (by reason); and of the queries of which both have made a valid template, `both`, the share with as
        many variables (`same_complexity`) and with the very template (`same_template`).

    Raises:
        RunError: they have no query in common.
    """
    columns = ["id", "template", "complexity"]
    theirs = {row["id"]: row for row in _rows(teacher, columns)}
    ours = {row["id"]: row for row in _rows(student, columns)}
    refused = _rows(student, ["format", "reason"], "rejected")
    rejected = Counter(row["reason"] for row in refused if row["format"] == TEMPLATES)
    asked = len(ours) + rejected.total()
    both = [(ours[name], row) for name, row in theirs.items() if name in ours]
    # Of what the student has made, the teacher may have made nothing valid.
    known = theirs.keys() | {row["id"] for row in _rows(teacher, ["id"], "rejected")}
    if ours and known.isdisjoint(ours):
        raise RunError("the two runs have no query in common: give both the same input")
    if not asked:
        raise RunError("the student has answered nothing")
    return {
        "asked": asked,
        "valid": len(ours) / asked,
        "balanced": 1 - rejected[UNBALANCED] / asked,
        "rejected": dict(rejected.most_common()),
        "both": len(both),
        "same_complexity": _mean(mine["complexity"] == other["complexity"] for mine, other in both),
        "same_template": _mean(mine["template"] == other["template"] for mine, other in both),
    }


def compare_pairs(teacher: RunFolder, student: RunFolder) -> dict[str, Any]:
    """Whether a student sees what does not fit, and copies its answers.

    Returns:
        `asked` (documents with a template that both were asked about), `valid` (share of the student's answers that are
        a pair or `null`), `rejected` (the others, by reason), `null` with `precision` and `recall` (what the teacher
        calls `null` is right), and of the student's pairs the mean `grounding`, the share that reaches the paper's
        0.80 (`grounded`) and the mean `resemblance`.

    Raises:
        RunError: they have nothing in common.
    """
    theirs, ours = _verdicts(teacher), _verdicts(student)
    common = theirs.keys() & ours.keys()
    if not common:
        raise RunError("the two runs were not asked about the same documents and templates")
    said = {name: ours[name] for name in common}
    nulls = {name for name in common if said[name] == NOT_COMPATIBLE}
    right = {name for name in common if theirs[name] == NOT_COMPATIBLE}
    grounding, resemblance = [], []
    for row in _rows(student, ["id", "grounding", "resemblance"]):
        if row["id"] in common:
            grounding.append(row["grounding"])
            resemblance.append(row["resemblance"])
    return {
        "asked": len(common),
        "valid": (len(grounding) + len(nulls)) / len(common),
        "rejected": dict(Counter(one for one in said.values() if one not in ("", NOT_COMPATIBLE)).most_common()),
        "null": {
            "said": len(nulls),
            "right": len(right),
            "precision": len(nulls & right) / len(nulls) if nulls else None,
            "recall": len(nulls & right) / len(right) if right else None,
        },
        "grounding": float(np.mean(grounding)) if grounding else None,
        "grounded": _mean(one >= MIN_GROUNDED for one in grounding),
        "resemblance": float(np.mean(resemblance)) if resemblance else None,
    }


def _verdicts(folder: RunFolder) -> dict[str, str]:
    """For each pair that was asked for: empty if there is one, else why not. Failures are left out."""
    told = {row["id"]: "" for row in _rows(folder, ["id"])}
    for row in _rows(folder, ["id", "format", "kind", "reason"], "rejected"):
        if row["kind"] == "rejected" and row["format"] == PAIRS:
            told[row["id"]] = row["reason"]
    return told


def _rows(folder: RunFolder, columns: list[str], kind: str = "shards") -> Iterator[dict[str, Any]]:
    for table in read_tables(folder, columns, kind):
        yield from table.to_pylist()


def _mean(values: Any) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
