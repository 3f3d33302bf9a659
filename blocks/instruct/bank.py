"""The bank of templates: what is searched, made of all templates of a run whose descriptions were embedded.

A run that has grown gets a further bank, `bank-` and the number of its chunks: matches that were begun with an earlier
one go on with that. It may be deleted when none will.

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

from blocks.generate.errors import Rejected
from blocks.instruct.encoder import Encoder
from blocks.instruct.index import TemplateSearch, build_index
from blocks.instruct.templates import parse_template
from blocks.instruct.templatize import template_id
from blocks.shards import meter
from blocks.shards.chunk import FORMAT, LINEAGE, Refusal, batched_by_chunk, chunk_of
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
        """Yield the templates with `metadata["embedding"]`, in order; refuse what no bank can hold."""
        self.encoder.take_gpu(rank)
        for batch in batched_by_chunk(filter(self._is_sound, data or ()), BATCH):
            with self.track_time("batch"):
                found = self.encoder.descriptions([one.metadata["description"] for one in batch]).astype(np.float16)
            meter.add(documents=len(batch))
            for template, embedding in zip(batch, found, strict=True):
                template.metadata |= {FORMAT: "templates", "template": template.text, "embedding": embedding}
                yield template

    def _is_sound(self, template: Document) -> bool:
        """Whether a template can be embedded, drawn and instantiated; those of the stage `templates` always can."""
        try:
            parse_template(template.text)
            for name, wanted in {"description": str, "complexity": int, "frequency": int}.items():
                if not isinstance(found := template.metadata.get(name), wanted) or not found:
                    raise Rejected(f"no_{name}", repr(found))
        except Rejected as error:
            if (chunk := chunk_of(template)) is not None:
                refusal = Refusal(error.reason, raw=template.text, detail=error.detail)
                chunk.refuse(template.metadata[LINEAGE], refusal)
            return False
        return True


def bank_folder(run: RunFolder) -> Path:
    """Where the bank of a run of `EmbedTemplates` is, or will be, as the run is now."""
    return Path(run.output) / f"bank-{sum(1 for _ in load_commits(run))}"


def _bank_folders(output: Path) -> list[Path]:
    """Banks of a run, finished or not, from the oldest to the newest."""
    numbers = (folder.name.removeprefix("bank-") for folder in output.glob("bank-*"))
    return [output / f"bank-{number}" for number in sorted(int(one) for one in numbers if one.isdecimal())]


def build_bank(run: RunFolder, told: Mapping[str, Any], flat_below: int | None = None) -> Bank:
    """Make the bank of a complete run of `EmbedTemplates`, or finish it; one that is there stays.

    Args:
        run: the run.
        told: what it is to say of itself, such as the encoder.
        flat_below: see `build_index`.
    """
    record, folder = load_run(run), bank_folder(run)
    assert record is not None
    part = folder.with_name(f".{folder.name}.part")
    begun = [one for one in _bank_folders(folder.parent) if one != folder and not Bank(one).is_finished]
    for rest in (*folder.parent.glob(".bank-*.part"), *begun):  # of launches that were killed
        shutil.rmtree(rest)
    if not folder.is_dir():
        part.mkdir(parents=True)
        _collect(run, part)
        part.rename(folder)
    bank = Bank(folder)
    if bank.is_finished:
        return bank
    build_index(bank.vectors, folder, **({} if flat_below is None else {"flat_below": flat_below}))
    content = {
        **told,
        "name": f"{len(bank.vectors):,} templates of the run {record.id[:8]}",
        "templates": len(bank.vectors),
        "complexities": bank.complexities(),
    }
    write_atomically(folder / "bank.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return bank


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
    """A bank, opened when it is used; pickles as its arguments.

    Args:
        folder: of the bank.
        nprobe: see `TemplateSearch`.
    """

    folder: Path
    nprobe: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "nprobe": self.nprobe}

    @classmethod
    def of_run(cls, run: str, name: str | None = None, nprobe: int | None = None) -> Bank:
        """A bank of a run folder of the stage `index`.

        Args:
            run: the folder.
            name: of the bank; None for the newest.
            nprobe: see `TemplateSearch`.

        Raises:
            RunError: there is none that is finished.
        """
        finished = [cls(folder, nprobe) for folder in _bank_folders(Path(run)) if cls(folder).is_finished]
        if found := [bank for bank in finished if name in (None, bank.folder.name)]:
            return found[-1]
        if name:
            raise RunError(f"{run} has no {name} any more, which this run was begun with: bring it back, or begin anew")
        raise RunError(f"{run} has no finished bank: give the --output of the stage `index`, when that is complete")

    @property
    def is_finished(self) -> bool:
        """Whether it can be searched."""
        return (self.folder / "bank.json").is_file()

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
        return TemplateSearch(self.folder, self.nprobe)

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
