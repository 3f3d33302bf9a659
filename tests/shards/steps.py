"""A run without a model: what the tests of `blocks/shards` put between reader and writer, and how they start it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.shards.chunk import FORMAT, LINEAGE, Refusal, chunk_of
from blocks.shards.commit import recover
from blocks.shards.folder import RunFolder
from blocks.shards.journal import syncer
from blocks.shards.plan import extend_plan, load_plan, save_plan
from blocks.shards.read import ReadUnits
from blocks.shards.source import list_files
from blocks.shards.write import WriteShards

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("format", pa.string()),
        pa.field("source_id", pa.string()),
        pa.field("score", pa.int32()),
    ]
)


class Echo(PipelineStep):
    """Stands for a `Generate` step: one sample per format; a text with "refuse", "fail" or "nothing" gets just that."""

    name = "echo"

    def __init__(self, formats: Sequence[str] = ("faq", "table"), before: Callable[[Document], None] | None = None):
        super().__init__()
        self.formats, self.before = formats, before
        self.seen: list[str] = []

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        for document in data:
            self.seen.append(document.id)
            if self.before is not None:
                self.before(document)
            chunk, lineage = chunk_of(document), document.metadata[LINEAGE]
            assert chunk is not None
            key = hashlib.md5(document.text.encode()).digest()
            if chunk.journal.get(key) is None:
                chunk.journal.put(key, {"text": document.text})
            if "nothing" in document.text:
                chunk.refuse(lineage, Refusal("no_output"))
                continue
            children, refusals = [], []
            for name in self.formats:
                if "refuse" in document.text and name == self.formats[-1]:
                    refusals.append(Refusal("refusal", id=f"{document.id}/{name}", format=name, raw="I cannot."))
                elif "fail" in document.text:
                    refusals.append(Refusal("timeout", "failed", id=f"{document.id}/{name}", format=name))
                else:
                    metadata = {FORMAT: name, "source_id": document.id}
                    children.append(Document(f"{name}: {document.text}", f"{document.id}/{name}", metadata=metadata))
            chunk.replace(lineage, children, refusals)
            yield from children


def planned(
    root: Path, source: Path | str, chunk_size: int, limit: int | None = None, state: Path | None = None
) -> RunFolder:
    """The run in `root`, planned (or its plan grown) and cleared up, as a launch does it."""
    folder = RunFolder.at(str(root), state)
    folder.prepare()
    path = folder.state / "plan.jsonl"
    save_plan(path, extend_plan(load_plan(path), list_files(str(source)), chunk_size, limit))
    recover(folder)
    return folder


def execute(
    folder: RunFolder,
    chunk_size: int,
    steps: Sequence[Any] | None = None,
    rank: int = 0,
    tasks: int = 1,
    schema: pa.Schema = SCHEMA,
    file_format: Any = "parquet",
    **reader: Any,
) -> list[Document]:
    """Run one task of a pipeline in this process; what the writer passed on."""
    pipeline = [
        ReadUnits(folder, chunk_size, **reader),
        *([Echo()] if steps is None else steps),
        WriteShards(folder, schema, file_format),
    ]
    data: Any = None
    for step in pipeline:
        data = step(data, rank, tasks) if not isinstance(step, PipelineStep) else step.run(data, rank, tasks)
    try:
        return list(data)
    finally:
        syncer().flush(10)  # journals are closed off this thread; the next run in this process wants them
