"""What a run will take, before it is submitted: GPU-hours, days, money, chunk size.

    python pipelines/plan.py --documents 339347842 --jobs 100 --gpus 1
    python pipelines/plan.py --documents 339347842 --calibrate runs/small --cluster slurm/h100.yaml --price 2.5

Without a run of your own to calibrate on, the rates are those of FinePhrase's benchmark, which real runs seldom reach.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from blocks.execute.cluster import load_cluster, seconds_of
from blocks.execute.options import one_line_errors
from blocks.execute.planner import OTHER_TOKENS, RATES, SHARE, TOKENS, Conditions, Work, estimate
from blocks.execute.progress import duration
from blocks.execute.status import find_jobs
from blocks.generate.model import DEFAULT_MODEL
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.run import load_run
from blocks.shards.summary import launches_of

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def plan(
    documents: Annotated[int, typer.Option(min=1, help="How many documents.")],
    formats: Annotated[
        str | None, typer.Option(help=f"Formats, separated by commas; by default {','.join(TOKENS)}.")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Completion tokens per document, over all formats; published means by default.")
    ] = None,
    asked: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of requests that are made, 1 by default: --route auto spares others."),
    ] = None,
    model: Annotated[str, typer.Option(help="Model, for its rate in FinePhrase's benchmark.")] = DEFAULT_MODEL,
    rate: Annotated[float | None, typer.Option(help="Completion tokens per second and GPU.")] = None,
    calibrate: Annotated[
        str | None, typer.Option(help="Run folder of a trial on your documents: tokens per document, and rate.")
    ] = None,
    cluster: Annotated[Path | None, typer.Option(help="Profile: jobs, GPUs, time limit.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Jobs at a time.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs per job.")] = None,
    gpus_per_server: Annotated[int, typer.Option(min=1, help="GPUs that one server of the model takes.")] = 1,
    start: Annotated[float, typer.Option(help="Seconds from the start of a job to its first answer.")] = 300.0,
    preemptions: Annotated[float, typer.Option(help="Preemptions of a job per day.")] = 0.0,
    spread: Annotated[
        float, typer.Option(min=1, help="How many times as long as the average job the slowest takes.")
    ] = 1.5,
    chunk_size: Annotated[int | None, typer.Option(min=1, help="Rows per chunk; chosen if not given.")] = None,
    price: Annotated[float, typer.Option(help="Of a GPU-hour.")] = 3.0,
) -> None:
    """Estimate what a run takes."""
    with one_line_errors(console):
        profile = load_cluster(cluster) if cluster else None
        told = [name for name, value in (("--tokens", tokens), ("--calibrate", calibrate)) if value is not None]
        unused = [name for name, value in (("--formats", formats), ("--asked", asked)) if value is not None]
        if told and unused:
            raise RunError(f"{' and '.join(unused)} change nothing where {told[0]} says how many tokens there are")
        if rate is None and calibrate is None and model not in RATES:
            raise RunError(f"no rate is known of {model}: give --rate, or --calibrate with a trial run")
        if calibrate is not None:
            found_tokens, found_rate = _measured(calibrate)
            per_document, rate = tokens or found_tokens, rate or found_rate
        else:
            per_document = tokens or _published(formats, 1.0 if asked is None else asked)
        work = Work(documents, per_document, (rate or RATES[model]) * gpus_per_server)
        under = Conditions(
            jobs=jobs or (profile.jobs if profile else 1),
            gpus=gpus or (profile.gpus if profile else 0) or 8,
            gpus_per_server=gpus_per_server,
            start=start,
            limit=seconds_of(profile.time) if profile and profile.time else None,
            preemptions=preemptions,
            spread=spread,
        )
        found = estimate(work, under, chunk_size)
        table = Table(show_header=False)
        for name, value in (
            ("completion tokens", f"{documents * per_document:,.0f} ({per_document:,.0f} per document)"),
            ("rate", f"{work.rate:,.0f} tokens/s per server, {under.servers} servers"),
            ("ideal GPU-days", f"{work.server_seconds * gpus_per_server / 86_400:,.0f}"),
            ("ideal wall time", _days(found.ideal)),
            ("wall time", _days(found.wall)),
            ("… with a fixed part per job", _days(found.static)),
            ("GPU-hours", f"{found.gpu_hours:,.0f}"),
            ("price", f"{found.gpu_hours * price:,.0f} at {price:g} per GPU-hour"),
            ("chunk size", f"{found.chunk_size:,} rows, {found.units:,} units"),
            ("starts of a job", f"{found.lives:,.1f}, {found.starting:.1%} of its time"),
            ("tail", f"{found.tail:.1%} of the time"),
        ):
            table.add_row(name, value)
        console.print(table)
        if found.starting > SHARE:
            console.print(f"alarm: starting takes more than {SHARE:.0%}: longer jobs, or fewer", style="bold yellow")
        if found.tail > SHARE:
            console.print(f"alarm: the tail takes more than {SHARE:.0%}: smaller chunks", style="bold yellow")


def _published(formats: str | None, asked: float) -> float:
    """Completion tokens per document, as published.

    Raises:
        RunError: nothing is asked for.
    """
    names = list(TOKENS) if formats is None else [name.strip() for name in formats.split(",") if name.strip()]
    if other := [name for name in names if name not in TOKENS]:
        console.print(f"no figures are known of {', '.join(other)}: {OTHER_TOKENS:g} tokens per document are assumed")
    if not (names and asked):
        raise RunError("nothing is asked for: see --formats and --asked")
    return sum(TOKENS.get(name, OTHER_TOKENS) for name in names) * asked


def _measured(run: str) -> tuple[float, float]:
    """Completion tokens per document of a run, and per second and GPU, the start of servers included."""
    folder = RunFolder.named(run)
    content = folder.read_output("summary.json")
    if content is None:
        raise RunError(f"--calibrate {run}: there is no summary.json; let the trial come to its end")
    summary = orjson.loads(content)
    if not summary["done"] or not summary["completion_tokens_per_second"]:
        raise RunError(f"--calibrate {run}: it has not asked a model")
    gpus = sum(max(1, job.lives[-1]["servers"]) for job in find_jobs(folder) if job.lives) or _gpus_here(folder)
    console.print(f"{run} was done with {gpus} GPU(s)" + ("" if gpus > 1 else "; with more, give --rate"))
    return summary["completion_tokens"] / summary["done"], summary["completion_tokens_per_second"] / gpus


def _gpus_here(folder: RunFolder) -> int:
    """GPUs of the machine of a run without jobs, if they were the run's: 1 where a server elsewhere was asked."""
    record = load_run(folder)
    if record is None or record.config.get("endpoint"):
        return 1
    return max((launch.get("gpus", 0) for launch in launches_of(folder)), default=0) or 1


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:,.1f} days" if seconds > 2 * 86_400 else duration(seconds)


if __name__ == "__main__":
    app()
