"""Rubrics: Markdown files in `prompts/judge/` that say what a judge looks at and what each score means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash

from blocks.generate.prompts import NAME, PROMPTS, split_front_matter

RUBRICS = PROMPTS / "judge"

_TAG = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Rubric:
    """What to judge, and on which scale.

    Args:
        name: short name, usable in file names and as the name of a check.
        criteria: the question that the judge answers.
        scores: what each score means; whole numbers in a row from 0 or 1, such as 0–1, 1–3 or 1–5.
        inputs: what the judge sees beside the output: the name in the prompt and the sample's column. May be empty.
        output: the same for what is judged; exactly one.
        keep: the lowest score worth keeping.
        description: one line for humans.
        source: where the rubric comes from, for humans.

    Raises:
        ValueError: something of it cannot be used; the message says what.
    """

    name: str
    criteria: str
    scores: Mapping[int, str]
    inputs: Mapping[str, str]
    output: Mapping[str, str]
    keep: int
    description: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"the name {self.name!r} must consist of a-z, 0-9, '-' and '_'")
        if not self.criteria:
            raise ValueError("it has no text: ask what the judge shall decide")
        levels = sorted(self.scores)
        if len(levels) < 2 or levels[0] not in (0, 1) or levels != list(range(levels[0], levels[0] + len(levels))):
            raise ValueError(f"`scores` must be whole numbers in a row from 0 or 1, not {levels}")
        if self.keep not in self.scores:
            raise ValueError(f"`keep: {self.keep}` is none of its scores {levels}")
        if len(self.output) != 1:
            raise ValueError("`output` must be one `name: column` line")
        tags = [*self.inputs, *self.output]
        if bad := [tag for tag in tags if not _TAG.fullmatch(tag)]:
            raise ValueError(f"names of inputs and output must consist of a-z, 0-9 and '_', not {bad[0]!r}")
        if len(set(tags)) < len(tags):
            raise ValueError("the output has the name of an input")

    @property
    def columns(self) -> list[str]:
        """The columns that a sample must have."""
        return [*self.inputs.values(), *self.output.values()]

    @property
    def hash(self) -> str:
        """xxh3-64 of everything that the judge sees of the rubric, 16 hex digits."""
        seen = [self.criteria, sorted(self.scores.items()), [*self.inputs.items()], [*self.output.items()]]
        return xxhash.xxh3_64_hexdigest(orjson.dumps(seen))


def load_rubric(name_or_path: str) -> Rubric:
    """Load a rubric of this repository by its bare name (`faithfulness`), or any file by its path (`./mine.md`).

    Raises:
        FileNotFoundError: no such rubric; the message lists the ones there are.
        ValueError: the file is not a usable rubric; the message says why.
    """
    path = RUBRICS / f"{name_or_path}.md" if NAME.fullmatch(name_or_path) else Path(name_or_path).expanduser()
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in RUBRICS.glob("*.md")))
        raise FileNotFoundError(f"there is no rubric {name_or_path!r}; by name there are {there}, or give a path")
    try:
        front, criteria = split_front_matter(path.read_text(encoding="utf-8-sig"))
        return _build(path.stem, front, criteria.strip())
    except ValueError as error:  # includes UnicodeDecodeError
        raise ValueError(f"the rubric {path}: {error}") from error


def _build(stem: str, front: dict[str, Any], criteria: str) -> Rubric:
    known = ("name", "description", "source", "inputs", "output", "scores", "keep")
    if unknown := [key for key in front if key not in known]:
        raise ValueError(f"unknown key {unknown[0]!r} in the front matter; there are {', '.join(known)}")
    scores = front.get("scores")
    if not isinstance(scores, dict) or not all(type(level) is int and type(scores[level]) is str for level in scores):
        raise ValueError("`scores` must be `number: what it means` lines")
    if type(front.get("keep")) is not int:
        raise ValueError("`keep` must be the lowest score worth keeping")
    columns = {key: front.get(key) or {} for key in ("inputs", "output")}
    for key, mapping in columns.items():
        if not isinstance(mapping, dict) or not all(type(name) is str for pair in mapping.items() for name in pair):
            raise ValueError(f"`{key}` must be `name in the prompt: column` lines")
    return Rubric(
        name=str(front.get("name", stem)),
        criteria=criteria,
        scores={level: meaning.strip() for level, meaning in sorted(scores.items())},
        inputs=columns["inputs"],
        output=columns["output"],
        keep=front["keep"],
        description=str(front.get("description", "")),
        source=str(front.get("source", "")),
    )
