"""An ablation: the same training on several mixtures, each with several seeds.

    training: { model: 1.7b, steps: 10000 }
    seeds: [1, 2, 3]
    arms:
      web: { web: { tokens: tokens/fineweb-edu } }
      faq:
        faq: { tokens: tokens/mine, format: faq }
        web: { tokens: tokens/fineweb-edu }

Two trainings with other seeds on the same data differ, too: in their first weights, and in the order of the files of
each source (a source of one file comes in the same order to all). In the FinePhrase study (arXiv 2604.13977) the macro
score of one mixture has a standard deviation of 0.0016 to 0.0044 over nine pairs of seeds (`NOISE`), so single runs
that differ by less than about 0.005 say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blocks.pretrain.mixture import Experiment, Source
from blocks.pretrain.read import explain, read_yaml
from blocks.shards.folder import RunError

NOISE = {"0.5b": (0.0044, 0.0020), "1.7b": (0.0027, 0.0016), "2.9b": (0.0022, 0.0019), "6.2b": (0.0049, 0.0020)}
"""By student, the standard deviation of the macro score over 3 · 3 seeds: of FineWeb-Edu alone, and with tables."""


class Ablation(BaseModel):
    """What is to be compared; see the module for an example.

    Args:
        training: fields of `Experiment` that all arms share; not name, sources and seeds.
        seeds: each is the seed of the weights and of the order of the data of one training.
        arms: sources by name, by name of the arm.
    """

    model_config = ConfigDict(extra="forbid")

    training: dict[str, Any]
    seeds: Annotated[list[int], Field(min_length=1)] = [1, 2, 3]
    arms: Annotated[dict[str, dict[str, Source]], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Ablation:
        if own := {"name", "sources", "seed", "data_seed"} & set(self.training):
            raise ValueError(f"training must not hold {', '.join(sorted(own))}: arms and seeds say that")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("two seeds are the same")
        after = self.training.get("after")
        if isinstance(after, dict) and len(self.seeds) > 1 and "{seed}" not in str(after.get("training")):
            raise ValueError(
                "trainings that go on from one checkpoint are the same, whatever their seed: give one seed, or a "
                "training per seed, such as after: { training: 'experiments/web-seed{seed}', step: 9000 }"
            )
        return self

    def experiments(self) -> Iterator[tuple[str, Experiment]]:
        """The trainings, each with the name of its arm.

        Raises:
            ValidationError: one says what cannot be.
        """
        for arm, sources in self.arms.items():
            for seed in self.seeds:
                told = {name: source.model_dump() for name, source in sources.items()}
                shared = dict(self.training)
                if isinstance(shared.get("after"), dict):
                    before = str(shared["after"].get("training")).replace("{seed}", str(seed))
                    shared["after"] = {**shared["after"], "training": before}
                values = {**shared, "name": f"{arm}-seed{seed}", "sources": told}
                yield arm, Experiment.model_validate({**values, "seed": seed, "data_seed": seed})


def load_ablation(path: Path, baselines: Sequence[str] = ()) -> Ablation:
    """Read an ablation.

    Args:
        path: the YAML file.
        baselines: further arms, NAME=FOLDER or NAME=FOLDER:FORMAT, each of one source.

    Raises:
        RunError: it cannot be read, or one of its trainings says what cannot be.
    """
    ablation = read_yaml(path, Ablation)
    for told in baselines:
        name, _, folder = told.partition("=")
        if not name or not folder or name in ablation.arms:
            raise RunError(f"--baseline {told}: give NAME=FOLDER, or NAME=FOLDER:FORMAT, with a name that no arm has")
        # An S3 address has a colon, too; a format has no slash.
        place, colon, chosen = folder.rpartition(":")
        split = bool(colon) and "/" not in chosen
        source = Source(tokens=place, format=chosen) if split else Source(tokens=folder)
        ablation.arms[name] = {name: source}
    try:
        list(ablation.experiments())
    except ValidationError as error:
        raise RunError(f"{path}: {explain(error)}") from error
    return ablation
