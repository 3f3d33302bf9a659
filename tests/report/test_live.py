"""The page of a run that goes on."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, command, documents, endpoint, finephrase, write_jsonl


@pytest.fixture
def served(tmp_path):
    """Starts `status.py --serve` on a free port; its address."""
    started = []

    def serve(run):
        program = [sys.executable, str(ROOT / "pipelines" / "status.py"), str(run), "--serve", "--port", "0"]
        process = subprocess.Popen([*program, "--every", "1"], stdout=subprocess.PIPE, text=True)
        started.append(process)
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line
        return line.split()[0]

    yield serve
    for process in started:
        process.terminate()
        process.wait(20)


def ask(url, method="GET", path="/", host=None):
    name, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    connection = http.client.HTTPConnection(name, int(port), timeout=20)
    connection.request(method, path, headers={"Host": host or f"{name}:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def test_the_page_follows_a_run(tmp_path, start_mock, served, opened):
    server = start_mock("--latency", "0.4")
    source = write_jsonl(tmp_path / "in.jsonl", documents(60))
    asked = ["--input", source, "--output", tmp_path / "run", "--formats", "faq", *endpoint(server)]
    asked += ["--chunk-size", 6, "--max-in-flight", 2]
    going_on = subprocess.Popen(command(*asked), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list((tmp_path / "run" / "state" / "commits").glob("*.json")):
            assert going_on.poll() is None
            time.sleep(0.1)
        page = opened(served(tmp_path / "run"))
        read = int(page.locator("#read").inner_text())
        assert 0 < read < 60 and page.locator("header strong").inner_text() == "not complete"
        page.locator("#search").fill("document")
        page.wait_for_function("was => Number(document.getElementById('read').innerText) > was", arg=read)
        assert page.locator("#search").input_value() == "document", "filters stay"
        assert going_on.wait(60) == 0
    finally:
        going_on.kill()
    page.wait_for_function("() => document.getElementById('read').innerText === '60'")
    assert page.locator("header strong").count() == 0
    page.uncheck("#live")
    page.reload()
    assert not page.is_checked("#live")


def test_it_comes_back_when_the_disk_does(tmp_path, start_mock, served):
    source = write_jsonl(tmp_path / "in.jsonl", documents(9))
    run = tmp_path / "日本"
    assert finephrase("--input", source, "--output", run, "--formats", "faq", *endpoint(start_mock())).returncode == 0
    url = served(run)
    (run / "state" / "commits").rename(tmp_path / "away")
    status, text = ask(url)
    assert status == 503 and 'http-equiv="refresh"' in text and "日本" in text
    (tmp_path / "away").rename(run / "state" / "commits")
    (run / "shards").rename(tmp_path / "away")
    assert "not in their place" in ask(url)[1]
    (tmp_path / "away").rename(run / "shards")
    time.sleep(1.1)
    assert "not in their place" not in ask(url)[1] and ask(url)[1].count('data-kind="written"') == 6


def test_it_only_reads_and_only_for_this_machine(tmp_path, start_mock, served):
    source = write_jsonl(tmp_path / "in.jsonl", documents(9))
    run = tmp_path / "run"
    assert finephrase("--input", source, "--output", run, "--formats", "faq", *endpoint(start_mock())).returncode == 0
    for marked in (run / "state" / "finished").iterdir():
        marked.unlink()  # as when it was killed at its end
    before = contents(run)
    url = served(run)
    port = url.rstrip("/").rpartition(":")[2]
    status, text = ask(url)
    assert status == 200 and "Content-Security-Policy" in text
    assert ask(url, host="localhost:9000")[0] == 200, "through a tunnel"
    assert ask(url, host=f"evil.example:{port}")[0] == 421
    assert ask(url, path="/state/run")[0] == 404 and ask(url, path="/../run.yaml")[0] == 404
    assert ask(url, "POST")[0] == 501 == ask(url, "DELETE")[0]
    assert contents(run) == before
    stopping = [sys.executable, str(ROOT / "pipelines" / "status.py"), str(run), "stop", "--serve"]
    refused = subprocess.run(stopping, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "leave out the rest" in refused.stdout
    taken = [sys.executable, str(ROOT / "pipelines" / "status.py"), str(run), "--serve", "--port", port]
    refused = subprocess.run(taken, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and f"port {port} is in use" in refused.stdout
    listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True)
    if listening.returncode == 0:
        [line] = [line for line in listening.stdout.splitlines() if f":{port} " in line]
        assert f"127.0.0.1:{port}" in line
