"""The reader: every kind of bad row is on record, nothing is lost silently, resuming reads what is missing."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import json
import random
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from fsspec.implementations.memory import MemoryFileSystem

from blocks.shards import rows as module
from blocks.shards.chunk import LINEAGE
from blocks.shards.commit import Commit, committed_chunks, finished_units, load_commits
from blocks.shards.folder import RunError
from blocks.shards.plan import load_plan
from blocks.shards.read import look
from blocks.shards.rows import parquet_file, read_rows, schema_of
from blocks.shards.source import InputFile, list_files
from blocks.shards.tally import Tally
from blocks.shards.where import parse_where
from tests.conftest import rejected, samples, write_jsonl
from tests.shards.steps import Echo, execute, planned

KINDS = ["plain", "gz", "zst", "parquet"]


def write(path: Path, rows: list[dict], kind: str) -> Path:
    """The rows in a file of the given kind; its path."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "parquet":
        path = path.with_suffix(".parquet")
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=9)
    elif kind == "plain":
        path.write_bytes(content)
    else:
        path = path.with_name(f"{path.name}.{kind}")
        path.write_bytes(gzip.compress(content) if kind == "gz" else zstandard.compress(content))
    return path


def read_all(root: Path, source: Path, chunk_size: int = 5, **options) -> tuple[list[str], Counter, Tally]:
    """Run over `source`: ids in order, reasons of refused rows, and the balance of all commits."""
    folder = planned(root, source, chunk_size)
    echo = Echo(["faq"])
    execute(folder, chunk_size, [echo], **options)
    tally = Tally()
    for commit in load_commits(folder):
        tally.add(commit.tally)
    tally.check()
    return echo.seen, tally.document_refusals["rejected"], tally


class Unsteady(MemoryFileSystem):
    """A store whose files break off after some reads, and cannot be opened for a while then."""

    protocol = "unsteady"
    store: ClassVar[dict] = {}
    errors: ClassVar[list[Exception]] = []
    """To be raised one by one: the next at the second read of a file, those after it when it is opened again."""
    left = 0

    def _open(self, path, mode="rb", **options):
        if mode == "rb" and Unsteady.left:
            Unsteady.left -= 1
            raise Unsteady.errors.pop(0)
        file = super()._open(path, mode, **options)
        if mode != "rb":
            return file
        content, reads = file.getvalue(), itertools.count(1)
        stream = io.BytesIO(content)

        class Breaking(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def seekable(self) -> bool:
                return True

            def seek(self, *to: int) -> int:
                return stream.seek(*to)

            def tell(self) -> int:
                return stream.tell()

            def readinto(self, buffer) -> int:
                if next(reads) == 2 and Unsteady.errors:
                    error = Unsteady.errors.pop(0)
                    Unsteady.left = len(Unsteady.errors)
                    raise error
                # Arrow takes less than it asked for as the end of the file.
                found = stream.read(len(buffer) if path.endswith(".parquet") else min(len(buffer), 400))
                buffer[: len(found)] = found
                return len(found)

        return Breaking()


@pytest.fixture
def unsteady(monkeypatch):
    """Has a file with 40 rows put there; the pauses between tries."""
    fsspec.register_implementation("unsteady", Unsteady, clobber=True)
    pauses: list[float] = []
    clock = itertools.count(0, 100)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=pauses.append, monotonic=lambda: next(clock)))
    monkeypatch.setattr(module, "READ_ROWS", 5)
    yield pauses
    Unsteady.errors.clear()
    Unsteady.left = 0


class HTTPError(Exception):
    """As of an HTTP library."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_fails_for_a_while_loses_no_row(tmp_path, unsteady, kind):
    rows = [{"id": f"{i}", "text": random.Random(i).randbytes(200).hex()} for i in range(40)]
    path = write(tmp_path / "a.jsonl", rows, kind)
    url = f"unsteady://in/{path.name}"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    [file] = list_files(url)
    Unsteady.errors[:] = [ConnectionError("reset"), HTTPError(503), TimeoutError()]
    read = partial(read_rows, file, patience=module.PATIENCE)
    assert [row["id"] for row in read(3, 33, ["id", "text"])] == [f"{i}" for i in range(3, 33)]
    assert unsteady == [1, 2, 4] and not Unsteady.errors
    unsteady.clear()
    for error in (HTTPError(404), FileNotFoundError(), PermissionError()):
        Unsteady.errors[:] = [error]
        with pytest.raises(type(error)):
            list(read(0, None, ["id"]))
    Unsteady.errors[:] = [ConnectionError()]
    with pytest.raises(ConnectionError):  # whoever only looks does not wait
        list(read_rows(file, 0, None, ["id"]))
    assert not unsteady
    Unsteady.errors[:] = [ConnectionError() for _ in range(50)]
    with pytest.raises(ConnectionError):
        list(read(0, None, ["id"]))
    assert len(unsteady) == 9 and max(unsteady) == 30, "each try takes a hundred seconds here"


def test_a_disk_is_not_asked_again(tmp_path, unsteady, monkeypatch):
    [file] = list_files(str(write_jsonl(tmp_path / "a.jsonl", [{"id": "a"}])))

    def fail(_: InputFile) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(InputFile, "open", fail)
    with pytest.raises(OSError, match="broken"):
        list(read_rows(file, 0, None, ["id"], patience=module.PATIENCE))
    assert not unsteady


def test_every_bad_line_is_refused_with_its_reason(tmp_path):
    lines = [
        b'{"id": "good", "text": "fine"}',
        b'{"id": "cut", "text": "no end',
        b'{"id": "bytes", "text": "\xff\xfe"}',
        b'["a", "list"]',
        b"12",
        b'{"id": "without"}',
        b'{"id": "null", "text": null}',
        b'{"id": "number", "text": 5}',
        b'{"id": "list", "text": ["a"]}',
        b'{"id": "blank", "text": " \\n\\t\\u00a0 "}',
        b'{"id": "empty", "text": ""}',
        b'{"id": "surrogate", "text": "\\ud800"}',
        b"\0\0\0\0",
        b"",
        b"   ",
        b'{"id": "nul", "text": "a\\u0000b"}',
        b'{"id": "long", "text": "' + b"x" * 5_000_000 + b'"}',
        b'{"id": "last", "text": "no newline at the end"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    seen, reasons, tally = read_all(tmp_path / "run", tmp_path / "a.jsonl")
    assert seen == ["good", "nul", "long", "last"]
    assert reasons == {
        "invalid_json": 3,
        "invalid_utf8": 1,
        "not_an_object": 2,
        "no_text": 2,
        "text_is_no_string": 2,
        "empty_text": 2,
    }
    assert (tally.read, tally.done) == (16, 4)
    kept = {row["id"]: row for row in rejected(tmp_path / "run")}
    assert kept["a.jsonl:2"]["raw"].rstrip() == '{"id": "bytes", "text": "\ufffd\ufffd"}'
    assert kept["number"]["raw"] == "5"
    assert [row["text"] for row in samples(tmp_path / "run") if row["source_id"] == "nul"] == ["faq: a\0b"]


def test_rows_as_other_programs_write_them(tmp_path):
    """A mark at the beginning of a file, NaN, and whole numbers beyond 64 bits."""
    lines = [
        b'\xef\xbb\xbf{"id": "marked", "text": "one"}',
        b'{"id": "nan", "text": "two", "score": NaN, "other": -Infinity}',
        b'{"id": 18446744073709551616, "text": "three"}',
        b'{"id": 18446744073709551617, "text": "four"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    seen, reasons, _ = read_all(tmp_path / "run", tmp_path / "a.jsonl")
    assert seen == ["marked", "nan", "18446744073709551616", "18446744073709551617"] and not reasons


def test_ids(tmp_path):
    ids = ["a", "a", 7, 7, None, "", "a#1", "a", True]
    rows = [{"text": f"text {i}", "id": found} for i, found in enumerate(ids)] + [{"text": "none at all"}]
    write_jsonl(tmp_path / "in" / "a.jsonl", rows)
    seen, _, _ = read_all(tmp_path / "run", tmp_path / "in", chunk_size=100)
    assert seen == ["a", "a#1", "7", "7#3", "a.jsonl:4", "a.jsonl:5", "a#1#6", "a#7", "True", "a.jsonl:9"]


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_truncated_file_loses_nothing_silently(tmp_path, kind):
    rows = [{"id": str(i), "text": f"text {i} {i * 7919 % 10007}"} for i in range(60_000)]
    path = write(tmp_path / "b.jsonl", rows, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    write_jsonl(tmp_path / "c.jsonl", [{"id": "after", "text": "x"}])
    folder = planned(tmp_path / "run", tmp_path / "*.jsonl*", 10_000)
    execute(folder, 10_000, [Echo(["faq"])])
    ids = [row["source_id"] for row in samples(tmp_path / "run")]
    assert ids == [*(str(i) for i in range(len(ids) - 1)), "after"]
    assert 10_000 < len(ids) < 60_000
    [refused] = rejected(tmp_path / "run")
    assert refused["reason"] == "unreadable_rest"
    assert refused["id"] == f"{path.name}:{len(ids) - 1}"


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_truncation_on_the_border_of_a_chunk_and_resuming(tmp_path, kind):
    path = write(tmp_path / "b.jsonl", [{"text": f"text {i} {i * 7919 % 10007}"} for i in range(60_000)], kind)
    path.write_bytes(path.read_bytes()[:-9_000])
    readable = sum(isinstance(row, dict) for row in read_rows(list_files(str(path))[0], 0, None, ["text"]))
    size = readable // 2 if readable % 2 == 0 else readable
    folder = planned(tmp_path / "run", path, size)
    execute(folder, size)
    last = max(folder.state.joinpath("commits").iterdir())
    last.unlink()  # as if only the chunks before the damage had been committed
    folder.state.joinpath("finished", "00000").unlink()
    execute(folder, size)
    assert committed_chunks(folder) == {0: set(range(readable // size + 1))}
    [commit] = [commit for commit in load_commits(folder) if commit.last]
    assert commit.tally["documents"]["rejected"] == {"unreadable_rest": 1}
    assert commit.tally["documents"]["read"] == 1


def test_concatenated_frames_and_long_windows(tmp_path):
    parts = [b'{"text": "%d"}\n' % i * 50 for i in range(20)]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(map(zstandard.compress, parts)))
    (tmp_path / "b.jsonl.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    options = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=options).compressobj()  # a frame that hides its size
    (tmp_path / "c.jsonl.zst").write_bytes(stream.compress(b"".join(parts)) + stream.flush())
    for file in list_files(str(tmp_path)):
        assert [row["text"] for row in read_rows(file, 0, None, [])] == [str(i) for i in range(20) for _ in range(50)]


def test_damaged_parquet_keeps_what_comes_before(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"id": str(i), "text": f"text {i}" * 50} for i in range(100)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=20, compression="snappy")
    offset = pq.ParquetFile(path).metadata.row_group(2).column(1).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = b"\xee" * 200
    path.write_bytes(content)
    found = list(read_rows(list_files(str(path))[0], 0, None, ["id", "text"]))
    assert found[:40] == rows[:40]
    assert [row.reason for row in found[40:]] == ["unreadable_rest"]
    # Only the unit with the damage loses its rest.
    seen, reasons, _ = read_all(tmp_path / "run", path, chunk_size=20)
    assert seen == [row["id"] for row in [*rows[:40], *rows[60:]]]
    assert reasons == {"unreadable_rest": 1}


def test_transient_errors_are_not_damage(tmp_path):
    class Flaky:
        def __init__(self, error: OSError):
            self.error = error

        def __iter__(self):
            yield b'{"text": "one"}\n'
            raise self.error

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    class File(InputFile):
        def open(self):
            return Flaky(error)

    for error in (OSError(5, "Input/output error"), TimeoutError("slow"), ConnectionResetError("gone")):
        with pytest.raises(type(error)):
            list(read_rows(File("x", "x", "jsonl", 0), 0, None, []))
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "a.parquet")
    for error in (OSError(5, "Input/output error"), TimeoutError("slow"), PermissionError("no")):
        with pytest.raises(type(error)), parquet_file(list_files(str(tmp_path))[0]):
            raise error


def test_invalid_utf8_in_parquet_costs_its_row_only(tmp_path):
    raw = [b"fine", b"\xff\xfe broken", b"fine too", None, b"\xc3"]
    buffers = pa.array(raw, pa.binary()).buffers()
    text = pa.Array.from_buffers(pa.string(), len(raw), buffers)
    pq.write_table(pa.table({"id": ["a", "b", "c", "d", "e"], "text": text}), tmp_path / "a.parquet")
    seen, reasons, tally = read_all(tmp_path / "run", tmp_path / "a.parquet")
    assert seen == ["a", "c"]
    assert reasons == {"invalid_utf8": 2, "no_text": 1}
    assert tally.read == 5


def test_a_value_that_python_cannot_hold_costs_its_row_only(tmp_path):
    when = pa.array([0, 400_000_000_000_000_000, 1], pa.timestamp("us"))
    pq.write_table(pa.table({"text": ["a", "b", "c"], "when": when}), tmp_path / "a.parquet")
    seen, reasons, _ = read_all(tmp_path / "run", tmp_path / "a.parquet", columns=["when"])
    assert len(seen) == 2
    assert reasons == {"unreadable_value": 1}


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_string_columns_of_every_kind(tmp_path, kind):
    array = pa.array(["one", "two", None, "one"], pa.string()).cast(kind)
    pq.write_table(pa.table({"id": pa.array(["a", "b", "c", "d"]).cast(kind), "text": array}), tmp_path / "a.parquet")
    seen, reasons, _ = read_all(tmp_path / "run", tmp_path / "a.parquet")
    assert (seen, reasons) == (["a", "b", "d"], {"no_text": 1})


def test_large_rows_are_decoded_a_few_at_a_time(tmp_path, monkeypatch):
    table = pa.table({"id": [f"r{n}" for n in range(40)], "text": ["word " * 2000 for _ in range(40)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=25, use_dictionary=False)
    [file] = list_files(str(tmp_path / "a.parquet"))
    asked: list[int] = []
    whole = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, size, **more: asked.append(size) or whole(self, size, **more)
    )
    monkeypatch.setattr(module, "READ_BYTES", 50_000)
    found = [row["id"] for row in read_rows(file, 3, 38, ["id", "text"])]
    assert found == [f"r{n}" for n in range(3, 38)] and asked == [4, 4]


def test_columns_that_nobody_asks_for_may_hold_anything(tmp_path):
    lines = ['{"format": "faq", "meta": 3, "n": 18446744073709551615}', '{"format": "faq", "meta": "s", "n": 1}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    files = list_files(str(tmp_path / "a.jsonl"))
    assert schema_of(files, only={"format"}) == pa.schema([("format", pa.string())])
    with pytest.raises(RunError, match=r"the column meta of .*a\.jsonl has values of several types"):
        schema_of(files)


def test_files_with_different_schemas(tmp_path):
    folder = tmp_path / "in"
    write_jsonl(folder / "a.jsonl", [{"id": "a", "text": "x"}])
    write_jsonl(folder / "b.jsonl", [])
    pq.write_table(pa.table({"other": list(range(2500))}), folder / "c.parquet", row_group_size=700)
    pq.write_table(pa.table({"id": [1, 2], "text": [b"bytes", b"more"]}), folder / "d.parquet")
    pq.write_table(pa.table({"id": [[1], [2]], "text": [{"a": 1}, {"a": 2}]}), folder / "e.parquet")
    pq.write_table(pa.table({"id": pa.nulls(2), "text": pa.nulls(2)}), folder / "f.parquet")
    pq.write_table(pa.table({"text": ["y"], "id": [9]}), folder / "g.parquet")
    seen, reasons, tally = read_all(tmp_path / "run", folder, chunk_size=1000)
    assert seen == ["a", "9"]
    assert reasons == {"no_text": 2502, "text_is_no_string": 4}
    assert tally.read == 2508


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_size", [1, 7, 10, 30, 31])
def test_resuming_reads_exactly_what_is_missing(tmp_path, kind, chunk_size):
    rows = [{"id": f"d{i}", "text": f"text {i}"} for i in range(30)]
    path = write(tmp_path / "a.jsonl", rows, kind)

    class Stop(Exception):
        pass

    def stop_at(document):
        if document.id == "d23":
            raise Stop

    folder = planned(tmp_path / "run", path, chunk_size)
    units = load_plan(folder.state / "plan.jsonl")
    with pytest.raises(Stop):
        execute(folder, chunk_size, [Echo(before=stop_at)])
    committed = committed_chunks(folder)
    assert finished_units(folder) < {unit.number for unit in units}
    done = {
        f"d{row}"
        for unit in units
        for k in committed.get(unit.number, ())
        for row in range(unit.start + k * chunk_size, min(unit.start + (k + 1) * chunk_size, unit.stop or 30))
    }
    again = Echo()
    execute(folder, chunk_size, [again])
    assert again.seen == [row["id"] for row in rows if row["id"] not in done]
    assert finished_units(folder) == {unit.number for unit in units}
    assert sorted(row["id"] for row in samples(tmp_path / "run")) == sorted(
        f"{row['id']}/{name}" for row in rows for name in ("faq", "table")
    )
    nothing = Echo()
    execute(folder, chunk_size, [nothing])
    assert nothing.seen == []


def test_a_hole_among_committed_chunks_is_filled(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": "x"} for i in range(10)])
    folder = planned(tmp_path / "run", path, 2)
    execute(folder, 2)
    for name in ("00000-00001.json", "00000-00003.json"):
        (folder.state / "commits" / name).unlink()
    (folder.state / "finished" / "00000").unlink()
    again = Echo()
    execute(folder, 2, [again])
    assert again.seen == ["d2", "d3", "d6", "d7"]
    assert [commit.last for commit in load_commits(folder)] == [False, False, False, False, True]


@pytest.mark.parametrize("tasks", [1, 2, 3, 50])
def test_tasks_share_the_units(tmp_path, tasks):
    for name in "abcde":
        write_jsonl(tmp_path / "in" / f"{name}.jsonl", [{"id": f"{name}{i}", "text": "x"} for i in range(4)])
    folder = planned(tmp_path / "run", tmp_path / "in", 3)
    seen = []
    for rank in range(tasks):
        echo = Echo()
        execute(folder, 3, [echo], rank=rank, tasks=tasks)
        seen += echo.seen
    assert sorted(seen) == sorted(f"{name}{i}" for name in "abcde" for i in range(4))


def test_filters(tmp_path):
    rows = [
        {"id": "a", "text": "x", "score": 4, "lang": "no", "date": "2024-03-01"},
        {"id": "b", "text": "x", "score": 3.5, "lang": "en", "date": "2023-01-01"},
        {"id": "c", "text": "x", "score": None, "lang": "no", "date": "2024-01-31"},
        {"id": "d", "text": "x", "lang": "no"},
        {"id": "e", "text": "x", "score": "4", "lang": "no", "date": "2025"},
        {"id": "f", "text": "", "score": 1},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    for number, (filters, expected) in enumerate(
        [
            (["score >= 4"], "a"),
            (["score < 4"], "b"),
            (['score == "4"'], "e"),
            (["lang == no"], "acde"),
            (["lang == 'no'", "score != 3"], "ae"),
            (["date >= 2024-01-31"], "ace"),
            (["nothing == 1"], ""),
        ]
    ):
        seen, reasons, tally = read_all(tmp_path / str(number), path, where=[parse_where(text) for text in filters])
        assert "".join(seen) == expected, filters
        # What a filter leaves out is no part of the run, whatever else may be wrong with it.
        assert tally.read + tally.excluded == 6
        assert tally.read == len(seen) + reasons.total()


def test_a_filter_that_cannot_be_read():
    for text in ("score", "score = 4", "score >= ", ">= 4", "score == null", "score == [1]"):
        with pytest.raises(RunError, match="cannot read --where"):
            parse_where(text)


def test_columns_reach_the_metadata(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": "a", "text": "x", "url": "u", "other": 1}])
    found = []
    folder = planned(tmp_path / "run", path, 2)
    execute(folder, 2, [Echo(before=lambda d: found.append(d.metadata))], columns=["url", "none"], source_dataset="set")
    assert found == [{"url": "u", "source_dataset": "set", LINEAGE: "00000-00000:0"}]


def test_too_many_unreadable_rows_stop_the_task(tmp_path):
    def file(bad: int) -> Path:
        path = tmp_path / f"{bad}.jsonl"
        path.write_text('{"text": "x"}\n' * 1900 + "not json\n" * bad)
        return path

    _, reasons, _ = read_all(tmp_path / "a", file(100), chunk_size=500)
    assert reasons == {"invalid_json": 100}
    with pytest.raises(RunError, match=r"101 of 2001 rows cannot be read, .* \(invalid_json\) in .*101.jsonl"):
        read_all(tmp_path / "b", file(101), chunk_size=500)
    (tmp_path / "few.jsonl").write_text("not json\n" * 900)
    _, reasons, _ = read_all(tmp_path / "c", tmp_path / "few.jsonl")
    assert reasons == {"invalid_json": 900}


def test_a_look_at_the_first_documents(tmp_path):
    rows = [{"text": None}, {"text": "low", "score": 1}, {"text": "  "}, {"text": "high", "score": 5}]
    (tmp_path / "a.jsonl").write_text("no json\n" + "".join(json.dumps(row) + "\n" for row in rows))
    units = load_plan(planned(tmp_path / "run", tmp_path / "a.jsonl", 10).state / "plan.jsonl")
    assert [document.text for document in look(units, "text")] == ["low"]
    (high,) = look(units, "text", [parse_where("score > 2")], {"score": "kept"}, count=5)
    assert (high.text, high.metadata) == ("high", {"kept": 5})
    assert not list(look(units, "body"))


def test_an_empty_input_still_commits(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    folder = planned(tmp_path / "run", tmp_path / "a.jsonl", 10)
    execute(folder, 10)
    [commit] = load_commits(folder)
    assert isinstance(commit, Commit) and commit.last and commit.files == []
    assert finished_units(folder) == {0}
