"""Turn texts into the tokens that nanotron trains on: shuffled `.ds` files for each format, and what is in them.

    python pipelines/tokens.py --input runs/finephrase/shards --output tokens/finephrase --tokenizer org/model

Like every run it goes on after a kill, grows with its input, and takes a --cluster. `tokens.json` has the counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import show_summary
from blocks.generate.pins import pin_model, tokenizer_hash
from blocks.pretrain.encode import Tokenize, Vocabulary
from blocks.pretrain.layout import TOKENS_PER_FILE, is_laid_out, lay_out, parts_of
from blocks.shards.chunk import FORMAT
from blocks.shards.folder import RunFolder
from blocks.shards.leases import settle
from blocks.shards.plan import check_columns
from blocks.shards.read import ReadUnits
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.source import list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def tokens(
    input: arguments.Input,
    output: arguments.Output,
    tokenizer: Annotated[str, typer.Option(help="Folder with tokenizer.json, that file, or a repository on the Hub.")],
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of the repository.")] = None,
    eos: Annotated[str | None, typer.Option(help="Token that ends a document; the tokenizer's own by default.")] = None,
    special_tokens: Annotated[
        bool,
        typer.Option("--special-tokens", help="Read special tokens in texts as such; they are plain text otherwise."),
    ] = False,
    text_column: arguments.TextColumn = "text",
    id_column: arguments.IdColumn = "id",
    where: arguments.WhereFilters = None,
    limit: arguments.Limit = None,
    state: arguments.State = None,
    chunk_size: arguments.ChunkSize = 50_000,
    tokens_per_file: Annotated[
        float,
        typer.Option(
            min=0.001, help="Million tokens of a .ds file, about; a chunk stays whole.", rich_help_panel=arguments.OUT
        ),
    ] = TOKENS_PER_FILE / 1e6,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffling.", rich_help_panel=arguments.OUT)] = 0,
    workers: arguments.Workers = 1,
    cluster: arguments.ClusterProfile = None,
    after: arguments.After = None,
    config: arguments.Config = None,
) -> None:
    """Tokenize texts for nanotron: whole documents that end with EOS, shuffled, in .ds files by format."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if waits_for(after, options, console):
            return
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        if "tokenizer" not in pins:
            local = Path(tokenizer).expanduser().exists()
            pins["tokenizer"] = None if local else pin_model(tokenizer, revision, "--tokenizer", "tokenizer.json")
        if "input" not in pins:
            pins["input"] = pin(input)
        files = list_files(pins["input"])
        filters = [parse_where(text) for text in where or []]
        check_columns(files, [text_column, *(found.column for found in filters)])
        vocabulary = Vocabulary(tokenizer, pins["tokenizer"], eos, special_tokens)
        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "id_column": id_column,
            "where": where or [],
            "tokenizer": tokenizer_hash(tokenizer, pins["tokenizer"]),
            "eos": vocabulary.eos_token,
            "special_tokens": special_tokens,
            "chunk_size": chunk_size,
        }
        size = int(tokens_per_file * 1e6)

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {"documents": vocabulary.eos_token}, pins, options)

        with launch(folder, begin, console, load_cluster(cluster) if cluster else None) as run:
            run.plan(files, chunk_size, limit)
            if run.submitted(options, [], unfinished=lambda: not is_laid_out(folder, parts_of(folder, seed, size))):
                return
            for part, _ in run.passes():
                steps = [
                    ReadUnits(part, chunk_size, text_column, id_column, filters, [FORMAT]),
                    Tokenize(vocabulary),
                    WriteShards(part, vocabulary.schema),
                ]
                run.execute(part, steps, workers, workers)
            summary = run.summary()
            show_summary(console, folder, summary)
            if summary["complete"]:
                with run.finishing(), folder.alone("ds"):
                    settle(folder)
                    _show(lay_out(folder, vocabulary, parts_of(folder, seed, size), seed), folder)


def _show(manifest: dict[str, Any], folder: RunFolder) -> None:
    table = Table("format")
    for name in ("documents", "tokens", "files"):
        table.add_column(name, justify="right")
    for name, found in manifest["formats"].items():
        table.add_row(name, f"{found['documents']:,}", f"{found['tokens']:,}", f"{len(found['files']):,}")
    console.print(table)
    console.print(f"tokens:   {folder.output}/tokens.json", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
