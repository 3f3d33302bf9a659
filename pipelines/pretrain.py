"""Prepare the training of a model on tokens: check that the mixture can be served, write nanotron's configuration.

    python pipelines/pretrain.py experiment.yaml --output experiments/one --dry-run
    python pipelines/pretrain.py experiment.yaml --output experiments/one
    NANOTRON=~/nanotron sbatch experiments/one/train.sbatch

blocks/pretrain/mixture.py says what stands in the file.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from blocks.execute.options import one_line_errors
from blocks.pretrain.configure import check_gpus, configure, write_experiment
from blocks.pretrain.encode import Vocabulary
from blocks.pretrain.mixture import Experiment, Portion, load_experiment, plan
from blocks.pretrain.nanotron import Config, read_config, read_with_nanotron
from blocks.shards.folder import RunError

SMOKE_LENGTH, SMOKE_BATCH = 256, 8
"""Tokens of a window, and windows of a step, on a CPU."""

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def pretrain(
    experiment: Annotated[Path, typer.Argument(help="YAML file: model, sources with their weights, steps.")],
    output: Annotated[Path, typer.Option(help="Folder for configuration, links to the data, scripts, checkpoints.")],
    gpus_per_node: Annotated[int, typer.Option(min=1, help="Of the cluster.")] = 8,
    smoke: Annotated[
        int | None,
        typer.Option(min=1, help="Train a tiny model on the CPU for so many steps, to see that the data train."),
    ] = None,
    check_nanotron: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Let this checkout of nanotron read the result.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing.")] = False,
) -> None:
    """Plan a training and write what starts it, or say why it could not be served."""
    with one_line_errors(console):
        wanted = load_experiment(experiment)
        check_gpus(wanted, gpus_per_node)
        portions = plan(wanted)
        here = output.absolute()
        config = configure(wanted, portions, here)
        _show(wanted, portions)
        if dry_run:
            return
        write_experiment(wanted, portions, config, here, gpus_per_node)
        read_config(here / "config.yaml")
        if check_nanotron is not None:
            read_with_nanotron(here / "config.yaml", check_nanotron.absolute())
        if smoke is not None:
            _smoke(wanted, config, smoke)
        console.print(f"configuration: {output}/config.yaml", highlight=False, soft_wrap=True)
        here_too = f"{output}/train.sh, or " if (here / "train.sh").exists() else ""
        console.print(f"start it with: {here_too}sbatch {output}/train.sbatch", highlight=False, soft_wrap=True)


def _smoke(experiment: Experiment, config: Config, steps: int) -> None:
    """Show what a training sees, and train on it for a while."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise RunError("--smoke needs torch and transformers: make cpu")
    from blocks.pretrain.smoke import batch_of, train, windows_of  # torch takes seconds to import

    dataset, eos = config.data_stages[-1].data.dataset, config.model.shape.eos_token_id
    length = min(experiment.sequence_length, SMOKE_LENGTH)
    tokenizer = Vocabulary(dataset.tokenizer_name).tokenizer
    for window in windows_of(dataset, length, eos, 2):
        seen = batch_of([window])["input_ids"][0]
        text = tokenizer.decode(seen.tolist(), skip_special_tokens=False)
        ends = int((seen == eos).sum())
        console.print(Panel(Text(text), title=f"a window of {length} tokens, in which {ends} documents end"))

    def tell(step: int, loss: float) -> None:
        if step == 1 or step % max(1, steps // 10) == 0:
            console.print(f"step {step:,} of {steps:,}: loss {loss:.2f}", highlight=False)

    found = train(dataset, eos, length, steps, SMOKE_BATCH, tell)
    console.print(
        f"loss {found['first']:.2f} → {found['last']:.2f} nats per token; a guess among {dataset.vocab_size:,} tokens "
        f"is {found['uniform']:.2f} ({found['parameters'] / 1e6:.1f} million parameters, {steps} steps of "
        f"{SMOKE_BATCH} windows of {length} tokens)",
        highlight=False,
        soft_wrap=True,
    )


def _show(experiment: Experiment, portions: list[Portion]) -> None:
    vocabulary = portions[0].folder.tokenizer["vocab_size"]
    size = experiment.preset.parameters(vocabulary)
    step = experiment.batch * experiment.sequence_length
    accumulation = experiment.batch // (experiment.micro_batch * experiment.dp)
    since = f" after step {experiment.after.step:,} of {experiment.after.training}" if experiment.after else ""
    console.print(
        f"{experiment.name}: {size / 1e9:.2f} billion parameters, {experiment.new_steps:,} steps of {step:,} tokens "
        f"= {experiment.new_steps * step / 1e9:,.2f} billion{since}\n"
        f"{experiment.gpus} GPUs = {experiment.dp} replicas on {experiment.tp}; {experiment.batch} windows per step = "
        f"{experiment.micro_batch} · {accumulation} · {experiment.dp}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("source")
    for name in ("share", "windows it takes", "windows it has", "epochs"):
        table.add_column(name, justify="right")
    for portion in portions:
        numbers = (f"{portion.weight:.1%}", f"{portion.windows:,}", f"{sum(portion.folder.windows):,}")
        table.add_row(portion.name, *numbers, f"{portion.epochs:.2f}")
    console.print(table)


if __name__ == "__main__":
    app()
