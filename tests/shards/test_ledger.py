"""The ledger of a chunk: both balances hold whatever steps do, and what they must not do is an error."""

from __future__ import annotations

import random

import pytest
from datatrove.data import Document

from blocks.shards.chunk import FORMAT, LINEAGE, OpenChunk, Refusal, chunk_of, close_all, open_chunks
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.journal import syncer
from blocks.shards.tally import Tally
from tests.conftest import rejected, samples, write_jsonl
from tests.shards.steps import Echo, execute, planned

FORMATS = ["faq", "math", "table"]


@pytest.fixture
def chunk(tmp_path):
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    yield OpenChunk(folder, 3, 1)
    close_all()
    syncer().flush(10)


def sample(name: str, number: int = 0) -> Document:
    return Document("text", f"sample-{number}", metadata={FORMAT: name})


@pytest.mark.parametrize("seed", range(40))
def test_balances_hold_under_any_sequence(chunk, seed):
    dice = random.Random(seed)
    alive: list[str] = []
    expected = Tally()

    def refusal(name: str = "") -> Refusal:
        return Refusal(dice.choice(["a", "b"]), dice.choice(["rejected", "failed"]), format=name)

    for row in range(dice.randrange(1, 60)):
        expected.read += 1
        if dice.random() < 0.2:
            chunk.refuse_row(row, refusal())
        else:
            alive.append(chunk.hand_out(row, f"id-{row}"))
        while alive and dice.random() < 0.6:
            lineage = alive.pop(dice.randrange(len(alive)))
            action = dice.random()
            if action < 0.5:  # also samples are replaced: a second Generate step
                children = [sample(dice.choice(FORMATS), n) for n in range(dice.randrange(4))]
                refusals = [refusal(dice.choice([*FORMATS, ""])) for _ in range(dice.randrange(3))]
                chunk.replace(lineage, children, refusals)
                alive += [child.metadata[LINEAGE] for child in children]
            elif action < 0.7:
                chunk.refuse(lineage, refusal())
            elif action < 0.9:
                document = sample(chunk._alive[lineage][1])
                document.metadata[LINEAGE] = lineage
                chunk.write(document)
                expected.written[document.metadata[FORMAT]] += 1
            # and else it vanishes in a filter
    chunk.finish()  # checks both balances
    assert chunk.tally.read == expected.read
    assert chunk.tally.written == expected.written
    record = chunk.tally.as_dict()
    assert all(count > 0 for count in record["samples"]["requested"].values())
    kept = sum(len(found) for found in (chunk.refusals,))
    by_reason = sum(reasons.total() for reasons in chunk.tally.document_refusals.values())
    by_reason += sum(r.total() for formats in chunk.tally.sample_refusals.values() for r in formats.values())
    assert kept == by_reason
    total = Tally()
    total.add(record)
    total.add(record)
    total.check()
    assert total.read == 2 * expected.read


def test_refusals_are_kept_in_input_order(chunk):
    lineages = [chunk.hand_out(row, str(row)) for row in range(12)]
    for lineage in reversed(lineages):
        chunk.refuse(lineage, Refusal("x"))
    chunk.finish()
    assert [refusal.id for _, refusal in chunk.refusals] == [str(row) for row in range(12)]


def test_unknown_and_repeated_lineages_are_errors(chunk):
    lineage = chunk.hand_out(0, "id")
    chunk.replace(lineage, [sample("faq")], [])
    for act in (
        lambda: chunk.replace(lineage, [], []),
        lambda: chunk.refuse(lineage, Refusal("x")),
        lambda: chunk.refuse("00003-00001:77", Refusal("x")),
        lambda: chunk.write(Document("t", "id", metadata={LINEAGE: lineage})),
    ):
        with pytest.raises(RunError, match="arrived twice or was never read"):
            act()
    with pytest.raises(RunError, match="keep the order"):
        chunk_of(Document("t", "id", metadata={LINEAGE: "00009-00000:1"}))
    assert chunk_of(Document("t", "id")) is None
    assert open_chunks() == [chunk]


def run(tmp_path, *steps, rows: int = 10, chunk_size: int = 4, text: str = "text"):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": f"{text} {i}"} for i in range(rows)])
    folder = planned(tmp_path / "run", path, chunk_size)
    execute(folder, chunk_size, list(steps))
    return folder


def counts(tmp_path) -> list[tuple[str, str | None]]:
    return [(row["reason"], row["format"]) for row in rejected(tmp_path / "run")]


def test_dropped_documents_and_samples_are_on_record(tmp_path):
    def early(data, rank, size):
        return (document for document in data if document.id != "d3")

    def late(data, rank, size):
        return (found for found in data if not found.id.startswith(("d5/table", "d8/")))

    run(tmp_path, early, Echo(), late)
    assert counts(tmp_path) == [
        ("dropped_by_pipeline", None),
        ("dropped_by_pipeline", "table"),
        ("dropped_by_pipeline", "faq"),
        ("dropped_by_pipeline", "table"),
    ]
    assert [row["id"] for row in rejected(tmp_path / "run")] == ["d3", "d5/table", "d8/faq", "d8/table"]
    assert len(samples(tmp_path / "run")) == 2 * 9 - 3


@pytest.mark.parametrize("place", [0, 1])
def test_a_copied_document_is_an_error(tmp_path, place):
    def copy(data, rank, size):
        for document in data:
            yield document
            if document.id.startswith("d2"):
                yield Document(document.text, document.id, metadata=dict(document.metadata))

    steps: list = [Echo()]
    steps.insert(place, copy)
    with pytest.raises(RunError, match=r"arrived twice .* must not copy"):
        run(tmp_path, *steps)
    assert samples(tmp_path / "run") == []


def test_a_changed_format_is_an_error(tmp_path):
    def rename(data, rank, size):
        for found in data:
            found.metadata[FORMAT] = "other"
            yield found

    with pytest.raises(RunError, match=r"do not balance.*metadata\['format'\]"):
        run(tmp_path, Echo(), rename)


def test_lost_metadata_is_an_error(tmp_path):
    def strip(data, rank, size):
        for found in data:
            found.metadata = {}
            yield found

    with pytest.raises(RunError, match="keep the metadata in every step"):
        run(tmp_path, Echo(), strip)


def test_exploding_and_two_levels_of_samples(tmp_path):
    class Judge(Echo):
        """A second step over samples: one of three goes on, as another format."""

        def run(self, data, rank=0, world_size=1):
            for number, found in enumerate(data):
                chunk, lineage = chunk_of(found), found.metadata[LINEAGE]
                if number % 3 == 0:
                    child = Document(found.text, f"{found.id}/judged", metadata={FORMAT: "judged"})
                    chunk.replace(lineage, [child], [])
                    yield child
                elif number % 3 == 1:
                    chunk.refuse(lineage, Refusal("low_score"))
                else:
                    chunk.replace(lineage, [], [Refusal("judge_failed", "failed")])

    folder = run(tmp_path, Echo([f"f{i}" for i in range(12)]), Judge(), rows=3, chunk_size=2)
    found = samples(tmp_path / "run")
    assert {row["format"] for row in found} == {"judged"}
    assert len(found) == 12
    assert sorted(counts(tmp_path)) == sorted(
        [("low_score", f"f{i}") for i in range(12) if i % 3 == 1] * 3
        + [("judge_failed", f"f{i}") for i in range(12) if i % 3 == 2] * 3
    )
    assert not list((folder.state / "staging").iterdir())
