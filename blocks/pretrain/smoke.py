"""A small training on the CPU, on the very files and in the windows that nanotron would see: do these data train?

It is no proof of anything but that: a model of a few million parameters, some hundred steps, plain torch. What it has
in common with the real training is what can be wrong with the data: the order of the loader, windows of one token more
than the sequence, positions that begin anew behind every EOS, attention inside of documents, and no loss for the first
token of a document, which nothing before it tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datatrove.utils.dataset import DatatroveFolderDataset
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

from blocks.pretrain.mixture import blend
from blocks.pretrain.nanotron import Dataset

LEARNING_RATE = 3e-3
"""With AdamW; high, for a small model and a short training."""

SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def windows_of(dataset: Dataset, sequence_length: int, eos_id: int, count: int) -> Iterator[dict[str, torch.Tensor]]:
    """The first windows in the order of the loader; it begins again where that would end with an error.

    Args:
        dataset: folders and weights.
        sequence_length: tokens that are predicted; a window has one more.
        eos_id: ends a document.
        count: how many windows.

    Yields:
        `input_ids` and `positions`, both of shape (sequence_length + 1,).
    """
    folders = [
        DatatroveFolderDataset(
            folder,
            sequence_length,
            filename_pattern="*.ds",
            token_size=dataset.token_size_in_bytes,
            return_positions=True,
            positions_from_eos_token_id=eos_id,
        )
        for folder in dataset.dataset_folder
    ]
    taken = [0] * len(folders)
    total = sum(dataset.dataset_weights)
    for chosen in blend([weight / total for weight in dataset.dataset_weights], count):
        yield folders[chosen][taken[chosen] % len(folders[chosen])]
        taken[chosen] += 1


def batch_of(windows: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What a step sees.

    Returns:
        `input_ids`, `position_ids` and `labels`, shape (windows, sequence_length), and `attention_mask`, shape
        (windows, 1, sequence_length, sequence_length): True where a token sees another, an earlier one of its document.
    """
    ids = torch.stack([window["input_ids"] for window in windows]).long()
    positions = torch.stack([window["positions"] for window in windows]).long()
    labels = ids[:, 1:].masked_fill(positions[:, 1:] == 0, -100)
    positions = positions[:, :-1]
    document = (positions == 0).cumsum(1)
    same = document[:, :, None] == document[:, None, :]
    causal = torch.ones(same.shape[1:], dtype=torch.bool).tril()
    return {
        "input_ids": ids[:, :-1],
        "position_ids": positions,
        "labels": labels,
        "attention_mask": (same & causal)[:, None],
    }


def train(
    dataset: Dataset,
    eos_id: int,
    sequence_length: int,
    steps: int,
    batch: int,
    tell: Callable[[int, float], None],
) -> dict[str, Any]:
    """Train a small model.

    Args:
        dataset: folders and weights.
        eos_id: ends a document.
        sequence_length: tokens that are predicted at a time.
        steps: of the optimizer.
        batch: windows of a step.
        tell: is told of a step and of the loss, in nats per token, that it had.

    Returns:
        `uniform`, the loss of a model that knows nothing (ln of the vocabulary), `first` and `last`, the mean losses of
        the first and the last tenth of the steps, and `parameters`.
    """
    torch.manual_seed(0)
    shape = Qwen2Config(
        **SHAPE, vocab_size=dataset.vocab_size, max_position_embeddings=sequence_length, tie_word_embeddings=True
    )
    model = Qwen2ForCausalLM._from_config(shape, attn_implementation="sdpa")
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, steps // 10)))
    windows = windows_of(dataset, sequence_length, eos_id, steps * batch)
    losses = []
    for step in range(1, steps + 1):
        seen = batch_of([next(windows) for _ in range(batch)])
        labels = seen.pop("labels")
        logits = model(**seen, use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        tell(step, losses[-1])
    tenth = max(1, steps // 10)
    return {
        "uniform": math.log(dataset.vocab_size),
        "first": float(np.mean(losses[:tenth])),
        "last": float(np.mean(losses[-tenth:])),
        "parameters": model.num_parameters(),
    }
