"""What a report says of a training that is planned: what it will see of which source, how often, on how many GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blocks.pretrain.configure import configure
from blocks.pretrain.mixture import load_experiment, plan
from blocks.pretrain.nanotron import to_yaml


def gather_training(file: Path) -> dict[str, Any]:
    """The plan of an experiment.

    Raises:
        RunError: it could not be served.
    """
    experiment = load_experiment(file)
    portions = plan(experiment)
    config = configure(experiment, portions, file.parent.absolute() / experiment.name)
    window = experiment.sequence_length
    sources = [
        {
            "name": portion.name,
            "tokens": portion.folder.source.tokens,
            "format": portion.folder.source.format or "",
            "weight": portion.weight,
            "takes": portion.windows * window,
            "has": sum(portion.folder.windows) * window,
            "epochs": portion.epochs,
        }
        for portion in portions
    ]
    return {
        "name": experiment.name,
        "experiment": experiment,
        "parameters": experiment.preset.parameters(portions[0].folder.tokenizer["vocab_size"]),
        "tokens": experiment.new_steps * experiment.batch * window,
        "step_tokens": experiment.batch * window,
        "sources": sources,
        "asked": file.read_text(encoding="utf-8"),
        "config": to_yaml(config),
    }
