"""An experiment: which tokens in which shares train which model, and whether there are enough of them.

    name: half-synthetic
    model: 1.7b
    sources:
      faq: { tokens: tokens/mine, format: faq, weight: 1 }
      web: { tokens: tokens/fineweb-edu, weight: 1 }
    steps: 10000

What is left out is as in the FinePhrase study (arXiv 2604.13977, appendix): windows of 4,096 tokens, 512 of them per
step, AdamW with a learning rate of 5e-4 that warms up for 1 % of the steps and decays linearly over the last 10 %.

There is one mixture from the first step to the last: nanotron's `main` knows stages of other data, but builds only the
loader of the last one (its pull request 380). So other data come with a training of their own that goes on from a
checkpoint, such as the study's cheap ablation, in which only the decay of the learning rate sees them:

    after: { training: experiments/web, step: 9000 }

nanotron's loader cuts each file into windows of one token more than the sequence, drops the rest of it, and takes the
windows of a folder in order, once; then it ends with an IndexError. So the arithmetic is done here, per file.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import fsspec
import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blocks.pretrain.layout import MANIFEST
from blocks.pretrain.presets import PRESETS, Preset
from blocks.pretrain.read import read_yaml
from blocks.shards.folder import RunError

Positive = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$")]  # of a folder
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Strict):
    """Where tokens come from, and how many of them there are to be.

    Args:
        tokens: output folder of pipelines/tokens.py, local or s3://….
        format: which of its formats; may be left out where there is one.
        weight: relative to the other sources.
    """

    tokens: str
    format: str | None = None
    weight: Annotated[float, Field(gt=0)] = 1.0


class After(_Strict):
    """Where a training goes on from, with all but the data as it was there.

    Args:
        training: output folder of pipelines/pretrain.py.
        step: of one of its checkpoints.
    """

    training: str
    step: Positive


class Experiment(_Strict):
    """What is to be trained; see the module for an example.

    Args:
        name: of the run.
        model: a preset, or the fields of one.
        sources: by name.
        steps: of the optimizer; or `tokens`, that must be a multiple of what a step takes, or is rounded up to one; or
            `tokens_of`, another output of pipelines/tokens.py, whose tokens are counted: as many are trained on, such
            as those of the corpus that a synthetic set was made of.
        after: goes on from a checkpoint of another training; `steps` counts from its beginning.
        sequence_length: tokens of a window.
        batch: windows of a step.
        micro_batch: windows of a GPU at a time.
        gpus: all of them.
        tensor_parallel: GPUs that share each layer; the preset's by default.
        max_epochs: how often a document may be seen.
        learning_rate: after the warm-up.
        min_learning_rate: at the end.
        warmup: share of the steps.
        decay: share of the steps, at the end.
        seed: of the weights.
        data_seed: of the order in which the files of each source are read (of sources on S3 where all are there).
        checkpoint_every: steps.
        upload: s3:// folder for the checkpoints.
    """

    name: Name
    model: str | Preset
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    steps: Positive | None = None
    tokens: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    tokens_of: str | None = None
    after: After | None = None
    sequence_length: Positive = 4096
    batch: Positive = 512
    micro_batch: Positive = 4
    gpus: Positive = 64
    tensor_parallel: Positive | None = None
    max_epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    learning_rate: Rate = 5e-4
    min_learning_rate: Share = 5e-5
    warmup: Share = 0.01
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 6
    data_seed: int = 6
    checkpoint_every: Positive = 500
    upload: Annotated[str, Field(pattern=r"^s3://")] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Experiment:
        if [self.steps, self.tokens, self.tokens_of].count(None) != 2:
            raise ValueError("give either steps, or tokens, or tokens_of")
        if self.gpus % self.tp:
            raise ValueError(f"{self.gpus} GPUs cannot be divided into groups of {self.tp} (tensor_parallel)")
        if self.batch % (self.micro_batch * self.dp):
            raise ValueError(
                f"a batch of {self.batch} windows cannot be divided among {self.dp} replicas that take "
                f"{self.micro_batch} at a time: make batch a multiple of {self.micro_batch * self.dp}, or change "
                f"micro_batch or gpus"
            )
        if self.warmup + self.decay > 1:
            raise ValueError("warmup and decay are more than all steps")
        return self

    @property
    def preset(self) -> Preset:
        """The shape of the model.

        Raises:
            ValueError: there is no such preset.
        """
        if isinstance(self.model, Preset):
            return self.model
        if self.model not in PRESETS:
            raise ValueError(f"there is no model {self.model!r}; there are {', '.join(PRESETS)}")
        return PRESETS[self.model]

    @property
    def tp(self) -> int:
        """GPUs that share each layer."""
        return self.tensor_parallel or self.preset.tensor_parallel

    @property
    def dp(self) -> int:
        """Replicas of the model."""
        return self.gpus // self.tp

    @property
    def train_steps(self) -> int:
        """Steps of the optimizer, from the beginning.

        Raises:
            RunError: `tokens_of` cannot be read.
        """
        tokens = self.tokens or (_tokens_of(self.tokens_of) if self.tokens_of else 0)
        return self.steps or math.ceil(tokens / (self.batch * self.sequence_length))

    @property
    def new_steps(self) -> int:
        """Steps that see the sources."""
        return self.train_steps - (self.after.step if self.after else 0)


@dataclass(frozen=True)
class Folder:
    """The files of a source.

    Args:
        source: what was asked for.
        tokenizer: as in `tokens.json`.
        files: paths, absolute or s3://….
        windows: of each file.
        hashes: of each file's tokens.
        bytes: of each file.
        tokens: of all files.
    """

    source: Source
    tokenizer: dict[str, Any]
    files: tuple[str, ...]
    windows: tuple[int, ...]
    hashes: tuple[str, ...]
    bytes: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class Portion:
    """What a training takes of a source.

    Args:
        name: of the source.
        folder: its files.
        weight: of all sources together 1.
        windows: that it takes, at the most.
    """

    name: str
    folder: Folder
    weight: float
    windows: int

    @property
    def epochs(self) -> float:
        """How often each document is seen."""
        return self.windows / sum(self.folder.windows)


def load_experiment(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        RunError: it cannot be read, or says what cannot be.
    """
    return read_yaml(path, Experiment)


def open_source(name: str, source: Source, sequence_length: int) -> Folder:
    """The files of a source.

    Raises:
        RunError: there are none, or none that fills a window.
    """
    manifest = _manifest(source.tokens, f"source {name}")
    formats = manifest["formats"]
    chosen = source.format or (next(iter(formats)) if len(formats) == 1 else None)
    if chosen not in formats:
        asked = f"has no format {source.format!r}" if source.format else "has several formats, give one of them"
        raise RunError(f"source {name}: {source.tokens} {asked}: {', '.join(formats) or 'nothing'}")
    root = source.tokens if "://" in source.tokens else str(Path(source.tokens).absolute())
    files = formats[chosen]["files"]
    windows = tuple(file["tokens"] // (sequence_length + 1) for file in files)
    if not sum(windows):
        raise RunError(
            f"source {name}: no file of {source.tokens} has the {sequence_length + 1:,} tokens of a window; all "
            f"together have {formats[chosen]['tokens']:,}: tokenize more, or take a shorter sequence_length"
        )
    paths = tuple(f"{root}/{file['path']}" for file in files)
    hashes = tuple(file["hash"] for file in files)
    told = manifest["tokenizer"]
    sizes = tuple(file["tokens"] * told["token_size"] for file in files)
    return Folder(source, told, paths, windows, hashes, sizes, formats[chosen]["tokens"])


def _manifest(folder: str, what: str) -> dict[str, Any]:
    try:
        with fsspec.open(f"{folder}/{MANIFEST}", "rb") as stream:
            manifest: dict[str, Any] = orjson.loads(stream.read())
            return manifest
    except FileNotFoundError:
        raise RunError(f"{what}: there is no {MANIFEST} in {folder}: tokenize it with pipelines/tokens.py") from None


def _tokens_of(folder: str) -> int:
    return sum(found["tokens"] for found in _manifest(folder, "tokens_of")["formats"].values())


def plan(experiment: Experiment) -> list[Portion]:
    """What the training takes of each source.

    Raises:
        RunError: the loader could not serve it, with the arithmetic and what to do.
    """
    total = experiment.new_steps * experiment.batch
    if total <= 0 and experiment.after:
        raise RunError(f"after step {experiment.after.step:,} nothing is left of {experiment.train_steps:,} steps")
    weights = sum(source.weight for source in experiment.sources.values())
    found: list[Portion] = []
    for name, source in experiment.sources.items():
        folder = open_source(name, source, experiment.sequence_length)
        weight = source.weight / weights
        # The loader takes what is furthest behind its share, so nothing is ever more than 1 - weight ahead of it.
        windows = min(total, math.ceil(total * weight + 1 - weight - 1e-6))
        found.append(Portion(name, folder, weight, windows))
    _check_tokenizers(found, experiment.tp)
    for portion in found:
        _check_epochs(portion, experiment)
    return found


def _check_tokenizers(portions: Sequence[Portion], tp: int) -> None:
    first = portions[0]
    told = first.folder.tokenizer
    for portion in portions[1:]:
        for key in ("name", "vocab_size", "token_size", "eos_id"):
            one, other = told[key], portion.folder.tokenizer[key]
            if one != other:
                raise RunError(
                    f"sources {first.name} and {portion.name} were tokenized differently, {key} {one} and {other}: "
                    f"tokenize both with the same tokenizer"
                )
    # What nanotron asserts of `AutoTokenizer`, or takes from it, when it starts.
    if told["own_eos"] != told["eos"]:
        raise RunError(
            f"the documents end with {told['eos']}, and the tokenizer {told['name']} says {told['own_eos']}: nanotron "
            f"would not see where they end; tokenize without --eos, or with a tokenizer folder that says so"
        )
    if told["entries"] != told["vocab_size"]:
        raise RunError(
            f"the tokenizer {told['name']} has {told['entries']:,} tokens with ids up to {told['vocab_size'] - 1:,}: "
            f"nanotron wants ids without gaps; take another tokenizer"
        )
    if told["vocab_size"] % tp:
        raise RunError(
            f"{told['vocab_size']:,} tokens cannot be divided among {tp} GPUs, and nanotron refuses what it pads: give "
            f"another tensor_parallel or tokenizer"
        )


def _check_epochs(portion: Portion, experiment: Experiment) -> None:
    available = sum(portion.folder.windows)
    if portion.epochs > experiment.max_epochs:
        raise RunError(
            f"source {portion.name} has {available:,} windows of {experiment.sequence_length:,} tokens, and "
            f"the training takes {portion.windows:,} of it ({portion.weight:.1%} of the batches): {portion.epochs:.1f} "
            f"epochs, more than max_epochs {experiment.max_epochs:g}; train fewer steps, give it less weight, tokenize "
            f"more, or raise max_epochs"
        )
    if portion.epochs > 1 and "://" in portion.folder.files[0]:
        raise RunError(
            f"source {portion.name} is seen {portion.epochs:.2f} times, and nanotron reads a folder once: copy it from "
            f"{portion.folder.source.tokens} to a disk, where it can be linked to several times"
        )


def blend(weights: Sequence[float], windows: int) -> npt.NDArray[np.int64]:
    """Which source each window comes from, in the order of nanotron's blended loader.

    It takes the source that is furthest behind its share (`build_blending_indices` in its `nemo_dataset/helpers.cpp`).

    Args:
        weights: of the sources, together 1.
        windows: how many.

    Returns:
        Numbers of sources, shape (windows,).
    """
    shares = np.asarray(weights, dtype=np.float64)
    taken = np.zeros(len(shares))
    found = np.empty(windows, np.int64)
    for number in range(windows):
        chosen = int(np.argmax(shares * max(number, 1) - taken))
        found[number] = chosen
        taken[chosen] += 1
    return found


def links(portion: Portion, seed: int) -> Iterator[tuple[str, str]]:
    """Names and targets of the files of a folder from which all epochs of a source are read, one after another.

    Args:
        portion: of the source.
        seed: of the order of the files in each epoch; nanotron reads a folder in order, whatever its own seed is.
    """
    files = [file for file in zip(portion.folder.files, portion.folder.windows, strict=True) if file[1]]
    needed, number = portion.windows, 0
    for epoch in itertools.count():
        for path, windows in random.Random(f"{seed}/{portion.name}/{epoch}").sample(files, len(files)):
            if needed <= 0:
                return
            yield f"{number:08d}.ds", path
            needed -= windows
            number += 1
