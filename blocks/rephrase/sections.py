"""Answers of several parts: what of them becomes the text of a sample, by the prompt's front matter.

    tags: {reasoning: analysis, text: rewrite}   # <analysis>…</analysis><rewrite>…</rewrite>
    joined: after_document                       # the sample is the document, a blank line and the answer

The published REWIRE prompt leaves a model's deliberations in the training data; here they go to a column of their own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from blocks.generate.prompts import Prompt

_TAG = re.compile(r"[a-z][a-z0-9_-]*")


class Sections(NamedTuple):
    """How an answer is taken apart and put together.

    Args:
        text: tag of the part that is the text; empty when the whole answer is.
        reasoning: tag of the part that goes into the `reasoning` column; empty for none.
        after_document: whether the sample's text is the document, a blank line and the answer.
    """

    text: str = ""
    reasoning: str = ""
    after_document: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return self != Sections()


def parse_sections(prompt: Prompt) -> Sections:
    """What a prompt's front matter says about the parts of an answer.

    Raises:
        ValueError: it says something that means nothing.
    """
    tags, joined = prompt.extra.get("tags", {}), prompt.extra.get("joined")
    sound = isinstance(tags, dict) and set(tags) <= {"text", "reasoning"} and ("text" in tags or not tags)
    if not sound or not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags.values()):
        raise ValueError(f"prompt {prompt.name!r}: `tags` must be {{text: TAG}} or {{reasoning: TAG, text: TAG}}")
    if joined not in (None, "after_document"):
        raise ValueError(f"prompt {prompt.name!r}: `joined` can only be after_document, not {joined!r}")
    return Sections(tags.get("text", ""), tags.get("reasoning", ""), joined is not None)


def text_of(answer: str, sections: Sections) -> str | None:
    """The part of an answer that is the text; None when its tag is missing. Deliberations may name that tag, too."""
    if sections.reasoning:
        _, closed, behind = answer.partition(f"</{sections.reasoning}>")
        if closed and (found := section(behind, sections.text)) is not None:
            return found
    return section(answer, sections.text)


def section(answer: str, tag: str) -> str | None:
    """What stands between `<tag>` and the last `</tag>`, or the end when it is not closed; None without the tag."""
    _, opened, rest = answer.partition(f"<{tag}>")
    if not opened:
        return None
    inside, closed, _ = rest.rpartition(f"</{tag}>")
    return (inside if closed else rest).strip()
