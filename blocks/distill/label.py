"""`Label`: documents and the templates that were found for them become labelled examples for the matching embedding.

FineInstructions (arXiv 2601.22146): a teacher says of five templates for each of about 200,000 documents whether they
fit (1) or not (0). In the second round a template was found for a chunk; the teacher is shown the document around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa
from datatrove.data import Document

from blocks.generate.errors import Rejected, RequestFailed, RequestRefused
from blocks.generate.generate import Ask
from blocks.generate.prompted import PROVENANCE
from blocks.instruct.instantiate import Instantiate
from blocks.shards.chunk import ANSWER, FORMAT, LINEAGE, RETRIED, Refusal
from blocks.shards.documents import source_hash

LABELS = "labels"
"""The format of all labelled examples."""

DOCUMENTS, CANDIDATES = 200_000, 5
"""The paper's: documents, and templates of each."""

LABEL_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # {source_id}/{template_id}
        pa.field("text", pa.string(), nullable=False),  # the document
        pa.field("format", pa.string(), nullable=False),  # labels
        pa.field("description", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),  # 1: it fits, 0: it does not
        pa.field("chunk_k", pa.int32(), nullable=False),  # 0: found for the whole document, else for this chunk
        pa.field("similarity", pa.float32(), nullable=False),  # of the encoder that found it
        pa.field("template_id", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_hash", pa.string(), nullable=False),
        *PROVENANCE,
    ]
)


class Label(Instantiate):
    """Ask whether documents are of the kind that their templates want (`metadata["templates"]`)."""

    name = "Label"

    def preview_of(self, document: Document) -> dict[str, Any]:
        """The request body for a document and the first of its templates."""
        match = document.metadata["templates"][0]
        description, text = (self.tokenizer.neutralise(one)[0] for one in (match["description"], document.text))
        return self.preview(question(description, self.passage(text, description, match["chunk_k"])[1]))

    async def _ask_about(
        self, sample_id: str, document: Document, text: str, match: Mapping[str, Any], generate: Ask
    ) -> Document | Refusal:
        description = self.tokenizer.neutralise(match["description"])[0]
        answer = None
        try:
            shown = (await self.offload(self.passage, text, description, match["chunk_k"]))[1]
            answer = await generate(self.request(question(description, shown)))
            label = parse_label(answer.text)
        except (Rejected, RequestRefused) as error:
            raw = "" if answer is None else answer.text
            return Refusal(error.reason, id=sample_id, format=LABELS, raw=raw, detail=error.detail)
        except RequestFailed as error:
            return Refusal(error.reason, "failed", id=sample_id, format=LABELS, detail=error.detail)
        metadata = {
            **{k: v for k, v in document.metadata.items() if k not in (LINEAGE, RETRIED, "templates")},
            **match,
            **self.provenance(answer),
            FORMAT: LABELS,
            ANSWER: answer.text,
            "label": label,
            "source_id": document.id,
            "source_hash": source_hash(document.text),
        }
        return Document(document.text, sample_id, metadata=metadata)


def question(description: str, document: str) -> str:
    """What stands in the prompt `compatible`.

    Raises:
        Rejected: one of them has lone surrogates, which no request can carry.
    """
    try:
        return orjson.dumps({"description": description, "document": document}).decode()
    except orjson.JSONEncodeError as error:
        raise Rejected("invalid_unicode", str(error)) from error


def parse_label(answer: str) -> int:
    """The label that a teacher gave.

    Raises:
        Rejected: it gave none, or said more.
    """
    told = answer.strip().strip("`*\"'. \n")
    if told not in ("0", "1"):
        raise Rejected("label_unreadable", answer[:200])
    return int(told)
