"""The bank of templates: what is searched, made of all templates of a run whose descriptions were embedded.

    BANK/templates.arrow   a row per different template, memory-mapped; row n belongs to vector n
    BANK/vectors.f16       embeddings of the descriptions, float16, of length 1
    BANK/topics.json       clusters of the descriptions, each with a few of them
    BANK/index.json, …     see `blocks.instruct.index`
    BANK/bank.json         written last: what it was made from

Templates that have the same words are one, and its frequency is the sum of theirs.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.instruct.encoder import Encoder
from blocks.instruct.index import TemplateSearch, build_index
from blocks.instruct.templatize import template_id
from blocks.shards import meter
from blocks.shards.chunk import FORMAT, batched_by_chunk
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunError, RunFolder, sync, write_atomically
from blocks.shards.run import load_run
from blocks.shards.tables import read_tables

BATCH = 256
"""Descriptions that are embedded at a time."""

MOST_TOPICS, TEMPLATES_PER_TOPIC = 256, 50
"""Clusters of a bank: no more than these, and so many templates in each on average at the least."""

SHOWN = 3
"""Descriptions that stand for a topic: those next to its centre."""

BANK_SCHEMA = pa.schema(
    [
        pa.field("template_id", pa.string(), nullable=False),
        pa.field("template", pa.string(), nullable=False),
        pa.field("description", pa.string(), nullable=False),
        pa.field("complexity", pa.int32(), nullable=False),
        pa.field("template_source", pa.string()),
        pa.field("frequency", pa.int64(), nullable=False),  # queries that gave this template
        pa.field("topic", pa.int32(), nullable=False),  # number in topics.json
    ]
)

MADE_FROM = "made_from"
"""File of a bank that says of which run, and how much of it."""

FURTHER = ("complexity", "template_source", "frequency")
"""Columns of a template that an embedded one keeps."""


def embedded_schema(dimensions: int) -> pa.Schema:
    """Columns of an embedded template."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),  # of the query
            pa.field("template", pa.string(), nullable=False),
            *(BANK_SCHEMA.field(name) for name in ("description", *FURTHER)),
            pa.field("embedding", pa.list_(pa.float16(), dimensions), nullable=False),
        ]
    )


class EmbedTemplates(PipelineStep):
    """Embed the descriptions of templates (`metadata["description"]`).

    Args:
        encoder: the model; with several GPUs each worker takes one.
    """

    name = "Embed templates"
    type = "🔢 - EMBED"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the templates with `metadata["embedding"]`, in order."""
        self.encoder.take_gpu(rank)
        for batch in batched_by_chunk(data or (), BATCH):
            with self.track_time("batch"):
                found = self.encoder.descriptions([one.metadata["description"] for one in batch]).astype(np.float16)
            meter.add(documents=len(batch))
            for template, embedding in zip(batch, found, strict=True):
                template.metadata |= {FORMAT: "templates", "template": template.text, "embedding": embedding}
                yield template


def build_bank(run: RunFolder, folder: Path, told: Mapping[str, Any], flat_below: int | None = None) -> dict[str, Any]:
    """Make the bank of a complete run of `EmbedTemplates`, or finish it; a bank of the same run stays.

    Args:
        run: the run.
        folder: of the bank.
        told: what it is to say of itself, such as the encoder.
        flat_below: see `build_index`.

    Returns:
        The content of `bank.json`.
    """
    record, commits = load_run(run), list(load_commits(run))
    assert record is not None
    made_from = f"{record.id}, {len(commits)} chunks"
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    for rest in (part, old):
        shutil.rmtree(rest, ignore_errors=True)
    if folder.is_dir() and (folder / MADE_FROM).read_text() != made_from:  # the run has grown
        folder.rename(old)
        shutil.rmtree(old)
    if not folder.is_dir():
        part.mkdir(parents=True)
        _collect(run, part)
        (part / MADE_FROM).write_text(made_from)
        part.rename(folder)
    if (folder / "bank.json").is_file():
        there: dict[str, Any] = orjson.loads((folder / "bank.json").read_bytes())
        return there
    bank = Bank(folder)
    build_index(bank.vectors, folder, **({} if flat_below is None else {"flat_below": flat_below}))
    size = f"{len(bank.vectors):,} templates of the run {record.id[:8]}"
    content = {
        **told,
        "made_from": made_from,
        "name": size,
        "templates": len(bank.vectors),
        "complexities": bank.complexities(),
    }
    write_atomically(folder / "bank.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return content


def _collect(run: RunFolder, folder: Path) -> None:
    """Write the different templates and their vectors; texts stay in Arrow's memory, about 350 bytes each."""
    rows: dict[str, int] = {}  # template id → row
    kept: list[pa.Table] = []
    frequency: list[int] = []
    dimensions = 0
    with (folder / "vectors.f16").open("wb") as vectors:
        for table in read_tables(run, ["template", "description", *FURTHER, "embedding"]):
            embeddings = table.column("embedding").combine_chunks()
            dimensions = embeddings.type.list_size
            numbers = embeddings.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimensions)
            ids = list(map(template_id, table.column("template").to_pylist()))
            new = []
            for place, (name, count) in enumerate(zip(ids, table.column("frequency").to_pylist(), strict=True)):
                row = rows.setdefault(name, len(rows))
                if row == len(frequency):
                    frequency.append(0)
                    new.append(place)
                frequency[row] += count
            kept.append(
                table.drop_columns(["embedding", "frequency"])
                .append_column("template_id", pa.array(ids, pa.string()))
                .take(pa.array(new, pa.int64()))
            )
            vectors.write(np.ascontiguousarray(numbers[new]).tobytes())
    sync(folder / "vectors.f16")
    if not rows:
        raise RunError(f"{run.output} holds no template: there is nothing to index")
    texts = pa.concat_tables(kept)
    found = np.memmap(folder / "vectors.f16", np.float16, mode="r").reshape(-1, dimensions)
    topics, content = cluster(found, texts.column("description"))
    table = (
        texts.append_column("frequency", pa.array(frequency, pa.int64()))
        .append_column("topic", pa.array(topics))
        .select(BANK_SCHEMA.names)
        .cast(BANK_SCHEMA)
    )
    with pa.OSFile(str(folder / "templates.arrow"), "wb") as sink, pa.ipc.new_file(sink, BANK_SCHEMA) as writer:
        writer.write_table(table)
    sync(folder / "templates.arrow")
    write_atomically(folder / "topics.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))


def cluster(
    vectors: np.ndarray[Any, Any], descriptions: pa.ChunkedArray
) -> tuple[np.ndarray[Any, np.dtype[np.int32]], list[dict[str, Any]]]:
    """Topics of a bank: clusters of its vectors.

    Args:
        vectors: shape (templates, dimensions).
        descriptions: of the templates.

    Returns:
        The topic of each template, and for each topic its number, size and `SHOWN` descriptions next to its centre.
    """
    import faiss

    count = max(1, min(MOST_TOPICS, len(vectors) // TEMPLATES_PER_TOPIC))
    means = faiss.Kmeans(vectors.shape[1], count, niter=20, seed=0, spherical=True, min_points_per_centroid=1)
    step = max(1, len(vectors) // (count * 256))
    means.train(np.ascontiguousarray(vectors[::step], np.float32))
    topics = np.empty(len(vectors), np.int32)
    nearness = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), 100_000):
        part = np.ascontiguousarray(vectors[start : start + 100_000], np.float32)
        found, places = faiss.knn(part, means.centroids, 1, metric=faiss.METRIC_INNER_PRODUCT)
        topics[start : start + len(part)], nearness[start : start + len(part)] = places[:, 0], found[:, 0]
    order = np.lexsort((-nearness, topics))
    ends = np.searchsorted(topics[order], np.arange(count + 1))
    content = [
        {
            "topic": topic,
            "templates": int(ends[topic + 1] - ends[topic]),
            "descriptions": [descriptions[row].as_py() for row in order[ends[topic] : ends[topic + 1]][:SHOWN]],
        }
        for topic in range(count)
    ]
    return topics, content


@dataclass
class Bank:
    """A bank, opened when it is used; pickles as its folder.

    Args:
        folder: of the bank.
    """

    folder: Path

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    @classmethod
    def of_run(cls, run: str) -> Bank:
        """The bank of a run folder of the stage `index`.

        Raises:
            RunError: there is none that is finished.
        """
        folder = Path(run) / "bank"
        if not (folder / "bank.json").is_file():
            raise RunError(f"{run} has no finished bank: give the --output of the stage `index`, when that is complete")
        return cls(folder)

    @cached_property
    def told(self) -> dict[str, Any]:
        """The content of `bank.json`."""
        told: dict[str, Any] = orjson.loads((self.folder / "bank.json").read_bytes())
        return told

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        file = pa.ipc.open_file(pa.memory_map(str(self.folder / "templates.arrow")))
        return [file.get_batch(number) for number in range(file.num_record_batches)]

    @cached_property
    def _ends(self) -> np.ndarray[Any, Any]:
        return np.cumsum([batch.num_rows for batch in self._batches])

    @cached_property
    def vectors(self) -> np.ndarray[Any, Any]:
        """Shape (templates, dimensions), float16, memory-mapped."""
        flat = np.memmap(self.folder / "vectors.f16", np.float16, mode="r")
        return flat.reshape(self._ends[-1], -1)

    @cached_property
    def search(self) -> TemplateSearch:
        """The index."""
        return TemplateSearch(self.folder)

    @cached_property
    def topics(self) -> list[dict[str, Any]]:
        """The content of `topics.json`."""
        topics: list[dict[str, Any]] = orjson.loads((self.folder / "topics.json").read_bytes())
        return topics

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """A column of all templates."""
        found: np.ndarray[Any, Any] = pa.Table.from_batches(self._batches).column(name).to_numpy()
        return found

    def row(self, place: int) -> dict[str, Any]:
        """The template at a place; only its own page is read (`Table.take` would copy the whole bank)."""
        number = int(np.searchsorted(self._ends, place, "right"))
        batch = self._batches[number]
        [found] = batch.slice(place - int(self._ends[number]) + batch.num_rows, 1).to_pylist()
        return dict(found)

    def complexities(self) -> dict[str, dict[str, int]]:
        """How many templates there are of each complexity, by source."""
        counts: dict[str, Counter[int]] = {}
        for source, complexity in zip(self.column("template_source"), self.column("complexity"), strict=True):
            counts.setdefault(source or "", Counter())[int(complexity)] += 1
        return {source: {str(c): found[c] for c in sorted(found)} for source, found in sorted(counts.items())}
