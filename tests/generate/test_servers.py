"""Managed servers, with real processes: a stand-in for vLLM is started, crashed, killed and left behind."""

import contextlib
import http.client
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from blocks.generate import guard, pulse, supervise
from blocks.generate.servers import VLLM, Server, ServerError, Transformers, check_gpu_memory, serve, visible_gpus

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_vllm.py")
MODEL = VLLM("org/model", start_timeout=60)

# A launching process as a run is one: it has forked a worker that outlives it and holds all its open files.
LAUNCHER = """
import os, sys, time
from pathlib import Path
from blocks.generate.servers import VLLM, serve
with serve(VLLM("org/model"), state=Path(sys.argv[1])):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(600)
"""

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through Linux's /proc"),
    pytest.mark.skipif((Path(sys.executable).parent / "vllm").exists(), reason="the real vLLM would be started"),
]


@pytest.fixture(autouse=True)
def pids(tmp_path, monkeypatch):
    """Puts the stand-in on PATH of a node with one GPU; gives the file with the pids of what it started."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr(supervise, "FIRST_PAUSE", 0.01)
    return tmp_path / "pids"


def started(pids: Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split()]


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def gone(processes) -> bool:
    return all(guard.birth(pid) is None for pid in processes)


def records(state: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((state / "servers").glob("*.json"))]


def ask(url: str) -> str:
    body = {"model": "org/model", "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["choices"][0]["message"]["content"]


def answers(url: str) -> bool:
    try:
        return ask(url) == "HELLO"
    except (OSError, http.client.HTTPException):  # a server that dies in the middle of its answer gives either
        return False


def option(command: list[str], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


# What is started


def test_vllm_command_has_the_production_settings():
    command = VLLM(revision="abc", tensor_parallel_size=2).command(8123)
    assert command[1:3] == ["serve", "HuggingFaceTB/SmolLM2-1.7B-Instruct"]
    expected = {
        "--host": "127.0.0.1",
        "--port": "8123",
        "--served-model-name": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "--revision": "abc",
        "--max-model-len": "8192",
        "--max-num-seqs": "2048",
        "--max-num-batched-tokens": "16384",
        "--gpu-memory-utilization": "0.9",
        "--dtype": "bfloat16",
        "--optimization-level": "3",
        "--tensor-parallel-size": "2",
    }
    assert {name: option(command, name) for name in expected} == expected
    assert not any("trust-remote-code" in part for part in command)
    assert "--trust-remote-code" in VLLM(trust_remote_code=True).command(8123)


def test_vllm_options_win_over_defaults():
    options = {
        "max-num-seqs": 64,
        "enable_prefix_caching": True,
        "async_scheduling": False,
        "hf_overrides": {"a": [1]},
        "dtype": None,
        "speculative_config": None,
    }
    command = VLLM("m", options=options).command(1)
    assert command.count("--max-num-seqs") == 1 and option(command, "--max-num-seqs") == "64"
    assert "--enable-prefix-caching" in command and "--no-async-scheduling" in command
    assert json.loads(option(command, "--hf-overrides")) == {"a": [1]}
    assert "--dtype" not in command and "--speculative-config" not in command


@pytest.mark.parametrize("name", ["port", "served-model-name", "tensor_parallel_size", "api_key"])
def test_options_that_the_run_decides_are_refused(name):
    with pytest.raises(ValueError, match=name.replace("-", "_")):
        VLLM("m", options={name: 1})


@pytest.mark.parametrize(("installed", "method"), [(True, "suffix"), (False, "ngram")])
def test_suffix_speculation_where_its_package_is_installed(tmp_path, monkeypatch, installed, method):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))  # vllm lies beside this
    (tmp_path / "site" / "arctic_inference").mkdir(parents=True)
    if installed:
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
    elif importlib.util.find_spec("arctic_inference"):
        pytest.skip("arctic-inference is installed")
    speculation = json.loads(option(VLLM("m").command(1), "--speculative-config"))
    assert (speculation["method"], speculation["num_speculative_tokens"]) == (method, 32 if installed else 6)


def test_transformers_command_pins_the_revision_in_the_name(tmp_path, monkeypatch):
    (tmp_path / "bin" / "transformers").symlink_to(tmp_path / "bin" / "vllm")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    hub = Transformers("org/tiny", revision="abc", options={"dtype": "float32"})
    assert hub.served_name == "org/tiny@abc" and "HF_HUB_OFFLINE" not in hub.environment([])
    assert hub.command(8123) == [
        *(str(tmp_path / "bin" / "transformers"), "serve", "org/tiny@abc", "--device", "cpu"),
        *("--host", "127.0.0.1", "--port", "8123", "--dtype", "float32"),
    ]
    folder = Transformers(str(tmp_path), revision="abc")
    assert folder.served_name == str(tmp_path) and folder.environment([])["HF_HUB_OFFLINE"] == "1"


def test_servers_can_be_pickled():
    server = VLLM("m", options={"max_num_seqs": 8})
    assert pickle.loads(pickle.dumps(server)) == server


@pytest.mark.parametrize("server", [VLLM("m"), Transformers("m")])
def test_missing_program_is_named_before_anything_starts(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    with pytest.raises(ServerError, match=r"pip install -e '\.\[.*--server endpoint"), serve(server, tmp_path):
        pass
    assert not (tmp_path / "servers").exists()


# Where it is started


def test_visible_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-7f,5")
    assert visible_gpus() == ["2", "GPU-7f", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H100 (UUID: GPU-2)'\n")
    smi.chmod(0o755)
    assert visible_gpus() == ["0", "1"]


def test_gpu_memory_of_all_servers_is_checked():
    def share(part) -> Server:
        return VLLM(f"model-{part}", options={"gpu_memory_utilization": part})

    check_gpu_memory([share(0.6), share(0.4), Transformers("m")])
    with pytest.raises(ServerError, match=r"1\.10.*model-0\.6 0\.60, model-0\.5 0\.50.*gpu_memory_utilization"):
        check_gpu_memory([share(0.6), share(0.5)])


def test_too_few_gpus(tmp_path):
    with (
        pytest.raises(ServerError, match=r"need 2 GPU\(s\), but 1 are visible"),
        serve(VLLM("m", tensor_parallel_size=2), tmp_path),
    ):
        pass


# How it runs


def test_a_server_per_gpu_and_no_process_left_at_the_end(tmp_path, pids, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    with serve(MODEL, state=tmp_path) as running:
        assert running.endpoint.model == "org/model" and running.endpoint.managed
        assert len(set(running.endpoint.urls)) == 2
        assert [ask(url) for url in running.endpoint.urls] == ["HELLO", "HELLO"]
        guards = [record["guard"]["pid"] for record in records(tmp_path)]
        pinned = {
            entry
            for pid in started(pids)
            for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
            if entry.startswith("CUDA_VISIBLE_DEVICES=")
        }
        assert pinned == {"CUDA_VISIBLE_DEVICES=4", "CUDA_VISIBLE_DEVICES=6"}
        assert len(guards) == 2 and len(started(pids)) == 4
        assert running.failed is None
    assert gone(started(pids) + guards)
    assert records(tmp_path) == []


def test_crashed_server_is_restarted_on_the_same_port(tmp_path, pids, monkeypatch):
    monkeypatch.setenv("FAKE_VLLM_DIE_AFTER", "1")
    with serve(MODEL, state=tmp_path) as running:
        (url,) = running.endpoint.urls
        server, engine = started(pids)
        assert ask(url) == "HELLO"
        wait_for(lambda: answers(url))
        assert gone([server, engine])
        assert running.failed is None


def test_server_that_keeps_crashing_fails_the_run(tmp_path, pids, monkeypatch):
    with serve(MODEL, state=tmp_path) as running:
        monkeypatch.setenv("FAKE_VLLM_CRASH", "CUDA error: an illegal memory access")
        os.kill(started(pids)[0], signal.SIGKILL)
        wait_for(lambda: running.failed is not None)
        assert "5 restarts" in str(running.failed)
        assert "an illegal memory access" in str(running.failed)
        assert running.logs[0].read_text().count("fake vllm") == 1 + supervise.MAX_RESTARTS
    assert gone(started(pids))


@pytest.fixture
def impatient(monkeypatch):
    for name, seconds in {"LOOK": 0.05, "STILL": 0.3, "REPLY": 5.0}.items():
        monkeypatch.setattr(pulse, name, seconds)


def test_a_server_that_hangs_is_restarted(tmp_path, pids, impatient, monkeypatch):
    monkeypatch.setenv("FAKE_VLLM_HANG_AFTER", "1")
    monkeypatch.setattr(pulse, "REPLY", 2.0)
    with serve(MODEL, state=tmp_path) as running:
        (url,) = running.endpoint.urls
        server, engine = started(pids)
        monkeypatch.delenv("FAKE_VLLM_HANG_AFTER")  # the next one is in better health
        wait_for(lambda: gone([server, engine]))
        wait_for(lambda: answers(url))
        assert running.failed is None


def test_a_server_that_is_idle_or_at_work_is_left_alone(tmp_path, pids, impatient):
    with serve(MODEL, state=tmp_path) as running:
        (url,) = running.endpoint.urls
        server = VLLM("org/model")
        port = int(url.rpartition(":")[2].removesuffix("/v1"))
        before = server.tokens(port)
        # It is asked for a token now and then, which moves its counters.
        wait_for(lambda: server.tokens(port) >= before + 6)
        assert ask(url) == "HELLO"
        assert len(started(pids)) == 2


def test_a_server_that_does_not_count_is_believed(tmp_path, pids, impatient, monkeypatch):
    monkeypatch.setenv("FAKE_VLLM_SILENT", "1")
    monkeypatch.setenv("FAKE_VLLM_HANG_AFTER", "0")
    with serve(MODEL, state=tmp_path) as running:
        (url,) = running.endpoint.urls
        assert VLLM("org/model").tokens(int(url.rpartition(":")[2].removesuffix("/v1"))) is None
        time.sleep(1)
        assert len(started(pids)) == 2 and not gone(started(pids)) and running.failed is None


def test_failed_start_shows_the_end_of_the_log(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_VLLM_NOISE", "1")
    monkeypatch.setenv("FAKE_VLLM_CRASH", "ValueError: no such model")
    with (
        pytest.raises(ServerError, match=r"(?s)exited with code 3.*not text\nValueError: no such model") as caught,
        serve(MODEL, state=tmp_path),
    ):
        pass
    assert max(map(len, str(caught.value).split("\n"))) <= 500
    assert records(tmp_path) == []


def test_start_that_takes_too_long(tmp_path, pids, monkeypatch):
    monkeypatch.setenv("FAKE_VLLM_START", "600")
    with (
        pytest.raises(ServerError, match="did not answer within 2 s"),
        serve(VLLM("org/model", start_timeout=2), state=tmp_path),
    ):
        pass
    assert gone(started(pids))


def test_log_tail_shows_the_last_state_of_a_progress_bar(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first life\n" + b"loading 0%\rloading 50%\rloading 100%\r\n" * 40 + b"done\n")
    assert supervise.log_tail(log, start=11).split("\n") == ["loading 100%"] * 29 + ["done"]
    assert supervise.log_tail(log, lines=100).split("\n")[0] == "first life"


def test_foreign_server_on_the_port_is_not_adopted(tmp_path, monkeypatch):
    taken = supervise.free_port()
    foreign = subprocess.Popen(
        [sys.executable, FAKE, "serve", "org/other", "--served-model-name", "org/other", "--port", str(taken)],
        start_new_session=True,
    )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{taken}/v1"))
        choices = [taken]
        free_port = supervise.free_port
        monkeypatch.setattr(supervise, "free_port", lambda: choices.pop() if choices else free_port())
        monkeypatch.setenv("FAKE_VLLM_START", "1")
        with serve(MODEL, state=tmp_path) as running:
            assert running.endpoint.urls != (f"http://127.0.0.1:{taken}/v1",)
            assert ask(running.endpoint.urls[0]) == "HELLO"
    finally:
        os.killpg(foreign.pid, signal.SIGKILL)
        foreign.wait()


# How it ends


@pytest.fixture
def launcher(tmp_path, pids):
    """A separate launching process whose server is up."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    worker = int(process.stdout.readline())
    yield process
    for pid in (worker, process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for record in records(tmp_path):
        os.killpg(record["server"]["pid"], signal.SIGKILL)


@pytest.mark.parametrize("whole_group", [False, True])
def test_killed_launcher_takes_its_server_along(launcher, pids, tmp_path, whole_group):
    guards = [record["guard"]["pid"] for record in records(tmp_path)]
    (os.killpg if whole_group else os.kill)(launcher.pid, signal.SIGKILL)
    wait_for(lambda: gone(started(pids) + guards))
    assert records(tmp_path) == []


def test_killed_guard_leaves_nothing_behind(tmp_path, pids):
    with serve(MODEL, state=tmp_path) as running:
        first = started(pids)
        os.kill(records(tmp_path)[0]["guard"]["pid"], signal.SIGKILL)
        wait_for(lambda: gone(first) and answers(running.endpoint.urls[0]))
    assert gone(started(pids))


def test_orphan_of_a_killed_run_is_ended_by_the_next(launcher, pids, tmp_path, monkeypatch):
    (record,) = records(tmp_path)
    os.kill(launcher.pid, signal.SIGSTOP)  # so that it cannot react to the death of its guard
    os.kill(record["guard"]["pid"], signal.SIGKILL)
    os.kill(launcher.pid, signal.SIGKILL)
    server, engine = started(pids)
    wait_for(lambda: gone([server, launcher.pid]))
    assert not gone([engine])  # nothing has told it; it would hold the GPU's memory
    with serve(MODEL, state=tmp_path):
        assert gone([engine])
        assert [other["server"]["pid"] for other in records(tmp_path)] == [started(pids)[2]]


def test_servers_of_a_living_run_and_reused_pids_are_left_alone(tmp_path, pids):
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        with serve(MODEL, state=tmp_path):
            first = started(pids)
            (record,) = records(tmp_path)
            process = {"pid": bystander.pid, "started": guard.birth(bystander.pid) - 1}
            stale = {**record, "launcher": process, "guard": process, "server": process}
            (tmp_path / "servers" / "stale.json").write_text(json.dumps(stale))
            with serve(MODEL, state=tmp_path):
                assert not gone([first[0]]) and not gone([first[1]])
                assert bystander.poll() is None
                assert not (tmp_path / "servers" / "stale.json").exists()
    finally:
        bystander.kill()
        bystander.wait()
