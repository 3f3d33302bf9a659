"""The HTTP client: one request to an answer, with retries, on the event loop.

What decides how an error is treated is what it says about the *next* attempt:

- the server cannot be reached at all → nobody asks until it can (one probe instead of a stampede); after `patience`
  seconds the run stops. It costs no document an attempt.
- 429, 502, 503, 504 → the service is busy or restarting: back off for as long as `patience`, honouring Retry-After.
- a timeout, another 5xx, 408, an answer that cannot be read → `ATTEMPTS` tries; a lost connection → `LOST` tries, since
  this document may be what kills the server.
- 400, 413, 422 → a property of the request: refused at once.
- 401, 403, 404 → key or model name: the run stops with one line.

A request holds one of the step's slots only while it is on the wire; waiting for a retry gives the slot away.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson

from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import RequestFailed, RequestRefused
from blocks.generate.reasoning import split_reasoning
from blocks.shards import meter
from blocks.shards.folder import RunError

ATTEMPTS = 6
"""Tries of one request that times out or is answered with a server error."""

LOST = 4
"""Tries of one request whose connection breaks: fewer than the restarts that a managed server is granted."""

BUSY = {429, 502, 503, 504}
REFUSED = {400, 413, 422}
FATAL = {401, 403, 404, 405}

SUSPICIOUS_REFUSALS = 20
"""Refusals without a single answer after which the configuration is to blame, not the documents."""


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Args:
        text: the answer, without reasoning.
        finish_reason: as the server put it (`stop`, `length`, …), None if it did not say.
        usage: token counts, as the server put them.
        reasoning: what the model thought before, from a field of its own or a leading `<think>` block.
    """

    text: str
    finish_reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    reasoning: str | None = None

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt, if the server counted."""
        return self.usage.get("prompt_tokens")

    @property
    def completion_tokens(self) -> int | None:
        """Tokens of the answer, reasoning included, if the server counted."""
        return self.usage.get("completion_tokens")


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
        self._open = dict.fromkeys(endpoint.urls, 0)
        self._down: dict[str, asyncio.Task[None]] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            headers={"Content-Type": "application/json", **endpoint.headers()},
            skip_auto_headers=("User-Agent",),
        )

    async def close(self) -> None:
        """Close all connections."""
        for probe in self._down.values():
            probe.cancel()
        await self._session.close()

    async def ask(self, path: str, body: bytes) -> Answer:
        """Send `body` to `path` (`chat/completions` or `completions`) until there is an answer.

        Raises:
            RequestRefused: the server will never answer it.
            RequestFailed: all attempts were used up.
            RunError: no request can succeed.
        """
        attempt, busy_since = 0, None
        while True:
            self.waiting += 1
            try:
                await self.slots.acquire()
            finally:
                self.waiting -= 1
            try:
                answer, trouble = await self._attempt(path, body)
            finally:
                self.slots.release()
            if answer is not None:
                self.answers += 1
                return answer
            assert trouble is not None
            if trouble.unreachable is not None:
                await self._rest(self._until_up(trouble.unreachable))
                continue
            if trouble.busy:
                busy_since = busy_since or time.monotonic()
                if time.monotonic() - busy_since > self.patience:
                    raise RequestFailed(trouble.reason, trouble.detail)
            attempt += 1
            if not trouble.busy and attempt >= (LOST if trouble.reason == "connection_lost" else ATTEMPTS):
                raise RequestFailed(trouble.reason, trouble.detail)
            meter.add(retries=1)
            pause = min(60.0, self.delay * 2 ** min(attempt - 1, 16)) * random.uniform(0.5, 1.5)
            await self._rest(asyncio.sleep(max(pause, trouble.retry_after)))

    async def _rest(self, pause: Any) -> None:
        self.resting += 1
        try:
            await pause
        finally:
            self.resting -= 1

    async def _attempt(self, path: str, body: bytes) -> tuple[Answer | None, _Trouble | None]:
        url = min(self._open, key=lambda u: (u in self._down, self._open[u]))
        if url in self._down:
            return None, _Trouble("unreachable", unreachable=url)
        self._open[url] += 1
        try:
            async with asyncio.timeout(self.timeout), self._session.post(f"{url}/{path}", data=body) as response:
                content = await response.read()
        except TimeoutError:
            return None, _Trouble("timeout", f"no answer within {self.timeout:g} s")
        except aiohttp.ClientConnectorError as error:
            return None, _Trouble("unreachable", str(error), unreachable=url)
        except (aiohttp.ClientError, OSError) as error:
            return None, _Trouble("connection_lost", f"{type(error).__name__}: {error}")
        finally:
            self._open[url] -= 1
        if response.status == 200:
            try:
                return parse_answer(content), None
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                return None, _Trouble("malformed_answer", f"{type(error).__name__}: {error}: {content[:200]!r}")
        return None, self._judge(response.status, response.headers, content, url)

    def _judge(self, status: int, headers: Mapping[str, str], content: bytes, url: str) -> _Trouble:
        said = error_message(content)
        if status in FATAL:
            hint = {
                401: f"the key in {self.endpoint.api_key_env or '(none given, see --api-key-env)'} is not accepted",
                403: f"the key in {self.endpoint.api_key_env or '(none given, see --api-key-env)'} may not do this",
            }.get(status, f"is --model {self.endpoint.model!r} the name that the server knows, and the URL right?")
            raise RunError(f"{url} answered HTTP {status} ({said}): {hint}")
        if status in REFUSED:
            self.refusals += 1
            if self.answers == 0 and self.refusals >= SUSPICIOUS_REFUSALS:
                raise RunError(
                    f"{url} refused the first {self.refusals} requests, last with HTTP {status} ({said}): check "
                    f"--model, --max-tokens and --extra-body"
                )
            raise RequestRefused("too_long" if status == 413 or _too_long(said) else "bad_request", said)
        return _Trouble(f"http_{status}", said, busy=status in BUSY, retry_after=_retry_after(headers))

    async def _until_up(self, url: str) -> None:
        if url not in self._down:
            self._down[url] = asyncio.create_task(self._probe(url))
        await asyncio.shield(self._down[url])

    async def _probe(self, url: str) -> None:
        """Wait until the server takes connections again."""
        deadline = time.monotonic() + self.patience
        pause = 0.2
        while True:
            try:
                async with self._session.get(f"{url}/models", timeout=aiohttp.ClientTimeout(total=10)):
                    break
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise RunError(f"{url} cannot be reached for {self.patience:g} s: {error}") from error
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 1.5)
        del self._down[url]


@dataclass(frozen=True)
class _Trouble:
    """Why an attempt brought no answer, and what that means for the next one."""

    reason: str
    detail: str = ""
    busy: bool = False
    retry_after: float = 0.0
    unreachable: str | None = None


def parse_answer(content: bytes) -> Answer:
    """Read a chat completion or completion.

    Raises:
        ValueError, KeyError, IndexError, TypeError, AttributeError: it is not one.
    """
    body = orjson.loads(content)
    choice = body["choices"][0]
    usage = body.get("usage") or {}
    if "message" in choice:
        message = choice["message"]
        text = message.get("content") or ""
        separate = message.get("reasoning_content") or message.get("reasoning")
    else:
        text, separate = choice["text"], None
    if not isinstance(text, str):
        raise ValueError("the answer's content is no text")
    text, inline = split_reasoning(text)
    return Answer(text, choice.get("finish_reason"), usage, separate or inline)


def error_message(content: bytes) -> str:
    """The message in an error body, as servers word it; at most 500 characters, on one line."""
    try:
        body = orjson.loads(content)
        error = body.get("error", body)
        said = error if isinstance(error, str) else error.get("message") or error.get("detail") or body
    except (ValueError, AttributeError):
        said = content.decode(errors="replace")
    return " ".join(str(said).split())[:500] or "no message"


def _too_long(said: str) -> bool:
    lowered = said.lower()
    return "context" in lowered and any(word in lowered for word in ("length", "window", "maximum", "too long"))


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header, which may be a number or a date; at most ten minutes."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value) if value[:1].isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(600.0, max(0.0, seconds))
