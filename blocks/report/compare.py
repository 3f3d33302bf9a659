"""Two runs side by side: their figures, what they were told differently, and what they made of the same documents."""

from __future__ import annotations

import difflib
import heapq
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.report.gather import Gathered
from blocks.report.samples import Shown, add_sources, choose_places, lots, rows_at

EACH = 8
"""Pairs of a format and an outcome, such as kept by the first run alone."""

DOCUMENTS = 1000
"""Documents of which pairs are chosen."""

_OUTCOMES = {
    (True, True): "kept by both",
    (True, False): "kept by the first alone",
    (False, True): "kept by the second alone",
    (False, False): "kept by neither",
}


@dataclass
class Pair:
    """What two runs made of one document.

    Args:
        first: of the first run.
        second: of the second run.
        outcome: whose was kept.
    """

    first: Shown
    second: Shown
    outcome: str

    @property
    def source(self) -> str | None:
        """The document, where one of the runs has it."""
        return self.second.source if self.first.source is None else self.first.source


@dataclass
class Line:
    """A figure of both runs.

    Args:
        name: what it is.
        values: of the first and the second run; None where a run has nothing of the kind.
        is_share: whether it is a share, 0 to 1, or a number.
    """

    name: str
    values: tuple[float | None, float | None]
    is_share: bool = True

    @property
    def difference(self) -> float | None:
        """The second less the first."""
        first, second = self.values
        return None if first is None or second is None else second - first


def figures(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Line]]:
    """Figures of two runs, by what they are about: the run, or a format.

    Args:
        first: from `Gathered.look`.
        second: likewise.
    """
    both = (first["summary"], second["summary"])
    totals: dict[str, list[float | None]] = {
        "documents read": [told["read"] for told in both],
        "samples written": [sum(told["written"].values()) for told in both],
        "completion tokens": [told["completion_tokens"] for told in both],
        "completion tokens per second": [told["completion_tokens_per_second"] for told in both],
        "seconds": [told["seconds"] for told in both],
        "paid": [told["paid"] or None for told in both],
        "GPU hours": [told["gpu_hours"] for told in (first, second)],
    }
    found = {"The runs": [_line(name, values, False) for name, values in totals.items()]}
    found |= {name: _of_format(name, both) for told in both for name in sorted(told["samples"]["requested"])}
    return {about: [line for line in lines if line.values != (None, None)] for about, lines in found.items()}


def _of_format(name: str, both: Sequence[Mapping[str, Any]]) -> list[Line]:
    requested = [told["samples"]["requested"].get(name, 0) for told in both]

    def share(counts: Sequence[int | None]) -> list[float | None]:
        return [count / of if of and count is not None else None for count, of in zip(counts, requested, strict=True)]

    lines = [_line("asked for", [count or None for count in requested], False)]
    lines.append(_line("written", share([told["samples"]["written"].get(name, 0) for told in both])))
    for kind in ("rejected", "failed"):
        reasons = [told["samples"][kind].get(name, {}) for told in both]
        for reason in sorted({*reasons[0], *reasons[1]}):
            lines.append(_line(f"{kind}: {reason}", share([counts.get(reason, 0) for counts in reasons])))
    for check in sorted({check for told in both for check in told["checks"]}):
        of_format = [told["checks"].get(check, {}).get("formats", {}).get(name) for told in both]
        passed = [counts and counts["passed"] / max(1, sum(_verdicts(counts))) for counts in of_format]
        lines.append(_line(f"passes {check}", passed))
    differ = [told["diversity"].get(name) for told in both]
    lines.append(_line("words of a sample", [found and found["words"]["mean"] for found in differ], False))
    beginnings = [found and found["beginnings"]["top"] for found in differ]
    lines.append(_line("most common beginning", [top[0]["share"] if top else None for top in beginnings]))
    return lines


def _verdicts(counts: Mapping[str, int]) -> list[int]:
    return [counts[word] for word in ("passed", "flagged", "rejected")]


def _line(name: str, values: Sequence[float | None], is_share: bool = True) -> Line:
    return Line(name, (values[0], values[1]), is_share)


def settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What shapes the samples and differs: name, value there, value here."""
    runs = [told["record"] for told in (first, second)]
    ones = [{**run.fingerprint, **{f"format {name}": made_of for name, made_of in run.formats.items()}} for run in runs]
    return [
        (name, ones[0].get(name), ones[1].get(name))
        for name in dict.fromkeys([*ones[0], *ones[1]])
        if ones[0].get(name) != ones[1].get(name)
    ]


def prompt_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The lines in which the prompts of two runs differ, by name; those that one run alone has are paired in order."""
    texts = [{one["name"]: one["text"] for one in told["prompts"] if one["text"]} for told in (first, second)]
    alone = [[name for name in texts[at] if name not in texts[1 - at]] for at in (0, 1)]
    pairs = [(name, name) for name in texts[0] if name in texts[1]] + list(zip(*alone, strict=False))
    found = []
    for one, other in pairs:
        lines = difflib.unified_diff(
            texts[0][one].splitlines(), texts[1][other].splitlines(), one, other, lineterm="", n=2
        )
        if text := "\n".join(lines):
            found.append((one if one == other else f"{one} and {other}", text))
    return found


def choose_pairs(first: Gathered, second: Gathered, most: int, seed: int = 0) -> list[Pair]:
    """What two runs made of the same documents.

    Args:
        first: which has been looked at.
        second: likewise.
        most: at most so many.
        seed: of the choice.

    Returns:
        Pairs of the same format, or of any where the runs have none in common; some of every outcome.
    """
    lot = lots(seed)
    # The same input in chunks of the same size: then the same documents lie in the same places.
    common = choose_places(first, first.places.keys() & second.places.keys(), seed)
    places = [common or choose_places(run, run.places, seed) for run in (first, second)]
    known = {shown.document for shown in rows_at(second, places[1])}
    known &= {shown.document for shown in rows_at(first, places[0])}
    chosen = set(heapq.nsmallest(DOCUMENTS, known, key=lot))
    sides = [_of_documents(run, at, chosen) for run, at in zip((first, second), places, strict=True)]
    formats = [{shown.format for rows in side.values() for shown in rows} for side in sides]
    shared = formats[0] & formats[1] - {"documents"}
    kinds: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for document in sorted(sides[0].keys() & sides[1].keys(), key=lot):
        for name in sorted(shared) or [""]:
            of_format = [[shown for shown in side[document] if name in ("", shown.format)] for side in sides]
            for one, other in _beside(*of_format):
                pair = Pair(one, other, _OUTCOMES[one.kind == "written", other.kind == "written"])
                kinds[one.format, pair.outcome].append(pair)
    pairs = [pair for found in kinds.values() for pair in found[:EACH]]
    order = list(_OUTCOMES.values())
    pairs.sort(key=lambda pair: (order.index(pair.outcome) in (0, 3), lot(pair.first.id)))
    pairs = sorted(pairs[:most], key=lambda pair: (order.index(pair.outcome), pair.first.format))
    add_sources(first, [pair.first for pair in pairs])
    add_sources(second, [pair.second for pair in pairs if pair.first.source is None])
    return pairs


def _beside(first: Sequence[Shown], second: Sequence[Shown]) -> list[tuple[Shown, Shown]]:
    """The same samples of a document by their ids; where the runs have no id in common, one after the other."""
    theirs = {shown.id: shown for shown in second}
    same = [(shown, theirs[shown.id]) for shown in first if shown.id in theirs]
    return same or list(zip(first, second, strict=False))


def _of_documents(run: Gathered, places: Sequence[str], chosen: Container[str]) -> dict[str, list[Shown]]:
    """What a run made of some documents, by document, in the order of its ids."""
    found: dict[str, list[Shown]] = defaultdict(list)
    for shown in rows_at(run, places):
        if shown.document in chosen:
            found[shown.document].append(shown)
    return {document: sorted(rows, key=lambda shown: shown.id) for document, rows in found.items()}
