"""Proposed thresholds, and how pairs use their templates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from blocks.instruct.calibrate import CHANCE, propose, propose_by_pairs, said_by_model, similarities
from blocks.instruct.index import TemplateSearch, build_index
from blocks.instruct.instantiate import PAIR_SCHEMA
from blocks.instruct.use import template_use
from blocks.shards.commit import Commit, Staging
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.shard import open_shard


def test_a_threshold_leaves_almost_all_random_pairs_below_it():
    dice = np.random.default_rng(0)
    random = dice.normal(0.0, 0.1, 100_000)
    near = np.sort(dice.normal(0.4, 0.1, (300, 6, 6)), axis=-1)[..., ::-1]
    near[:100] -= 0.6  # documents that the bank has nothing for
    told = propose(near, random)
    assert told["by_chance"] == pytest.approx(1 - CHANCE, abs=1e-4)
    assert told["threshold"] == pytest.approx(0.31, abs=0.02)
    assert told["documents"] == pytest.approx(2 / 3, abs=0.02)
    assert told["nearest"]["0.5"] > told["threshold"] > told["random"]["0.99"]


class Beside:
    """An encoder whose documents are numbers of templates: near to that one, at right angles to the others."""

    def documents(self, texts):
        found = np.full((len(texts), 6, 24), 0.0, np.float32)
        for row, text in enumerate(texts):
            found[row, :, int(text)], found[row, :, 23] = 0.6, 0.8
        return found


def small_bank(tmp_path, templates):
    pytest.importorskip("faiss", reason="faiss is not installed: make test-all")
    vectors = np.eye(templates, 24, dtype=np.float16)
    vectors.tofile(tmp_path / "vectors.f16")
    build_index(vectors, tmp_path)
    return SimpleNamespace(vectors=vectors, search=TemplateSearch(tmp_path))


def test_a_small_bank_has_a_threshold_too(tmp_path):
    """One of twenty random templates would be the document's own."""
    found = propose(*similarities(small_bank(tmp_path, 20), Beside(), [str(n % 20) for n in range(100)]))
    assert found["threshold"] < 0.6 and found["documents"] == 1


@pytest.mark.parametrize(("templates", "texts", "said"), [(6, ["1"], "far more"), (20, [], "none of the documents")])
def test_what_tells_nothing_of_a_threshold(tmp_path, templates, texts, said):
    with pytest.raises(RunError, match=said):
        similarities(small_bank(tmp_path, templates), Beside(), texts)


def test_of_large_runs_some_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("blocks.instruct.calibrate.SAMPLE", 3)
    told = {"pairs": [], "rejected": [], "matches": []}
    for number in range(40):
        told["matches"].append(
            {"id": f"d{number}", "templates": [{"template_id": f"t{k}", "similarity": number + k / 2} for k in (0, 1)]}
        )
        told["pairs"].append({"id": f"d{number}/t0", "similarity": float(number)})
        told["rejected"].append({"id": f"d{number}/t1", "reason": "cut_off" if number % 2 else "not_compatible"})
    tables = {("p", "shards"): "pairs", ("p", "rejected"): "rejected", ("m", "shards"): "matches"}
    monkeypatch.setattr("blocks.instruct.calibrate._rows", lambda run, kind, columns: iter(told[tables[run, kind]]))
    fits, does_not = said_by_model("p", "m")
    assert len(fits) == len(does_not) == 3
    assert all(one == int(one) for one in fits) and all(one % 2 == 0.5 for one in does_not)


def test_a_threshold_by_what_a_model_said():
    dice = np.random.default_rng(0)
    fits, does_not = dice.normal(0.6, 0.05, 400), dice.normal(0.4, 0.05, 900)
    told = propose_by_pairs(fits, does_not)
    assert told["threshold"] == pytest.approx(0.5, abs=0.03)
    assert told["fits_above"] > 0.95 and told["does_not_fit_above"] < 0.05
    assert propose_by_pairs(np.array([0.5]), np.array([0.5]))["threshold"] == 0.5


def committed(tmp_path, rows, schema=PAIR_SCHEMA, file_format="parquet"):
    """A run of one chunk with these pairs."""
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    staging = Staging(folder, "00000-00000")
    name = f"shards/pairs/00000-00000.{file_format}"
    shard = open_shard(staging.file(name), schema, file_format)
    for row in rows:
        shard.add(row)
    shard.close()
    staging.commit(Commit("00000-00000", 0, 0, True, staging.token, [staging.describe(name, len(rows))], {}))
    return folder


def pair(number, chunk, position, **fields):
    always = dict.fromkeys((field.name for field in PAIR_SCHEMA if pa.types.is_string(field.type)), "x")
    told = {"id": str(number), "template_id": f"t{number % 4}", "template": f"template {number % 4}", "complexity": 2}
    numbers = {"similarity": 0.5, "grounding": 0.9, "resemblance": 1.0, "input_cut": False, "judge_score": 4.0}
    return {
        **always,
        **told,
        **numbers,
        "chunk_k": chunk,
        "position": position,
        "source_id": f"d{number // 3}",
        **fields,
    }


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_use_of_templates(tmp_path, file_format):
    rows = [
        pair(n, n % 6, n % 6 / 6, template_source="a" if n % 3 else "b", judge_score=4.0 * (n > 0)) for n in range(60)
    ]
    rows += [pair(60, 3, None, template_source=None, complexity=17, judge_score=None)]
    told = template_use(committed(tmp_path, rows, file_format=file_format))
    assert (told["pairs"], told["documents"], told["templates"]) == (61, 21, 4)
    assert told["most_used"][0] == {"template_id": "t0", "template": "template 0", "share": 16 / 61}
    assert told["sources"] == {"a": 40 / 61, "b": 20 / 61, "": 1 / 61}
    assert told["complexities"] == {2: 60 / 61, 10: 1 / 61}
    assert told["pearson"] == pytest.approx(1)  # of what was found by a part, and copied from somewhere
    assert told["chunks"][3] == {"pairs": 11, "position": 0.5}
    assert told["scores"] == {"0": 1, "4": 59}


def test_a_run_without_pairs(tmp_path):
    told = template_use(committed(tmp_path, []))
    assert (told["pairs"], told["pearson"], told["most_used"], told["similarity"]) == (0, None, [], [])
