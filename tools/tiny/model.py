"""The network of finemill-tiny: transformers' own Llama, so that what is trained is what is served.

transformers' implementation costs a CPU little over a hand-written one at this size, and there is no second one whose
results could differ. The head is applied to answer positions only, a sixth of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from tools.tiny.data import Encoded, round_up
from tools.tiny.tokenizer import CONTEXT, END, PAD, SPECIAL, VOCABULARY

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}
"""6.2 million parameters with the embeddings, which serve as head, too: 12 MB in bf16."""

SAMPLING = {"temperature": 0.4, "top_p": 0.9}
"""How answers are drawn unless a request says otherwise; it goes into generation_config.json."""


def new_model(seed: int, shape: dict[str, int] | None = None) -> Any:
    """A Llama with random weights in fp32; `shape` for another size than `SHAPE`."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index(PAD),
        **(SHAPE if shape is None else shape),
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="sdpa")


def answer_loss(model: Any, group: Sequence[Encoded]) -> Any:
    """Sum of the cross entropy of all answer tokens of a group, the first ones by their weight, in nats; a scalar.

    Args:
        model: from `new_model`.
        group: examples; they are padded at the end to the longest, rounded up.
    """
    length = round_up(max(len(example.tokens) for example in group))
    tokens = torch.full((len(group), length), SPECIAL.index(PAD))
    weights = torch.zeros((len(group), length))
    for row, example in enumerate(group):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        weights[row, example.answer : len(example.tokens)] = 1.0
        weights[row, example.answer] = example.decision
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    # The token before tells each token of the answer.
    counts = weights > 0
    known, wanted = hidden[:, :-1][counts[:, 1:]], tokens[counts]
    more = round_up(len(wanted)) - len(wanted)
    logits = model.lm_head(pad(known, (0, 0, 0, more)))
    losses = cross_entropy(logits.float(), pad(wanted, (0, more)), reduction="none")
    return losses @ pad(weights[counts], (0, more))


def export(model: Any, folder: Path) -> None:
    """Write the weights in bf16 with both configs beside the tokenizer's files."""
    disable_progress_bar()
    half = LlamaForCausalLM(model.config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    half.generation_config = GenerationConfig(
        do_sample=True, **SAMPLING, eos_token_id=SPECIAL.index(END), pad_token_id=SPECIAL.index(PAD)
    )
    half.save_pretrained(folder)
