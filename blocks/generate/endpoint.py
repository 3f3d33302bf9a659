"""Where a model answers: the address that a `Generate` step is given.

Steps never see a server process. A managed server (`VLLM`, `Transformers`) hands out an `Endpoint` when it is up, and
anything else that speaks the OpenAI protocol is described by one directly. It is a plain value: it is pickled to
workers and holds the *name* of the environment variable with the API key, never the key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """One model behind one or more OpenAI-compatible base URLs.

    Args:
        urls: base URLs including the version (`http://127.0.0.1:8000/v1`); requests go to the one with the fewest open
            requests. See `blocks.generate.probe.resolve` for what a user may type.
        model: the name sent as `model` in every request.
        api_key_env: name of the environment variable that holds the API key; None sends no key.
        managed: True when this run started the server and restarts it after a crash, so that a refused connection means
            "wait" rather than "wrong address".
    """

    urls: tuple[str, ...]
    model: str
    api_key_env: str | None = None
    managed: bool = False

    def headers(self) -> dict[str, str]:
        """The authorization header, read from the environment now.

        Raises:
            KeyError: the environment variable is not set in this process.
        """
        if self.api_key_env is None:
            return {}
        return {"Authorization": f"Bearer {os.environ[self.api_key_env]}"}
