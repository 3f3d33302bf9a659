"""Gaussian pooling, against the paper's formula written out."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make cpu")

from blocks.instruct.pooling import gaussian_pool, gaussian_weights  # noqa: E402 - it imports torch


def reference(tokens: np.ndarray, chunks: int, sigma: float, alpha: float) -> np.ndarray:
    """One document without padding; the formula of section 3.2, in double precision."""
    count = len(tokens)
    mean = tokens.mean(0)
    found = [mean]
    for k in range(1, chunks + 1):
        weights = [np.exp(-0.5 * ((t - k / (chunks + 1) * count) / (sigma * count)) ** 2) for t in range(1, count + 1)]
        local = sum(weight * token for weight, token in zip(weights, tokens, strict=True)) / sum(weights)
        found.append((1 - alpha) * mean + alpha * local)
    return np.stack([vector / np.linalg.norm(vector) for vector in found])


def batch(counts: list[int], width: int, left: bool = False, dimensions: int = 8):
    """Documents of these lengths with padding that holds rubbish; the documents, embeddings and mask."""
    dice = np.random.default_rng(3)
    documents = [dice.normal(size=(count, dimensions)) for count in counts]
    embeddings, mask = torch.full((len(counts), width, dimensions), float("nan")), torch.zeros(len(counts), width)
    for row, document in enumerate(documents):
        start = width - len(document) if left else 0
        embeddings[row, start : start + len(document)] = torch.tensor(document, dtype=torch.float32)
        mask[row, start : start + len(document)] = 1
    return documents, embeddings, mask


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("chunks", "sigma", "alpha"), [(5, 0.05, 1.0), (10, 0.05, 1.0), (3, 0.2, 0.4), (1, 0.5, 0.0)])
def test_it_is_the_formula(left, chunks, sigma, alpha):
    documents, embeddings, mask = batch([120, 37, 300, 60], 320, left)
    found = gaussian_pool(embeddings, mask, chunks, sigma, alpha).numpy()
    assert found.shape == (4, chunks + 1, 8)
    for row, document in enumerate(documents):
        np.testing.assert_allclose(found[row], reference(document, chunks, sigma, alpha), atol=2e-5)


def test_padding_and_neighbours_have_no_influence():
    _, embeddings, mask = batch([50, 90], 400)
    alone = gaussian_pool(embeddings[:1, :50], mask[:1, :50])
    together = gaussian_pool(embeddings, mask)
    torch.testing.assert_close(together[:1], alone)


def test_weights():
    mask = torch.ones(1, 600)
    weights = gaussian_weights(mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 5))
    assert weights.argmax(-1).tolist() == [[99, 199, 299, 399, 499]]  # k/6 of the tokens, counted from 1
    # Half of the height is reached at 0.0589 of the document on either side, so a part sees 11.8 % of it.
    high = (weights / weights.max(-1, keepdim=True).values >= 0.5).sum(-1)
    assert all(abs(int(count) - 0.118 * 600) <= 1 for count in high[0])
    assert (gaussian_weights(torch.tensor([[1, 1, 0, 0]]))[..., 2:] == 0).all()


def test_documents_of_one_token_or_two():
    _, embeddings, mask = batch([1, 2], 2)
    found = gaussian_pool(embeddings, mask)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[0], found[0, :1].expand(6, -1))


def test_nothing_of_the_part_is_the_mean():
    _, embeddings, mask = batch([64], 64)
    found = gaussian_pool(embeddings, mask, alpha=0.0)
    torch.testing.assert_close(found, found[:, :1].expand(-1, 6, -1))
