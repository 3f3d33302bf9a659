"""Two runs side by side, in a real browser."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from blocks.report.compare import choose_pairs
from blocks.report.gather import Gathered
from blocks.shards.folder import RunFolder
from tests.conftest import ROOT, endpoint, finephrase, mock_servers, rejected, samples, summary, write_jsonl
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


def test_pairs_are_laid_beside_those_of_the_same_template(tmp_path, start_mock):
    """Whether a pair is kept depends on its template, of which the second run has another wording of every other."""
    found = {"template_source": "s", "complexity": 1, "chunk_k": 0, "similarity": 0.5}
    folders = tmp_path / "first", tmp_path / "second"
    at = ["--server", "endpoint", "--endpoint", start_mock("--instructs").url, "--tokenizer", "none"]
    for folder, more in zip(folders, ("", " exactly"), strict=True):
        asked = [f"what is said about <fi>thing</fi> {n}" + more * (n % 2) for n in range(12)]
        templates = [{"template_id": f"t{n}", "template": text, **found} for n, text in enumerate(asked)]
        text = "The bridge over the river was built by two sisters in 1820. It has twelve arches, and three are dry."
        rows = [{"id": f"d/{n}", "text": f"{text} {n}", "templates": templates} for n in range(8)]
        source = write_jsonl(tmp_path / f"{folder.name}.jsonl", [{**row, "source_dataset": "x"} for row in rows])
        program = [sys.executable, ROOT / "pipelines" / "fineinstructions.py", "pairs", "--input", source]
        done = subprocess.run([*map(str, [*program, "--output", folder, *at])], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    runs = [Gathered(RunFolder.at(str(folder))) for folder in folders]
    for run in runs:
        run.look()
    kept = [{row["id"] for row in samples(folder)} for folder in folders]
    assert all(rejected(folder) for folder in folders) and kept[0] != kept[1]
    pairs = choose_pairs(*runs, 100)
    assert {pair.outcome for pair in pairs} == {
        *("kept by both", "kept by the first alone", "kept by the second alone", "kept by neither"),
    }
    for pair in pairs:
        assert pair.first.id == pair.second.id
        assert (pair.first.kind == "written", pair.second.kind == "written") == tuple(
            pair.first.id in ids for ids in kept
        )
