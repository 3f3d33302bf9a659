"""How good a student is on examples that it has not seen: perplexity before and after, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


def perplexity(model: Any, tokens: Dataset) -> float:
    """The perplexity of all answer tokens of all examples: exp of their mean cross entropy.

    One example at a time, and logits of its answer only: with a vocabulary of 128,000 those of a whole one take more
    memory than the weights.

    Args:
        model: from `load`.
        tokens: rows with `input_ids` and `labels`, in which -100 does not count.
    """
    import torch
    from torch.nn.functional import cross_entropy

    total, count = 0.0, 0
    with torch.inference_mode():
        for row in tokens:
            wanted = torch.tensor(row["labels"][1:])
            counts = (wanted != -100).nonzero()[:, 0]
            ids = torch.tensor([row["input_ids"]], device=model.device)
            logits = model(input_ids=ids, logits_to_keep=counts.to(model.device)).logits[0].float()
            total += cross_entropy(logits, wanted[counts].to(logits.device), reduction="sum").item()
            count += len(counts)
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
