"""The student `embedding` of FineInstructions: an encoder that knows which templates a document could fill."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from blocks.distill.embedding import Settings, need_embedding, save, trainer_of
from blocks.distill.labelled import check_labels, load_rows
from blocks.distill.recall import RECALLS, evaluate
from blocks.execute import arguments
from blocks.execute.arguments import ASK, IN
from blocks.execute.options import one_line_errors
from blocks.finetune.examples import split_off
from blocks.finetune.train import is_first, keep_quiet, log_of, train, weights_of
from blocks.generate.pins import pin_model
from blocks.instruct.encoder import PACKAGED, Encoder, encoder_source
from blocks.shards.folder import RunFolder, write_atomically
from blocks.shards.run import begin_run, kept_pins, load_run
from blocks.shards.source import list_files, pin, shards_of
from blocks.shards.summary import check_complete

console = Console()

TRAIN = "Training (the paper gives no numbers: these are ours)"


def embedding(
    input: Annotated[
        str,
        typer.Option(
            help="Run folder of the step `label`, or files with source_id, text, chunk_k, description and label.",
            rich_help_panel=IN,
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints and model.", file_okay=False)],
    encoder: Annotated[
        str,
        typer.Option(
            help=f"Sentence-transformers model to start from: Hub name, folder, or the Python package {PACKAGED}; in "
            "round 2 the model of round 1.",
            rich_help_panel=ASK,
        ),
    ],
    revision: arguments.Revision = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=16, help="Tokens it reads at a time; all that it was trained for.", rich_help_panel=ASK),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of the documents to evaluate on, not trained on.", rich_help_panel=IN),
    ] = 0.05,
    round: Annotated[
        int, typer.Option(min=1, max=2, help="1: whole documents, 2: their labelled parts.", rich_help_panel=TRAIN)
    ] = Settings.round,
    epochs: Annotated[float, typer.Option(min=0, help="Passes over the pairs.", rich_help_panel=TRAIN)] = (
        Settings.epochs
    ),
    learning_rate: Annotated[float, typer.Option(help="At its peak; it falls on a line.", rich_help_panel=TRAIN)] = (
        Settings.learning_rate
    ),
    batch: Annotated[int, typer.Option(min=1, help="Pairs per step.", rich_help_panel=TRAIN)] = Settings.batch,
    device_batch: Annotated[int, typer.Option(min=1, help="Pairs at a time, per GPU.", rich_help_panel=TRAIN)] = (
        Settings.device_batch
    ),
    save_steps: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.", rich_help_panel=TRAIN)] = (
        Settings.save_steps
    ),
    seed: Annotated[int, typer.Option(help="Of order, dropout and held-out documents.", rich_help_panel=TRAIN)] = 0,
    config: arguments.Config = None,
) -> None:
    """Fine-tune an embedding so that documents are near to the descriptions of templates that they could fill."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console), ExitStack() as alone:
        need_embedding()
        keep_quiet()
        folder = RunFolder.at(str(output))
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        check_complete(pins["input"])
        files = list_files(shards_of(pins["input"]))
        if "encoder_revision" not in pins or Path(encoder).expanduser().is_dir():  # a folder may have changed since
            pins["encoder_revision"] = pin_model(encoder_source(encoder), revision, "--encoder")
        before = Encoder.pinned(encoder, pins["encoder_revision"], max_length)
        settings = Settings(round, epochs, learning_rate, batch, device_batch, save_steps, seed)
        _ = settings.accumulated  # a batch that cannot be divided is an error now
        rows, aside = split_off(load_rows(files), held_out, seed)
        check_labels(rows)
        fingerprint: dict[str, Any] = {
            "files": [[file.name, file.size] for file in files],
            "encoder": encoder,
            "encoder_revision": pins["encoder_revision"],
            "weights": weights_of(encoder),
            "max_length": max_length,
            "held_out": held_out,
            **settings.shaping,
        }
        if is_first():
            folder.prepare()
            alone.enter_context(folder.lock())
            begin_run(folder, fingerprint, {"model": "fine-tuned embedding"}, pins, options)
        if (output / "training.json").is_file():
            console.print(f"It is trained; there is nothing to do. model: {output / 'model'}", soft_wrap=True)
            return
        checkpoints = output / "checkpoints"
        trainer = trainer_of(before, rows, settings, checkpoints, _say)
        if not (output / "model").is_dir():
            train(trainer, checkpoints)
            save(trainer, output)
        if is_first():
            after = Encoder(str(output / "model"), max_length=max_length)
            told = {
                "examples": len(rows),
                "held_out": len(aside),
                "loss": [[line["step"], line["loss"]] for line in log_of(trainer, checkpoints) if "loss" in line],
                "evaluation": {
                    when: evaluate(one, aside, parts=round == 2)
                    for when, one in (("before", before), ("after", after))
                    if len(aside)
                },
            }
            write_atomically(output / "training.json", orjson.dumps(told, option=orjson.OPT_INDENT_2))
            _show(told, output)


def _say(line: str) -> None:
    console.print(line, highlight=False)


def _show(told: dict[str, Any], output: Path) -> None:
    console.print(f"{told['examples']:,} pairs to train on, {told['held_out']:,} held out", highlight=False)
    if found := told["evaluation"]:
        before, after = found["before"], found["after"]
        title = f"{after['searches']:,} held-out searches among {after['descriptions']:,} descriptions"
        table = Table("", "before", "after", title=title)
        for name in (f"recall@{k}" for k in RECALLS):
            table.add_row(name, _share(before[name]), _share(after[name]))
        for name in ("fitting", "not_fitting"):
            shown = (_share(one["cosine"][name]) for one in (before, after))
            table.add_row(f"mean cosine, {name.replace('_', ' ')}", *shown)
        console.print(table)
    console.print(f"model: {output / 'model'}", highlight=False, soft_wrap=True)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
