"""A sample is exact in size, even, and the same for whoever draws it."""

from __future__ import annotations

import pickle
import random

import pyarrow.parquet as pq
import pytest

from blocks.shards.folder import RunError
from blocks.shards.plan import extend_plan, load_plan, save_plan
from blocks.shards.read import ReadUnits
from blocks.shards.run import RunRecord
from blocks.shards.sample import Sample
from blocks.shards.source import list_files
from blocks.shards.summary import summarize
from blocks.shards.where import parse_where
from tests.conftest import samples, write_jsonl, write_parquet
from tests.shards.steps import Echo, execute, planned


def drawn(sample, units):
    return {(unit.number, at) for unit in units for at in range(unit.rows or 100) if (unit.number, at) in sample}


def test_a_sample_is_exact_and_even(tmp_path, monkeypatch):
    monkeypatch.setattr("blocks.shards.sample._HELD", 64)
    source = write_parquet(tmp_path / "in.parquet", [{"id": f"d{n}", "text": "x"} for n in range(1000)], 100)
    folder = planned(tmp_path / "run", source, 100)
    units = load_plan(folder.state / "plan.jsonl")
    counts = [0] * 10
    for seed in range(60):
        (folder.state / "sample.json").unlink(missing_ok=True)
        sample = Sample(folder, 100, seed)
        assert sample.draw() == 100
        rows = drawn(sample, units)
        assert len(rows) == 100
        for unit, _ in rows:
            counts[unit] += 1
    expected = 60 * 100 / 10
    assert sum((count - expected) ** 2 / expected for count in counts) < 28  # chi-square, 9 degrees, 0.1 %


def test_the_same_rows_in_another_order_and_other_files(tmp_path):
    rows = [{"id": f"d{n}", "text": f"text {n}"} for n in range(300)]
    one = planned(tmp_path / "one", write_jsonl(tmp_path / "a" / "all.jsonl", rows), 50)
    write_jsonl(tmp_path / "b" / "1.jsonl", rows[:120][::-1])
    write_parquet(tmp_path / "b" / "2.parquet", rows[120:][::-1], 33)
    other = planned(tmp_path / "other", tmp_path / "b", 50)
    found = []
    for folder, at in ((one, tmp_path / "one"), (other, tmp_path / "other")):
        sample = pickle.loads(pickle.dumps(Sample(folder, 40, 7)))
        execute(folder, 50, [Echo(["faq"])], sample=sample)
        found.append({row["source_id"] for row in samples(at)})
        told = summarize(folder, RunRecord({}, {}, {}, [["faq"]], {}), load_plan(folder.state / "plan.jsonl"))
        assert (told["read"], told["documents"]["excluded"]) == (40, 260)
    assert found[0] == found[1] and len(found[0]) == 40


def test_fewer_rows_than_wanted_are_all_drawn_and_those_that_do_not_match_none(tmp_path):
    rows = [{"id": f"d{n}", "text": "x", "lang": "en" if n % 2 else "de"} for n in range(20)]
    folder = planned(tmp_path / "run", write_jsonl(tmp_path / "in.jsonl", rows), 50)
    sample = Sample(folder, 100, 0, where=[parse_where("lang == en")])
    assert sample.draw() == 10
    assert drawn(sample, load_plan(folder.state / "plan.jsonl")) == {(0, at) for at in range(20) if at % 2}


def test_equal_ids_do_not_make_it_larger(tmp_path):
    rows = [{"id": "same", "text": "x"} for _ in range(50)]
    sample = Sample(planned(tmp_path / "run", write_jsonl(tmp_path / "in.jsonl", rows), 50), 7)
    assert sample.draw() == 7


def test_an_input_that_has_grown_is_refused(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"d{n}", "text": "x"} for n in range(30)])
    folder = planned(tmp_path / "run", source, 10)
    save_plan(path := folder.state / "plan.jsonl", extend_plan([], list_files(str(source)), 10, 10))
    assert Sample(folder, 5).draw() == 5
    save_plan(path, extend_plan(load_plan(path), list_files(str(source)), 10, None))
    with pytest.raises(RunError, match="has grown since"):
        Sample(folder, 5).draw()


def test_what_holds_no_row_of_the_sample_is_not_read(tmp_path):
    """A sample of a large corpus needs a small part of it. What would be noticed if it were read: damage."""
    texts = {f"d{n}": random.Random(n).randbytes(100).hex() for n in range(400)}
    source = write_parquet(tmp_path / "in.parquet", [{"id": id, "text": text} for id, text in texts.items()], 20)
    folder = planned(tmp_path / "run", source, 130)  # units begin within row groups
    sample = Sample(folder, 6, 1)
    sample.draw()
    units = load_plan(folder.state / "plan.jsonl")
    places = {unit.start + at for unit in units for at in range(unit.rows) if (unit.number, at) in sample}
    content = bytearray(source.read_bytes())
    groups = pq.ParquetFile(source).metadata
    spared = [number for number in range(20) if not places & set(range(20 * number, 20 * number + 20))]
    assert len(spared) >= 14
    for number in spared:
        column = groups.row_group(number).column(1)
        assert column.path_in_schema == "text"
        begin = column.dictionary_page_offset or column.data_page_offset
        content[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    source.write_bytes(content)
    execute(folder, 130, sample=sample)
    found = {row["source_id"]: row["text"] for row in samples(tmp_path / "run")}
    assert found.keys() == {f"d{place}" for place in places}
    told = summarize(folder, RunRecord({}, {}, {}, [["faq"]], {}), units)
    assert (told["read"], told["documents"]["excluded"]) == (6, 394)


def test_reader_without_a_sample_reads_all(tmp_path):
    folder = planned(tmp_path / "run", write_jsonl(tmp_path / "in.jsonl", [{"id": "a", "text": "x"}]), 10)
    assert ReadUnits(folder, 10).sample is None
