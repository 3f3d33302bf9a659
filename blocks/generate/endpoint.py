"""Where a model answers: the address that a `Generate` step is given.

Steps never see a server process. A managed server (`VLLM`, `Transformers`) hands out an `Endpoint` when it is up, and
anything else that speaks the OpenAI protocol is described by one directly. It is a plain value: it is pickled to
workers and holds the *name* of the environment variable with the API key, never the key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from blocks.generate.spending import Spending
from blocks.shards.folder import RunError


@dataclass(frozen=True)
class Endpoint:
    """One model behind one or more OpenAI-compatible base URLs.

    Args:
        urls: base URLs including the version (`http://127.0.0.1:8000/v1`); requests go to the one with the fewest open
            requests. See `blocks.generate.probe.resolve` for what a user may type.
        model: the name sent as `model` in every request.
        api_key_env: name of the environment variable that holds the API key; None sends no key.
        managed: True when this run started the server on this machine; no proxy stands between then.
        spending: what its answers cost, and how much they may; None where nobody counts.
        context: tokens of prompt and answer together, where the server tells (vLLM does).
    """

    urls: tuple[str, ...]
    model: str
    api_key_env: str | None = None
    managed: bool = False
    spending: Spending | None = None
    context: int | None = None

    def headers(self) -> dict[str, str]:
        """The authorization header, read from the environment now.

        Raises:
            RunError: the environment variable is not set in this process, or cannot be a key.
        """
        if self.api_key_env is None:
            return {}
        if not self._key:
            raise RunError(f"--api-key-env {self.api_key_env}: there is no such environment variable here; export it")
        if not (self._key.isascii() and self._key.isprintable()):
            # An HTTP library would refuse it with a message that quotes it.
            raise RunError(f"--api-key-env {self.api_key_env}: its value has characters that no API key has")
        return {"Authorization": f"Bearer {self._key}"}

    def conceal(self, text: str) -> str:
        """`text` without the key, which servers quote in their messages."""
        return text.replace(self._key, "***") if self._key else text

    @property
    def _key(self) -> str:
        return os.environ.get(self.api_key_env or "", "").strip()
