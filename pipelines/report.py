"""See a run: one HTML file with what went in, what came out, what was thrown away and why. Or two runs side by side.

    python pipelines/report.py runs/finephrase --output report.html
    python pipelines/report.py runs/one-prompt runs/another-prompt
    python pipelines/report.py experiment.yaml

The last one shows what a training will see, see pipelines/pretrain.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blocks.execute.options import one_line_errors
from blocks.report.compare import choose_pairs
from blocks.report.gather import Gathered
from blocks.report.page import render_comparison, render_training
from blocks.report.training import gather_training
from blocks.report.write import SAMPLES, save, write_report
from blocks.shards.folder import RunError, RunFolder

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def report(
    run: Annotated[str, typer.Argument(help="Run folder, local or s3://…; or the YAML file of an experiment.")],
    other: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A second run, to be put beside it.")] = None,
    output: Annotated[Path, typer.Option(help="The file.", dir_okay=False)] = Path("report.html"),
    samples: Annotated[int, typer.Option(min=0, help="At most so many samples.")] = SAMPLES,
    seed: Annotated[int, typer.Option(help="Of the choice of samples.")] = 0,
    gpu_price: Annotated[float | None, typer.Option(min=0, help="Money per GPU hour.")] = None,
    state: Annotated[
        list[Path] | None, typer.Option(help="State folder of a run, if it is not in it; once for each run.")
    ] = None,
) -> None:
    """Write a report: one file that needs nothing else, to be opened, mailed or put beside the shards."""
    with one_line_errors(console):
        if run.endswith((".yaml", ".yml")):
            save(render_training(gather_training(Path(run))), output, console)
            return
        paths = [run, *([other] if other else [])]
        if state and len(state) != len(paths):
            raise RunError(f"give --state {len(paths)} time(s), once for each run")
        states: list[Path | None] = [*state] if state else [None] * len(paths)
        folders = [RunFolder.at(path, here) for path, here in zip(paths, states, strict=True)]
        if other is None:
            write_report(folders[0], output, console, samples, seed, gpu_price)
            return
        first, second = map(Gathered, folders)
        told = first.look(), second.look()
        save(render_comparison(*told, choose_pairs(first, second, samples, seed)), output, console)


if __name__ == "__main__":
    app()
