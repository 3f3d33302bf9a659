"""Models to train: Qwen2-style decoders with tied embeddings, in the sizes of the studies.

`0.5b` to `6.2b` are the students of the FinePhrase study (arXiv 2604.13977, appendix): 28 layers, 16 heads, 8 of keys
and values, rotary base 10,000, a vocabulary of 128,256. FineInstructions (arXiv 2601.22146) names 300M, 1.8B and 7B
parameters and the tokenizer of Llama 3, but no widths; `300m`, `1.8b` and `7b` are ours, in the same proportions.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]


class Preset(BaseModel):
    """The shape of a model; all else is as in `qwen2_config`.

    Args:
        hidden_size: width.
        intermediate_size: width of the gated MLP.
        num_hidden_layers: layers.
        num_attention_heads: heads of queries; `hidden_size` must be a multiple of it.
        num_key_value_heads: heads of keys and values.
        tensor_parallel: GPUs that share a layer in the study.
        recompute_layer: whether activations are computed again to save memory, as in the study.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive = 28
    num_attention_heads: Positive = 16
    num_key_value_heads: Positive = 8
    tensor_parallel: Positive = 1
    recompute_layer: bool = False

    @model_validator(mode="after")
    def _divides(self) -> Preset:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of its heads, {self.num_attention_heads}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"{self.num_attention_heads} heads are no multiple of its heads of keys, {self.num_key_value_heads}"
            )
        return self

    def parameters(self, vocab_size: int) -> int:
        """Parameters, embeddings included; they are tied, so they count once."""
        keys = self.hidden_size // self.num_attention_heads * self.num_key_value_heads
        attention = 2 * self.hidden_size**2 + 2 * self.hidden_size * keys
        mlp = 3 * self.hidden_size * self.intermediate_size
        norms = 2 * self.hidden_size
        return self.num_hidden_layers * (attention + mlp + norms) + self.hidden_size * (vocab_size + 1)

    def qwen2_config(self, vocab_size: int, sequence_length: int) -> dict[str, Any]:
        """What transformers and nanotron both know of the model, under their common names.

        Args:
            vocab_size: rows of the embedding.
            sequence_length: tokens of a window.
        """
        shape = self.model_dump(exclude={"tensor_parallel", "recompute_layer"})
        return {
            **shape,
            "vocab_size": vocab_size,
            "max_position_embeddings": sequence_length,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": True,
        }


PRESETS = {
    "0.5b": Preset(hidden_size=1024, intermediate_size=3072),
    "1.7b": Preset(hidden_size=2048, intermediate_size=6144),
    "2.9b": Preset(hidden_size=2560, intermediate_size=9216, recompute_layer=True),
    "6.2b": Preset(hidden_size=4096, intermediate_size=12288, tensor_parallel=2),
    "300m": Preset(hidden_size=768, intermediate_size=2304, num_attention_heads=12, num_key_value_heads=6),
    "1.8b": Preset(hidden_size=2048, intermediate_size=6912),
    "7b": Preset(hidden_size=4096, intermediate_size=14720, tensor_parallel=2),
}
"""By name."""
