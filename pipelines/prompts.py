"""Prompts: list the built-in ones, show one, and see what a model is asked about a document of yours.

    python pipelines/prompts.py list
    python pipelines/prompts.py render math.story --input demo/documents.jsonl --row 3

What `render` prints comes from the step that asks the model, `Rephrase`, so that special tokens are broken up and long
documents are cut as in a run of this prompt alone. No model is asked.
"""

from __future__ import annotations

import sys
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml
from rich.console import Console
from rich.table import Table

from blocks.execute.options import one_line_errors
from blocks.filters.verify import ALWAYS, run_rules
from blocks.generate.endpoint import Endpoint
from blocks.generate.model import DEFAULT_CONTEXT
from blocks.generate.prompts import Prompt, known_prompts, load_prompt, load_wordings
from blocks.generate.tokenizer import load_tokenizer
from blocks.rephrase.rephrase import Rephrase
from blocks.shards.folder import RunError
from blocks.shards.plan import check_columns
from blocks.shards.rows import BadRow, read_rows
from blocks.shards.source import list_files

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_show_locals=False,
    no_args_is_help=True,
    help="List the built-in prompts, show one, or render one on a document. No model is asked.",
)
# In a pipe there is no window to fit a table in: a line per prompt.
console = Console(width=None if sys.stdout.isatty() else 240)
# Figures go to the other stream, so that what is rendered can be piped on.
figures = Console(stderr=True, highlight=False)

PROMPT = Annotated[
    str,
    typer.Argument(
        metavar="PROMPT", help="Name of a built-in prompt (math), of one of its wordings (math.story), or a file."
    ),
]


@app.command("list")
def list_prompts(
    family: Annotated[str | None, typer.Option(help="Only this family, such as nemotron.")] = None,
) -> None:
    """Print all built-in prompts: family, wordings, expected length, checks and source."""
    with one_line_errors(console):
        prompts = known_prompts()
        families = list(dict.fromkeys(prompt.family for prompt in prompts))
        if family is not None and family not in families:
            raise RunError(f"there is no family {family!r}; there are {', '.join(families)}")
        table = Table(box=None, pad_edge=False)
        for title in ("prompt", "family", "wordings", "words per source word", "checks", "source"):
            table.add_column(title, overflow="fold")
        for prompt in prompts:
            if family in (None, prompt.family):
                ratio = prompt.extra.get("length_ratio")
                length = "{:g} – {:g}".format(*ratio) if ratio else ""
                table.add_row(
                    *(prompt.name, prompt.family, str(len(load_wordings(prompt.name))), length),
                    *(_checks(prompt), prompt.source.removesuffix("; our wording")),
                )
        console.print(table, highlight=False)
        console.print(f"\nEvery format is also checked for {', '.join(ALWAYS)}; * marks other thresholds.", style="dim")


@app.command()
def show(prompt: PROMPT) -> None:
    """Print the front matter of a prompt and the text of each of its wordings."""
    with one_line_errors(console):
        wordings = load_wordings(prompt)
        first = wordings[0]
        front = {
            **{"name": first.name, "family": first.family, "source": first.source, "max_tokens": first.max_tokens},
            **first.extra,
        }
        typer.echo(yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000), nl=False)
        for wording in wordings:
            typer.echo(f"\n--- {wording.title} ({wording.hash}): {wording.description}\n\n{wording.text}")


@app.command()
def render(
    prompt: PROMPT,
    input: Annotated[
        str, typer.Option(help="JSON Lines or Parquet as in finephrase.py, a .txt file, or - for standard input.")
    ],
    row: Annotated[int, typer.Option(min=0, help="Which row of JSON Lines or Parquet; the first is 0.")] = 0,
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    tokenizer: Annotated[str, typer.Option(help="Hub name or path. 'none' estimates 3 characters per token.")] = "none",
    prompt_layout: Annotated[
        Literal["instruction-first", "document-first"], typer.Option(help="Where the document stands.")
    ] = "instruction-first",
    context: Annotated[int, typer.Option(help="Tokens of prompt and answer together.")] = DEFAULT_CONTEXT,
) -> None:
    """Print the user message for a document, and on standard error how many tokens it takes."""
    with one_line_errors(console):
        wording = load_prompt(prompt)
        text = _document(input, row, text_column)
        counter = load_tokenizer(None if tokenizer == "none" else tokenizer)
        rephrase = Rephrase([wording], Endpoint((), ""), counter, context=context, layout=prompt_layout)
        room = rephrase.room
        prepared = rephrase.prepare(text)
        sent = prepared.pieces[0]
        messages = rephrase.request(wording, sent)["messages"]
        typer.echo(messages[0]["content"])

        about = "about " if tokenizer == "none" else ""
        around = counter.count_chat([{"role": "user", "content": wording.render("", prompt_layout)}])
        table = Table(title=f"{wording.title}, {prompt_layout}", title_justify="left", show_header=False)
        table.add_row("instruction and chat template", f"{about}{around:,} tokens")
        table.add_row("document", f"{about}{counter.count(sent):,} tokens")
        table.add_row("both together", f"{about}{counter.count_chat(messages):,} tokens")
        table.add_row("longest answer", f"{rephrase.answer_tokens(wording):,} tokens")
        table.add_row("room for a document", f"{room:,} of {context:,} tokens")
        lost = len(text.strip()) - len(sent)
        table.add_row("document cut", f"yes, its last {lost:,} characters are left out" if prepared.cut else "no")
        table.add_row("special tokens broken up", f"{prepared.broken:,}")
        figures.print(table)


def _checks(prompt: Prompt) -> str:
    """What a format is checked for beyond what every format is, and what it is not."""
    rules = {rule.check: rule for rule in run_rules([prompt], {})[prompt.name]}
    # The usual ratio has a column of its own.
    special = {name for name, rule in rules.items() if rule.verdicts or rule.thresholds.keys() - {"usual_ratio"}}
    own = [f"{name}*" if name in special else name for name in rules if name in special or name not in ALWAYS]
    return ", ".join([*own, *(f"no {name}" for name in ALWAYS if name not in rules)])


def _document(source: str, row: int, text_column: str) -> str:
    """The text to render a prompt on.

    Raises:
        RunError: there is no such file, column or row, or no text in it.
    """
    if source == "-" or source.endswith(".txt"):
        where = "standard input" if source == "-" else source
        found: object = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    else:
        where = f"row {row} of {source}"
        files = list_files(source)
        check_columns(files, [text_column])
        rows = chain.from_iterable(read_rows(file, 0, None, [text_column]) for file in files)
        line = next(islice(rows, row, None), None)
        if line is None:
            raise RunError(f"there is no {where}: it has fewer rows")
        if isinstance(line, BadRow):
            raise RunError(f"{where} cannot be read: {line.reason}")
        found = line.get(text_column)
    if not isinstance(found, str) or not found.strip():
        raise RunError(f"{where} has no text")
    return found


if __name__ == "__main__":
    app()
