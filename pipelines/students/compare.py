"""A student held against its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from blocks.distill.compare import compare_pairs, compare_templates
from blocks.execute.options import one_line_errors
from blocks.instruct.instantiate import PAIRS
from blocks.instruct.templatize import TEMPLATES
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.run import load_run
from blocks.shards.summary import check_complete

console = Console()


def compare(
    teacher: Annotated[str, typer.Option(help="Run folder of the stage `templates` or `pairs`.")],
    student: Annotated[str, typer.Option(help="Run folder of the same stage on the same input.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write it to.", dir_okay=False)] = None,
) -> None:
    """Hold a student's templates or pairs against those of its teacher, on input that it has not seen."""
    with one_line_errors(console):
        folders = [RunFolder.named(teacher), RunFolder.named(student)]
        for folder in folders:
            check_complete(folder.output)
        records = [load_run(folder) for folder in folders]
        formats = [set(record.formats) if record else set() for record in records]
        if all(TEMPLATES in names for names in formats):
            found = compare_templates(*folders)
        elif all(PAIRS in names for names in formats):
            found = compare_pairs(*folders)
        else:
            raise RunError(f"{teacher} and {student} are not runs of one stage, `templates` or `pairs`")
        table = Table("", "", title=f"{student}, held against {teacher}")
        for name, value in _flat(found):
            table.add_row(name, value)
        console.print(table)
        if out is not None:
            out.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


def _flat(found: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in found.items():
        shown = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _flat(value, f"{shown}: ")
        else:
            rows.append((shown, "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.1%}"))
    return rows
