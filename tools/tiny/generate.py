"""Answers of an exported model, in this process and in batches: ten times as fast as a server on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from loguru import logger
from transformers import AutoModelForCausalLM

from tools.tiny.data import Examples
from tools.tiny.tokenizer import CONTEXT, END, PAD, SPECIAL

ANSWER_TOKENS = 512
"""Longest answer; teachers seldom write more than 250."""

BATCH = 16


class Generated(NamedTuple):
    """An answer, and whether it ended by itself."""

    text: str
    stopped: bool


def load(folder: Path) -> Any:
    """The exported model in fp32, the fastest type for single tokens on most CPUs."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def generate(
    model: Any,
    examples: Examples,
    asked: Sequence[str],
    seed: int,
    sampling: dict[str, float] | None = None,
    longest: int | None = None,
) -> list[Generated]:
    """Answers to prompts, in their order.

    Args:
        model: from `load`.
        examples: knows the tokenizer.
        asked: user messages.
        seed: of the sampling.
        sampling: `temperature` and `top_p`; None for the model's own.
        longest: tokens after which an answer is given up; None for `ANSWER_TOKENS`.
    """
    torch.manual_seed(seed)
    encoded = [examples.prompt_tokens(prompt) for prompt in asked]
    answers: dict[int, Generated] = {}
    order = sorted(range(len(asked)), key=lambda number: len(encoded[number]))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        length = max(len(encoded[number]) for number in batch)
        tokens = torch.full((len(batch), length), SPECIAL.index(PAD))
        seen = torch.zeros_like(tokens)
        for row, number in enumerate(batch):
            tokens[row, length - len(encoded[number]) :] = torch.tensor(encoded[number])
            seen[row, length - len(encoded[number]) :] = 1
        room = min(longest or ANSWER_TOKENS, CONTEXT - length)
        with torch.inference_mode():
            out = model.generate(tokens, attention_mask=seen, max_new_tokens=room, **(sampling or {}))
        for number, said in zip(batch, out[:, length:].tolist(), strict=True):
            stopped = SPECIAL.index(END) in said
            said = said[: said.index(SPECIAL.index(END))] if stopped else said
            answers[number] = Generated(examples.tokenizer.decode(said), stopped)
        logger.info(f"{len(answers)} of {len(asked)} answers")
    return [answers[number] for number in range(len(asked))]
