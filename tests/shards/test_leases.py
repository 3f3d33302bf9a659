"""Several processes on one run: who works on what, and what happens when one dies, sleeps or wakes up late."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from blocks.shards import leases as leases_module
from blocks.shards.commit import load_commits, pending_units
from blocks.shards.folder import RunFolder
from blocks.shards.journal import Journal, flush_journals
from blocks.shards.leases import Leases, claimed_units, live_leases, recover_abandoned
from blocks.shards.plan import load_plan
from tests.conftest import ROOT, documents, write_parquet
from tests.shards.steps import execute, planned


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    source = write_parquet(tmp_path / "in.parquet", documents(20), row_group_size=5)
    return replace(planned(tmp_path / "run", source, 5), shared=True)


def rows(folder: RunFolder) -> Counter[str]:
    import pyarrow.parquet as pq

    recover_abandoned(folder)
    found: Counter[str] = Counter()
    for commit in load_commits(folder):
        for file in commit.files:
            found.update(pq.read_table(f"{folder.output}/{file.path}")["id"].to_pylist())
    on_disk = {str(path.relative_to(folder.output)) for path in Path(folder.output, "shards").rglob("*.parquet")}
    assert on_disk == {file.path for commit in load_commits(folder) for file in commit.files}
    return found


ALL = {f"doc-{i}/{name}": 1 for i in range(20) for name in ("faq", "table")}


def test_a_unit_is_held_by_one(folder):
    mine, theirs = Leases(folder), Leases(folder)
    assert mine.claim("00000") and not theirs.claim("00000") and theirs.claim("00001")
    assert [(lease["unit"], lease["pid"]) for lease in live_leases(folder)] == [
        ("00000", os.getpid()),
        ("00001", os.getpid()),
    ]
    mine.release("00001")  # not its own
    assert not mine.claim("00001")
    mine.release("00000")
    assert theirs.claim("00000") and theirs.holds("00000") and not mine.holds("00000")
    theirs.close()
    mine.close()
    assert not live_leases(folder) and not list(theirs.path.iterdir())


def claims(others: list[Leases], unit: str) -> list[Leases]:
    """Those that get the unit when all want it in the same moment."""
    start, got = threading.Barrier(len(others)), []

    def claim(one: Leases) -> None:
        start.wait()
        if one.claim(unit):
            got.append(one)

    threads = [threading.Thread(target=claim, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_one_of_many_takes_over_what_has_expired(folder):
    gone, others = Leases(folder), [Leases(folder) for _ in range(8)]
    for number in range(100):
        unit = f"{number:05}"
        assert gone.claim(unit)
        os.utime(gone.path / unit, (1, 1))
        got = claims(others, unit)
        assert len(got) == 1 and got[0].holds(unit) and not gone.holds(unit)
        gone.release(unit)
        assert got[0].holds(unit)
    for one in (gone, *others):
        one.close()
    assert not list(gone.path.iterdir())


def test_threads_of_one_process_claim_and_release_at_once(folder):
    """One reads ahead while another commits; what a second process holds stays its own."""
    mine, theirs = Leases(folder), Leases(folder)
    assert theirs.claim("00000")
    lock = folder.state / "leases" / "00000"
    wrong: list[str] = []
    end = time.monotonic() + 2

    def work(unit: str) -> None:
        try:
            while time.monotonic() < end:
                assert not mine._create(lock)
                assert mine.claim(unit)
                mine.release(unit)
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(f"0000{number}",)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and theirs.holds("00000")
    theirs.close()
    mine.close()
    assert not list(mine.path.iterdir())


DIES_WHILE_TAKING_OVER = """
import os, sys
from pathlib import Path
from blocks.shards.folder import RunFolder
from blocks.shards.leases import Leases

unlink = Path.unlink
Path.unlink = lambda path, **options: os.kill(os.getpid(), 9) if path.name == "00000" else unlink(path, **options)
Leases(RunFolder(sys.argv[1], Path(sys.argv[2]))).claim("00000")
"""


def test_who_is_killed_while_taking_over_holds_nothing_up(folder):
    gone, others = Leases(folder), [Leases(folder) for _ in range(8)]
    assert gone.claim("00000")
    os.utime(gone.path / "00000", (1, 1))
    killed = subprocess.run(
        [sys.executable, "-c", DIES_WHILE_TAKING_OVER, folder.output, folder.state], cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert (gone.path / f".00000.after.{gone.token}").exists() and (gone.path / "00000").exists()
    got = claims(others, "00000")
    assert len(got) == 1 and got[0].holds("00000")
    for one in (gone, *others):
        one.close()
    assert not [path for path in gone.path.iterdir() if "00000" in path.name]


def test_leases_are_renewed(folder, monkeypatch):
    monkeypatch.setattr(leases_module, "EXPIRES", 1.0)
    mine, theirs = Leases(folder), Leases(folder)
    assert mine.claim("00000")
    time.sleep(1.5)
    assert not theirs.claim("00000")
    mine._closed.set()  # as if it were stopped
    time.sleep(1.5)
    assert not live_leases(folder) and theirs.claim("00000")
    theirs.close()


def held_by(folder: RunFolder, **holder: object) -> None:
    mine = Leases(folder)
    assert mine.claim("00000")
    path = mine.path / "00000"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"token": "x", **holder}))
    mine._closed.set()


@pytest.mark.parametrize(
    ("holder", "job", "free"),
    [
        ({"pid": 2**22 + 1}, None, True),  # no such process on this host
        ({"pid": 2**22 + 1, "host": "elsewhere"}, None, False),
        ({"pid": 2**22 + 1, "machine": "another boot, or another container"}, None, False),
        ({"host": "elsewhere", "job": "17", "life": 0}, ("17", "1"), True),  # requeued
        ({"host": "elsewhere", "job": "17", "life": 1}, ("17", "1"), False),  # a sibling of the same job
        ({"host": "elsewhere", "job": "16", "life": 0}, ("17", "1"), False),
    ],
)
def test_whose_holder_is_known_to_be_gone(folder, monkeypatch, holder, job, free):
    held_by(folder, **holder)
    if job is not None:
        monkeypatch.setenv("SLURM_JOB_ID", job[0])
        monkeypatch.setenv("SLURM_RESTART_COUNT", job[1])
    claiming = Leases(folder)
    assert claiming.claim("00000") is free
    claiming.close()


def test_all_units_are_handed_out_once(folder):
    mine, theirs = Leases(folder), Leases(folder)
    units = load_plan(folder.state / "plan.jsonl")
    one, other = claimed_units(folder, mine, units), claimed_units(folder, theirs, units)
    numbers = [next(one)[0].number, next(other)[0].number, next(one)[0].number, next(other)[0].number]
    assert sorted(numbers) == [0, 1, 2, 3] and not list(one) and not list(other)
    mine.close()
    assert {unit.number for unit, _ in claimed_units(folder, theirs, units)} == {numbers[0], numbers[2]}
    theirs.close()


def test_a_run_of_one_worker_holds_nothing_at_its_end(folder):
    execute(folder, 5)
    assert rows(folder) == ALL and not live_leases(folder)


def test_a_journal_is_taken_from_a_zombie(tmp_path):
    zombie = Journal(tmp_path / "j.jsonl")
    zombie.put(b"0" * 16, {"text": "a"})
    flush_journals()
    mine = Journal(tmp_path / "j.jsonl", leased=True)
    assert mine.get(b"0" * 16) == {"text": "a"}
    zombie.put(b"1" * 16, {"text": "late"})
    mine.put(b"2" * 16, {"text": "b"})
    flush_journals()
    zombie.discard()
    mine.close()
    flush_journals()
    again = Journal(tmp_path / "j.jsonl")
    assert [again.get(bytes([n]) * 16) for n in b"012"] == [{"text": "a"}, None, {"text": "b"}]
    again.discard()
    assert not list(tmp_path.iterdir())


def start(folder: RunFolder) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.shards.lease_worker", folder.output]
    environment = {**os.environ, "FINEMILL_LEASE_SECONDS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE)


def test_a_zombie_wakes_up_when_all_is_done(folder):
    zombie = start(folder)
    while not list((folder.state / "staging").iterdir()):
        time.sleep(0.01)
    zombie.send_signal(signal.SIGSTOP)
    try:
        other = start(folder)
        assert other.wait(60) == 0
        assert rows(folder) == ALL
        zombie.send_signal(signal.SIGCONT)
        assert zombie.communicate(timeout=60)[0] == "taken over\n" and zombie.returncode == 0
    finally:
        zombie.kill()
    assert rows(folder) == ALL and not live_leases(folder)
    assert not list((folder.state / "journal").iterdir()) and not list((folder.state / "staging").iterdir())


def test_processes_that_are_killed_and_stopped_lose_and_double_nothing(tmp_path):
    """Four workers, each of which is killed and replaced, or stopped for longer than its leases last, at any time."""
    source = write_parquet(tmp_path / "in.parquet", documents(400), row_group_size=5)
    folder = replace(planned(tmp_path / "run", source, 5), shared=True)
    dice = random.Random(5)
    workers = [start(folder) for _ in range(4)]
    sleeping: list[tuple[float, subprocess.Popen[str]]] = []
    events: Counter[str] = Counter()
    deadline = time.monotonic() + 100
    try:
        while any(pending_units(folder, load_plan(folder.state / "plan.jsonl"))) and time.monotonic() < deadline:
            time.sleep(dice.uniform(0.1, 0.4))
            for until, process in list(sleeping):
                if time.monotonic() > until:
                    process.send_signal(signal.SIGCONT)
                    sleeping.remove((until, process))
                    events["woken"] += 1
            awake = [worker for worker in workers if worker not in [process for _, process in sleeping]]
            if len(awake) < 2 or events["killed"] + events["stopped"] >= 16:
                continue
            victim = dice.choice(awake)
            if dice.random() < 0.5:
                victim.kill()
                events["killed"] += 1
                victim.communicate()
                workers[workers.index(victim)] = start(folder)
            else:
                victim.send_signal(signal.SIGSTOP)
                events["stopped"] += 1
                sleeping.append((time.monotonic() + 2.5, victim))
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        for worker in workers:
            worker.communicate(timeout=60)
            assert worker.returncode == 0
    finally:
        for worker in workers:
            worker.kill()
    assert events["killed"] >= 3 and events["stopped"] >= 3, events
    assert rows(folder) == {f"doc-{i}/{name}": 1 for i in range(400) for name in ("faq", "table")}
    assert not live_leases(folder)
