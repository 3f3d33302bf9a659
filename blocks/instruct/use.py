"""What pairs say about the templates they were made of: the paper's own acceptance tests, measured on a run.

FineInstructions (arXiv 2601.22146) reports of its pairs that no template makes more than 0.09 % of them, that chunk and
position of the excerpt correlate with 0.99, and where the templates come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import fsspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from blocks.instruct.choose import shares
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunFolder

COLUMNS = (
    *("template_id", "template", "template_source", "complexity", "chunk_k", "similarity", "grounding", "position"),
    *("source_id", "judge_score"),
)
"""What is read of the pairs."""


def template_use(folder: RunFolder) -> dict[str, Any]:
    """How the pairs of a run use their templates.

    Args:
        folder: a run of the stage `pairs` or `budget`.

    Returns:
        `pairs`, `documents` with a pair, `templates` (different ones), `most_used` (the templates with the largest
        shares), `sources` and `complexities` (shares), `chunks` (by chunk: pairs, and mean position of what was copied
        in the document), `pearson` (of chunk, where it is not 0, and position; None of fewer than two), `similarity`
        and `grounding` (quantiles 0, 0.25, 0.5, 0.75, 1), and `scores` (of the judge).
    """
    templates: Counter[str] = Counter()
    texts: dict[str, str] = {}
    sources: Counter[str] = Counter()
    scores: Counter[str] = Counter()
    documents: set[str] = set()
    numbers: dict[str, list[Any]] = {name: [] for name in ("complexity", "chunk_k", "similarity", "grounding")}
    positions: list[float] = []
    for table in _tables(folder):
        for row in table.to_pylist():
            templates[row["template_id"]] += 1
            texts.setdefault(row["template_id"], row["template"])
            sources[row["template_source"] or ""] += 1
            documents.add(row["source_id"])
            if row["judge_score"] is not None:
                scores[f"{row['judge_score']:g}"] += 1
            for name, column in numbers.items():
                column.append(row[name])
            positions.append(float("nan") if row["position"] is None else row["position"])
    pairs = templates.total()
    chunk, position = np.array(numbers["chunk_k"]), np.array(positions)
    placed = (chunk > 0) & ~np.isnan(position) if pairs else np.zeros(0, bool)
    varies = placed.sum() > 1 and np.ptp(chunk[placed]) > 0 and np.ptp(position[placed]) > 0
    return {
        "pairs": pairs,
        "documents": len(documents),
        "templates": len(templates),
        "most_used": [
            {"template_id": name, "template": texts[name], "share": count / pairs}
            for name, count in templates.most_common(10)
        ],
        "sources": {name: count / pairs for name, count in sources.most_common()},
        "complexities": shares(numbers["complexity"]) if pairs else {},
        "chunks": {
            int(k): {"pairs": int((chunk == k).sum()), "position": _mean(position[chunk == k])}
            for k in np.unique(chunk)
        },
        "pearson": float(np.corrcoef(chunk[placed], position[placed])[0, 1]) if varies else None,
        "similarity": _quantiles(numbers["similarity"]),
        "grounding": _quantiles(numbers["grounding"]),
        "scores": dict(sorted(scores.items())),
    }


def _tables(folder: RunFolder) -> Iterator[pa.Table]:
    for commit in load_commits(folder):
        for file in commit.files:
            if file.path.startswith("shards/"):
                with fsspec.open(f"{folder.output}/{file.path}", "rb") as stream:
                    if file.path.endswith(".parquet"):
                        yield pq.read_table(stream, columns=list(COLUMNS))
                    else:
                        rows = [orjson.loads(line) for line in stream]
                        yield pa.table({name: [row[name] for row in rows] for name in COLUMNS})


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _quantiles(values: list[float]) -> list[float]:
    return [round(float(one), 4) for one in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))] if values else []
