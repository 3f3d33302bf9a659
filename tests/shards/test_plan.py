"""The plan: exact limits, growth, and what happens when the input changes under it."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from blocks.shards.folder import RunError
from blocks.shards.plan import (
    Unit,
    check_chunk_size,
    check_columns,
    extend_plan,
    hold_chunk_size,
    load_plan,
    planned_rows,
    save_plan,
)
from blocks.shards.rows import read_rows
from blocks.shards.source import list_files


def lines(start: int, count: int) -> bytes:
    return b"".join(json.dumps({"text": str(i)}).encode() + b"\n" for i in range(start, start + count))


def write_groups(path: Path, start: int, sizes: list[int]) -> None:
    """A Parquet file with row groups of exactly these sizes, zero included."""
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for size in sizes:
            writer.write_table(pa.table({"text": [str(i) for i in range(start, start + size)]}, schema=schema))
            start += size


def mixed_input(folder: Path) -> int:
    """Files of every kind that hold the texts 0, 1, 2, … in order; returns how many."""
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines(0, 9).replace(b"\n", b"\n\n", 3))
    write_groups(folder / "b.parquet", 9, [3, 0, 1, 7, 2, 0])
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines(22, 5)))
    (folder / "d.jsonl").write_bytes(b"")
    write_groups(folder / "e.parquet", 27, [0])
    (folder / "f.jsonl.zst").write_bytes(zstandard.compress(lines(27, 4)) + zstandard.compress(lines(31, 2)))
    write_groups(folder / "g.parquet", 33, [20])
    write_groups(folder / "h.parquet", 53, [])
    return 53


def texts(units: list[Unit]) -> list[str]:
    """What the planned ranges hold, in the order of the plan; where rows are known they must be right."""
    found = []
    for unit in units:
        rows = [row["text"] for row in read_rows(unit.file, unit.start, unit.stop, ["text"])]
        assert unit.rows in (None, len(rows)), unit
        found += rows
    return found


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 100])
def test_limit_is_exact_at_every_position(tmp_path, chunk_size):
    total = mixed_input(tmp_path / "in")
    files = list_files(str(tmp_path / "in"))
    for limit in range(1, total + 3):
        units = extend_plan([], files, chunk_size, limit)
        assert texts(units) == [str(i) for i in range(min(limit, total))], limit
        assert planned_rows(units) == min(limit, total)
    units = extend_plan([], files, chunk_size, None)
    assert texts(units) == [str(i) for i in range(total)]
    assert [unit.number for unit in units] == list(range(len(units)))


def test_growth_adds_exactly_the_rest(tmp_path):
    total = mixed_input(tmp_path / "in")
    files = list_files(str(tmp_path / "in"))
    dice = random.Random(4)
    for _ in range(150):
        chunk_size = dice.choice([1, 3, 5, 50])
        units: list[Unit] = []
        for limit in [*sorted(dice.choices(range(1, total + 9), k=3)), dice.choice([None, total])]:
            grown = extend_plan(units, files, chunk_size, limit)
            assert grown[: len(units)] == units
            units = grown
            assert texts(units) == [str(i) for i in range(total if limit is None else min(limit, total))]
        whole = extend_plan(units, files, chunk_size, None)
        assert extend_plan(whole, files, chunk_size, None) == whole


def test_a_parquet_file_keeps_many_tasks_busy(tmp_path):
    write_groups(tmp_path / "big.parquet", 0, [10] * 30)
    units = extend_plan([], list_files(str(tmp_path)), 25, None)
    assert [(unit.start, unit.stop, unit.rows) for unit in units] == [
        *((start, start + 30, 30) for start in range(0, 270, 30)),
        (270, None, 30),
    ]


def test_a_planned_file_is_not_opened_again(tmp_path, monkeypatch):
    mixed_input(tmp_path / "in")
    files = list_files(str(tmp_path / "in"))
    for limit in (None, 1000):
        units = extend_plan([], files, 5, limit)
        with monkeypatch.context() as patch:
            patch.setattr("blocks.shards.plan.parquet_file", lambda file: pytest.fail(f"opened {file.url}"))
            patch.setattr("blocks.shards.plan.json_lines", lambda stream: pytest.fail("opened a file"))
            assert extend_plan(units, files, 5, limit) == units


def test_a_limit_that_is_reached_opens_nothing(tmp_path, monkeypatch):
    mixed_input(tmp_path / "in")
    files = list_files(str(tmp_path / "in"))
    units = extend_plan([], files, 5, 12)
    monkeypatch.setattr("blocks.shards.plan.parquet_file", lambda file: pytest.fail(f"opened {file.url}"))
    for limit in (1, 11, 12):
        assert extend_plan(units, files, 5, limit) == units


def test_new_files_are_appended_wherever_they_sort(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(lines(0, 10))
    units = extend_plan([], list_files(str(tmp_path)), 4, None)
    (tmp_path / "a.jsonl").write_bytes(lines(10, 3))
    write_groups(tmp_path / "z.parquet", 13, [4])
    grown = extend_plan(units, list_files(str(tmp_path)), 4, None)
    assert grown[:1] == units
    assert [unit.file.name for unit in grown] == ["m.jsonl", "a.jsonl", "z.parquet"]


def test_changed_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(0, 10))
    (tmp_path / "b.jsonl").write_bytes(lines(0, 1))
    units = extend_plan([], list_files(str(tmp_path)), 4, None)
    path.write_bytes(lines(0, 11))
    with pytest.raises(RunError, match=r"a\.jsonl changed since this run was planned .* restore it"):
        extend_plan(units, list_files(str(tmp_path)), 4, None)
    path.unlink()
    with pytest.raises(RunError, match=r"a\.jsonl is in the plan of this run but not in --input"):
        extend_plan(units, list_files(str(tmp_path)), 4, None)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_limit_over_a_truncated_file_counts_the_damage_as_one_row(tmp_path, suffix):
    content = lines(0, 20_000)
    whole = gzip.compress(content) if suffix == "gz" else zstandard.compress(content)
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.jsonl").write_bytes(lines(0, 50))
    files = list_files(str(tmp_path))
    readable = len(list(read_rows(files[0], 0, None, []))) - 1
    assert 0 < readable < 20_000
    for limit in (readable - 1, readable, readable + 1, readable + 2, readable + 51):
        units = extend_plan([], files, 1000, limit)
        assert planned_rows(units) == limit
        rows = [row for unit in units for row in read_rows(unit.file, unit.start, unit.stop, ["text"])]
        assert len(rows) == limit
        for larger in (readable + 20, None):
            grown = extend_plan(units, files, 1000, larger)
            rows = [row for unit in grown for row in read_rows(unit.file, unit.start, unit.stop, ["text"])]
            assert len(rows) == max(limit, larger or readable + 51)
            assert sum(not isinstance(row, dict) for row in rows) == 1


def test_an_unreadable_parquet_file_is_one_row(tmp_path):
    write_groups(tmp_path / "a.parquet", 0, [100])
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[: len(content) // 2])
    write_groups(tmp_path / "b.parquet", 0, [5])
    for limit in (None, 6):
        units = extend_plan([], list_files(str(tmp_path)), 10, limit)
        assert [(unit.file.name, unit.rows) for unit in units] == [("a.parquet", 1), ("b.parquet", 5)]
    rows = list(read_rows(units[0].file, units[0].start, units[0].stop, ["text"]))
    assert [row.reason for row in rows] == ["unreadable_rest"]


def test_a_network_error_is_not_taken_for_damage(tmp_path, monkeypatch):
    write_groups(tmp_path / "a.parquet", 0, [100])

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("blocks.shards.rows.fsspec.open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        extend_plan([], list_files(str(tmp_path)), 10, None)


def test_the_plan_survives_its_file(tmp_path):
    mixed_input(tmp_path / "in")
    units = extend_plan([], list_files(str(tmp_path / "in")), 5, 40)
    assert load_plan(tmp_path / "plan.jsonl") == []
    save_plan(tmp_path / "plan.jsonl", units)
    assert load_plan(tmp_path / "plan.jsonl") == units


def test_planned_rows_are_unknown_while_a_file_is_not_counted(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(0, 10))
    files = list_files(str(tmp_path))
    units = extend_plan([], files, 5, None)
    assert planned_rows(units) is None
    assert extend_plan(units, files, 5, 3) == units
    assert planned_rows(extend_plan([], files, 5, 3)) == 3
    assert planned_rows([]) == 0


def test_columns_are_looked_for_where_there_are_rows(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    pq.write_table(pa.table({"other": pa.array([], pa.string())}), tmp_path / "b.parquet")
    (tmp_path / "c.jsonl").write_bytes(b'not json\n{"id": 1, "text": "x"}\n{"id": 2, "text": "y", "score": 4}\n')
    files = list_files(str(tmp_path))
    check_columns(files, ["text", "id", "score"])
    with pytest.raises(RunError, match=r"no column 'body' in .*c\.jsonl; it has id, score, text"):
        check_columns(files, ["body"])
    with pytest.raises(RunError, match="single readable row"):
        check_columns(files[:2], ["text"])


def test_another_chunk_size_is_refused(tmp_path: Path) -> None:
    """Chunk numbers are row positions: with another size, rows between would never be read."""
    hold_chunk_size(tmp_path, 10)
    hold_chunk_size(tmp_path, 10)
    assert check_chunk_size(tmp_path, 10) and not check_chunk_size(tmp_path / "new", 20)
    with pytest.raises(RunError, match="a chunk size of 10, not 20"):
        hold_chunk_size(tmp_path, 20)
