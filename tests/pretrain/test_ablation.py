"""Ablations: which trainings one consists of, and what cannot be."""

from __future__ import annotations

import pytest
import yaml

from blocks.pretrain.ablation import load_ablation
from blocks.shards.folder import RunError

SOUND = {
    "training": {"model": "1.7b", "steps": 10},
    "seeds": [4, 5],
    "arms": {"web": {"web": {"tokens": "t/web"}}, "half": {"web": {"tokens": "t/web"}, "faq": {"tokens": "t/faq"}}},
}


def load(tmp_path, **changes):
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump({**SOUND, **changes}))
    return load_ablation(tmp_path / "ablation.yaml")


def test_each_arm_is_trained_with_each_seed(tmp_path):
    found = list(load(tmp_path).experiments())
    assert [(arm, one.name, one.seed, one.data_seed) for arm, one in found] == [
        ("half", "half-seed4", 4, 4), ("half", "half-seed5", 5, 5),
        ("web", "web-seed4", 4, 4), ("web", "web-seed5", 5, 5),
    ]  # fmt: skip
    assert {one.train_steps for _, one in found} == {10} and set(found[0][1].sources) == {"faq", "web"}
    assert load(tmp_path, seeds=[9]).seeds == [9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"model": "1.7b", "steps": 10, "seed": 1}}, "training must not hold seed"),
        ({"training": {"model": "2b", "steps": 10}}, "there is no model '2b'"),
        ({"training": {"model": "1.7b", "stepz": 10}}, "stepz: Extra inputs are not permitted"),
        ({"seeds": [1, 1]}, "two seeds are the same"),
        ({"arms": {"a b": {"web": {"tokens": "t"}}}}, "name: String should match pattern"),
        ({"arms": {}}, "arms: Dictionary should have at least 1 item"),
        ({"arm": {}}, "arm: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, changes, message):
    with pytest.raises(RunError) as error:
        load(tmp_path, **changes)
    assert message in str(error.value)


def test_baselines_are_arms_of_one_source(tmp_path):
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(SOUND))
    told = ["raw=t/raw", "cosmo=s3://bucket/cosmo", "wrap=t/wrap:qa", "far=s3://bucket/far:faq"]
    arms = load_ablation(tmp_path / "ablation.yaml", told).arms
    assert list(arms) == ["half", "web", "raw", "cosmo", "wrap", "far"]
    sources = [(arms[name][name].tokens, arms[name][name].format) for name in ("raw", "cosmo", "wrap", "far")]
    assert sources == [("t/raw", None), ("s3://bucket/cosmo", None), ("t/wrap", "qa"), ("s3://bucket/far", "faq")]
    for wrong in ("raw", "=t", "web=t/web"):
        with pytest.raises(RunError, match="give NAME=FOLDER"):
            load_ablation(tmp_path / "ablation.yaml", [wrong])


def test_trainings_that_go_on_from_one_checkpoint_have_one_seed(tmp_path):
    training = {"model": "1.7b", "steps": 10, "after": {"training": "e/web", "step": 9}}
    with pytest.raises(RunError, match="are the same, whatever their seed"):
        load(tmp_path, training=training)
    assert len(list(load(tmp_path, training=training, seeds=[1]).experiments())) == 2
    training["after"]["training"] = "e/web-seed{seed}"
    found = [one.after.training for _, one in load(tmp_path, training=training).experiments()]
    assert found == ["e/web-seed4", "e/web-seed5"] * 2
