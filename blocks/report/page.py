"""The page: one HTML file without a reference to anything outside of it, in which no text of a run can run.

Everything that a model or a document says is escaped by Jinja2; a content security policy allows the page's own script
by its hash and nothing else, so that not even a slip in the template would let a document act.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from blocks.report.highlight import highlight, visible
from blocks.report.samples import Shown


def render(told: Mapping[str, Any], shown: Sequence[Shown], refresh: int | None = None) -> str:
    """The HTML of a report.

    Args:
        told: from `gather`.
        shown: from `choose_samples`.
        refresh: seconds after which a browser asks for the page again; None for never.
    """
    here = files(__package__)
    script, style = ((here / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"visible": visible, "thousands": "{:,}".format, "percent": "{:.1%}".format}
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        **told,
        shown=shown,
        highlight=highlight,
        script=script,
        style=style,
        digest=digest,
        refresh=refresh,
        # Of whom something is rejected or flagged; checkboxes of the filter.
        formats=sorted({str(one.row.get("format") or "documents") for one in shown}),
        reasons=sorted({why for one in shown for why in one.why}),
    )
