"""Labels for the matching embedding: a teacher says which documents and templates fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blocks.distill.label import DOCUMENTS, LABEL_SCHEMA, LABELS, Label
from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.arguments import ASK, IN
from blocks.execute.asking import asking, model_of
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import show_plan, show_summary
from blocks.generate.prompts import PROMPTS, load_prompt
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import check_columns, extend_plan, load_plan
from blocks.shards.read import ReadUnits, look
from blocks.shards.rows import schema_of
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import list_files, shards_of
from blocks.shards.summary import check_complete
from blocks.shards.write import WriteShards

console = Console()


def label(
    input: Annotated[
        str,
        typer.Option(
            help="Run folder of `fineinstructions.py match`, with a low --threshold and --templates 5 as in the paper.",
            rich_help_panel=IN,
        ),
    ],
    output: arguments.Output,
    state: arguments.State = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents to ask about.", rich_help_panel=IN)] = DOCUMENTS,
    prompt: Annotated[
        Path | None,
        typer.Option(help="Prompt file; by default prompts/instruct/compatible.md.", rich_help_panel=ASK),
    ] = None,
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
        int | None,
        typer.Option(
            min=1,
            help="Longest answer in tokens; the prompt's by default, which is too short for a teacher that thinks.",
            rich_help_panel=ASK,
        ),
    ] = None,
    temperature: arguments.SamplingNumber = 0.0,
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
    """Ask a teacher which of the templates that were found for a document fit it, for the stage `embedding`."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if not dry_run and waits_for(after, options, console):
            return
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        check_complete(input)
        files = list_files(shards_of(input))
        check_columns(files, ["text", "templates"])
        if "description" not in schema_of(files[:1]).field("templates").type.value_type.names:
            raise RunError(
                f"the templates of {input} have no descriptions: it was made by an older version, match again"
            )
        chosen = model_of(options, folder.state, pins.get("model_revision"))
        asked = load_prompt(str(prompt or PROMPTS / "instruct" / "compatible.md"))

        trial = Label(asked, **asking(chosen, chosen.at, options))
        _ = trial.room  # no room for a document is an error now, not on the GPU node
        fingerprint: dict[str, Any] = {
            "input": input,
            "chunk_size": chunk_size,
            **chosen.fingerprint,
            **trial.fingerprint,
        }
        if dry_run:
            planned = extend_plan(load_plan(folder.state / "plan.jsonl"), files, chunk_size, limit)
            document = next(look(planned, "text", columns={"templates": "templates"}), None)
            show_plan(console, planned, {"label": trial.preview_of(document)} if document else {})
            return

        def begin() -> RunRecord:
            known = {"model_revision": chosen.revision, "generation_config": dict(chosen.generation_config)}
            return begin_run(folder, fingerprint, {LABELS: trial.describe()}, known, options)

        with launch(folder, begin, console, load_cluster(cluster) if cluster else None) as run:
            run.plan(files, chunk_size, limit, grow=not retry_failed)
            if retry_failed:
                run.retry_failed()
            if run.submitted(options, [chosen]):
                return
            if run.pending_passes():
                with chosen.running(folder.state) as (at, watch):
                    for part, _ in run.passes():
                        steps = [
                            ReadUnits(part, chunk_size, columns=["templates"]),
                            Label(asked, **asking(chosen, at, options)),
                            WriteShards(part, LABEL_SCHEMA),
                        ]
                        run.execute(part, steps, tasks or workers, workers, watch)
            show_summary(console, folder, run.summary())
