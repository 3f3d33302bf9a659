"""What the display of a run says."""

import io
import re

from rich.console import Console

from blocks.execute import progress
from blocks.execute.progress import display


def test_rows_that_are_left_out_are_done_too(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_PERIOD", 0)
    said = io.StringIO()
    with display(Console(file=said, width=200), 1000, 100) as shown:
        shown.update({"documents": 90, "left_out": 810, "written": 80, "rejected": 10})
    line = said.getvalue()
    assert "1,000 of 1,000 documents" in line and "80 samples, 10 rejected" in line
    assert re.search(r"ETA 0:00:00$", line.strip())
