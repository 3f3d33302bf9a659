"""Command-line options that several pipelines have, each said once: types for the parameters of a typer command.

A pipeline writes `model: arguments.Model = None`; name and default stand there, type and help here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from blocks.execute.options import read_config
from blocks.generate.model import DEFAULT_CONTEXT

IN, OUT, ASK, KEEP, RUN = "Input", "Output", "Model", "What is kept", "Run"
"""Panels of `--help`."""

Input = Annotated[
    str,
    typer.Option(
        help="JSON Lines (plain, .gz, .zst) or Parquet: a file, folder or glob; local, s3:// or "
        "hf://datasets/org/name@revision/…",
        rich_help_panel=IN,
    ),
]
TextColumn = Annotated[str, typer.Option(help="Column with the text.", rich_help_panel=IN)]
IdColumn = Annotated[str, typer.Option(help="Column with the id.", rich_help_panel=IN)]
WhereFilters = Annotated[
    list[str] | None,
    typer.Option(
        help="Keep only rows that match, such as 'int_score >= 4'. Repeatable; all must match.", rich_help_panel=IN
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, help="Read only the first LIMIT rows of the input (counted before --where).", rich_help_panel=IN
    ),
]

Output = Annotated[
    str,
    typer.Option(
        help="Run folder: local or s3://….",
        rich_help_panel=OUT,
    ),
]
Publish = Annotated[
    str | None,
    typer.Option(
        help="Dataset on the Hub, org/name, to publish to while the run goes on; --output hf://datasets/org/name is "
        "short for that and runs/org--name.",
        rich_help_panel=OUT,
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        help="Folder for plan, journal and commits; OUTPUT/state by default, needed if OUTPUT is remote.",
        rich_help_panel=OUT,
    ),
]
ShardFileFormat = Annotated[
    Literal["parquet", "jsonl"], typer.Option(help="File format of the shards.", rich_help_panel=OUT)
]
ChunkSize = Annotated[int, typer.Option(min=1, help="Rows of the input per shard and commit.", rich_help_panel=OUT)]

ServerKind = Annotated[
    Literal["vllm", "transformers", "endpoint"],
    typer.Option(
        help="Start vLLM (one per GPU) or `transformers serve` (CPU), or use --endpoint.", rich_help_panel=ASK
    ),
]
Revision = Annotated[str | None, typer.Option(help="Revision of the model; pinned to its commit.", rich_help_panel=ASK)]
EndpointUrl = Annotated[
    str | None, typer.Option(help="URL of an OpenAI-compatible server, with or without /v1.", rich_help_panel=ASK)
]
ApiKeyEnv = Annotated[
    str | None, typer.Option(help="Environment variable that holds the endpoint's API key.", rich_help_panel=ASK)
]
Price = Annotated[
    str | None,
    typer.Option(
        help="What the endpoint takes: money per million tokens of prompts and of answers, such as 0.15,0.60.",
        rich_help_panel=ASK,
    ),
]
MaxSpending = Annotated[
    float | None,
    typer.Option(
        min=0, help="Stop when the answers of all launches have cost so much; needs --price.", rich_help_panel=ASK
    ),
]
ServerOptions = Annotated[
    str | None,
    typer.Option(help="Options of the started server as JSON, such as '{\"max_num_seqs\": 512}'.", rich_help_panel=ASK),
]
ExtraBody = Annotated[
    str | None, typer.Option(help="JSON object of further fields for every request.", rich_help_panel=ASK)
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="Hub name or path; by default the model's. 'none' estimates 3 characters per token.", rich_help_panel=ASK
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        help=f"Tokens of prompt and answer together; {DEFAULT_CONTEXT} by default, or what model and endpoint have.",
        rich_help_panel=ASK,
    ),
]
SamplingNumber = Annotated[float | None, typer.Option(help="Sent if given.", rich_help_panel=ASK)]
TopK = Annotated[int | None, typer.Option(help="Sent if given.", rich_help_panel=ASK)]
Seed = Annotated[
    int | None,
    typer.Option(help="Give every request a seed derived from this one; costs vLLM speed.", rich_help_panel=ASK),
]

Tasks = Annotated[
    int | None, typer.Option(min=1, help="Parts to divide the input in; WORKERS by default.", rich_help_panel=RUN)
]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes on this machine.", rich_help_panel=RUN)]
EncoderWorkers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Worker processes on this machine; by default as many as there are GPUs, since each takes one.",
        rich_help_panel=RUN,
    ),
]
MaxInFlight = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Open requests per worker; by default 2048 per vLLM over all workers, else 64.",
        rich_help_panel=RUN,
    ),
]
MaxFailureRate = Annotated[
    float, typer.Option(help="Stop a task when a larger share of its documents fails.", rich_help_panel=RUN)
]
RequestTimeout = Annotated[float, typer.Option(help="Seconds for one attempt.", rich_help_panel=RUN)]
Samples = Annotated[int, typer.Option(help="Samples to print at the end.", rich_help_panel=RUN)]
ReportFile = Annotated[
    Path | None,
    typer.Option(help="HTML file for a report at the end, see pipelines/report.py.", rich_help_panel=RUN),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Ask again about what failed in a complete run, such as time-outs.", rich_help_panel=RUN
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print one request and the plan; start nothing.", rich_help_panel=RUN)
]
ClusterProfile = Annotated[
    Path | None,
    typer.Option(help="Profile of a Slurm cluster to submit the run to, see slurm/README.md.", rich_help_panel=RUN),
]
After = Annotated[
    str | None,
    typer.Option(
        help="Run folder (or its state folder): wait with a job until that run is complete, then submit this.",
        rich_help_panel=RUN,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="YAML file with these options; the command line wins.",
        callback=read_config,
        is_eager=True,
        rich_help_panel=RUN,
    ),
]

OWN_FIELDS = {
    "model": "--model",
    "messages": "a prompt or rubric",
    "prompt": "a prompt or rubric",
    "max_tokens": "--max-tokens",
    "seed": "--seed",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "top_k": "--top-k",
    "n": "a prompt for each answer",
    "stream": "nothing: answers are read whole",
}
"""Fields of a request that have an option of their own: `--extra-body` must not hold them."""
