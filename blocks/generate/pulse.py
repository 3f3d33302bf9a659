"""Notices a server that hangs: its process lives and says that it is healthy, but no token comes any more.

In vLLM the engine is a process of its own, and what answers `/health` and `/metrics` does so from memory while the
engine is deadlocked. What its counters of tokens say can be trusted: while they move, it works. When they stand still,
it is idle or it hangs, and how many requests it claims to run does not tell which (vllm-project/vllm#22545: the number
stays when all of them were given up). So it is asked for one token then; an idle server delivers it at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocks.generate.servers import Server

LOOK = 30.0
"""Seconds between two looks at the counters."""

STILL = 300.0
"""Seconds without a token before a server is asked for one. The longest pause at work is the reading of prompts, which
count when they have been read: a whole context takes a minute or two, where it is a long one."""

REPLY = 60.0
"""Seconds that it has to answer then."""


class Pulse:
    """Watches one life of a server, from when it answers.

    Args:
        server: what runs.
        port: where.
    """

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.port = server, port
        self._tokens: float | None = None
        self._looked = self._moved_at = time.monotonic()

    def beats(self) -> bool:
        """Whether the server works, as far as one can tell; to be asked every moment, and at work only now and then.

        A server that has never told how many tokens it has made is believed.
        """
        now = time.monotonic()
        if now - self._looked < LOOK:
            return True
        self._looked = now
        if self._moved() or self._tokens is None:
            self._moved_at = now
        if now - self._moved_at < STILL:
            return True
        self._moved_at = now
        # It is also at work when this one token has to wait behind a flood of requests that has come meanwhile.
        return self.server.replies(self.port, REPLY) or self._moved()

    def _moved(self) -> bool:
        """Whether there are new tokens since the last look."""
        before, tokens = self._tokens, self.server.tokens(self.port)
        self._tokens = before if tokens is None else tokens
        return self._tokens != before
