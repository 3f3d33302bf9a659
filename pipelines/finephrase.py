"""FinePhrase: rewrite web documents as FAQs, tables, math problems and tutorials (arXiv 2604.13977).

    python pipelines/finephrase.py --input 'hf://datasets/HuggingFaceFW/fineweb-edu/sample/350BT/*.parquet' \
        --output runs/finephrase --server vllm --limit 10000

One sample per document and format becomes a row of shards/<format>/*.parquet, exactly once: stop or kill a run at any
moment and start the same command again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import typer
from rich.console import Console

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.arguments import ASK, KEEP, OUT, RUN
from blocks.execute.asking import asking, model_of, pace, sampling_of
from blocks.execute.cluster import job_folder, load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import json_object, one_line_errors
from blocks.execute.show import show_plan, show_routing, show_samples, show_summary
from blocks.filters.decontaminate import EvaluationSets, Index
from blocks.filters.pii import RemovePII
from blocks.filters.verify import Verify, describe, run_rules
from blocks.generate import clean
from blocks.generate.endpoint import Endpoint
from blocks.generate.model import DEFAULT_MODEL, running
from blocks.generate.placement import check_gpu_memory
from blocks.generate.prompts import load_prompts
from blocks.judge.choose import judge_in_pipeline
from blocks.publish.beside import hub_output, publishing
from blocks.rephrase.rephrase import Rephrase
from blocks.rephrase.route import parse_routes, routing_report
from blocks.rephrase.schema import REPHRASED_SCHEMA
from blocks.report.write import write_report
from blocks.shards.chunk import SOURCE
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns, extend_plan, load_plan
from blocks.shards.read import ReadUnits, look
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import dataset_name, list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

ROUTED_IN_DRY_RUN = 1000
"""Documents that a dry run looks at to say what routing saves."""


@app.command(no_args_is_help=True)
def finephrase(
    input: arguments.Input,
    output: arguments.Output,
    state: arguments.State = None,
    publish: arguments.Publish = None,
    text_column: arguments.TextColumn = "text",
    id_column: arguments.IdColumn = "id",
    where: arguments.WhereFilters = None,
    limit: arguments.Limit = None,
    formats: Annotated[
        str,
        typer.Option(
            help="Built-in prompts (see pipelines/prompts.py list), separated by commas; 'none' for none.",
            rich_help_panel=ASK,
        ),
    ] = "faq,math,table,tutorial",
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Prompt file of your own, see prompts/README.md. Repeatable.", rich_help_panel=ASK),
    ] = None,
    wordings: Annotated[
        Literal["one", "all"],
        typer.Option(help="Ask with one wording of each prompt, or with one of all it has.", rich_help_panel=ASK),
    ] = "one",
    route: Annotated[
        Literal["all", "auto"],
        typer.Option(
            help="Ask for every format of every document, as published, or for those that suit it.", rich_help_panel=ASK
        ),
    ] = "all",
    server: arguments.ServerKind = "vllm",
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Hub name or folder; {DEFAULT_MODEL} by default, or the one that the endpoint serves.",
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
        int | None,
        typer.Option(min=1, help="Longest answer in tokens; by default the prompt's own, 2048.", rich_help_panel=ASK),
    ] = None,
    temperature: arguments.SamplingNumber = None,
    top_p: arguments.SamplingNumber = None,
    top_k: arguments.TopK = None,
    seed: arguments.Seed = None,
    prompt_layout: Annotated[
        Literal["instruction-first", "document-first"],
        typer.Option(
            help="document-first lets a server with prefix caching read a document once for all formats.",
            rich_help_panel=ASK,
        ),
    ] = "instruction-first",
    long_documents: Annotated[
        Literal["truncate", "split", "skip"],
        typer.Option(help="Cut, split or skip documents that do not fit.", rich_help_panel=ASK),
    ] = "truncate",
    truncated_output: Annotated[
        Literal["reject", "keep", "trim"],
        typer.Option(help="Reject, keep or trim answers that hit --max-tokens.", rich_help_panel=KEEP),
    ] = "reject",
    verify: Annotated[
        str | None,
        typer.Option(
            help='JSON of checks over the prompts\', such as \'{"faq": {"numbers": "reject"}}\'; \'off\' for none.',
            rich_help_panel=KEEP,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Rubric to judge samples by before they are written (starts a second vLLM, with Flow Judge), or JSON "
            "with rubric, keep and the judge's model, server, endpoint, …; see prompts/README.md.",
            rich_help_panel=KEEP,
        ),
    ] = None,
    decontaminate: Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluation set, local, s3:// or hf://: documents and samples that share 12 words in a row with it "
            "are rejected. Repeatable.",
            rich_help_panel=KEEP,
        ),
    ] = None,
    pii: Annotated[
        bool, typer.Option("--pii", help="Replace email and IPv4 addresses in what is written.", rich_help_panel=KEEP)
    ] = False,
    keep_source: Annotated[
        bool,
        typer.Option(
            "--keep-source", help="Write what a sample was made from, too, to source_text.", rich_help_panel=OUT
        ),
    ] = False,
    shard_format: arguments.ShardFileFormat = "parquet",
    chunk_size: arguments.ChunkSize = 5000,
    tasks: arguments.Tasks = None,
    workers: arguments.Workers = 1,
    max_in_flight: arguments.MaxInFlight = None,
    max_failure_rate: arguments.MaxFailureRate = 0.05,
    request_timeout: arguments.RequestTimeout = 1800.0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print one request per format and the plan; start nothing.", rich_help_panel=RUN
        ),
    ] = False,
    samples: arguments.Samples = 0,
    report: arguments.ReportFile = None,
    retry_failed: arguments.RetryFailed = False,
    cluster: arguments.ClusterProfile = None,
    after: arguments.After = None,
    config: arguments.Config = None,
) -> None:
    """Rewrite web documents into FAQs, tables, math problems and tutorials with a language model.

    Stop or kill a run at any moment; the same command goes on where it was. Try `make demo` first.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if not dry_run and waits_for(after, options, console):
            return
        output, repository = hub_output(output, publish)
        folder = RunFolder.at(output, state)
        prompts = load_prompts(formats, prompt or [], wordings=wordings == "all")
        names = list(dict.fromkeys(loaded.name for loaded in prompts))

        # Names mean what they meant at the first launch: dataset and model are pinned to commits.
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        files = list_files(pins["input"])
        filters = [parse_where(text) for text in where or []]
        check_columns(files, [text_column, *(found.column for found in filters)])
        chosen = model_of(options, folder.state, pins.get("model_revision"))
        schema = REPHRASED_SCHEMA.append(pa.field(SOURCE, pa.string())) if keep_source else REPHRASED_SCHEMA
        judging = None
        if judge:
            judging = judge_in_pipeline(judge, [*REPHRASED_SCHEMA.names, SOURCE], pins.get("judge_revision"))
            judging = judging.priced(max_spending, folder.state)
        models = [chosen, judging.model] if judging else [chosen]
        check_gpu_memory([one.server for one in models if one.server])

        checks = {} if verify == "off" else run_rules(prompts, json_object(verify, "--verify"))
        routes = parse_routes(prompts)
        evaluation = EvaluationSets(decontaminate) if decontaminate else None
        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "id_column": id_column,
            "where": where or [],
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            **chosen.fingerprint,
            **sampling_of(options),
            "seed": seed,
            "max_tokens": max_tokens,
            "extra_body": json_object(extra_body, "--extra-body", arguments.OWN_FIELDS),
            "prompt_layout": prompt_layout,
            "long_documents": long_documents,
            "truncated_output": truncated_output,
            "decontaminate": evaluation.fingerprint if evaluation else None,
            "pii": pii,
            "keep_source": keep_source,
            "judge": judging.fingerprint if judging else None,
            "cleaning": clean.VERSION,
        }

        def rephrase(formats: list[str], at: Endpoint) -> Rephrase:
            return Rephrase(
                [prompt for prompt in prompts if prompt.name in formats],
                layout=prompt_layout,
                long_documents=long_documents,
                truncated_output=truncated_output,
                routes=routes if route == "auto" else None,
                room=pins.get("room"),
                **asking(chosen, at, options),
            )

        trial = rephrase(names, chosen.at)
        room = trial.room  # no room for a document is an error now, not on the GPU node
        if dry_run:
            planned = extend_plan(load_plan(folder.state / "plan.jsonl"), files, chunk_size, limit)
            texts = [document.text for document in look(planned, text_column, filters, count=ROUTED_IN_DRY_RUN)]
            show_routing(console, routing_report(texts, routes), route)
            show_plan(console, planned, trial.preview(texts[0]) if texts else {})
            return

        @cache
        def indexed() -> Index | None:
            return evaluation.index(folder.state / "decontaminate") if evaluation else None

        def begin() -> RunRecord:
            indexed()  # a set that cannot be used is no run yet
            kept = {name: describe(checks.get(name, ())) for name in names}
            shaped = {name: f"{what}, {kept[name]}" for name, what in trial.describe().items()}
            known = {
                **pins,
                "room": room,
                "model_revision": chosen.revision,
                "judge_revision": judging.model.revision if judging else None,
                "generation_config": dict(chosen.generation_config),
            }
            # Another submission may have added formats since this job was submitted.
            return begin_run(folder, fingerprint, shaped, known, options, partly=job_folder() is not None)

        profile = load_cluster(cluster) if cluster else None
        with publishing(repository, folder, console, profile), launch(folder, begin, console, profile) as run:
            run.plan(files, chunk_size, limit, grow=not retry_failed)
            if retry_failed:
                run.retry_failed()
            if run.submitted(options, models):
                return
            if run.pending_passes():
                console.print(f"{len(files)} input file(s), formats {', '.join(names)}, {room:,} tokens per document")
                clean_of = indexed()
                if clean_of:
                    console.print(f"decontaminated of {clean_of}", highlight=False, soft_wrap=True)
                with running(models, folder.state) as ((at, *judge_at), watches):
                    judges = [judging.step(one, **pace(judging.model, one, options)) for one in judge_at if judging]
                    for part, formats_left in run.passes():
                        steps = [
                            ReadUnits(
                                part, chunk_size, text_column, id_column, filters, source_dataset=dataset_name(input)
                            ),
                            *([clean_of.filter()] if clean_of else []),
                            rephrase(formats_left, at),
                            Verify(checks),
                            *([clean_of.filter()] if clean_of else []),
                            *judges,
                            *([RemovePII()] if pii else []),
                            WriteShards(part, schema, shard_format),
                        ]
                        run.execute(part, steps, tasks or workers, workers, *watches)
            show_summary(console, folder, run.summary())
            show_samples(console, folder, samples)
            if report:
                write_report(folder, report, console)


if __name__ == "__main__":
    app()
