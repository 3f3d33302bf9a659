"""What is evaluated, and how: a Hugging Face model, the checkpoints of a training, a model behind an endpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from blocks.shards.folder import RunError

FINAL = -1
"""The step of a model that says none: it comes after all others."""


@dataclass(frozen=True)
class Target:
    """One model.

    Attributes:
        name: of the training or model, without the step.
        step: of training, or `FINAL`.
        model: a folder, a Hub id, or the name that the endpoint knows it by.
        url: of the endpoint, such as http://host:8000/v1; None where the tool loads the model itself.
        tokenizer: set where `model` is a checkpoint of nanotron, which has to be converted first.
    """

    name: str
    step: int
    model: str
    url: str | None = None
    tokenizer: str | None = None

    @property
    def label(self) -> str:
        return self.name if self.step == FINAL else f"{self.name} at step {self.step:,}"

    @property
    def loaded(self) -> str:
        """What a tool that loads the model is told: a folder or link beside the script, or a Hub id."""
        return "model" if self.tokenizer or Path(self.model).is_absolute() else self.model

    @property
    def folder(self) -> str:
        """Of its evaluations, relative to all of them."""
        return f"{self.name}/{'final' if self.step == FINAL else self.step}"


@dataclass(frozen=True)
class Judge:
    """The model that judges answers.

    Attributes:
        model: the name that its endpoint knows.
        url: of its OpenAI-compatible endpoint; its key is in JUDGE_API_KEY.
    """

    model: str
    url: str


@dataclass(frozen=True)
class Settings:
    """What the tools are told.

    Attributes:
        batch_size: sequences that lighteval and the harness hold on a GPU at once.
        max_samples: questions per task of the FinePhrase suite; the study took 1,000.
        dtype: of the weights.
        judge: None where no suite needs one.
    """

    batch_size: int = 16
    max_samples: int = 1000
    dtype: str = "bfloat16"
    judge: Judge | None = None


def find_targets(model: str, url: str | None) -> list[Target]:
    """What a name stands for.

    Args:
        model: a folder that `pipelines/pretrain.py` wrote (each of its checkpoints), a folder of a Hugging Face model,
            a folder of such folders that are named by their steps, a Hub id, or a name that the endpoint knows.
        url: of the endpoint, or None.

    Raises:
        RunError: there is nothing of the kind.
    """
    path = Path(model).absolute()
    if url is not None:
        return [Target(_plain(model), FINAL, model, url=url.rstrip("/"))]
    if not path.exists():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", model):
            return [Target(_plain(model), FINAL, model)]
        raise RunError(f"{model}: no such folder, and no name on the Hub such as organisation/model")
    if (path / "config.json").exists():
        step = _step(path)
        # `pipelines/finetune.py` calls every student's folder `model`, so the one above has its name.
        above = path.parent.name if step is not None or path.name == "model" else ""
        return [Target(above or path.name, FINAL if step is None else step, str(path))]
    if (path / "config.yaml").exists():
        try:
            told = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
            checkpoints = Path(told["checkpoints"]["checkpoints_path"])
            tokenizer = told["tokenizer"]["tokenizer_name_or_path"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise RunError(f"{path}/config.yaml is no configuration of nanotron: {error}") from error
        found = _steps(checkpoints, "model_config.json")
        if told.get("s3_upload"):
            raise RunError(
                f"{model}: its checkpoints are moved to {told['s3_upload']['upload_s3_path']}: fetch those that are to "
                f"be evaluated into a folder of the same layout, and convert them, or give that folder a config.yaml "
                f"without s3_upload"
            )
        if not found:
            raise RunError(f"{model}: there is no checkpoint in {checkpoints} yet")
        return [Target(path.name, step, str(folder), tokenizer=tokenizer) for step, folder in found]
    if found := _steps(path, "config.json"):
        return [Target(path.name, step, str(folder)) for step, folder in found]
    raise RunError(
        f"{model}: neither a model (config.json), nor a training (config.yaml), nor a folder of models named by steps"
    )


def _steps(folder: Path, mark: str) -> list[tuple[int, Path]]:
    """Folders named by a step that hold a file, by step."""
    there = [path for path in folder.iterdir() if (path / mark).exists()] if folder.is_dir() else []
    return sorted((step, path) for path in there if (step := _step(path)) is not None)


def _step(path: Path) -> int | None:
    found = re.fullmatch(r"(?:step|checkpoint)?[-_]?(\d+)", path.name)
    return int(found[1]) if found else None


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
