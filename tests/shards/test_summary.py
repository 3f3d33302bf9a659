"""The summary: its numbers add up over chunks, passes and launches."""

from __future__ import annotations

import json

import pytest

from blocks.shards.chunk import chunk_of
from blocks.shards.commit import Commit, load_commits
from blocks.shards.folder import RunFolder
from blocks.shards.plan import load_plan
from blocks.shards.run import RunRecord
from blocks.shards.summary import log_launch, summarize
from blocks.shards.tally import Tally
from tests.conftest import write_jsonl
from tests.shards.steps import Echo, execute, planned


def record(*passes: list[str]) -> RunRecord:
    return RunRecord({}, {}, {}, list(passes), {})


def test_numbers_add_up_over_chunks_and_passes(tmp_path):
    texts = ["text", "refuse", "", "fail", "text", "nothing", "text"]
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    folder = planned(tmp_path / "run", path, 2)
    units = load_plan(folder.state / "plan.jsonl")
    log_launch(folder)

    def tokens(document):
        chunk_of(document).count(requests=2, prompt_tokens=100, completion_tokens=10)

    execute(folder, 2, [Echo(["faq", "table"], tokens)])
    first = summarize(folder, record(["faq", "table"]), units)
    assert first["complete"]
    assert (first["read"], first["done"], first["chunks"]) == (7, 5, 4)
    assert first["written"] == {"faq": 4, "table": 3}
    assert first["rejected"] == {"empty_text": 1, "no_output": 1, "refusal": 1}
    assert first["failed"] == {"timeout": 2}
    assert (first["requests"], first["prompt_tokens"], first["completion_tokens"]) == (12, 600, 60)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == first

    assert not summarize(folder, record(["faq", "table"], ["math"]), units)["complete"]
    execute(folder.for_pass(1), 2, [Echo(["math"], tokens)])
    second = summarize(folder, record(["faq", "table"], ["math"]), units)
    assert second["complete"]
    # Documents are those of the first pass, samples and tokens those of both.
    assert second["documents"] == first["documents"]
    assert second["written"] == {"faq": 4, "math": 3, "table": 3}
    assert second["failed"] == {"timeout": 3}
    assert (second["prompt_tokens"], second["chunks"]) == (1200, 8)
    for name, requested in second["samples"]["requested"].items():
        refused = sum(sum(second["samples"][kind].get(name, {}).values()) for kind in ("rejected", "failed"))
        assert requested == second["written"].get(name, 0) + refused


@pytest.mark.parametrize(
    ("launches", "commits", "seconds"),
    [
        ([100], [], 0.0),
        ([100], [130, 160], 60.0),
        ([100, 1000], [160, 1030, 1005], 90.0),
        ([100, 200, 1000], [160, 1005], 65.0),  # a launch that committed nothing
        ([1000, 500], [1060, 530], 90.0),  # the clock was set back between two launches
        ([100], [90], 0.0),  # and during one
        ([], [50], 0.0),
    ],
)
def test_seconds(tmp_path, launches, commits, seconds):
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    lines = b"".join(json.dumps({"at": at}).encode() + b"\n" for at in launches)
    (folder.state / "launches.jsonl").write_bytes(lines + b'{"at": 17')  # torn by a loss of power
    for k, at in enumerate(commits):
        commit = Commit(f"00000-{k:05d}", 0, k, False, "x", [], Tally().as_dict(), at=at)
        (folder.state / "commits" / f"{commit.chunk}.json").write_text(json.dumps(vars(commit)))
    assert len(list(load_commits(folder))) == len(commits)
    summary = summarize(folder, record(["faq"]), [])
    assert summary["seconds"] == seconds
    assert summary["completion_tokens_per_second"] in (None, 0.0)
