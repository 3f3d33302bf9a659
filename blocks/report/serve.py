"""The report of a run that goes on, as a page on this machine: read-only, and for nobody else.

It listens on 127.0.0.1 alone. A web page of somebody else cannot ask it either: one under another name that leads to
this machine is refused by its `Host`.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from datatrove.utils.logging import logger
from markupsafe import Markup

from blocks.report.gather import Gathered
from blocks.report.page import render_run
from blocks.report.samples import Shown, choose_places, choose_samples
from blocks.shards.folder import RunError, RunFolder

HOST = "127.0.0.1"


class Live:
    """The page of a run, made anew when it is asked for and the last one is old; only new commits are read.

    Args:
        folder: the run.
        every: seconds that a page is good for.
        samples: at most so many.

    Raises:
        RunError: there is no run.
    """

    def __init__(self, folder: RunFolder, every: float, samples: int) -> None:
        self.run, self.every, self.samples = Gathered(folder), every, samples
        self._lock = threading.Lock()
        self._page, self._made = b"", float("-inf")
        self._chosen: tuple[object, list[Shown]] = (None, [])

    def page(self) -> bytes:
        """The page as it is now."""
        with self._lock:
            if time.monotonic() - self._made >= self.every:
                told = self.run.look()
                shown = self._samples()
                page = render_run(told, shown, refresh=self.every, missing=self.run.missing)
                self._page, self._made = page.encode(), time.monotonic()
            return self._page

    def _samples(self) -> list[Shown]:
        # Their documents may have to be read from far away, so as long as the places are the same, so are they.
        places = {place: tuple(self.run.places[place]) for place in choose_places(self.run, self.run.places, 0)}
        if self._chosen[0] != places or self.run.missing:
            self._chosen = (places, choose_samples(self.run, self.samples))
        return self._chosen[1]


def _sorry(error: Exception, every: float) -> bytes:
    """A page that says why there is none, and asks again."""
    told = Markup('<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="{}"><title>{}</title><p>{}')
    return told.format(math.ceil(every), "no report", f"{type(error).__name__}: {error}").encode(errors="replace")


@contextmanager
def port_in_use(port: int) -> Iterator[None]:
    """Says what to do where another program listens."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise RunError(f"port {port} is in use: give --port another one, or 0 for a free one") from error


def serve(live: Live, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until somebody interrupts.

    Args:
        live: the page.
        port: 0 for a free one.
        ready: is told the address.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Whatever the port: it may come through a tunnel.
            if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            elif self.path != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                self._answer()

        def _answer(self) -> None:
            try:
                page = live.page()
            except Exception as error:  # the page shall come back when the disk does
                logger.warning(f"no page: {type(error).__name__}: {error}")
                status, page = HTTPStatus.SERVICE_UNAVAILABLE, _sorry(error, live.every)
            else:
                status = HTTPStatus.OK
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing of every request."""

    with ThreadingHTTPServer((HOST, port), Handler) as server:
        ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()
