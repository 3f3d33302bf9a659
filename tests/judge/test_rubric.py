"""Rubric files: those of the repository, and what a user may get wrong in one."""

from __future__ import annotations

import re

import pytest

from blocks.instruct.instantiate import PAIR_SCHEMA
from blocks.instruct.templatize import TEMPLATE_SCHEMA
from blocks.judge.rubric import RUBRICS, load_rubric
from blocks.rephrase.schema import REPHRASED_SCHEMA
from blocks.shards.chunk import SOURCE

MINE = """---
inputs: {question: instruction}
output: {response: answer}
keep: 1
scores:
  0: No.
  1: |
    Yes, and well.
---
Does the response answer the question?
"""


def write(tmp_path, text):
    path = tmp_path / "mine.md"
    path.write_text(text)
    return str(path)


def test_the_rubrics_of_the_repository():
    rubrics = [load_rubric(path.stem) for path in sorted(RUBRICS.glob("*.md"))]
    names = ["faithfulness", "format", "generic", "instructional", "relevance", "usefulness"]
    assert [rubric.name for rubric in rubrics] == names
    for rubric in rubrics:
        assert rubric.description and rubric.source
        judged = ({*REPHRASED_SCHEMA.names, SOURCE}, {*PAIR_SCHEMA.names}, {*TEMPLATE_SCHEMA.names})
        assert any(set(rubric.columns) <= columns for columns in judged)
    assert len({rubric.hash for rubric in rubrics}) == len(rubrics)


def test_a_rubric_of_ones_own(tmp_path):
    rubric = load_rubric(write(tmp_path, MINE))
    assert (rubric.name, rubric.keep, rubric.columns) == ("mine", 1, ["instruction", "answer"])
    assert rubric.scores == {0: "No.", 1: "Yes, and well."}
    other = load_rubric(write(tmp_path, MINE.replace("and well", "and very well")))
    assert other.hash != rubric.hash
    assert load_rubric(write(tmp_path, MINE.replace("keep: 1", "keep: 0"))).hash == rubric.hash


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  0: No.\n", "", "whole numbers in a row"),
        ("  0: No.", "  5: No.", "whole numbers in a row"),
        ("  0: No.", "  a: No.", "`scores` must be"),
        ("keep: 1", "keep: 2", "`keep: 2` is none of its scores"),
        ("keep: 1\n", "", "`keep` must be"),
        ("output: {response: answer}\n", "", "`output` must be one"),
        ("{response: answer}", "[answer]", "`output` must be"),
        ("response: answer", "question: answer", "name of an input"),
        ("question: instruction", "The question: instruction", "must consist of"),
        ("keep: 1", "keeps: 1", "unknown key 'keeps'"),
        ("Does the response answer the question?", "", "it has no text"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, old, new, message):
    assert old in MINE
    path = write(tmp_path, MINE.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        load_rubric(path)
    assert path in str(error.value)


def test_an_unknown_name_lists_those_there_are():
    known = "'truth'; by name there are faithfulness, format, generic, instructional, relevance, usefulness"
    with pytest.raises(FileNotFoundError, match=known):
        load_rubric("truth")


def test_the_example_of_the_documentation(tmp_path):
    (example,) = re.findall(r"```markdown\n(---\ninputs:.*?)```", (RUBRICS.parent / "README.md").read_text(), re.DOTALL)
    rubric = load_rubric(write(tmp_path, example))
    assert rubric.columns == ["instruction", "text"] and list(rubric.scores) == [1, 2, 3, 4, 5]
