"""An upper bound on the number of tokens of a text, from its length in bytes alone.

Every model type of the `tokenizers` library (BPE, Unigram, WordPiece, WordLevel) makes each token from at least one
byte of the *normalised* text, so its UTF-8 length bounds the token count: this decides most documents without
tokenising them. What can make the normalised text longer has to be counted in:

- NFC and NFD grow UTF-8 text up to 3 times, NFKC and NFKD up to 11 times (Unicode FAQ "Normalization", expansion
  factors); lower-casing up to 1.5 times, taken as 2. ASCII text does not grow.
- "▁" written for a space is longer in bytes, but one token of the vocabulary.
- A prefix (a space or "▁" put before every stretch of text between added tokens) may cost one more token per stretch.
- A normaliser this module does not know gets no bound at all: then the text is tokenised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_GROWTH = {
    "NFC": 3,
    "NFD": 3,
    "NFKC": 11,
    "NFKD": 11,
    "Lowercase": 2,
    "StripAccents": 1,
    "Strip": 1,
    "Nmt": 1,
    "Prepend": 1,  # counted as a prefix
    "ByteLevel": 1,  # one character per byte
}


@dataclass(frozen=True)
class TokenBound:
    """At most how many tokens a byte can make.

    Args:
        ascii_factor: tokens per byte of ASCII text; None when the tokenizer gives no bound.
        factor: the same for any other text.
    """

    ascii_factor: int | None
    factor: int | None

    @classmethod
    def of(cls, normalizer: Mapping[str, Any] | None, pre_tokenizer: Mapping[str, Any] | None) -> TokenBound:
        """The bound for a tokenizer, from these two entries of its `tokenizer.json`."""
        ascii_factor, factor = 1, 1
        normalisers = _steps(normalizer, "normalizers")
        for step in normalisers:
            if step["type"] in _GROWTH:
                factor *= _GROWTH[step["type"]]
            elif step["type"] != "Replace" or not _keeps_length(step):
                return cls(None, None)
        if any(map(_adds_prefix, [*normalisers, *_steps(pre_tokenizer, "pretokenizers")])):
            # Between added tokens of one byte each, every other token could be a prefix.
            ascii_factor, factor = 2 * ascii_factor, 2 * factor
        return cls(ascii_factor, factor)

    def fits(self, text: str, room: int) -> bool:
        """True when the text certainly has at most `room` tokens; False means that it has to be counted."""
        if len(text) > room:
            return False
        if text.isascii():
            return self.ascii_factor is not None and len(text) * self.ascii_factor <= room
        return self.factor is not None and len(text.encode()) * self.factor <= room


def _steps(part: Mapping[str, Any] | None, children: str) -> list[Mapping[str, Any]]:
    """A normaliser or pre-tokenizer as a flat list, with sequences opened up."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [step for child in part[children] for step in _steps(child, children)]
    return [part]


def _keeps_length(replace: Mapping[str, Any]) -> bool:
    pattern, content = replace["pattern"].get("String"), replace["content"]
    return pattern is not None and (len(content.encode()) <= len(pattern.encode()) or (pattern, content) == (" ", "▁"))


def _adds_prefix(step: Mapping[str, Any]) -> bool:
    return (
        step["type"] == "Prepend"
        or bool(step.get("add_prefix_space"))
        or step.get("prepend_scheme", "never") != "never"
    )
