"""`MatchTemplates`: documents in, documents with the templates that could be made of them out.

FineInstructions' matching (arXiv 2601.22146): one pass of the encoder gives K+1 embeddings of a document, each searches
the bank, what is similar enough is a candidate, and six of the candidates are drawn (`blocks.instruct.choose`). How
many candidates are looked at is not published; 100 for each embedding here. The threshold of 0.865 is that of the
authors' own embedding and means nothing for another one: see `blocks.instruct.calibrate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.instruct.bank import Bank
from blocks.instruct.choose import Match, Preferences, choose, template_weights
from blocks.instruct.encoder import Encoder
from blocks.shards import meter
from blocks.shards.chunk import FORMAT, LINEAGE, Refusal, batched_by_chunk, chunk_of, stream_of
from blocks.shards.documents import source_hash

AUTHORS_ENCODER = "fineinstructions/matching_embedding"
"""The released embedding, and its threshold."""

AUTHORS_THRESHOLD = 0.865

CANDIDATES, TEMPLATES = 100, 6
"""Templates that each embedding of a document finds, and that a document gets; the second is the paper's."""

BATCH = 32
"""Documents that are matched at a time."""

MATCH_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # the document
        pa.field("source_dataset", pa.string()),
        pa.field("source_hash", pa.string(), nullable=False),
        pa.field(
            "templates",
            pa.list_(
                pa.struct(
                    [
                        ("template_id", pa.string()),
                        ("template", pa.string()),
                        ("description", pa.string()),  # of the documents that could fill it
                        ("template_source", pa.string()),
                        ("complexity", pa.int32()),
                        ("chunk_k", pa.int32()),  # 0: the whole document found it, else this part
                        ("similarity", pa.float32()),  # cosine
                    ]
                )
            ),
            nullable=False,
        ),
    ]
)


class MatchTemplates(PipelineStep):
    """Find templates for documents; those for which there are none are refused as `no_template`.

    Args:
        bank: the templates.
        encoder: the model that embedded them.
        threshold: the least cosine.
        templates: the most templates of a document.
        candidates: templates that each embedding looks at.
        preferences: what is wanted of the bank.
        seed: of the draw.
    """

    name = "Match templates"
    type = "🔍 - MATCH"

    def __init__(
        self,
        bank: Bank,
        encoder: Encoder,
        threshold: float,
        templates: int = TEMPLATES,
        candidates: int = CANDIDATES,
        preferences: Preferences | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.bank, self.encoder, self.threshold = bank, encoder, threshold
        self.templates, self.candidates = templates, candidates
        self.preferences, self.seed = preferences or Preferences(), seed

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_weights", "_allowed")}

    @cached_property
    def _weights(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return template_weights(self.bank, self.preferences)

    @cached_property
    def _allowed(self) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        allowed = self._weights > 0
        return None if allowed.all() else allowed

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents with `metadata["templates"]`, in order."""
        self.encoder.take_gpu(rank)
        with stream_of(self.name):
            for batch in batched_by_chunk(data or (), BATCH):
                with self.track_time("batch"):
                    found, nearest = self.find([document.text for document in batch])
                meter.add(documents=len(batch))
                for document, matches, best in zip(batch, found, nearest, strict=True):
                    drawn = choose(matches, self._weights, self.templates, f"{self.seed}\0{document.id}")
                    chunk = chunk_of(document)
                    if drawn:
                        self._count(document, found=matches, drawn=drawn)
                        yield document
                    elif chunk is not None:
                        detail = f"nearest {best:.4f}" if np.isfinite(best) else "nothing is near"
                        chunk.refuse(document.metadata[LINEAGE], Refusal("no_template", detail=detail))

    def find(self, texts: Sequence[str]) -> tuple[list[list[list[Match]]], list[float]]:
        """What each embedding of each document finds from the threshold on, nearest first.

        Returns:
            The matches, and for each document the cosine of the nearest template, also where that is too far away.
        """
        embeddings = self.encoder.documents(texts)
        flat = embeddings.reshape(-1, embeddings.shape[-1])
        similarities, places = self.bank.search.search(flat, self.candidates, self._allowed)
        found = [
            [
                Match(int(place), row % embeddings.shape[1], round(float(one), 5))
                for place, one in zip(*near, strict=True)
            ]
            for row, near in enumerate(zip(places, similarities, strict=True))
        ]
        good = [[match for match in near if match.place >= 0 and match.similarity >= self.threshold] for near in found]
        matches = [good[start : start + embeddings.shape[1]] for start in range(0, len(good), embeddings.shape[1])]
        return matches, similarities.reshape(len(texts), -1).max(1).tolist()

    def _count(self, document: Document, found: Sequence[Sequence[Match]], drawn: Sequence[Match]) -> None:
        kept = ("template_id", "template", "description", "template_source", "complexity")
        rows = [self.bank.row(match.place) for match in drawn]
        document.metadata |= {
            FORMAT: "matches",
            "source_hash": source_hash(document.text),
            "templates": [
                {**{name: row[name] for name in kept}, "chunk_k": match.chunk, "similarity": match.similarity}
                for row, match in zip(rows, drawn, strict=True)
            ],
        }
        if (chunk := chunk_of(document)) is not None:
            different = {match.place for matches in found for match in matches}
            chunk.count(candidates=len(different), templates=len(drawn))
