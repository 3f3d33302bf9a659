"""Run a model server for exactly as long as the process that asked for it lives.

A server left behind by a killed run holds its GPU memory until someone notices. The launching process cannot see to
that itself, because SIGKILL gives it no last word. So it starts this small program, which starts the server, and which
ends the server's whole process group as soon as the launching process is gone or asks for it with SIGTERM.

Why it is this way:

- The guard looks at its parent's pid instead of waiting for a pipe to close: workers forked by the launching process
  inherit the writing end of every pipe, and one of them outliving it would keep the server up.
- Guard and server have sessions of their own, so a signal to the launching process's group or terminal reaches neither.
- The server writes straight into the log file. There is no pipe that could fill up.
- On Linux the guard adopts the orphans of the server (vLLM is several processes), so it knows when all are gone; and
  the kernel kills the server if the guard is killed. What even that leaves behind is named in the record file, by which
  the next run finds it (`blocks.generate.orphans`).

It is started by path and must import nothing outside the standard library:
`python -I -S guard.py RECORD LOG GRACE LAUNCHER_PID -- COMMAND...`
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_POLL = 0.1  # seconds between two looks at parent and child
_AFTER_KILL = 10.0  # seconds for killed processes to vanish: the driver frees GPU memory first
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def machine() -> str:
    """Where a pid means something: this boot of this host and this pid namespace; "" where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def stat(pid: int) -> tuple[str, int, int] | None:
    """State letter, process group and start time (clock ticks since boot) of a process; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the command before it may hold spaces and parentheses
    return fields[0], int(fields[2]), int(fields[19])


def birth(pid: int) -> int | None:
    """When a process started, which tells it from a later one with the same pid; None if it is gone or a zombie."""
    found = stat(pid)
    return None if found is None or found[0] in "ZX" else found[2]


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with(guard: int) -> Callable[[], None]:
    def before_exec() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before the line above
            os._exit(1)

    return before_exec


def _write(record: Path, server: int, launcher: int, command: str) -> None:
    def known(pid: int) -> dict[str, int | None]:
        return {"pid": pid, "started": birth(pid)}

    value = {
        "machine": machine(),
        "launcher": known(launcher),
        "guard": known(os.getpid()),
        "server": known(server),
        "command": command,  # the program only: its options may hold a key
    }
    draft = record.with_suffix(".draft")
    draft.write_text(json.dumps(value))
    draft.replace(record)


def _reap(server: int) -> tuple[bool, int | None]:
    """Collect what has exited: whether any child is left, and the server's exit code if it was among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, code
        if pid == 0:
            return True, code
        if pid == server:
            code = os.waitstatus_to_exitcode(status)


def _end(server: int, grace: float) -> bool:
    """End what is left of the server's process group; whether all of it is gone."""
    left = True
    for sent, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, _AFTER_KILL)):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, for zombies
            os.killpg(server, sent)
        deadline = time.monotonic() + patience
        while (left := _reap(server)[0]) and time.monotonic() < deadline:
            time.sleep(_POLL / 2)
    return not left


def main() -> int:
    """Guard one server; returns its exit code, as a shell would give it, or 0 when it was told to end it."""
    record, log, grace, launcher, _, *command = sys.argv[1:]
    told: list[int] = []
    for sent in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sent, lambda number, frame: told.append(number))
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with(os.getpid())
    )
    _write(Path(record), server.pid, int(launcher), command[0])
    code = None
    while code is None and not told and os.getppid() == int(launcher):
        time.sleep(_POLL)
        _, code = _reap(server.pid)
    if _end(server.pid, float(grace)):
        Path(record).unlink(missing_ok=True)
    if code is None:
        return 0
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
