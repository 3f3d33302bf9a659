"""What pairs say about the templates they were made of: the paper's own acceptance tests, measured on a run.

FineInstructions (arXiv 2601.22146) reports of its pairs that no template makes more than 0.09 % of them, that chunk and
position of the excerpt correlate with 0.99, and where the templates come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from blocks.instruct.choose import MOST_COMPLEX
from blocks.instruct.pooling import CHUNKS
from blocks.shards.folder import RunFolder
from blocks.shards.tables import read_tables

COLUMNS = (
    *("template_id", "template_source", "complexity", "chunk_k", "similarity", "grounding", "position"),
    *("source_id", "judge_score"),
)
"""What is read of the pairs."""

MOST_USED = 10

STEPS = 1000
"""Steps of the histograms from which quantiles are read."""

QUANTILES = (0, 0.25, 0.5, 0.75, 1)


def template_use(folder: RunFolder) -> dict[str, Any]:
    """How the pairs of a run use their templates; read once, file by file, with nothing kept of a pair.

    Args:
        folder: a run of the stage `pairs` or `budget`.

    Returns:
        `pairs`, `documents` with a pair, `templates` (different ones), `most_used` (the templates with the largest
        shares), `sources` and `complexities` (shares), `chunks` (by chunk: pairs, and mean position of what was copied
        in the document), `pearson` (of chunk, where it is not 0, and position; None where they do not vary),
        `similarity` and `grounding` (quantiles 0, 0.25, 0.5, 0.75, 1, to a thousandth), and `scores` (of the judge).
    """
    counts: dict[str, Counter[Any]] = {name: Counter() for name in COLUMNS}
    documents = 0
    sums = np.zeros((CHUNKS + 1, 3))  # by chunk: pairs that were copied from somewhere, their positions, the squares
    steps = {name: np.zeros(STEPS + 1, np.int64) for name in ("similarity", "grounding")}
    for table in read_tables(folder, COLUMNS):
        for name in ("template_id", "template_source", "complexity", "chunk_k", "judge_score"):
            found = table.column(name).value_counts()
            for entry in found.to_pylist():
                counts[name][entry["values"]] += entry["counts"]
        source = table.column("source_id").combine_chunks()
        # The pairs of a document stand together, in one file.
        documents += len(source) and 1 + (pc.sum(pc.not_equal(source[1:], source[:-1])).as_py() or 0)
        for name, histogram in steps.items():
            values = table.column(name).to_numpy().astype(float)
            np.add.at(histogram, np.rint(np.clip(values, 0, 1) * STEPS).astype(int), 1)
        chunk, position = table.column("chunk_k").to_numpy(), table.column("position").to_numpy().astype(float)
        known = ~np.isnan(position)
        for column, values in enumerate((np.ones(known.sum()), position[known], position[known] ** 2)):
            np.add.at(sums[:, column], chunk[known], values)
    templates, pairs = counts["template_id"], counts["template_id"].total()
    most = dict(templates.most_common(MOST_USED))
    texts = _texts(folder, most)
    judged = sorted((score, count) for score, count in counts["judge_score"].items() if score is not None)
    return {
        "pairs": pairs,
        "documents": documents,
        "templates": len(templates),
        "most_used": [
            {"template_id": name, "template": texts[name], "share": count / pairs} for name, count in most.items()
        ],
        "sources": {name or "": count / pairs for name, count in counts["template_source"].most_common()},
        "complexities": _shares(counts["complexity"]),
        "chunks": {
            k: {"pairs": counts["chunk_k"][k], "position": float(sums[k, 1] / sums[k, 0]) if sums[k, 0] else None}
            for k in sorted(counts["chunk_k"])
        },
        "pearson": _pearson(sums[1:]),
        **{name: _quantiles(histogram) for name, histogram in steps.items()},
        "scores": {f"{score:g}": count for score, count in judged},
    }


def _texts(folder: RunFolder, wanted: Mapping[str, int]) -> dict[str, str]:
    """The texts of some templates; files are read until all are found."""
    texts: dict[str, str] = {}
    for table in read_tables(folder, ["template_id", "template"]) if wanted else ():
        for name, text in zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True):
            if name in wanted:
                texts[name] = text
        if len(texts) == len(wanted):
            break
    return texts


def _shares(complexities: Counter[int]) -> dict[int, float]:
    """Share of each complexity; those of `MOST_COMPLEX` and more together."""
    counts: Counter[int] = Counter()
    for complexity, count in complexities.items():
        counts[min(complexity, MOST_COMPLEX)] += count
    return {complexity: counts[complexity] / counts.total() for complexity in sorted(counts)}


def _pearson(sums: np.ndarray[Any, Any]) -> float | None:
    """Correlation of the number of a row, from 1 on, and positions of which count, sum and sum of squares are given."""
    count, total, squares = sums.sum(0)
    k = np.arange(1, len(sums) + 1)
    if not count:
        return None
    mean_k, mean = (k * sums[:, 0]).sum() / count, total / count
    spread_k = (k**2 * sums[:, 0]).sum() / count - mean_k**2
    spread = squares / count - mean**2
    if spread_k <= 1e-12 or spread <= 1e-12:
        return None
    return float(((k * sums[:, 1]).sum() / count - mean_k * mean) / np.sqrt(spread_k * spread))


def _quantiles(histogram: np.ndarray[Any, Any]) -> list[float]:
    total = histogram.sum()
    ranks = [max(1, round(share * total)) for share in QUANTILES]
    return [int(np.searchsorted(histogram.cumsum(), rank)) / STEPS for rank in ranks] if total else []
