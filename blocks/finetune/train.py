"""Supervised fine-tuning with TRL: loss on what the student shall say and on nothing else, LoRA, merged at the end.

The result is a plain folder of Hugging Face's format, with the chat template it was trained with: any server loads it.
A training that was killed goes on from its last whole checkpoint, with the same batches as if nothing had been.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from blocks.finetune.examples import ID
from blocks.generate.prompts import PROMPTS
from blocks.shards.folder import RunError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

PLAIN = PROMPTS / "chat" / "plain.jinja"
"""The chat template of base models that have none."""

EPOCHS = 3
"""Of non-instructional fine-tuning (arXiv 2409.00096), and so is LoRA; every other number here is ours."""

Dtype = Literal["bfloat16", "float16", "float32", "float64"]
"""In which weights can be merged; torch's smaller ones cannot."""


@dataclass(frozen=True)
class Settings:
    """How a student is trained.

    Args:
        epochs: passes over the examples.
        learning_rate: at its peak; it warms up over a thirtieth of the steps, then falls as a cosine.
        batch: examples per step, over all processes.
        device_batch: examples that go through the network at a time, per process.
        max_length: tokens of an example; longer ones are left out.
        lora_rank: rank of the adapters of all linear layers; 0 trains all weights.
        lora_alpha: scale of the adapters, divided by the rank.
        lora_dropout: of what goes into the adapters.
        weight_decay: of AdamW.
        dtype: of the result; None for the student's own.
        gradient_checkpointing: compute activations twice instead of keeping them; None for yes on a GPU.
        save_steps: steps between two checkpoints.
        seed: of adapters, order and dropout.
    """

    epochs: float = EPOCHS
    learning_rate: float = 2e-4
    batch: int = 64
    device_batch: int = 4
    max_length: int = 4096
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    weight_decay: float = 0.0
    dtype: Dtype | None = None
    gradient_checkpointing: bool | None = None
    save_steps: int = 100
    seed: int = 0

    @property
    def accumulated(self) -> int:
        """Passes through the network per step and process.

        Raises:
            RunError: the batch cannot be divided among the processes.
        """
        return accumulated(self.batch, self.device_batch)

    @property
    def shaping(self) -> dict[str, Any]:
        """What shapes the training; the rest may change between two launches."""
        others = ("device_batch", "dtype", "gradient_checkpointing", "save_steps")
        return {name: value for name, value in asdict(self).items() if name not in others}


def need_train() -> None:
    """Say how to get what only the training needs.

    Raises:
        RunError: it is not installed here.
    """
    if missing := [name for name in ("torch", "trl", "peft") if find_spec(name) is None]:
        raise RunError(
            f"{', '.join(missing)} not installed here: pip install -e '.[train]' (on a machine without a GPU first "
            f"pip install torch --index-url https://download.pytorch.org/whl/cpu)"
        )


def keep_quiet() -> None:
    """Leave out progress bars and warnings that tell a user nothing: what counts is said by `say`."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def processes() -> int:
    """Processes that train together, as accelerate started them."""
    return int(os.environ.get("WORLD_SIZE", 1))


def accumulated(batch: int, device_batch: int) -> int:
    """Passes through the network per step and process.

    Raises:
        RunError: the batch cannot be divided among the processes.
    """
    at_once = device_batch * processes()
    if batch % at_once:
        raise RunError(f"--batch {batch} is no multiple of --device-batch {device_batch} × {processes()} process(es)")
    return batch // at_once


def is_first() -> bool:
    """Whether this is the process that writes."""
    return int(os.environ.get("RANK", 0)) == 0


def weights_of(model: str) -> list[list[Any]]:
    """Name, size and time of each file of weights of a local model, which may be trained again at the same place."""
    files = sorted(Path(model).expanduser().glob("*.safetensors"))
    return [[file.name, (told := file.stat()).st_size, told.st_mtime_ns] for file in files]


def chat_tokenizer(model: str, revision: str | None, template: Path | None) -> PreTrainedTokenizerBase:
    """A model's tokenizer with the chat template to train with: the given one, its own, or the plain one.

    Args:
        model: Hub name or folder.
        revision: commit hash; None for a folder.
        template: a Jinja file.

    Returns:
        The tokenizer; its `eos_token` is what the template ends an answer with, so that servers stop there.

    Raises:
        RunError: the template ends an answer with no token that a server could stop at.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    if template is not None or not tokenizer.chat_template:
        tokenizer.chat_template = (template or PLAIN).read_text(encoding="utf-8").rstrip("\n")
    said = "What the assistant says"
    chat = [{"role": "user", "content": "What the user says"}, {"role": "assistant", "content": said}]
    behind = tokenizer.apply_chat_template(chat, tokenize=False).rpartition(said)[2]
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    ends = [number for number in tokenizer(behind, add_special_tokens=False)["input_ids"] if number in special]
    if not ends:
        raise RunError(
            f"the chat template of {model} ends an answer with no special token, so a student of it would never stop: "
            f"give a --chat-template that ends one with eos_token, such as {PLAIN}"
        )
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
    return tokenizer


def trainer_of(
    model: str,
    revision: str | None,
    tokenizer: PreTrainedTokenizerBase,
    examples: Dataset,
    aside: Dataset,
    settings: Settings,
    folder: Path,
    say: Callable[[str], None] = print,
) -> tuple[SFTTrainer, list[str]]:
    """What trains, and the ids of the examples that are too long.

    Args:
        model: Hub name or folder of the student.
        revision: commit hash; None for a folder.
        tokenizer: with its chat template.
        examples: from `load_examples`.
        aside: held-out examples; its tokens are wanted, nothing is trained on them.
        settings: how to train.
        folder: for checkpoints.
        say: takes a line about how it gets on.

    Raises:
        RunError: no example is short enough.
    """
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    gpu = torch.cuda.is_available()
    # Frozen weights need no more; those that are trained would lose small steps to rounding.
    dtype = torch.bfloat16 if gpu and settings.lora_rank else torch.float32
    arguments = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.device_batch,
        gradient_accumulation_steps=settings.accumulated,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=1 / 30,
        weight_decay=settings.weight_decay,
        completion_only_loss=True,
        max_length=None,  # nothing is cut: what is too long is left out below, and counted
        bf16=gpu,
        use_cpu=not gpu,
        gradient_checkpointing=gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        eval_strategy="no",
        logging_steps=max(1, min(10, settings.save_steps)),
        seed=settings.seed,
        data_seed=settings.seed,
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype),
        args=arguments,
        train_dataset=examples,
        eval_dataset=aside if len(aside) else None,
        processing_class=tokenizer,
        peft_config=lora if settings.lora_rank else None,
        callbacks=[stop_in_time(), *([progress(say)] if is_first() else [])],
    )
    too_long = []
    for name in ("train_dataset", "eval_dataset"):
        tokens = getattr(trainer, name)
        if tokens is None:
            continue
        lengths = [len(ids) for ids in tokens["input_ids"]]
        too_long += [one for one, length in zip(tokens[ID], lengths, strict=True) if length > settings.max_length]
        short = [at for at, length in enumerate(lengths) if length <= settings.max_length]
        setattr(trainer, name, tokens.select(short))
    if not len(trainer.train_dataset):
        raise RunError(f"no example has at most --max-length {settings.max_length} tokens")
    return trainer, too_long


def train(trainer: SFTTrainer, folder: Path) -> None:
    """Train to the end, from the last whole checkpoint in `folder` if there is one."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # prints dictionaries
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    if trainer.state.global_step < trainer.state.max_steps:
        raise SystemExit(0)  # told to stop, see `stop_in_time`


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; those that were not are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        if _is_whole(path):
            return str(path)
        if is_first():
            shutil.rmtree(path)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: its last file can be read, which is not written atomically."""
    try:
        orjson.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return True


def log_of(trainer: SFTTrainer, folder: Path) -> list[dict[str, Any]]:
    """What was logged on the way, also by earlier launches.

    Args:
        trainer: whether it has trained in this launch or not.
        folder: with the checkpoints.
    """
    from transformers import TrainerState

    log: list[dict[str, Any]] = trainer.state.log_history
    if not log and (last := last_checkpoint(folder)) is not None:
        log = TrainerState.load_from_json(f"{last}/trainer_state.json").log_history
    return log


def save(trainer: SFTTrainer, model: str, revision: str | None, settings: Settings, folder: Path) -> None:
    """Write `folder / "model"`, with the adapters merged, and the adapters alone to `folder / "adapter"`.

    They are merged into the student as it was loaded, not into what trained: that may be spread over many GPUs.

    Args:
        trainer: when it has trained.
        model: Hub name or folder of the student.
        revision: its commit hash.
        settings: as it was trained.
        folder: of the run.
    """
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    trained, new = folder / ("adapter" if settings.lora_rank else "trained"), folder / "model.new"
    trainer.save_model(str(trained))
    if not is_first():
        return
    dtype = settings.dtype or "auto"
    if settings.lora_rank:
        student = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype)
        whole = PeftModel.from_pretrained(student, str(trained)).merge_and_unload()
    else:
        config = AutoConfig.from_pretrained(model, revision=revision)
        whole = AutoModelForCausalLM.from_pretrained(str(trained), dtype=settings.dtype or config.dtype)
        shutil.rmtree(trained)
    shutil.rmtree(new, ignore_errors=True)
    end = trainer.processing_class.eos_token_id
    others = whole.generation_config.eos_token_id
    others = others if isinstance(others, list) else [others]
    whole.config.eos_token_id = end
    whole.generation_config.eos_token_id = [end, *(one for one in others if one not in (None, end))]
    whole.save_pretrained(str(new))
    trainer.processing_class.save_pretrained(str(new))
    new.rename(folder / "model")


def check_dtype(merged: Path, dtype: Dtype | None) -> None:
    """Look whether a student that is merged already is what is asked for now.

    Args:
        merged: from `save`; it need not be there.
        dtype: None takes any.

    Raises:
        RunError: it is of another dtype.
    """
    if dtype is None or not merged.is_dir():
        return
    was = orjson.loads((merged / "config.json").read_bytes())["dtype"]
    if was != dtype:
        raise RunError(f"{merged} is {was}: move it and training.json away, and it is merged again as {dtype}")


def stop_in_time() -> Any:
    """After SIGUSR1 all processes write a checkpoint at the same step, and end; after the training they just end."""
    import torch
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        told = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            def stop(*_: Any) -> None:
                self.told = True

            signal.signal(signal.SIGUSR1, stop)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            told = self.told
            if torch.distributed.is_initialized():
                anybody = torch.tensor(int(told), device=args.device)
                torch.distributed.all_reduce(anybody, torch.distributed.ReduceOp.MAX)
                told = bool(anybody)
            if told:
                control.should_save = control.should_training_stop = True

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # What follows is done anew by the next launch, so a signal may end it.
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            if self.told:  # perhaps after the last step, where nobody looked any more
                raise SystemExit(0)

    return Stop()


def progress(say: Callable[[str], None]) -> Any:
    """Says every now and then how far the training is.

    Args:
        say: takes a line.
    """
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        begun, first = 0.0, 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.begun, self.first = time.monotonic(), state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and math.isfinite(logs.get("loss", math.nan)):
                done = state.global_step - self.first
                left = (state.max_steps - state.global_step) * (time.monotonic() - self.begun) / max(1, done)
                say(
                    f"{time.strftime('%H:%M:%S')} step {state.global_step:,} of {state.max_steps:,}, "
                    f"epoch {state.epoch:.2f}, loss {logs['loss']:.3f}, ETA {left / 60:.0f} min"
                )

    return Progress()
