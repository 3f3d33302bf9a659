"""What in a summary somebody should look at before training on the run: shares that are out of bounds, with advice.

Limits are for large shares only; every count stands in the summary itself. A format with few samples causes no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from blocks.shards import diversity
from blocks.shards.diversity import COMPARED

REJECTED_LIMIT = 0.2
"""Share of a format's samples (or of the documents) that one reason may reject. Of the published math samples 23 % have
no digit (FinePhrase, arXiv 2604.13977, template collapse): that should be seen."""

FLAGGED_LIMIT = 0.5
"""Share of a format's samples that one check may flag; of that study's equations 43 % are wrong."""

FAILED_LIMIT = 0.01
"""Share of samples that may be missing for want of an answer."""

ADVICE = {
    "cut_off": "raise --max-tokens, ask for less in the prompt, or see --truncated-output",
    "refusal": "the model declines: see rejected/, and try another prompt or model",
    "prompt_echo": "the model repeats its instruction: it may be too small for this prompt, or not be a chat model",
    "empty": "the model says nothing: see whether its chat template and stop tokens are right",
    "language": "the model answers in another language than the document's: ask for it in the prompt, or use --where",
    "judge_unreadable": "the judge does not keep to its format: see rejected/, raise max_tokens or take another judge",
    "contaminated": "many documents hold text of an evaluation set: see rejected/ for which one",
    "document_too_long": "see --long-documents, or use a model with a longer context",
}
"""What to do about a reason."""

LOW_SCORES = "read some with the judge's feedback: is the prompt, the model or the rubric to blame?"
LOOK = "look at some of them, in rejected/ or by their `checks`"


def find_alarms(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The alarms of a run.

    Args:
        summary: with `documents`, `samples`, `checks` and `diversity` of `summarize`.

    Returns:
        For each: `format` (empty for documents), `measure`, `value`, `limit`, and `text` for people.
    """
    return [*_documents(summary["documents"]), *_samples(summary["samples"]), *_checks(summary), *_diversity(summary)]


def _documents(documents: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if documents["read"] >= COMPARED:
        for reason, count in documents["rejected"].items():
            if reason != "no_format_suits":  # that is what --route is for
                yield from _share("", reason, count, documents["read"], REJECTED_LIMIT, "of the documents are rejected")


def _samples(samples: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, requested in samples["requested"].items():
        if requested < COMPARED:
            continue
        for reason, count in samples["rejected"].get(name, {}).items():
            yield from _share(name, reason, count, requested, REJECTED_LIMIT, "of the samples are rejected")
        failed = sum(samples["failed"].get(name, {}).values())
        if failed > FAILED_LIMIT * requested:
            text = f"{failed / requested:.0%} of the samples failed: see rejected/ for what the server said"
            yield _alarm(name, "failed", failed / requested, FAILED_LIMIT, text)


def _checks(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for check, entry in summary["checks"].items():
        for name, counts in entry["formats"].items():
            measured = counts["passed"] + counts["flagged"] + counts["rejected"]
            if measured >= COMPARED:
                yield from _share(name, check, counts["flagged"], measured, FLAGGED_LIMIT, "of the samples are flagged")


def _diversity(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, merged in summary["diversity"].items():
        for alarm in diversity.alarms(merged):
            yield {"format": name, **alarm}


def _share(name: str, reason: str, count: int, total: int, limit: float, what: str) -> Iterator[dict[str, Any]]:
    if count > limit * total:
        advice = ADVICE.get(reason, LOW_SCORES if reason.startswith("judge_") else LOOK)
        text = f"{count / total:.0%} {what}: {reason} (limit {limit:.0%}); {advice}"
        yield _alarm(name, reason, count / total, limit, text)


def _alarm(name: str, measure: str, value: float, limit: float, text: str) -> dict[str, Any]:
    return {"format": name, "measure": measure, "value": round(value, 4), "limit": limit, "text": text}
