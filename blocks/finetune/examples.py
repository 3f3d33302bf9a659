"""Shards as examples of a chat: what is asked, and what the student shall say.

Any shard of finemill with a question and an answer will do, without conversion: completions and silver data (`prompt`,
`completion`), pairs (`instruction`, `answer`), or any other file with one of these or with `messages` that end with
the assistant's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xxhash

from blocks.shards.folder import RunError
from blocks.shards.rows import columns_of_first_rows
from blocks.shards.source import InputFile

if TYPE_CHECKING:
    from datasets import Dataset

KINDS = (("prompt", "completion"), ("instruction", "answer"), ("messages",))
"""Columns that make an example; the first of these that all files have."""

ID, SOURCE_ID = "id", "source_id"


def example_columns(files: Sequence[InputFile]) -> tuple[str, ...]:
    """The columns of which examples are made.

    Raises:
        RunError: there are none that all files have, or the files are of two formats.
    """
    formats = {file.format for file in files}
    if len(formats) > 1:
        raise RunError(f"the input has files of several formats ({', '.join(sorted(formats))}): give those of one")
    common = set.intersection(*(columns_of_first_rows(file) for file in files))
    for kind in KINDS:
        if common.issuperset(kind):
            return kind
    raise RunError(
        f"the input has no examples: it needs prompt and completion, instruction and answer, or messages; all files "
        f"have {', '.join(sorted(common)) or 'nothing'}"
    )


def load_examples(files: Sequence[InputFile], limit: int | None = None) -> Dataset:
    """Rows as `prompt` and `completion`, both lists of messages, with `id` and `source_id`.

    Args:
        files: all of one format.
        limit: the first so many rows.

    Raises:
        RunError: as `example_columns`.
    """
    from datasets import load_dataset

    kind = example_columns(files)
    kinds = {"parquet": "parquet", "jsonl": "json"}
    rows = load_dataset(kinds[files[0].format], data_files=[file.url for file in files], split="train")
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))

    def example(row: dict[str, Any], number: int) -> dict[str, Any]:
        if kind == ("messages",):
            prompt, completion = row["messages"][:-1], row["messages"][-1:]
        else:
            asked, said = (row[column] for column in kind)
            prompt, completion = [_message("user", asked)], [_message("assistant", said)]
        name = str(row.get(ID) or number)
        return {ID: name, SOURCE_ID: str(row.get(SOURCE_ID) or name), "prompt": prompt, "completion": completion}

    return rows.map(example, with_indices=True, remove_columns=rows.column_names, desc="Reading examples")


def split_off(examples: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Examples to train on, and those held out: all of a document are on the same side.

    Args:
        examples: from `load_examples`.
        share: of the documents that are held out.
        seed: of the choice.
    """

    def held_out(source: str) -> bool:
        return xxhash.xxh3_64_intdigest(f"{seed}\0{source}".encode()) < share * 2**64

    told = [held_out(source) for source in examples[SOURCE_ID]]
    sides = ([at for at, out in enumerate(told) if out is side] for side in (False, True))
    train, aside = (examples.select(side) for side in sides)
    return train, aside


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
