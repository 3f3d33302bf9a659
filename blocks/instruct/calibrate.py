"""Where the threshold of a similarity may lie, for an encoder of which nobody knows.

FineInstructions (arXiv 2601.22146) chose 0.865 by hand for its own fine-tuned embedding; other encoders put the same
pairs elsewhere. Two kinds of evidence:

- Without a model: the similarity of documents to templates that they were matched with (the nearest ones) against that
  to random templates. Below almost all of the random ones nothing is matched but by chance; that is the threshold that
  is proposed.
- With a run of the stage `pairs` that was made with a low threshold: the similarity of templates that a model made
  pairs of, against those that it said do not fit. Proposed is what tells the two apart best (Youden's index).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xxhash

from blocks.instruct.bank import Bank
from blocks.instruct.encoder import Encoder
from blocks.instruct.match import BATCH, TEMPLATES
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.tables import read_tables

CHANCE = 0.999
"""Share of random pairs that the proposed threshold leaves below it."""

RANDOM = 64
"""Random templates that each embedding is compared with."""

SAMPLE = 100_000
"""Pairs, and templates that do not fit, that are looked at in runs that have more."""

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)


def similarities(
    bank: Bank, encoder: Encoder, texts: Sequence[str], seed: int = 0
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Similarities of documents and templates.

    Args:
        bank: the templates.
        encoder: the model that embedded them.
        texts: documents.
        seed: of the random templates.

    Returns:
        To the `TEMPLATES` nearest templates of each document and of its parts, shape (documents, embeddings,
        `TEMPLATES`), and to random others, one row of numbers.

    Raises:
        RunError: there is no document, or no template but the nearest.
    """
    if not texts:
        raise RunError("none of the documents that were read has a text")
    if len(bank.vectors) <= TEMPLATES:
        raise RunError(f"a bank of {len(bank.vectors)} templates tells nothing of random ones: it needs far more")
    dice = np.random.default_rng(seed)
    near, random = [], []
    for start in range(0, len(texts), BATCH):
        embeddings = encoder.documents(texts[start : start + BATCH])
        flat = embeddings.reshape(-1, embeddings.shape[-1])
        found, nearest = bank.search.search(flat, TEMPLATES)
        near.append(found.reshape(*embeddings.shape[:2], TEMPLATES))
        drawn = np.sort(dice.integers(0, len(bank.vectors), RANDOM))
        cosines = flat @ np.asarray(bank.vectors[drawn], np.float32).T
        # In a small bank a document's own templates would be a good part of the random ones.
        random.append(cosines[~(drawn[None, :, None] == nearest[:, None, :]).any(-1)])
    return np.concatenate(near), np.concatenate(random)


def propose(near: np.ndarray[Any, Any], random: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A threshold without a model, and what it would do.

    Returns:
        `threshold`; quantiles of `nearest` and `random` pairs; `documents` (share with a candidate above the
        threshold), `embeddings` (likewise), `by_chance` (share of random pairs above it).
    """
    threshold = float(np.quantile(random, CHANCE))
    nearest = near[..., 0]
    return {
        "threshold": round(threshold, 3),
        "nearest": _quantiles(nearest.ravel()),
        "random": _quantiles(random),
        "documents": float((nearest.max(1) >= threshold).mean()),
        "embeddings": float((nearest >= threshold).mean()),
        "by_chance": float((random >= threshold).mean()),
    }


def propose_by_pairs(fits: np.ndarray[Any, Any], does_not: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A threshold by what a model said.

    Args:
        fits: similarities of templates that became pairs.
        does_not: of those that the model said do not fit.

    Returns:
        `threshold`; quantiles of both; shares of both that lie above the threshold.
    """
    levels = np.unique(np.concatenate([fits, does_not]))
    above = 1 - np.searchsorted(np.sort(fits), levels) / len(fits)
    wrong = 1 - np.searchsorted(np.sort(does_not), levels) / len(does_not)
    best = int(np.argmax(above - wrong))
    return {
        "threshold": round(float(levels[best]), 3),
        "fits": _quantiles(fits),
        "does_not_fit": _quantiles(does_not),
        "fits_above": float(above[best]),
        "does_not_fit_above": float(wrong[best]),
    }


def said_by_model(pairs: RunFolder, matches: RunFolder) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Similarities of templates that became pairs in a run, and of those that the model said do not fit.

    Of large runs so many of both as `SAMPLE` says, chosen by the hashes of their ids.
    """
    made = ((_lot(row["id"]), row["similarity"]) for row in _rows(pairs, "shards", ["id", "similarity"]))
    fits = [similarity for _, similarity in heapq.nsmallest(SAMPLE, made)]
    refused = (row["id"] for row in _rows(pairs, "rejected", ["id", "reason"]) if row["reason"] == "not_compatible")
    wanted = {name for _, name in heapq.nsmallest(SAMPLE, ((_lot(name), name) for name in refused))}
    does_not = [
        one["similarity"]
        for row in _rows(matches, "shards", ["id", "templates"])
        for one in row["templates"]
        if f"{row['id']}/{one['template_id']}" in wanted
    ]
    return np.array(fits), np.array(does_not)


def _lot(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode(errors="surrogatepass"))


def _rows(folder: RunFolder, kind: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for table in read_tables(folder, columns, kind):
        yield from table.to_pylist()


def _quantiles(values: np.ndarray[Any, Any]) -> dict[str, float]:
    return {f"{share:g}": round(float(np.quantile(values, share)), 3) for share in QUANTILES}
