"""The stage `budget` of FineInstructions: good pairs, together no longer than their documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blocks.execute import arguments
from blocks.execute.arguments import IN, KEEP
from blocks.execute.launch import launch
from blocks.execute.options import one_line_errors
from blocks.execute.show import show_samples, show_summary
from blocks.generate.pins import pin_model, tokenizer_hash
from blocks.generate.tokenizer import load_tokenizer
from blocks.instruct.budget import BUDGETED_SCHEMA, MIN_SCORE, Budget, Thresholds
from blocks.instruct.instantiate import PAIR_SCHEMA, PAIRS
from blocks.instruct.pairs import MIN_GROUNDED
from blocks.instruct.templates import MIN_RESEMBLANCE
from blocks.instruct.use import template_use
from blocks.publish.beside import hub_output, publishing
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.read import ReadUnits
from blocks.shards.run import RunRecord, begin_run, kept_pins, load_run
from blocks.shards.side_table import GroupedTable
from blocks.shards.source import list_files, shards_of
from blocks.shards.write import WriteShards
from pipelines.instruct.report import show_use

console = Console()


def budget(
    input: Annotated[str, typer.Option(help="Run folder of the stage `pairs`, complete.", rich_help_panel=IN)],
    output: arguments.Output,
    tokenizer: Annotated[
        str,
        typer.Option(
            help="Hub name or folder of the tokenizer that the pairs will be trained with; the paper's is Llama 3's.",
            rich_help_panel=KEEP,
        ),
    ],
    input_state: Annotated[
        Path | None, typer.Option(help="State folder of that run, if it has one of its own.", rich_help_panel=IN)
    ] = None,
    state: arguments.State = None,
    publish: arguments.Publish = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the tokenizer.", rich_help_panel=KEEP)] = None,
    min_grounded: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of an answer that was copied.", rich_help_panel=KEEP)
    ] = MIN_GROUNDED,
    min_resemblance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Least share of a template's words in the instruction, in order.", rich_help_panel=KEEP
        ),
    ] = MIN_RESEMBLANCE,
    min_score: Annotated[
        float, typer.Option(help="Least score of the judge, where pairs were judged.", rich_help_panel=KEEP)
    ] = MIN_SCORE,
    unlimited: Annotated[
        bool, typer.Option("--unlimited", help="Keep all good pairs, however long.", rich_help_panel=KEEP)
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the choice among a document's pairs.", rich_help_panel=KEEP)] = 0,
    shard_format: arguments.ShardFileFormat = "parquet",
    chunk_size: arguments.ChunkSize = 5000,
    samples: arguments.Samples = 0,
    config: arguments.Config = None,
) -> None:
    """Choose the pairs to train on: grounded, judged well, and together no longer than their documents.

    No model is asked, so another choice is a matter of minutes: take another --output for it.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console):
        output, repository = hub_output(output, publish)
        folder = RunFolder.at(output, state)
        made = RunFolder.at(input, input_state)
        record = load_run(made)
        if record is None or PAIRS not in record.formats:
            raise RunError(f"--input {input} is no run folder of the stage `pairs`")
        pairs = GroupedTable(made, PAIR_SCHEMA.names[1:], key="source_id", name="pairs")
        documents = record.fingerprint["input"]
        files = list_files(shards_of(documents))
        judged = record.fingerprint["judge"] is not None
        pins = kept_pins(load_run(folder), options)
        if "tokenizer" not in pins:
            local = Path(tokenizer).expanduser().exists()
            pins["tokenizer"] = None if local else pin_model(tokenizer, revision, "--tokenizer", "tokenizer.json")
        thresholds = Thresholds(min_grounded, min_resemblance, min_score if judged else None)
        fingerprint: dict[str, Any] = {
            "input": input,
            "pairs": pairs.check(files),
            "chunk_size": chunk_size,
            "shard_format": shard_format,
            "tokenizer": tokenizer_hash(tokenizer, pins["tokenizer"]),
            **thresholds.as_dict(),
            "limited": not unlimited,
            "seed": seed,
        }

        def begin() -> RunRecord:
            return begin_run(folder, fingerprint, {PAIRS: "budgeted"}, pins, options)

        with publishing(repository, folder, console, None), launch(folder, begin, console) as run:
            run.plan(files, chunk_size, None)
            if not judged:
                console.print("These pairs were not judged: none is left out for a bad score.")
            counter = load_tokenizer(tokenizer, pins["tokenizer"])
            for part, _ in run.passes():
                steps = [
                    ReadUnits(part, chunk_size, columns=["pairs"], joined=pairs),
                    Budget(part, thresholds, counter, not unlimited, seed),
                    WriteShards(part, BUDGETED_SCHEMA, shard_format),
                ]
                run.execute(part, steps, 1, 1)
            show_summary(console, folder, run.summary())
            show_use(console, template_use(folder))
            show_samples(console, folder, samples)
