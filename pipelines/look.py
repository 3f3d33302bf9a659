"""Look at samples beside the documents that they were made from.

python pipelines/look.py runs/finephrase --format faq
python pipelines/look.py runs/finephrase --check 'copying > 0.5' --count 3
python pipelines/look.py runs/finephrase --reason repetition
python pipelines/look.py me/finephrase --format table
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blocks.execute.look import Wanted, find
from blocks.execute.options import one_line_errors
from blocks.execute.show import show_sample
from blocks.shards.where import parse_where

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def look(
    path: Annotated[str, typer.Argument(help="Run folder, files (local, s3://, hf://), or a dataset on the Hub.")],
    format: Annotated[str | None, typer.Option(help="Only samples of this format.")] = None,
    reason: Annotated[str | None, typer.Option(help="What was rejected or failed for this reason.")] = None,
    check: Annotated[list[str] | None, typer.Option(help="Value of a check, as 'copying > 0.5'. Repeatable.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Of a column, as 'pieces > 1'. Repeatable.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many to show.")] = 5,
    skip: Annotated[int, typer.Option(min=0, help="How many to pass over first.")] = 0,
    state: Annotated[Path | None, typer.Option(help="Folder of the run's state, if it is not in it.")] = None,
) -> None:
    """Print samples side by side with their documents, or what was not kept and why."""
    with one_line_errors(console):
        wanted = Wanted(
            format, reason, [parse_where(one) for one in where or []], [parse_where(c) for c in check or []]
        )
        shown = 0
        for row in islice(find(path, state, wanted), skip, skip + count):
            show_sample(console, row)
            shown += 1
        if not shown:
            console.print("nothing matches")


if __name__ == "__main__":
    app()
