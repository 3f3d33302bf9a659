"""A real browser that opens reports; whatever a page asks for or complains of ends the test."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-all")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium, as .ci/run does")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def report(*arguments, output):
    done = subprocess.run(
        [sys.executable, str(ROOT / "pipelines" / "report.py"), *map(str, arguments), "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture
def opened(browser):
    """Opens a file or an address at a width and in a colour scheme."""
    pages = []

    def open_page(where, width=1440, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: page.asked.append(request.url))
        page.home = where if isinstance(where, str) else where.as_uri()
        page.goto(page.home)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.said == []
        assert [url for url in page.asked if url != page.home and not url.startswith("data:")] == []
        page.close()


def barriers(page):
    """What an automatic checker finds, with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make test-all")
    for line in page.locator("summary").all():
        line.click()
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


def number(text):
    return float(text.replace(",", ""))
