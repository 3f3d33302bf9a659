"""Verify: measure texts that are there already, and part those that pass from those that do not.

    python pipelines/verify.py --input 'runs/mine/shards/table/*.parquet' --output runs/checked --checks table,equations

Every row goes, with its `checks`, to shards/ or, with the first check that it does not pass as reason, to rejected/;
summary.json has the counts and the distribution of every value. No model is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import typer
from rich.console import Console

from blocks.execute.launch import launch
from blocks.execute.options import json_object, one_line_errors, read_config
from blocks.execute.show import show_summary
from blocks.rephrase.schema import REPHRASED_SCHEMA, SOURCE
from blocks.rephrase.verify import CHECKS, Verify, describe, rules_by_hand
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns
from blocks.shards.read import ReadUnits
from blocks.shards.rows import schema_of
from blocks.shards.run import RunRecord, begin_run, load_run
from blocks.shards.source import list_files, pin
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()


@app.command(no_args_is_help=True)
def verify(
    input: Annotated[str, typer.Option(help="JSON Lines or Parquet: a file, folder or glob, as in finephrase.py.")],
    output: Annotated[str, typer.Option(help="Run folder: local or s3://…")],
    checks: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(CHECKS)}.")],
    thresholds: Annotated[
        str | None, typer.Option(help='JSON by check, such as \'{"numbers": {"min_grounded": 0.8}}\'.')
    ] = None,
    verdict: Annotated[
        Literal["reject", "flag"], typer.Option(help="What becomes of rows that do not pass; `flag` keeps them.")
    ] = "reject",
    text_column: Annotated[str, typer.Option(help="Column with the text to verify.")] = "text",
    source_column: Annotated[
        str | None, typer.Option(help="Column with the text it was made from; some checks need it.")
    ] = None,
    id_column: Annotated[str, typer.Option(help="Column with the id.")] = "id",
    state: Annotated[Path | None, typer.Option(help="Folder for plan and commits; OUTPUT/state by default.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first LIMIT rows.")] = None,
    shard_format: Annotated[Literal["parquet", "jsonl"], typer.Option(help="File format of the shards.")] = "parquet",
    chunk_size: Annotated[int, typer.Option(min=1, help="Rows per shard and commit.")] = 5000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes on this machine.")] = 1,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with these options; the command line wins.", callback=read_config, is_eager=True),
    ] = None,
) -> None:
    """Measure texts with the checks of the pipelines, without a model; rows that do not pass are rejected."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        folder = RunFolder.at(output, state)
        former = load_run(folder)
        pins = dict(former.pins) if former and former.config["input"] == input else {"input": pin(input)}
        files = list_files(pins["input"])
        check_columns(files, [text_column, *([source_column] if source_column else [])])
        names = [name.strip() for name in checks.split(",") if name.strip()]
        rules = rules_by_hand(names, json_object(thresholds, "--thresholds"), verdict)

        # What is verified becomes `text`, what it was made from `source_text`, and all other columns stay.
        own = {"text", "checks", id_column, text_column, source_column}
        kept = [field for field in schema_of(files) if field.name not in own]
        columns = {field.name: field.name for field in kept}
        own_fields = [pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)]
        if source_column:
            columns[source_column] = SOURCE
            own_fields.append(pa.field(SOURCE, pa.string()))
        schema = pa.schema([*own_fields, *kept, REPHRASED_SCHEMA.field("checks")])

        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "source_column": source_column,
            "id_column": id_column,
            "checks": describe(rules),
            "chunk_size": chunk_size,
            "shard_format": shard_format,
        }

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {"documents": describe(rules)}, pins, options)

        with launch(folder, begin, console) as run:
            run.plan(files, chunk_size, limit)
            for part, _ in run.pending_passes():
                steps = [
                    ReadUnits(part, chunk_size, text_column, id_column, columns=columns),
                    Verify({}, rules),
                    WriteShards(part, schema, shard_format),
                ]
                run.execute(part, steps, workers, workers)
            show_summary(console, folder, run.summary())


if __name__ == "__main__":
    app()
