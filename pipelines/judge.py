"""Judge: score samples that are there already with a language model, on a rubric's scale.

    python pipelines/judge.py --input 'runs/mine/shards/*/*.parquet' --output runs/judged --rubric usefulness

The samples stay as they are: for each one a row with its id, score and feedback goes to shards/, a side table that
`pipelines/verify.py --scores runs/judged` joins by id. What could not be judged goes to rejected/ with the reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.asking import pace
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import json_object, number_or_none, one_line_errors
from blocks.execute.show import LOOKED, first_request, show_plan, show_summary
from blocks.generate.endpoint import Endpoint
from blocks.judge.choose import FLOW_JUDGE, JUDGED_SCHEMA, choose_judge
from blocks.judge.judge import MAX_TOKENS, SAMPLING, Judge
from blocks.publish.beside import hub_output, publishing
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns, extend_plan, load_plan, unplanned
from blocks.shards.read import ReadUnits, look
from blocks.shards.rows import schema_of
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

# A text, since an option without a value is left out when jobs are submitted, and would be the default there.
JudgeSampling = Annotated[
    str,
    typer.Option(
        help="A number, or none: it is not sent then, as models that reason may want it.",
        rich_help_panel=arguments.ASK,
    ),
]


@app.command(no_args_is_help=True)
def judge(
    input: arguments.Input,
    output: arguments.Output,
    rubric: Annotated[
        str, typer.Option(help="A name in prompts/judge/, or a file of your own.", rich_help_panel=arguments.ASK)
    ],
    state: arguments.State = None,
    publish: arguments.Publish = None,
    text_column: arguments.TextColumn = "text",
    source_column: Annotated[
        str,
        typer.Option(
            help="Column with the text it was made from (finephrase.py --keep-source), for rubrics that need it.",
            rich_help_panel=arguments.IN,
        ),
    ] = "source_text",
    id_column: arguments.IdColumn = "id",
    where: arguments.WhereFilters = None,
    limit: arguments.Limit = None,
    server: arguments.ServerKind = "vllm",
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Hub name or folder of any chat model; {FLOW_JUDGE} by default, or the one the endpoint serves.",
            rich_help_panel=arguments.ASK,
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
        int, typer.Option(min=1, help="Longest answer in tokens.", rich_help_panel=arguments.ASK)
    ] = MAX_TOKENS,
    temperature: JudgeSampling = str(SAMPLING["temperature"]),
    top_p: JudgeSampling = str(SAMPLING["top_p"]),
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
    """Score samples with a language model; the samples stay as they are, and scores and feedback become a side table.

    Stop or kill a run at any moment; the same command goes on where it was.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if not dry_run and waits_for(after, options, console):
            return
        output, repository = hub_output(output, publish)
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        chosen = choose_judge(
            rubric,
            server,
            model,
            revision,
            endpoint,
            api_key_env,
            tokenizer,
            context,
            max_tokens=max_tokens,
            sampling={
                "temperature": number_or_none(temperature, "--temperature"),
                "top_p": number_or_none(top_p, "--top-p"),
            },
            extra_body=json_object(extra_body, "--extra-body", arguments.OWN_FIELDS),
            server_options=json_object(server_options, "--server-options"),
            pinned=pins.get("model_revision"),
        )
        chosen = replace(chosen, model=chosen.model.priced(price, max_spending, folder.state))

        # The rubric's names are those of finephrase's columns; these two may be called otherwise in the input. A row's
        # text is what the rubric calls `text`, or else what is judged.
        called = {"text": text_column, "source_text": source_column}
        (output_column,) = chosen.rubric.output.values()
        main_column = text_column if "text" in chosen.rubric.columns else called.get(output_column, output_column)
        columns = {called.get(name, name): name for name in chosen.rubric.columns if name != "text"}
        files = list_files(pins["input"])
        filters = [parse_where(text) for text in where or []]
        check_columns(files, [main_column, *columns, *(found.column for found in filters)])
        # Later launches, and jobs that have a GPU already, open no file again for this.
        new = unplanned(files, load_plan(folder.state / "plan.jsonl")) if "columns" in pins else files
        kinds = [field.type for field in schema_of(new, only={"format"})]
        kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
        named = ["format"] if kinds and kinds[0] in (pa.string(), pa.large_string()) else []
        pins["columns"] = named or pins.get("columns", [])
        columns |= {name: name for name in pins["columns"]}

        fingerprint: dict[str, Any] = {
            "input": input,
            "columns": {main_column: "text", **columns},
            "id_column": id_column,
            "where": where or [],
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            "seed": seed,
            **chosen.fingerprint,
        }

        def step(at: Endpoint) -> Judge:
            return chosen.step(at, **pace(chosen.model, at, options))

        trial = step(chosen.model.at)
        if dry_run:
            planned = extend_plan(load_plan(folder.state / "plan.jsonl"), files, chunk_size, limit)
            found = look(planned, main_column, filters, columns, count=LOOKED)
            show_plan(console, planned, first_request(chosen.rubric.name, found, trial.preview))
            return

        def begin() -> RunRecord:
            known = {**pins, "model_revision": chosen.model.revision}
            return begin_run(folder, fingerprint, {"judged": chosen.rubric.hash}, known, options)

        profile = load_cluster(cluster) if cluster else None
        with publishing(repository, folder, console, profile), launch(folder, begin, console, profile) as run:
            run.plan(files, chunk_size, limit, grow=not retry_failed)
            if retry_failed:
                run.retry_failed()
            if run.submitted(options, [chosen.model]):
                return
            if run.pending_passes():
                console.print(
                    f"{len(files)} input file(s), rubric {chosen.rubric.name}, {trial.room:,} tokens per sample"
                )
                with chosen.model.running(folder.state) as (at, watch):
                    for part, _ in run.passes():
                        steps = [
                            ReadUnits(part, chunk_size, main_column, id_column, filters, columns),
                            step(at),
                            WriteShards(part, JUDGED_SCHEMA, shard_format),
                        ]
                        run.execute(part, steps, tasks or workers, workers, watch)
            show_summary(console, folder, run.summary())


if __name__ == "__main__":
    app()
