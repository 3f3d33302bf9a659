"""Fine-tune a student on what the other pipelines have made: completions, pairs, silver data.

    python pipelines/finetune.py --input runs/completions --output runs/student --model mistralai/Mistral-7B-v0.1
    accelerate launch --num_processes 8 pipelines/finetune.py …

Loss on the answers only, LoRA, merged into the student at the end: OUTPUT/model is what any server loads. Kill it at
any moment and start the same command again.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from blocks.execute import arguments
from blocks.execute.arguments import ASK, IN, RUN
from blocks.execute.options import one_line_errors
from blocks.finetune.examples import EMPTY, ID, example_columns, load_examples, split_off
from blocks.finetune.train import (
    EPOCHS,
    Dtype,
    Settings,
    chat_tokenizer,
    check_dtype,
    is_first,
    keep_quiet,
    log_of,
    need_train,
    save,
    train,
    trainer_of,
    weights_of,
)
from blocks.generate.pins import pin_model
from blocks.shards.folder import RunFolder, write_atomically
from blocks.shards.run import begin_run, kept_pins, load_run
from blocks.shards.source import list_files, pin, shards_of
from blocks.shards.summary import check_complete

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

TRAIN = "Training"


@app.command(no_args_is_help=True)
def finetune(
    input: Annotated[
        str,
        typer.Option(
            help="Run folder of noninstruct.py, fineinstructions.py or distill.py, or files with prompt and "
            "completion, instruction and answer, or messages.",
            rich_help_panel=IN,
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, adapter and model.", file_okay=False)],
    model: Annotated[str, typer.Option(help="The student: Hub name or folder.", rich_help_panel=ASK)],
    revision: arguments.Revision = None,
    chat_template: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Jinja file; by default the student's own, and prompts/chat/plain.jinja for one that has none.",
            rich_help_panel=ASK,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first LIMIT examples.", rich_help_panel=IN)] = None,
    held_out: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of the documents to evaluate on, not trained on.", rich_help_panel=IN),
    ] = 0.02,
    epochs: Annotated[float, typer.Option(min=0, help="Passes over the examples.", rich_help_panel=TRAIN)] = EPOCHS,
    learning_rate: Annotated[
        float, typer.Option(help="At its peak, of a cosine.", rich_help_panel=TRAIN)
    ] = Settings.learning_rate,
    batch: Annotated[int, typer.Option(min=1, help="Examples per step.", rich_help_panel=TRAIN)] = Settings.batch,
    device_batch: Annotated[
        int, typer.Option(min=1, help="Examples at a time, per GPU.", rich_help_panel=TRAIN)
    ] = Settings.device_batch,
    max_length: Annotated[
        int, typer.Option(min=8, help="Tokens of an example; longer ones are left out.", rich_help_panel=TRAIN)
    ] = Settings.max_length,
    lora_rank: Annotated[
        int, typer.Option(min=0, help="Of the adapters; 0 trains all weights.", rich_help_panel=TRAIN)
    ] = Settings.lora_rank,
    lora_alpha: Annotated[int, typer.Option(min=1, rich_help_panel=TRAIN)] = Settings.lora_alpha,
    lora_dropout: Annotated[float, typer.Option(min=0, max=1, rich_help_panel=TRAIN)] = Settings.lora_dropout,
    weight_decay: Annotated[float, typer.Option(min=0, rich_help_panel=TRAIN)] = Settings.weight_decay,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of the result; by default the student's own.", rich_help_panel=TRAIN)
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option(help="Save memory for time; by default on GPUs.", rich_help_panel=TRAIN)
    ] = None,
    save_steps: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints.", rich_help_panel=TRAIN)
    ] = Settings.save_steps,
    seed: Annotated[int, typer.Option(help="Of adapters, order and held-out documents.", rich_help_panel=TRAIN)] = 0,
    samples: Annotated[int, typer.Option(min=0, help="Answers to held-out prompts.", rich_help_panel=RUN)] = 8,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show an example as the student reads it; train nothing.")
    ] = False,
    config: arguments.Config = None,
) -> None:
    """Fine-tune a student on prompts and completions, and merge what it has learned into its weights."""
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    with one_line_errors(console), ExitStack() as alone:
        need_train()
        keep_quiet()
        folder = RunFolder.at(str(output))
        pins = kept_pins(load_run(folder), options)
        if "input" not in pins:
            pins["input"] = pin(input)
        check_complete(pins["input"])
        files = list_files(shards_of(pins["input"]))
        if "model_revision" not in pins or Path(model).expanduser().is_dir():  # a folder may have changed since
            pins["model_revision"] = pin_model(model, revision)
        commit = None if pins["model_revision"].startswith("local-") else pins["model_revision"]
        settings = Settings(
            epochs,
            learning_rate,
            batch,
            device_batch,
            max_length,
            lora_rank,
            lora_alpha,
            lora_dropout,
            weight_decay,
            dtype,
            gradient_checkpointing,
            save_steps,
            seed,
        )
        _ = settings.accumulated  # a batch that cannot be divided is an error now
        tokenizer = chat_tokenizer(model, commit, chat_template)
        columns = example_columns(files)
        fingerprint: dict[str, Any] = {
            "files": [[file.name, file.size] for file in files],
            "columns": columns,
            "model": model,
            "model_revision": pins["model_revision"],
            "weights": weights_of(model),
            "chat_template": tokenizer.chat_template,
            "limit": limit,
            "held_out": held_out,
            **settings.shaping,
        }
        if is_first() and not dry_run:
            folder.prepare()
            alone.enter_context(folder.lock())
            begin_run(folder, fingerprint, {"model": "fine-tuned"}, pins, options)
        with tempfile.TemporaryDirectory() if dry_run else nullcontext(folder.state / "examples") as cache:
            found = load_examples(files, Path(cache), tokenizer, limit)
            examples, aside = split_off(found.rows, held_out, seed)
            empty = found.left_out.pop(EMPTY, [])
            if dry_run:
                _show_example(tokenizer, found.rows[0])
                console.print(
                    f"{len(examples):,} examples of {' and '.join(columns)}, {len(aside):,} more are held out; "
                    f"{len(empty):,} rows have no question or no answer, {_counts(found.left_out)} cannot be used; "
                    f"{found.broken_up:,} examples quote special tokens, which are broken up"
                )
                return
        check_dtype(output / "model", dtype)
        if (output / "training.json").is_file():
            console.print(f"It is trained; there is nothing to do. model: {output / 'model'}", soft_wrap=True)
            return
        checkpoints = output / "checkpoints"
        trainer, too_long = trainer_of(model, commit, tokenizer, examples, aside, settings, checkpoints, _say)
        if not (output / "model").is_dir():
            train(trainer, checkpoints)
            save(trainer, model, commit, settings, output)
        if is_first():
            tokens, log = trainer.eval_dataset, log_of(trainer, checkpoints)
            told = {
                "examples": len(trainer.train_dataset),
                "held_out": len(tokens or ()),
                "special_tokens_broken_up": found.broken_up,
                "empty": empty,
                "unusable": found.left_out,
                "too_long": too_long,
                "loss": [[line["step"], line["loss"]] for line in log if "loss" in line],
            }
            del trainer  # its weights and optimizer would take the memory that evaluation needs
            told |= _evaluate(model, commit, output, tokenizer, tokens, aside, samples)
            write_atomically(output / "training.json", orjson.dumps(told, option=orjson.OPT_INDENT_2))
            _show(told, output)


def _evaluate(
    model: str, commit: str | None, output: Path, tokenizer: Any, tokens: Any, aside: Any, count: int
) -> dict[str, Any]:
    """Perplexity of the student before and after on what was held out, and its answers."""
    from blocks.finetune import evaluate

    told: dict[str, Any] = {"perplexity": {}, "samples": []}
    if tokens is not None and len(tokens):
        before = evaluate.load(model, commit)
        told["perplexity"]["before"] = evaluate.perplexity(before, tokens)
        del before
        after = evaluate.load(str(output / "model"))
        told["perplexity"]["after"] = evaluate.perplexity(after, tokens)
        short = set(tokens[ID])
        few = [example for example in aside if example[ID] in short][:count]
        told["samples"] = evaluate.samples(after, tokenizer, few)
    return told


def _say(line: str) -> None:
    console.print(line, highlight=False)


def _show_example(tokenizer: Any, example: dict[str, Any]) -> None:
    asked = tokenizer.apply_chat_template(example["prompt"], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*example["prompt"], *example["completion"]], tokenize=False)
    console.print(Text(asked, "dim") + Text(whole.removeprefix(asked), "bold"))


def _counts(unusable: dict[str, list[str]]) -> str:
    return ", ".join(f"{len(ids):,} {reason}" for reason, ids in unusable.items()) or "0"


def _show(told: dict[str, Any], output: Path) -> None:
    table = Table("", "")
    table.add_row("examples", f"{told['examples']:,}")
    table.add_row("with special tokens, broken up", f"{told['special_tokens_broken_up']:,}")
    table.add_row("without a question or an answer, left out", f"{len(told['empty']):,}")
    table.add_row("cannot be used, left out", _counts(told["unusable"]))
    table.add_row("longer than --max-length, left out", f"{len(told['too_long']):,}")
    table.add_row("held out", f"{told['held_out']:,}")
    if told["loss"]:
        table.add_row("loss, first and last", f"{told['loss'][0][1]:.3f} → {told['loss'][-1][1]:.3f}")
    for when, value in told["perplexity"].items():
        table.add_row(f"perplexity of held-out answers {when}", f"{value:.3f}")
    console.print(table)
    for sample in told["samples"][:2]:
        shown = Table("prompt", "wanted", "said", title=escape(sample["id"]), expand=True)
        shown.add_row(*(Text(sample[name][:600]) for name in ("prompt", "wanted", "said")))
        console.print(shown)
    console.print(f"model: {output / 'model'}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
