"""What answers cost, and a limit to it that no restart forgets.

Every process writes what it has paid to a file of its own below the run's state folder after each answer, and looks at
those of the others once a second; on a network file system they show when they are synced, a second later. A process
that sees the limit reached sends nothing new; when all its answers are there, it says so, and the run ends. At most
what was on the wire comes on top of the limit (with several processes also what the others have sent within that time),
and everything paid for is in the journals.

What cannot be known is not counted: attempts that time out may be billed, and providers may give a discount for prompts
that they have seen before.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from blocks.generate.answer import Answer
from blocks.generate.drain import on_the_wire
from blocks.shards import meter
from blocks.shards.folder import RunError
from blocks.shards.paid import LEDGERS, paid

_LOOK_PERIOD = 1.0  # seconds between two looks at what other processes have paid
_SYNC_PERIOD = 1.0  # seconds, as of the journals


@dataclass(frozen=True)
class Price:
    """Money per million tokens, in whatever currency.

    Args:
        prompt: for tokens of prompts.
        completion: for tokens of answers, reasoning included.
    """

    prompt: float
    completion: float

    def of(self, answer: Answer) -> float:
        """What an answer costs.

        Raises:
            RunError: the server did not count its tokens.
        """
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            raise RunError(
                "the endpoint does not say how many tokens its answers take (no `usage`), so what they cost is not "
                "known: leave out --price and --max-spending"
            )
        return (self.prompt * answer.prompt_tokens + self.completion * answer.completion_tokens) / 1e6


@dataclass(frozen=True)
class Spending:
    """What an endpoint's answers cost a run.

    Args:
        price: of tokens.
        limit: what all launches of the run may spend together; None for no limit.
        state: the run's state folder.
    """

    price: Price
    limit: float | None
    state: Path


def parse_price(text: str) -> Price:
    """The price that `--price` tells: two numbers with a comma.

    Raises:
        RunError: it is no such thing.
    """
    try:
        price = Price(*map(float, text.split(",")))
    except (TypeError, ValueError):
        price = None
    if price is None or not all(0 <= number < float("inf") for number in (price.prompt, price.completion)):
        raise RunError(
            f"--price {text!r}: it has money per million tokens of prompts and of answers, such as 0.15,0.60"
        )
    return price


class Purse:
    """Pays for one client, which lives on one event loop."""

    def __init__(self, spending: Spending) -> None:
        self.price, self.limit, self.state = spending.price, spending.limit, spending.state
        self._own, self._others = 0.0, paid(self.state)
        self._looked = self._synced = time.monotonic()
        self._name = uuid4().hex
        (self.state / LEDGERS).mkdir(parents=True, exist_ok=True)
        self._ledger = os.open(self.state / LEDGERS / self._name, os.O_WRONLY | os.O_CREAT)

    def pay(self, answer: Answer) -> None:
        """Take down what an answer costs; after a kill it is still there."""
        before = self._own
        self._own += self.price.of(answer)
        os.pwrite(self._ledger, b"%.9f" % self._own, 0)  # it never gets shorter
        if time.monotonic() - self._synced > _SYNC_PERIOD:  # other nodes see it then, and it survives a loss of power
            self._synced = time.monotonic()
            asyncio.get_running_loop().run_in_executor(None, os.fsync, self._ledger)
        meter.add(paid_millionths=round(1e6 * self._own) - round(1e6 * before))

    async def hold_back(self) -> None:
        """Return at once while there is money left, never after that."""
        if self.limit is None:
            return
        if time.monotonic() - self._looked > _LOOK_PERIOD:
            self._looked = time.monotonic()
            self._others = await asyncio.get_running_loop().run_in_executor(None, paid, self.state, self._name)
        if self._own + self._others < self.limit:
            return
        while on_the_wire():
            await asyncio.sleep(0.05)
        meter.add(limit_reached=1)
        await asyncio.Event().wait()

    def close(self) -> None:
        """Sync and close the file."""
        os.fsync(self._ledger)
        os.close(self._ledger)
