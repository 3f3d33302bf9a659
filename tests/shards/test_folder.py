"""The run folder: its lock, its small files, and where it may lie."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from blocks.shards.folder import RunError, RunFolder, sync, write_atomically
from blocks.shards.run import begin_run, kept_pins, load_run
from tests.conftest import write_jsonl
from tests.shards.steps import execute, planned

HOLD = """
import sys, time
from blocks.shards.folder import RunFolder
folder = RunFolder.at(sys.argv[1])
folder.prepare()
with folder.lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_launch_is_refused_until_the_first_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        folder = RunFolder.at(str(tmp_path))
        with pytest.raises(RunError, match=rf"another launch is working on .*pid {holder.pid}$"), folder.lock():
            pass
    finally:
        holder.kill()
        holder.wait()
    with folder.lock():
        assert str(os.getpid()) in (folder.state / "lock").read_text()
    with folder.lock():
        pass


def test_where_a_run_may_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunFolder.at("run").state == tmp_path / "run" / "state"
    assert RunFolder.at("run", "here").state == tmp_path / "here"
    assert RunFolder.at(f"file://{tmp_path}/run").output == f"{tmp_path}/run"
    assert RunFolder.at("memory://run", "here").state == tmp_path / "here"
    for output, state, said in (
        ("hf://datasets/a/b", "here", "publish the finished shards"),
        ("memory://run", None, "give --state"),
        ("nowhere://run", "here", "cannot write to --output nowhere://run"),
    ):
        with pytest.raises(RunError, match=said):
            RunFolder.at(output, state)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the state folder .*choose another"):
        RunFolder.at(str(tmp_path / "file")).prepare()


@pytest.mark.parametrize(
    ("module", "call", "number", "told"),
    [
        (os, "link", errno.EXDEV, "without hard links between folders "),
        (fcntl, "flock", errno.ENOSYS, r"without locks \(Function not implemented\)"),
    ],
)
def test_what_a_file_system_lacks_is_told_before_anything_runs(tmp_path, monkeypatch, module, call, number, told):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(module, call, refuse)
        for _ in range(2):
            with pytest.raises(RunError, match=f"{told}.*choose another --state"):
                RunFolder.at(str(tmp_path / "run")).prepare()
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    assert not [*(folder.state / "staging").iterdir(), *(folder.state / "commits").iterdir()]


def test_a_run_is_named_by_its_output_or_by_its_state(tmp_path):
    (tmp_path / "run" / "state").mkdir(parents=True)
    assert RunFolder.named(str(tmp_path / "run")) == RunFolder.at(str(tmp_path / "run"))
    state = tmp_path / "elsewhere"
    state.mkdir()
    (state / "run").write_text("0123 memory://bucket/my run\n")
    assert RunFolder.named(str(state)) == RunFolder("memory://bucket/my run", state)
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "run.yaml").write_text("{}")
    for place in ("memory://bucket/run", str(tmp_path / "split")):
        with pytest.raises(RunError, match="a run with a --state of its own: give that folder"):
            RunFolder.named(place)
    with pytest.raises(RunError, match="cannot read the run nowhere://x"):
        RunFolder.named("nowhere://x")


def test_small_files_of_the_output(tmp_path):
    for output in (str(tmp_path / "run"), "memory://folder-test/run"):
        folder = RunFolder.at(output, tmp_path / "state")
        assert folder.read_output("run.yaml") is None
        folder.write_output("run.yaml", b"one")
        folder.write_output("run.yaml", b"two")
        assert folder.read_output("run.yaml") == b"two"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.yaml"]
    (tmp_path / "run" / "summary.json").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*summary\.json"):
        RunFolder.at(str(tmp_path / "run")).write_output("summary.json", b"x")


def test_a_remote_output(tmp_path):
    """Shards are uploaded whole; the state stays here."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": "a", "text": "x"}, {"id": "b", "text": "refuse"}])
    local = planned(tmp_path / "local", path, 1)
    remote = RunFolder.at("memory://remote-test/run", local.state.rename(tmp_path / "state"))
    execute(remote, 1)
    fs = fsspec.filesystem("memory")
    assert sorted(name.removeprefix("/remote-test/run/") for name in fs.find("/remote-test/run")) == [
        "rejected/00000-00001.parquet",
        "shards/faq/00000-00000.parquet",
        "shards/faq/00000-00001.parquet",
        "shards/table/00000-00000.parquet",
    ]
    assert not list((remote.state / "staging").iterdir())


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("blocks.shards.folder.os.fsync", refuse)
    sync(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Invalid argument"):
        sync(tmp_path / "file")


def test_an_interrupted_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_run_is_only_continued_as_itself(tmp_path):
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    fingerprint = {"model": "m", "temperature": 1e-7, "where": ("a", "b"), "language": "no", "none": None}
    begin_run(folder, fingerprint, {"faq": "1"}, {"input": "pinned"}, {})
    assert begin_run(folder, fingerprint, {"faq": "1"}, {}, {}).pins == {"input": "pinned"}
    with pytest.raises(RunError, match=r"model: 'm' there, 'n' now; .*'faq' was 1 and is 2 now.*another --output"):
        begin_run(folder, {**fingerprint, "model": "n"}, {"faq": "2"}, {}, {})
    with pytest.raises(RunError, match="new_option: None there, 5 now"):
        begin_run(folder, {**fingerprint, "new_option": 5}, {"faq": "1"}, {}, {})
    assert begin_run(folder, fingerprint, {"faq": "1", "math": "3"}, {}, {}).passes == [["faq"], ["math"]]
    with pytest.raises(RunError, match="formats math are part of the run"):
        begin_run(folder, fingerprint, {"faq": "1"}, {}, {})
    for content in (b"", b"- a list", b"fingerprint: {", b"unknown: 1"):
        folder.write_output("run.yaml", content)
        with pytest.raises(RunError, match=r"run\.yaml cannot be read"):
            load_run(folder)


def test_pins_are_kept_while_the_names_are_the_same(tmp_path):
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    options = {"input": "hf://datasets/a/b", "model": "m", "revision": None, "judge": "relevance"}
    pins = {"input": "hf://datasets/a/b@1", "model_revision": "2", "judge_revision": "3", "room": 7}
    assert kept_pins(None, options) == {}
    former = begin_run(folder, {}, {"faq": "1"}, pins, options)
    assert kept_pins(former, {**options, "workers": 8}) == pins
    for name, pin in (("input", "input"), ("revision", "model_revision"), ("judge", "judge_revision")):
        kept = kept_pins(former, {**options, name: "another"})
        assert kept == {key: value for key, value in pins.items() if key != pin}
