"""Gaussian pooling: from one pass of an encoder, one embedding of a whole document and some of its parts.

FineInstructions (arXiv 2601.22146, section 3.2 and appendix B). A part's embedding is the mean of the document's token
embeddings under a bell curve around the part's centre, so it finds templates for what stands there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CHUNKS, SIGMA, ALPHA = 5, 0.05, 1.0
"""The paper's: parts, width of a bell in documents, share of the part in its embedding (the rest is the document's)."""


def gaussian_weights(mask: torch.Tensor, chunks: int = CHUNKS, sigma: float = SIGMA) -> torch.Tensor:
    """How much each token counts for each part.

    The bells stand at k/(chunks + 1) of the document's tokens, k = 1 to `chunks`; places count from 1.

    Args:
        mask: 1 for tokens and 0 for padding, on either side; shape (documents, tokens).
        chunks: number of parts.
        sigma: standard deviation of a bell, as a share of the document's tokens.

    Returns:
        Weights, of each part together 1; shape (documents, chunks, tokens).
    """
    import torch

    present = mask.to(torch.float32)
    length = present.sum(1)[:, None, None]
    place = present.cumsum(1)[:, None, :]
    share = torch.arange(1, chunks + 1, device=mask.device, dtype=torch.float32)[None, :, None] / (chunks + 1)
    distance = (place - share * length) / (sigma * length)
    # As a softmax, in which a document of few tokens does not underflow between two of them.
    logits = (-0.5 * distance**2).masked_fill(present[:, None, :] == 0, float("-inf"))
    return torch.softmax(logits, -1)


def pooling_weights(
    mask: torch.Tensor, chunks: int = CHUNKS, sigma: float = SIGMA, alpha: float = ALPHA
) -> torch.Tensor:
    """How much each token counts for the embedding of the whole document and for those of its parts.

    Args:
        mask: see `gaussian_pool`, and so are the others.
        chunks: number of parts.
        sigma: standard deviation of a bell.
        alpha: share of the part.

    Returns:
        Weights, of each embedding together 1; shape (documents, 1 + chunks, tokens), the whole document first.
    """
    import torch

    present = mask.to(torch.float32)[:, None, :]
    whole = present / present.sum(-1, keepdim=True)
    return torch.cat([whole, (1 - alpha) * whole + alpha * gaussian_weights(mask, chunks, sigma)], 1)


def gaussian_pool(
    embeddings: torch.Tensor, mask: torch.Tensor, chunks: int = CHUNKS, sigma: float = SIGMA, alpha: float = ALPHA
) -> torch.Tensor:
    """Embeddings of documents and of their parts, each of length 1.

    Args:
        embeddings: of tokens, shape (documents, tokens, dimensions).
        mask: 1 for tokens and 0 for padding, shape (documents, tokens); no document may be without tokens.
        chunks: number of parts.
        sigma: see `gaussian_weights`.
        alpha: share of the part in its embedding, 0 to 1.

    Returns:
        Shape (documents, 1 + chunks, dimensions), the whole document first.
    """
    import torch

    # Padding may hold anything, and 0 · inf is no number.
    tokens = embeddings.to(torch.float32).masked_fill(mask[:, :, None] == 0, 0.0)
    return torch.nn.functional.normalize(pooling_weights(mask, chunks, sigma, alpha) @ tokens, dim=-1)
