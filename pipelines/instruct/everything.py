"""All stages of FineInstructions one after the other, with the options of each in one file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.rule import Rule

from blocks.execute.options import one_line_errors
from blocks.shards.folder import RunError

console = Console()

STAGES: dict[str, dict[str, str]] = {
    "templates": {},
    "index": {"input": "templates"},
    "match": {"bank": "index"},
    "pairs": {"input": "match"},
    "budget": {"input": "pairs"},
}
"""The stages, and which of their options are the outputs of others."""


def run_all(
    config: Annotated[
        Path,
        typer.Option(
            help="YAML file with `output`, the folder of all runs, and for each stage the options that it has.",
            exists=True,
            dir_okay=False,
        ),
    ],
) -> None:
    """Run all stages, each with its part of one file; started again, it goes on where it was."""
    with one_line_errors(console):
        for stage, options in stage_options(yaml.safe_load(config.read_text()), config).items():
            console.print(Rule(stage))
            run_stage(stage, options)


def stage_options(told: Any, file: Path) -> dict[str, dict[str, Any]]:
    """The options of every stage.

    Args:
        told: the content of the file.
        file: for messages.

    Raises:
        RunError: the file is no such configuration.
    """
    if not isinstance(told, dict) or not isinstance(told.get("output"), str):
        raise RunError(f"--config {file}: it must have `output`, the folder of all runs")
    for stage, options in told.items():
        if stage != "output" and (stage not in STAGES or not isinstance(options, Mapping)):
            raise RunError(f"--config {file}: {stage!r} is none of output, {', '.join(STAGES)} with options")
    return {
        stage: {
            "output": f"{told['output']}/{stage}",
            **{option: f"{told['output']}/{other}" for option, other in inputs.items()},
            **told.get(stage, {}),
        }
        for stage, inputs in STAGES.items()
    }


def run_stage(stage: str, options: Mapping[str, Any]) -> None:
    """Run one stage in a process of its own: what it started ends with it.

    Raises:
        typer.Exit: it failed, and has said why.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(options), file, allow_unicode=True)
        file.flush()
        script = Path(__file__).parents[1] / "fineinstructions.py"
        done = subprocess.run([sys.executable, str(script), stage, "--config", file.name], check=False)
    if done.returncode != 0:
        raise typer.Exit(done.returncode)
