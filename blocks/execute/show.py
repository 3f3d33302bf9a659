"""Prints what a person wants to see: the summary of a run and a few of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import fsspec
import orjson
import pyarrow.parquet as pq
from datatrove.data import Document
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from blocks.generate.errors import Rejected
from blocks.shards.chunk import SOURCE
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunFolder
from blocks.shards.plan import Unit, planned_rows

SHOWN_CHARACTERS = 1200
"""Of a printed sample, and of its source."""


LOOKED = 100
"""Documents of which one should do for a dry run."""


def first_request(
    name: str, documents: Iterable[Document], request: Callable[[Document], Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """The request for the first document that is not rejected, by what it is called; empty where all are."""
    for document in documents:
        with suppress(Rejected):
            return {name: request(document)}
    return {}


def show_plan(console: Console, units: Sequence[Unit], requests: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what a run would do: its plan, and one request per format."""
    rows = planned_rows(units)
    console.print(f"plan: {len(units)} unit(s), {'rows not counted' if rows is None else f'{rows:,} rows'}")
    for unit in units[:20]:
        end = "end" if unit.stop is None else unit.stop
        console.print(f"  {unit.number:05d}  {unit.file.url}  rows {unit.start}-{end}", highlight=False, soft_wrap=True)
    if len(units) > 20:
        console.print(f"  … and {len(units) - 20} more")
    for name, body in requests.items():
        console.print(Rule(Text(name)))
        console.print_json(data=body)
    console.print("This was a dry run: nothing was started or written.")


def show_routing(console: Console, report: Mapping[str, Mapping[str, Any]], route: str) -> None:
    """Print which formats suit how many of the first documents, and why not the others.

    Args:
        console: where to.
        report: see `routing_report`.
        route: `all` or `auto`.
    """
    documents = max((found["suits"] + sum(found["spared"].values()) for found in report.values()), default=0)
    spared = sum(sum(found["spared"].values()) for found in report.values())
    if not documents or (route == "all" and not spared):
        return
    share = spared / (documents * len(report))
    does = "saves" if route == "auto" else "would save"
    console.print(
        f"--route auto {does} {share:.0%} of the requests ({documents:,} documents looked at)", highlight=False
    )
    for name, found in report.items():
        reasons = "; ".join(f"{count:,} have {reason}" for reason, count in found["spared"].items())
        of = f": {reasons}" if reasons else ""
        console.print(f"  {name}: suits {found['suits']:,}{of}", highlight=False, soft_wrap=True)


def show_summary(console: Console, folder: RunFolder, summary: dict[str, Any]) -> None:
    """Print the balances, reasons, tokens and where the shards are."""
    console.print(f"{folder.output}{'' if summary['complete'] else '  (not complete)'}", soft_wrap=True)
    table = Table()
    table.add_column("")
    table.add_column("count", justify="right")
    for name in ("read", "done"):
        table.add_row(f"documents {name}", f"{summary[name]:,}")
    if excluded := summary["documents"]["excluded"]:
        table.add_row("rows left out by --where", f"{excluded:,}")
    for name, count in summary["written"].items():
        table.add_row(f"samples written: {name or 'documents'}", f"{count:,}")
    for kind in ("rejected", "failed"):
        for reason, count in summary[kind].items():
            by = " by check" if reason in summary["checks"] else ""
            table.add_row(f"{kind}{by}: {reason}", f"{count:,}")
    for name, check in summary["checks"].items():
        if check["flagged"]:
            table.add_row(f"flagged by check: {name}", f"{check['flagged']:,}")
    for name, reasons in summary["spared"].items():
        table.add_row(f"not asked for: {name}", f"{sum(reasons.values()):,}")
    if cut := summary["judge_input_cut"]:
        table.add_row("sources cut for the judge", f"{cut:,}")
    if replaced := summary["pii_replaced"]:
        table.add_row("samples with addresses replaced", f"{replaced:,}")
    if broken := summary["special_tokens_broken_up"]:
        table.add_row("special tokens broken up", f"{broken:,}")
    for name, count in summary["counts"].items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    if summary["requests"]:
        table.add_row("prompt tokens", f"{summary['prompt_tokens']:,}")
        table.add_row("completion tokens", f"{summary['completion_tokens']:,}")
        rate = summary["completion_tokens_per_second"]
        table.add_row("completion tokens/s", "-" if rate is None else f"{rate:,}")
    if summary["paid"]:
        table.add_row("paid", f"{summary['paid']:,.2f}")
    table.add_row("seconds", f"{summary['seconds']:,}")
    console.print(table)
    for alarm in summary["alarms"]:
        of = f"{alarm['format']}: " if alarm["format"] else ""
        console.print(Text(f"alarm: {of}{alarm['text']}", style="bold yellow"), soft_wrap=True)
    console.print(f"shards:   {folder.output}/shards/", highlight=False, soft_wrap=True)
    if summary["rejected"] or summary["failed"]:
        console.print(f"rejected: {folder.output}/rejected/", highlight=False, soft_wrap=True)
    console.print(f"summary:  {folder.output}/summary.json", highlight=False, soft_wrap=True)


def show_samples(console: Console, folder: RunFolder, count: int = 3) -> None:
    """Print samples of as many formats as possible, of different documents, beside what they were made from.

    The source is there where samples were written with it (`--keep-source`).
    """
    shards: dict[str, str] = {}
    for commit in load_commits(folder):
        for file in commit.files:
            kind, _, rest = file.path.partition("/")
            if kind == "shards" and file.rows:
                shards.setdefault(rest.partition("/")[0], file.path)
        if len(shards) >= count:
            break
    for number, path in enumerate(list(shards.values())[:count]):
        with fsspec.open(f"{folder.output}/{path}", "rb") as stream:
            rows = _first_rows(stream, number + 1, path.endswith(".jsonl"))
        show_sample(console, rows[-1])


def show_sample(console: Console, row: Mapping[str, Any]) -> None:
    """Print a sample, or a row of `rejected/`, beside its document, with what the checks found and the judge said."""
    table = Table(expand=True)
    texts = [_shortened(row["text"] if "text" in row else row.get("raw") or "(no answer)")]
    if row.get(SOURCE):
        table.add_column("document", ratio=1)
        texts.insert(0, _shortened(row[SOURCE]))
    title = f"{row['id']}: {row['kind']}, {row['reason']}" if "reason" in row else row["id"]
    table.add_column(Text(title), ratio=1)
    table.add_row(*texts)
    console.print(table)
    flagged = [check for check in row.get("checks") or () if check["verdict"] != "pass"]
    said = [
        f"{check['check']} {check['value']:g} ({check['verdict']})" for check in flagged if check["value"] is not None
    ]
    if row.get("detail"):
        said.append(row["detail"])
    if row.get("judge_score") is not None:
        said.append(f"judged {row['judge_score']:g}: {row.get('judge_feedback') or ''}")
    for line in said:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _first_rows(stream: Any, count: int, lines: bool) -> list[dict[str, Any]]:
    """At most `count` rows of a shard of JSON Lines or Parquet."""
    if lines:
        return [orjson.loads(line) for line in islice(stream, count)]
    parquet = pq.ParquetFile(stream)
    columns = [name for name in ("id", "text", SOURCE) if name in parquet.schema_arrow.names]
    rows: list[dict[str, Any]] = next(parquet.iter_batches(count, columns=columns)).to_pylist()
    return rows


def _shortened(text: str) -> Text:
    return Text(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …")
