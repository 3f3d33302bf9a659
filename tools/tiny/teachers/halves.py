"""Cuts a text in two at a sentence near its middle: the task of the completion model (arXiv 2409.00096)."""

from __future__ import annotations

import random
import re

_SENTENCE_END = re.compile(
    r"(?<=[a-z0-9)\"”’][.!?])(?<!Mr\.|Dr\.|St\.)\s{1,9}(?=[\"“A-Z])|(?<=[a-z][.!?][\"”])\s{1,9}(?=[A-Z])|\n{1,9}"
)


def split_halves(text: str, dice: random.Random) -> tuple[str, str] | None:
    """The first part and its continuation, without the blanks between; None for a text without a sentence's end there.

    The cut is drawn among the ends between 35 % and 65 % of the characters.
    """
    text = text.strip()
    low, high = 0.35 * len(text), 0.65 * len(text)
    cuts = [match for match in _SENTENCE_END.finditer(text) if low <= match.start() <= high]
    # A line may be a title, or broken anywhere.
    cuts = [match for match in cuts if text[: match.start()].rstrip("\"'”’)").endswith((".", "!", "?"))] or cuts
    if not cuts:
        return None
    cut = dice.choice(cuts)
    return text[: cut.start()], text[cut.end() :]
