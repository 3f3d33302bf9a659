"""FineInstructions: real queries and documents to judged, grounded instruction–answer pairs (arXiv 2601.22146).

    python pipelines/fineinstructions.py templates --input queries.jsonl.gz --output runs/fi/templates
    python pipelines/fineinstructions.py index --input runs/fi/templates --output runs/fi/index
    python pipelines/fineinstructions.py match --input documents.parquet --bank runs/fi/index --output runs/fi/match
    python pipelines/fineinstructions.py pairs --input runs/fi/match --output runs/fi/pairs --judge relevance
    python pipelines/fineinstructions.py budget --input runs/fi/pairs --output runs/fi/budget --tokenizer …

Each stage is a run of its own: kill it at any moment and start the same command again. `all --config FILE` runs them
one after the other, with the options of each in one file. `--demo` does so with what is bundled, on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.instruct.budget import budget
from pipelines.instruct.everything import run_all
from pipelines.instruct.index import index
from pipelines.instruct.match import match
from pipelines.instruct.pairs import pairs
from pipelines.instruct.report import calibrate, report
from pipelines.instruct.templates import templates

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="From queries and documents to grounded pairs of instruction and answer, in stages.",
)
for stage in (templates, index, match, pairs, budget, calibrate, report):
    app.command(no_args_is_help=True)(stage)
app.command("all", no_args_is_help=True)(run_all)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    demo: Annotated[
        bool, typer.Option("--demo", help="Run all stages on bundled queries and documents with bundled models.")
    ] = False,
) -> None:
    """Show the stages, or run them as a demo."""
    if context.invoked_subcommand is None and not demo:
        typer.echo(context.get_help())
    elif demo and context.invoked_subcommand is not None:
        raise typer.BadParameter(f"it runs all stages: leave out {context.invoked_subcommand}", param_hint="--demo")
    elif demo:
        run_all(Path("demo/fineinstructions.yaml"))


if __name__ == "__main__":
    app()
