"""Gaussian pooling as a module of sentence-transformers, for models that are trained, saved or served with it."""

from __future__ import annotations

from typing import Any

from sentence_transformers.sentence_transformer.modules import Module

from blocks.instruct.pooling import ALPHA, CHUNKS, SIGMA, gaussian_pool


class GaussianPooling(Module):
    """A sentence-transformers module: token embeddings to the embedding of the whole text and of its parts.

    Args:
        dimensions: of a token embedding.
        chunks: number of parts; 0 for none.
        sigma: see `gaussian_pool`, and so is `alpha`.
        alpha: share of the part in its embedding.
    """

    config_keys = ["dimensions", "chunks", "sigma", "alpha"]  # noqa: RUF012 - as in the base class

    def __init__(self, dimensions: int, chunks: int = CHUNKS, sigma: float = SIGMA, alpha: float = ALPHA) -> None:
        super().__init__()
        self.dimensions, self.chunks, self.sigma, self.alpha = dimensions, chunks, sigma, alpha

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add `sentence_embedding`, shape (texts, (1 + chunks) · dimensions), the whole text first."""
        tokens, mask = features["token_embeddings"], features["attention_mask"]
        pooled = gaussian_pool(tokens, mask, self.chunks, self.sigma, self.alpha)
        features["sentence_embedding"] = pooled.flatten(1)
        return features

    def get_embedding_dimension(self) -> int:
        """Numbers per text."""
        return (1 + self.chunks) * self.dimensions

    get_sentence_embedding_dimension = get_embedding_dimension  # its name before sentence-transformers 5.2

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration; there are no weights."""
        self.save_config(output_path)
