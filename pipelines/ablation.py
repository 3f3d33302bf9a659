"""Compare mixtures: write the trainings of all arms and seeds, and submit them.

    python pipelines/ablation.py ablation.yaml --output experiments/ablation --dry-run
    NANOTRON=~/nanotron python pipelines/ablation.py ablation.yaml --output experiments/ablation --submit

blocks/pretrain/ablation.py says what stands in the file. Start it again to submit what is not there yet.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from blocks.execute.options import one_line_errors
from blocks.pretrain.ablation import NOISE, Ablation, load_ablation
from blocks.pretrain.configure import check_gpus, configure, is_configured, write_experiment
from blocks.pretrain.mixture import Experiment, Portion, plan
from blocks.shards.folder import RunError, write_atomically

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

JOB = "job"
"""The file of a training that holds the number of its job."""

SUBMITTING = "submitting"
"""What it holds before there is a number."""


@app.command(no_args_is_help=True)
def ablation(
    file: Annotated[Path, typer.Argument(help="YAML file: what all trainings share, arms, seeds.")],
    output: Annotated[Path, typer.Option(help="Folder; each training gets one in it.")],
    baseline: Annotated[
        list[str], typer.Option(help="NAME=FOLDER, or NAME=FOLDER:FORMAT: an arm of these tokens alone; repeatable.")
    ] = [],  # noqa: B006 - typer copies it, and shows it in --help
    gpus_per_node: Annotated[int, typer.Option(min=1, help="Of the cluster.")] = 8,
    submit: Annotated[bool, typer.Option("--submit", help="Submit those that were not submitted yet.")] = False,
    sbatch: Annotated[str, typer.Option(help="Options of sbatch, such as '--partition gpu --time 1-0'.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing.")] = False,
) -> None:
    """Write the trainings of an ablation, or say which of them could not be served."""
    with one_line_errors(console):
        wanted = load_ablation(file, baseline)
        if submit:
            if shutil.which("sbatch") is None:
                raise RunError("--submit needs Slurm, and there is no sbatch here")
            if not os.environ.get("NANOTRON"):
                raise RunError("--submit: set NANOTRON to a checkout of github.com/huggingface/nanotron")
        trainings = [(arm, experiment, plan(experiment)) for arm, experiment in wanted.experiments()]
        _show(wanted, trainings)
        if dry_run:
            return
        for _, experiment, _ in trainings:
            check_gpus(experiment, gpus_per_node)
        configs = [configure(one, portions, output.absolute() / one.name) for _, one, portions in trainings]
        for (_, experiment, _), config in zip(trainings, configs, strict=True):
            here = output.absolute() / experiment.name
            if (here / JOB).exists() and not is_configured(here, config):
                raise RunError(
                    f"{experiment.name} was submitted with another configuration than {file} gives it now, so that its "
                    f"arms could not be compared: give another --output, or delete {here} to train it anew"
                )
        # With its baselines, for `eval_suite.py collect --ablation`.
        told = yaml.safe_dump(wanted.model_dump(exclude_none=True), sort_keys=False)
        write_atomically(output / "ablation.yaml", told.encode())
        for (_, experiment, portions), config in zip(trainings, configs, strict=True):
            here = output.absolute() / experiment.name
            if not (here / JOB).exists():  # what runs is left alone
                write_experiment(experiment, portions, config, here, gpus_per_node)
        if submit:
            for _, experiment, _ in trainings:
                _submit(output.absolute() / experiment.name, shlex.split(sbatch))
        console.print(f"{len(trainings)} trainings: {output}", highlight=False, soft_wrap=True)


def _submit(folder: Path, options: list[str]) -> None:
    mark = folder / JOB
    if mark.exists():
        job = mark.read_text()
        if job == SUBMITTING:
            raise RunError(
                f"{folder.name} was being submitted when that was killed: look for it with squeue, and write its "
                f"number to {mark}, or delete that file"
            )
        again = f"delete {mark} to do it again"
        console.print(f"{folder.name} was submitted as job {job}; {again}", highlight=False, soft_wrap=True)
        return
    write_atomically(mark, SUBMITTING.encode())
    command = ["sbatch", "--parsable", *options, str(folder / "train.sbatch")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        mark.unlink()
        raise RunError(f"sbatch refuses {folder.name}: {done.stderr.strip()}")
    write_atomically(mark, done.stdout.strip().encode())
    console.print(f"submitted {folder.name} as job {done.stdout.strip()}", highlight=False)


def _show(ablation: Ablation, trainings: list[tuple[str, Experiment, list[Portion]]]) -> None:
    table = Table("arm", "sources")
    for name in ("epochs", "trainings", "billion tokens"):
        table.add_column(name, justify="right")
    for arm in ablation.arms:
        mine = [(experiment, portions) for name, experiment, portions in trainings if name == arm]
        experiment, portions = mine[0]
        tokens = len(mine) * experiment.new_steps * experiment.batch * experiment.sequence_length
        table.add_row(
            arm,
            ", ".join(f"{portion.weight:.0%} {portion.name}" for portion in portions),
            ", ".join(f"{portion.epochs:.2f}" for portion in portions),
            f"{len(mine)}",
            f"{tokens / 1e9:,.2f}",
        )
    console.print(table)
    whole = {one.name for _, _, portions in trainings for one in portions if sum(map(bool, one.folder.windows)) == 1}
    if whole and len(ablation.seeds) > 1:
        console.print(
            f"{', '.join(sorted(whole))}: in one file, so in the same order for each seed; tokens.py "
            f"--tokens-per-file makes more of them",
            soft_wrap=True,
        )
    model = ablation.training.get("model")
    if isinstance(model, str) and model in NOISE:
        raw, tables = NOISE[model]
        console.print(
            f"The study's students of {model} had a standard deviation of {raw} (FineWeb-Edu) and {tables} (with "
            f"tables) over nine pairs of seeds: single trainings that differ by less than some 0.005 say nothing.",
            soft_wrap=True,
        )


if __name__ == "__main__":
    app()
