"""OpenCompass's model behind an endpoint, with a key of its own and the temperature that a benchmark asks for.

OpenCompass copies its configuration, and any key in it, beside the results; and its own class knows one key only.
"""

from __future__ import annotations

import os
from typing import Any

from opencompass.models import OpenAISDK
from opencompass.openicl.icl_inferencer import ChatInferencer


class Served(OpenAISDK):
    """See `OpenAISDK`.

    Args:
        key_variable: environment variable that holds the key.
        own_temperature: what is sent, see `AsAsked`.
        options: of `OpenAISDK`.
    """

    def __init__(self, key_variable: str, own_temperature: float = 0.0, **options: Any) -> None:
        super().__init__(key=os.environ.get(key_variable) or "none", **options)
        self.own_temperature = own_temperature

    def _init_tokenizer(self) -> None:
        """Load none: it would fetch GPT-4's, whatever the model is, and fail where there is no network."""

    def get_token_len(self, prompt: str) -> int:
        """Roughly, and rather more."""
        return len(prompt) // 3

    def generate(self, inputs: Any, max_out_len: int = 512, temperature: float = 0.0) -> list[str]:
        self.temperature = self.own_temperature  # what the class sends, whatever it is asked for
        answers: list[str] = super().generate(inputs, max_out_len, self.own_temperature)
        return answers


class AsAsked(ChatInferencer):
    """OpenCompass's, which drops the temperature that MT-Bench has for each category.

    Args:
        model: a `Served`.
        temperature: of the questions.
        options: of `ChatInferencer`.
    """

    def __init__(self, model: Any, temperature: float = 0.0, **options: Any) -> None:
        super().__init__(model=model, temperature=temperature, **options)
        model.own_temperature = temperature
