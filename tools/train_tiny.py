"""Train finemill-tiny, the model that is bundled for demos and tests.

    python tools/train_tiny.py train --documents docs.jsonl.gz --queries queries.jsonl.gz --out runs/tiny --minutes 300
    python tools/train_tiny.py evaluate --documents docs.jsonl.gz --queries queries.jsonl.gz --out runs/tiny
    python tools/train_tiny.py card --out runs/tiny

Needs torch and transformers (`make cpu`). Kill it at any time: the same command goes on. `--from demo/finemill-tiny`
teaches a finished model more; with `--practised FILE` also what it answered well itself, which `practise` has written.
`OUT/model` is what is served and bundled; everything else in `OUT` can be deleted after that.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `tools` is not installed

from blocks.execute.options import one_line_errors
from blocks.shards.folder import RunError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_show_locals=False,
    no_args_is_help=True,
    help="Train, evaluate and describe finemill-tiny.",
)
console = Console()

DOCUMENTS = Annotated[
    list[Path], typer.Option(exists=True, dir_okay=False, help="JSON Lines (.gz) with id and text; may be repeated.")
]
QUERIES = Annotated[
    list[Path] | None,
    typer.Option(exists=True, dir_okay=False, help="Search queries in JSON Lines (.gz) with id and text."),
]
OUT = Annotated[Path, typer.Option(file_okay=False, help="Folder of the training run.")]


def need_torch() -> None:
    """Say how to get what only the training needs.

    Raises:
        RunError: torch or transformers is not installed.
    """
    if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
        raise RunError(f"{' and '.join(missing)} not installed here: run `make cpu`")


@app.command()
def train(
    documents: DOCUMENTS,
    out: OUT,
    queries: QUERIES = None,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--from", exists=True, file_okay=False, help="Go on from this model; the budget is for what is new."
        ),
    ] = None,
    practised: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="File of `practise`; may be repeated.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="End after so many tokens, prompts included.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="End after so many minutes of training.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, examples and wordings.")] = 0,
    compile: Annotated[
        bool, typer.Option(help="Let torch compile the network: a third faster, needs a C++ compiler.")
    ] = True,
) -> None:
    """Train the tokenizer and the model, or go on, and export them to OUT/model."""
    with one_line_errors(console):
        need_torch()
        from tools.tiny.run import train_run

        seconds = None if minutes is None else 60 * minutes
        train_run(documents, queries or [], out, tokens, seconds, seed, compile, earlier, practised or [])


@app.command()
def practise(
    documents: DOCUMENTS,
    out: Annotated[Path, typer.Option(dir_okay=False, help="JSON Lines, for `train --practised`; a part goes on.")],
    model: Annotated[Path, typer.Option("--from", exists=True, file_okay=False, help="The model to ask.")],
    queries: QUERIES = None,
    first: Annotated[int, typer.Option(min=0, help="Number of the first example, to share them out.")] = 0,
    examples: Annotated[int, typer.Option(min=1, help="Numbers of examples; a sixth cannot be checked.")] = 4000,
    seed: Annotated[int, typer.Option(help="Of examples and sampling.")] = 1,
) -> None:
    """Ask a finished model about training documents, and keep its answers where the checks find nothing wrong."""
    with one_line_errors(console):
        need_torch()
        from tools.tiny.run import practise_run

        console.print_json(data=practise_run(documents, queries or [], model, out, first, examples, seed))


@app.command()
def evaluate(
    documents: DOCUMENTS,
    out: OUT,
    queries: QUERIES = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many of the documents and of the queries set aside.")
    ] = None,
) -> None:
    """Ask OUT/model about the documents that were set aside, and write OUT/model/evaluation.json."""
    with one_line_errors(console):
        need_torch()
        from tools.tiny.run import evaluate_run

        console.print_json(data=evaluate_run(documents, queries or [], out, limit))


@app.command()
def card(out: OUT) -> None:
    """Write OUT/model/README.md from what training and evaluation have left."""
    from tools.tiny.card import write_card

    with one_line_errors(console):
        write_card(out / "model")


if __name__ == "__main__":
    app()
