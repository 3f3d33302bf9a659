"""A sample of a run's input: so many rows, each as likely as any other, the same ones for every task and launch.

Those rows are in it whose hash of seed and id is among the smallest; equal ids are told apart by where they stand. How
long the input is need not be known before, and memory grows with the sample, not with the input. Which rows they are is
written down once, before anything is read for good. An input that grows would have another sample, so a run whose plan
has grown since is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import xxhash

from blocks.shards.folder import RunError, RunFolder, write_atomically, write_synced
from blocks.shards.plan import Unit, load_plan
from blocks.shards.rows import PATIENCE, read_rows
from blocks.shards.where import Where

_UNIT_BITS = 40
_HELD = 1 << 20
"""Rows beyond the sample that are held before the larger hashes are thrown away."""


class Sample:
    """Rows of a plan, drawn evenly.

    Args:
        folder: the run, planned.
        size: how many rows; all of them where there are fewer.
        seed: of the draw.
        id_column: column with the id.
        where: rows that do not match are not drawn from.
    """

    def __init__(
        self, folder: RunFolder, size: int, seed: int = 0, id_column: str = "id", where: Sequence[Where] = ()
    ) -> None:
        self.folder, self.size, self.seed = folder, size, seed
        self.id_column, self.where = id_column, tuple(where)
        self._places: np.ndarray[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_places": None}

    def draw(self) -> int:
        """Draw the sample of the plan, or open the one that was drawn.

        Returns:
            How many rows it has.

        Raises:
            RunError: the plan is another one than when the sample was drawn.
        """
        units = load_plan(self.folder.state / "plan.jsonl")
        planned = {"units": len(units), "size": self.size, "seed": self.seed}
        table, about = self.folder.state / "sample.table", self.folder.state / "sample.json"
        with self.folder.alone("sample"):
            if not about.is_file():
                write_synced(table, np.sort(self._smallest(units)).tobytes())
                write_atomically(about, orjson.dumps(planned))
        if orjson.loads(about.read_bytes()) != planned:
            raise RunError(
                f"the sample of {self.folder.output} was drawn from an input that has grown since: give the larger "
                f"one an --output of its own"
            )
        self._places = np.fromfile(table, "<u8")
        return len(self._places)

    def __contains__(self, row: tuple[int, int]) -> bool:
        """Whether a row, given as its unit's number and its place in the unit, was drawn."""
        return self.any_of(row[0], row[1], row[1] + 1)

    def any_of(self, unit: int, first: int, last: int) -> bool:
        """Whether a row of a unit was drawn, from one place up to another."""
        if self._places is None:
            self.draw()
        assert self._places is not None
        begin, end = (np.uint64((unit << _UNIT_BITS) + place) for place in (first, last))
        return bool(np.searchsorted(self._places, begin) < np.searchsorted(self._places, end))

    def _smallest(self, units: Sequence[Unit]) -> np.ndarray[Any, Any]:
        """The places of the rows with the smallest hashes."""
        hashes, places = np.empty(0, "<u8"), np.empty(0, "<u8")
        more: list[tuple[int, int]] = []
        needed = [self.id_column, *(found.column for found in self.where)]

        def merge() -> None:
            nonlocal hashes, places
            new = np.array(more, "<u8").reshape(-1, 2)
            hashes, places = np.concatenate([hashes, new[:, 0]]), np.concatenate([places, new[:, 1]])
            kept = np.lexsort((places, hashes))[: self.size]
            hashes, places = hashes[kept], places[kept]
            more.clear()

        for unit in units:
            for offset, row in enumerate(read_rows(unit.file, unit.start, unit.stop, needed, patience=PATIENCE)):
                if not isinstance(row, dict) or not all(matches(row) for matches in self.where):
                    continue
                name = row.get(self.id_column)
                known = f"{unit.file.name}:{unit.start + offset}" if name is None or name == "" else str(name)
                lot = xxhash.xxh3_64_intdigest(f"{self.seed}\0{known}".encode(errors="surrogatepass"))
                if len(hashes) < self.size or lot <= hashes[-1]:
                    more.append((lot, (unit.number << _UNIT_BITS) + offset))
                    if len(more) == _HELD:
                        merge()
        merge()
        return places
