"""The documents of a run's input, read again: for a look, or to publish them with the samples."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import xxhash

from blocks.shards.plan import Unit
from blocks.shards.rows import BadRow, read_rows


def source_hash(text: str) -> str:
    """What samples say of the text that they were made from: xxh3-64 of its UTF-8 bytes, hex."""
    return xxhash.xxh3_64_hexdigest(text.encode(errors="surrogatepass"))


class SourceDocument(NamedTuple):
    """A row of the input that has a text.

    Args:
        place: in its chunk, as lineages have it.
        id: as it stands in the row; the reader adds a number to those that repeat.
        text: whole.
    """

    place: int
    id: str
    text: str


class Documents:
    """Reads a run's input again, chunk by chunk.

    What is asked for in its order is read in one go: JSON Lines can be read from the start only.

    Args:
        fingerprint: of the run, which says how it was read.
    """

    def __init__(self, fingerprint: Mapping[str, Any]) -> None:
        self._size = fingerprint.get("chunk_size")
        self._text, self._id = fingerprint.get("text_column", "text"), fingerprint.get("id_column", "id")
        self._rows: Generator[dict[str, Any] | BadRow] | None = None
        self._unit: Unit | None = None
        self._next = 0

    def of_chunk(self, unit: Unit, k: int) -> list[SourceDocument]:
        """The documents of a chunk; none where the fingerprint does not say how long chunks are.

        Args:
            unit: of the plan.
            k: number of the chunk in it.

        Raises:
            OSError: the input is gone.
        """
        if self._size is None:
            return []
        start = unit.start + k * self._size
        if self._rows is None or self._unit != unit or start < self._next:
            if self._rows is not None:
                self._rows.close()
            self._rows = read_rows(unit.file, start, unit.stop, [self._id, self._text])
            self._unit, self._next = unit, start
        chunk = islice(self._rows, start - self._next, start - self._next + self._size)
        self._next = start + self._size
        try:
            return self._documents(unit, start, chunk)
        except BaseException:
            self._rows = None  # a generator that has raised is at its end
            raise

    def _documents(self, unit: Unit, start: int, chunk: Iterable[dict[str, Any] | BadRow]) -> list[SourceDocument]:
        found = []
        for place, row in enumerate(chunk):
            if isinstance(row, dict) and isinstance(row.get(self._text), str):
                name = row.get(self._id)
                name = f"{unit.file.name}:{start + place}" if name is None or name == "" else str(name)
                found.append(SourceDocument(place, name, row[self._text]))
        return found
