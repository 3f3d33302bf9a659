"""Keeps a model's thinking apart from its answer when the server leaves both in one string.

Servers with a reasoning parser put the thinking in a field of its own. Without one it arrives as a leading `<think>`
block, or with only the closing tag when the chat template already opened the block in the prompt; if it was cut off
then, without any tag. Only a block at the start counts: later in an answer the tag is content.
"""

from __future__ import annotations

OPEN, _CLOSE = "<think>", "</think>"


def split_reasoning(text: str, thinking: bool = False) -> tuple[str, str | None]:
    """Split an answer into (text, reasoning).

    Args:
        text: the answer.
        thinking: whether it begins inside of a block, and so is nothing else where none is closed.

    Returns:
        The answer without its leading thinking, and the thinking stripped of surrounding whitespace: None when there is
        none or it is empty. An opened block that never closes (the answer was cut off) makes the whole answer
        reasoning and the text empty. An answer without thinking comes back unchanged.
    """
    opened = text.lstrip().startswith(OPEN)
    thought, closed, answer = text.partition(_CLOSE)
    if opened:
        thought = thought.lstrip()[len(OPEN) :]
    elif not thinking and (not closed or OPEN in thought):
        return text, None
    return answer.lstrip(), thought.strip() or None
