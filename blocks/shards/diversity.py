"""How much the samples of a shard differ: measured while they are written, so that template collapse is seen.

A model that answers every document in the same mould passes all checks of single samples. In the FinePhrase study
(arXiv 2604.13977, section on template collapse) 10,000 math problems by Qwen3 had 40 different first 10 characters, and
76 % shared one; those by SmolLM2, better to train on, had 1,897 and 32 %. So the openings are counted raw, as there,
and what openings cannot tell is measured beside them:

- The first 10 characters are often a label ("**Problem:"), which says nothing about what follows. The first
  `BEGINNING` characters are longer than labels: when they agree, too, whole sentences do.
- The entropy of the leading word, in bits, passes over markup: "| Tower | Built" leads with "tower".
- Distinct-n, different n-grams of words per n-gram, falls as a text grows, so it is taken from a pool of exactly `POOL`
  words.
- A near-duplicate shares a MinHash band with an earlier sample of its shard, with datatrove's bands and hash functions:
  likely from a Jaccard similarity of 5-grams of 0.72. Of copies of real texts of 160 words it finds 99 % with 3 words
  changed, 75 % with 5, 32 % with 8. Numbers count as equal, so the same problem with other numbers is one. The
  shingles are made here, since datatrove's word tokenizers need spaCy.

Openings, leading words and lengths are taken from every sample; the dear ones from the first `LOOKED_AT` of a shard.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from datatrove.utils.hashing import HashConfig, create_hash_func
from datatrove.utils.text import TextNormConfig, simplify_text

OPENING = 10
"""Characters of an opening, as in the study."""

BEGINNING = 80
"""Characters of a beginning: longer than a label ("### Frequently Asked Questions (FAQ)"), some 13 words."""

LOOKED_AT = 200
"""Samples of a shard that distinct-n and near-duplicates are measured on: this is work for the thread that feeds the
shards, and makes the mean sample of a default chunk cost 15 µs. The rate of near-duplicates grows with it, as fewer
samples have fewer earlier ones to resemble."""

LOOKED_INTO = 2000
"""Characters of such a sample: some 500 tokens, more than most answers have."""

POOL = 10_000
"""Words that distinct-n is taken from."""

COMPARED = 100
"""Samples from which a shard's ratios are compared with those of others, and a format can cause an alarm."""

_LEADING_WORD = re.compile(r"[^\W_]+")
# Scripts without spaces: every character is a word, or whole sentences would be.
_UNSPACED = re.compile(r"([\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
# Diacritics stay: taking them away costs as much as all the rest, and a model writes a word the same way every time.
_NORMALIZED = TextNormConfig(norm_unicode_diacritics=False)
_SHINGLE = 5  # words; datatrove's default
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing
_TOP_OPENINGS, _TOP_BEGINNINGS = 5, 3  # kept of a shard
_KEPT = 10_000  # openings kept of a format

_hash_word = create_hash_func(HashConfig(), bytes)
_Hashes = npt.NDArray[np.uint64]


class Diversity:
    """Of one shard; takes its samples one by one."""

    def __init__(self) -> None:
        self._samples = 0
        self._openings: Counter[str] = Counter()
        self._beginnings: Counter[str] = Counter()
        self._leading: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()  # by the power of two at or below the words
        self._words, self._shortest, self._longest = 0, 0, 0
        self._looked_at = 0
        self._kept: list[str] = []  # to be looked into in one go: in between other work that takes twice the time
        self._near_duplicates = 0
        self._bands: set[int] = set()
        self._pool: list[_Hashes] = []
        self._room = POOL

    def add(self, text: str) -> None:
        """Measure a sample; any string will do."""
        beginning = text[:BEGINNING]
        self._openings[text[:OPENING]] += 1
        self._beginnings[beginning] += 1
        word = _LEADING_WORD.search(beginning)
        self._leading[word[0].lower() if word else ""] += 1
        count = _count_words(text)
        self._lengths[1 << count.bit_length() - 1 if count else 0] += 1
        self._words += count
        self._shortest = min(self._shortest, count) if self._samples else count
        self._longest = max(self._longest, count)
        self._samples += 1
        if self._looked_at < LOOKED_AT:
            self._looked_at += 1
            self._kept.append(text[:LOOKED_INTO])

    def _look_into(self, words: _Hashes) -> None:
        if not words.size:
            return
        if self._room:
            self._pool.append(words[: self._room])
            self._room -= self._pool[-1].size
        # A text shorter than a shingle is one, so that it can equal others.
        shingles = _ngrams(words, min(_SHINGLE, words.size)).reshape(-1, 1)
        # Hashes of integers are the same in every process.
        bands = {hash((i, *band)) for i, band in enumerate(_minhash().get_signature(shingles))}
        self._near_duplicates += not bands.isdisjoint(self._bands)
        self._bands |= bands

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, about 1 kB.

        Returns:
            `samples`; `openings` and `beginnings`: `distinct` and the `top` ones with counts; `leading_word_bits`;
            `words` (what stands between blanks): `total`, `min`, `max` of a sample and `sizes`, samples by the power
            of two at or below their words; `looked_at`: samples behind the rest; `near_duplicates` among them;
            `distinct_n`: `words` in the pool, and for n = 1, 2, 3 the different n-grams and all (none reaches over the
            end of a sample).
        """
        for text in self._kept:
            self._look_into(_hash_words(text))
        self._kept.clear()
        return {
            "samples": self._samples,
            "openings": _top(self._openings, _TOP_OPENINGS),
            "beginnings": _top(self._beginnings, _TOP_BEGINNINGS),
            "leading_word_bits": round(_entropy(self._leading), 3),
            "words": {
                "total": self._words,
                "min": self._shortest,
                "max": self._longest,
                "sizes": {str(size): count for size, count in sorted(self._lengths.items())},
            },
            "looked_at": self._looked_at,
            "near_duplicates": self._near_duplicates,
            "distinct_n": {"words": POOL - self._room, **{str(n): self._distinct(n) for n in (1, 2, 3)}},
        }

    def _distinct(self, n: int) -> list[int]:
        found = [_ngrams(words, n) for words in self._pool if words.size >= n]
        total = sum(grams.size for grams in found)
        return [int(np.unique(np.concatenate(found)).size) if found else 0, total]


class FormatDiversity:
    """Of all shards of a format; takes them in any order, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._shards = 0
        self._compared = 0
        self._sums: Counter[str] = Counter()  # integers, so that the order does not matter
        self._openings: Counter[str] = Counter()
        self._beginnings: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._fewest: int | None = None
        self._worst: dict[str, tuple[float, str]] = {}  # the least value and its shard

    def add(self, path: str, shard: Mapping[str, Any]) -> None:
        """Add a shard.

        Args:
            path: names it where it is the worst.
            shard: its `Diversity.as_dict`.
        """
        samples, words = shard["samples"], shard["words"]
        if not samples:
            return
        self._shards += 1
        self._sums.update(
            samples=samples,
            words=words["total"],
            looked_at=shard["looked_at"],
            near_duplicates=shard["near_duplicates"],
        )
        self._sizes.update(words["sizes"])
        self._fewest = words["min"] if self._fewest is None else min(self._fewest, words["min"])
        self._sums["most_words"] = max(self._sums["most_words"], words["max"])
        _add_top(self._openings, shard["openings"]["top"])
        _add_top(self._beginnings, shard["beginnings"]["top"])
        if samples >= COMPARED:
            self._compare(path, shard)

    def _compare(self, path: str, shard: Mapping[str, Any]) -> None:
        samples, openings, bits = shard["samples"], shard["openings"], shard["leading_word_bits"]
        evenness = bits / math.log2(samples)
        self._compared += 1
        self._sums.update(
            compared_samples=samples,
            openings=openings["distinct"],
            millibits=round(1000 * bits) * samples,
            millievenness=round(1000 * evenness) * samples,
        )
        self._least("openings", 1000 * openings["distinct"] / samples, path)
        self._least("share", -openings["top"][0][1] / samples, path)
        self._least("bits", bits, path)
        self._least("evenness", evenness, path)
        if shard["looked_at"] >= COMPARED:
            self._least("near_duplicates", -shard["near_duplicates"] / shard["looked_at"], path)
        pool = shard["distinct_n"]
        if pool["words"] == POOL:
            self._sums["pools"] += 1
            for n in "123":
                self._sums.update({f"distinct_{n}": pool[n][0], f"all_{n}": pool[n][1]})

    def _least(self, name: str, value: float, path: str) -> None:
        self._worst[name] = min(self._worst.get(name, (value, path)), (value, path))

    def as_dict(self) -> dict[str, Any]:
        """What the summary says about the format.

        Samples, lengths and near-duplicates add up exactly. The top openings add up those that were among the top ones
        of their shards: lower bounds, exact for one shard. Means (by samples) and worst shards leave out shards with
        fewer than `COMPARED` samples; openings per 1,000 samples and evenness fall as shards grow, so they compare
        between runs of one chunk size.

        Returns:
            `shards`, `compared_shards`, `samples`, `words`, `openings` and `beginnings` (`top` with counts and shares),
            `leading_word` (`bits`, and `evenness`: bits by their maximum, log2 of the samples), `distinct_n` (None
            when no shard has `POOL` words), `near_duplicates`. Where a worst shard is meant it stands beside its value.
        """
        sums = self._sums
        samples, compared = sums["samples"], sums["compared_samples"]
        return {
            "shards": self._shards,
            "compared_shards": self._compared,
            "samples": samples,
            "words": {
                "mean": _ratio(sums["words"], samples, 1),
                "min": self._fewest,
                "max": sums["most_words"],
                "sizes": dict(sorted(self._sizes.items(), key=lambda item: int(item[0]))),
            },
            "openings": {
                "characters": OPENING,
                "top": _shares(self._openings, _TOP_OPENINGS, samples),
                "per_1000_samples": {"mean": _ratio(1000 * sums["openings"], compared, 3), **self._low("openings")},
                "top_share": self._high("share"),
            },
            "beginnings": {"characters": BEGINNING, "top": _shares(self._beginnings, _TOP_BEGINNINGS, samples)},
            "leading_word": {
                "bits": {"mean": _ratio(sums["millibits"], 1000 * compared, 3), **self._low("bits")},
                "evenness": {"mean": _ratio(sums["millievenness"], 1000 * compared, 3), **self._low("evenness")},
            },
            "distinct_n": {
                "shards": sums["pools"],
                "words": POOL,
                **{n: _ratio(sums[f"distinct_{n}"], sums[f"all_{n}"], 4) for n in "123"},
            }
            if sums["pools"]
            else None,
            "near_duplicates": {
                "looked_at": sums["looked_at"],
                "rate": _ratio(sums["near_duplicates"], sums["looked_at"], 4),
                **self._high("near_duplicates"),
            },
        }

    def _low(self, name: str) -> dict[str, Any]:
        value, path = self._worst.get(name, (None, None))
        return {"min": None if value is None else round(value, 3), "shard": path}

    def _high(self, name: str) -> dict[str, Any]:
        value, path = self._worst.get(name, (None, None))
        return {"max": None if value is None else round(abs(value), 4), "shard": path}


def _count_words(text: str) -> int:
    """Runs of characters between blanks and control characters (of ASCII); a third of the time of `split`."""
    ink = np.frombuffer(b" " + text.encode("utf-8", "surrogatepass"), np.uint8) > 32
    return int(np.count_nonzero(ink[1:] > ink[:-1]))


def _hash_words(text: str) -> _Hashes:
    """Hashes of the words, shape (words,): lower case, no punctuation, every number 0."""
    text = simplify_text(text, _NORMALIZED)
    if not text.isascii():
        text = _UNSPACED.sub(r" \1 ", text)
    words = text.encode("utf-8", "surrogatepass").split()
    return np.fromiter(map(_hash_word, words), np.uint64, len(words))


def _ngrams(words: _Hashes, n: int) -> _Hashes:
    """Hashes of the n-grams, shape (words - n + 1,): a polynomial of the words' hashes modulo 2^64."""
    count = words.size - n + 1
    grams = words[:count]
    for i in range(1, n):
        grams = grams * _MIX + words[i : i + count]
    return grams


@lru_cache(1)
def _minhash() -> Any:
    """The step whose signatures are wanted; it never runs, so neither its folder nor its tokenizer are used."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature  # 0.3 s
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer

    return MinhashDedupSignature(".", MinhashConfig(n_grams=_SHINGLE), WhitespaceTokenizer())


def _entropy(counts: Counter[str]) -> float:
    total = counts.total()
    return math.fsum(count / total * math.log2(total / count) for count in counts.values())


def _top(counts: Counter[str], n: int) -> dict[str, Any]:
    # The commit record is JSON, which has no lone surrogates.
    top = [[text.encode("utf-8", "replace").decode(), count] for text, count in counts.most_common(n)]
    return {"distinct": len(counts), "top": top}


def _add_top(counts: Counter[str], top: Sequence[Sequence[Any]]) -> None:
    for text, count in top:
        counts[text] += count
    if len(counts) > 2 * _KEPT:  # what is rare here cannot become frequent unnoticed: a format has a few openings
        kept = _sorted(counts)[:_KEPT]
        counts.clear()
        counts.update(dict(kept))


def _sorted(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _shares(counts: Counter[str], n: int, samples: int) -> list[dict[str, Any]]:
    top = _sorted(counts)[:n]
    return [{"text": text, "count": count, "share": _ratio(count, samples, 4)} for text, count in top]


def _ratio(part: int, whole: int, digits: int) -> float | None:
    return round(part / whole, digits) if whole else None
