"""A model server for benchmarks: raw asyncio, so that it costs as little as possible beside the client on the same
cores.

    python tests/bench/server.py [--slots 256 --median 0.5 --sigma 0.5 --stragglers 0.01 --hang 1]

Without options it answers at once. With `--slots` it works on so many requests at a time (the others wait, as in vLLM),
each for a log-normal time that depends on the request; a share of them takes 10 times the median, and one request, some
way in, `--hang` seconds. `GET /stats` tells how many slots were in use when. `--record FILE` keeps the prompts as they
arrive.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop

WORDS = "a sentence of an answer that says something about the document. "
MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'


def answer(tokens: int = 360) -> bytes:
    """A chat completion of about `tokens` tokens (4 characters each)."""
    text = (WORDS * (4 * tokens // len(WORDS) + 1))[: 4 * tokens]
    usage = {"prompt_tokens": 800, "completion_tokens": tokens, "total_tokens": 800 + tokens}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    ).encode()


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Work:
    """The slots: how many requests are worked on, and since when."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.slots = asyncio.Semaphore(options.slots or 1 << 30)
        self.busy = 0
        self.requests = 0
        self.hanging = options.hang > 0
        self.record = options.record.open("w") if options.record else None
        self.history: list[tuple[float, int]] = []  # (time, busy from then on)

    def change(self, by: int) -> None:
        self.busy += by
        self.history.append((time.monotonic(), self.busy))

    async def serve(self, body: bytes, reply: Callable[[], None]) -> None:
        dice = random.Random(zlib.crc32(body))
        seconds = self.options.median * math.exp(dice.gauss(0.0, self.options.sigma))
        if dice.random() < self.options.stragglers:
            seconds = 10 * self.options.median
        async with self.slots:
            self.change(+1)
            try:
                if self.hanging and self.requests > 4 * self.options.slots:
                    self.hanging = False
                    seconds = self.options.hang
                await asyncio.sleep(seconds)
            finally:
                self.change(-1)
        reply()


class Protocol(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as far as benchmark clients need it."""

    def __init__(self, work: Work, reply: bytes) -> None:
        self.work, self.reply, self.buffer = work, reply, b""
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        for task in self.tasks:  # a client that gives up frees its slot
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            self.handle(head, body)

    def handle(self, head: bytes, body: bytes) -> None:
        write = self.transport.write

        def reply() -> None:
            if not self.transport.is_closing():
                write(self.reply)
                if b"connection: close" in head:
                    self.transport.close()

        if head.startswith(b"get /stats"):
            write(http(json.dumps({"requests": self.work.requests, "history": self.work.history}).encode()))
        elif head.startswith(b"get"):
            write(http(MODELS))
        else:
            self.work.requests += 1
            if self.work.record:
                self.work.record.write(json.dumps(json.loads(body)["messages"][-1]["content"]) + "\n")
                self.work.record.flush()
            if self.work.options.slots:
                task = asyncio.ensure_future(self.work.serve(body, reply))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            else:
                reply()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=0)
    parser.add_argument("--median", type=float, default=0.5, help="seconds")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--stragglers", type=float, default=0.0, help="share of requests that take 10 times as long")
    parser.add_argument("--hang", type=float, default=0.0, help="seconds that one request takes")
    parser.add_argument("--record", type=Path, default=None)
    options = parser.parse_args()
    work, reply = Work(options), http(answer())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(work, reply), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
