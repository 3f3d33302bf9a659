"""Draining: a process that must end soon sends no new requests and waits for the answers that are under way.

What they say goes into the journals, so the launch that goes on pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import time

_begun = False
_on_the_wire = 0


class OnTheWire:
    """Around a request on the wire; on the event loop."""

    def __enter__(self) -> None:
        global _on_the_wire
        _on_the_wire += 1

    def __exit__(self, *_: object) -> None:
        global _on_the_wire
        _on_the_wire -= 1


def on_the_wire() -> int:
    """Requests of this process that are under way."""
    return _on_the_wire


async def hold_back() -> None:
    """Return at once; once draining has begun, never."""
    if _begun:
        await asyncio.Event().wait()


def drain(seconds: float) -> None:
    """Send nothing new, and wait until all that was sent is answered; at most so many seconds."""
    global _begun
    _begun = True
    deadline = time.monotonic() + seconds
    while _on_the_wire > 0 and time.monotonic() < deadline:
        time.sleep(0.05)
