"""The stage `pairs` of FineInstructions: documents and their templates become instructions with grounded answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.arguments import ASK, KEEP
from blocks.execute.asking import asking, model_of, pace
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import LOOKED, first_request, show_plan, show_samples, show_summary
from blocks.generate.model import running
from blocks.generate.placement import check_gpu_memory
from blocks.generate.prompts import load_prompt
from blocks.instruct.instantiate import INSTANTIATOR, PAIR_SCHEMA, PAIRS, Instantiate
from blocks.instruct.prompts import instruct_prompt
from blocks.judge.choose import judge_in_pipeline
from blocks.publish.beside import hub_output, publishing
from blocks.report.write import write_report
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns, extend_plan, load_plan
from blocks.shards.read import ReadUnits, look
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import list_files, shards_of
from blocks.shards.summary import check_complete
from blocks.shards.write import WriteShards

console = Console()

COLUMNS = ("templates", "source_dataset")
"""What is read of a match beside the document."""


def pairs(
    input: Annotated[
        str,
        typer.Option(help="Run folder of the stage `match`.", rich_help_panel=arguments.IN),
    ],
    output: arguments.Output,
    state: arguments.State = None,
    publish: arguments.Publish = None,
    limit: arguments.Limit = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            help="Prompt file; by default prompts/instruct/instantiate.md, and none for models of fineinstructions/.",
            rich_help_panel=ASK,
        ),
    ] = None,
    server: arguments.ServerKind = "vllm",
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Hub name or folder; {INSTANTIATOR} by default, or the one that the endpoint serves.",
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
    judge: Annotated[
        str | None,
        typer.Option(
            help="Rubric to judge pairs by, 'relevance' as in the paper (starts a second vLLM, with Flow Judge), or "
            "JSON with rubric and the judge's model, server, endpoint, …; no pair is dropped for its score, only "
            "one that cannot be judged.",
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
    """Make instructions and answers of documents and their templates; `budget` decides which are good enough."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if not dry_run and waits_for(after, options, console):
            return
        output, repository = hub_output(output, publish)
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        check_complete(input)
        files = list_files(shards_of(input))
        check_columns(files, ["text", *COLUMNS])
        chosen = model_of(options, folder.state, pins.get("model_revision"), INSTANTIATOR)
        asked = load_prompt(str(prompt)) if prompt else instruct_prompt("instantiate", chosen.name)
        judging = None
        if judge:  # whatever score it gives stays: `budget` decides, and can decide again
            judging = judge_in_pipeline(judge, PAIR_SCHEMA.names, pins.get("judge_revision"), drops=False)
            judging = judging.priced(max_spending, folder.state)
        models = [chosen, judging.model] if judging else [chosen]
        check_gpu_memory([one.server for one in models if one.server])

        trial = Instantiate(asked, **asking(chosen, chosen.at, options))
        _ = trial.room  # no room for a document is an error now, not on the GPU node
        fingerprint: dict[str, Any] = {
            "input": input,
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            "judge": judging.fingerprint if judging else None,
            **chosen.fingerprint,
            **trial.fingerprint,
        }
        if dry_run:
            planned = extend_plan(load_plan(folder.state / "plan.jsonl"), files, chunk_size, limit)
            found = look(planned, "text", columns={"templates": "templates"}, count=LOOKED)
            show_plan(console, planned, first_request("instantiate", found, trial.preview_of))
            return

        def begin() -> RunRecord:
            known = {
                "model_revision": chosen.revision,
                "judge_revision": judging.model.revision if judging else None,
                "generation_config": dict(chosen.generation_config),
            }
            return begin_run(folder, fingerprint, {PAIRS: trial.describe()}, known, options)

        profile = load_cluster(cluster) if cluster else None
        with publishing(repository, folder, console, profile), launch(folder, begin, console, profile) as run:
            run.plan(files, chunk_size, limit, grow=not retry_failed)
            if retry_failed:
                run.retry_failed()
            if run.submitted(options, models):
                return
            if run.pending_passes():
                with running(models, folder.state) as ((at, *judge_at), watches):
                    judges = [judging.step(one, **pace(judging.model, one, options)) for one in judge_at if judging]
                    for part, _ in run.passes():
                        steps = [
                            ReadUnits(part, chunk_size, columns=COLUMNS),
                            Instantiate(asked, **asking(chosen, at, options)),
                            *judges,
                            WriteShards(part, PAIR_SCHEMA, shard_format),
                        ]
                        run.execute(part, steps, tasks or workers, workers, *watches)
            show_summary(console, folder, run.summary())
            show_samples(console, folder, samples)
            if report:
                write_report(folder, report, console)
