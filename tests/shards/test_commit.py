"""Commits: whatever breaks at whatever step, recovering and running again gives what an undisturbed run gives."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import xxhash

from blocks.shards import commit as module
from blocks.shards import folder as folder_module
from blocks.shards import journal, write
from blocks.shards.commit import (
    Commit,
    Staging,
    committed_chunks,
    finished_units,
    load_commits,
    mark_finished,
    pending_units,
    recover,
)
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import load_plan
from blocks.shards.tally import Tally
from tests.conftest import write_jsonl
from tests.shards.steps import Echo, execute, planned


class Crash(BaseException):
    """Stands for the end of the process: nothing may rely on what happens after it."""


def source(tmp_path: Path) -> Path:
    """Three chunks: one with samples and a refusal, one that ends with no sample at all, one with a failure only."""
    texts = ["text", "text", "refuse", "nothing", "nothing", "nothing", "fail"]
    return write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": f"{text} {i}"} for i, text in enumerate(texts)])


def content(run: Path) -> dict[str, bytes]:
    """Every file of the output, byte by byte."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for folder in ("shards", "rejected")
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    }


def records(folder: RunFolder) -> list[dict[str, Any]]:
    """Commit records without what differs from run to run."""
    return [
        {**vars(commit), "at": None, "token": None, "files": [vars(file) for file in commit.files]}
        for commit in load_commits(folder)
    ]


@pytest.fixture
def whole(tmp_path):
    folder = planned(tmp_path / "whole", source(tmp_path), 3)
    execute(folder, 3)
    return folder


STEPS = [
    (module.Staging, "__init__"),
    (module.Staging, "describe"),
    (module, "write_synced"),
    (module, "sync"),
    (module, "create_exclusively"),
    (os, "link"),
    (RunFolder, "place"),
    (Path, "replace"),
    (module.Staging, "discard"),
    (pq.ParquetWriter, "close"),
    (journal.Journal, "discard"),
    (write, "mark_finished"),
]


def crash_at(patch: pytest.MonkeyPatch, moment: int, error: BaseException) -> list[str]:
    """Raise `error` at the given moment: before or after the n-th call of anything that a commit consists of."""
    passed: list[str] = []

    def tick(name: str) -> None:
        passed.append(name)
        if len(passed) == moment:
            raise error

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            tick(f"before {name}")
            result = real(*arguments, **options)
            tick(f"after {name}")
            return result

        patch.setattr(owner, name, wrapped)

    for owner, name in STEPS:
        wrap(owner, name)
    return passed


@pytest.mark.parametrize("error", [Crash(), OSError(errno.ENOSPC, "No space left on device")], ids=["crash", "full"])
def test_a_crash_at_every_step_of_every_commit(tmp_path, monkeypatch, whole, error):
    expected, expected_records = content(tmp_path / "whole"), records(whole)
    moment = 0
    while True:
        moment += 1
        run = tmp_path / f"run-{moment}"
        folder = planned(run, tmp_path / "a.jsonl", 3)
        with monkeypatch.context() as patch:
            passed = crash_at(patch, moment, error)
            try:
                execute(folder, 3)
            except (Crash, RunError):
                pass
            else:
                break
        folder = planned(run, tmp_path / "a.jsonl", 3)
        assert not list((folder.state / "staging").iterdir())
        for commit in load_commits(folder):  # what is committed is in its place, before anything runs again
            assert all((run / file.path).stat().st_size == file.bytes for file in commit.files), passed[-1]
        execute(folder, 3)
        assert content(run) == expected, passed[-1]
        assert [{**r, "worker": None} for r in records(folder)] == [{**r, "worker": None} for r in expected_records]
        assert finished_units(folder) == {0}
        for name in ("staging", "journal"):
            assert not list((folder.state / name).iterdir()), passed[-1]
    assert moment > 50, "the test no longer reaches the steps of a commit"


KILLED = """
import os, sys
from pathlib import Path
from blocks.shards import commit, write
from blocks.shards.folder import RunFolder
from tests.shards.steps import execute, planned

moment = sys.argv[3]
if moment == "before record":
    commit.create_exclusively = lambda *_: os._exit(9)
elif moment == "after record":
    commit.place_files = lambda *_: os._exit(9)
elif moment == "between moves":
    place, done = RunFolder.place, []
    def one(self, staged, name):
        done.append(name)
        return place(self, staged, name) if len(done) == 1 else os._exit(9)
    RunFolder.place = one
else:
    write.mark_finished = lambda *_: os._exit(9)
execute(planned(sys.argv[1], sys.argv[2], 3), 3)
"""


@pytest.mark.parametrize("moment", ["before record", "after record", "between moves", "before finished"])
def test_a_process_that_dies_in_a_commit(tmp_path, whole, moment):
    run = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, run, tmp_path / "a.jsonl", moment]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=60)
    assert killed.returncode == 9
    execute(planned(run, tmp_path / "a.jsonl", 3), 3)
    assert content(run) == content(tmp_path / "whole")
    assert finished_units(RunFolder.at(str(run))) == {0}


def staged(folder: RunFolder, text: str, names: tuple[str, ...] = ("faq", "table")) -> tuple[Staging, Commit]:
    """A chunk's files, staged and described, ready to be committed."""
    staging = Staging(folder, "00000-00000")
    files = []
    for name in names:
        path = f"shards/{name}/00000-00000.jsonl"
        staging.file(path).write_text(text)
        files.append(staging.describe(path, 1))
    return staging, Commit("00000-00000", 0, 0, True, staging.token, files, Tally().as_dict())


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.at(str(tmp_path / "run"))
    made.prepare()
    return made


def placed(tmp_path: Path) -> set[str]:
    return {path.read_text() for path in (tmp_path / "run" / "shards").rglob("*.jsonl")}


def test_one_of_two_commits_wins_whole(tmp_path, folder):
    (one, record_of_one), (two, record_of_two) = staged(folder, "one"), staged(folder, "two", ("faq", "math"))
    assert two.commit(record_of_two)
    assert not one.commit(record_of_one)
    assert placed(tmp_path) == {"two"}
    assert {path.parent.name for path in (tmp_path / "run").rglob("*.jsonl")} == {"faq", "math"}
    assert [commit.token for commit in load_commits(folder)] == [two.token]
    assert not list((folder.state / "staging").iterdir())


RACE = """
import sys
from tests.shards.test_commit import staged
from blocks.shards.folder import RunFolder

folder = RunFolder.at(sys.argv[1])
staging, record = staged(folder, sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
print(staging.commit(record), flush=True)
"""


def test_processes_race_for_a_chunk(tmp_path, folder):
    command = [sys.executable, "-c", RACE, folder.output]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[2]}
    processes = [subprocess.Popen([*command, str(n)], **pipes) for n in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(results) == ["False", "False", "True"]
    assert placed(tmp_path) == {str(results.index("True"))}
    assert len(list(load_commits(folder))) == 1


def test_a_process_thought_dead_cannot_commit_after_recovery(tmp_path, folder):
    zombie, record = staged(folder, "zombie")
    recover(folder)
    with pytest.raises(FileNotFoundError):
        zombie.commit(record)
    assert list(load_commits(folder)) == []
    heir, record_of_heir = staged(folder, "heir")
    assert heir.commit(record_of_heir)
    assert placed(tmp_path) == {"heir"}


def test_recovery_during_a_commit_of_a_process_thought_dead(tmp_path, folder, monkeypatch):
    """Between its record and its moves; whoever makes the moves, they are made."""
    zombie, record = staged(folder, "zombie")
    place = module.place_files

    def recover_first(*arguments):
        monkeypatch.setattr(module, "place_files", place)
        recover(folder)
        place(*arguments)

    monkeypatch.setattr(module, "place_files", recover_first)
    assert zombie.commit(record)
    assert placed(tmp_path) == {"zombie"}
    assert len(list((tmp_path / "run").rglob("*.jsonl"))) == 2


def test_a_link_whose_reply_was_lost_counts(tmp_path, folder, monkeypatch):
    """NFS repeats a request whose reply was lost, and then says that the name exists."""
    staging, record = staged(folder, "mine")
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(folder_module.os, "link", twice)
    true = Path.stat

    def cached(path: Path, **options: Any) -> os.stat_result:
        """As a client that has just written the file may know it: with one link."""
        told = true(path, **options)
        return os.stat_result([*told[:3], 1, *told[4:]])

    monkeypatch.setattr(Path, "stat", cached)
    assert staging.commit(record)
    monkeypatch.undo()
    assert placed(tmp_path) == {"mine"}


def test_recovery_leaves_other_units_and_strange_names_alone(tmp_path, folder):
    mine, _ = staged(folder, "x")
    other = Staging(folder, "p2-00007-00000")
    (folder.state / "staging" / ".nfs0001").write_text("")
    (folder.state / "journal" / ".nfs0002").write_text("")
    recover(folder, "00000")
    assert other.path.exists() and not mine.path.exists()
    recover(folder, "p2-00007")
    assert not other.path.exists()
    recover(folder)


@pytest.mark.parametrize("crash", [False, True])
def test_state_and_output_on_different_file_systems(tmp_path, monkeypatch, whole, crash):
    replace = Path.replace
    moves = []

    def across(self, target):
        if "staging" in str(self):
            moves.append(target)
            if crash and len(moves) == 2:
                raise Crash
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across)
    for _ in range(2):
        folder = planned(tmp_path / "run", tmp_path / "a.jsonl", 3)
        try:
            execute(folder, 3)
        except Crash:
            crash = False
            continue
        break
    assert moves
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert not list((tmp_path / "run" / "shards").rglob(".*"))


def test_an_error_while_moving_keeps_the_committed_files(tmp_path, monkeypatch, whole):
    """The record is there already: throwing the staged files away now would lose the chunk for good."""
    folder = planned(tmp_path / "run", tmp_path / "a.jsonl", 3)

    def broken(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "place", broken)
        with pytest.raises(RunError, match=r"cannot write chunk 00000-00000: .*Permission denied.*start again"):
            execute(folder, 3)
    execute(planned(tmp_path / "run", tmp_path / "a.jsonl", 3), 3)
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_vanished_state_folder_is_an_error(tmp_path):
    folder = planned(tmp_path / "run", source(tmp_path), 3)
    vanish = Echo(before=lambda _: shutil.rmtree(folder.state / "commits", ignore_errors=True))
    with pytest.raises(RunError, match="cannot write chunk"):
        execute(folder, 3, [vanish])


def test_passes_do_not_see_each_other(tmp_path, folder):
    second = folder.for_pass(2)
    for name in ("00000-00000", "00000-00001", "00012-00003", "p1-00000-00000", "p2-00000-00004", "p12-00001-00000"):
        (folder.state / "commits" / f"{name}.json").write_text("{}")
    (folder.state / "commits" / ".00000-00009.json.part").write_text("")
    assert committed_chunks(folder) == {0: {0, 1}, 12: {3}}
    assert committed_chunks(second) == {0: {4}}
    assert committed_chunks(folder.for_pass(12)) == {1: {0}}
    mark_finished(second, 123456)
    mark_finished(folder, 7)
    assert finished_units(second) == {123456}
    assert finished_units(folder) == {7}
    assert second.chunk_name(123456, 100000) == "p2-123456-100000"
    assert second.parse_name("p2-123456-100000") == (123456, 100000)


def test_pending_units(tmp_path):
    for name in "abcd":
        write_jsonl(tmp_path / "in" / f"{name}.jsonl", [{"text": f"{name}{i}"} for i in range(4)])
    folder = planned(tmp_path / "run", tmp_path / "in", 2)
    execute(folder, 2)
    units = load_plan(folder.state / "plan.jsonl")
    assert list(pending_units(folder, units)) == []
    (folder.state / "finished" / "00001").unlink()  # its worker died just before it could say so
    (folder.state / "finished" / "00002").unlink()
    (folder.state / "commits" / "00002-00001.json").unlink()
    (folder.state / "finished" / "00003").unlink()
    (folder.state / "commits" / "00003-00000.json").unlink()
    assert [(unit.number, done) for unit, done in pending_units(folder, units)] == [(2, {0}), (3, {1})]
    assert finished_units(folder) == {0, 1}


def test_records_say_what_the_files_hold(tmp_path, whole):
    for commit in load_commits(whole):
        for file in commit.files:
            path = tmp_path / "whole" / file.path
            assert pq.read_metadata(path).num_rows == file.rows
            assert path.stat().st_size == file.bytes
            assert xxhash.xxh3_64_hexdigest(path.read_bytes()) == file.hash
    tallies = [json.loads(path.read_bytes())["tally"] for path in sorted((whole.state / "commits").iterdir())]
    assert sum(tally["documents"]["read"] for tally in tallies) == 7
