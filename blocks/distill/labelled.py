"""Labelled pairs of documents and descriptions, read for the training of the matching embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blocks.instruct.pooling import CHUNKS
from blocks.shards.folder import RunError
from blocks.shards.rows import columns_of_first_rows
from blocks.shards.source import InputFile

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("source_id", "text", "chunk_k", "description", "label")
"""What a row has to have; see `LABEL_SCHEMA`."""


def load_rows(files: Sequence[InputFile]) -> Dataset:
    """The labelled pairs of documents and descriptions.

    Raises:
        RunError: the files are of several formats, a column is missing, or a value cannot be.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    if len(formats := {file.format for file in files}) > 1:
        raise RunError(f"the input has files of several formats ({', '.join(sorted(formats))}): give those of one")
    common = set.intersection(*(columns_of_first_rows(file) for file in files))
    if missing := [name for name in COLUMNS if name not in common]:
        raise RunError(
            f"the input has no column {', '.join(missing)}: it needs {', '.join(COLUMNS)}; all files have "
            f"{', '.join(sorted(common)) or 'nothing'}"
        )
    kind = {"parquet": "parquet", "jsonl": "json"}[files[0].format]
    try:
        rows = load_dataset(kind, data_files=[file.url for file in files], split="train").select_columns(list(COLUMNS))
    except DatasetGenerationError as error:
        raise RunError(f"the input cannot be read: {' '.join(str(error.__cause__ or error).split())}") from error
    for name in ("source_id", "text", "description"):
        if empty := rows.data.column(name).null_count:
            raise RunError(f"{empty:,} row(s) of the input have no {name}")
    for name, allowed in (("label", range(2)), ("chunk_k", range(CHUNKS + 1))):
        if wrong := [value for value in rows.unique(name) if value not in allowed]:
            said = ", ".join(map(repr, wrong[:3]))
            raise RunError(f"{name} must be one of {', '.join(map(str, allowed))} in every row; the input has {said}")
    return rows


def check_labels(rows: Dataset) -> None:
    """Look for both labels in what is trained on: with one of them all embeddings would become the same.

    Raises:
        RunError: one is missing.
    """
    if missing := sorted({0, 1} - set(rows.unique("label"))):
        raise RunError(
            f"no row of the {len(rows):,} to train on has the label {missing[-1]}: it takes rows that fit (1) and rows "
            f"that do not (0)"
        )
