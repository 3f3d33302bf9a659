"""Shards as examples of a chat: what is asked, and what the student shall say.

Any shard of finemill with a question and an answer will do, without conversion: completions and silver data (`prompt`,
`completion`), pairs (`instruction`, `answer`), or any other file with one of these or with `messages` that end with
the assistant's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash
from fsspec.core import url_to_fs

from blocks.generate.special_tokens import acts, break_up, special_pattern
from blocks.shards.folder import RunError
from blocks.shards.rows import BadRow, columns_of_first_rows, read_rows
from blocks.shards.source import InputFile

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

KINDS = (("prompt", "completion"), ("instruction", "answer"), ("messages",))
"""Columns that make an example; the first of these that all files have."""

ID, SOURCE_ID, REASON, BROKEN = "id", "source_id", "reason", "broken_up"

EMPTY, WRONG_SHAPE = "empty", "wrong_shape"
"""Why a row is no example: it has no question or no answer, or something else than text and messages in their place."""

Messages = list[dict[str, str]]

TAG = re.compile(r"</?\w+>")
"""Marks such as `<think>`, which an answer may have for what they are."""


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


class Examples(NamedTuple):
    """What was read.

    Args:
        rows: the examples: `prompt` and `completion`, both lists of messages, with `id` and `source_id`.
        left_out: ids of all other rows, by reason: `EMPTY`, `WRONG_SHAPE`, or what `read_rows` says.
        broken_up: how many of the examples quoted special tokens.
    """

    rows: Dataset
    left_out: dict[str, list[str]]
    broken_up: int


def load_examples(
    files: Sequence[InputFile], cache: Path, tokenizer: PreTrainedTokenizerBase, limit: int | None = None
) -> Examples:
    """Rows as examples, in which special tokens that are only quoted are broken up, as they are when models are asked.

    They would act otherwise: whoever reads on after the end of an answer learns to write on after it.

    Args:
        files: all of one format.
        cache: folder for the examples, which are mapped into memory from there.
        tokenizer: the student's.
        limit: the first so many rows.

    Raises:
        RunError: as `example_columns`, a file cannot be read to its end, or there is no example.
    """
    from datasets import Dataset, Features, List, Value
    from datasets.exceptions import DatasetGenerationError

    text = Value("string")
    message = List({"role": text, "content": text})
    columns = {ID: text, SOURCE_ID: text, "prompt": message, "completion": message, REASON: text}
    features = Features({**columns, BROKEN: Value("int64")})
    kind = example_columns(files)
    # What was cached of a file counts for as long as nobody has written it again. (Lists would be taken for shards.)
    local = (url_to_fs(file.url)[1] for file in files if file.url.startswith("file:"))
    written = tuple(Path(path).stat().st_mtime for path in local)
    told = {"files": tuple(files), "kind": kind, "limit": limit, "written": written}
    told |= dict(zip(("asked", "said"), quoted_tokens(tokenizer), strict=True))
    try:
        rows = Dataset.from_generator(_examples, features=features, gen_kwargs=told, cache_dir=str(cache))
    except DatasetGenerationError as error:
        cause = error.__cause__ or error
        if isinstance(cause, AttributeError | LookupError | TypeError):
            raise  # ours, not the input's
        raise RunError(f"the input cannot be read: {' '.join((str(cause) or repr(cause)).split())}") from error
    left_out: dict[str, list[str]] = {}
    sound = []
    for at, reason in enumerate(rows[REASON]):
        if reason is None:
            sound.append(at)
        else:
            left_out.setdefault(reason, []).append(rows[at][ID])
    if not sound:
        counts = ", ".join(f"{len(ids):,} {reason}" for reason, ids in left_out.items())
        raise RunError(
            f"none of {len(rows):,} rows has both a question and an answer ({counts}): each is text, or a list of "
            f"messages with role and content, and the last one is the assistant's"
        )
    found = rows.select(sound)
    return Examples(found.remove_columns([REASON, BROKEN]), left_out, sum(1 for broken in found[BROKEN] if broken))


def quoted_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens that are broken up in what is asked and in what the student says.

    Args:
        tokenizer: the student's.
    """
    added = list(tokenizer.added_tokens_decoder.values())
    special = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    acting = special | {token.content for token in added if acts(token)}
    meant = {token for token in acting - special if TAG.fullmatch(token)}
    return tuple(sorted(acting)), tuple(sorted(acting - meant))


def _examples(
    files: tuple[InputFile, ...],
    kind: tuple[str, ...],
    limit: int | None,
    written: tuple[float, ...],
    asked: tuple[str, ...],
    said: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    """The rows of files as examples; those that are none have no messages, and a reason.

    Raises:
        RunError: a file cannot be read to its end.
    """
    asking, saying = special_pattern(asked), special_pattern(said)
    count = 0
    for file in files:
        for row in read_rows(file, 0, None, [*kind, ID, SOURCE_ID]):
            if count == limit:
                return
            if isinstance(row, BadRow) and row.reason == "unreadable_rest":
                raise RunError(f"{file.url} is damaged ({row.raw}): repair it, or leave it out of --input")
            fields = row if isinstance(row, dict) else {}
            name = str(fields.get(ID) or f"{file.name}:{count}")
            count += 1
            prompt, completion, reason = _read(row, kind)
            if reason is not None:
                prompt, completion = [], []
            broken = 0
            for one in (*prompt, *completion):
                one["content"], found = break_up(one["content"], saying if one["role"] == "assistant" else asking)
                broken += found
            yield {
                ID: name,
                SOURCE_ID: str(fields.get(SOURCE_ID) or name),
                "prompt": prompt,
                "completion": completion,
                REASON: reason,
                BROKEN: broken,
            }


def _read(row: dict[str, Any] | BadRow, kind: tuple[str, ...]) -> tuple[Messages, Messages, str | None]:
    """Prompt and completion of a row, and why it is no example if it is none."""
    if isinstance(row, BadRow):
        return [], [], row.reason
    try:
        if kind == ("messages",):
            messages = _messages(row.get("messages"))
            prompt, completion = messages[:-1], messages[-1:]
        else:
            prompt, completion = _said("user", row.get(kind[0])), _said("assistant", row.get(kind[1]))
    except ValueError:
        return [], [], WRONG_SHAPE
    sound = prompt and completion and completion[-1]["role"] == "assistant"
    return prompt, completion, None if sound else EMPTY


def _said(role: str, told: Any) -> Messages:
    """Text as a message; messages as `_messages` takes them."""
    if isinstance(told, str):
        return [{"role": role, "content": told}] if told.strip() else []
    return _messages(told)


def _messages(told: Any) -> Messages:
    """Messages with their roles and contents alone; none where there is null.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(told, list | None) or not all(map(_is_message, told or ())):
        raise ValueError
    return [{"role": one["role"], "content": one["content"] or ""} for one in told or ()]


def _is_message(told: Any) -> bool:
    return (
        isinstance(told, dict)
        and isinstance(told.get("role"), str)
        and "content" in told
        and isinstance(told["content"], str | None)
    )


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
