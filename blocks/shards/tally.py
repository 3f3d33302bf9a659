"""The tally of a chunk: the counts that its commit record carries, and the two balances they must satisfy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from blocks.shards.folder import RunError


@dataclass
class Retried:
    """What a retry pass has tried again: it no longer counts as failed where it did.

    Args:
        documents: that failed as a whole, by reason.
        samples: that failed, by format and reason.
        partly: documents that they are of.
    """

    documents: Counter[str] = field(default_factory=Counter)
    samples: dict[str, Counter[str]] = field(default_factory=dict)
    partly: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        samples = {name: dict(reasons) for name, reasons in self.samples.items()}
        return {"documents": dict(self.documents), "samples": samples, "partly": self.partly}


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
    retried: Retried | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "documents": {
                "read": self.read,
                "done": self.done,
                "excluded": self.excluded,
                **{kind: _sorted(reasons) for kind, reasons in self.document_refusals.items()},
            },
            "samples": {
                # Samples that a further step turned into those of another format leave a zero behind.
                "requested": {name: count for name, count in sorted(self.requested.items()) if count},
                "written": dict(sorted(self.written.items())),
                **{
                    kind: {name: _sorted(reasons) for name, reasons in sorted(formats.items()) if +reasons}
                    for kind, formats in self.sample_refusals.items()
                },
            },
            "numbers": dict(sorted(self.numbers.items())),
            **({"retried": self.retried.as_dict()} if self.retried else {}),
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
        if retried := other.get("retried"):
            self._take_back(retried)

    def _take_back(self, retried: dict[str, Any]) -> None:
        """Uncount what was counted as failed and has been tried again."""
        self.document_refusals["failed"].subtract(retried["documents"])
        self.read -= sum(retried["documents"].values()) + retried["partly"]
        self.done -= retried["partly"]
        for name, reasons in retried["samples"].items():
            self.sample_refusals["failed"].setdefault(name, Counter()).subtract(reasons)
            self.requested[name] -= sum(reasons.values())

    def refused(self, kind: str) -> int:
        """Documents and samples that were rejected or failed, by `kind`."""
        samples = self.sample_refusals[kind].values()
        return self.document_refusals[kind].total() + sum(reasons.total() for reasons in samples)

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


def _sorted(reasons: Counter[str]) -> dict[str, int]:
    """Counts by name, without those that retries have taken back to zero."""
    return {reason: count for reason, count in sorted(reasons.items()) if count}
