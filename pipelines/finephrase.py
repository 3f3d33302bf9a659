"""FinePhrase: rewrite web documents as FAQs, tables, math problems and tutorials (arXiv 2604.13977).

    python pipelines/finephrase.py --input 'hf://datasets/HuggingFaceFW/fineweb-edu/sample/350BT/*.parquet' \
        --output runs/finephrase --server vllm --limit 10000

One sample per document and format becomes a row of shards/<format>/*.parquet, exactly once: stop or kill a run at any
moment and start the same command again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from blocks.execute.launch import launch
from blocks.execute.options import json_object, one_line_errors, read_config
from blocks.execute.show import show_plan, show_samples, show_summary
from blocks.generate.endpoint import Endpoint
from blocks.generate.model import DEFAULT_CONTEXT, DEFAULT_MODEL, SPEED_ONLY, choose_model
from blocks.generate.prompts import load_prompts
from blocks.rephrase import clean
from blocks.rephrase.rephrase import OWN_FIELDS, Rephrase
from blocks.rephrase.schema import REPHRASED_SCHEMA
from blocks.rephrase.verify import Verify, describe, run_rules
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns, extend_plan, load_plan
from blocks.shards.read import ReadUnits, first_text
from blocks.shards.run import RunRecord, begin_run, load_run
from blocks.shards.source import dataset_name, list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


IN, OUT, ASK, RUN = "Input", "Output", "Model", "Run"


@app.command(no_args_is_help=True)
def finephrase(
    input: Annotated[
        str,
        typer.Option(
            help="JSON Lines (plain, .gz, .zst) or Parquet: a file, folder or glob; local, s3:// or "
            "hf://datasets/org/name@revision/…",
            rich_help_panel=IN,
        ),
    ],
    output: Annotated[str, typer.Option(help="Run folder: local or s3://…", rich_help_panel=OUT)],
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder for plan, journal and commits; OUTPUT/state by default, needed if OUTPUT is remote.",
            rich_help_panel=OUT,
        ),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column with the text.", rich_help_panel=IN)] = "text",
    id_column: Annotated[str, typer.Option(help="Column with the id.", rich_help_panel=IN)] = "id",
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep only rows that match, such as 'int_score >= 4'. Repeatable; all must match.", rich_help_panel=IN
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Read only the first LIMIT rows of the input (counted before --where).", rich_help_panel=IN
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option(help="Built-in prompts, separated by commas; 'none' for none.", rich_help_panel=ASK)
    ] = "faq,math,table,tutorial",
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Prompt file of your own, see prompts/README.md. Repeatable.", rich_help_panel=ASK),
    ] = None,
    server: Annotated[
        Literal["vllm", "transformers", "endpoint"],
        typer.Option(
            help="Start vLLM (one per GPU) or `transformers serve` (CPU), or use --endpoint.", rich_help_panel=ASK
        ),
    ] = "vllm",
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Hub name or folder; {DEFAULT_MODEL} by default, or the one that the endpoint serves.",
            rich_help_panel=ASK,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Revision of the model; pinned to its commit.", rich_help_panel=ASK)
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="URL of an OpenAI-compatible server, with or without /v1.", rich_help_panel=ASK)
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the endpoint's API key.", rich_help_panel=ASK)
    ] = None,
    server_options: Annotated[
        str | None,
        typer.Option(
            help="Options of the started server as JSON, such as '{\"max_num_seqs\": 512}'.", rich_help_panel=ASK
        ),
    ] = None,
    extra_body: Annotated[
        str | None, typer.Option(help="JSON object of further fields for every request.", rich_help_panel=ASK)
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Hub name or path; by default the model's. 'none' estimates 3 characters per token.",
            rich_help_panel=ASK,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            help=f"Tokens of prompt and answer together; {DEFAULT_CONTEXT} by default, or what the model has.",
            rich_help_panel=ASK,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest answer in tokens; by default the prompt's own, 2048.", rich_help_panel=ASK),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sent if given.", rich_help_panel=ASK)] = None,
    top_p: Annotated[float | None, typer.Option(help="Sent if given.", rich_help_panel=ASK)] = None,
    top_k: Annotated[int | None, typer.Option(help="Sent if given.", rich_help_panel=ASK)] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Give every request a seed derived from this one; costs vLLM speed.", rich_help_panel=ASK),
    ] = None,
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
        typer.Option(help="Reject, keep or trim answers that hit --max-tokens.", rich_help_panel=ASK),
    ] = "reject",
    verify: Annotated[
        str | None,
        typer.Option(
            help='JSON of checks over the prompts\', such as \'{"faq": {"numbers": "reject"}}\'; \'off\' for none.',
            rich_help_panel=OUT,
        ),
    ] = None,
    shard_format: Annotated[
        Literal["parquet", "jsonl"], typer.Option(help="File format of the shards.", rich_help_panel=OUT)
    ] = "parquet",
    chunk_size: Annotated[int, typer.Option(min=1, help="Documents per shard and commit.", rich_help_panel=OUT)] = 5000,
    tasks: Annotated[
        int | None, typer.Option(min=1, help="Parts to divide the input in; WORKERS by default.", rich_help_panel=RUN)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes on this machine.", rich_help_panel=RUN)] = 1,
    max_in_flight: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Open requests per worker; by default 2048 per vLLM over all workers, else 64.",
            rich_help_panel=RUN,
        ),
    ] = None,
    max_failure_rate: Annotated[
        float, typer.Option(help="Stop a task when a larger share of its documents fails.", rich_help_panel=RUN)
    ] = 0.05,
    request_timeout: Annotated[float, typer.Option(help="Seconds for one attempt.", rich_help_panel=RUN)] = 1800.0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print one request per format and the plan; start nothing.", rich_help_panel=RUN
        ),
    ] = False,
    samples: Annotated[int, typer.Option(help="Samples to print at the end.", rich_help_panel=RUN)] = 0,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with these options; the command line wins.",
            callback=read_config,
            is_eager=True,
            rich_help_panel=RUN,
        ),
    ] = None,
) -> None:
    """Rewrite web documents into FAQs, tables, math problems and tutorials with a language model.

    Stop or kill a run at any moment; the same command goes on where it was. Try `make demo` first.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        folder = RunFolder.at(output, state)
        former = load_run(folder)
        prompts = {loaded.name: loaded for loaded in load_prompts(formats, prompt or [])}

        # Names mean what they meant at the first launch: dataset and model are pinned to commits.
        pins: dict[str, Any] = dict(former.pins) if former else {}
        if not former or former.config["input"] != input:
            pins["input"] = pin(input)
        if not former or (former.config["model"], former.config["revision"]) != (model, revision):
            pins.pop("model_revision", None)
        files = list_files(pins["input"])
        filters = [parse_where(text) for text in where or []]
        check_columns(files, [text_column, *(found.column for found in filters)])
        started_with = json_object(server_options, "--server-options")
        chosen = choose_model(
            server,
            model,
            revision,
            endpoint,
            api_key_env,
            tokenizer,
            context,
            started_with,
            pinned=pins.get("model_revision"),
        )

        sampling = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        extra = json_object(extra_body, "--extra-body", OWN_FIELDS)
        checks = {} if verify == "off" else run_rules(prompts.values(), json_object(verify, "--verify"))
        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "id_column": id_column,
            "where": where or [],
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            "model": chosen.name,
            "model_revision": chosen.revision,
            **sampling,
            "seed": seed,
            "max_tokens": max_tokens,
            "extra_body": extra,
            "tokenizer": chosen.tokenizer_id,
            "context": chosen.context,
            "prompt_layout": prompt_layout,
            "long_documents": long_documents,
            "truncated_output": truncated_output,
            "cleaning": clean.VERSION,
            "server_options": {name: value for name, value in started_with.items() if name not in SPEED_ONLY},
        }

        def rephrase(names: list[str], at: Endpoint) -> Rephrase:
            return Rephrase(
                [prompts[name] for name in names],
                at,
                chosen.tokenizer,
                context=chosen.context,
                max_tokens=max_tokens,
                sampling=sampling,
                extra_body=extra,
                layout=prompt_layout,
                long_documents=long_documents,
                truncated_output=truncated_output,
                model_revision=chosen.revision,
                seed=seed,
                max_in_flight=max_in_flight or (max(64, 2048 * len(at.urls) // workers) if server == "vllm" else 64),
                max_failure_rate=max_failure_rate,
                request_timeout=request_timeout,
            )

        trial = rephrase(list(prompts), chosen.endpoint or Endpoint((), chosen.name))
        room = trial.room  # no room for a document is an error now, not on the GPU node
        if dry_run:
            planned = extend_plan(load_plan(folder.state / "plan.jsonl"), files, chunk_size, limit)
            text = first_text(planned, text_column, filters)
            show_plan(console, planned, trial.preview(text) if text else {})
            return

        def begin() -> RunRecord:
            hashes = {
                name: f"{one.hash}, {trial.answer_tokens(one)} tokens, {describe(checks.get(name, ()))}"
                for name, one in prompts.items()
            }
            known = {**pins, "model_revision": chosen.revision, "generation_config": dict(chosen.generation_config)}
            return begin_run(folder, fingerprint, hashes, known, options)

        with launch(folder, begin, console) as run:
            run.plan(files, chunk_size, limit)
            pending = run.pending_passes()
            if not pending:
                console.print("All of the plan is committed; there is nothing to do.")
            else:
                console.print(f"{len(files)} input file(s), formats {', '.join(prompts)}, {room:,} tokens per document")
                with chosen.running(folder.state) as (at, watch):
                    for part, names in pending:
                        steps = [
                            ReadUnits(
                                part, chunk_size, text_column, id_column, filters, source_dataset=dataset_name(input)
                            ),
                            rephrase(names, at),
                            Verify(checks),
                            WriteShards(part, REPHRASED_SCHEMA, shard_format),
                        ]
                        run.execute(part, steps, tasks or workers, workers, watch)
            show_summary(console, folder, run.summary())
            show_samples(console, folder, samples)


if __name__ == "__main__":
    app()
