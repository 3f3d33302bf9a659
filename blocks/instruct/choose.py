"""Which of the templates that were found for a document are taken.

FineInstructions (arXiv 2601.22146) draws them by weights that make the complexity of what is drawn (the number of
variables) like that of templates of real users' queries; six to a document. The formula is not published. Here a
template of complexity c weighs p_real(c) / p_bank(c), and each of the document's embeddings in turn draws one that was
not drawn before, then they all together until there are enough.

Domain adaptation is the same weights: a source, topic or complexity that weighs 0 is not even searched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xxhash

from blocks.instruct.bank import Bank
from blocks.shards.folder import RunError

REAL_SOURCES = ("wildchat", "lmsys", "oasst1", "sharelm")
"""What names of sources of real users' queries contain, in small letters: those of the paper."""

MOST_COMPLEX = 10
"""Templates with more variables count as having so many."""


class Match(NamedTuple):
    """A template that was found.

    Args:
        place: its row in the bank.
        chunk: 0 where it was found for the whole document, else the number of the part.
        similarity: cosine.
    """

    place: int
    chunk: int
    similarity: float


@dataclass(frozen=True)
class Preferences:
    """What a run wants of the bank; see `parse_preferences`.

    Args:
        source: weight by source.
        topic: weight by number of the topic.
        complexity: weight by number of variables, `MOST_COMPLEX` for that many and more.
        others: weight, by the names of the three, of all that is not named there.
        real: names of sources of which the complexities are wanted; None takes `REAL_SOURCES`.
    """

    source: Mapping[str, float] = field(default_factory=dict)
    topic: Mapping[int, float] = field(default_factory=dict)
    complexity: Mapping[int, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    real: tuple[str, ...] | None = None


def parse_preferences(told: Mapping[str, Any]) -> Preferences:
    """Read what `--prefer` holds.

    Args:
        told: may have `source`, `topic`, `complexity`: a list of what alone is wanted, or an object of weights, in
            which `others` weighs what is not named (1 by default, of a list 0); and `real`, a list of sources.

    Raises:
        RunError: something means nothing; the message says what.
    """
    weights: dict[str, dict[Any, float]] = {}
    others: dict[str, float] = {}
    for name, value in told.items():
        if name == "real" and isinstance(value, list) and all(isinstance(one, str) for one in value):
            continue
        if name not in ("source", "topic", "complexity") or not isinstance(value, list | dict):
            raise RunError(
                f"--prefer: {name!r} is none of source, topic, complexity (a list, or an object of weights) and real "
                f"(a list of sources)"
            )
        found = {**dict.fromkeys(map(str, value), 1.0), "others": 0.0} if isinstance(value, list) else dict(value)
        try:
            rest = float(found.pop("others", 1.0))
            weights[name] = {key if name == "source" else int(key): float(weight) for key, weight in found.items()}
        except (TypeError, ValueError) as error:
            raise RunError(f"--prefer: {name}: {error}") from error
        others[name] = rest
        if any(weight < 0 or not np.isfinite(weight) for weight in (rest, *weights[name].values())):
            raise RunError(f"--prefer: {name}: a weight must be 0 or more")
    real = told.get("real")
    return Preferences(**weights, others=others, real=None if real is None else tuple(real))


def template_weights(bank: Bank, preferences: Preferences) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The weight of each template of a bank.

    Where the bank has no template of real users' queries, its own complexities are wanted.

    Raises:
        RunError: nothing weighs more than 0, or a source or topic is named that the bank does not have.
    """
    complexity = np.minimum(bank.column("complexity"), MOST_COMPLEX)
    source = np.array([name or "" for name in bank.column("template_source").tolist()], object)
    names = {name or "" for name in bank.told["complexities"]}
    real_names = preferences.real or REAL_SOURCES
    real = {name for name in names if any(one.lower() in name.lower() for one in real_names)}
    if preferences.real is not None and not preferences.real:
        raise RunError("--prefer: real is empty: name sources, or leave it out")
    if preferences.real is not None and not real:
        raise RunError(f"--prefer: the bank has no source {' or '.join(preferences.real)}; it has {_listed(names)}")
    _check("source", preferences.source, names)
    _check("topic", preferences.topic, range(len(bank.topics)))
    if most := [one for one in preferences.complexity if not 1 <= one <= MOST_COMPLEX]:
        raise RunError(
            f"--prefer: complexity {most[0]}: templates have 1 variable at least, and {MOST_COMPLEX} stands for "
            f"{MOST_COMPLEX} and more"
        )
    weights = np.ones(len(complexity))
    if real:
        wanted = np.bincount(complexity[np.isin(source, list(real))], minlength=MOST_COMPLEX + 1)
        there = np.bincount(complexity, minlength=MOST_COMPLEX + 1)
        weights = ((wanted / wanted.sum()) / np.maximum(there / there.sum(), 1e-12))[complexity]
    for name, values in (("source", source), ("topic", bank.column("topic")), ("complexity", complexity)):
        named: Mapping[Any, float] = getattr(preferences, name)
        if named or name in preferences.others:
            rest = preferences.others.get(name, 1.0)
            weights = weights * np.array([named.get(value, rest) for value in values.tolist()])
    if not weights.any():
        raise RunError("--prefer leaves no template of the bank")
    return weights


def choose(
    found: Sequence[Sequence[Match]],
    weights: np.ndarray[Any, np.dtype[np.float64]],
    count: int,
    lot: str,
) -> list[Match]:
    """Draw templates for a document.

    Args:
        found: what each embedding found, the whole document first.
        weights: of all templates of the bank.
        count: how many to draw at most.
        lot: what the draw depends on, such as a seed and the document's id.

    Returns:
        Different templates, in the order of their chunks and falling similarity.
    """
    dice = np.random.default_rng(xxhash.xxh3_64_intdigest(lot.encode(errors="surrogatepass")))
    drawn: dict[int, Match] = {}
    turns = [list(matches) for matches in found]
    for turn in dice.permutation(len(turns)) if count < len(turns) else range(len(turns)):
        if len(drawn) < count:
            _draw(turns[turn], weights, 1, drawn, dice)
    best: dict[int, Match] = {}
    for match in (match for matches in found for match in matches):  # of several embeddings that found it, the nearest
        if match.place not in best or match.similarity > best[match.place].similarity:
            best[match.place] = match
    _draw(list(best.values()), weights, count - len(drawn), drawn, dice)
    return sorted(drawn.values(), key=lambda match: (match.chunk, -match.similarity, match.place))


def _draw(
    matches: Iterable[Match],
    weights: np.ndarray[Any, np.dtype[np.float64]],
    count: int,
    drawn: dict[int, Match],
    dice: np.random.Generator,
) -> None:
    left = [match for match in matches if match.place not in drawn and weights[match.place] > 0]
    count = min(count, len(left))
    if count > 0:
        shares = weights[[match.place for match in left]]
        for number in dice.choice(len(left), count, replace=False, p=shares / shares.sum()):
            drawn[left[number].place] = left[number]


def _check(what: str, named: Iterable[Any], there: Iterable[Any]) -> None:
    known = set(there)
    if unknown := [one for one in named if one not in known]:
        raise RunError(f"--prefer: the bank has no {what} {', '.join(map(str, unknown))}; it has {_listed(known)}")


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(repr(name) if isinstance(name, str) else str(name) for name in sorted(names)[:50])
