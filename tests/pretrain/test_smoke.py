"""What the small training on the CPU sees of a window."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make cpu")

from blocks.pretrain.smoke import batch_of  # noqa: E402 - it imports torch


def test_attention_and_loss_stay_inside_of_documents():
    ids, positions = torch.tensor([5, 6, 0, 7, 8, 0, 9]), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    seen = batch_of([{"input_ids": ids, "positions": positions}])
    assert seen["input_ids"].tolist() == [[5, 6, 0, 7, 8, 0]]
    assert seen["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2]]
    assert seen["labels"].tolist() == [[6, 0, -100, 8, 0, -100]]
    assert seen["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]
