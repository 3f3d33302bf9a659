"""Writes reports to files."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from blocks.report.gather import Gathered
from blocks.report.page import render_run
from blocks.report.samples import choose_samples
from blocks.shards.folder import RunFolder, write_atomically

SAMPLES = 120
"""Samples of a report, at most."""


def write_report(
    folder: RunFolder,
    file: Path,
    console: Console,
    samples: int = SAMPLES,
    seed: int = 0,
    gpu_price: float | None = None,
) -> None:
    """Write the report of a run and name the file.

    Args:
        folder: the run.
        file: where to.
        console: for its name.
        samples: at most so many.
        seed: of their choice.
        gpu_price: money per GPU hour; None leaves it out.

    Raises:
        RunError: there is no run.
        OSError: the file cannot be written.
    """
    run = Gathered(folder)
    told, shown = run.look(), choose_samples(run, samples, seed)
    save(render_run(told, shown, gpu_price, missing=run.missing), file, console)


def save(page: str, file: Path, console: Console) -> None:
    """Write a page and name the file."""
    write_atomically(file, page.encode())
    console.print(f"report: {file} ({len(page.encode()) / 1e6:.1f} MB)", highlight=False, soft_wrap=True)
