"""`RemovePII`: datatrove's `PIIFormatter` for samples: email and IP addresses in all that is published of one.

The stock formatter takes its replacements in turn, so that what becomes of a document depends on those before it, and a
run that was interrupted would write other samples than one that was not. Here there is one replacement of each kind,
which makes it a function of the text; both are reserved for examples, so that a second pass changes nothing.

Its pattern for emails takes time that grows with the square of a run of characters without a space: 12 s for 30,000 of
them. It is shown only runs with an `@`, in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from datatrove.data import Document
from datatrove.pipeline.formatters.pii import PIIFormatter
from datatrove.utils.typeshelper import StatHints

from blocks.shards.chunk import SOURCE, chunk_of

EMAIL = "email@example.com"
"""RFC 2606 keeps example.com for examples; datatrove's own first choice."""

IP = "192.0.2.1"
"""RFC 5737 keeps 192.0.2.0/24 for documentation; datatrove's own are addresses that somebody may get one day."""

FIELDS = (SOURCE, "reasoning", "judge_feedback")
"""Metadata that quote a document or a model, beside `text`."""

# The characters that an address may have outside of quotes; RFC 5321 allows it 254 of them.
_RUN = re.compile(r"[!#-'*+\-./0-9:=?@A-Z\[\]^_`a-z{|}~]{1,1000}")


class RemovePII(PIIFormatter):
    """Replace email addresses and public IP addresses in `text` and in `FIELDS`.

    Stands right before the writer. It counts the samples that it changed as `pii_replaced` in their chunk. It finds
    what datatrove's patterns find: no names or telephone numbers, and of IP addresses only those of version 4; but a
    version or section such as 4.4.2.1 is taken for an address.
    """

    def __init__(self) -> None:
        super().__init__(email_replacement=EMAIL, ip_replacement=IP)

    def format(self, text: str) -> str:
        """The text without addresses."""
        if "@" in text:
            text = _RUN.sub(lambda run: self.emails_replacer.replace(run[0]) if "@" in run[0] else run[0], text)
        replaced: str = self.ip_replacer.replace(text)
        return replaced

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield every sample, changed where there was something to replace."""
        for sample in data or ():
            self.stat_update(StatHints.total)
            with self.track_time():
                changed = self._clean(sample)
            if changed:
                self.stat_update("pii_replaced")
                chunk = chunk_of(sample)
                if chunk is not None:
                    chunk.count(pii_replaced=1)
            yield sample

    def _clean(self, sample: Document) -> bool:
        text = self.format(sample.text)
        found = {name: sample.metadata[name] for name in FIELDS if sample.metadata.get(name)}
        cleaned = {name: self.format(value) for name, value in found.items()}
        changed = text != sample.text or cleaned != found
        sample.text = text
        sample.metadata.update(cleaned)
        return changed
