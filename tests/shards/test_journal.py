"""The journal: what a crash can do to it, what a full disk does, and what replay costs."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import tracemalloc

import pytest

from blocks.shards import journal as module
from blocks.shards.folder import RunError
from blocks.shards.journal import Journal, syncer


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def close(*journals: Journal) -> None:
    for journal in journals:
        journal.close()
    syncer().flush(10)


def write(path, answers: list[dict]) -> bytes:
    journal = Journal(path)
    for number, answer in enumerate(answers):
        journal.put(key(number), answer)
    close(journal)
    return path.read_bytes()


def test_answers_come_back(tmp_path):
    answers = [{"text": "plain"}, {"text": 'lines\nand \0 and é 漢 "quotes"', "usage": {"n": 1}}, {}]
    write(tmp_path / "j", answers)
    journal = Journal(tmp_path / "j")
    assert [journal.get(key(n)) for n in range(3)] == answers
    assert journal.get(key(3)) is None
    journal.put(key(3), {"text": "more"})
    close(journal)
    again = Journal(tmp_path / "j")
    assert again.get(key(3)) == {"text": "more"}
    close(again)


def test_a_torn_tail_is_cut_off_at_every_byte(tmp_path):
    whole = write(tmp_path / "j", [{"text": "first"}, {"text": "second"}])
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        (tmp_path / "j").write_bytes(whole[:length])
        journal = Journal(tmp_path / "j")
        assert (tmp_path / "j").read_bytes() == whole[:first]
        assert (journal.get(key(0)), journal.get(key(1))) == ({"text": "first"}, None)
        journal.put(key(1), {"text": "second"})
        close(journal)
        assert (tmp_path / "j").read_bytes() == whole


def test_a_tail_of_zeros_is_cut_off(tmp_path):
    """What some file systems leave after a loss of power: the length was written, the data was not."""
    whole = write(tmp_path / "j", [{"text": "first"}])
    (tmp_path / "j").write_bytes(whole + b"\0" * 500)
    journal = Journal(tmp_path / "j")
    assert journal.get(key(0)) == {"text": "first"}
    close(journal)
    assert (tmp_path / "j").read_bytes() == whole


def test_a_flipped_byte_costs_its_record_only(tmp_path):
    whole = write(tmp_path / "j", [{"text": "first"}, {"text": "second"}, {"text": "third"}])
    start = whole.index(b"\n") + 1
    end = whole.index(b"\n", start)
    for position in range(start, end):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        (tmp_path / "j").write_bytes(damaged)
        journal = Journal(tmp_path / "j")
        assert (journal.get(key(0)), journal.get(key(2))) == ({"text": "first"}, {"text": "third"})
        # What is damaged is not believed; the separator of the checksum is nothing that can be.
        assert journal.get(key(1)) == (None if position != start + 16 else {"text": "second"})
        close(journal)
    # Without the line's end two records are one damaged line.
    (tmp_path / "j").write_bytes(whole[:end] + b"x" + whole[end + 1 :])
    journal = Journal(tmp_path / "j")
    assert [journal.get(key(n)) for n in range(3)] == [{"text": "first"}, None, None]
    close(journal)


def test_replay_holds_places_not_answers(tmp_path):
    count = 20_000
    write(tmp_path / "j", [{"text": "word " * 100}] * count)
    tracemalloc.start()
    journal = Journal(tmp_path / "j")
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 250 * count
    assert peak < 300 * count
    assert journal.get(key(count - 1)) == {"text": "word " * 100}
    close(journal)


HOLD = """
import sys, time
from pathlib import Path
from blocks.shards.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.put(bytes(16), {"text": "kept"})
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has put one answer into the journal and lives on."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "j"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, holder):
    with pytest.raises(RunError, match="another process is working on this chunk"):
        Journal(tmp_path / "j", patience=0.2)
    deadline = time.monotonic() + 10
    while not (tmp_path / "j").stat().st_size and time.monotonic() < deadline:
        time.sleep(0.02)  # it gets to disk although nobody asks for it
    holder.send_signal(signal.SIGKILL)
    journal = Journal(tmp_path / "j")
    assert journal.get(bytes(16)) == {"text": "kept"}
    close(journal)


def test_answers_are_safe_when_a_process_ends(tmp_path):
    script = HOLD.replace("time.sleep(60)", "")
    subprocess.run([sys.executable, "-c", script, tmp_path / "j"], check=True)
    journal = Journal(tmp_path / "j")
    assert journal.get(bytes(16)) == {"text": "kept"}
    close(journal)


def test_a_journal_that_its_holder_deletes_is_not_waited_for_in_vain(tmp_path):
    """Its chunk was committed meanwhile; answers must not go to a file without a name."""
    path = tmp_path / "j"
    first = Journal(path)
    real = os.open
    try:
        os_open_calls = []

        def open_then_lose(name, *arguments):
            handle = real(name, *arguments)
            os_open_calls.append(handle)
            if len(os_open_calls) == 1:
                first.discard()
                syncer().flush(10)
            return handle

        module.os.open = open_then_lose
        second = Journal(path)
    finally:
        module.os.open = real
    second.put(key(1), {"text": "x"})
    close(second)
    assert path.stat().st_size > 0


def test_nothing_is_written_after_closing(tmp_path):
    """A late answer must not land in whatever file has inherited the number of the descriptor."""
    journal = Journal(tmp_path / "j")
    close(journal)
    other = (tmp_path / "other").open("wb")
    journal.put(key(1), {"text": "late"})
    syncer().flush(10)
    other.close()
    assert (tmp_path / "other").read_bytes() == b""
    syncer().check()
    with pytest.raises(ValueError, match="closed"):
        journal._places[key(2)] = 5
        journal.get(key(2))


def test_a_full_disk_stops_the_run_at_the_next_answer_and_at_commit(tmp_path, monkeypatch, own_syncer):
    journal = Journal(tmp_path / "j")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)
    journal.put(key(1), {"text": "x"})
    syncer().flush(10)
    with pytest.raises(RunError, match=r"cannot write the journal: .*No space left.*free disk space"):
        journal.put(key(2), {"text": "y"})
    with pytest.raises(RunError, match="cannot write the journal"):
        journal.check()
    monkeypatch.undo()


def test_a_journal_that_another_node_deleted_on_nfs_is_no_broken_disk(tmp_path, monkeypatch, own_syncer):
    journal = Journal(tmp_path / "j")
    journal.path.unlink()

    def stale(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(module.os, "fdatasync", stale)
    journal.put(key(1), {"text": "x"})
    syncer().flush(10)
    journal.check()
    journal.discard()
    monkeypatch.undo()


def test_an_error_while_closing_does_not_end_the_thread(tmp_path, own_syncer):
    """Network file systems report a full disk as late as that."""

    class Closing:
        closed = False

        def close(self):
            raise OSError(122, "Disk quota exceeded")

    syncer().close(Closing())
    syncer().flush(10)
    with pytest.raises(RunError, match="quota"):
        syncer().check()
    journal = Journal(tmp_path / "j")
    journal.close()
    syncer().flush(10)
    assert journal._file.closed
