"""The presets have the parameters that their names and transformers say."""

from __future__ import annotations

import pytest

from blocks.pretrain.presets import PRESETS, Preset

LLAMA_3 = 128_256


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_transformers(name):
    torch = pytest.importorskip("torch", reason="torch is not installed: make cpu")
    from transformers import AutoModelForCausalLM, Qwen2Config

    preset = PRESETS[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(Qwen2Config(**preset.qwen2_config(LLAMA_3, 4096)))
    # transformers gives Qwen2 biases of queries, keys and values; nanotron has `attention_bias: false`, as the study.
    biases = sum(parameter.numel() for key, parameter in model.named_parameters() if key.endswith(".bias"))
    assert preset.parameters(LLAMA_3) == model.num_parameters() - biases


def test_names_tell_the_size():
    found = {name: preset.parameters(LLAMA_3) for name, preset in PRESETS.items()}
    assert {name: f"{number / 1e9:.2f}" for name, number in found.items()} == {
        "0.5b": "0.48", "1.7b": "1.67", "2.9b": "2.86", "6.2b": "6.16", "300m": "0.30", "1.8b": "1.80", "7b": "7.00",
    }  # fmt: skip


def test_a_shape_is_checked():
    for changes, message in (
        ({"hidden_size": 1000}, "no multiple of its heads, 16"),
        ({"num_key_value_heads": 5}, "no multiple of its heads of keys, 5"),
        ({"num_attention_heads": 0}, "greater than 0"),
        ({"hidden": 3}, "Extra inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            Preset.model_validate({"hidden_size": 1024, "intermediate_size": 3000, **changes})
