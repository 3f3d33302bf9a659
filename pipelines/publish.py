"""Publish the shards of a run as a dataset on the Hugging Face Hub.

    python pipelines/publish.py runs/finephrase --repo me/finephrase
    python pipelines/publish.py runs/finephrase --repo me/finephrase --follow    # while the run goes on

Start it again after whatever happened: the repository itself says what is published, each sample comes once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # re-exported without __all__
from rich.console import Console

from blocks.execute.options import one_line_errors
from blocks.publish.card import About
from blocks.publish.hub import PER_HOUR, SILENCE, Repository
from blocks.publish.parts import TARGET
from blocks.publish.publisher import Publisher
from blocks.shards.folder import RunFolder

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def publish(
    run: Annotated[str, typer.Argument(help="Run folder: local or s3://…")],
    repo: Annotated[str, typer.Option(help="Dataset repository, org/name; it is created if there is none.")],
    state: Annotated[Path | None, typer.Option(help="Folder of the run's state, if it is not RUN/state.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Create a public repository.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run is complete.")] = False,
    license: Annotated[str | None, typer.Option(help="Licence of the source, such as odc-by, for the card.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the texts, such as en, for the card.")] = None,
    title: Annotated[str, typer.Option(help="Title of the card; the repository's name by default.")] = "",
    with_source: Annotated[
        bool | None, typer.Option("--with-source", help="Publish the documents, too, whole, as source_text.")
    ] = None,
    file_size: Annotated[float, typer.Option(help="MB of a published file, about.")] = TARGET >> 20,
    per_hour: Annotated[int, typer.Option(min=1, help="Commits per hour at the most; the Hub allows 128.")] = PER_HOUR,
    patience: Annotated[float, typer.Option(help="Seconds after which a Hub that keeps failing is given up.")] = 3600.0,
    silence: Annotated[
        float, typer.Option(help="Seconds after which a request without any answer is repeated.")
    ] = SILENCE,
    every: Annotated[float, typer.Option(min=1, help="With --follow, seconds between two looks.")] = 60.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which files would be published now; ask the Hub nothing.")
    ] = False,
) -> None:
    """Bring what a run has committed to the Hub: few commits, files of a good size, a card."""
    with one_line_errors(console):
        folder = RunFolder.at(run, state)
        repository = Repository(repo, patience, per_hour, silence)
        publisher = Publisher(
            folder, repository, About(license, language, title), with_source, int(file_size * (1 << 20))
        )
        if dry_run:
            parts, complete = publisher.due({})
            for part in parts:
                console.print(f"{part.path}: {part.rows:,} samples of {len(part.shards):,} shards", highlight=False)
            console.print(f"{len(parts):,} file(s){'' if complete else '; the run is not complete'}", highlight=False)
            return
        if not console.is_terminal:
            disable_progress_bars()
        repository.check(private=not public)
        files = publisher.run(follow, every)
        samples = sum(file["rows"] for file in files.values())
        where = f"{repository.api.endpoint}/datasets/{repo}"
        console.print(f"{samples:,} samples in {len(files):,} file(s): {where}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
