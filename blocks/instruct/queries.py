"""Hygiene of queries: which of them are worth a template.

Real queries repeat, come in many languages, and some are a word or a pasted book. FineInstructions (arXiv 2601.22146)
names moderation and decontamination; what else is left out here is ours. Each query is judged by itself but for
duplicates: which of them is the first one is looked up in a table that is made of the whole plan before anything is
asked, so that every task of a run decides the same, also after a kill.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.filters.checks.language import language_of
from blocks.filters.words import WORD
from blocks.shards.chunk import LINEAGE, Refusal, chunk_of, stream_of
from blocks.shards.folder import RunError, RunFolder, write_synced
from blocks.shards.plan import Unit, load_plan
from blocks.shards.rows import PATIENCE, read_rows
from blocks.shards.where import Where

MIN_WORDS, MAX_WORDS = 2, 300
"""Words of a query; a longer one mostly brings its document along. Ours."""

MIN_LETTERS, MIN_SURE = 15, 0.8
"""Letters that a query needs before its language is told, and the least probability of the one that is found. Of 4,057
English questions to a search engine 94 % are told, and 3 are taken for another language."""

_UNIT_BITS = 40
_MOST = 10**12  # what is larger is no frequency, and sums of it might not fit into 64 bits
_QUOTES = "\"'“”‘’«»„‚"


def normalised(query: str) -> str:
    """A query as duplicates are found: in one Unicode form, without capitals, quotation marks and a mark at its end.

    Other signs stay: `c#` is not `c++`.
    """
    words = (word.strip(_QUOTES) for word in unicodedata.normalize("NFKC", query).casefold().split())
    return " ".join(filter(None, words)).rstrip(f" .?!…{_QUOTES}")


def query_hash(query: str) -> int:
    """The same for the same query, as `normalised` has it."""
    return xxhash.xxh3_64_intdigest(normalised(query).encode(errors="surrogatepass"))


class Duplicates:
    """Where each query of a plan stands first, and how often it was asked: in how many rows, or as these say.

    The table of a plan is made once, by whoever needs it first, and memory-mapped: 24 bytes per different query. A plan
    that has grown gets another one, in which all that stood first still does.

    Args:
        folder: the run, planned.
        chunk_size: rows per chunk of the run.
        text_column: column with the query.
        where: rows that do not match are no queries.
        frequency_column: column with how often the query of a row was asked; a row without a number counts once.
    """

    def __init__(
        self,
        folder: RunFolder,
        chunk_size: int,
        text_column: str,
        where: Sequence[Where] = (),
        frequency_column: str | None = None,
    ) -> None:
        self.folder, self.chunk_size, self.text_column, self.where = folder, chunk_size, text_column, tuple(where)
        self.frequency_column = frequency_column
        self._table: np.ndarray[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_table": None}

    def find(self) -> None:
        """Make the table of the plan as it is now, by reading all of it, and open it."""
        units = load_plan(self.folder.state / "plan.jsonl")
        path = self.folder.state / f"queries-{len(units)}.table"
        with self.folder.alone("queries"):
            if not path.is_file():
                write_synced(part := path.with_suffix(".part"), self._count(units).tobytes())
                part.replace(path)
        size = path.stat().st_size
        self._table = (np.memmap(path, "<u8", mode="r") if size else np.empty(0, "<u8")).reshape(3, -1)

    def _count(self, units: Sequence[Unit]) -> np.ndarray[Any, Any]:
        """Hashes in rising order, the first place of each, and how often it was asked; shape (3, queries)."""
        hashes, places, asked = array("Q"), array("Q"), array("Q")
        counted = self.frequency_column
        needed = [self.text_column, *([counted] if counted else []), *(found.column for found in self.where)]
        for unit in units:
            rows = read_rows(unit.file, unit.start, unit.stop, needed, patience=PATIENCE)
            for offset, row in enumerate(rows):
                text = row.get(self.text_column) if isinstance(row, dict) else None
                if isinstance(row, dict) and isinstance(text, str) and all(matches(row) for matches in self.where):
                    hashes.append(query_hash(text))
                    places.append((unit.number << _UNIT_BITS) + offset)
                    asked.append(_frequency(row.get(counted)) if counted else 1)
        found, first, kind = np.unique(np.array(hashes, "<u8"), return_index=True, return_inverse=True)
        counts = np.zeros(len(found), "<u8")
        np.add.at(counts, kind, np.array(asked, "<u8"))
        return np.stack([found, np.array(places, "<u8")[first], counts])

    def look_up(self, query: str, lineage: str) -> tuple[bool, int]:
        """Whether a query with this lineage is the first of its kind, and how often it was asked in all of the plan.

        Raises:
            RunError: it does not stand in the plan of the table.
        """
        assert self._table is not None
        chunk, _, place = lineage.partition(":")
        unit, k = map(int, chunk.split("-")[-2:])
        mine = (unit << _UNIT_BITS) + k * self.chunk_size + int(place)
        key = query_hash(query)
        hashes, places, counts = self._table
        row = int(np.searchsorted(hashes, np.uint64(key)))
        if row == len(hashes) or int(hashes[row]) != key:
            raise RunError(f"the query {lineage} is newer than the table of this run's queries: start the run again")
        return int(places[row]) == mine, int(counts[row])


def _frequency(told: object) -> int:
    """How often a query was asked; once where its row tells no number."""
    if isinstance(told, int | float) and not isinstance(told, bool) and 1 <= told <= _MOST:
        return int(told)
    return 1


class Hygiene(PipelineStep):
    """Pass on queries that are worth a template; `metadata["frequency"]` says how often each was asked.

    Refused are duplicates (`duplicate`), what has fewer or more words (`too_few_words`, `too_many_words`), what is in
    another language (`other_language`), and items of evaluation sets that are too short for `blocks.filters.
    decontaminate` to find (`contaminated`).

    Args:
        duplicates: the table of the plan.
        language: ISO code of the language that is wanted; None takes all.
        min_words: least words.
        max_words: most words.
        known: `query_hash` of short items of evaluation sets.
    """

    name = "Query hygiene"
    type = "🔻 - FILTER"

    def __init__(
        self,
        duplicates: Duplicates,
        language: str | None = "en",
        min_words: int = MIN_WORDS,
        max_words: int = MAX_WORDS,
        known: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__()
        self.duplicates, self.language, self.known = duplicates, language, known
        self.min_words, self.max_words = min_words, max_words

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the queries that stay, in order."""
        with stream_of(self.name):
            for number, query in enumerate(data or ()):
                if number == 0:  # the plan may have grown since this step was made
                    self.duplicates.find()
                lineage = query.metadata[LINEAGE]
                first, query.metadata["frequency"] = self.duplicates.look_up(query.text, lineage)
                refusal = self.judge(query.text) if first else Refusal("duplicate")
                if refusal is None:
                    yield query
                elif (chunk := chunk_of(query)) is not None:
                    refusal.raw = query.text
                    chunk.refuse(lineage, refusal)

    def judge(self, text: str) -> Refusal | None:
        """Why a query is left out whatever the others are; None where it is not."""
        words = len(WORD.findall(text))
        if words < self.min_words:
            return Refusal("too_few_words")
        if words > self.max_words:
            return Refusal("too_many_words", detail=f"{words} words")
        if self.known and query_hash(text) in self.known:
            return Refusal("contaminated", detail="an item of an evaluation set, word for word")
        if self.language is not None:
            found = language_of(text, MIN_LETTERS, MIN_SURE)
            if found not in ("", self.language):
                return Refusal("other_language", detail=found)
        return None
