"""How well an encoder finds the descriptions that fit a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from blocks.instruct.encoder import Encoder

if TYPE_CHECKING:
    from datasets import Dataset

RECALLS = (1, 5, 10)
"""Of so many nearest descriptions one shall fit."""

TEXTS = 64
"""Documents that are embedded at a time: the token embeddings of long ones are held."""


def evaluate(encoder: Encoder, rows: Dataset, parts: bool) -> dict[str, Any]:
    """How well documents find what fits them, embedded as at inference.

    Args:
        encoder: to evaluate.
        rows: held out.
        parts: each part of a document searches alone for what fits it, as in round 2.

    Returns:
        `recall@k`: share of the documents (or parts) of which some fitting description is among the k nearest of all;
        `cosine`: mean of pairs that fit and of those that do not; None where there are none.
    """
    descriptions = {one: at for at, one in enumerate(dict.fromkeys(rows["description"]))}
    pairs: dict[str, dict[int, list[tuple[int, int]]]] = {}
    for row in rows:
        chunks = pairs.setdefault(row["text"], {})
        found = chunks.setdefault(row["chunk_k"] if parts else 0, [])
        found.append((descriptions[row["description"]], int(row["label"])))
    bank = encoder.descriptions(list(descriptions))
    nearer: list[int] = []
    cosines: dict[int, list[float]] = {0: [], 1: []}
    texts = list(pairs)
    for start in range(0, len(texts), TEXTS):
        batch = texts[start : start + TEXTS]
        for text, embeddings in zip(batch, encoder.documents(batch), strict=True):
            for chunk, found in pairs[text].items():
                near = bank @ embeddings[chunk]
                for at, label in found:
                    cosines[label].append(float(near[at]))
                if fitting := [near[at] for at, label in found if label == 1]:
                    nearer.append(int((near > max(fitting)).sum()))

    def mean(values: Sequence[float]) -> float | None:
        return round(float(np.mean(values)), 4) if values else None

    return {
        "searches": len(nearer),
        "descriptions": len(descriptions),
        **{f"recall@{k}": mean([before < k for before in nearer]) for k in RECALLS},
        "cosine": {"fitting": mean(cosines[1]), "not_fitting": mean(cosines[0])},
    }
