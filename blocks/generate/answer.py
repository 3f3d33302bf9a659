"""What a server says, read with suspicion: whoever wrote the server, what is kept must fit a shard's columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from blocks.generate.reasoning import split_reasoning


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Args:
        text: the answer, without reasoning.
        finish_reason: as the server put it (`stop`, `length`, …), None if it did not say.
        usage: token counts, as the server put them.
        reasoning: what the model thought before, from a field of its own or a leading `<think>` block.
    """

    text: str
    finish_reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    reasoning: str | None = None

    @cached_property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt, if the server counted."""
        return _count(self.usage, "prompt_tokens")

    @cached_property
    def completion_tokens(self) -> int | None:
        """Tokens of the answer, reasoning included, if the server counted."""
        return _count(self.usage, "completion_tokens")


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    number = usage.get(name)
    return number if isinstance(number, int) else None


def parse_answer(content: bytes, opens_thinking: bool = False) -> Answer:
    """Read a chat completion, a completion, or what a moderation endpoint says: the categories it flags, or nothing.

    Args:
        content: the body.
        opens_thinking: whether the chat template has opened a `<think>` block at the end of the prompt.

    Raises:
        ValueError, KeyError, IndexError, TypeError, AttributeError: it is not one.
    """
    body = orjson.loads(content)
    if "choices" not in body and body.get("results"):
        [result] = body["results"]
        flagged = [name for name, found in result.get("categories", {}).items() if found]
        return Answer((", ".join(sorted(flagged)) or "flagged") if result["flagged"] else "")
    choice = body["choices"][0]
    usage, finish_reason = body.get("usage"), choice.get("finish_reason")
    if "message" in choice:
        message = choice["message"]
        text = message.get("content") or ""
        separate = message.get("reasoning_content") or message.get("reasoning")
    else:
        text, separate = choice["text"], None
    if not isinstance(text, str):
        raise ValueError("the answer's content is no text")
    # A whole answer without a tag is one: the server has kept the thinking to itself. One that was cut off is not.
    thinking = opens_thinking and "message" in choice and finish_reason == "length" and not isinstance(separate, str)
    text, inline = split_reasoning(text, thinking)
    return Answer(
        text,
        finish_reason if isinstance(finish_reason, str) else None,
        usage if isinstance(usage, dict) else {},
        separate if isinstance(separate, str) and separate else inline,
    )


def error_message(content: bytes) -> str:
    """The message in an error body, as servers word it; at most 500 characters, on one line."""
    try:
        body = orjson.loads(content)
        error = body.get("error", body)
        said = error if isinstance(error, str) else error.get("message") or error.get("detail") or body
    except (ValueError, AttributeError):
        said = content.decode(errors="replace")
    return " ".join(str(said).split())[:500] or "no message"


def error_code(content: bytes) -> int | None:
    """The HTTP status that an error body names, as gateways send it when the status line had gone out as 200."""
    try:
        code = orjson.loads(content)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if isinstance(code, int) and 400 <= code < 600 else None
