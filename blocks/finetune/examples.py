"""Shards as examples of a chat: what is asked, and what the student shall say.

Any shard of finemill with a question and an answer will do, without conversion: completions and silver data (`prompt`,
`completion`), pairs (`instruction`, `answer`), or any other file with one of these or with `messages` that end with
the assistant's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash
from fsspec.core import url_to_fs

from blocks.shards.folder import RunError
from blocks.shards.rows import columns_of_first_rows, read_rows
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


def load_examples(files: Sequence[InputFile], cache: Path, limit: int | None = None) -> tuple[Dataset, list[str]]:
    """Rows as `prompt` and `completion`, both lists of messages, with `id` and `source_id`.

    Args:
        files: all of one format.
        cache: folder for the examples, which are mapped into memory from there.
        limit: the first so many rows.

    Returns:
        The examples, and the ids of rows without a question or an answer.

    Raises:
        RunError: as `example_columns`, or there is no example.
    """
    from datasets import Dataset, Features, List, Value

    message = List({"role": Value("string"), "content": Value("string")})
    features = Features({ID: Value("string"), SOURCE_ID: Value("string"), "prompt": message, "completion": message})
    kind = example_columns(files)
    # What was cached of a file counts for as long as nobody has written it again. (Lists would be taken for shards.)
    local = (url_to_fs(file.url)[1] for file in files if file.url.startswith("file:"))
    written = tuple(Path(path).stat().st_mtime for path in local)
    told = {"files": tuple(files), "kind": kind, "limit": limit, "written": written}
    rows = Dataset.from_generator(_examples, features=features, gen_kwargs=told, cache_dir=str(cache))
    empty = [at for at, completion in enumerate(rows["completion"]) if not completion]
    left = set(empty)
    if len(left) == len(rows):
        raise RunError(f"none of {len(rows):,} rows has both a question and an answer")
    return rows.select([at for at in range(len(rows)) if at not in left]), [rows[at][ID] for at in empty]


def _examples(
    files: tuple[InputFile, ...], kind: tuple[str, ...], limit: int | None, written: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    """The rows of files as examples; without messages where there is no question or no answer."""
    count = 0
    for file in files:
        for row in read_rows(file, 0, None, [*kind, ID, SOURCE_ID]):
            if count == limit:
                return
            fields = row if isinstance(row, dict) else {}
            name = str(fields.get(ID) or f"{file.name}:{count}")
            count += 1
            if kind == ("messages",):
                messages = fields.get("messages") or []
                prompt, completion = messages[:-1], messages[-1:]
            else:
                asked, said = (fields.get(column) for column in kind)
                prompt, completion = _messages("user", asked), _messages("assistant", said)
            sound = bool(prompt and completion and completion[-1]["role"] == "assistant")
            yield {
                ID: name,
                SOURCE_ID: str(fields.get(SOURCE_ID) or name),
                "prompt": _plain(prompt) if sound else [],
                "completion": _plain(completion) if sound else [],
            }


def _messages(role: str, content: Any) -> list[dict[str, str]]:
    """Text as a message; a list of messages as it is."""
    if isinstance(content, str):
        return [{"role": role, "content": content}] if content.strip() else []
    return list(content or ())


def _plain(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"role": str(one["role"]), "content": str(one["content"] or "")} for one in messages]


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
