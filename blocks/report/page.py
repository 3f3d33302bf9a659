"""The pages: one HTML file each without a reference to anything outside of it, in which no text of a run can run.

Everything that a model or a document says is escaped by Jinja2; a content security policy allows the page's own script
by its hash and nothing else, so that not even a slip in a template would let a document act.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from blocks.report.compare import Pair, figures, prompt_differences, settings
from blocks.report.highlight import highlight, visible
from blocks.report.samples import Shown

_PAGE = Path(__file__).parent / "page"


BUDGET = 4_000_000
"""Characters of all samples of a page; what does not fit is counted."""


class Card(NamedTuple):
    """A sample, or the samples of two runs, ready to be shown.

    Args:
        of: what it shows.
        document: as HTML; None where it is not at hand.
        answers: as HTML.
    """

    of: Any
    document: Markup | None
    answers: tuple[Markup, ...]


def _cards(chosen: Iterable[Shown | Pair]) -> tuple[list[Card], int]:
    """As many as fit, and the number of the others."""
    cards: list[Card] = []
    left, others = BUDGET, 0
    for one in chosen:
        source, texts = one.source, [one.text] if isinstance(one, Shown) else [one.first.text, one.second.text]
        document = None if source is None else highlight(source, texts[0], is_output=False)
        card = Card(one, document, tuple(highlight(text, source or "", source is not None) for text in texts))
        size = sum(map(len, card.answers)) + len(document or "")
        if size > left:
            others += 1
            continue
        left -= size
        cards.append(card)
    return cards, others


def render_run(
    told: Mapping[str, Any],
    shown: Sequence[Shown],
    gpu_price: float | None = None,
    refresh: float | None = None,
    missing: int = 0,
) -> str:
    """The HTML of a report.

    Args:
        told: from `Gathered.look`.
        shown: from `choose_samples`.
        gpu_price: money per GPU hour; None leaves it out.
        refresh: seconds after which the page looks again; None for never.
        missing: files that were not in their place when samples were read.
    """
    cards, others = _cards(shown)
    return _render(
        "run",
        refresh,
        **told,
        cards=cards,
        others=others,
        missing=missing,
        gpu_price=gpu_price,
        # For the filters.
        formats=sorted({one.format for one in shown}),
        reasons=sorted({why for one in shown for why in one.why}),
    )


def render_comparison(first: Mapping[str, Any], second: Mapping[str, Any], pairs: Sequence[Pair]) -> str:
    """The HTML of a comparison.

    Args:
        first: from `Gathered.look`.
        second: likewise.
        pairs: from `choose_pairs`.
    """
    cards, others = _cards(pairs)
    return _render(
        "compare",
        name=f"{first['name']} and {second['name']}",
        runs=[first, second],
        figures=figures(first, second),
        settings=settings(first, second),
        prompts=prompt_differences(first, second),
        cards=cards,
        others=others,
        formats=sorted({pair.first.format for pair in pairs}),
        outcomes=list(dict.fromkeys(pair.outcome for pair in pairs)),
    )


def render_training(told: Mapping[str, Any]) -> str:
    """The HTML of a training that is planned.

    Args:
        told: from `gather_training`.
    """
    return _render("training", **told)


def _render(page: str, refresh: float | None = None, **values: Any) -> str:
    script, style = ((_PAGE / name).read_text(encoding="utf-8") for name in ("script.js", "style.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "thousands": "{:,}".format,
        "percent": "{:.1%}".format,
        "figure": _figure,
    }
    template = environment.get_template(f"{page}.html.jinja")
    return template.render(**values, script=script, style=style, digest=digest, refresh=refresh)


def _figure(value: float, sign: str = "") -> str:
    """A number in full, with at most two decimals; `sign` is + where that is to be shown."""
    return f"{value + 0:{sign},.2f}".removesuffix("0").removesuffix("0").removesuffix(".")
