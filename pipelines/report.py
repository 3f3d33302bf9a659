"""See a run: one HTML file with what went in, what came out, what was thrown away and why.

python pipelines/report.py runs/finephrase --output report.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blocks.execute.options import one_line_errors
from blocks.report.gather import gather
from blocks.report.page import render
from blocks.report.samples import choose_samples
from blocks.shards.folder import RunFolder

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def report(
    run: Annotated[str, typer.Argument(help="Run folder: local or s3://…")],
    output: Annotated[Path, typer.Option(help="The file.", dir_okay=False)] = Path("report.html"),
    samples: Annotated[int, typer.Option(min=0, help="At most so many samples.")] = 120,
    seed: Annotated[int, typer.Option(help="Of the choice of samples.")] = 0,
    state: Annotated[Path | None, typer.Option(help="State folder of the run, if it is not in it.")] = None,
) -> None:
    """Write a report of a run: one file that needs nothing else, to be opened, mailed or put beside the shards."""
    with one_line_errors(console):
        folder = RunFolder.at(run, state)
        told = gather(folder)
        page = render({"name": run, **told}, choose_samples(folder, samples, seed))
        output.write_text(page, encoding="utf-8")
        console.print(f"report: {output} ({len(page.encode()) / 1e6:.1f} MB)", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
