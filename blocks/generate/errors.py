"""What can go wrong with a request, told apart by what it means for the document.

A refusal is a property of the request and final. A failure is transient: the request was tried as often as is sensible.
Anything that means that no request can succeed stops the run (`blocks.shards.folder.RunError`).
"""

from __future__ import annotations


class RequestRefused(Exception):
    """The server will never answer this request (HTTP 400, 403, 413, 422).

    Args:
        reason: `too_long`, `bad_request` or `forbidden`.
        detail: what the server said.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class RequestFailed(Exception):
    """The request was tried and tried and not answered; another time it may be.

    Args:
        reason: `timeout`, `connection_lost`, `malformed_answer` or `http_<status>`.
        detail: what happened last.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Rejected(Exception):
    """Raised by a rollout for a document that it will not turn into samples.

    Args:
        reason: a short snake_case reason.
        detail: for people.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail
