"""`Complete`: documents are cut, a teacher goes on with their first part, and what it writes is a sample.

Non-instructional fine-tuning (arXiv 2409.00096): a student that is trained on first part and continuation follows
instructions afterwards, although there is none in them. The original second half does not do that (3.6 instead of 7.3
on MT-Bench, at second hand), so it must never be the completion: it is compared with every answer. `Original` writes
exactly that, as the control arm.

The student's pair has the bare first part, whatever the teacher was told. What is left out, and how, is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.complete.halve import Halved, Unit, count_words, halve
from blocks.complete.verbatim import Overlap, overlap
from blocks.filters.checks.language import language
from blocks.filters.checks.text import repetition
from blocks.generate.answer import Answer
from blocks.generate.clean import clean, trim_to_sentence
from blocks.generate.errors import Rejected
from blocks.generate.generate import Ask
from blocks.generate.prompted import PROVENANCE, Prompted
from blocks.generate.prompts import Prompt
from blocks.generate.tokenizer import TokenCounter
from blocks.shards.chunk import ANSWER, FORMAT, LINEAGE, RETRIED, Refusal, chunk_of
from blocks.shards.documents import source_hash

TruncatedOutput = Literal["trim", "keep", "reject"]

COMPLETIONS = "completions"
"""The format of all completions."""

MIN_WORDS = 16
"""Words of a completion; fewer teach nothing."""

COMPLETION_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # first part and completion, joined
        pa.field("format", pa.string(), nullable=False),  # completions
        pa.field("prompt", pa.string(), nullable=False),  # the first part, whatever the teacher was told
        pa.field("completion", pa.string(), nullable=False),
        pa.field(
            "messages",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
            nullable=False,
        ),
        pa.field("arm", pa.string(), nullable=False),  # teacher, or original: the control
        pa.field("cut_unit", pa.string(), nullable=False),
        pa.field("cut_index", pa.int32(), nullable=False),  # units in the first part
        pa.field("cut_units", pa.int32(), nullable=False),  # units of the document
        pa.field("cut_fraction", pa.float64(), nullable=False),
        # How much of the completion is the original second half, see `Overlap`.
        pa.field("same_words", pa.int32(), nullable=False),
        pa.field("same_share", pa.float64(), nullable=False),
        pa.field("same_grams", pa.float64(), nullable=False),
        pa.field("judge_score", pa.float64()),
        pa.field("judge_feedback", pa.string()),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_dataset", pa.string()),
        pa.field("source_hash", pa.string(), nullable=False),
        pa.field("teacher_prompt", pa.string()),  # null in the control arm, and so is all that follows
        *(pa.field(field.name, field.type) for field in PROVENANCE if field.name != "prompt"),
    ]
)


class Complete(Prompted):
    """Ask a teacher to go on with the first parts of documents.

    Args:
        prompt: `prompts/complete/bare.md` or another one.
        unit: in which documents are cut.
        cut_seed: of the cuts.
        truncated_output: a completion that hit `max_tokens` is trimmed to its last whole sentence, kept or rejected.
        arguments: as in `Prompted`.
    """

    name = "Complete"

    def __init__(
        self,
        prompt: Prompt,
        *arguments: Any,
        unit: Unit = "word",
        cut_seed: int = 0,
        truncated_output: TruncatedOutput = "trim",
        **generate: Any,
    ) -> None:
        super().__init__(prompt, *arguments, **generate)
        self.unit: Unit = unit
        self.cut_seed = cut_seed
        self.truncated_output = truncated_output

    def preview_of(self, text: str) -> dict[str, Any]:
        """The request body for a document as it would be sent (but for a seed)."""
        cut = halve(self.tokenizer.neutralise(text)[0], "", self.cut_seed, self.unit, self.tokenizer, min_units=2)
        return self.preview(cut.prompt)

    async def rollout(self, document: Document, generate: Ask) -> Sequence[Document | Refusal]:
        """Cut a document and ask for its continuation."""
        text, broken = self.tokenizer.neutralise(document.text)
        if broken and (chunk := chunk_of(document)) is not None:
            chunk.count(special_tokens_broken_up=broken)
        halved = await self.offload(halve, text, document.id, self.cut_seed, self.unit, self.tokenizer)
        if not await self.offload(self.tokenizer.fits, halved.prompt, self.room):
            raise Rejected("document_too_long", f"its first part has more than {self.room} tokens")
        answer = await generate(self.request(halved.prompt))
        try:
            completion, found = await self.offload(self.keep, answer, halved)
        except Rejected as error:
            return [Refusal(error.reason, format=COMPLETIONS, raw=answer.text, detail=error.detail)]
        told = {("teacher_prompt" if name == "prompt" else name): v for name, v in self.provenance(answer).items()}
        return [_sample(document, halved, completion, found, "teacher", told)]

    def keep(self, answer: Answer, halved: Halved) -> tuple[str, Overlap]:
        """The completion, and how much of it is the original's.

        Raises:
            Rejected: `cut_off`, a reason of `clean`, `too_short_completion`, `echo` (it says the first part again),
                `language`, `repetition`, or `near_verbatim`.
        """
        if answer.finish_reason == "length" and self.truncated_output == "reject":
            raise Rejected("cut_off")
        cleaned = clean(_without_echo(answer.text, halved.prompt), self.prompt.text)
        if cleaned.reason is not None:
            raise Rejected(cleaned.reason)
        completion = cleaned.text
        if answer.finish_reason == "length" and self.truncated_output == "trim":
            completion = trim_to_sentence(completion)
        words = count_words(completion)
        if words < MIN_WORDS:
            raise Rejected("too_short_completion", f"{words} of at least {MIN_WORDS} words")
        if (again := overlap(completion, halved.prompt)).is_near_verbatim:
            raise Rejected("echo", f"{again.longest} words in a row stand in the first part")
        for measure in (*language(completion, halved.prompt), *repetition(completion)):
            if not measure.passed:
                raise Rejected(measure.check, measure.detail)
        found = overlap(completion, halved.rest)
        if found.is_near_verbatim:
            raise Rejected("near_verbatim", f"{found.longest} words in a row are the original's")
        return completion, found


class Original(PipelineStep):
    """The control arm: the same first parts, and what really follows them. Nothing is asked.

    Args:
        tokenizer: the teacher's, so that documents are cut as in the other arm.
        unit: in which documents are cut.
        cut_seed: of the cuts.
    """

    name = "Original halves"
    type = "✂️ - HALVE"

    def __init__(self, tokenizer: TokenCounter, unit: Unit = "word", cut_seed: int = 0) -> None:
        super().__init__()
        self.tokenizer, self.cut_seed = tokenizer, cut_seed
        self.unit: Unit = unit

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the two halves of each document."""
        for document in data or ():
            chunk, lineage = chunk_of(document), document.metadata[LINEAGE]
            assert chunk is not None
            try:
                halved = halve(
                    self.tokenizer.neutralise(document.text)[0], document.id, self.cut_seed, self.unit, self.tokenizer
                )
            except Rejected as error:
                chunk.refuse(lineage, Refusal(error.reason, detail=error.detail))
                continue
            rest = halved.rest.strip()
            yield from chunk.replace(
                lineage, [_sample(document, halved, rest, overlap(rest, rest), "original", {})], []
            )


def _sample(
    document: Document, halved: Halved, completion: str, found: Overlap, arm: str, told: Mapping[str, Any]
) -> Document:
    first = halved.prompt.rstrip()
    # Where the cut took white space away, what stood there comes back: a line break stays one.
    between = halved.rest[: len(halved.rest) - len(halved.rest.lstrip())] or halved.prompt[len(first) :]
    text = f"{first}{between}{completion}"
    return Document(
        text,
        document.id,
        metadata={
            **{key: value for key, value in document.metadata.items() if key not in (LINEAGE, RETRIED)},
            **told,
            FORMAT: COMPLETIONS,
            ANSWER: completion,
            "prompt": first,
            "completion": completion,
            "messages": [{"role": "user", "content": first}, {"role": "assistant", "content": completion}],
            "arm": arm,
            "cut_unit": halved.unit,
            "cut_index": halved.cut,
            "cut_units": halved.units,
            "cut_fraction": halved.fraction,
            "same_words": found.longest,
            "same_share": found.longest_share,
            "same_grams": found.shared,
            "source_id": document.id,
            "source_hash": source_hash(document.text),
        },
    )


def _without_echo(text: str, prompt: str) -> str:
    """An answer without the first part, where it begins with all of it."""
    said, first = text.lstrip(), prompt.strip()
    return said[len(first) :] if said.startswith(first) else text
