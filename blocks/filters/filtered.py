"""`Filtered`: any stock datatrove filter, with its reasons in the ledger.

A stock filter that stands in a pipeline by itself drops documents without a word to the ledger: at commit they are
counted as `dropped_by_pipeline`, and neither the reason nor the text is kept. Wrapped in this step it decides the same,
but what it drops becomes a row of `rejected/` with the filter's reason, its text and what the filter noted about it.

    Filtered(GopherQualityFilter())      # on documents, before Generate; datatrove wants spaCy for this one
    Filtered(LambdaFilter(lambda s: len(s.text) > 20 or (False, "too_short")))      # on samples, after it
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result
from datatrove.utils.batching import batched
from datatrove.utils.typeshelper import StatHints

from blocks.shards.chunk import LINEAGE, Refusal, chunk_of, stream_of

_NO_WORD = re.compile(r"[\W_]+")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Filtered(PipelineStep):
    """Pass on what a filter keeps; refuse the rest with the filter's reason.

    The filter must decide by the document alone. One that counts or draws lots (`SamplerFilter`) decides otherwise
    after a restart than before it.

    Args:
        filter: the filter, without an `exclusion_writer`. A reason it gives is written in snake_case; one that gives
            none is the reason itself, such as `lambda_filter`. Metadata that it sets on a document that it drops become
            the refusal's `detail`.

    Raises:
        ValueError: the filter has an `exclusion_writer`.
    """

    def __init__(self, filter: BaseFilter) -> None:
        super().__init__()
        if filter.exclusion_writer is not None:
            raise ValueError(f"{filter} needs no exclusion_writer here: what it drops is written to rejected/")
        self.filter = filter
        # In logs and statistics this step is the filter, which counts things of its own.
        self.name, self.type, self.stats = filter.name, filter.type, filter.stats

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents that the filter keeps, in order."""
        size = self.filter.batch_size
        # A batch that is held when a later step stops must not be taken for dropped.
        with stream_of(self.name):
            for batch in batched(data or (), size):
                before = [(document.text, dict(document.metadata)) for document in batch]
                with self.track_time("batch" if size > 1 else None):
                    results = self.filter.filter_batch(batch)
                for document, (text, metadata), result in zip(batch, before, results, strict=True):
                    kept, reason = get_filter_result(result)
                    self.stat_update(StatHints.total)
                    if kept:
                        self.stat_update(StatHints.forwarded)
                        self.update_doc_stats(document)
                        yield document
                        continue
                    reason = snake_case(reason or type(self.filter).__name__)
                    self.stat_update(StatHints.dropped, f"dropped_{reason}")
                    chunk = chunk_of(document)
                    if chunk is not None:
                        noted = {k: v for k, v in document.metadata.items() if k not in metadata or metadata[k] != v}
                        detail = "; ".join(f"{key}: {value}" for key, value in noted.items())
                        # The text as it came: some filters cut lines out of it before they decide.
                        chunk.refuse(metadata[LINEAGE], Refusal(reason, raw=text, detail=detail))


def snake_case(name: str) -> str:
    """A reason or the name of a class as a reason of the ledger: `< 3 paragraphs` is `3_paragraphs`."""
    return _NO_WORD.sub("_", _CAPITAL.sub("_", name)).strip("_").lower()
