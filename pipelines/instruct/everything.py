"""All stages of FineInstructions one after the other, with the options of each in one file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.rule import Rule

from blocks.execute.options import one_line_errors
from blocks.instruct.encoder import need_instruct
from blocks.instruct.match import AUTHORS_ENCODER
from blocks.shards.folder import RunError
from blocks.shards.source import list_files, pin
from pipelines.instruct.budget import budget
from pipelines.instruct.index import index
from pipelines.instruct.match import match
from pipelines.instruct.pairs import pairs
from pipelines.instruct.templates import templates

console = Console()

COMMANDS: dict[str, tuple[Callable[..., None], dict[str, str]]] = {
    "templates": (templates, {}),
    "index": (index, {"input": "templates"}),
    "match": (match, {"bank": "index"}),
    "pairs": (pairs, {"input": "match"}),
    "budget": (budget, {"input": "pairs"}),
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
        need_instruct()
        try:
            told = yaml.safe_load(config.read_text())
        except yaml.YAMLError as error:
            raise RunError(f"--config {config} is no YAML: {' '.join(str(error).split())}") from error
        for stage, options in stage_options(told, config).items():
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
        if stage != "output" and (stage not in COMMANDS or not isinstance(options, Mapping)):
            raise RunError(f"--config {file}: {stage!r} is none of output, {', '.join(COMMANDS)} with options")
    options = {
        stage: {
            "output": f"{told['output']}/{stage}",
            **{option: f"{told['output']}/{other}" for option, other in inputs.items()},
            **told.get(stage, {}),
        }
        for stage, (_, inputs) in COMMANDS.items()
    }
    if wrong := list(_mistakes(options)):
        raise RunError(f"--config {file}: {'; '.join(wrong)}")
    return options


def _mistakes(options: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What can be seen before anything has run: names of options, jobs, inputs, the threshold of another encoder."""
    for stage, (command, _) in COMMANDS.items():
        known = {name.replace("_", "-") for name in signature(command).parameters}
        for name in options[stage]:
            if (typed := name.replace("_", "-")) not in known:
                near = get_close_matches(typed, known, 1)
                yield f"{stage} has no option {name!r}" + (f" (is it {near[0]!r}?)" if near else "")
        if "cluster" in known and options[stage].get("cluster"):
            yield (
                f"{stage} cannot have a cluster here, as the next stage would not wait for its jobs: submit the stages "
                f"one by one, with --after"
            )
    for stage in ("templates", "match"):
        if "input" not in options[stage]:
            yield f"{stage} has no input"
            continue
        try:
            list_files(pin(str(options[stage]["input"])))
        except RunError as error:
            yield f"{stage}: {error}"
    if options["index"].get("encoder", AUTHORS_ENCODER) != AUTHORS_ENCODER and "threshold" not in options["match"]:
        yield "match needs a threshold, which `calibrate` proposes, since the encoder is another one"
    if "tokenizer" not in options["budget"]:
        yield "budget needs a tokenizer"


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
