"""Experiments: their arithmetic, and what the loader could not serve."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from blocks.pretrain.configure import configure, write_experiment
from blocks.pretrain.mixture import blend, links, load_experiment, plan
from blocks.pretrain.nanotron import Config
from blocks.pretrain.presets import PRESETS
from blocks.shards.folder import RunError

TOKENIZER = {
    "name": "org/model", "revision": None, "eos": "</s>", "own_eos": "</s>", "eos_id": 0,
    "vocab_size": 1000, "entries": 1000, "token_size": 2,
}  # fmt: skip


def tokens(folder, formats, **tokenizer):
    """A folder of tokens that only has a manifest; `formats` are the tokens of each file."""
    folder.mkdir()
    told = {
        name: {
            "tokens": sum(files),
            "files": [
                {"path": f"ds-s3/{name}/{i:05d}.ds", "tokens": count, "hash": "h"} for i, count in enumerate(files)
            ],
        }
        for name, files in formats.items()
    }
    (folder / "tokens.json").write_text(json.dumps({"tokenizer": {**TOKENIZER, **tokenizer}, "formats": told}))
    return str(folder)


@pytest.fixture
def experiment(tmp_path):
    values = {
        "name": "one",
        "model": "0.5b",
        "sources": {
            "faq": {
                "tokens": tokens(tmp_path / "mine", {"faq": [5000, 90], "math": [64]}),
                "format": "faq",
                "weight": 3,
            },
            "web": {"tokens": tokens(tmp_path / "web", {"documents": [12_000]})},
        },
        "steps": 10, "sequence_length": 99, "batch": 8, "micro_batch": 2, "gpus": 2,
    }  # fmt: skip

    def load(**changes):
        file = tmp_path / "experiment.yaml"
        file.write_text(
            yaml.safe_dump({name: value for name, value in {**values, **changes}.items() if value is not None})
        )
        return load_experiment(file)

    return load


def test_the_arithmetic(experiment, tmp_path):
    found = experiment()
    faq, web = plan(found)
    assert (faq.weight, web.weight) == (0.75, 0.25)
    assert (faq.windows, web.windows) == (61, 21), "60 and 20 of 10 · 8, and a part of one more"
    assert (faq.folder.windows, web.folder.windows) == ((50, 0), (120,)), (
        "files of 100 tokens per window, the rest dropped"
    )
    assert (faq.epochs, web.epochs) == (1.22, 0.175)
    assert list(links(faq, 6)) == [(f"0000000{i}.ds", f"{tmp_path}/mine/ds-s3/faq/00000.ds") for i in (0, 1)]
    config = configure(found, [faq, web], tmp_path / "out")
    assert not config.data_stages[0].data.dataset.shuffle_files, "links are in order"
    assert config.windows_per_step == 8 and config.tokens.batch_accumulation_per_replica == 2
    assert experiment(steps=None, tokens=7921).train_steps == 11, "rounded up to whole steps of 792 tokens"


def test_each_seed_has_its_own_order_of_files(experiment, tmp_path):
    """nanotron reads folders in order and does nothing else with the seed of the data."""
    source = tokens(tmp_path / "parts", {"documents": [100] * 12})
    found = experiment(sources={"parts": {"tokens": source}}, steps=4, max_epochs=3)
    [portion] = plan(found)
    read = {seed: [target for _, target in links(portion, seed)] for seed in (1, 2)}
    assert read[1] != read[2] and read[1] == [target for _, target in links(portion, 1)]
    for order in read.values():
        epochs = [order[:12], order[12:24], order[24:]]
        assert [len(set(epoch)) for epoch in epochs] == [12, 12, 8] and epochs[0] != epochs[1]
    there = tuple(f"s3://bucket/ds-s3/{number}.ds" for number in range(12))
    remote = replace(portion, windows=9, folder=replace(portion.folder, files=there))
    config = configure(found, [remote], tmp_path / "out")
    assert config.data_stages[0].data.dataset.shuffle_files, "nothing else orders what is not linked"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 30}, "has 50 windows of 99 tokens, and the training takes 181 of it (75.0% of the batches): 3.6"),
        ({"sequence_length": 20_000}, "has the 20,001 tokens of a window; all together have 5,090"),
        ({"model": "3b"}, "there is no model '3b'; there are 0.5b"),
        ({"model": {"hidden": 3}}, "hidden: Extra inputs are not permitted"),
        ({"gpus": 3}, "make batch a multiple of 6"),
        ({"tensor_parallel": 4}, "2 GPUs cannot be divided into groups of 4"),
        ({"tokens": 5}, "give either steps, or tokens, or tokens_of"),
        ({"sources": None}, "sources: Field required"),
        ({"warmup": 0.95}, "warmup and decay are more than all steps"),
        ({"stepz": 3}, "stepz: Extra inputs are not permitted"),
        ({"name": "a b"}, "name: String should match pattern"),
        ({"name": ".."}, "name: String should match pattern"),
        ({"sources": {"../up": {"tokens": "t"}}}, "String should match pattern"),
        ({"tokens": float("inf"), "steps": None}, "tokens: Input should be a finite number"),
    ],
)
def test_what_cannot_be_is_told(experiment, changes, message):
    with pytest.raises(RunError) as error:
        plan(experiment(max_epochs=3, **changes))
    assert message in str(error.value)


def test_sources_that_do_not_go_together(experiment, tmp_path):
    other = tokens(tmp_path / "other", {"documents": [9000]}, name="org/other")
    web = {"web": {"tokens": str(tmp_path / "web")}}
    for sources, message in (
        ({**web, "z": {"tokens": other}}, "web and z were tokenized differently, name org/model and org/other"),
        ({"a": {"tokens": str(tmp_path / "nothing")}}, "tokenize it with pipelines/tokens.py"),
        ({"a": {"tokens": str(tmp_path / "mine")}}, "has several formats, give one of them: faq, math"),
        ({"a": {"tokens": str(tmp_path / "mine"), "format": "table"}}, "has no format 'table': faq, math"),
        ({"a": {"tokens": str(tmp_path / "web"), "weight": 0}}, "sources.a.weight: Input should be greater than 0"),
    ):
        with pytest.raises(RunError) as error:
            plan(experiment(sources=sources))
        assert message in str(error.value)


def test_what_fits_exactly_is_served(experiment, tmp_path):
    web = {"web": {"tokens": str(tmp_path / "web")}}
    [portion] = plan(experiment(sources=web, steps=15, max_epochs=1))
    assert portion.windows == 120 == sum(portion.folder.windows) and portion.epochs == 1
    with pytest.raises(RunError, match="takes 128 of it"):
        plan(experiment(sources=web, steps=16, max_epochs=1))


@pytest.mark.parametrize(
    ("tokenizer", "changes", "message"),
    [
        ({"own_eos": "<|eot|>"}, {}, "end with </s>, and the tokenizer org/model says <|eot|>"),
        ({"own_eos": None}, {}, "says None: nanotron would not see where they end"),
        ({"entries": 999}, {}, "has 999 tokens with ids up to 999: nanotron wants ids without gaps"),
        ({"vocab_size": 1001, "entries": 1001}, {"tensor_parallel": 2}, "1,001 tokens cannot be divided among 2 GPUs"),
    ],
)
def test_tokenizers_that_nanotron_refuses(experiment, tmp_path, tokenizer, changes, message):
    other = tokens(tmp_path / "other", {"documents": [9000]}, **tokenizer)
    with pytest.raises(RunError) as error:
        plan(experiment(sources={"a": {"tokens": other}}, **changes))
    assert message in str(error.value)


def test_each_training_has_a_folder_of_its_own_on_s3(experiment, tmp_path):
    found = experiment(upload="s3://bucket/runs/")
    config = configure(found, plan(found), tmp_path / "out")
    assert config.s3_upload.upload_s3_path == "s3://bucket/runs/one"
    write_experiment(found, plan(found), config, tmp_path / "out")
    resumed = yaml.safe_load((tmp_path / "out" / "resume.yaml").read_text())
    assert resumed["checkpoints"]["resume_checkpoint_path"] == "s3://bucket/runs/one"


def test_what_only_the_configuration_shows_is_told_in_one_line(experiment, tmp_path):
    found = experiment(model="300m", tensor_parallel=4, gpus=4)
    with pytest.raises(RunError) as error:
        configure(found, plan(found), tmp_path / "out")
    assert str(error.value) == "one: Value error, tp 4 must divide the 12 heads and the 6 heads of keys"


def test_a_short_training_does_not_begin_at_a_rate_of_nothing(experiment, tmp_path):
    for steps, style in ((10, "constant"), (200, "linear")):
        found = experiment(steps=steps, max_epochs=99)
        schedule = configure(found, plan(found), tmp_path / "out").optimizer.learning_rate_scheduler
        assert schedule.lr_warmup_style == style


@pytest.mark.parametrize("weights", [[0.7, 0.3], [0.5, 0.25, 0.15, 0.1], [0.999, 0.001], [1.0]])
def test_shares_are_those_of_the_loader_from_the_beginning(weights):
    order = blend(weights, 20_000)
    for windows in (2000, 20_000):
        shares = np.bincount(order[:windows], minlength=len(weights)) / windows
        assert np.abs(shares - weights).max() <= 0.001
    taken = np.cumsum(np.eye(len(weights))[order], axis=0)
    ahead = taken - np.outer(np.arange(1, len(order) + 1), weights)
    assert (ahead <= 1 - np.array(weights) + 1e-6).all(), "which `plan` counts on"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("gpus", [2, 16, 64])
@pytest.mark.parametrize("steps", [1, 2, 10, 101, 1000])
def test_every_preset_makes_a_sound_configuration(experiment, tmp_path, preset, gpus, steps):
    found = experiment(model=preset, gpus=gpus, batch=256, steps=steps, max_epochs=1e9)
    config = configure(found, plan(found), tmp_path / "out")
    assert Config.model_validate(config.model_dump(by_alias=True)) == config
    assert config.windows_per_step == 256 and config.parallelism.dp * config.parallelism.tp == gpus
    schedule = config.optimizer.learning_rate_scheduler
    assert schedule.lr_decay_starting_step + schedule.lr_decay_steps == steps
