"""Two runs side by side, in a real browser."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import endpoint, finephrase, mock_servers, samples, summary
from tests.report.conftest import barriers, number, report
from tests.report.test_report import corpus


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same documents with two wordings of a prompt; the second run rejects tables that the first one keeps."""
    tmp_path = tmp_path_factory.mktemp("runs")
    source = corpus(tmp_path)
    other = tmp_path / "table.md"
    other.write_text("---\nverify:\n  table: {min_rows: 3}\n---\nWrite a longer table.\n\n[[DOCUMENT]]\n")
    folders = tmp_path / "first", tmp_path / "second"
    prompts = (["--formats", "table"], ["--formats", "none", "--prompt", other])
    with mock_servers(tmp_path) as start:
        always = ["--input", source, *endpoint(start())[:-2], "--chunk-size", 7]
        for folder, asked in zip(folders, prompts, strict=True):
            done = finephrase("--output", folder, *always, *asked)
            assert done.returncode == 0, done.stdout
    return folders


def test_figures_and_the_same_documents(runs, opened, tmp_path):
    page = opened(report(*runs, output=tmp_path / "c.html"))
    told = [summary(run) for run in runs]
    figures = {}
    for table in page.locator(".figures").all():
        about = table.get_attribute("data-about")
        rows = [row.locator("th[scope=row], td.count").all_inner_texts() for row in table.locator("tr").all()[1:]]
        figures[about] = {row[0]: row[1:] for row in rows}
    written = figures["The runs"]["samples written"]
    assert [number(text) for text in written[:2]] == [len(samples(run)) for run in runs]
    assert number(written[2]) == len(samples(runs[1])) - len(samples(runs[0]))
    requested = [one["samples"]["requested"]["table"] for one in told]
    shares = [one["written"].get("table", 0) / count for one, count in zip(told, requested, strict=True)]
    assert figures["table"]["written"][:2] == [f"{share:.1%}" for share in shares]
    for at in (0, 1):
        for reason, count in told[at]["samples"]["rejected"]["table"].items():
            assert figures["table"][f"rejected: {reason}"][at] == f"{count / requested[at]:.1%}"
    text = page.locator("main").inner_text()
    assert "format table" in text, "that the prompts differ"
    pairs = page.locator("article")
    assert pairs.count() > 10
    for pair in pairs.all():
        kinds = [side.locator(".tag").first.inner_text() for side in pair.locator(".sides > div").all()]
        outcome = pair.get_attribute("data-why")
        kept = [kind == "written" for kind in kinds]
        assert (
            outcome
            == {
                (True, True): "kept by both",
                (True, False): "kept by the first alone",
                (False, True): "kept by the second alone",
                (False, False): "kept by neither",
            }[tuple(kept)]
        )
    alone = page.locator("article[data-why='kept by the first alone']").count()
    assert alone > 0
    page.select_option("#why", "kept by the first alone")
    assert page.locator("article:visible").count() == alone
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.dataset.why") == "kept by the first alone"


def test_a_run_beside_itself_differs_in_nothing(runs, opened, tmp_path):
    page = opened(report(runs[0], runs[0], output=tmp_path / "c.html"))
    assert "nothing that shapes a sample differs" in page.locator("main").inner_text()
    outcomes = {one.get_attribute("data-why") for one in page.locator("article").all()}
    assert outcomes == {"kept by both", "kept by neither"}
    for pair in page.locator("article").all():
        first, second = (side.locator(".text").inner_text() for side in pair.locator(".sides > div").all())
        assert first == second
    differences = page.locator(".figures tr td:last-child").all_inner_texts()
    assert {number(one.removesuffix(" points")) for one in differences if one not in ("", "-")} <= {0}


def test_without_the_documents_nothing_is_said_of_them(runs, opened, tmp_path):
    for run in runs:
        shutil.copytree(run, tmp_path / run.name)
        record = tmp_path / run.name / "state" / "plan.jsonl"
        record.write_text(record.read_text().replace("in.jsonl", "gone.jsonl"))
    page = opened(report(tmp_path / "first", tmp_path / "second", output=tmp_path / "c.html"))
    assert page.locator("article").count() > 10 and page.locator("article .new").count() == 0
    assert "not at hand" in page.locator("main").text_content()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_automatic_checker_finds_no_barrier(runs, opened, tmp_path, width, scheme):
    page = opened(report(*runs, output=tmp_path / "c.html"), width, scheme)
    assert page.title() != "acted" and page.locator("iframe, img, svg[onload]").count() == 0
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
