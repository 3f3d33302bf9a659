"""The HTTP client: one request to an answer, with retries, on the event loop.

What decides how an error is treated is what it says about the *next* attempt:

- the server cannot be reached at all → the others are asked; when none is left, nobody asks until one can be reached
  (one probe instead of a stampede), and after `patience` seconds the run stops. It costs no document an attempt.
- 429, 502, 503, 504 → the service is busy or restarting: back off for as long as `patience`, honouring Retry-After.
  That costs no attempt either.
- a timeout, another 5xx, 408, an answer that cannot be read → `ATTEMPTS` tries; a lost connection → `LOST` tries, since
  this document may be what kills the server.
- 400, 413, 422 → a property of the request: refused at once.
- 401, 402, 403, 404, a redirect, a certificate → key, model name, URL: the run stops with one line.

A request holds one of the step's slots only while it is on the wire; waiting for a retry gives the slot away.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies

import aiohttp
from datatrove.utils.logging import logger

from blocks.generate.answer import Answer, error_message, parse_answer
from blocks.generate.drain import OnTheWire, hold_back
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import RequestFailed, RequestRefused
from blocks.generate.spending import Purse
from blocks.shards import meter
from blocks.shards.folder import RunError

__all__ = ["Answer", "Client"]

ATTEMPTS = 6
"""Tries of one request that times out or is answered with a server error."""

LOST = 4
"""Tries of one request whose connection breaks: fewer than the restarts that a managed server is granted."""

BUSY = {429, 502, 503, 504}
REFUSED = {400, 413, 422}
UNFINISHED = {"abort", "error", "cancelled"}  # finish reasons of an answer that the server gave up, as when it stops
FATAL = {401, 402, 403, 404, 405}

SUSPICIOUS_REFUSALS = 20
"""Refusals without a single answer after which the configuration is to blame, not the documents."""


class Client:
    """Talks to an endpoint; lives on one event loop.

    Args:
        endpoint: where the model answers.
        max_in_flight: requests on the wire at a time.
        timeout: seconds for one attempt, from sending to the last byte.
        patience: seconds to wait for a server that is down or busy.
        delay: seconds before the first retry; doubles each time up to a minute, with jitter.
    """

    def __init__(
        self, endpoint: Endpoint, max_in_flight: int, timeout: float, patience: float, delay: float = 0.5
    ) -> None:
        self.endpoint = endpoint
        self.timeout, self.patience, self.delay = timeout, patience, delay
        self.slots = asyncio.Semaphore(max_in_flight)
        self.waiting = 0  # requests that want a slot
        self.resting = 0  # requests that wait for their retry
        self.answers = self.refusals = 0
        self.purse = None if endpoint.spending is None else Purse(endpoint.spending)
        self._open = dict.fromkeys(endpoint.urls, 0)
        self._down: dict[str, asyncio.Task[None]] = {}
        self._session = aiohttp.ClientSession(
            # Connections idle for longer than uvicorn keeps them (5 s) would be lost just when they are used again.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=30),
            headers={"Content-Type": "application/json", **endpoint.headers()},
            skip_auto_headers=("User-Agent",),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The environment's proxy, which the first look at the endpoint used, too; looking for one costs every
            # request a quarter of a millisecond.
            trust_env=not endpoint.managed and bool(getproxies()),
        )

    async def close(self) -> None:
        """Close all connections."""
        for probe in self._down.values():
            probe.cancel()
        await self._session.close()
        if self.purse is not None:
            self.purse.close()

    async def ask(self, path: str, body: bytes, queued: Callable[[], None] = lambda: None) -> Answer:
        """Send `body` to `path` (`chat/completions`, `completions` or `moderations`) until there is an answer.

        Args:
            path: below the endpoint's URL.
            body: JSON.
            queued: called when the request has joined the queue for a slot and when it has left it.

        Raises:
            RequestRefused: the server will never answer it.
            RequestFailed: all attempts were used up.
            RunError: no request can succeed.
        """
        attempts = pauses = 0
        busy_since: float | None = None
        while True:
            await self._take_slot(queued)
            await hold_back()
            if self.purse is not None:
                await self.purse.hold_back()
            try:
                with OnTheWire():
                    result = await self._attempt(path, body)
            finally:
                self.slots.release()
            if isinstance(result, Answer):
                self.answers += 1
                return result
            if result.unreachable:
                await self._rest(self._until_up(result.detail))
                continue
            if result.busy:
                busy_since = busy_since or time.monotonic()
                given_up = time.monotonic() - busy_since > self.patience
            else:
                attempts += 1
                given_up = attempts >= (LOST if result.reason == "connection_lost" else ATTEMPTS)
            if given_up:
                raise RequestFailed(result.reason, result.detail)
            meter.add(retries=1)
            pause = min(60.0, self.delay * 2 ** min(pauses, 16)) * random.uniform(0.5, 1.5)
            pauses += 1
            await self._rest(asyncio.sleep(pause + result.retry_after))

    async def _take_slot(self, queued: Callable[[], None]) -> None:
        self.waiting += 1
        queued()
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1
            queued()

    async def _rest(self, pause: Coroutine[Any, Any, None]) -> None:
        self.resting += 1
        try:
            await pause
        finally:
            self.resting -= 1

    async def _attempt(self, path: str, body: bytes) -> Answer | _Trouble:
        url = min(self._open, key=lambda u: (u in self._down, self._open[u]))
        if url in self._down:
            return _Trouble("unreachable", "connection refused", unreachable=True)
        self._open[url] += 1
        try:
            # A redirected POST would arrive as a GET.
            async with self._session.post(f"{url}/{path}", data=body, allow_redirects=False) as response:
                content = await response.read()
        except aiohttp.ClientConnectorCertificateError as error:
            raise RunError(
                f"{url}: {error.certificate_error}; for a certificate of your own, name its file in the environment "
                f"variable SSL_CERT_FILE"
            ) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self._mark_down(url, error)
            return _Trouble("unreachable", str(error), unreachable=True)
        except TimeoutError:
            return _Trouble("timeout", f"no answer within {self.timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return _Trouble("connection_lost", f"{type(error).__name__}: {error}")
        finally:
            self._open[url] -= 1
        if response.status == 200:
            try:
                answer = parse_answer(content)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                began = self.endpoint.conceal(repr(content[:200]))
                return _Trouble("malformed_answer", f"{type(error).__name__}: {error}: {began}")
            if self.purse is not None:
                self.purse.pay(answer)
            if answer.finish_reason in UNFINISHED:
                return _Trouble("connection_lost", f"the server ended the answer: {answer.finish_reason}")
            return answer
        return self._judge(response.status, response.headers, content, url)

    def _judge(self, status: int, headers: Mapping[str, str], content: bytes, url: str) -> _Trouble:
        said = self.endpoint.conceal(error_message(content))
        if 300 <= status < 400:
            raise RunError(f"{url} redirects to {headers.get('Location')}: give that address as --endpoint")
        if status in FATAL:
            key = f"the key in {self.endpoint.api_key_env or '(none given, see --api-key-env)'}"
            hint = {
                401: f"{key} is not accepted",
                402: f"the account of {key} has no credit left",
                403: f"{key} may not do this",
            }.get(status, f"is --model {self.endpoint.model!r} the name that the server knows, and the URL right?")
            raise RunError(f"{url} answered HTTP {status} ({said}): {hint}")
        if status in REFUSED:
            self.refusals += 1
            # Refusals come at once and answers take their time: a few bad documents among many requests on the wire
            # are no sign of anything.
            if self.answers == 0 and self.refusals >= max(SUSPICIOUS_REFUSALS, sum(self._open.values())):
                raise RunError(
                    f"{url} refused the first {self.refusals} requests, last with HTTP {status} ({said}): check "
                    f"--model, --max-tokens and --extra-body"
                )
            raise RequestRefused("too_long" if status == 413 or _too_long(said) else "bad_request", said)
        return _Trouble(f"http_{status}", said, busy=status in BUSY, retry_after=_retry_after(headers))

    def _mark_down(self, url: str, error: Exception) -> None:
        if url not in self._down:
            logger.warning(f"{error}; trying again for up to {self.patience:g} s")
            self._down[url] = asyncio.create_task(self._probe(url))

    async def _until_up(self, why: str) -> None:
        """Wait until one of the servers takes connections."""
        if len(self._down) < len(self._open):
            return
        up, _ = await asyncio.wait(self._down.values(), timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
        if not up:
            raise RunError(
                f"{' and '.join(self._open)} cannot be reached for {self.patience:g} s ({why}); start again when the "
                f"server is up: what was answered is kept"
            )

    async def _probe(self, url: str) -> None:
        """End when the server takes connections again, whatever it says."""
        pause = self.delay
        timeout = aiohttp.ClientTimeout(total=10)
        while True:
            try:
                async with self._session.get(f"{url}/models", timeout=timeout, allow_redirects=False):
                    break
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(pause)
                pause = min(5.0, pause * 1.5)
        logger.info(f"{url} answers again")
        del self._down[url]


@dataclass(frozen=True)
class _Trouble:
    """Why an attempt brought no answer, and what that means for the next one."""

    reason: str
    detail: str = ""
    busy: bool = False
    retry_after: float = 0.0
    unreachable: bool = False


def _too_long(said: str) -> bool:
    lowered = said.lower()
    return "context" in lowered and any(word in lowered for word in ("length", "window", "maximum", "too long"))


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header, which may be a number or a date; at most ten minutes."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value) if value[:1].isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(600.0, max(0.0, seconds))
