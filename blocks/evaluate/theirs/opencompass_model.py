"""OpenCompass's model behind an endpoint, with a key of its own and the temperature that a benchmark asks for.

OpenCompass copies its configuration, and any key in it, beside the results; and its own class knows one key only.
"""

from __future__ import annotations

import os
from typing import Any

from opencompass.models import OpenAISDK


class Served(OpenAISDK):
    """See `OpenAISDK`.

    Args:
        key_variable: environment variable that holds the key.
        own_temperature: send this one always; None sends what the benchmark asks for (MT-Bench has one per category).
        options: of `OpenAISDK`.
    """

    def __init__(self, key_variable: str, own_temperature: float | None = None, **options: Any) -> None:
        super().__init__(key=os.environ.get(key_variable) or "none", **options)
        self.own_temperature = own_temperature

    def _init_tokenizer(self) -> None:
        """Load none: it would fetch GPT-4's, whatever the model is, and fail where there is no network."""

    def get_token_len(self, prompt: str) -> int:
        """Roughly, and rather more."""
        return len(prompt) // 3

    def _generate(self, input: Any, max_out_len: int, temperature: float) -> str:
        # The class sends `self.temperature`, whatever it is asked for; threads of one question share this object.
        wanted = temperature if self.own_temperature is None else self.own_temperature
        single = _with_temperature(self, wanted)
        answer: str = OpenAISDK._generate(single, input, max_out_len, wanted)
        return answer


def _with_temperature(model: Served, temperature: float) -> Any:
    """The same model, with a temperature that other threads do not change."""
    copy = object.__new__(type(model))
    copy.__dict__ = {**model.__dict__, "temperature": temperature}
    return copy
