"""Prepare the training of a model on tokens: check that the mixture can be served, write nanotron's configuration.

    python pipelines/pretrain.py experiment.yaml --output experiments/one --dry-run
    python pipelines/pretrain.py experiment.yaml --output experiments/one
    NANOTRON=~/nanotron sbatch experiments/one/train.sbatch

blocks/pretrain/mixture.py says what stands in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blocks.execute.options import one_line_errors
from blocks.pretrain.configure import configure, write_experiment
from blocks.pretrain.mixture import Experiment, Portion, load_experiment, plan
from blocks.pretrain.nanotron import read_config
from blocks.shards.folder import RunError

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def pretrain(
    experiment: Annotated[Path, typer.Argument(help="YAML file: model, sources with their weights, steps.")],
    output: Annotated[Path, typer.Option(help="Folder for configuration, links to the data, scripts, checkpoints.")],
    gpus_per_node: Annotated[int, typer.Option(min=1, help="Of the cluster.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing.")] = False,
) -> None:
    """Plan a training and write what starts it, or say why it could not be served."""
    with one_line_errors(console):
        wanted = load_experiment(experiment)
        if wanted.gpus > gpus_per_node and wanted.gpus % gpus_per_node:
            raise RunError(f"{wanted.gpus} GPUs are no multiple of the {gpus_per_node} of a node (--gpus-per-node)")
        portions = plan(wanted)
        here = output.absolute()
        config = configure(wanted, portions, here)
        _show(wanted, portions)
        if dry_run:
            return
        write_experiment(wanted, portions, config, here, gpus_per_node)
        read_config(here / "config.yaml")
        console.print(f"configuration: {output}/config.yaml", highlight=False, soft_wrap=True)
        console.print(
            f"start it with: {output}/train.sh, or sbatch {output}/train.sbatch", highlight=False, soft_wrap=True
        )


def _show(experiment: Experiment, portions: list[Portion]) -> None:
    vocabulary = portions[0].folder.tokenizer["vocab_size"]
    size = experiment.preset.parameters(vocabulary)
    step = experiment.batch * experiment.sequence_length
    accumulation = experiment.batch // (experiment.micro_batch * experiment.dp)
    console.print(
        f"{experiment.name}: {size / 1e9:.2f} billion parameters, {experiment.train_steps:,} steps of {step:,} tokens "
        f"= {experiment.train_steps * step / 1e9:,.2f} billion\n"
        f"{experiment.gpus} GPUs = {experiment.dp} replicas on {experiment.tp}; {experiment.batch} windows per step = "
        f"{experiment.micro_batch} · {accumulation} · {experiment.dp}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("stage", "source")
    for name in ("share", "windows it takes", "windows it has", "epochs"):
        table.add_column(name, justify="right")
    for portion in portions:
        numbers = (f"{portion.weight:.1%}", f"{portion.windows:,}", f"{sum(portion.folder.windows):,}")
        table.add_row(portion.stage, portion.name, *numbers, f"{portion.epochs:.2f}")
    console.print(table)


if __name__ == "__main__":
    app()
