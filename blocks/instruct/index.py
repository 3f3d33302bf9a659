"""The FAISS index of a bank of templates: which of millions of vectors are nearest to a document's, by cosine.

FineInstructions (arXiv 2601.22146) searches some 18 million templates with six vectors of each document.

    FOLDER/vectors.f16   rows × dimensions, float16, rows of length 1; made by somebody else, and not copied
    FOLDER/index.json    what the index is; written last
    FOLDER/index.faiss   inverted lists; not of a small bank, which is searched without approximation
    FOLDER/shards/       what is finished of an index that is not

A large bank is cut into 4·√rows lists around centroids. A search looks into the `nprobe` lists nearest to the query,
compares codes of one byte per four dimensions there, and compares the shortlist anew with `vectors.f16`. So a
similarity is the same whatever the kind of index, and a threshold means the same. Both files are mapped into memory:
the processes of a machine share them, and what is not used need not be there.

The index is built from rows that are read once, a shard at a time; a build that is killed goes on with its last shard.
With the GPU build of FAISS the GPUs find the centroids and the list of each row; that path has never been run.
"""

from __future__ import annotations

import fcntl
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash
from loguru import logger

from blocks.shards.folder import RunError, make_folder, sync, write_atomically

FLAT_BELOW = 100_000
"""Rows below which nothing is approximated: 600 queries per second on one core, of 384 dimensions."""

NPROBE = 128
"""Lists that are looked into: recall@10 of 0.97 at 100,000 rows and of 0.99 at 1 M, at 550 per second on one core."""

TRAINING_ROWS = 64
"""Rows per list that the centroids are made from; FAISS warns below 39, and more than 256 change nothing."""

FEWEST_ROWS = 1_000
"""Rows below which nothing is approximated whatever is asked for: 256 codes cannot be made from them."""

BLOCK = 65_536
"""Rows that are held as float32 at a time: 256 MB of 1,024 dimensions."""


def build_index(
    vectors: np.ndarray[Any, Any],
    folder: Path,
    *,
    flat_below: int = FLAT_BELOW,
    nprobe: int = NPROBE,
    shard_rows: int = 1_000_000,
) -> None:
    """Build the index of some vectors, or finish it; a finished one stays as it is.

    Args:
        vectors: rows of length 1, shape (rows, dimensions), float16; best mapped from `folder/vectors.f16`.
        folder: where the index goes.
        flat_below: fewer rows than these are searched without approximation, as are fewer than `FEWEST_ROWS`.
        nprobe: lists that searches look into unless they are told otherwise; it can be changed by a further call.
        shard_rows: rows after which a killed build goes on.

    Raises:
        RunError: the folder holds an index, finished or not, of other vectors or with other settings.
    """
    import faiss

    rows, dimensions = vectors.shape
    lists = 0 if rows < max(flat_below, FEWEST_ROWS) else list_count(rows)
    about = {
        "kind": "ivf" if lists else "flat",
        "rows": rows,
        "dimensions": dimensions,
        "vectors": fingerprint(vectors),
        "lists": lists,
        # All that is measured is of PQ; a number of dimensions that it cannot share out evenly has the larger codes.
        "code": (f"PQ{dimensions // 4}np" if dimensions % 4 == 0 else "SQ8") if lists else "",
        "shard_rows": shard_rows if lists else 0,
    }
    shards = folder / "shards"
    make_folder(shards)
    with (shards / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finished = _read_own(folder / "index.json", about)
        if lists and finished is None:
            _read_own(shards / "plan.json", about)
            write_atomically(shards / "plan.json", orjson.dumps(about))
            _build(vectors, folder, about)
        content = {"faiss": faiss.__version__, **(finished or about), "flat_below": flat_below, "nprobe": nprobe}
        write_atomically(folder / "index.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))
        shutil.rmtree(shards, ignore_errors=True)


def list_count(rows: int) -> int:
    """Inverted lists of an index of so many rows: the power of two next to 4·√rows, none of which is too small."""
    return int(2 ** min(round(math.log2(4 * math.sqrt(rows))), int(math.log2(rows / 39))))


def fingerprint(vectors: np.ndarray[Any, Any]) -> str:
    """A hash of the shape and of 1,024 rows, evenly spaced: other vectors are noticed, a change of a few is not."""
    places = np.unique(np.linspace(0, len(vectors) - 1, min(1024, len(vectors))).astype(np.int64))
    found = xxhash.xxh3_64(repr((vectors.shape, vectors.dtype.str)).encode())
    found.update(np.ascontiguousarray(vectors[places]).tobytes())
    return found.hexdigest()


def _read_own(path: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """What an index, finished or not, says of itself; None when there is none."""
    if not path.exists():
        return None
    found: dict[str, Any] = orjson.loads(path.read_bytes())
    if other := [f"{name} {found.get(name)}, not {it}" for name, it in about.items() if found.get(name) != it]:
        raise RunError(f"{path} is of an index of other templates or settings ({', '.join(other)}): delete its folder")
    return found


def _build(vectors: np.ndarray[Any, Any], folder: Path, about: dict[str, Any]) -> None:
    """Make `index.faiss`, going on with what there is in `shards`."""
    import faiss

    shards, (rows, dimensions) = folder / "shards", vectors.shape
    trained = shards / "trained.faiss"
    if not trained.exists():
        chosen = np.random.default_rng(0).choice(rows, min(rows, TRAINING_ROWS * about["lists"]), replace=False)
        logger.info("index: training {} lists on {} rows", about["lists"], len(chosen))
        # Centroids in half precision, since those are compared query by query: comparing many queries at once, with
        # BLAS, rounds differently for each number of them, and other lists would be looked into.
        made = faiss.index_factory(
            dimensions, f"IVF{about['lists']}(SQfp16),{about['code']}", faiss.METRIC_INNER_PRODUCT
        )
        made.clustering_index = finder = _on_gpus(faiss.IndexFlatIP(dimensions))
        made.train(np.ascontiguousarray(vectors[np.sort(chosen)], np.float32))
        made.clustering_index = None
        del finder
        _write(made, trained)
    centroids = _on_gpus(faiss.IndexFlatIP(dimensions))
    empty = faiss.read_index(str(trained))
    centroids.add(empty.quantizer.reconstruct_n(0, about["lists"]))
    paths = [shards / f"{place:05d}.faiss" for place in range(math.ceil(rows / about["shard_rows"]))]
    for place, path in enumerate(paths):
        if path.exists():
            continue
        shard = faiss.read_index(str(trained))
        first = place * about["shard_rows"]
        for start, block in _blocks(vectors, range(first, min(rows, first + about["shard_rows"]))):
            _, nearest = centroids.search(block, 1)
            ids = np.arange(first + start, first + start + len(block), dtype=np.int64)
            shard.add_core(len(block), *map(faiss.swig_ptr, (block, ids, nearest)))
        _write(shard, path)
        logger.info("index: shard {} of {} is finished", place + 1, len(paths))
    # In memory, that is up to twice a quarter of a byte per dimension and eight bytes per row.
    whole = faiss.read_index(str(trained))
    for path in paths:
        whole.merge_from(faiss.read_index(str(path)), 0)
    _write(whole, folder / "index.faiss")


def _on_gpus(index: Any) -> Any:
    import faiss

    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index


def _write(index: Any, path: Path) -> None:
    import faiss

    part = path.with_name(f".{path.name}.part")
    faiss.write_index(index, str(part))
    sync(part)
    part.replace(path)
    sync(path.parent)


def _blocks(
    vectors: np.ndarray[Any, Any], rows: range | np.ndarray[Any, Any]
) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    """These rows as float32, block by block, and how many there were before each block."""
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        chosen = vectors[some.start : some.stop] if isinstance(some, range) else vectors[some]
        yield start, np.ascontiguousarray(chosen, np.float32)


@dataclass(frozen=True)
class TemplateSearch:
    """Searches an index; a small value that can be pickled and opens its files when it is first used.

    Open it in the process that searches: OpenMP, which FAISS computes with, does not survive a fork.

    Args:
        folder: of the index and its `vectors.f16`.
        nprobe: lists that are looked into, instead of those that the index was built with: more find more and take
            longer, in proportion.
    """

    folder: Path
    nprobe: int | None = None

    def __reduce__(self) -> tuple[type[TemplateSearch], tuple[Path, int | None]]:
        return TemplateSearch, (self.folder, self.nprobe)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `index.json` says.

        Raises:
            RunError: there is no finished index.
        """
        try:
            found: dict[str, Any] = orjson.loads((self.folder / "index.json").read_bytes())
        except FileNotFoundError:
            raise RunError(f"{self.folder} has no finished index: build it first") from None
        return found

    @cached_property
    def vectors(self) -> np.ndarray[Any, Any]:
        """The vectors, mapped into memory; shape (rows, dimensions), float16.

        Raises:
            RunError: they are not those that the index was built for.
        """
        path, shape = self.folder / "vectors.f16", (self.about["rows"], self.about["dimensions"])
        if path.exists() and path.stat().st_size == 2 * shape[0] * shape[1]:
            found = np.memmap(path, np.float16, "r", shape=shape) if shape[0] else np.empty(shape, np.float16)
            if fingerprint(found) == self.about["vectors"]:
                return found
        raise RunError(f"{path} is not what {self.folder / 'index.json'} was built for: build the index anew")

    @cached_property
    def _index(self) -> Any:
        import faiss

        if self.about["kind"] == "flat":
            return None
        return faiss.read_index(str(self.folder / "index.faiss"), faiss.IO_FLAG_MMAP)

    def search(
        self, queries: np.ndarray[Any, Any], count: int, allowed: np.ndarray[Any, Any] | None = None
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The rows nearest to each query, the best first and the lower of equals first.

        What a query finds does not depend on the others. Where few rows are allowed they are all compared; where many
        are, but not those of the lists nearest to a query, fewer than `count` may be found.

        Args:
            queries: of length 1, shape (queries, dimensions), float32.
            count: rows per query.
            allowed: whether each row of the index may be found, shape (rows,); None for all.

        Returns:
            Cosines, float32, and numbers of rows, int64; both of shape (queries, count), filled up with -inf and -1.
        """
        vectors, index = self.vectors, self._index
        queries = np.ascontiguousarray(queries, np.float32)
        rows = None if allowed is None else np.flatnonzero(allowed)
        # What is nearest by codes, or by rounded sums, is among a few more than are asked for.
        if index is None or (rows is not None and len(rows) < self.about["flat_below"]):
            found = self._compare(queries, count + 16, range(len(vectors)) if rows is None else rows)
        else:
            found = self._look_up(queries, 4 * count + 60, allowed)
        similarities = np.full((len(queries), count), -np.inf, np.float32)
        places = np.full((len(queries), count), -1, np.int64)
        for query, near, cosines, numbers in zip(queries, found, similarities, places, strict=True):
            near = np.sort(near[near >= 0])  # ascending: the disk likes it, and the sort below leaves equals so
            # Not with BLAS, whose sum for a row depends on how many rows there are.
            exact = np.einsum("rd,d->r", vectors[near].astype(np.float32), query)
            best = np.argsort(-exact, kind="stable")[:count]
            cosines[: len(best)], numbers[: len(best)] = exact[best], near[best]
        return similarities, places

    def _compare(
        self, queries: np.ndarray[Any, Any], count: int, rows: range | np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """The nearest of these rows; -1 where there are fewer."""
        import faiss

        # FAISS 1.15 uses BLAS from 128,000 numbers of queries on: below, on one core, it takes 16 times as long.
        faiss.cvar.distance_compute_blas_threshold = 1
        heap = faiss.ResultHeap(len(queries), count, keep_max=True)
        for start, block in _blocks(self.vectors, rows):
            near, places = faiss.knn(queries, block, min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            places += start
            heap.add_result(near, places if isinstance(rows, range) else rows[places])
        return np.asarray(heap.I)

    def _look_up(
        self, queries: np.ndarray[Any, Any], count: int, allowed: np.ndarray[Any, Any] | None
    ) -> np.ndarray[Any, Any]:
        """The rows that are nearest by their codes; -1 where there are fewer."""
        import faiss

        lists = min(self.nprobe or self.about["nprobe"], self.about["lists"])
        if allowed is None:
            settings = faiss.SearchParametersIVF(nprobe=lists)
        else:
            bits = np.packbits(allowed, bitorder="little")
            settings = faiss.SearchParametersIVF(nprobe=lists, sel=faiss.IDSelectorBitmap(bits))
        return np.asarray(self._index.search(queries, count, params=settings)[1])
