"""Halving and completion: first parts of documents, and how a teacher goes on with them (arXiv 2409.00096).

    python pipelines/noninstruct.py --input 'documents/*.parquet' --output runs/noninstruct --model MODEL \
        --server endpoint --endpoint https://api.example.com/v1 --api-key-env KEY

A sample of documents is drawn from the whole input, each is cut once in its middle half, and the teacher's continuation
becomes a row with `prompt`, `completion` and `messages` to fine-tune on. `--arm original` writes the second halves
themselves, as a control: the effect disappears with them. Kill it at any moment and start the same command again.

A shard holds what was drawn of `--chunk-size` rows: with 80,000 documents out of 300 million rows 5,000 of them have
one document, so say 500,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from datatrove.pipeline.base import PipelineStep
from rich.console import Console

from blocks.complete.complete import COMPLETION_SCHEMA, COMPLETIONS, Complete, Original, TruncatedOutput
from blocks.complete.halve import Unit
from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.arguments import ASK, IN, KEEP
from blocks.execute.asking import asking, model_of, pace
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import LOOKED, first_request, show_plan, show_samples, show_summary
from blocks.generate import clean
from blocks.generate.endpoint import Endpoint
from blocks.generate.model import running
from blocks.generate.placement import check_gpu_memory
from blocks.generate.prompts import PROMPTS, load_prompt
from blocks.judge.choose import judge_in_pipeline
from blocks.publish.beside import hub_output, publishing
from blocks.report.write import write_report
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns, extend_plan, load_plan
from blocks.shards.read import ReadUnits, look
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.sample import Sample
from blocks.shards.source import dataset_name, list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

DOCUMENTS = 80_000
"""Of the paper, at second hand."""


@app.command(no_args_is_help=True)
def noninstruct(
    input: arguments.Input,
    output: arguments.Output,
    state: arguments.State = None,
    publish: arguments.Publish = None,
    text_column: arguments.TextColumn = "text",
    id_column: arguments.IdColumn = "id",
    where: arguments.WhereFilters = None,
    limit: arguments.Limit = None,
    documents: Annotated[
        int, typer.Option(min=1, help="Documents to draw from the whole input.", rich_help_panel=IN)
    ] = DOCUMENTS,
    draw_seed: Annotated[int, typer.Option(help="Of the drawing and the cuts.", rich_help_panel=IN)] = 0,
    cut_unit: Annotated[Unit, typer.Option(help="Documents are cut at the end of one.", rich_help_panel=IN)] = "word",
    arm: Annotated[
        Literal["teacher", "original"],
        typer.Option(
            help="What follows: the teacher's continuation, or as a control the real one.", rich_help_panel=ASK
        ),
    ] = "teacher",
    prompt: Annotated[
        str,
        typer.Option(
            help="'bare' (the first part alone), 'onward' (a wish before it), or a file.", rich_help_panel=ASK
        ),
    ] = "bare",
    server: arguments.ServerKind = "vllm",
    model: Annotated[str | None, typer.Option(help="The teacher: Hub name or folder.", rich_help_panel=ASK)] = None,
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
        int | None, typer.Option(min=1, help="Longest completion in tokens; 1024 by default.", rich_help_panel=ASK)
    ] = None,
    temperature: arguments.SamplingNumber = None,
    top_p: arguments.SamplingNumber = None,
    top_k: arguments.TopK = None,
    seed: arguments.Seed = None,
    truncated_output: Annotated[
        TruncatedOutput,
        typer.Option(help="Trim, keep or reject completions that hit --max-tokens.", rich_help_panel=KEEP),
    ] = "trim",
    judge: Annotated[
        str | None,
        typer.Option(
            help="Rubric to judge by, 'instructional' for leaving out what has instructions or conversations in it "
            "(starts a second vLLM, with Flow Judge), or JSON with rubric, keep and the judge's model, server, …",
            rich_help_panel=KEEP,
        ),
    ] = None,
    shard_format: arguments.ShardFileFormat = "parquet",
    chunk_size: arguments.ChunkSize = 5000,
    tasks: arguments.Tasks = None,
    workers: arguments.Workers = 1,
    max_in_flight: arguments.MaxInFlight = None,
    max_failure_rate: arguments.MaxFailureRate = 0.05,
    request_timeout: arguments.RequestTimeout = 1800.0,
    dry_run: arguments.DryRun = False,
    samples: arguments.Samples = 0,
    report: arguments.ReportFile = None,
    retry_failed: arguments.RetryFailed = False,
    cluster: arguments.ClusterProfile = None,
    after: arguments.After = None,
    config: arguments.Config = None,
) -> None:
    """Cut documents and let a teacher go on: data to fine-tune on that has no instruction in it."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if not dry_run and waits_for(after, options, console):
            return
        output, repository = hub_output(output, publish)
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        files = list_files(pins["input"])
        filters = [parse_where(text) for text in where or []]
        check_columns(files, [text_column, *(found.column for found in filters)])
        chosen = model_of(options, folder.state, pins.get("model_revision"))
        asked = load_prompt(str(PROMPTS / "complete" / f"{prompt}.md") if prompt in ("bare", "onward") else prompt)

        judging = None
        if judge:
            judging = judge_in_pipeline(judge, COMPLETION_SCHEMA.names, pins.get("judge_revision"))
            judging = judging.priced(max_spending, folder.state)
        models = [*([chosen] if arm == "teacher" else []), *([judging.model] if judging else [])]
        check_gpu_memory([one.server for one in models if one.server])

        def complete(at: Endpoint) -> Complete:
            return Complete(
                asked,
                unit=cut_unit,
                cut_seed=draw_seed,
                truncated_output=truncated_output,
                **asking(chosen, at, options),
            )

        def asked_and_judged(at: Sequence[Endpoint]) -> list[PipelineStep]:
            made = complete(at[0]) if arm == "teacher" else Original(chosen.tokenizer, cut_unit, draw_seed)
            return [made, *([judging.step(at[-1], **pace(judging.model, at[-1], options))] if judging else [])]

        trial = complete(chosen.at)
        _ = trial.room  # no room for a first part is an error now, not on the GPU node
        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "id_column": id_column,
            "where": where or [],
            "limit": limit,
            "documents": documents,
            "draw_seed": draw_seed,
            "cut_unit": cut_unit,
            "arm": arm,
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            "truncated_output": truncated_output,
            "cleaning": clean.VERSION,
            "judge": judging.fingerprint if judging else None,
            **chosen.fingerprint,
            **trial.fingerprint,
        }
        if dry_run:
            planned = extend_plan(load_plan(folder.state / "plan.jsonl"), files, chunk_size, limit)
            found = look(planned, text_column, filters, count=LOOKED)
            show_plan(console, planned, first_request("complete", found, lambda one: trial.preview_of(one.text)))
            return

        def begin() -> RunRecord:
            known = {
                **pins,
                "model_revision": chosen.revision,
                "judge_revision": judging.model.revision if judging else None,
                "generation_config": dict(chosen.generation_config),
            }
            return begin_run(folder, fingerprint, {COMPLETIONS: trial.describe()}, known, options)

        profile = load_cluster(cluster) if cluster else None
        with publishing(repository, folder, console, profile), launch(folder, begin, console, profile) as run:
            run.plan(files, chunk_size, limit, grow=False)  # the sample is of the input as it was at first
            if retry_failed:
                run.retry_failed()
            drawn = Sample(folder, documents, draw_seed, id_column, filters)
            console.print(f"{drawn.draw():,} documents drawn", highlight=False)
            if run.submitted(options, models, asks=arm == "teacher"):
                return
            if run.pending_passes():
                with running(models, folder.state) as (at, watches):
                    steps = asked_and_judged(at)
                    for part, _ in run.passes():
                        read = ReadUnits(
                            part,
                            chunk_size,
                            text_column,
                            id_column,
                            filters,
                            source_dataset=dataset_name(input),
                            sample=drawn,
                        )
                        write = WriteShards(part, COMPLETION_SCHEMA, shard_format)
                        run.execute(part, [read, *steps, write], tasks or workers, workers, *watches)
            show_summary(console, folder, run.summary())
            show_samples(console, folder, samples)
            if report:
                write_report(folder, report, console)


if __name__ == "__main__":
    app()
