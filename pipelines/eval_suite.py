"""Evaluate models with the tools that the papers used: write their commands, run them, collect what came out.

    python pipelines/eval_suite.py write experiments/one --output evaluations
    bash evaluations/evaluate.sh        # here, one after the other; on a cluster: sbatch evaluations/evaluate.sbatch
    python pipelines/eval_suite.py collect evaluations --plot scores.svg

The tools want environments of their own, with other releases than finemill's: the scripts say what to install.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from blocks.evaluate.collect import Arm, Evaluated, arms, collect, noise, plot, write_csv
from blocks.evaluate.suites import SUITES
from blocks.evaluate.targets import FINAL, Judge, Settings, find_targets
from blocks.evaluate.write import check, write_evaluations
from blocks.execute.options import one_line_errors
from blocks.pretrain.ablation import Ablation, load_ablation
from blocks.shards.folder import RunError

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, no_args_is_help=True)
console = Console()

SHOWN = 8
"""Scores of a suite in a table; the CSV file has all."""


@app.command()
def write(
    models: Annotated[
        list[str],
        typer.Argument(help="Trainings of pretrain.py (each checkpoint), models, folders of models by step, Hub ids."),
    ],
    output: Annotated[Path, typer.Option(help="Folder; each model and suite gets one in it.")],
    suite: Annotated[list[str], typer.Option(help=f"May be repeated: {', '.join(SUITES)}.")] = ["finephrase"],  # noqa: B006 - typer copies it
    url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint that serves MODELS by name.")] = None,
    judge: Annotated[str | None, typer.Option(help="Name of the judge. Its key is in JUDGE_API_KEY.")] = None,
    judge_url: Annotated[str, typer.Option(help="Its endpoint.")] = "https://api.openai.com/v1",
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences on the GPU at once.")] = 16,
    max_samples: Annotated[int, typer.Option(min=1, help="Questions per task of the FinePhrase suite.")] = 1000,
    dtype: Annotated[str, typer.Option(help="Of the weights.")] = "bfloat16",
) -> None:
    """Write what evaluates models; start it again when there are more checkpoints."""
    with one_line_errors(console):
        asked = Judge(judge, judge_url.rstrip("/")) if judge else None
        settings = Settings(batch_size=batch_size, max_samples=max_samples, dtype=dtype, judge=asked)
        targets = [target for model in models for target in find_targets(model, url)]
        check(targets, suite, settings)
        left = write_evaluations(targets, suite, settings, output)
        everything = len(targets) * len(set(suite))
        console.print(f"{everything - len(left)} of {everything} evaluations are done", highlight=False)
        for tool in sorted({SUITES[folder.name].install for folder in left}):
            told = f"in an environment of its own: pip install {tool}"
            console.print(told, highlight=False, soft_wrap=True, markup=False)
        if left:
            console.print(f"bash {shlex.quote(str(output / 'evaluate.sh'))}", highlight=False, soft_wrap=True)


@app.command("collect")
def show(
    output: Annotated[Path, typer.Argument(help="The folder of `write`.")],
    table: Annotated[Path | None, typer.Option("--csv", help="Write all scores to this file.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw scores over steps to this .svg or .png.")] = None,
    ablation: Annotated[Path | None, typer.Option(help="YAML of pipelines/ablation.py: compare its arms.")] = None,
) -> None:
    """Show the scores, and those that are missing."""
    with one_line_errors(console):
        found = collect(output)
        compared = load_ablation(ablation) if ablation else None
        for suite in dict.fromkeys(one.suite for one in found):
            _show([one for one in found if one.suite == suite])
        if table:
            write_csv(found, table)
        if picture:
            plot(found, picture, compared)
        if compared:
            _compare(arms(found, compared), compared)
        if missing := [f"{one.model}/{one.suite}" for one in found if one.overall is None]:
            raise RunError(f"{len(missing)} of {len(found)} evaluations are not complete, such as {missing[0]}")


def _show(found: list[Evaluated]) -> None:
    names = list(dict.fromkeys(name for one in found for name in one.scores))[:SHOWN]
    table = Table("model", box=SIMPLE_HEAD, padding=0, collapse_padding=True)
    for name in ("step", *names):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        step = "" if one.step == FINAL else f"{one.step:,}"
        cells = [f"{one.scores[name]:.4f}" if name in one.scores else "-" for name in names]
        table.add_row(one.model, step, *cells)
    console.print(found[0].suite, highlight=False)
    console.print(table)


def _compare(found: list[Arm], ablation: Ablation) -> None:
    first = found[0].name
    table = Table("arm", "suite", box=SIMPLE_HEAD)
    for name in ("step", "seeds", "mean", "sd", f"less {first}"):
        table.add_column(name, justify="right")
    base = {arm.suite: arm.mean for arm in found if arm.name == first}
    for arm in found:
        sd = "-" if arm.sd is None else f"{arm.sd:.4f}"
        step = "" if arm.step == FINAL else f"{arm.step:,}"
        cells = [f"{len(arm.scores)}", f"{arm.mean:.4f}", sd, f"{arm.mean - base[arm.suite]:+.4f}"]
        table.add_row(arm.name, arm.suite, step, *cells)
    console.print(table)
    if (width := noise(ablation)) is not None:
        console.print(
            f"finephrase: by the study's spread over seeds, means of {len(ablation.seeds)} that differ by less than "
            f"{width:.4f} say nothing.",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    app()
