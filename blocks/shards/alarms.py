"""What in a summary somebody should look at before training on the run: shares that are out of bounds, with advice.

Limits are for large shares only; every count stands in the summary itself. A format with few samples causes no alarm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from blocks.shards.diversity import BEGINNING, COMPARED

REJECTED_LIMIT = 0.2
"""Share of a format's samples (or of the documents) that one reason may reject. Of the published math samples 23 % have
no digit (FinePhrase, arXiv 2604.13977, template collapse): that should be seen."""

FLAGGED_LIMIT = 0.5
"""Share of a format's samples that one check may flag; of that study's equations 43 % are wrong."""

FAILED_LIMIT = 0.01
"""Share of samples that may be missing for want of an answer."""

OPENING_LIMIT = 0.5
"""Share of one opening. Between the models of the study: 32 % for the one that trains best, 76 % for the collapsed."""

BEGINNING_LIMIT = 1 / 3
"""Share of one beginning. It is never larger than that of its opening, so the best model of the study keeps to it."""

NEAR_DUPLICATE_LIMIT = 0.1
"""Share of near-duplicates. The study found about none; news and encyclopedia passages have 0.1 %."""

# Markup, or a word with a colon: a format may want all of its samples to begin with "**Problem:" or "| Name |".
_LABEL = re.compile(r"[^\w\"'“‘(]|[^:]*:")

ADVICE = {
    "cut_off": "raise --max-tokens, ask for less in the prompt, or see --truncated-output",
    "refusal": "the model declines: see rejected/, and try another prompt or model",
    "prompt_echo": "the model repeats its instruction: it may be too small for this prompt, or not be a chat model",
    "empty": "the model says nothing: see whether its chat template and stop tokens are right",
    "language": "the model answers in another language than the document's: ask for it in the prompt, or use --where",
    "judge_unreadable": "the judge does not keep to its format: see rejected/, raise max_tokens or take another judge",
    "contaminated": "many documents hold text of an evaluation set: see rejected/ for which one",
    "no_template": "the bank has nothing near them: lower --threshold (see calibrate), or make more templates",
    "not_grounded": "the model writes instead of copying: look at some, or take another model for the stage `pairs`",
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
    return [
        *_nothing(summary),
        *_documents(summary["documents"]),
        *_samples(summary["samples"]),
        *_checks(summary),
        *_diversity(summary),
    ]


def _nothing(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    read = summary["documents"]["read"]
    if read and not any(summary["samples"]["written"].values()):
        yield _alarm("", "nothing", 1.0, 0.0, f"none of {read:,} documents gave a sample: {LOOK}")


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
        yield from diversity_alarms(name, merged)


def diversity_alarms(name: str, merged: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is out of bounds in a format.

    The leading word's entropy causes none: a label ("Problem", "Q1") that a format may well have makes it 0, and where
    there is no label it says the same as the openings.

    Args:
        name: of the format.
        merged: `FormatDiversity.as_dict`.

    Returns:
        As `find_alarms`, with the measures beginnings, openings and near_duplicates; of beginnings and openings the
        first alone. None for fewer than `COMPARED` samples.
    """
    if merged["samples"] < COMPARED:
        return []
    found = []
    opening, beginning = merged["openings"]["top"][0], merged["beginnings"]["top"][0]
    advice = "raise the temperature, let the prompt ask for less of a fixed shape or take another model"
    if beginning["share"] > BEGINNING_LIMIT:
        text = f"{beginning['share']:.0%} of the samples have the same first {BEGINNING} characters, "
        text += f"{beginning['text']!r} (limit {BEGINNING_LIMIT:.0%}): the model fills in a template; {advice}"
        found.append(_alarm(name, "beginnings", beginning["share"], BEGINNING_LIMIT, text))
    elif opening["share"] > OPENING_LIMIT and not _LABEL.match(opening["text"]):
        text = f"{opening['share']:.0%} of the samples begin with {opening['text']!r} (limit {OPENING_LIMIT:.0%}); "
        text += advice
        found.append(_alarm(name, "openings", opening["share"], OPENING_LIMIT, text))
    repeats = merged["near_duplicates"]
    if repeats["looked_at"] >= COMPARED and repeats["rate"] > NEAR_DUPLICATE_LIMIT:
        text = f"{repeats['rate']:.0%} of the samples looked at nearly repeat an earlier one of their shard (limit "
        worst = f" (the worst shard is {repeats['shard']})" if repeats["shard"] else ""
        text += f"{NEAR_DUPLICATE_LIMIT:.0%}): see whether the documents repeat each other, and deduplicate them"
        text += f"{worst}; if they do not, {advice}"
        found.append(_alarm(name, "near_duplicates", repeats["rate"], NEAR_DUPLICATE_LIMIT, text))
    return found


def _share(name: str, reason: str, count: int, total: int, limit: float, what: str) -> Iterator[dict[str, Any]]:
    if count > limit * total:
        advice = ADVICE.get(reason, LOW_SCORES if reason.startswith("judge_") else LOOK)
        text = f"{count / total:.0%} {what}: {reason} (limit {limit:.0%}); {advice}"
        yield _alarm(name, reason, count / total, limit, text)


def _alarm(name: str, measure: str, value: float, limit: float, text: str) -> dict[str, Any]:
    return {"format": name, "measure": measure, "value": round(value, 4), "limit": round(limit, 4), "text": text}
