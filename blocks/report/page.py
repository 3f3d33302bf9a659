"""The pages: one HTML file each without a reference to anything outside of it, in which no text of a run can run.

Everything that a model or a document says is escaped by Jinja2; a content security policy allows the page's own script
by its hash and nothing else, so that not even a slip in a template would let a document act.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blocks.report.compare import Pair, figures, prompt_differences, settings
from blocks.report.highlight import highlight, visible
from blocks.report.samples import Shown

_PAGE = Path(__file__).parent / "page"


def render_run(
    told: Mapping[str, Any], shown: Sequence[Shown], gpu_price: float | None = None, refresh: float | None = None
) -> str:
    """The HTML of a report.

    Args:
        told: from `Gathered.look`.
        shown: from `choose_samples`.
        gpu_price: money per GPU hour; None leaves it out.
        refresh: seconds after which the page looks again; None for never.
    """
    return _render(
        "run",
        refresh,
        **told,
        shown=shown,
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
    return _render(
        "compare",
        name=f"{first['name']} and {second['name']}",
        runs=[first, second],
        figures=figures(first, second),
        settings=settings(first, second),
        prompts=prompt_differences(first, second),
        pairs=pairs,
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
    environment.filters |= {"visible": visible, "thousands": "{:,}".format, "percent": "{:.1%}".format}
    template = environment.get_template(f"{page}.html.jinja")
    return template.render(**values, highlight=highlight, script=script, style=style, digest=digest, refresh=refresh)
