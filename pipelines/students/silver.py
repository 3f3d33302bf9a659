"""Silver data for the two small models of FineInstructions, out of runs in which a large teacher was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blocks.distill.silver import (
    NULL_SHARE,
    PAIRS,
    SILVER_SCHEMA,
    TEMPLATES,
    SilverPairs,
    SilverTemplates,
    content_of,
    draw_pairs,
    draw_templates,
)
from blocks.execute import arguments
from blocks.execute.arguments import IN, KEEP
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import show_summary
from blocks.instruct.budget import MIN_SCORE, Thresholds
from blocks.instruct.instantiate import PAIRS as PAIR_FORMAT
from blocks.instruct.pairs import MIN_GROUNDED
from blocks.instruct.templates import MIN_RESEMBLANCE
from blocks.instruct.templatize import TEMPLATES as TEMPLATE_FORMAT
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.read import ReadUnits
from blocks.shards.run import RunRecord, begin_run, load_run
from blocks.shards.side_table import GroupedTable, SideTable
from blocks.shards.source import list_files, shards_of
from blocks.shards.summary import check_complete
from blocks.shards.tables import read_tables
from blocks.shards.where import Where
from blocks.shards.write import WriteShards

console = Console()

Examples = typer.Option(min=1, help="How many; fewer where there are fewer.", rich_help_panel=KEEP)
Seed = Annotated[int, typer.Option(help="Of the draw.", rich_help_panel=KEEP)]


def silver_templates(
    input: Annotated[str, typer.Option(help="Run folder of `fineinstructions.py templates`.", rich_help_panel=IN)],
    output: arguments.Output,
    state: arguments.State = None,
    scores: Annotated[
        str | None,
        typer.Option(help="Run folder of judge.py on these templates (--rubric generic).", rich_help_panel=IN),
    ] = None,
    min_score: Annotated[float, typer.Option(help="Least score of that judge.", rich_help_panel=KEEP)] = MIN_SCORE,
    examples: Annotated[int, Examples] = TEMPLATES,
    seed: Seed = 0,
    chunk_size: arguments.ChunkSize = 5000,
    config: arguments.Config = None,
) -> None:
    """Draw queries and their templates to train a genericizer on, evenly over sources and numbers of variables."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        folder, made = RunFolder.at(output, state), _made(input, TEMPLATE_FORMAT, "templates")
        check_complete(made.output)
        files = list_files(shards_of(made.output))
        good, judged = None, None
        if scores is not None:
            table = RunFolder.named(scores)
            judged = SideTable(table, ["judge_score"]).check(files)
            rows = (row for part in read_tables(table, ["id", "judge_score"]) for row in part.to_pylist())
            good = frozenset(row["id"] for row in rows if row["judge_score"] >= min_score)
        kinds = draw_templates(made, examples, seed, good)
        fingerprint: dict[str, Any] = {"input": input, "made": content_of(made), "judged": judged}
        fingerprint |= {"min_score": min_score, "examples": examples, "seed": seed, "chunk_size": chunk_size}

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {"silver": "templates"}, {}, options)

        with launch(folder, begin, console) as run:
            run.plan(files, chunk_size, None)
            for part, _ in run.passes():
                steps = [
                    ReadUnits(
                        part,
                        chunk_size,
                        "query",
                        where=[Where("id", "in", frozenset(kinds))],
                        columns=["template", "description"],
                    ),
                    SilverTemplates(kinds),
                    WriteShards(part, SILVER_SCHEMA),
                ]
                run.execute(part, steps, 1, 1)
            show_summary(console, folder, run.summary())
            _show(kinds)


def silver_pairs(
    input: Annotated[str, typer.Option(help="Run folder of `fineinstructions.py pairs`.", rich_help_panel=IN)],
    output: arguments.Output,
    state: arguments.State = None,
    examples: Annotated[int, Examples] = PAIRS,
    null_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of examples that do not fit.", rich_help_panel=KEEP)
    ] = NULL_SHARE,
    min_grounded: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of an answer that was copied.", rich_help_panel=KEEP)
    ] = MIN_GROUNDED,
    min_resemblance: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of a template's words, in order.", rich_help_panel=KEEP)
    ] = MIN_RESEMBLANCE,
    min_score: Annotated[
        float, typer.Option(help="Least score of the judge, where pairs were judged.", rich_help_panel=KEEP)
    ] = MIN_SCORE,
    seed: Seed = 0,
    chunk_size: arguments.ChunkSize = 5000,
    config: arguments.Config = None,
) -> None:
    """Draw pairs to train an instantiator on, evenly over length, variables and topic, with some that do not fit."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        folder, made = RunFolder.at(output, state), _made(input, PAIR_FORMAT, "pairs")
        check_complete(made.output)
        record = load_run(made)
        assert record is not None
        table = GroupedTable(made, ["raw", "source_id"], key="source_id", name="pairs")
        files, known = table.check_read()  # of no other document there are pairs to draw
        judged = record.fingerprint["judge"] is not None
        thresholds = Thresholds(min_grounded, min_resemblance, min_score if judged else None)
        kinds, there = draw_pairs(made, examples, null_share, thresholds, seed)
        fingerprint: dict[str, Any] = {"input": input, "pairs": known, "made": content_of(made)}
        fingerprint |= {"examples": examples, "null_share": null_share}
        fingerprint |= {**thresholds.as_dict(), "seed": seed, "chunk_size": chunk_size}

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {"silver": "pairs"}, {}, options)

        with launch(folder, begin, console) as run:
            run.plan(files, chunk_size, None)
            documents = {name.rpartition("/")[0] for name in kinds}
            for part, _ in run.passes():
                steps = [
                    ReadUnits(
                        part, chunk_size, where=[Where("id", "in", documents)], columns=["templates", "pairs"],
                        joined=table,
                    ),
                    SilverPairs(kinds),
                    WriteShards(part, SILVER_SCHEMA),
                ]  # fmt: skip
                run.execute(part, steps, 1, 1)
            show_summary(console, folder, run.summary())
            console.print(
                f"drawn from {', '.join(f'{count:,} {reason}' for reason, count in there.items())}", highlight=False
            )
            _show(kinds)


def _made(output: str, format: str, stage: str) -> RunFolder:
    """The run folder of a stage.

    Raises:
        RunError: it is none.
    """
    folder = RunFolder.named(output)
    record = load_run(folder)
    if record is None or format not in record.formats:
        raise RunError(f"--input {output} is no run folder of the stage `{stage}`")
    return folder


def _show(kinds: Mapping[str, Any]) -> None:
    table = Table("kind", "examples", title="Drawn")
    for kind, count in Counter(kinds.values()).most_common(20):
        table.add_row(kind, f"{count:,}")
    console.print(table)
