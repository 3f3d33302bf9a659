"""Kill −9 at any moment, any number of times: the shards equal those of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from tests.conftest import (
    command,
    documents,
    endpoint,
    finephrase,
    rejected,
    shards,
    summary,
    write_jsonl,
    write_parquet,
)

KILLS = 27
SYNC_PROMISE = 1.5  # seconds after which an answer is never paid for again
ON_THE_WIRE = 0.5  # the mock's slowest answer takes 0.375 s, and it does not know that the asking process is dead


def descendants(pid: int) -> list[int]:
    """Living processes below `pid`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int], seconds: float = 10.0) -> list[int]:
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def workers_of(pid: int) -> list[int]:
    return [
        worker
        for server in descendants(pid)
        if "forkserver" in Path(f"/proc/{server}/cmdline").read_text()
        for worker in descendants(server)
    ]


def test_killed_at_random_moments(tmp_path, start_mock):
    """Workers, the launcher alone and the whole group die, in turn and at random moments of one run."""
    rows = documents(1100)
    rows[5]["text"] = ""  # rejected while reading
    rows[77]["text"] += " MOCK-SAY-refusal"
    rows[130]["text"] += " MOCK-FINISH-length"
    rows[200]["text"] += " MOCK-STATUS-400"
    rows[301]["text"] += " MOCK-STATUS-400 CONTEXT"
    write_jsonl(tmp_path / "input" / "a.jsonl", rows[:150])
    write_parquet(tmp_path / "input" / "b.parquet", rows[150:600], row_group_size=7)
    write_jsonl(tmp_path / "input" / "c.jsonl", rows[600:])
    fast, slow = start_mock(), start_mock("--latency", "0.25")
    common = ["--input", tmp_path / "input", "--formats", "faq,table", "--chunk-size", 20, "--tasks", 5, "--workers", 2]

    whole = finephrase(*common, "--output", tmp_path / "whole", *endpoint(fast))
    assert whole.returncode == 0, whole.stdout

    run = tmp_path / "killed"
    again = command(*common, "--output", run, *endpoint(slow), "--max-in-flight", 12)
    dice = random.Random(20261121)
    kills: list[float] = []
    victims: dict[str, int] = {"worker": 0, "parent": 0, "group": 0}
    output = (tmp_path / "output.txt").open("wb")
    finished = False
    while len(kills) < KILLS and not finished:
        process = subprocess.Popen(again, start_new_session=True, stdout=output, stderr=output)
        # Early kills hit start-up and planning, later ones generation and commits.
        time.sleep(dice.choice([0.6, 1.5, 2.2, 2.2, 2.8]) * dice.uniform(0.8, 1.2))
        for _ in range(dice.choice([0, 1, 2])):  # the launcher replaces a worker that is gone
            if workers := workers_of(process.pid):
                kills.append(time.time())
                os.kill(dice.choice(workers), signal.SIGKILL)
                victims["worker"] += 1
                time.sleep(dice.uniform(0.2, 2.0))
        finished = process.poll() == 0
        family = [process.pid, *descendants(process.pid)]
        if process.poll() is None:
            victim = dice.choice(["parent", "group"])
            kills.append(time.time())
            (os.killpg if victim == "group" else os.kill)(process.pid, signal.SIGKILL)
            victims[victim] += 1
        process.wait()
        assert wait_until_gone(family) == [], f"processes outlived a kill: {victims}"
    assert not finished, f"the run ended after {len(kills)} kills: make it longer"
    assert len(kills) >= 25 and all(victims.values()), victims

    last = subprocess.run(again, capture_output=True, text=True, timeout=120)
    assert last.returncode == 0, last.stdout + last.stderr

    assert shards(run) == shards(tmp_path / "whole")
    assert rejected(run) == rejected(tmp_path / "whole")
    for folder in (run, tmp_path / "whole"):
        result = summary(folder)
        assert result["complete"]
        assert (result["read"], result["done"]) == (1100, 1099)
        assert result["rejected"] == {"empty_text": 1, "refusal": 2, "cut_off": 2, "bad_request": 2, "too_long": 2}
        assert result["failed"] == {}
        assert result["written"] == {"faq": 1095, "table": 1095}
    assert not list((run / "state" / "staging").iterdir())
    assert not list((run / "state" / "journal").iterdir())

    # Asked again only what was answered within the sync promise before a kill, or was on the wire when it came.
    answered: dict[str, float] = {}
    repeated = 0
    for entry in slow.requests():
        before = answered.get(entry["hash"])
        if before is not None:
            repeated += 1
            assert any(before - ON_THE_WIRE <= kill < before + SYNC_PROMISE for kill in kills), (entry, before, kills)
        answered[entry["hash"]] = entry["at"]
    print(f"{len(kills)} kills {victims}; {len(answered)} requests, {repeated} asked again")


# Python imports a module of this name at start; every look at the clock is years and minutes off.
JUMPING_CLOCK = """
import random, time
now = time.time
time.time = lambda: now() + random.choice([1, -1]) * random.choice([90, 7200, 4e7])
"""


def test_the_clock_jumps(tmp_path, start_mock):
    """Forwards and backwards, at every look, over two launches of which the first is killed."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING_CLOCK)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    rows = documents(300)
    rows[3]["text"] = ""
    rows[40]["text"] += " MOCK-ONCE-429"
    rows[41]["text"] += " MOCK-ONCE-503"
    source = write_jsonl(tmp_path / "input.jsonl", rows)
    server = start_mock("--latency", "0.1")
    arguments = ["--input", source, "--formats", "faq", "--chunk-size", 50, *endpoint(server), "--max-in-flight", 8]
    assert finephrase(*arguments, "--output", tmp_path / "whole").returncode == 0
    asked = len(server.requests())

    run = tmp_path / "jumping"
    process = subprocess.Popen(command(*arguments, "--output", run), env=environment, stdout=subprocess.DEVNULL)
    while len(server.requests()) < asked + 150:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert 0 < len(list((run / "state" / "commits").iterdir())) < 6
    done = finephrase(*arguments, "--output", run, env=environment)
    assert done.returncode == 0, done.stdout

    assert shards(run) == shards(tmp_path / "whole")
    assert rejected(run) == rejected(tmp_path / "whole")
    assert summary(run)["complete"] and summary(run)["seconds"] >= 0
    launches = (run / "state" / "launches.jsonl").read_text().splitlines()
    assert any(abs(json.loads(line)["at"] - time.time()) > 30 for line in launches), "the clock did not jump"
