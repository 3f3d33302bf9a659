"""The stage `match` of FineInstructions: documents get the templates that could be made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.arguments import ASK, KEEP
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import json_object, one_line_errors
from blocks.execute.show import show_summary
from blocks.generate.placement import visible_gpus
from blocks.instruct.bank import Bank
from blocks.instruct.choose import parse_preferences, template_weights
from blocks.instruct.encoder import Encoder, need_instruct
from blocks.instruct.index import NPROBE
from blocks.instruct.match import (
    AUTHORS_ENCODER,
    AUTHORS_THRESHOLD,
    CANDIDATES,
    MATCH_SCHEMA,
    TEMPLATES,
    MatchTemplates,
)
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import check_columns
from blocks.shards.read import ReadUnits
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import dataset_name, list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

console = Console()


def match(
    input: arguments.Input,
    bank: Annotated[str, typer.Option(help="Run folder of the stage `index`.", rich_help_panel=arguments.IN)],
    output: arguments.Output,
    state: arguments.State = None,
    text_column: arguments.TextColumn = "text",
    id_column: arguments.IdColumn = "id",
    where: arguments.WhereFilters = None,
    limit: arguments.Limit = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help=f"Least cosine of a document (or a part of it) and a template's description: {AUTHORS_THRESHOLD} for "
            f"{AUTHORS_ENCODER}; for any other encoder see `calibrate`.",
            rich_help_panel=KEEP,
        ),
    ] = None,
    templates: Annotated[
        int, typer.Option(min=1, help="Most templates of a document.", rich_help_panel=KEEP)
    ] = TEMPLATES,
    candidates: Annotated[
        int,
        typer.Option(min=1, help="Templates that a document and each of its parts look at.", rich_help_panel=KEEP),
    ] = CANDIDATES,
    nprobe: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Lists of a large bank that are searched for each of them: more find more and take longer; "
            f"{NPROBE} by default, which finds 99 % of a million templates and was not measured beyond.",
            rich_help_panel=KEEP,
        ),
    ] = None,
    prefer: Annotated[
        str | None,
        typer.Option(
            help='What is wanted of the bank, as JSON: {"source": ["wildchat"], "topic": {"3": 5, "others": 0.1}, '
            '"complexity": [1, 2, 3], "real": ["wildchat"]}.',
            rich_help_panel=KEEP,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of torch, for the encoder; by default the best there is.", rich_help_panel=ASK)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw among the candidates.", rich_help_panel=KEEP)] = 0,
    shard_format: arguments.ShardFileFormat = "parquet",
    chunk_size: arguments.ChunkSize = 5000,
    tasks: arguments.Tasks = None,
    workers: arguments.EncoderWorkers = None,
    cluster: arguments.ClusterProfile = None,
    after: arguments.After = None,
    config: arguments.Config = None,
) -> None:
    """Find templates for documents, through embeddings of a document and of five parts of it."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if waits_for(after, options, console):
            return
        need_instruct()
        workers = workers or (1 if device else len(visible_gpus())) or 1
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        files = list_files(pins["input"])
        filters = [parse_where(text) for text in where or []]
        check_columns(files, [text_column, *(found.column for found in filters)])
        searched = Bank.of_run(bank, pins.get("bank"), nprobe)
        pins["bank"] = searched.folder.name
        told = searched.told
        if threshold is None and told["encoder"] != AUTHORS_ENCODER:
            raise RunError(
                f"the threshold of {AUTHORS_THRESHOLD} is that of {AUTHORS_ENCODER}, and the bank was embedded by "
                f"{told['encoder']}: give a --threshold, which `fineinstructions.py calibrate` proposes"
            )
        least = AUTHORS_THRESHOLD if threshold is None else threshold
        preferences = parse_preferences(json_object(prefer, "--prefer"))
        template_weights(searched, preferences)  # what leaves nothing is an error now
        encoder = Encoder.pinned(told["encoder"], told["encoder_revision"], told["max_length"])
        encoder.device = device
        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "id_column": id_column,
            "where": where or [],
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            "bank": told["name"],
            "threshold": least,
            "templates": templates,
            "candidates": candidates,
            **({"nprobe": nprobe} if nprobe else {}),
            "prefer": json_object(prefer, "--prefer"),
            "seed": seed,
        }

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {"matches": f"{templates} templates"}, pins, options)

        with launch(folder, begin, console, load_cluster(cluster) if cluster else None) as run:
            run.plan(files, chunk_size, limit)
            if run.submitted(options, []):
                return
            for part, _ in run.passes():
                steps = [
                    ReadUnits(part, chunk_size, text_column, id_column, filters, source_dataset=dataset_name(input)),
                    MatchTemplates(searched, encoder, least, templates, candidates, preferences, seed),
                    WriteShards(part, MATCH_SCHEMA, shard_format),
                ]
                run.execute(part, steps, tasks or workers, workers)
            show_summary(console, folder, run.summary())
