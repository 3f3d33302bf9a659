"""Whether a completion is the part of the document that was held back.

A teacher may know a web page by heart. Trained on the original second halves, the students of non-instructional
fine-tuning (arXiv 2409.00096) do not become better at all, so a completion that is one must be found. What the paper
did about it is not known; measured here are the longest run of words that both have, and the share of the completion's
runs of 13 words that occur in the original. Words are compared without case and punctuation.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import NamedTuple

from blocks.filters.words import bare_words

GRAM = 13
"""Words in a row, as GPT-3's decontamination has it (arXiv 2005.14165, appendix C)."""

LONGEST, LONGEST_SHARE, SHARED = 25, 0.5, 0.1
"""Words in a row, share of a completion in one run, and share of its 13-grams, from which on it is near-verbatim. Ours:
of 2,177 documents every second half is found, whole or the first 60 % of it, and of 4,000 pairs of different ones none;
of the 24 pairs that share 13 words at all, reports of one event, 14 are found."""


class Overlap(NamedTuple):
    """How much of a completion is the original's.

    Args:
        longest: words of the longest run that both have.
        longest_share: its share of the completion's words, 0 to 1.
        shared: share of the completion's 13-grams that the original has, 0 to 1; 0 where it is shorter.
    """

    longest: int
    longest_share: float
    shared: float

    @property
    def is_near_verbatim(self) -> bool:
        """Whether the completion is to be taken for the original."""
        few = min(GRAM, 5)
        return (
            self.longest >= LONGEST
            or (self.longest >= few and self.longest_share >= LONGEST_SHARE)
            or self.shared >= SHARED
        )


def overlap(completion: str, original: str) -> Overlap:
    """Compare a completion with what was held back.

    Args:
        completion: what the teacher wrote.
        original: how the document goes on.
    """
    said, held = (bare_words(text) for text in (completion, original))
    if not said or not held:
        return Overlap(0, 0.0, 0.0)
    if said == held:  # of any length, where the search below takes quadratic time
        return Overlap(len(said), 1.0, float(len(said) >= GRAM))
    known = {tuple(held[at : at + GRAM]) for at in range(len(held) - GRAM + 1)}
    grams = [tuple(said[at : at + GRAM]) for at in range(len(said) - GRAM + 1)]
    shared = sum(gram in known for gram in grams) / len(grams) if grams else 0.0
    longest = SequenceMatcher(None, said, held, autojunk=False).find_longest_match().size
    return Overlap(longest, longest / len(said), shared)
