"""The stage `index` of FineInstructions: templates become a bank that can be searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.arguments import ASK
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import show_summary
from blocks.generate.pins import pin_model
from blocks.generate.placement import visible_gpus
from blocks.instruct.bank import FURTHER, Bank, EmbedTemplates, bank_folder, build_bank, embedded_schema
from blocks.instruct.encoder import PACKAGED, Encoder, encoder_source, need_instruct
from blocks.instruct.index import FLAT_BELOW
from blocks.instruct.match import AUTHORS_ENCODER
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import check_columns
from blocks.shards.read import ReadUnits
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import list_files, shards_of
from blocks.shards.summary import check_complete
from blocks.shards.write import WriteShards

console = Console()


def index(
    input: Annotated[
        str,
        typer.Option(
            help="Run folder of the stage `templates`, or files with template, description, complexity, "
            "template_source and frequency.",
            rich_help_panel=arguments.IN,
        ),
    ],
    output: arguments.Output,
    state: arguments.State = None,
    limit: arguments.Limit = None,
    encoder: Annotated[
        str,
        typer.Option(
            help=f"Sentence-transformers model that embeds: Hub name, folder, or the Python package {PACKAGED}.",
            rich_help_panel=ASK,
        ),
    ] = AUTHORS_ENCODER,
    revision: arguments.Revision = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=16, help="Tokens it reads at a time; all that it was trained for.", rich_help_panel=ASK),
    ] = None,
    flat_below: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Templates below which the search is exact, {FLAT_BELOW:,} by default; above, it finds about "
            "97 % (of 100,000; see --nprobe of `match`).",
            rich_help_panel=arguments.OUT,
        ),
    ] = None,
    chunk_size: arguments.ChunkSize = 5000,
    tasks: arguments.Tasks = None,
    workers: arguments.EncoderWorkers = None,
    cluster: arguments.ClusterProfile = None,
    after: arguments.After = None,
    config: arguments.Config = None,
) -> None:
    """Embed the descriptions of templates, and make a bank of them that can be searched."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if waits_for(after, options, console):
            return
        need_instruct()
        workers = workers or len(visible_gpus()) or 1
        folder = RunFolder.at(output, state)
        if "://" in folder.output:
            raise RunError("--output of the stage index must be local: the bank is mapped into memory")
        pins = kept_pins(load_run(folder), options)
        check_complete(input)
        files = list_files(shards_of(input))
        check_columns(files, ["template", "description", *FURTHER])
        if "encoder_revision" not in pins:
            pins["encoder_revision"] = pin_model(encoder_source(encoder), revision, "--encoder")
        embedder = Encoder.pinned(encoder, pins["encoder_revision"], max_length)
        _ = embedder.length  # a window that it cannot read is an error now
        fingerprint: dict[str, Any] = {
            "input": input,
            "chunk_size": chunk_size,
            "encoder": encoder,
            "encoder_revision": pins["encoder_revision"],
            "max_length": max_length,
            "flat_below": flat_below,
        }

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {"templates": "embedded descriptions"}, pins, options)

        with launch(folder, begin, console, load_cluster(cluster) if cluster else None) as run:
            run.plan(files, chunk_size, limit)
            if run.submitted(options, [], unfinished=lambda: not Bank(bank_folder(folder)).is_finished):
                return
            if run.pending_passes():
                for part, _ in run.passes():
                    steps = [
                        ReadUnits(part, chunk_size, "template", columns=["description", *FURTHER]),
                        EmbedTemplates(embedder),
                        WriteShards(part, embedded_schema(embedder.dimensions)),
                    ]
                    run.execute(part, steps, tasks or workers, workers)
            summary = run.summary()
            show_summary(console, folder, summary)
            if summary["complete"]:
                with run.finishing(), folder.alone("bank"):
                    told = {name: fingerprint[name] for name in ("encoder", "encoder_revision", "max_length")}
                    _show(build_bank(folder, told, flat_below))


def _show(bank: Bank) -> None:
    table = Table("topic", "templates", "described as", title=f"{bank.told['templates']:,} different templates")
    for topic in sorted(bank.topics, key=lambda topic: -topic["templates"])[:20]:
        table.add_row(str(topic["topic"]), f"{topic['templates']:,}", topic["descriptions"][0])
    console.print(table)
    console.print(f"bank:     {bank.folder}", highlight=False, soft_wrap=True)
