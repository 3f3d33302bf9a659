"""The tally of a chunk: the counts that its commit record carries, and the two balances they must satisfy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from blocks.shards.folder import RunError


@dataclass
class Tally:
    """Counts of a chunk (or of many); `documents` and `samples` are the two balances."""

    read: int = 0
    done: int = 0
    excluded: int = 0
    document_refusals: dict[str, Counter[str]] = field(
        default_factory=lambda: {"rejected": Counter(), "failed": Counter()}
    )
    requested: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    sample_refusals: dict[str, dict[str, Counter[str]]] = field(default_factory=lambda: {"rejected": {}, "failed": {}})
    numbers: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "documents": {
                "read": self.read,
                "done": self.done,
                "excluded": self.excluded,
                **{kind: dict(sorted(reasons.items())) for kind, reasons in self.document_refusals.items()},
            },
            "samples": {
                # Samples that a further step turned into those of another format leave a zero behind.
                "requested": {name: count for name, count in sorted(self.requested.items()) if count},
                "written": dict(sorted(self.written.items())),
                **{
                    kind: {name: dict(sorted(reasons.items())) for name, reasons in sorted(formats.items())}
                    for kind, formats in self.sample_refusals.items()
                },
            },
            "numbers": dict(sorted(self.numbers.items())),
        }

    def add(self, other: dict[str, Any]) -> None:
        """Add the counts of a commit record (`as_dict`)."""
        documents, samples = other["documents"], other["samples"]
        self.read += documents["read"]
        self.done += documents["done"]
        self.excluded += documents["excluded"]
        self.requested.update(samples["requested"])
        self.written.update(samples["written"])
        self.numbers.update(other["numbers"])
        for kind in ("rejected", "failed"):
            self.document_refusals[kind].update(documents[kind])
            for name, reasons in samples[kind].items():
                self.sample_refusals[kind].setdefault(name, Counter()).update(reasons)

    def check(self) -> None:
        """Hold both balances against each other.

        Raises:
            RunError: a balance does not hold; the message carries the arithmetic.
        """
        refused = {kind: sum(reasons.values()) for kind, reasons in self.document_refusals.items()}
        if self.read != self.done + refused["rejected"] + refused["failed"]:
            raise RunError(
                f"documents do not balance: read {self.read} != done {self.done} + rejected {refused['rejected']} "
                f"+ failed {refused['failed']}; please report this as a bug"
            )
        names = {*self.requested, *self.written, *(n for formats in self.sample_refusals.values() for n in formats)}
        for name in names:
            rejected, failed = (
                sum(self.sample_refusals[kind].get(name, {}).values()) for kind in ("rejected", "failed")
            )
            if self.requested[name] != self.written[name] + rejected + failed:
                raise RunError(
                    f"samples of {name!r} do not balance: requested {self.requested[name]} != written "
                    f"{self.written[name]} + rejected {rejected} + failed {failed}; does a step between reader and "
                    f"commit change metadata['format'] or copy documents?"
                )
