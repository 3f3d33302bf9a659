"""Shows how a run gets on: one live line on a terminal, a plain line every now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

PLAIN_PERIOD = 15.0
"""Seconds between two plain lines."""


class Display:
    """Turns the workers' totals into something to look at.

    Args:
        console: where to.
        rows: rows of the plan, None when they have not been counted.
        done: rows of committed chunks.
    """

    def __init__(self, console: Console, rows: int | None, done: int) -> None:
        self._console, self._rows, self._done = console, rows, done
        self._start = self._shown = time.monotonic()
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.fields[text]}"),
                BarColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task("run", total=rows, completed=done, text="starting")
            self._progress.start()

    def update(self, totals: dict[str, int]) -> None:
        """Show the totals of this launch."""
        now = time.monotonic()
        handled = self._done + totals.get("documents", 0) + totals.get("left_out", 0)
        if self._progress is not None:
            self._progress.update(self._task, completed=handled, text=self._line(totals, handled, now))
        elif now - self._shown >= PLAIN_PERIOD:
            self._shown = now
            self._console.print(f"{time.strftime('%H:%M:%S')} {self._line(totals, handled, now)}", highlight=False)

    def stop(self) -> None:
        """Remove the live line."""
        if self._progress is not None:
            self._progress.stop()

    def _line(self, totals: dict[str, int], handled: int, now: float) -> str:
        elapsed = max(now - self._start, 1e-9)
        new = handled - self._done
        parts = [
            f"{handled:,}" + (f" of {self._rows:,}" if self._rows is not None else "") + " documents",
            f"{totals.get('completion_tokens', 0) / elapsed:,.0f} tokens/s",
            f"{totals.get('written', 0):,} samples",
        ]
        for name, label in (
            ("rejected", "rejected"),
            ("failed", "failed"),
            ("replayed", "from the journal"),
            ("retries", "retries"),
            ("worker_deaths", "workers lost"),
        ):
            if totals.get(name):
                parts.append(f"{totals[name]:,} {label}")
        if paid := totals.get("paid_millionths"):
            parts.append(f"{paid / 1e6:,.2f} paid")
        if self._progress is None and self._rows is not None and new > 0:
            parts.append(f"ETA {duration((self._rows - handled) * elapsed / new)}")
        return ", ".join(parts)


@contextmanager
def display(console: Console, rows: int | None, done: int) -> Iterator[Display]:
    """A display that goes away when the block ends, however it ends."""
    shown = Display(console, rows, done)
    try:
        yield shown
    finally:
        shown.stop()


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
