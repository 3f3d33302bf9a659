"""`Prompted`: a step that asks with one prompt; a subclass says about what, and what becomes of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from blocks.generate.answer import Answer
from blocks.generate.budget import document_room
from blocks.generate.endpoint import Endpoint
from blocks.generate.generate import Generate
from blocks.generate.prompts import Prompt
from blocks.generate.tokenizer import TokenCounter

PROVENANCE = [
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("prompt_hash", pa.string(), nullable=False),
    pa.field("model", pa.string(), nullable=False),
    pa.field("model_revision", pa.string()),
    # Sampling as it was sent; null was left to the model's generation config.
    pa.field("temperature", pa.float64()),
    pa.field("top_p", pa.float64()),
    pa.field("top_k", pa.int32()),
    pa.field("max_tokens", pa.int32()),
    pa.field("seed", pa.int64()),
    pa.field("prompt_tokens", pa.int32()),
    pa.field("completion_tokens", pa.int32()),
    pa.field("finish_reason", pa.string()),
]
"""Columns of how a row was asked for, see `Prompted.provenance`."""


class Prompted(Generate):
    """Ask with one prompt.

    Args:
        prompt: what is put around the thing that is asked about.
        endpoint: where the model answers.
        tokenizer: the model's.
        context: the model's context in tokens, prompt and answer together.
        max_tokens: longest answer in tokens; None takes the prompt's own.
        sampling: `temperature`, `top_p` and `top_k` as far as they shall be sent.
        extra_body: further fields of every request.
        model_revision: recorded with every row.
        generate: further arguments of `Generate`.
    """

    def __init__(
        self,
        prompt: Prompt,
        endpoint: Endpoint,
        tokenizer: TokenCounter,
        context: int = 8192,
        max_tokens: int | None = None,
        sampling: Mapping[str, float | int | None] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        model_revision: str | None = None,
        **generate: Any,
    ) -> None:
        self.sampling = {name: value for name, value in (sampling or {}).items() if value is not None}
        self.extra_body = dict(extra_body or {})
        self.max_tokens = max_tokens or prompt.max_tokens or 1024
        parameters = {**self.sampling, **self.extra_body, "max_tokens": self.max_tokens}
        thinks = tokenizer.opens_thinking(self.extra_body.get("chat_template_kwargs"))
        super().__init__(endpoint, parameters, opens_thinking=thinks, **generate)
        self.prompt, self.tokenizer, self.context = prompt, tokenizer, context
        self.model_revision = model_revision

    @cached_property
    def room(self) -> int:
        """Tokens that what is put into the prompt may have.

        Raises:
            ValueError: there is hardly any.
        """
        options = self.extra_body.get("chat_template_kwargs")
        return document_room(
            self.prompt, "instruction-first", self.tokenizer, self.context, self.max_tokens, template_options=options
        )

    def request(self, content: str) -> dict[str, Any]:
        """The request body (without `model` and sampling)."""
        return {"messages": [{"role": "user", "content": self.prompt.render(content)}]}

    def preview(self, content: str) -> dict[str, Any]:
        """The request body as it would be sent (but for a seed)."""
        return {"model": self.endpoint.model, **self.parameters, **self.request(content)}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """How it is asked, beside the prompt and the model."""
        return {**self.sampling, "seed": self.seed, "max_tokens": self.max_tokens, "extra_body": self.extra_body}

    def describe(self) -> str:
        """What shapes the rows, as one line."""
        return f"{self.prompt.title} {self.prompt.hash}, {self.max_tokens} tokens"

    def provenance(self, answer: Answer) -> dict[str, Any]:
        """How a row was asked for: the columns of `PROVENANCE`."""
        return {
            "prompt": self.prompt.title,
            "prompt_hash": self.prompt.hash,
            "model": self.endpoint.model.removesuffix(f"@{self.model_revision}"),
            "model_revision": self.model_revision,
            **self.sampling,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "finish_reason": answer.finish_reason,
        }
