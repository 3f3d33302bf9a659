"""The HTTP client: one request to an answer, with retries, on the event loop.

What decides how an error is treated is what it says about the *next* attempt:

- the server cannot be reached at all → the others are asked; when none is left, nobody asks until one can be reached
  (one probe instead of a stampede), and after `patience` seconds the run stops. It costs no document an attempt.
- 429, 502, 503, 504 and what gateways say instead → the service is busy or restarting: back off for as long as
  `patience`, honouring Retry-After. That costs no attempt either.
- a timeout, another 5xx, 408, an answer that cannot be read → `ATTEMPTS` tries.
- a lost connection, or a 5xx of a server of our own, whose engine has died then → `LOST` tries, since this document
  may be what kills the server. The last two are made in small company (`COMPANY`), as it takes along whatever is on
  the wire with it.
- 400, 413, 422 → a property of the request: refused at once.
- 403 → the same, since moderation and firewalls say no to single documents with it; but where nothing else comes back,
  it is the key that may not do this.
- 401, 402, 404, a redirect, a certificate → key, model name, URL: the run stops with one line.

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

from blocks.generate.answer import Answer, error_code, error_message, parse_answer
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

COMPANY = {2: 32, 3: 1}
"""By how often a request was lost: how many such requests a process may have on the wire at a time. Alone on its last
try, no request fails for another one that kills the server. The try before lets a window of 2,048 pass in minutes, and
leaves few that have to be tried one by one."""

BUSY = {429, 502, 503, 504, 520, 521, 522, 523, 529, 530}
"""Besides the standard's: Cloudflare's when it does not get through to the server (520 to 523, 530), and 529, which is
overloaded. Not 524: there the server took too long for this request."""

REFUSED = {400, 413, 422}
UNFINISHED = {"abort", "error", "cancelled"}  # finish reasons of an answer that the server gave up, as when it stops
FORBIDDEN = 403
FATAL = {401, 402, 404, 405}

SUSPICIOUS_REFUSALS = 20
"""Refusals without a single answer after which the configuration is to blame, not the documents."""


class Client:
    """Talks to an endpoint; lives on one event loop.

    Args:
        endpoint: where the model answers.
        max_in_flight: requests on the wire at a time.
        timeout: seconds for one attempt, from sending to the last byte.
        patience: seconds to wait for a server that is down or busy.
        opens_thinking: as in `parse_answer`.
        delay: seconds before the first retry; doubles each time up to a minute, with jitter.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        max_in_flight: int,
        timeout: float,
        patience: float,
        opens_thinking: bool = False,
        delay: float = 0.5,
    ) -> None:
        self.endpoint, self.opens_thinking = endpoint, opens_thinking
        self.timeout, self.patience, self.delay = timeout, patience, delay
        self.slots = asyncio.Semaphore(max_in_flight)
        self.waiting = 0  # requests that want a slot
        self.resting = 0  # requests that wait for their retry
        self.answers = self.refusals = 0
        self.forbidden = 0  # in a row, without an answer in between
        self.purse = None if endpoint.spending is None else Purse(endpoint.spending)
        self._company = {lost: asyncio.Semaphore(most) for lost, most in COMPANY.items()}
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
        attempts = pauses = lost = 0
        busy_since: float | None = None
        while True:
            if (company := self._company.get(lost)) is None:
                result = await self._send(path, body, queued)
            else:
                await self._rest(company.acquire())
                try:
                    result = await self._send(path, body, queued)
                finally:
                    company.release()
            if isinstance(result, Answer):
                self.answers += 1
                self.forbidden = 0
                return result
            if not result.busy:
                busy_since = None  # it was not busy all the time since then
            if result.unreachable:
                await self._rest(self._until_up(result.detail))
                continue
            if result.busy:
                busy_since = busy_since or time.monotonic()
                given_up = time.monotonic() - busy_since > self.patience
            else:
                attempts += 1
                lost += result.lost
                given_up = attempts >= (LOST if result.lost else ATTEMPTS)
            if given_up:
                raise RequestFailed(result.reason, result.detail)
            meter.add(retries=1)
            pause = min(60.0, self.delay * 2 ** min(pauses, 16)) * random.uniform(0.5, 1.5)
            pauses += 1
            await self._rest(asyncio.sleep(pause + result.retry_after))

    async def _send(self, path: str, body: bytes, queued: Callable[[], None]) -> Answer | _Trouble:
        """One attempt, when there is a slot for it."""
        await self._take_slot(queued)
        await hold_back()
        if self.purse is not None:
            await self.purse.hold_back()
        try:
            with OnTheWire():
                return await self._attempt(path, body)
        finally:
            self.slots.release()

    async def _take_slot(self, queued: Callable[[], None]) -> None:
        self.waiting += 1
        queued()
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1
            queued()

    async def _rest(self, pause: Coroutine[Any, Any, object]) -> None:
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
            return _Trouble("connection_lost", f"{type(error).__name__}: {error}", lost=True)
        finally:
            self._open[url] -= 1
        if response.status == 200:
            try:
                answer = parse_answer(content, self.opens_thinking)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                if (code := error_code(content)) is not None:
                    return self._judge(code, response.headers, content, url)
                began = self.endpoint.conceal(repr(content[:200]))
                return _Trouble("malformed_answer", f"{type(error).__name__}: {error}: {began}")
            if self.purse is not None:
                self.purse.pay(answer)
            if answer.finish_reason in UNFINISHED:
                return _Trouble("connection_lost", f"the server ended the answer: {answer.finish_reason}", lost=True)
            return answer
        return self._judge(response.status, response.headers, content, url)

    def _judge(self, status: int, headers: Mapping[str, str], content: bytes, url: str) -> _Trouble:
        said = self.endpoint.conceal(error_message(content))
        if 300 <= status < 400:
            raise RunError(f"{url} redirects to {headers.get('Location')}: give that address as --endpoint")
        if status in FATAL:
            hint = {
                401: f"{self._key} is not accepted",
                402: f"the account of {self._key} has no credit left",
            }.get(status, f"is --model {self.endpoint.model!r} the name that the server knows, and the URL right?")
            raise RunError(f"{url} answered HTTP {status} ({said}): {hint}")
        # Refusals come at once and answers take their time: a few bad documents among many requests on the wire are no
        # sign of anything.
        others = sum(self._open.values())
        if status == FORBIDDEN:
            self.forbidden += 1
            if (self.answers == 0 and not others) or self.forbidden >= max(SUSPICIOUS_REFUSALS, others):
                raise RunError(f"{url} answered HTTP {status} ({said}): {self._key} may not do this")
            raise RequestRefused("forbidden", said)
        if status in REFUSED:
            self.refusals += 1
            if self.answers == 0 and self.refusals >= max(SUSPICIOUS_REFUSALS, others):
                raise RunError(
                    f"{url} refused the first {self.refusals} requests, last with HTTP {status} ({said}): check "
                    f"--model, --max-tokens and --extra-body"
                )
            raise RequestRefused("too_long" if status == 413 or _too_long(said) else "bad_request", said)
        # vLLM whose engine has died says so with a 500 to all requests that it has, and ends.
        lost = self.endpoint.managed and status >= 500
        return _Trouble(f"http_{status}", said, busy=status in BUSY, retry_after=_retry_after(headers), lost=lost)

    @property
    def _key(self) -> str:
        return f"the key in {self.endpoint.api_key_env or '(none given, see --api-key-env)'}"

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
    lost: bool = False


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
