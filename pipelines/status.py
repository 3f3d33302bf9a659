"""Watch a run on a cluster, stop it, go on with it.

python pipelines/status.py runs/finephrase --watch
python pipelines/status.py runs/finephrase --serve
python pipelines/status.py runs/finephrase stop
python pipelines/status.py runs/finephrase resume
python pipelines/status.py runs/finephrase retry-failed
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from blocks.execute import cluster
from blocks.execute.options import one_line_errors
from blocks.execute.status import Watch, show_status
from blocks.report.serve import Live, port_in_use, serve
from blocks.report.write import SAMPLES
from blocks.shards.folder import RunError, RunFolder

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def status(
    run: Annotated[str, typer.Argument(help="Run folder: local or s3://…")],
    verb: Annotated[
        Literal["show", "stop", "resume", "retry-failed"],
        typer.Argument(
            help="Show it; let its jobs drain and end; submit what is left; submit what failed in a complete run."
        ),
    ] = "show",
    state: Annotated[Path | None, typer.Option(help="Folder of the run's state, if it is not RUN/state.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds until all is done.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 10.0,
    live: Annotated[bool, typer.Option("--serve", help="Show its report as a page on this machine.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of that page; 0 for a free one.")] = 8765,
) -> None:
    """Say how a run on a cluster gets on: jobs, rates, what is left, alarms."""
    with one_line_errors(console):
        folder = RunFolder.at(run, state)
        if live and (watch or verb != "show"):
            raise RunError("--serve shows a run: leave out the rest")
        if live:
            with suppress(KeyboardInterrupt), port_in_use(port):
                serve(Live(folder, every, SAMPLES), port, lambda url: console.print(f"{url} (Ctrl+C ends it)"))
            return
        looking = Watch(folder)
        if verb == "stop":
            ids = cluster.stop(folder)
            console.print(f"told {', '.join(ids) or 'no job'} to stop; what was answered is kept")
            return
        if verb == "resume":
            raise typer.Exit(cluster.submit_again(folder))
        if verb == "retry-failed":
            raise typer.Exit(cluster.submit_again(folder, "--retry-failed"))
        while True:
            found = looking.look()
            if watch and console.is_terminal:
                console.clear()
            show_status(console, folder, found)
            if not watch or not found.units_left:
                return
            time.sleep(every)


if __name__ == "__main__":
    app()
