"""`Instantiate`: one document and its templates in, pairs of an instruction and a grounded answer out.

FineInstructions' instantiator (arXiv 2601.22146). The model gets a JSON object with `instruction_template` and
`document`, as the released one wants it, and answers with a pair or with `null`. Excerpts are expanded and everything
that can be measured is measured here; which pairs are good enough is decided later (`blocks.instruct.budget`), so that
it can be decided again without a model.

Of a document that does not fit into the model's context, the model sees the part around the chunk for which its
template was found, or its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
from datatrove.data import Document

from blocks.generate.answer import Answer
from blocks.generate.budget import LEAST_ROOM, SENTENCE_END, truncate
from blocks.generate.errors import Rejected, RequestFailed, RequestRefused
from blocks.generate.generate import Ask
from blocks.generate.prompted import PROVENANCE, Prompted
from blocks.instruct.excerpts import Source
from blocks.instruct.pairs import parse_pair
from blocks.instruct.pooling import CHUNKS
from blocks.instruct.templates import parse_template
from blocks.shards.chunk import ANSWER, FORMAT, LINEAGE, RETRIED, Refusal, chunk_of
from blocks.shards.documents import source_hash

INSTANTIATOR = "fineinstructions/template_instantiator"
"""The released model: Llama-3.2 3B Instruct, distilled for this."""

PAIRS = "pairs"
"""The format of all pairs."""

PAIR_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # {source_id}/{template_id}
        pa.field("text", pa.string(), nullable=False),  # Instruction: …\n\nAnswer: …
        pa.field("format", pa.string(), nullable=False),  # pairs
        pa.field("instruction", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),  # what the model wrote, before excerpts were expanded
        pa.field("template_id", pa.string(), nullable=False),
        pa.field("template", pa.string(), nullable=False),
        pa.field("template_source", pa.string()),
        pa.field("complexity", pa.int32(), nullable=False),  # number of <fi> spans
        pa.field("chunk_k", pa.int32(), nullable=False),  # 0: found for the whole document, else for this chunk
        pa.field("similarity", pa.float32(), nullable=False),  # cosine of what found it and the template's description
        pa.field("grounding", pa.float64(), nullable=False),  # share of the answer that was copied
        pa.field("resemblance", pa.float64(), nullable=False),  # share of the template's words in the instruction
        pa.field("position", pa.float64()),  # of what was copied in the document, 0 to 1
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_dataset", pa.string()),
        pa.field("source_hash", pa.string(), nullable=False),  # xxh3-64 of the source's UTF-8 text, hex
        pa.field("input_cut", pa.bool_(), nullable=False),  # the model saw only a part of the document
        *PROVENANCE,
        pa.field("judge_score", pa.float64()),
        pa.field("judge_feedback", pa.string()),
    ]
)


class Instantiate(Prompted):
    """Make pairs of documents and their templates (`metadata["templates"]`, see `blocks.instruct.match`)."""

    name = "Instantiate"

    def preview_of(self, document: Document) -> dict[str, Any]:
        """The request body for a document and the first of its templates."""
        match = document.metadata["templates"][0]
        template, text = (self.tokenizer.neutralise(one)[0] for one in (match["template"], document.text))
        return self.preview(contract(template, self.passage(text, template, match["chunk_k"])[1]))

    async def rollout(self, document: Document, generate: Ask) -> Sequence[Document | Refusal]:
        """Ask about all templates of a document at once."""
        text, broken = self.tokenizer.neutralise(document.text)
        if broken and (chunk := chunk_of(document)) is not None:
            chunk.count(special_tokens_broken_up=broken)
        wanted = document.metadata.get(RETRIED)
        asked = [
            self._ask_about(sample_id, document, text, match, generate)
            for match in document.metadata["templates"]
            if (sample_id := f"{document.id}/{match['template_id']}") in (wanted or (sample_id,))
        ]
        return await asyncio.gather(*asked)

    async def _ask_about(
        self, sample_id: str, document: Document, text: str, match: Mapping[str, Any], generate: Ask
    ) -> Document | Refusal:
        answer = None
        template = self.tokenizer.neutralise(match["template"])[0]
        try:
            start, shown = 0, text
            if len(contract(template, text).encode()) > self.room:  # a token covers at least a byte
                start, shown = await self.offload(self.passage, text, template, match["chunk_k"])
            answer = await generate(self.request(contract(template, shown)))
            metadata = await self.offload(self._read, document, text, match, start, shown, answer)
        except (Rejected, RequestRefused) as error:
            raw = "" if answer is None else answer.text
            return Refusal(error.reason, id=sample_id, format=PAIRS, raw=raw, detail=error.detail)
        except RequestFailed as error:
            return Refusal(error.reason, "failed", id=sample_id, format=PAIRS, detail=error.detail)
        return Document(metadata.pop("text"), sample_id, metadata=metadata)

    def passage(self, text: str, template: str, chunk: int) -> tuple[int, str]:
        """The part of a document that the model is shown with a template.

        Args:
            text: the document.
            template: the template.
            chunk: 1 to `CHUNKS`, or 0 for none: then it is the beginning.

        Returns:
            Where it begins in the document, in characters, and the part.

        Raises:
            Rejected: the template is so long that it leaves no room.
        """
        room = self.room
        if self.tokenizer.fits(contract(template, text), room):
            return 0, text
        left = room - self.tokenizer.count(contract(template, ""))
        aim = left
        while aim >= LEAST_ROOM:
            end = self.tokenizer.prefix_end(text, aim)
            start = 0
            if chunk:  # the same number of characters around the middle of the chunk
                start = max(0, min(chunk * len(text) // (CHUNKS + 1) - end // 2, len(text) - end))
                begun = SENTENCE_END.search(text, start, start + end // 4) if start else None
                start = begun.end() if begun else start
            shown = truncate(text[start:], aim, self.tokenizer)[0].strip()
            if self.tokenizer.fits(contract(template, shown), room):
                return text.index(shown, start), shown
            aim -= max(LEAST_ROOM // 2, aim // 8)  # quotation marks and line ends take more tokens in JSON
        raise Rejected("template_too_long", f"leaves {left} tokens for the document")

    def _read(
        self, document: Document, text: str, match: Mapping[str, Any], start: int, shown: str, answer: Answer
    ) -> dict[str, Any]:
        if answer.finish_reason == "length":
            raise Rejected("cut_off")
        pair = parse_pair(parse_template(match["template"]), Source(shown), answer.text)
        if pair is None:
            raise Rejected("not_compatible")
        return {
            **{k: v for k, v in document.metadata.items() if k not in (LINEAGE, RETRIED, "templates")},
            **match,
            **self.provenance(answer),
            FORMAT: PAIRS,
            ANSWER: f"{pair.instruction.text}\n\n{pair.answer.text}",  # without what all pairs begin with
            "text": pair.text,
            "instruction": pair.instruction.text,
            "answer": pair.answer.text,
            "raw": answer.text,
            "grounding": pair.grounded,
            "resemblance": pair.resemblance,
            "position": None if pair.position is None else (start + pair.position) / len(text),
            "source_id": document.id,
            "source_hash": source_hash(document.text),
            "input_cut": len(shown) < len(text.strip()),
        }


def contract(template: str, document: str) -> str:
    """What the released instantiator takes as its only message.

    Raises:
        Rejected: one of them has lone surrogates, which no request can carry.
    """
    try:
        return orjson.dumps({"instruction_template": template, "document": document}).decode()
    except orjson.JSONEncodeError as error:
        raise Rejected("invalid_unicode", str(error)) from error
