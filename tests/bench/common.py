"""What the benchmarks share: the server, documents, and running a client in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SENTENCE = "The mill grinds documents slowly, finely and without losing a single grain of them. "


@contextmanager
def server(*options: object) -> Iterator[str]:
    """A benchmark server; gives its URL."""
    command = [sys.executable, str(HERE / "server.py"), *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="finemill-bench-") as folder:
        yield Path(folder)


def write_documents(path: Path, count: int, size: int = 3000) -> Path:
    """`count` documents of about `size` bytes as JSON Lines."""
    text = (SENTENCE * (size // len(SENTENCE) + 1))[:size]
    with path.open("w") as file:
        for i in range(count):
            file.write(json.dumps({"id": f"doc-{i}", "text": f"{i} {text}"}) + "\n")
    return path


def run_client(name: str, url: str, source: Path, work: Path, *options: object) -> dict[str, Any]:
    """Run one client of `clients.py`; its JSON line.

    Raises:
        SystemExit: it failed.
    """
    command = [
        sys.executable,
        str(HERE / "clients.py"),
        name,
        "--url",
        url,
        "--input",
        str(source),
        "--work",
        str(work),
    ]
    done = subprocess.run([*command, *map(str, options)], capture_output=True, text=True, cwd=HERE.parents[1])
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stdout}\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
