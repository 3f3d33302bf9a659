"""Texts to token ids as a pretraining loader wants them: each document whole, ended by EOS, with nothing in front.

A loader that packs documents knows where one ends by its EOS alone: from one to the next nanotron counts positions and
masks attention. So it is always there, and never inside: a document that quotes a special token has it as plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tokenizers
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.generate.tokenizer import read_tokenizer, read_tokenizer_config
from blocks.shards.chunk import LINEAGE, Refusal, chunk_of, format_of

Item = TypeVar("Item")

INPUT_IDS = "input_ids"
"""The metadata key, and the column, of a document's tokens."""

BATCH_ITEMS, BATCH_CHARACTERS = 1000, 4_000_000
"""What is encoded at a time, at the most: enough for all cores, and some hundred megabytes."""

LONGEST_PIECE = 1_000_000
"""Characters that are encoded in one piece. Memory grows with it, and some tokenizers' time with its square."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as training sees it; pickles as a small description.

    Args:
        source: a folder with `tokenizer.json`, that file itself, or a Hugging Face repository.
        revision: commit, branch or tag of the repository; None for its main branch.
        eos: the token that ends a document; None for the one of `tokenizer_config.json`.
        special_tokens: whether special tokens in a text are read as such, as chat formats need it, and not as text.
    """

    source: str
    revision: str | None = None
    eos: str | None = None
    special_tokens: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    @cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """Loaded when first used.

        Raises:
            ValueError: there is none, or it cannot be read.
        """
        tokenizer = read_tokenizer(self.source, self.revision)
        tokenizer.encode_special_tokens = not self.special_tokens
        return tokenizer

    @cached_property
    def own_eos(self) -> str | None:
        """What `tokenizer_config.json` says ends a text, if it says anything."""
        told: Any = read_tokenizer_config(self.source, self.revision).get("eos_token")
        token = told.get("content") if isinstance(told, dict) else told
        return token if isinstance(token, str) else None

    @cached_property
    def eos_token(self) -> str:
        """The token that ends a document.

        Raises:
            ValueError: nobody says which, or the tokenizer does not know it.
        """
        known = self.tokenizer.get_vocab(with_added_tokens=True)
        token = self.eos or self.own_eos
        if token is None:
            raise ValueError(f"{self.source} does not say which token ends a text; give it as --eos")
        if token not in known:
            raise ValueError(f"{self.source} has no token {token!r}; give the one that ends a text as --eos")
        added = self.tokenizer.get_added_tokens_decoder()
        if known[token] not in added or not added[known[token]].special:
            raise ValueError(f"{token!r} of {self.source} is a part of texts: give a special token as --eos")
        return token

    @cached_property
    def eos_id(self) -> int:
        """Id of the token that ends a document."""
        return self.tokenizer.get_vocab(with_added_tokens=True)[self.eos_token]

    @cached_property
    def size(self) -> int:
        """Tokens, added ones included: as many rows as a model's embedding needs."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def entries(self) -> int:
        """Tokens, added ones included; fewer than `size` where ids have gaps."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def token_size(self) -> int:
        """Bytes of a token in `.ds` files: 2 up to 65,536 tokens, 4 beyond; datatrove's rule."""
        return 2 if self.size <= 1 << 16 else 4

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a token in `.ds` files."""
        return np.dtype(f"<u{self.token_size}")

    @property
    def schema(self) -> pa.Schema:
        """Columns of a shard of tokens."""
        tokens = pa.list_(pa.from_numpy_dtype(self.dtype))
        return pa.schema([pa.field("id", pa.string(), nullable=False), pa.field(INPUT_IDS, tokens, nullable=False)])

    @property
    def name(self) -> str:
        """What `transformers.AutoTokenizer` can open: a repository, or an absolute folder."""
        path = Path(self.source).expanduser()
        if path.is_file():
            path = path.parent
        return str(path.absolute()) if path.is_dir() else self.source

    def encode(self, texts: Sequence[str]) -> list[npt.NDArray[Any]]:
        """The tokens of each text, EOS at the end.

        A text that quotes EOS is encoded in pieces, since some tokenizers know it as a word, too (Unigram models).
        """
        apart = None if self.special_tokens else self.eos_token
        pieces = [[piece for part in _apart(text, apart) for piece in split(part)] for text in texts]
        ids = self._ids([piece for of_text in pieces for piece in of_text])
        end = np.array([self.eos_id], self.dtype)
        return [np.concatenate([*(next(ids) for _ in of_text), end]) for of_text in pieces]

    def _ids(self, pieces: Sequence[str]) -> Iterator[npt.NDArray[Any]]:
        for batch in _batches(pieces, len):
            for encoded in self.tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                yield np.array(encoded.ids, self.dtype)


def _apart(text: str, word: str | None) -> Iterator[str]:
    """Pieces of a text none of which holds a word; it is cut behind its first character."""
    start = 0
    while word and len(word) > 1 and (at := text.find(word, start)) >= 0:
        yield text[start : at + 1]
        start = at + 1
    yield text[start:]


def split(text: str) -> Iterator[str]:
    """Pieces of at most `LONGEST_PIECE` characters, that end with a line or a word where there are some."""
    start = 0
    while len(text) - start > LONGEST_PIECE:
        end = start + LONGEST_PIECE
        found = (text.rfind(mark, start + LONGEST_PIECE // 2, end) for mark in "\n ")
        end = next((at + 1 for at in found if at >= 0), end)
        yield text[start:end]
        start = end
    yield text[start:]


class Tokenize(PipelineStep):
    """Put the tokens of each document into its metadata as `input_ids`.

    It counts them in their chunk, as `tokens/<format>`. Documents without any are rejected as `no_tokens`, and those
    with an EOS inside, which a loader would take for two, as `eos_in_text`.

    Args:
        vocabulary: the tokenizer.
    """

    name = "Tokenize"
    type = "🔢 - TOKENIZER"

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents that have tokens."""
        for batch in _batches(data or (), lambda document: len(document.text)):
            with self.track_time("batch"):
                encoded = self.vocabulary.encode([document.text for document in batch])
            for document, tokens in zip(batch, encoded, strict=True):
                chunk = chunk_of(document)
                # A normalizer can still make an EOS of something else.
                inside = not self.vocabulary.special_tokens and (tokens[:-1] == self.vocabulary.eos_id).any()
                if len(tokens) == 1 or inside:
                    reason = "eos_in_text" if inside else "no_tokens"
                    if chunk is not None:
                        chunk.refuse(document.metadata[LINEAGE], Refusal(reason, raw=document.text))
                    continue
                document.metadata[INPUT_IDS] = tokens
                self.stat_update("tokens", value=len(tokens))
                if chunk is not None:
                    chunk.count(**{f"tokens/{format_of(document) or 'documents'}": len(tokens)})
                yield document


def _batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Runs of items that are small enough to be encoded at once; `size` is in characters."""
    batch: list[Item] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += size(item)
        if len(batch) == BATCH_ITEMS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
