"""Keeps a model's thinking apart from its answer when the server leaves both in one string.

Servers with a reasoning parser put the thinking in a field of its own. Without one it arrives as a leading `<think>`
block, or with only the closing tag when the chat template already opened the block in the prompt. Only a block at the
start counts: later in an answer the tag is content.
"""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


def split_reasoning(text: str) -> tuple[str, str | None]:
    """Split an answer into (text, reasoning).

    Returns:
        The answer without its leading thinking, and the thinking stripped of surrounding whitespace: None when there is
        none or it is empty. An opened block that never closes (the answer was cut off) makes the whole answer
        reasoning and the text empty. An answer without thinking comes back unchanged.
    """
    opened = text.lstrip().startswith(_OPEN)
    thinking, closed, answer = text.partition(_CLOSE)
    if opened:
        thinking = thinking.lstrip()[len(_OPEN) :]
    elif not closed or _OPEN in thinking:
        return text, None
    return answer.lstrip(), thinking.strip() or None
