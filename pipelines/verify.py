"""Verify: measure texts that are there already, and part those that pass from those that do not.

    python pipelines/verify.py --input 'runs/mine/shards/table/*.parquet' --output runs/checked --checks table,equations

Every row goes, with its `checks`, to shards/ or, with the first check that it does not pass as reason, to rejected/;
summary.json has the counts and the distribution of every value. No model is asked. With `--scores RUN` a judge's scores
are joined to the rows, and `--where 'judge_score >= 4'` keeps the good ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import typer
from datatrove.data import Document
from rich.console import Console

from blocks.execute import arguments
from blocks.execute.after import waits_for
from blocks.execute.cluster import load_cluster
from blocks.execute.launch import launch
from blocks.execute.options import json_object, one_line_errors
from blocks.execute.show import show_summary
from blocks.filters.verify import CHECKS, Verify, blind, describe, rules_by_hand
from blocks.judge.choose import JUDGED_SCHEMA
from blocks.publish.beside import hub_output, publishing
from blocks.rephrase.schema import REPHRASED_SCHEMA
from blocks.shards.chunk import SOURCE
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import check_columns
from blocks.shards.read import ReadUnits
from blocks.shards.rows import schema_of
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.side_table import SideTable
from blocks.shards.source import list_files, pin
from blocks.shards.where import parse_where
from blocks.shards.write import WriteShards

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

SCORES = ("judge_score", "judge_feedback", "judge_rubric", "judge_model")
"""What `--scores` joins to the rows."""

OWN_TEXT = "finemill/own_text"
"""The metadata key of a row's own `text` while another column is measured."""


@app.command(no_args_is_help=True)
def verify(
    input: arguments.Input,
    output: arguments.Output,
    checks: Annotated[
        str,
        typer.Option(help=f"Separated by commas: {', '.join(CHECKS)}. May be left out with --scores: `checks` stay."),
    ] = "",
    thresholds: Annotated[
        str | None, typer.Option(help='JSON by check, such as \'{"numbers": {"min_grounded": 0.8}}\'.')
    ] = None,
    verdict: Annotated[
        Literal["reject", "flag"] | None,
        typer.Option(help="What becomes of rows that do not pass: `reject` by default; `flag` keeps them."),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            help="Run of pipelines/judge.py over this input, by its --output or, where it has one, its --state: fills "
            "judge_score, judge_feedback, judge_rubric and judge_model, which --where can use.",
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
    publish: arguments.Publish = None,
    shard_format: arguments.ShardFileFormat = "parquet",
    chunk_size: arguments.ChunkSize = 5000,
    workers: arguments.Workers = 1,
    cluster: arguments.ClusterProfile = None,
    after: arguments.After = None,
    config: arguments.Config = None,
) -> None:
    """Measure texts with the checks of the pipelines, without a model; rows that do not pass are rejected."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        if waits_for(after, options, console):
            return
        output, repository = hub_output(output, publish)
        folder = RunFolder.at(output, state)
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        files = list_files(pins["input"])
        table = SideTable(RunFolder.named(scores), SCORES) if scores else None
        scored_by = table.check(files, id_column) if table else None
        filters = [parse_where(text) for text in where or []]
        filtered = [found.column for found in filters if not table or found.column not in SCORES]
        check_columns(files, [text_column, *filtered, *([source_column] if source_column else [])])
        names = [name.strip() for name in checks.split(",") if name.strip()]
        if not names and table:
            if useless := [name for name, told in (("--thresholds", thresholds), ("--verdict", verdict)) if told]:
                raise RunError(
                    f"{' and '.join(useless)} change nothing without --checks: name the checks that are meant"
                )
            rules = []
        else:
            rules = rules_by_hand(names, json_object(thresholds, "--thresholds"), verdict or "reject")
        shape = schema_of(files)
        has_source = source_column or (SOURCE in shape.names and text_column != SOURCE)
        if not has_source and (lost := blind(rules)):
            raise RunError(
                f"{', '.join(lost)} hold a text against the one it was made from: give its column as --source-column"
            )

        # All columns stay under their names, but the source becomes `source_text`, the id stands in `id`, and measures
        # are new. Where the input has no `text`, that is what was measured.
        if source_column not in (None, SOURCE) and SOURCE in shape.names:
            raise RunError(
                f"--source-column {source_column} is written as {SOURCE}, and the input has a {SOURCE} of its own: "
                f"rename that one"
            )
        measured = ("checks",) if rules else ()
        anew = {"id", "text", source_column, *measured, *(SCORES if table else ())}
        kept = [field for field in shape if field.name not in anew]
        columns = {field.name: field.name for field in kept}
        own_fields = [pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)]
        if text_column != "text" and source_column != "text":
            columns["text"] = OWN_TEXT
        if source_column:
            columns[source_column] = SOURCE
            own_fields.append(pa.field(SOURCE, pa.string()))
        if table:
            columns |= {name: name for name in SCORES}
        further = [REPHRASED_SCHEMA.field(name) for name in measured]
        if table:
            further += [pa.field(name, JUDGED_SCHEMA.field(name).type) for name in SCORES]
        schema = pa.schema([*own_fields, *kept, *further])

        fingerprint: dict[str, Any] = {
            "input": input,
            "text_column": text_column,
            "source_column": source_column,
            "id_column": id_column,
            "where": where or [],
            "scores": f"{scores} {scored_by}" if table else None,
            "checks": describe(rules),
            "chunk_size": chunk_size,
            "shard_format": shard_format,
        }
        if renamed := [name for name in (text_column, id_column) if name not in ("text", "id")]:
            fingerprint["kept"] = renamed  # they were not before

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {"documents": describe(rules)}, pins, options)

        profile = load_cluster(cluster) if cluster else None
        with publishing(repository, folder, console, profile), launch(folder, begin, console, profile) as run:
            run.plan(files, chunk_size, limit)
            if run.submitted(options, []):
                return
            for part, _ in run.passes():
                steps = [
                    ReadUnits(part, chunk_size, text_column, id_column, filters, columns, joined=table),
                    *([Verify({}, rules)] if rules else []),
                    own_text,
                    WriteShards(part, schema, shard_format),
                ]
                run.execute(part, steps, workers, workers)
            show_summary(console, folder, run.summary())


def own_text(data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
    """Put the text of each row back where something else of it was measured."""
    for document in data:
        own = document.metadata.pop(OWN_TEXT, None)
        if isinstance(own, str) and own:
            document.text = own
        yield document


if __name__ == "__main__":
    app()
