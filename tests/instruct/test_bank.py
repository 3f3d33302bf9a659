"""Banks of a run that grows, and templates that none can hold."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from datatrove.data import Document

from blocks.instruct.bank import Bank, EmbedTemplates, build_bank, embedded_schema
from blocks.shards.chunk import LINEAGE, OpenChunk, close_all
from blocks.shards.commit import Commit, Staging
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.journal import syncer
from blocks.shards.run import begin_run, kept_pins, load_run
from blocks.shards.shard import open_shard

pytest.importorskip("faiss", reason="FAISS is not installed: make test-all")

TOLD = {"encoder": "e", "encoder_revision": "local-1", "max_length": None}


def grown(folder: RunFolder, chunk: int, templates: list[str]) -> None:
    """Commit a chunk of embedded templates."""
    staging = Staging(folder, f"00000-{chunk:05}")
    name = f"shards/templates/00000-{chunk:05}.parquet"
    shard = open_shard(staging.file(name), embedded_schema(8), "parquet")
    for number, template in enumerate(templates):
        embedding = np.eye(8, dtype=np.float16)[(chunk + number) % 8]
        told = {"description": f"texts on {template}", "complexity": 1, "template_source": "s", "frequency": 2}
        shard.add({"id": f"{chunk}/{number}", "template": template, "embedding": embedding, **told})
    shard.close()
    done = [staging.describe(name, len(templates))]
    staging.commit(Commit(f"00000-{chunk:05}", 0, 0, True, staging.token, done, {}))


def test_a_run_that_has_grown_gets_a_further_bank(tmp_path):
    folder = RunFolder.at(str(tmp_path / "index"))
    folder.prepare()
    begin_run(folder, {}, {"templates": "embedded"}, {}, {})
    with pytest.raises(RunError, match="no finished bank"):
        Bank.of_run(folder.output)
    grown(folder, 0, ["what is <fi>a</fi>", "who is <fi>b</fi>"])
    first = build_bank(folder, TOLD)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    grown(folder, 1, ["who is <fi>b</fi>", "how is <fi>1</fi>"])
    (first.folder.parent / "bank-notes").mkdir()  # somebody's own
    for left in ("bank-2", ".bank-2.part"):  # of a launch that was killed in the middle of it
        (first.folder.parent / left).mkdir()
    for chunk in range(2, 10):
        grown(folder, chunk, ["who is <fi>b</fi>", f"how is <fi>{chunk}</fi>"])
    second = build_bank(folder, TOLD)
    assert Bank.of_run(folder.output) == second
    assert (first.folder.name, second.folder.name) == ("bank-1", "bank-10")  # the newest is not the last by its letters
    assert second.column("frequency").tolist() == [2, 20, *[2] * 9]
    assert Bank.of_run(folder.output, "bank-1") == first
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    assert {path.name for path in first.folder.parent.glob("*bank-*")} == {"bank-1", "bank-10", "bank-notes"}
    assert build_bank(folder, TOLD).told == second.told
    with pytest.raises(RunError, match="no bank-3 any more"):
        Bank.of_run(folder.output, "bank-3")


def test_a_match_stays_with_its_bank(tmp_path):
    folder = RunFolder.at(str(tmp_path / "match"))
    folder.prepare()
    begin_run(folder, {}, {"matches": "6 templates"}, {"bank": "bank-1"}, {"bank": "runs/index"})
    assert kept_pins(load_run(folder), {"bank": "runs/index"}) == {"bank": "bank-1"}
    assert kept_pins(load_run(folder), {"bank": "runs/other"}) == {}


def test_workers_search_as_they_were_told():
    assert pickle.loads(pickle.dumps(Bank(Path("b"), 512))).search.nprobe == 512


class Ones:
    def take_gpu(self, rank):
        pass

    def descriptions(self, texts):
        return np.ones((len(texts), 8), np.float32)


def test_templates_that_no_bank_can_hold_are_refused(tmp_path):
    """Rows of somebody's own files; the stage `templates` makes none of them."""
    sound = {"description": "texts", "complexity": 1, "frequency": 1}
    rows = [
        ("who is <fi>b</fi>", sound, None),
        ("who is b", sound, "template_no_variable"),
        ("who is <fi>b", sound, "template_unbalanced"),
        ("why is <fi>b</fi>", {**sound, "description": None}, "no_description"),
        ("why is <fi>c</fi>", {**sound, "description": ""}, "no_description"),
        ("why is <fi>d</fi>", {**sound, "complexity": None}, "no_complexity"),
        ("why is <fi>e</fi>", {**sound, "frequency": None}, "no_frequency"),
        ("why is <fi>f</fi>", {**sound, "template_source": None}, None),
    ]
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    chunk = OpenChunk(folder, 0, 0)
    documents = [
        Document(text, str(number), metadata={**told, LINEAGE: chunk.hand_out(number, str(number))})
        for number, (text, told, _) in enumerate(rows)
    ]
    found = [one.id for one in EmbedTemplates(Ones()).run(documents)]
    assert found == [str(number) for number, (_, _, reason) in enumerate(rows) if reason is None]
    assert {refusal.id: refusal.reason for _, refusal in chunk.refusals} == {
        str(number): reason for number, (_, _, reason) in enumerate(rows) if reason is not None
    }
    close_all()
    syncer().flush(10)
