"""What several tests share: a scripted model server in its own process, documents, and a run's rows read back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.slurm import Slurm, missing

# A worker of pytest-xdist ignores SIGINT, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
SKIPPED = ROOT / ".pytest_cache" / "skipped.txt"
FINEPHRASE = ROOT / "pipelines" / "finephrase.py"


@contextmanager
def cpu_limit(seconds: float = 60.0) -> Iterator[None]:
    """Ends what would go on for hours, such as a pattern that backtracks; a busy machine makes no difference."""

    def over(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} seconds of CPU")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@dataclass
class MockServer:
    url: str
    log: Path
    process: subprocess.Popen[str]

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def mock_servers(folder: Path) -> Iterator[Callable[..., MockServer]]:
    """Starts scripted servers that log their requests in a folder, and ends them."""
    servers: list[MockServer] = []

    def start(*options: str) -> MockServer:
        log = folder / f"requests-{len(servers)}.jsonl"
        command = [sys.executable, str(ROOT / "tests" / "mock_server.py"), "--log", str(log), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        servers.append(MockServer(process.stdout.readline().strip(), log, process))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def start_mock(tmp_path: Path) -> Iterator[Callable[..., MockServer]]:
    with mock_servers(tmp_path) as start:
        yield start


@pytest.fixture
def mock(start_mock: Callable[..., MockServer]) -> MockServer:
    return start_mock()


def fake_vllm(folder: Path) -> Path:
    """A program called vllm in `folder`, for PATH; see tests/generate/fake_vllm.py."""
    if (Path(sys.executable).parent / "vllm").exists():
        # A run prefers the vllm of its own environment, which would look for a GPU and load a model.
        pytest.skip("the real vLLM of this environment would be started, not the stand-in")
    program = folder / "vllm"
    if not program.exists():  # a job may be starting the one that is there
        folder.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests/generate/fake_vllm.py"}" "$@"\n')
        program.chmod(0o755)
    return program


def start_slurm(nodes: int) -> Iterator[Slurm]:
    if missing():  # Debian's packages; CI installs them, and there a skip is a failure
        pytest.skip(f"Slurm is not installed (slurm-wlm): {', '.join(missing())}")
    with tempfile.TemporaryDirectory(prefix="finemill-slurm") as root:  # short: sockets lie in it
        cluster = Slurm(Path(root), nodes)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A cluster of one node, shared by all tests."""
    yield from start_slurm(1)


def command(*arguments: object) -> list[str]:
    """The command line of pipelines/finephrase.py."""
    return [sys.executable, str(FINEPHRASE), *map(str, arguments)]


def endpoint(server: MockServer) -> list[str]:
    """Options for a scripted server; what it says would not pass the checks, which have tests of their own."""
    return ["--server", "endpoint", "--endpoint", server.url, "--tokenizer", "none", "--verify", "off"]


def finephrase(*arguments: object, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the pipeline as a user does; output and errors together in `stdout`."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        **options,
    )


def documents(count: int, words: int = 30) -> list[dict[str, Any]]:
    return [
        {"id": f"doc-{i}", "text": f"Document {i}. " + "Some words about it. " * (words // 4)} for i in range(count)
    ]


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], row_group_size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=row_group_size)
    return path


def shards(run: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every shard file, by its path in the run folder."""
    return {
        str(path.relative_to(run)): pq.read_table(path).to_pylist()
        for path in sorted((run / "shards").rglob("*.parquet"))
    }


def samples(run: Path) -> list[dict[str, Any]]:
    return [row for rows in shards(run).values() for row in rows]


def rejected(run: Path) -> list[dict[str, Any]]:
    files = sorted((run / "rejected").rglob("*.parquet"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def summary(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return content


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With FINEMILL_NO_SKIPS (`make test-all`) a skip is a failure, so that nothing is missing without a word.

    What is skipped is written down, for `make test-skipped`.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker of pytest-xdist
        return
    skipped = reporter.stats.get("skipped", [])
    SKIPPED.parent.mkdir(exist_ok=True)
    SKIPPED.write_text("".join(f"{report.nodeid}\n" for report in skipped))
    if os.environ.get("FINEMILL_NO_SKIPS") and skipped and exitstatus == 0:
        reporter.write_line(f"{len(skipped)} skipped test(s), and FINEMILL_NO_SKIPS is set", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
