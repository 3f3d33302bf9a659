"""Hygiene of queries: which of them are worth a template.

Real queries repeat, come in many languages, and some are a word or a pasted book. FineInstructions (arXiv 2601.22146)
names moderation and decontamination; what else is left out here is ours. Each query is judged by itself but for
duplicates: which of them is the first one is looked up in a table that is made of the whole plan before anything is
asked, so that every task of a run decides the same, also after a kill.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.filters.checks.language import language_of
from blocks.shards.chunk import LINEAGE, Refusal, chunk_of, stream_of
from blocks.shards.folder import sync
from blocks.shards.plan import Unit
from blocks.shards.rows import read_rows
from blocks.shards.where import Where

MIN_WORDS, MAX_WORDS = 2, 300
"""Words of a query; a longer one mostly brings its document along. Ours."""

MIN_LETTERS, MIN_SURE = 15, 0.8
"""Letters that a query needs before its language is told, and the least probability of the one that is found. Of 4,057
English questions to a search engine 94 % are told, and 3 are taken for another language."""

_WORD = re.compile(r"\w+")
_UNIT_BITS = 40
_ROW = np.dtype([("hash", "<u8"), ("place", "<u8"), ("count", "<u4")])


def normalised(query: str) -> str:
    """A query as duplicates are found: its words, in one Unicode form and without capitals."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", query).casefold()))


def _hash(query: str) -> int:
    return xxhash.xxh3_64_intdigest(normalised(query).encode(errors="surrogatepass"))


class Duplicates:
    """Where each query of a plan stands first, and how often it occurs.

    Args:
        path: the file with the table; 20 bytes per different query, memory-mapped.
        chunk_size: rows per chunk of the run.
    """

    def __init__(self, path: Path, chunk_size: int) -> None:
        self.path, self.chunk_size = path, chunk_size

    def find(self, units: Sequence[Unit], text_column: str, where: Sequence[Where] = ()) -> None:
        """Make the table, by reading the whole plan; one that is there for this plan stays.

        Args:
            units: the plan.
            text_column: column with the query.
            where: rows that do not match are no queries.
        """
        size = self.path.with_suffix(".units")
        if self.path.is_file() and size.is_file() and size.read_text() == str(len(units)):
            return
        hashes: list[int] = []
        places: list[int] = []
        needed = [text_column, *(found.column for found in where)]
        for unit in units:
            for offset, row in enumerate(read_rows(unit.file, unit.start, unit.stop, needed)):
                text = row.get(text_column) if isinstance(row, dict) else None
                if isinstance(text, str) and isinstance(row, dict) and all(matches(row) for matches in where):
                    hashes.append(_hash(text))
                    places.append((unit.number << _UNIT_BITS) + offset)
        found, first, counts = np.unique(np.array(hashes, "<u8"), return_index=True, return_counts=True)
        table = np.empty(len(found), _ROW)
        table["hash"], table["place"], table["count"] = found, np.array(places, "<u8")[first], counts
        part = self.path.with_suffix(".part")
        table.tofile(part)
        sync(part)
        part.replace(self.path)
        size.write_text(str(len(units)))

    @cached_property
    def _table(self) -> np.ndarray[Any, Any]:
        if not self.path.stat().st_size:
            return np.empty(0, _ROW)
        return np.memmap(self.path, _ROW, mode="r")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "chunk_size": self.chunk_size}

    def look_up(self, query: str, lineage: str) -> tuple[bool, int]:
        """Whether a query with this lineage is the first of its kind, and how often it occurs in the plan."""
        chunk, _, place = lineage.partition(":")
        unit, k = map(int, chunk.split("-")[-2:])
        mine = (unit << _UNIT_BITS) + k * self.chunk_size + int(place)
        key = _hash(query)
        row = self._table[int(np.searchsorted(self._table["hash"], np.uint64(key)))]
        return int(row["place"]) == mine, int(row["count"])


class Hygiene(PipelineStep):
    """Pass on queries that are worth a template; `metadata["frequency"]` says how often each occurs.

    Refused are duplicates (`duplicate`), what has fewer or more words (`too_few_words`, `too_many_words`), and what is
    in another language (`other_language`).

    Args:
        duplicates: the table of the plan.
        language: ISO code of the language that is wanted; None takes all.
        min_words: least words.
        max_words: most words.
    """

    name = "Query hygiene"
    type = "🔻 - FILTER"

    def __init__(
        self,
        duplicates: Duplicates,
        language: str | None = "en",
        min_words: int = MIN_WORDS,
        max_words: int = MAX_WORDS,
    ) -> None:
        super().__init__()
        self.duplicates, self.language = duplicates, language
        self.min_words, self.max_words = min_words, max_words

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the queries that stay, in order."""
        with stream_of(self.name):
            for query in data or ():
                lineage = query.metadata[LINEAGE]
                first, query.metadata["frequency"] = self.duplicates.look_up(query.text, lineage)
                refusal = self._judge(query.text) if first else Refusal("duplicate")
                if refusal is None:
                    yield query
                elif (chunk := chunk_of(query)) is not None:
                    refusal.raw = query.text
                    chunk.refuse(lineage, refusal)

    def _judge(self, text: str) -> Refusal | None:
        words = len(_WORD.findall(text))
        if words < self.min_words:
            return Refusal("too_few_words")
        if words > self.max_words:
            return Refusal("too_many_words", detail=f"{words} words")
        if self.language is not None:
            found = language_of(text, MIN_LETTERS, MIN_SURE)
            if found not in ("", self.language):
                return Refusal("other_language", detail=found)
        return None
