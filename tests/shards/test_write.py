"""The writer: schemas, file formats, streams that are cut, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import LambdaFilter

from blocks.shards import journal, shard
from blocks.shards.chunk import FORMAT, LINEAGE, chunk_of, stream_of
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunError
from blocks.shards.read import ReadUnits
from blocks.shards.shard import open_shard
from blocks.shards.write import WriteShards
from tests.conftest import rejected, samples, write_jsonl
from tests.shards.steps import SCHEMA, Echo, execute, planned


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": f"text {i}"} for i in range(10)])
    return planned(tmp_path / "run", tmp_path / "a.jsonl", 4)


def setting(**metadata):
    """A step that sets metadata of every sample."""

    def step(data, rank, size):
        for sample in data:
            sample.metadata.update(metadata)
            yield sample

    return step


@pytest.mark.parametrize("value", ["no number", 1.5, 2**40, 2**70, [1], b"1"])
@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_a_value_that_does_not_fit_names_its_column(folder, tmp_path, value, file_format):
    with pytest.raises(RunError, match=r"a sample's 'score' does not fit its column \(int32\)"):
        execute(folder, 4, [Echo(), setting(score=value)], file_format=file_format)
    assert not list(load_commits(folder))
    assert not (tmp_path / "run" / "shards").exists()


def test_a_missing_column_is_null_or_an_error(folder):
    with pytest.raises(RunError, match=r"a sample has no 'must': .* set metadata\['must'\]"):
        execute(folder, 4, schema=SCHEMA.append(pa.field("must", pa.string(), nullable=False)))
    execute(folder, 4, schema=SCHEMA)
    assert {row["score"] for row in samples(folder.state.parent)} == {None}


def test_a_lone_surrogate_is_an_error_that_names_its_column(folder):
    def broken(data, rank, size):
        for sample in data:
            sample.text = "\ud800"
            yield sample

    with pytest.raises(RunError, match="a sample's 'text' does not fit"):
        execute(folder, 4, [Echo(), broken])


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "with space", "x\0y", "f" * 300])
def test_a_format_that_cannot_name_a_folder_names_none(folder, tmp_path, name):
    execute(folder, 4, [Echo([name])])
    assert {path.parent.name for path in (tmp_path / "run" / "shards").rglob("*.parquet")} == {"documents"}
    assert len(samples(tmp_path / "run")) == 10


def test_documents_can_be_their_own_samples(folder, tmp_path):
    passed_on = execute(folder, 4, [LambdaFilter(lambda document: document.id != "d3")])
    assert [document.id for document in passed_on] == [f"d{i}" for i in range(10) if i != 3]
    assert [row["id"] for row in samples(tmp_path / "run")] == [document.id for document in passed_on]
    assert [row["reason"] for row in rejected(tmp_path / "run")] == ["dropped_by_pipeline"]


def test_a_chunk_without_samples_commits(folder, tmp_path):
    execute(folder, 4, [LambdaFilter(lambda document: False)])
    assert [(commit.k, commit.last) for commit in load_commits(folder)] == [(0, False), (1, False), (2, True)]
    assert samples(tmp_path / "run") == []
    assert len(rejected(tmp_path / "run")) == 10


def test_jsonl_shards_hold_the_same_rows(folder, tmp_path):
    write_jsonl(tmp_path / "b.jsonl", [{"id": "é", "text": "refuse \0 ü"}, {"id": "x", "text": "ok"}])
    for kind in ("parquet", "jsonl"):
        execute(planned(tmp_path / kind, tmp_path / "b.jsonl", 2), 2, [Echo(), setting(score=3)], file_format=kind)
    for path in (tmp_path / "parquet").rglob("*.parquet"):
        other = tmp_path / "jsonl" / path.relative_to(tmp_path / "parquet").with_suffix(".jsonl")
        assert [json.loads(line) for line in other.read_text().splitlines()] == pq.read_table(path).to_pylist()
    commits = [list(load_commits(planned(tmp_path / kind, tmp_path / "b.jsonl", 2))) for kind in ("parquet", "jsonl")]
    assert [[file.rows for file in commit.files] for commit in commits[0]] == [
        [file.rows for file in commit.files] for commit in commits[1]
    ]


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_files_are_the_same_byte_for_byte(tmp_path, file_format):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": f"text {i} " * 50} for i in range(2500)])
    contents = []
    for name in ("one", "two"):
        execute(planned(tmp_path / name, path, 2500), 2500, file_format=file_format)
        found = sorted((tmp_path / name / "shards").rglob(f"*.{file_format}"))
        contents.append([file.read_bytes() for file in found])
    assert len(contents[0]) == 2 and contents[0] == contents[1]


@pytest.mark.parametrize("after", [1, 4, 7, 19])
@pytest.mark.parametrize("place", [0, 1])
def test_a_stream_that_a_step_cuts_is_an_error(folder, tmp_path, after, place):
    """Cut before or after the samples are made, at a chunk's border or within."""
    steps: list = [Echo()]
    steps.insert(place, lambda data, rank, size: islice(data, min(after, 9) if place == 0 else after))
    with pytest.raises(RunError, match="the stream must not be cut"):
        execute(folder, 4, steps)
    # What came before the cut may be committed; nothing is taken for dropped.
    assert all(row["reason"] != "dropped_by_pipeline" for row in rejected(tmp_path / "run"))
    execute(folder, 4)
    assert len(samples(tmp_path / "run")) == 20
    assert rejected(tmp_path / "run") == []


def test_a_cut_is_noticed_when_everything_was_read_ahead(folder):
    """As `Generate` does: its reader is at the end long before its consumer is."""

    def read_ahead(data, rank, size):
        with stream_of("reads ahead"):
            yield from list(data)

    with pytest.raises(RunError, match="a step after 'reads ahead' stopped before the end"):
        execute(folder, 4, [read_ahead, Echo(), lambda data, rank, size: islice(data, 3)])
    assert not list(load_commits(folder))
    execute(folder, 4, [read_ahead, Echo()])  # and the next pipeline of this process is not blamed for it
    assert len(list(load_commits(folder))) == 3


def test_a_consumer_that_stops_commits_nothing(folder, tmp_path):
    stream = WriteShards(folder, SCHEMA).run(Echo().run(ReadUnits(folder, 4).run()))
    assert len(list(islice(stream, 3))) == 3
    stream.close()
    assert not list(load_commits(folder))
    execute(planned(tmp_path / "run", tmp_path / "a.jsonl", 4), 4)
    assert len(samples(tmp_path / "run")) == 20


def test_an_error_upstream_is_passed_on_as_it_is(folder):
    def broken(data, rank, size):
        yield next(iter(data))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        execute(folder, 4, [Echo(), broken])


def test_reordering_across_chunks_is_an_error(folder):
    def backwards(data, rank, size):
        return iter(sorted(data, key=lambda document: document.id, reverse=True))

    with pytest.raises(RunError, match="keep the order"):
        execute(folder, 4, [backwards, Echo()])


def test_huge_rows_are_encoded_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(shard, "BATCH_CHARACTERS", 1000)
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    file = open_shard(tmp_path / "a.parquet", schema, "parquet")
    for number in range(10):
        file.add({"id": str(number), "text": "x" * 400})
    file.close()
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 3, 3, 1]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    if mount.returncode:
        pytest.skip(f"cannot mount a small file system: {mount.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("full", ["state", "output"])
def test_a_disk_that_is_really_full(tmp_path, small_disk, full, own_syncer):
    rows = [{"id": f"d{i}", "text": "".join(chr(200 + (i * j) % 9000) for j in range(1000))} for i in range(60)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    run, state = (tmp_path / "run", small_disk) if full == "state" else (small_disk, tmp_path / "state")
    folder = planned(run, path, 20, state=state)
    filler = small_disk / "filler"
    disk = os.statvfs(small_disk)
    filler.write_bytes(b"x" * (disk.f_bavail - 2) * disk.f_frsize)  # two pages are left: not enough for any shard
    with pytest.raises(RunError, match=r"No space left on device.*free"):
        execute(folder, 20)
    filler.unlink()
    own_syncer()  # the user starts a new process
    execute(planned(run, path, 20, state=state), 20)
    assert len(samples(run)) == 120
    assert {row["id"] for row in samples(run)} == {f"d{i}/{name}" for i in range(60) for name in ("faq", "table")}


def test_a_full_disk_for_the_journal_alone_stops_the_run_at_the_commit(folder, monkeypatch, own_syncer):
    """No further answer follows, so only the commit can notice."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def last(document: Document) -> None:
        if document.id == "d9":
            monkeypatch.setattr(journal.os, "fdatasync", full)

    def wait(data, rank, size):
        yield from data
        journal.syncer().flush(10)

    with pytest.raises(RunError, match=r"cannot write the journal: .*No space left"):
        execute(folder, 4, [Echo(before=last), wait])
    assert [commit.k for commit in load_commits(folder)] == [0, 1]


def test_format_is_what_the_sample_says(folder, tmp_path):
    def relabel(data, rank, size):
        for document in data:
            child = Document(document.text, document.id, metadata={FORMAT: f"n{int(document.id[1:]) % 3}"})
            chunk = chunk_of(document)
            assert chunk is not None
            chunk.replace(document.metadata[LINEAGE], [child], [])
            yield child

    execute(folder, 4, [relabel])
    found = {path.parent.name: pq.read_metadata(path).num_rows for path in (tmp_path / "run").rglob("*-00000.parquet")}
    assert found == {"n0": 2, "n1": 1, "n2": 1}
