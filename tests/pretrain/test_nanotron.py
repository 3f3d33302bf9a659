"""The schema of nanotron's configuration: each of its traps has a message of its own."""

from __future__ import annotations

import copy

import pytest
import yaml

from blocks.pretrain.nanotron import Config, read_config, to_yaml
from blocks.shards.folder import RunError

SOUND = {
    "general": {"project": "p", "run": "r", "seed": 6},
    "parallelism": {"dp": 4, "tp": 2},
    "model": {
        "model_config": {
            "is_qwen2_config": True, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 128,
            "bos_token_id": 0, "eos_token_id": 0,
        },
        "init_method": {"std": 0.02},
    },
    "tokenizer": {"tokenizer_name_or_path": "org/model"},
    "checkpoints": {"checkpoints_path": "/c", "checkpoint_interval": 10},
    "tokens": {
        "sequence_length": 128, "train_steps": 100, "micro_batch_size": 2, "batch_accumulation_per_replica": 3
    },
    "optimizer": {
        "learning_rate_scheduler": {
            "learning_rate": 5e-4, "lr_warmup_steps": 1, "lr_decay_starting_step": 90, "lr_decay_steps": 10,
            "min_decay_lr": 5e-5,
        }
    },
    "data_stages": [
        {
            "name": "training", "start_training_step": 1,
            "data": {
                "seed": 6,
                "dataset": {
                    "dataset_folder": ["/x-s3/a", "/x-s3/b"], "dataset_weights": [0.5, 0.5],
                    "tokenizer_name": "org/model", "vocab_size": 1000, "token_size_in_bytes": 2,
                },
            },
        }
    ],
}  # fmt: skip


def changed(path: str, value: object) -> dict:
    values = copy.deepcopy(SOUND)
    *outer, last = path.split(".")
    at = values
    for key in outer:
        at = at[int(key) if key.isdigit() else key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return values


DATASET = "data_stages.0.data.dataset"

TRAPS = {
    "a mapping of folders": (f"{DATASET}.dataset_folder", {"/x-s3/a": 0.7}, "give a list of folders"),
    "one weight for two folders": (f"{DATASET}.dataset_weights", [1.0], "2 folders and 1 weights"),
    "a folder without s3": (f"{DATASET}.dataset_folder", ["/a", "/x-s3/b"], "crashes after its first step"),
    "half of the tokenizer's keys": (f"{DATASET}.vocab_size", None, "vocab_size: Field required"),
    "the wrong bytes for the vocabulary": (f"{DATASET}.token_size_in_bytes", 4, "1,000 tokens do not go with 4 bytes"),
    "another vocabulary": (f"{DATASET}.vocab_size", 999, "999 tokens, and the model 1,000"),
    "positions that masking needs": (f"{DATASET}.return_positions", False, "_use_doc_masking needs return_positions"),
    "the loader without positions": (f"{DATASET}.use_old_brrr_dataloader", True, "use_old_brrr_dataloader"),
    "a key that is none": (f"{DATASET}.folder", "/x-s3", "folder: Extra inputs are not permitted"),
    "a typo in the model": ("model.model_config.hiden_size", 64, "hiden_size: Extra inputs are not permitted"),
    "a model that would become a Llama": ("model.model_config.is_qwen2_config", False, "is_qwen2_config"),
    "projections that are not packed": ("model.model_config._use_qkv_packed", False, "_use_qkv_packed"),
    "no stage at step 1": ("data_stages.0.start_training_step", 2, "one stage that starts at step 1"),
    "no style of warm-up": ("optimizer.learning_rate_scheduler.lr_warmup_style", "", "lr_warmup_style"),
    "a decay that does not end": ("optimizer.learning_rate_scheduler.lr_decay_steps", 20, "end at step 110 of 100"),
    "a warm-up that does not end": ("optimizer.learning_rate_scheduler.lr_warmup_steps", 95, "before its warm-up"),
    "more parts than heads of keys": ("parallelism.tp", 4, "and the 2 heads of keys"),
    "windows longer than positions": ("tokens.sequence_length", 256, "max_position_embeddings 128"),
    "a folder of checkpoints elsewhere": ("s3_upload", {"upload_s3_path": "/mnt/x"}, "s3_upload.upload_s3_path"),
    "no data": ("data_stages", [], "data_stages"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_told(tmp_path, trap):
    path, value, message = TRAPS[trap]
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(changed(path, value)))
    with pytest.raises(RunError) as error:
        read_config(file)
    assert message in str(error.value)


def test_a_second_stage_needs_the_checkpoint_before_it(tmp_path):
    [stage] = SOUND["data_stages"]
    file = tmp_path / "config.yaml"
    told = {**SOUND, "data_stages": [stage, {**stage, "name": "decay", "start_training_step": 91}]}
    file.write_text(yaml.safe_dump(told))
    with pytest.raises(RunError, match="loader of the last stage only"):
        read_config(file)
    told["checkpoints"] = {**SOUND["checkpoints"], "resume_checkpoint_path": "/somewhere/90"}
    file.write_text(yaml.safe_dump(told))
    assert [one.start_training_step for one in read_config(file).data_stages] == [1, 91]
    told["data_stages"].reverse()
    file.write_text(yaml.safe_dump(told))
    with pytest.raises(RunError, match="one stage that starts at step 1"):
        read_config(file)


def test_what_is_written_is_what_is_read(tmp_path):
    config = Config.model_validate(SOUND)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_config(tmp_path / "config.yaml") == config
    assert config.windows_per_step == 2 * 3 * 4
    written = yaml.safe_load(to_yaml(config))
    assert written["model"]["model_config"]["_use_doc_masking"] is True
    assert not {key for key in written["model"]["model_config"] if key in ("use_doc_masking", "attn_implementation")}
    (tmp_path / "none.yaml").write_text("[")
    with pytest.raises(RunError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
