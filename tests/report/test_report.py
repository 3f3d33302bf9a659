"""The report in a real browser: what it shows, that nothing in it acts, and that people can use it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from blocks.report.highlight import highlight, visible
from tests.conftest import ROOT, endpoint, finephrase, rejected, samples, summary, write_jsonl

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-all")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make test-all")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

HOSTILE = [
    "<script>document.title = 'acted'</script> and <img src=x onerror=\"document.title='acted'\"> in the text",
    "A link: <a href=\"javascript:document.title='acted'\">here</a>, [data](data:text/html,<script>alert(1)</script>)",
    "</article></main></body></html> and {{ 7 * 7 }} and {% raw %} of a template, ${document.title='acted'}",
    "Turned around \u202egnihtyreve\u202c here, \u2066isolated\u2069, a zero\u200bwidth space, a bell \x07 and a null.",
    "One line. " + "word " * 1_000_000,
    "'\"><svg onload=\"document.title='acted'\">, <iframe srcdoc='<script>parent.document.title=1</script>'></iframe>",
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def report(run, file, *options):
    done = subprocess.run(
        [sys.executable, str(ROOT / "pipelines" / "report.py"), str(run), "--output", str(file), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return file


@pytest.fixture
def opened(browser):
    """A page at a width and a colour scheme; whatever it asks for or complains of ends the test."""
    pages = []

    def open_page(file, width=1440, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.said == []
        assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
        page.close()


@pytest.fixture
def server(start_mock):
    return start_mock()


@pytest.fixture
def run(tmp_path, server):
    """Samples that pass the checks, and some that do not, for documents of which some are hostile."""
    rows = [{"id": f"h{n}", "text": text} for n, text in enumerate(HOSTILE)]
    plain = "The lighthouse of Skerryvore was lit in 1844 and stands 48 metres high. "
    rows += [{"id": f"d{n}", "text": f"Document {n}. {plain * 12} {what}"} for n, what in enumerate(SCRIPTED * 5)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    result = finephrase(
        "--input", source, "--output", tmp_path / "run", "--formats", "faq,table", *endpoint(server),
        "--chunk-size", 7,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    return tmp_path / "run"


SCRIPTED = ["", "MOCK-SAY-refusal", "MOCK-SAY-empty", "MOCK-SAY-echo"]


def test_every_number_is_that_of_the_run(run, server, opened, tmp_path):
    page = opened(report(run, tmp_path / "r.html"))
    told = summary(run)

    def shown(name):
        return int(page.locator(f"#{name}").inner_text().replace(",", ""))

    rows, refused = samples(run), rejected(run)
    assert shown("read") == told["read"] == 26 and shown("done") == told["done"]
    assert shown("written") == len(rows) and shown("rejected") == len(refused) > 0 == shown("failed")
    assert shown("completion_tokens") == sum(one["usage"]["completion_tokens"] for one in server.requests())
    bars = {}
    for table in page.locator("#flow + .columns table").all():
        cells = [row.locator("th, td.count").all_inner_texts() for row in table.locator("tr").all()]
        bars[table.locator("caption").inner_text()] = {name: int(count.replace(",", "")) for name, count in cells}
    for name in ("faq", "table"):
        found = bars[f"Samples: {name}"]
        of_format = [row for row in rows if row["format"] == name]
        reasons = Counter(row["reason"] for row in refused if row["format"] == name)
        assert found.pop("written") == len(of_format)
        assert found.pop("asked for") == len(of_format) + sum(reasons.values())
        assert found == dict(reasons)


def test_nothing_in_it_acts(run, opened, tmp_path):
    file = report(run, tmp_path / "r.html")
    assert file.stat().st_size < 5_000_000
    page = opened(file)
    assert page.title() != "acted" and page.locator("iframe, img, svg[onload], a[href^=javascript]").count() == 0
    text = page.locator("main").inner_text()
    assert "document.title = 'acted'" in text and "{{ 7 * 7 }}" in text and "RIGHT-TO-LEFT OVERRIDE" in text
    assert "\u202e" not in text and re.search(r"… [\d,]+ more characters", text)
    assert page.evaluate("[...document.querySelectorAll('article')].length") > 10


def test_filters_search_and_keys(run, opened, tmp_path):
    page = opened(report(run, tmp_path / "r.html"))
    every = page.locator("article").count()
    assert page.locator("#count").inner_text() == f"{every} of {every} shown"
    page.select_option("#format", "table")
    tables = page.locator("article:visible").count()
    assert 0 < tables < every and set(page.locator("article:visible .tag:nth-of-type(2)").all_inner_texts()) == {
        "table"
    }
    page.select_option("#why", "refusal")
    assert 0 < page.locator("article:visible").count() < tables
    page.select_option("#format", "")
    page.select_option("#why", "")
    page.keyboard.press("/")
    page.keyboard.type("skerryvore 1844")
    assert page.evaluate("document.activeElement.id") == "search"
    assert 0 < page.locator("article:visible").count() < every
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    second = page.locator("article:visible").nth(1)
    assert second.evaluate("one => one === document.activeElement")
    page.keyboard.press("k")
    assert page.locator("article:visible").nth(0).evaluate("one => one === document.activeElement")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_automatic_checker_finds_no_barrier(run, opened, tmp_path, width, scheme):
    page = opened(report(run, tmp_path / "r.html"), width, scheme)
    for summary_line in page.locator("summary").all():
        summary_line.click()
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "nothing sticks out to the side"


def test_the_same_samples_every_time(run, tmp_path):
    first, second = (report(run, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    assert len(re.findall("<article", report(run, tmp_path / "c.html", "--samples", 5).read_text())) == 5


def test_no_run_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "pipelines" / "report.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "is no run folder" in done.stdout and "Traceback" not in done.stderr


def test_copied_stretches_and_numbers_are_marked():
    source = "The bridge over the Orna was built by two sisters in 1820 and has 12 arches, 3 of them dry."
    said = "The bridge over the Orna was built by two sisters in 1820. It has 13 arches and 12 lamps."
    shown = str(highlight(said, source, True))
    assert (
        '<mark>The bridge over the Orna was built by two sisters in <span class="number">1820</span>.</mark>' in shown
    )
    assert '<span class="new number">13</span>' in shown and '<span class="number">12</span>' in shown
    assert str(visible("a<b\u202ec\x00")) == (
        'a&lt;b<span class="hidden">RIGHT-TO-LEFT OVERRIDE</span>c<span class="hidden">U+0000</span>'
    )
    assert json.dumps(str(visible("\ud800"))) == json.dumps("?")
