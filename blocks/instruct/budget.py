"""`Budget`: which pairs are trained on: those that are good enough, and together no longer than their documents.

FineInstructions (arXiv 2601.22146) keeps pairs that are grounded (0.80) and judged well (4 of 5), and of these, at
random, as many as have the tokens of their document; what a document leaves over goes to those that follow. So a corpus
of pairs has at most the tokens of the corpus that it was made of, and the two can be compared token for token. The
paper does not say what happens when a pair does not fit; here the document's turn is over, whatever its other pairs
have: to look for shorter ones would favour them.

This step carries the left-over from document to document, so it runs alone, over the documents of the stage `match` in
their order, with the pairs of the stage `pairs` beside them. What a committed chunk has left over stands in its commit
record, where a run that was killed takes it up. No model is asked: at other thresholds it can be done again in minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.generate.tokenizer import TokenCounter
from blocks.instruct.instantiate import PAIR_SCHEMA, PAIRS
from blocks.instruct.pairs import MIN_GROUNDED
from blocks.instruct.templates import MIN_RESEMBLANCE
from blocks.shards import meter
from blocks.shards.chunk import ANSWER, LINEAGE, OpenChunk, Refusal, chunk_of
from blocks.shards.commit import commit_path, committed_chunks, load_commit
from blocks.shards.folder import RunFolder

MIN_SCORE = 4
"""The least score of a judge, as in the paper."""

LEFT = "carry/budget_left"
"""What a commit record calls the tokens that its documents have left over."""

BUDGETED_SCHEMA = PAIR_SCHEMA.append(pa.field("tokens", pa.int32(), nullable=False)).append(
    pa.field("source_tokens", pa.int32(), nullable=False)
)


@dataclass(frozen=True)
class Thresholds:
    """What a pair has to reach.

    Args:
        min_grounded: least share of the answer that was copied.
        min_resemblance: least share of the template's words in the instruction.
        min_score: least score of the judge; None where pairs were not judged.
    """

    min_grounded: float = MIN_GROUNDED
    min_resemblance: float = MIN_RESEMBLANCE
    min_score: float | None = MIN_SCORE

    def reason(self, pair: Mapping[str, Any]) -> str | None:
        """Why a pair is not good enough; None where it is."""
        if pair["grounding"] < self.min_grounded:
            return "not_grounded"
        if pair["resemblance"] < self.min_resemblance:
            return "unlike_its_template"
        if self.min_score is not None and (pair["judge_score"] is None or pair["judge_score"] < self.min_score):
            return "judged_badly"
        return None

    def as_dict(self) -> dict[str, Any]:
        """For a fingerprint."""
        return asdict(self)


class Budget(PipelineStep):
    """Turn documents into those of their pairs that are kept.

    Args:
        folder: the run that is written.
        thresholds: what a pair has to reach.
        tokenizer: of the model that is trained on them.
        limited: whether there is a budget; without it all good pairs are kept.
        seed: of the choice.
    """

    name = "Budget"
    type = "⚖️ - BUDGET"

    def __init__(
        self,
        folder: RunFolder,
        thresholds: Thresholds,
        tokenizer: TokenCounter,
        limited: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.thresholds = folder, thresholds
        self.tokenizer, self.limited, self.seed = tokenizer, limited, seed

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the pairs that are kept.

        Raises:
            ValueError: there are several tasks.
        """
        if world_size != 1:
            raise ValueError("the budget is carried from document to document: this stage has one task")
        chunk: OpenChunk | None = None
        left = 0
        for document in data or ():
            here = chunk_of(document)
            assert here is not None
            if here is not chunk:
                if chunk is None:
                    left = self._left_before(here)
                elif self.limited:
                    chunk.count(**{LEFT: left})
                chunk = here
            meter.add(documents=1)
            tokens = self.tokenizer.count(document.text)
            kept, refused, left = self.keep(document, tokens, left)
            chunk.count(source_tokens=tokens, pair_tokens=sum(pair.metadata["tokens"] for pair in kept))
            lineage = document.metadata[LINEAGE]
            if kept or refused:
                yield from chunk.replace(lineage, kept, refused)
            else:
                chunk.refuse(lineage, Refusal("no_pair"))
        if chunk is not None and self.limited:
            chunk.count(**{LEFT: left})

    def keep(self, document: Document, tokens: int, left: int) -> tuple[list[Document], list[Refusal], int]:
        """Choose among the pairs of a document.

        Args:
            document: with `metadata["pairs"]`.
            tokens: of the document.
            left: tokens that earlier documents have left over.

        Returns:
            The pairs that are kept in the order in which they were made, why the others are not, and what is left over.
        """
        left += tokens
        good, refused = [], []
        for pair in document.metadata["pairs"] or ():
            reason = self.thresholds.reason(pair)
            if reason is None:
                good.append(pair)
            else:
                refused.append(Refusal(reason, id=pair["id"], format=PAIRS, raw=pair["text"]))
        kept: dict[str, int] = {}
        for pair in sorted(good, key=self._lot):
            needed = self.tokenizer.count(pair["text"])
            if self.limited and needed > left:
                break
            kept[pair["id"]] = needed
            left -= needed
        for pair in good:
            if pair["id"] not in kept:
                refused.append(Refusal("over_budget", id=pair["id"], format=PAIRS, raw=pair["text"]))
        made = [_as_document(pair, kept[pair["id"]], tokens) for pair in good if pair["id"] in kept]
        return made, refused, left if self.limited else 0

    def _lot(self, pair: Mapping[str, Any]) -> int:
        return xxhash.xxh3_64_intdigest(f"{self.seed}\0{pair['id']}".encode(errors="surrogatepass"))

    def _left_before(self, chunk: OpenChunk) -> int:
        """What the last committed chunk before this one has left over."""
        committed = [(unit, k) for unit, numbers in committed_chunks(self.folder).items() for k in numbers]
        for place in sorted((place for place in committed if place < (chunk.unit, chunk.k)), reverse=True):
            numbers = load_commit(commit_path(self.folder, self.folder.chunk_name(*place))).tally["numbers"]
            if LEFT in numbers:  # not in a chunk without a readable document
                return int(numbers[LEFT])
        return 0


def _as_document(pair: Mapping[str, Any], tokens: int, source_tokens: int) -> Document:
    metadata = {name: value for name, value in pair.items() if name not in ("id", "text")}
    metadata[ANSWER] = f"{pair['instruction']}\n\n{pair['answer']}"  # without what all pairs begin with
    return Document(
        pair["text"],
        pair["id"],
        metadata={**metadata, "format": PAIRS, "tokens": tokens, "source_tokens": source_tokens},
    )
