"""How good a student is on examples that it has not seen: perplexity before and after, and what it says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

SHOWN_TOKENS = 256
"""Longest answer of a sample."""


def load(model: str, revision: str | None = None) -> Any:
    """A model for evaluation, over all GPUs that there are."""
    import torch
    from transformers import AutoModelForCausalLM

    where = {"device_map": "auto"} if torch.cuda.is_available() else {}
    return AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype="auto", **where).eval()


def perplexity(model: Any, tokens: Dataset, batch: int = 4) -> float:
    """The perplexity of all answer tokens of all examples: exp of their mean cross entropy.

    Args:
        model: from `load`.
        tokens: rows with `input_ids` and `labels`, in which -100 does not count.
        batch: examples at a time.
    """
    import torch
    from torch.nn.functional import cross_entropy

    total, count = 0.0, 0
    with torch.inference_mode():
        for rows in _batches(tokens, batch):
            length = max(len(row["input_ids"]) for row in rows)
            # Padding stands at the end, where causal attention never looks.
            ids = torch.tensor([row["input_ids"] + [0] * (length - len(row["input_ids"])) for row in rows])
            labels = torch.tensor([row["labels"] + [-100] * (length - len(row["labels"])) for row in rows])
            logits = model(input_ids=ids.to(model.device)).logits[:, :-1].float()
            wanted = labels[:, 1:].to(logits.device)
            total += cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum").item()
            count += int((wanted != -100).sum())
    return math.exp(total / count)


def samples(
    model: Any, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """What a model says, greedily, beside what it should have said.

    Args:
        model: from `load`.
        tokenizer: with its chat template.
        examples: with `id`, `prompt` and `completion`.
    """
    import torch

    said = []
    for example in examples:
        asked = tokenizer.apply_chat_template(
            example["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(model.device)
        with torch.inference_mode():
            answer = model.generate(
                **asked, max_new_tokens=SHOWN_TOKENS, do_sample=False, pad_token_id=tokenizer.eos_token_id
            )
        text = tokenizer.decode(answer[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        said.append(
            {
                "id": example["id"],
                "prompt": example["prompt"][-1]["content"],
                "wanted": example["completion"][0]["content"],
                "said": text.strip(),
            }
        )
    return said


def _batches(rows: Dataset, size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), size):
        yield [rows[at] for at in range(start, min(start + size, len(rows)))]
