"""Stock filters in `Filtered`: what they drop stands in the ledger with its reason, wherever they stand."""

from __future__ import annotations

import pickle
from itertools import islice

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import LambdaFilter, RegexFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter

from blocks.execute.launch import sum_up
from blocks.filters.filtered import Filtered, snake_case
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunError
from tests.conftest import rejected, samples, write_jsonl
from tests.shards.steps import Echo, execute, planned


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": f"text {i}"} for i in range(10)])
    return planned(tmp_path / "run", tmp_path / "a.jsonl", 4)


def odd(document):
    return int(document.text[-1]) % 2 == 0 or (False, "Odd number!")


class InBatches(BaseFilter):
    """Cuts a text, notes something and drops the odd ones, three at a time."""

    name = "in batches"

    def __init__(self):
        super().__init__(batch_size=3)
        self.sizes = []

    def filter(self, doc):
        raise AssertionError("batches are asked for")

    def filter_batch(self, batch):
        self.sizes.append(len(batch))
        results = [odd(document) for document in batch]
        for document in batch:
            document.metadata["last"] = document.text[-1]
            document.text = document.text.removeprefix("text ")
        return results


def test_documents_are_refused_with_their_reason_and_text(folder, tmp_path):
    execute(folder, 4, [Filtered(LambdaFilter(odd)), Filtered(RegexFilter("[02]")), Echo()])
    assert [row["source_id"] for row in samples(tmp_path / "run")] == ["d4", "d6", "d8"] * 2
    found = {row["id"]: (row["reason"], row["kind"], row["raw"], row["format"]) for row in rejected(tmp_path / "run")}
    assert found["d3"] == ("odd_number", "rejected", "text 3", None)
    assert found["d2"] == ("regex_filter", "rejected", "text 2", None)  # that filter gives no reason
    summary = sum_up(folder)
    assert summary["complete"] and (summary["read"], summary["done"]) == (10, 3)
    assert summary["rejected"] == {"odd_number": 5, "regex_filter": 2}


def test_samples_are_refused_by_format(folder, tmp_path):
    only_tables = LambdaFilter(lambda sample: sample.metadata["format"] == "table" or odd(sample))
    execute(folder, 4, [Echo(), Filtered(only_tables)])
    samples_of = sum_up(folder)["samples"]
    assert samples_of["requested"] == {"faq": 10, "table": 10}
    assert samples_of["written"] == {"faq": 5, "table": 10}
    assert samples_of["rejected"] == {"faq": {"odd_number": 5}}
    assert ("d1/faq", "faq", "faq: text 1") in {
        (row["id"], row["format"], row["raw"]) for row in rejected(tmp_path / "run")
    }


@pytest.mark.parametrize("after", [False, True])
def test_batches_across_the_borders_of_chunks(folder, tmp_path, after):
    batches = Filtered(InBatches())
    execute(folder, 4, [Echo(["faq"]), batches] if after else [batches, Echo(["faq"])])
    assert batches.filter.sizes == [3, 3, 3, 1]
    assert [row["id"] for row in samples(tmp_path / "run")] == [f"d{i}/faq" for i in range(0, 10, 2)]
    row = rejected(tmp_path / "run")[0]
    assert (row["id"], row["raw"]) == (("d1/faq", "faq: text 1") if after else ("d1", "text 1"))  # as it came
    assert row["detail"] == "last: 1"
    assert sum_up(folder)["rejected"] == {"odd_number": 5}


def test_what_a_batch_holds_when_the_stream_is_cut_is_not_lost(folder, tmp_path):
    """The reader is at its end then: only the step knows that there is more."""

    class AllAtOnce(LambdaFilter):
        def __init__(self):
            super().__init__(lambda document: True)
            self.batch_size = 100

    with pytest.raises(RunError, match="must not be cut"):
        execute(folder, 4, [Filtered(AllAtOnce()), Echo(), lambda data, rank, size: islice(data, 3)])
    assert not list(load_commits(folder))
    execute(folder, 4, [Filtered(AllAtOnce()), Echo()])
    assert len(samples(tmp_path / "run")) == 20 and rejected(tmp_path / "run") == []


def test_statistics_are_those_of_the_filter(folder):
    step = pickle.loads(pickle.dumps(Filtered(RegexFilter("[13]"))))
    assert repr(step) == repr(step.filter) and step.stats is step.filter.stats
    execute(folder, 4, [step, Echo()])
    assert {name: step.stats[name].total for name in ("total", "forwarded", "dropped", "dropped_regex_filter")} == {
        "total": 10,
        "forwarded": 8,
        "dropped": 2,
        "dropped_regex_filter": 2,
    }


def test_without_a_ledger_it_drops_like_the_filter():
    documents = [Document(f"text {i}", str(i)) for i in range(4)]
    assert [document.id for document in Filtered(LambdaFilter(odd)).run(documents)] == ["0", "2"]


def test_an_exclusion_writer_is_refused(tmp_path):
    with pytest.raises(ValueError, match="written to rejected/"):
        Filtered(LambdaFilter(odd, exclusion_writer=JsonlWriter(str(tmp_path))))


@pytest.mark.parametrize(
    ("said", "reason"),
    [("< 3 paragraphs", "3_paragraphs"), ("C4QualityFilter", "c4_quality_filter"), ("dup_line_frac", "dup_line_frac")],
)
def test_reasons_are_snake_case(said, reason):
    assert snake_case(said) == reason
