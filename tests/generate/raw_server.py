"""An HTTP server whose every byte a test decides, for faults that no framework would produce."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

Reply = Callable[["Call"], Awaitable[bytes | None]]
"""Scripts a server: raw bytes to send; None closes the connection."""


class Call:
    def __init__(self, number: int, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.number, self.head, self.body, self.writer = number, head, body, writer


class RawServer:
    """An HTTP server that writes whatever bytes a test wants; every request to it is kept."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.calls: list[Call] = []
        self.probes = 0
        self.open = self.most_open = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self, **options: Any) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, **options)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        serving = self._serving - {asyncio.current_task()}  # a reply may stop the server it is part of
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    self.probes += 1
                    writer.write(ok(b'{"data": [{"id": "m"}]}'))
                    continue
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                call = Call(len(self.calls), head, await reader.readexactly(length), writer)
                self.calls.append(call)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                try:
                    content = await self.reply(call)
                finally:
                    self.open -= 1
                if content is None:
                    break
                writer.write(content)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)
            self._writers.discard(writer)
            writer.close()


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ok(body: bytes) -> bytes:
    return http(200, body)


def answer(text: str = "fine") -> bytes:
    return orjson.dumps(
        {
            "choices": [{"finish_reason": "stop", "message": {"content": text}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }
    )


def script(*replies: bytes | None) -> Reply:
    """Reply with these in turn; the last one is repeated."""

    async def reply(call: Call) -> bytes | None:
        return replies[min(call.number, len(replies) - 1)]

    return reply


@contextmanager
def server_thread(reply: Reply) -> Iterator[RawServer]:
    """The server on a loop of its own, for tests of things that block."""
    server, loop = RawServer(reply), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result()
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
