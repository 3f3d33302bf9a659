"""Training of finemill-tiny on a CPU: killed at any time, it goes on from its last checkpoint as if nothing had been.

Learning rate: linear warm-up, constant, linear decay to 0 over the last three tenths of the budget. With a budget in
tokens all of it is a function of the step, and a resumed run ends with the very weights of an undisturbed one on the
same machine; with a budget in minutes the clock decides where the decay begins.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import torch
from loguru import logger
from torch.utils.data import DataLoader
from transformers import LlamaForCausalLM

from tools.tiny.copies import first_copies, further_copies
from tools.tiny.data import Encoded, Examples, group
from tools.tiny.model import answer_loss, new_model

EXAMPLES = 16
"""Examples per step: some 13,000 tokens with the copies beside them, of which 2,100 are to be said."""

GROUP_TOKENS = 4096
"""Tokens that go through the network at a time; more are no faster on two cores and take more memory."""

COPYING = 480
"""Steps at the beginning that only copy, see `tools.tiny.copies`."""

MATRIX_RATE, OTHER_RATE, WARM_UP, DECAY = 3e-3, 2e-3, 30, 0.3
"""Peak learning rates of matrices and of the rest; steps of warm-up; share of the budget that decays."""

CHECKPOINT = "checkpoint.pt"

LOG = "loss.jsonl"


class Budget(NamedTuple):
    """When training ends: at so many tokens (prompts included), or after so many seconds of training.

    `first_step`, `first_tokens` and `first_seconds` are where an earlier model's training ended: they do not count.
    """

    tokens: int | None = None
    seconds: float | None = None
    first_step: int = 0
    first_tokens: int = 0
    first_seconds: float = 0.0

    def progress(self, tokens: int, seconds: float) -> float:
        """Share of the budget that is used up, 1 and more when it is over."""
        tokens, seconds = tokens - self.first_tokens, seconds - self.first_seconds
        return max(tokens / self.tokens if self.tokens else 0.0, seconds / self.seconds if self.seconds else 0.0)


class Steps:
    """The groups of examples of each step."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, step: int) -> list[list[Encoded]]:
        if step < COPYING:
            return group(first_copies(self.examples, step), GROUP_TOKENS)
        first = (step - COPYING) * EXAMPLES
        examples = (self.examples[number] for number in range(first, first + EXAMPLES))
        return group([*examples, *further_copies(self.examples, step)], GROUP_TOKENS)


def share_of_peak(step: int, progress: float) -> float:
    """The learning rate as a share of its peak, so many steps after the first, at a progress of 0 to 1."""
    return min(1.0, (step + 1) / WARM_UP, (1 - progress) / DECAY)


def train(
    examples: Examples,
    folder: Path,
    budget: Budget,
    shape: dict[str, int] | None = None,
    every: float = 180.0,
    compiled: bool = True,
) -> Any:
    """Train until the budget is used up, from the last checkpoint in `folder` if there is one.

    `folder` gets `checkpoint.pt` and `loss.jsonl` (a line per step: loss in nats per answer token, tokens so far).

    Args:
        examples: what to learn.
        folder: for checkpoints.
        budget: when to stop.
        shape: of the network, see `new_model`.
        every: seconds between checkpoints.
        compiled: whether torch compiles the network: a third faster after a minute; needs a C++ compiler.

    Returns:
        The trained model.
    """
    model = new_model(examples.seed, shape)
    optimizers = _optimizers(model)
    first, tokens, seconds = _resume(folder, model, optimizers)
    if compiled:
        model.model.compile(dynamic=True)

    log = _cut_log(folder / LOG, first)
    saved = time.monotonic()
    begun = saved - seconds
    for step, parts in enumerate(_batches(examples, first), first):
        seconds = time.monotonic() - begun
        progress = budget.progress(tokens, seconds)
        if progress >= 1:
            break
        for optimizer, peak in zip(optimizers, (MATRIX_RATE, OTHER_RATE), strict=True):
            for settings in optimizer.param_groups:
                settings["lr"] = peak * share_of_peak(step - budget.first_step, progress)
        said = sum(len(example.tokens) - example.answer for part in parts for example in part)
        total = 0.0
        for part in parts:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = answer_loss(model, part) / said
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += sum(len(example.tokens) for part in parts for example in part)
        line = {"step": step, "tokens": tokens, "said": said, "loss": round(total, 4), "seconds": round(seconds, 1)}
        log.write(orjson.dumps(line) + b"\n")
        if step % 50 == 0:
            logger.info(f"step {step}: loss {total:.3f}, {tokens / 1e6:.2f} M tokens, {progress:.1%} of the budget")
        if time.monotonic() - saved > every:
            log.flush()
            _save(folder, model, optimizers, step + 1, tokens, time.monotonic() - begun)
            saved = time.monotonic()
    log.close()
    _save(folder, model, optimizers, step, tokens, seconds)
    return model


def _optimizers(model: Any) -> list[Any]:
    """Muon for the matrices, AdamW for embeddings and norms.

    With AdamW alone the same loss takes three times as many tokens at this size: 4.0 nats per answer token after 0.9 M
    instead of 0.33 M.
    """
    named = dict(model.named_parameters())
    matrices = [name for name, weight in named.items() if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in named.items() if name not in matrices]
    return [
        torch.optim.Muon(
            [named[name] for name in matrices],
            lr=MATRIX_RATE,
            weight_decay=0.1,
            momentum=0.95,
            adjust_lr_fn="match_rms_adamw",  # so that its learning rate means what that of AdamW means
        ),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def _batches(examples: Examples, first: int) -> Iterator[list[list[Encoded]]]:
    """The groups of every step from `first` on, made ahead in a process of their own that ends with this one."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the second core is needed for training
    loader = DataLoader(
        Steps(examples),
        batch_size=None,
        sampler=itertools.count(first),
        num_workers=1,
        prefetch_factor=8,
        collate_fn=list,
    )
    yield from loader


def begin_with(finished: Path, folder: Path, step: int, tokens: int, seconds: float) -> None:
    """Make the first checkpoint in `folder` of an exported model, with its progress and without optimizers."""
    model = LlamaForCausalLM.from_pretrained(finished, dtype=torch.float32)
    _save(folder, model, [], step, tokens, seconds)


def _save(folder: Path, model: Any, optimizers: list[Any], step: int, tokens: int, seconds: float) -> None:
    """Write a checkpoint so that there is a whole one at any time."""
    state: dict[str, Any] = {"step": step, "tokens": tokens, "seconds": seconds}
    state |= {"model": model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
    new = folder / f"{CHECKPOINT}.new"
    with new.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / CHECKPOINT)


def _resume(folder: Path, model: Any, optimizers: list[Any]) -> tuple[int, int, float]:
    """Load the checkpoint, if there is one: next step, tokens and seconds so far."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CHECKPOINT).is_file():
        return 0, 0, 0.0
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    model.load_state_dict(state["model"])
    if state["optimizers"]:  # none in the first checkpoint of a run that goes on from a finished model
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    logger.info(f"going on from step {state['step']}, {state['tokens'] / 1e6:.2f} M tokens")
    return state["step"], state["tokens"], state["seconds"]


def _cut_log(file: Path, step: int) -> Any:
    """Open the log to go on at `step`; lines of steps that are done again, or torn, go."""
    lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
    whole = (line for line in lines if line.endswith(b"\n"))
    file.write_bytes(b"".join(line for line in whole if orjson.loads(line)["step"] < step))
    return file.open("ab")
