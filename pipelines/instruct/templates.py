"""The stage `templates` of FineInstructions: queries become generic templates."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.arguments import ASK, IN, KEEP
from blocks.execute.asking import asking, model_of
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import LOOKED, first_request, show_plan, show_summary
from blocks.filters.decontaminate import EvaluationSets
from blocks.generate.prompts import load_prompt
from blocks.instruct.moderate import Moderate, choose_moderation
from blocks.instruct.prompts import instruct_prompt
from blocks.instruct.queries import MAX_WORDS, MIN_WORDS, Duplicates, Hygiene, query_hash
from blocks.instruct.templatize import TEMPLATE_SCHEMA, TEMPLATIZER, Templatize
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns, extend_plan, load_plan, unplanned
from blocks.shards.read import ReadUnits, look
from blocks.shards.rows import columns_of_first_rows
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import dataset_name, list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

console = Console()


def templates(
    input: arguments.Input,
    output: arguments.Output,
    state: arguments.State = None,
    text_column: Annotated[str, typer.Option(help="Column with the query.", rich_help_panel=IN)] = "text",
    id_column: arguments.IdColumn = "id",
    source_column: Annotated[
        str | None,
        typer.Option(
            help="Column with where a query comes from: 'source' by default, and without it the input's name.",
            rich_help_panel=IN,
        ),
    ] = None,
    frequency_column: Annotated[
        str | None,
        typer.Option(
            help="Column with how often a query was asked: 'frequency' by default; without it each row counts once.",
            rich_help_panel=IN,
        ),
    ] = None,
    where: arguments.WhereFilters = None,
    limit: arguments.Limit = None,
    language: Annotated[
        str, typer.Option(help="ISO code of the language that queries must have; 'any' for all.", rich_help_panel=KEEP)
    ] = "en",
    min_words: Annotated[int, typer.Option(min=1, help="Least words of a query.", rich_help_panel=KEEP)] = MIN_WORDS,
    max_words: Annotated[int, typer.Option(min=1, help="Most words of a query.", rich_help_panel=KEEP)] = MAX_WORDS,
    decontaminate: Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluation set, local, s3:// or hf://: queries that share 12 words in a row with it, or are one of "
            "its shorter questions, are rejected. Repeatable.",
            rich_help_panel=KEEP,
        ),
    ] = None,
    moderation: Annotated[
        str | None,
        typer.Option(
            help='Endpoint with /moderations that queries are shown to, as JSON: {"endpoint": URL, "model": …, '
            '"api_key_env": …}.',
            rich_help_panel=KEEP,
        ),
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            help="Prompt file; by default prompts/instruct/templatize.md, and none for models of fineinstructions/.",
            rich_help_panel=ASK,
        ),
    ] = None,
    server: arguments.ServerKind = "vllm",
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Hub name or folder; {TEMPLATIZER} by default, or the one that the endpoint serves.",
            rich_help_panel=ASK,
        ),
    ] = None,
    revision: arguments.Revision = None,
    endpoint: arguments.EndpointUrl = None,
    api_key_env: arguments.ApiKeyEnv = None,
    price: arguments.Price = None,
    max_spending: arguments.MaxSpending = None,
    server_options: arguments.ServerOptions = None,
    extra_body: arguments.ExtraBody = None,
    tokenizer: arguments.Tokenizer = None,
    context: arguments.Context = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer in tokens; the prompt's by default.", rich_help_panel=ASK)
    ] = None,
    temperature: arguments.SamplingNumber = None,
    top_p: arguments.SamplingNumber = None,
    top_k: arguments.TopK = None,
    seed: arguments.Seed = None,
    shard_format: arguments.ShardFileFormat = "parquet",
    chunk_size: arguments.ChunkSize = 5000,
    tasks: arguments.Tasks = None,
    workers: arguments.Workers = 1,
    max_in_flight: arguments.MaxInFlight = None,
    max_failure_rate: arguments.MaxFailureRate = 0.05,
    request_timeout: arguments.RequestTimeout = 1800.0,
    dry_run: arguments.DryRun = False,
    retry_failed: arguments.RetryFailed = False,
    cluster: arguments.ClusterProfile = None,
    after: arguments.After = None,
    config: arguments.Config = None,
) -> None:
    """Make generic templates of real queries, each with a description of the documents that could fill it.

    Duplicates, other languages and what is too short or long are left out before a model is asked.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if not dry_run and waits_for(after, options, console):
            return
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        files = list_files(pins["input"])
        filters = [parse_where(text) for text in where or []]
        named = [column for column in (source_column, frequency_column) if column]
        check_columns(files, [text_column, *named, *(found.column for found in filters)])
        source, frequency = source_column or "source", frequency_column or "frequency"
        # Later launches, and jobs that have a GPU already, open no file again for this.
        new = unplanned(files, load_plan(folder.state / "plan.jsonl")) if "columns" in pins else files
        there = {source, frequency} & set().union(*map(columns_of_first_rows, new))
        pins["columns"] = sorted(there.union(pins.get("columns", ())))
        has_source, has_frequency = source in pins["columns"], frequency in pins["columns"]
        chosen = model_of(options, folder.state, pins.get("model_revision"), TEMPLATIZER)
        asked = load_prompt(str(prompt)) if prompt else instruct_prompt("templatize", chosen.name)
        evaluation = EvaluationSets(decontaminate) if decontaminate else None
        moderator = choose_moderation(moderation) if moderation else None
        hygiene = Hygiene(
            Duplicates(folder, chunk_size, text_column, filters, frequency if has_frequency else None),
            None if language == "any" else language,
            min_words,
            max_words,
            frozenset(map(query_hash, evaluation.short_questions())) if evaluation else frozenset(),
        )
        moderate = partial(Moderate, max_failure_rate=max_failure_rate, request_timeout=request_timeout)
        trial = Templatize(asked, **asking(chosen, chosen.at, options))
        _ = trial.room  # no room for a query is an error now, not on the GPU node
        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "id_column": id_column,
            "source_column": source if has_source else None,
            **({"frequency_column": frequency} if has_frequency else {}),
            "where": where or [],
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            "language": language,
            "min_words": min_words,
            "max_words": max_words,
            "decontaminate": evaluation.fingerprint if evaluation else None,
            "moderation": moderator.model if moderator else None,
            **chosen.fingerprint,
            **trial.fingerprint,
        }
        if dry_run:
            planned = extend_plan(load_plan(folder.state / "plan.jsonl"), files, chunk_size, limit)
            found = look(planned, text_column, filters, count=LOOKED)
            show_plan(console, planned, first_request("templatize", found, lambda one: trial.preview(one.text)))
            return

        def begin() -> RunRecord:
            if evaluation:
                evaluation.index(folder.state / "decontaminate")  # a set that cannot be used is no run yet
            known = {**pins, "model_revision": chosen.revision, "generation_config": dict(chosen.generation_config)}
            return begin_run(folder, fingerprint, {"templates": trial.describe()}, known, options)

        with launch(folder, begin, console, load_cluster(cluster) if cluster else None) as run:
            run.plan(files, chunk_size, limit, grow=not retry_failed)
            if retry_failed:
                run.retry_failed()
            hygiene.duplicates.find()
            if run.submitted(options, [chosen]):
                return
            if run.pending_passes():
                clean_of = evaluation.index(folder.state / "decontaminate") if evaluation else None
                with chosen.running(folder.state) as (at, watch):
                    for part, _ in run.passes():
                        steps = [
                            ReadUnits(
                                part,
                                chunk_size,
                                text_column,
                                id_column,
                                filters,
                                {source: "template_source"} if has_source else {},
                                source_dataset=dataset_name(input),
                            ),
                            hygiene,
                            *([clean_of.filter()] if clean_of else []),
                            *([moderate(moderator)] if moderator else []),
                            Templatize(asked, **asking(chosen, at, options)),
                            WriteShards(part, TEMPLATE_SCHEMA, shard_format),
                        ]
                        run.execute(part, steps, tasks or workers, workers, watch)
            show_summary(console, folder, run.summary())
