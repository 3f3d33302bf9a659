"""Which examples a student learns from: as evenly over their kinds as can be, the same for every launch."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

import xxhash

Kind = TypeVar("Kind", bound=Hashable)

_CODE = re.compile(
    r"```|\b(?:python|javascript|java|c\+\+|sql|html|css|regex|compiler|source code|code snippet|function returns|"
    r"stack trace|command line|api endpoint|unit test)\b",
    re.IGNORECASE,
)
_MATH = re.compile(
    r"\b(?:equations?|theorem|calculate|calculus|integral|derivative|algebra|geometry|polynomial|probability|"
    r"square root|fraction|percentage|arithmetic|how many .{0,40} (?:left|altogether|in total))\b|\d\s*[=+×÷*^]\s*\d",
    re.IGNORECASE,
)

MOST_VARIABLES = 4
"""Templates with more variables are of one kind."""


def topic(text: str) -> str:
    """`code`, `math` or `other`, by keywords as in FineInstructions (arXiv 2601.22146); the words are ours."""
    return "code" if _CODE.search(text) else "math" if _MATH.search(text) else "other"


def length(text: str) -> int:
    """How often the number of words can be halved: texts of up to twice the length are of one kind."""
    return len(text.split()).bit_length()


def even_shares(sizes: Mapping[Kind, int], total: int) -> dict[Kind, int]:
    """How many to take of each kind, so that as many are taken of each as there are, or as of the others.

    Args:
        sizes: how many there are.
        total: how many are wanted; all of them where there are fewer.
    """
    shares: dict[Kind, int] = {}
    for taken, (kind, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], str(item[0])))):
        shares[kind] = min(size, total // (len(sizes) - taken))
        total -= shares[kind]
    return shares


def draw(candidates: Iterable[tuple[str, Kind]], size: int, seed: int) -> dict[str, Kind]:
    """Draw examples evenly over kinds: of each kind those with the smallest hashes of seed and id.

    No more than `size` of each kind are held, however many there are.

    Args:
        candidates: ids with their kinds.
        size: how many.
        seed: of the draw.

    Returns:
        Kinds by id.
    """
    counts: Counter[Kind] = Counter()
    held: dict[Kind, list[tuple[int, str]]] = {}
    for name, kind in candidates:
        counts[kind] += 1
        heap = held.setdefault(kind, [])
        lot = (-xxhash.xxh3_64_intdigest(f"{seed}\0{name}".encode(errors="surrogatepass")), name)
        if len(heap) < size:
            heapq.heappush(heap, lot)
        elif heap:
            heapq.heappushpop(heap, lot)
    shares = even_shares(counts, size)
    return {name: kind for kind, heap in held.items() for _, name in sorted(heap, reverse=True)[: shares[kind]]}
