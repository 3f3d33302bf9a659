"""Fine-tuning of the embedding that matches documents and templates, with the trainer of sentence-transformers.

FineInstructions (arXiv 2601.22146), stage C: the cosine of a document and the description of a template shall be 1
where they fit and 0 where they do not. In round 1 the document is the mean of all its token embeddings. In round 2 it
is that of the labelled part alone: the other tokens are masked before the encoder reads them, so that a token's
embedding keeps to what stands around it. A description is always the mean of all its tokens, as at inference
(`blocks.instruct.encoder`).

A document that is longer than the encoder is cut to one window: its beginning, or what lies around the labelled part.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.finetune.train import accumulated, is_first, progress, stop_in_time
from blocks.instruct.encoder import Encoder
from blocks.instruct.pooling import CHUNKS, gaussian_weights
from blocks.shards.folder import RunError

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer


@dataclass(frozen=True)
class Settings:
    """How an encoder is trained. The paper gives the loss and the rounds; all numbers are ours.

    Args:
        round: 1 trains embeddings of documents, 2 those of their parts.
        epochs: passes over the examples.
        learning_rate: at its peak; it warms up over a tenth of the steps, then falls on a line.
        batch: examples per step, over all processes.
        device_batch: examples that go through the network at a time, per process.
        save_steps: steps between two checkpoints.
        seed: of order and dropout.
    """

    round: int = 1
    epochs: float = 1
    learning_rate: float = 2e-5
    batch: int = 32
    device_batch: int = 4
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
        """What shapes the result; the rest may change between two launches."""
        told = asdict(self)
        return {name: told[name] for name in told if name != "save_steps"}


def need_embedding() -> None:
    """Say how to get what only this training needs.

    Raises:
        RunError: it is not installed here.
    """
    needed = ("torch", "sentence_transformers", "datasets", "accelerate")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise RunError(
            f"{', '.join(missing)} not installed here: pip install -e '.[instruct,train]' (on a machine without a GPU "
            f"first pip install torch --index-url https://download.pytorch.org/whl/cpu)"
        )


def chunk_mask(tokens: int, chunk: int) -> list[int]:
    """Which tokens of a document are attended for a part: where its bell is at least half as high as at its top.

    The paper's "weight ≥ 0.5" cannot be meant of weights that are together 1, so it is read as a share of the largest.
    Thus every part has a token, in the shortest document, too. Special tokens at the ends are tokens like others, as
    they are at inference: no bell reaches them, unless the document is very short.

    Args:
        tokens: of the document, with special tokens.
        chunk: 1 to `CHUNKS`.
    """
    import torch

    weights = gaussian_weights(torch.ones(1, tokens))[0, chunk - 1]
    return [int(one) for one in weights >= weights.max() / 2]


@dataclass
class Collator:
    """Rows to a batch as `CosineSimilarityLoss` wants it; what is not attended is not in the mean, either.

    Args:
        tokenizer: the encoder's.
        length: tokens that it reads.
        parts: attend only the part `chunk_k` of a document, if it is not 0.
    """

    tokenizer: Any
    length: int
    parts: bool
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])  # the trainer looks for it

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Token numbers and masks of documents and descriptions, and labels."""
        import torch

        columns = {
            "document": [self._document(row["text"], row["chunk_k"] if self.parts else 0) for row in rows],
            "description": [self._document(row["description"], 0) for row in rows],
        }
        batch = {"label": torch.tensor([float(row["label"]) for row in rows])}
        for name, column in columns.items():
            padded = self.tokenizer.pad(column, padding_side="right", return_tensors="pt", verbose=False)
            batch |= {f"{name}_{kind}": padded[kind] for kind in ("input_ids", "attention_mask")}
        return batch

    def _document(self, text: str, chunk: int) -> dict[str, list[int]]:
        if chunk == 0:
            tokens = self.tokenizer(text, truncation=True, max_length=self.length)["input_ids"]
            return {"input_ids": tokens, "attention_mask": [1] * len(tokens)}
        tokens = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        middle = round(len(tokens) * chunk / (CHUNKS + 1))
        first = max(0, min(middle - self.length // 2, len(tokens) - self.length))
        window = slice(first, first + self.length)
        return {"input_ids": tokens[window], "attention_mask": chunk_mask(len(tokens), chunk)[window]}


def trainer_of(
    encoder: Encoder, rows: Dataset, settings: Settings, folder: Path, say: Callable[[str], None] = print
) -> SentenceTransformerTrainer:
    """What trains an encoder; its pooling is replaced by the mean, as at inference.

    Args:
        encoder: to start from.
        rows: from `load_rows`.
        settings: how to train.
        folder: for checkpoints.
        say: takes a line about how it gets on.
    """
    import torch
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from sentence_transformers.sentence_transformer.modules import Pooling

    gpu = torch.cuda.is_available()
    arguments = Arguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.device_batch,
        gradient_accumulation_steps=settings.accumulated,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=1 / 10,
        bf16=gpu,
        use_cpu=not gpu,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=max(1, min(10, settings.save_steps)),
        seed=settings.seed,
        data_seed=settings.seed,
        report_to="none",
        disable_tqdm=True,
    )
    # All of it is trained: in half precision it would lose small steps to rounding.
    transformer = SentenceTransformer(encoder.name, revision=encoder.revision, model_kwargs={"dtype": torch.float32})[0]
    transformer.max_seq_length = encoder.length
    model = SentenceTransformer(modules=[transformer, Pooling(encoder.dimensions, "mean")])

    class Trainer(SentenceTransformerTrainer):
        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """No cards of checkpoints with examples from the input."""

    return Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        loss=CosineSimilarityLoss(model),
        data_collator=Collator(transformer.tokenizer, encoder.length, parts=settings.round == 2),
        callbacks=[stop_in_time(), *([progress(say)] if is_first() else [])],
    )


def save(trainer: SentenceTransformerTrainer, folder: Path) -> None:
    """Write `folder / "model"`, which any program of sentence-transformers loads."""
    if is_first():
        new = folder / "model.new"
        shutil.rmtree(new, ignore_errors=True)
        trainer.model.save_pretrained(str(new), create_model_card=False)
        new.rename(folder / "model")
