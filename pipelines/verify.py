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

from blocks.execute import arguments
from blocks.execute.launch import launch
from blocks.execute.options import json_object, one_line_errors
from blocks.execute.show import show_summary
from blocks.rephrase.schema import REPHRASED_SCHEMA, SOURCE
from blocks.rephrase.verify import CHECKS, Verify, describe, rules_by_hand
from blocks.shards.folder import RunFolder
from blocks.shards.plan import check_columns
from blocks.shards.read import ReadUnits
from blocks.shards.rows import schema_of
from blocks.shards.run import RunRecord, begin_run, load_run
from blocks.shards.side_table import SideTable
from blocks.shards.source import list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

SCORES = ("judge_score", "judge_feedback")
"""What `--scores` joins to the rows."""


@app.command(no_args_is_help=True)
def verify(
    input: arguments.Input,
    output: arguments.Output,
    checks: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(CHECKS)}.")],
    thresholds: Annotated[
        str | None, typer.Option(help='JSON by check, such as \'{"numbers": {"min_grounded": 0.8}}\'.')
    ] = None,
    verdict: Annotated[
        Literal["reject", "flag"], typer.Option(help="What becomes of rows that do not pass; `flag` keeps them.")
    ] = "reject",
    scores: Annotated[
        str | None,
        typer.Option(
            help="Run folder of pipelines/judge.py over this input: fills judge_score and judge_feedback, which "
            "--where can use.",
            rich_help_panel=arguments.IN,
        ),
    ] = None,
    text_column: arguments.TextColumn = "text",
    source_column: Annotated[
        str | None,
        typer.Option(help="Column with the text it was made from; some checks need it.", rich_help_panel=arguments.IN),
    ] = None,
    id_column: arguments.IdColumn = "id",
    where: arguments.WhereFilters = None,
    limit: arguments.Limit = None,
    state: arguments.State = None,
    shard_format: arguments.ShardFileFormat = "parquet",
    chunk_size: arguments.ChunkSize = 5000,
    workers: arguments.Workers = 1,
    config: arguments.Config = None,
) -> None:
    """Measure texts with the checks of the pipelines, without a model; rows that do not pass are rejected."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        folder = RunFolder.at(output, state)
        former = load_run(folder)
        pins = dict(former.pins) if former and former.config["input"] == input else {"input": pin(input)}
        files = list_files(pins["input"])
        table = SideTable(RunFolder.at(scores), SCORES) if scores else None
        if table:
            table.check(files)
        filters = [parse_where(text) for text in where or []]
        filtered = [found.column for found in filters if not table or found.column not in SCORES]
        check_columns(files, [text_column, *filtered, *([source_column] if source_column else [])])
        names = [name.strip() for name in checks.split(",") if name.strip()]
        rules = rules_by_hand(names, json_object(thresholds, "--thresholds"), verdict)

        # What is verified becomes `text`, what it was made from `source_text`, and all other columns stay.
        own = {"text", "checks", id_column, text_column, source_column, *(SCORES if table else ())}
        kept = [field for field in schema_of(files) if field.name not in own]
        columns = {field.name: field.name for field in kept}
        own_fields = [pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)]
        if source_column:
            columns[source_column] = SOURCE
            own_fields.append(pa.field(SOURCE, pa.string()))
        if table:
            columns |= {name: name for name in SCORES}
        further = ["checks", *(SCORES if table else ())]
        schema = pa.schema([*own_fields, *kept, *(REPHRASED_SCHEMA.field(name) for name in further)])

        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "source_column": source_column,
            "id_column": id_column,
            "where": where or [],
            "scores": scores,
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
                    ReadUnits(part, chunk_size, text_column, id_column, filters, columns, joined=table),
                    Verify({}, rules),
                    WriteShards(part, schema, shard_format),
                ]
                run.execute(part, steps, workers, workers)
            show_summary(console, folder, run.summary())


if __name__ == "__main__":
    app()
