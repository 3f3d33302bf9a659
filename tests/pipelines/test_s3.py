"""Input and output on S3, against a real S3 endpoint (moto) in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pyarrow.parquet as pq
import pytest

from tests.conftest import command, documents, endpoint, finephrase, write_jsonl, write_parquet
from tests.pipelines.test_publish import REPO, Hub, publish, published

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -e '.[s3]'")
pytest.importorskip("moto", reason="moto is not installed: pip install -e '.[test-all]'")


@pytest.fixture
def s3(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for name, value in (
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    fs = s3fs.S3FileSystem(endpoint_url=url, key="test", secret="test", skip_instance_cache=True)
    fs.mkdir("corpus")
    yield fs
    process.kill()
    process.wait()


def rows(fs) -> list[dict[str, object]]:
    fs.invalidate_cache()
    found = []
    for path in sorted(fs.find("corpus/run/shards")):
        with fs.open(path) as file:
            found += pq.read_table(file).to_pylist()
    return found


def test_from_s3_to_s3(tmp_path, s3, start_mock):
    server = start_mock("--latency", "0.2")
    source = write_parquet(tmp_path / "in.parquet", documents(60), row_group_size=10)
    s3.put_file(str(source), "corpus/in/in.parquet")
    arguments = ["--input", "s3://corpus/in/*.parquet", "--output", "s3://corpus/run", "--formats", "faq"]
    arguments += ["--chunk-size", 10, "--max-in-flight", 6, *endpoint(server)]
    without = finephrase(*arguments)
    assert without.returncode == 1 and "--state" in without.stdout

    arguments += ["--state", tmp_path / "state"]
    killed = subprocess.Popen(command(*arguments), start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(server.requests()) < 35 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(killed.pid, 9)
    killed.wait()

    result = finephrase(*arguments, "--samples", 1)
    assert result.returncode == 0, result.stdout
    assert [row["source_id"] for row in rows(s3)] == [row["id"] for row in documents(60)]
    assert s3.exists("corpus/run/run.yaml") and s3.exists("corpus/run/summary.json")
    assert "doc-0/faq" in result.stdout
    assert not list((tmp_path / "state" / "staging").iterdir())
    assert len(server.requests()) <= 60 + 2 * 6 + 8  # what was on the wire, and what a fifth of a second brings


def test_a_run_on_s3_is_published_beside_and_from_there(tmp_path, mock, s3):
    there = Hub(tmp_path / "hub")
    try:
        run, state = "s3://corpus/published", tmp_path / "state"
        corpus = write_jsonl(tmp_path / "in.jsonl", documents(20))
        asked = ["--formats", "faq", "--chunk-size", 5, "--state", state, *endpoint(mock)]
        done = finephrase("--input", corpus, "--output", run, *asked, "--publish", REPO, env=there.environment)
        assert done.returncode == 0 and "published: " in done.stdout, done.stdout
        done = publish(there, run, "--state", state)
        assert done.returncode == 0 and "20 samples in 1 file(s)" in done.stdout, done.stdout
        assert {row["source_id"] for row in published(there.files())} == {f"doc-{i}" for i in range(20)}
    finally:
        there.process.kill()
