"""What came out of FineInstructions: how pairs use their templates, and where a threshold may lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from blocks.execute import arguments
from blocks.execute.options import one_line_errors
from blocks.instruct.bank import Bank
from blocks.instruct.calibrate import propose, propose_by_pairs, said_by_model, similarities
from blocks.instruct.encoder import Encoder, need_instruct
from blocks.instruct.instantiate import PAIRS
from blocks.instruct.use import template_use
from blocks.shards.folder import RunError, RunFolder, write_atomically
from blocks.shards.plan import check_columns, extend_plan
from blocks.shards.read import look
from blocks.shards.run import load_run
from blocks.shards.source import list_files, pin

console = Console()


def report(
    run: Annotated[str, typer.Argument(help="Run folder of the stage `pairs` or `budget`.")],
    state: Annotated[Path | None, typer.Option(help="State folder of the run, if it has one of its own.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write it to.", dir_okay=False)] = None,
) -> None:
    """Show which templates the pairs of a run use, and whether chunks find what stands in them."""
    with one_line_errors(console):
        folder = RunFolder.at(run, state)
        record = load_run(folder)
        if record is None or PAIRS not in record.formats:
            raise RunError(f"{run} is no run folder of the stage `pairs` or `budget`")
        found = template_use(folder)
        show_use(console, found)
        if out is not None:
            write_atomically(out, orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))


def show_use(console: Console, found: Mapping[str, Any]) -> None:
    """Print what `template_use` has found."""
    table = Table("", title="Use of templates")
    table.add_column("", justify="right")
    for name in ("pairs", "documents", "templates"):
        table.add_row(
            {"documents": "documents with a pair", "templates": "different templates"}.get(name, name),
            f"{found[name]:,}",
        )
    if found["most_used"]:
        table.add_row("largest share of one template", f"{found['most_used'][0]['share']:.2%}")
    for name, share in list(found["sources"].items())[:10]:
        table.add_row(f"from {name or 'an unnamed source'}", f"{share:.1%}")
    for complexity, share in found["complexities"].items():
        table.add_row(f"with {complexity} variable(s)", f"{share:.1%}")
    for k, chunk in found["chunks"].items():
        position = "" if chunk["position"] is None else f", copied from {chunk['position']:.0%} of the document"
        table.add_row(f"found by chunk {k}" if k else "found by the whole document", f"{chunk['pairs']:,}{position}")
    pearson = found["pearson"]
    table.add_row("correlation of chunk and position", "-" if pearson is None else f"{pearson:.2f}")
    for score, count in found["scores"].items():
        table.add_row(f"judged {score}", f"{count:,}")
    console.print(table)


def calibrate(
    input: arguments.Input,
    bank: Annotated[str, typer.Option(help="Run folder of the stage `index`.", rich_help_panel=arguments.IN)],
    text_column: arguments.TextColumn = "text",
    limit: Annotated[int, typer.Option(min=1, help="Documents to look at.", rich_help_panel=arguments.IN)] = 500,
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Run folder of the stage `pairs`, made with a low threshold: what its model said tells more.",
            rich_help_panel=arguments.IN,
        ),
    ] = None,
    pairs_state: Annotated[
        Path | None,
        typer.Option(help="State folder of that run, if it has one of its own.", rich_help_panel=arguments.IN),
    ] = None,
    match_state: Annotated[
        Path | None,
        typer.Option(help="Likewise of the run of `match` that it was made from.", rich_help_panel=arguments.IN),
    ] = None,
) -> None:
    """Propose a threshold for an encoder: matched against random pairs, or what a model made of pairs."""
    with one_line_errors(console):
        need_instruct()
        if pairs is None and (pairs_state or match_state):
            raise RunError("--pairs-state and --match-state are of the runs behind --pairs: give that, too")
        searched = Bank.of_run(bank)
        told = searched.told
        files = list_files(pin(input))
        check_columns(files, [text_column])
        units = extend_plan([], files, limit, limit)
        texts = [document.text for document in look(units, text_column, count=limit)]
        encoder = Encoder.pinned(told["encoder"], told["encoder_revision"], told["max_length"])
        found = propose(*similarities(searched, encoder, texts))
        table = Table("cosine", title=f"{len(texts)} documents, {told['templates']:,} templates, {told['encoder']}")
        rows = {"to the nearest template": found["nearest"], "to a random template": found["random"]}
        if pairs is not None:
            folder = RunFolder.at(pairs, pairs_state)
            record = load_run(folder)
            if record is None or PAIRS not in record.formats:
                raise RunError(f"--pairs {pairs} is no run folder of the stage `pairs`")
            matches = RunFolder.at(record.fingerprint["input"], match_state)
            if (made_from := load_run(matches)) is None or "matches" not in made_from.formats:
                raise RunError(f"--pairs {pairs} was not made from a run of `match`, but from {matches.output}")
            fits, does_not = said_by_model(folder, matches)
            if not len(fits) or not len(does_not):
                raise RunError(f"--pairs {pairs}: {len(fits)} pairs and {len(does_not)} that do not fit tell nothing")
            said = propose_by_pairs(fits, does_not)
            rows |= {f"{len(fits)} pairs": said["fits"], f"{len(does_not)} that do not fit": said["does_not_fit"]}
        for share in found["random"]:
            table.add_column(f"{float(share):.1%}", justify="right")
        for name, values in rows.items():
            table.add_row(name, *(f"{value:.3f}" for value in values.values()))
        console.print(table)
        console.print(
            f"--threshold {found['threshold']:.3f} has {1 - found['by_chance']:.1%} of random pairs below it; "
            f"{found['documents']:.0%} of the documents and {found['embeddings']:.0%} of all embeddings find some.",
            soft_wrap=True,
            highlight=False,
        )
        if pairs is not None:
            console.print(
                f"--threshold {said['threshold']:.3f} keeps {said['fits_above']:.0%} of what became pairs and "
                f"{said['does_not_fit_above']:.0%} of what does not fit.",
                soft_wrap=True,
                highlight=False,
            )
