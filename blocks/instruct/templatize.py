"""`Templatize`: one query in, one generic template and a description of its documents out.

The stage is FineInstructions' query genericizer (arXiv 2601.22146). The released model gets the bare query as the only
message and answers with a JSON object; any other instruct model gets `prompts/instruct/templatize.md` around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import xxhash
from datatrove.data import Document

from blocks.generate.errors import Rejected
from blocks.generate.generate import Ask
from blocks.generate.prompted import PROVENANCE, Prompted
from blocks.instruct.templates import parse_templatized
from blocks.shards.chunk import FORMAT, LINEAGE, RETRIED, Refusal, chunk_of

TEMPLATIZER = "fineinstructions/query_templatizer"
"""The released model: Llama-3.2 1B Instruct, distilled for this."""

TEMPLATES = "templates"
"""The format of all templates."""

TEMPLATE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # of the query
        pa.field("template", pa.string(), nullable=False),
        pa.field("description", pa.string(), nullable=False),  # of documents that could fill it
        pa.field("complexity", pa.int32(), nullable=False),  # number of <fi> spans
        pa.field("query", pa.string(), nullable=False),
        pa.field("frequency", pa.int64(), nullable=False),  # of the query in the input
        pa.field("template_source", pa.string()),  # where the query comes from
        *PROVENANCE,
    ]
)


def template_id(template: str) -> str:
    """What a template is called in every index: xxh3-64 of its text, hex."""
    return xxhash.xxh3_64_hexdigest(template.encode(errors="surrogatepass"))


class Templatize(Prompted):
    """Make queries general."""

    name = "Templatize"

    async def rollout(self, document: Document, generate: Ask) -> Sequence[Document | Refusal]:
        """Ask for the template of a query."""
        query, broken = self.tokenizer.neutralise(document.text)
        if broken and (chunk := chunk_of(document)) is not None:
            chunk.count(special_tokens_broken_up=broken)
        if len(query.encode()) > self.room and not await self.offload(self.tokenizer.fits, query, self.room):
            raise Rejected("query_too_long", f"more than {self.room} tokens")
        answer = await generate(self.request(query))
        if answer.finish_reason == "length":
            return [Refusal("cut_off", format=TEMPLATES, raw=answer.text)]
        try:
            made = parse_templatized(query, answer.text)
        except Rejected as error:
            return [Refusal(error.reason, format=TEMPLATES, raw=answer.text, detail=error.detail)]
        metadata = {
            **{key: value for key, value in document.metadata.items() if key not in (LINEAGE, RETRIED)},
            **self.provenance(answer),
            FORMAT: TEMPLATES,
            "template_source": document.metadata.get("template_source") or document.metadata.get("source_dataset"),
            "template": made.template.text,
            "description": made.description,
            "complexity": made.template.complexity,
            "query": document.text,
        }
        return [Document(made.template.text, document.id, metadata=metadata)]
