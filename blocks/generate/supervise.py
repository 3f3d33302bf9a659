"""Keep model servers running next to a job: start them, wait until they answer, restart them, end them.

One thread per server, all in the launching process. Whether a server is up is decided by its process and by HTTP, never
by what it prints; one that hangs (`blocks.generate.pulse`) is restarted as if it had crashed. Each server is run by a
guard (`blocks.generate.guard`), so that it ends with this process, however this process ends; what a killed guard
leaves behind is ended by the next `serve` with the same state folder.

A record and a log are named after host, process and server, because several launching processes, on several nodes, may
work on one run and share its state folder.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from blocks.generate import guard
from blocks.generate.endpoint import Endpoint
from blocks.generate.orphans import end_orphans, end_recorded
from blocks.generate.placement import ServerError, place
from blocks.generate.pulse import REPLY, STILL, Pulse

if TYPE_CHECKING:
    from blocks.generate.servers import Server

MAX_RESTARTS = 5  # restarts of one server without an hour of health in between
HEALTHY = 3600.0  # seconds
FIRST_PAUSE = 1.0  # seconds before the first restart; doubles with each
GRACE = 10.0  # seconds between asking a server to end and killing it
_LOOK = 0.2  # seconds between two looks at a server
_GUARD_OVERTIME = 15.0  # seconds beyond GRACE that a guard may need to see its server's processes vanish

# Below the ports that Linux (32768 up) and macOS (49152 up) give to outgoing connections. A client that keeps dialling
# the port of a server that is down would sooner or later be given that very port, connect to itself, and so block it.
_PORTS = range(20_000, 32_768)

_serial = itertools.count()


def log_tail(log: Path, start: int = 0, lines: int = 30) -> str:
    """The last lines of a server's log, made safe to print.

    Args:
        log: the file; it may hold anything: invalid UTF-8, progress bars, lines without end.
        start: byte at which to begin, to leave out what an earlier start has written.
        lines: how many lines; each is cut to 500 characters.
    """
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - 2**20))
        text = file.read().decode(errors="replace")
    last = text.rstrip().split("\n")[-lines:]
    return "\n".join(line.rstrip("\r").rpartition("\r")[2][:500] for line in last)  # \r: a progress bar's last state


def free_port() -> int:
    """A port of this host on which nobody listens.

    Raises:
        ServerError: none was found.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):  # a seeded generator gives every run the same ports
        if _is_free(port):
            return port
    raise ServerError(f"found no free port between {_PORTS.start} and {_PORTS.stop - 1} on this host")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a dead server do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Replica(threading.Thread):
    """One server process, its port and its log, watched until told to stop."""

    def __init__(self, server: Server, gpus: Sequence[str], state: Path) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{next(_serial)}"
        super().__init__(name=f"server-{name}", daemon=True)
        self.server, self.gpus = server, gpus
        self.log = state / "logs" / f"server-{name}.log"
        self.record = state / "servers" / f"{name}.json"
        self.port = free_port()
        self._log_start = 0  # where in the log its present life begins
        self.settled = threading.Event()  # it has answered, or will never
        self.failed: ServerError | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        """Start the server and keep it running; sets `failed` when that cannot be done."""
        try:
            self._keep_running()
        except Exception as error:
            self.failed = error if isinstance(error, ServerError) else ServerError(f"cannot run a server: {error!r}")
        finally:
            self.settled.set()

    def _keep_running(self) -> None:
        restarts = moves = 0
        while True:
            up_for, end = self._live()
            if self.stopping.is_set():
                return
            if not self.settled.is_set():  # it has never been up, so nobody has been told its port yet
                if moves == 3 or _is_free(self.port):
                    raise ServerError(f"the server of {self.server.model} did not start: {end}; {self._last_words()}")
                moves += 1
                logger.info(f"port {self.port} is in use by another program; taking another one")
                self.port = free_port()
                continue
            restarts = 1 if up_for >= HEALTHY else restarts + 1
            if restarts > MAX_RESTARTS:
                raise ServerError(
                    f"the server of {self.server.model} keeps failing, {MAX_RESTARTS} restarts did not help: {end}; "
                    f"{self._last_words()}"
                )
            pause = FIRST_PAUSE * 2 ** (restarts - 1)
            logger.warning(f"the server on port {self.port} {end}; restarting it in {pause:.0f} s (log: {self.log})")
            self.stopping.wait(pause)

    def _live(self) -> tuple[float, str]:
        """One life of the server: for how many seconds it was up, and how it ended."""
        self.log.touch()
        self._log_start = self.log.stat().st_size
        guarded = [sys.executable, "-I", "-S", guard.__file__, str(self.record), str(self.log), str(GRACE)]
        process = subprocess.Popen(
            [*guarded, str(os.getpid()), "--", *self.server.command(self.port)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **self.server.environment(self.gpus)},
        )
        born = time.monotonic()
        up_since = pulse = None
        end = ""
        try:
            while process.poll() is None and not self.stopping.wait(_LOOK):
                if up_since is None and self.server.answers(self.port) and process.poll() is None:
                    up_since, pulse = time.monotonic(), Pulse(self.server, self.port)
                    self.settled.set()
                if up_since is None and time.monotonic() - born > self.server.start_timeout:
                    end = f"did not answer within {self.server.start_timeout:.0f} s"
                    break
                if pulse is not None and not pulse.beats():
                    end = f"hangs: no token for {STILL:.0f} s, nor in {REPLY:.0f} s the one that it was asked for"
                    break
        finally:
            code = process.poll()
            self._end(process)
        return 0.0 if up_since is None else time.monotonic() - up_since, end if code is None else _exit(code)

    def _last_words(self) -> str:
        return f"the end of {self.log}:\n{log_tail(self.log, self._log_start)}"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(GRACE + _GUARD_OVERTIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        end_recorded(self.record, GRACE)


def _exit(code: int) -> str:
    if code < 0:
        return f"lost its guard to {signal.Signals(-code).name}"
    names = [sent.name for sent in signal.Signals if sent == code - 128]
    if not names:
        return f"exited with code {code}"
    return f"was ended by {names[0]}" + (" (is the host out of memory?)" if names[0] == "SIGKILL" else "")


@dataclass(frozen=True)
class Running:
    """Servers that are up.

    Args:
        endpoint: where they answer.
        replicas: one per server process.
    """

    endpoint: Endpoint
    replicas: tuple[Replica, ...]

    @property
    def failed(self) -> ServerError | None:
        """Why a server could not be kept alive, or None. Look at it now and then, and stop the run when it is set."""
        return next((replica.failed for replica in self.replicas if replica.failed is not None), None)

    @property
    def logs(self) -> tuple[Path, ...]:
        """The servers' log files."""
        return tuple(replica.log for replica in self.replicas)


@contextmanager
def serve(server: Server, state: Path, replicas: int | None = None) -> Iterator[Running]:
    """Run a model server while a `with` block is open.

        with serve(VLLM("HuggingFaceTB/SmolLM2-1.7B-Instruct"), state=Path("runs/x/state")) as running:
            ...  # give running.endpoint to the steps

    All replicas start at once, each on its own GPUs and port; a port stays the same over restarts. The block begins
    when all of them answer, and their processes are gone when it has ended.

    Args:
        server: what to run.
        state: folder for logs (`logs/`) and records (`servers/`); created if missing.
        replicas: server processes; default one per GPU (or group of GPUs that the server needs), or one without GPUs.

    Raises:
        ServerError: a program or a GPU is missing, or a server did not come up.
    """
    groups = place(server, replicas)
    server.command(port=0)  # a missing program shows here, before anything is started
    records = state.resolve() / "servers"
    for folder in (records, state.resolve() / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    end_orphans(records, GRACE)
    started = tuple(Replica(server, gpus, state.resolve()) for gpus in groups)
    running = None
    try:
        logger.info(f"starting {len(started)} server(s) of {server.model}; log: {started[0].log}")
        for replica in started:
            replica.start()
        for replica in started:
            while not replica.settled.wait(_LOOK):
                if any(other.failed for other in started):
                    break
        urls = tuple(f"http://127.0.0.1:{replica.port}/v1" for replica in started)
        running = Running(Endpoint(urls=urls, model=server.served_name, managed=True), started)
        if running.failed is not None:
            raise running.failed
        logger.info(f"{server.model} answers at {', '.join(urls)}")
        yield running
    finally:
        for replica in started:
            replica.stopping.set()
        for replica in started:
            if replica.ident is not None:
                replica.join()
