"""The report in a real browser: what it shows, that nothing in it acts, and that people can use it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import orjson
import pytest

from blocks.execute.report import Report
from blocks.filters.checks.grounding import RUN_WORDS, copying
from blocks.report.gather import Gathered, check_bars
from blocks.report.highlight import highlight, visible
from blocks.report.timeline import Lane, gpu_hours, jobs_of
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunFolder
from tests.conftest import ROOT, endpoint, finephrase, mock_servers, rejected, samples, summary, write_jsonl
from tests.report.conftest import barriers, number, report

HOSTILE = [
    "<script>document.title = 'acted'</script> and <img src=x onerror=\"document.title='acted'\"> in the text",
    "A link: <a href=\"javascript:document.title='acted'\">here</a>, [data](data:text/html,<script>alert(1)</script>)",
    "</article></main></body></html> and {{ 7 * 7 }} and {% raw %} of a template, ${document.title='acted'}",
    "Turned around \u202egnihtyreve\u202c here, \u2066isolated\u2069, a zero\u200bwidth space, a bell \x07 and a null.",
    "One line. " + "word " * 1_000_000,
    "'\"><svg onload=\"document.title='acted'\">, <iframe srcdoc='<script>parent.document.title=1</script>'></iframe>",
    "MOCK-SAY-refusal, and half of a pair \ud83d without the other",
]
SCRIPTED = ["MOCK-SAY-table", "MOCK-SAY-refusal", "MOCK-SAY-torn", "MOCK-SAY-echo", "MOCK-SAY-empty"]
PLAIN = "The lighthouse of Skerryvore was lit in 1844 and stands 48 metres high. "


def corpus(folder):
    """Documents of which some are hostile, and whose answers are of all kinds."""
    rows = [{"id": f"h{n}", "text": text} for n, text in enumerate(HOSTILE)]
    rows += [{"id": f"d{n}", "text": f"Document {n}. {PLAIN * 12} {what}"} for n, what in enumerate(SCRIPTED * 5)]
    return write_jsonl(folder / "in.jsonl", rows)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mock_servers(tmp_path_factory.mktemp("server")) as start:
        yield start()


@pytest.fixture(scope="module")
def run(tmp_path_factory, server):
    """A run with the checks that its formats have."""
    folder = tmp_path_factory.mktemp("run")
    result = finephrase(
        "--input", corpus(folder), "--output", folder / "run", "--formats", "faq,table", *endpoint(server)[:-2],
        "--chunk-size", 7, "--report", folder / "own.html",
    )  # fmt: skip
    assert result.returncode == 0 and f"report: {folder / 'own.html'}" in result.stdout, result.stdout
    return folder / "run"


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    return report(run, output=tmp_path_factory.mktemp("report") / "r.html")


def rows_of(table):
    """The rows of a bar chart: name and number."""
    cells = [row.locator("th[scope=row], td.count").all_inner_texts() for row in table.locator("tr").all()]
    return {row[0]: number(row[1]) for row in cells if row}


def test_every_number_is_that_of_the_run(run, file, server, opened):
    page = opened(file)
    assert (run.parent / "own.html").read_text() == file.read_text()
    repeats = [found["near_duplicates"]["rate"] for found in summary(run)["diversity"].values()]
    assert file.read_text().count("near-duplicates ") == sum(rate is not None for rate in repeats) > 0
    told = summary(run)
    shown = {one.get_attribute("id"): one.inner_text() for one in page.locator(".facts dd").all()}
    rows, refused = samples(run), rejected(run)
    usage = [one["usage"] for one in server.requests()]
    assert number(shown["read"]) == told["read"] == 32 and number(shown["done"]) == told["done"]
    assert number(shown["written"]) == len(rows) > 0 and number(shown["rejected"]) == len(refused) > 0
    assert number(shown["failed"]) == 0 and number(shown["seconds"]) == told["seconds"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert number(shown[name]) == sum(one[name] for one in usage)
    tables = page.locator("#flow + .columns table").all()
    bars = {table.locator("caption").inner_text(): rows_of(table) for table in tables}
    for name in ("faq", "table"):
        found = bars[f"Samples: {name}"]
        of_format = [row for row in rows if row["format"] == name]
        reasons = Counter(row["reason"] for row in refused if row["format"] == name)
        assert found.pop("written", 0) == len(of_format)
        assert found.pop("asked for") == len(of_format) + sum(reasons.values())
        assert found == dict(reasons)


def test_every_value_of_a_check_and_every_worker_is_there(run, file, opened):
    page = opened(file)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    commits = list(load_commits(RunFolder.at(str(run))))
    numbers = Counter()
    for commit in commits:
        numbers.update(commit.tally["numbers"])
    sections = page.locator("#checks + p + .columns section").all()
    for section in sections:
        check = section.locator("h3").inner_text()
        verdicts = [number(text) for text in re.findall(r"\d[\d,]*", section.locator("p").inner_text())]
        counted = [Counter(), Counter(), Counter()]
        for name in ("faq", "table"):
            for at, verdict in enumerate(("pass", "flag", "reject")):
                counted[at][name] += numbers[f"check/{name}/{check}/{verdict}"]
        assert verdicts == [sum(one.values()) for one in counted]
        for unfolded in section.locator("details").all():
            name = unfolded.locator("summary").inner_text()
            assert rows_of(unfolded.locator("table")) == {
                key.rpartition("=")[2]: count
                for key, count in numbers.items()
                if key.startswith(f"check/{name}/{check}/=") and not key.endswith("=nothing")
            }
    assert len(sections) == len({key.split("/")[2] for key in numbers if key.startswith("check/")}) > 5
    lanes = page.locator("[aria-label=Workers] tr").all()[1:]
    found = {}
    for lane in lanes:
        name, *cells = lane.locator("th, td").all_inner_texts()
        found[name] = [number(cell) for cell in cells[:3]]
    wanted = {commit.worker: [0, 0, 0] for commit in commits}
    for commit in commits:
        told = wanted[commit.worker]
        told[0] += 1
        told[1] += commit.tally["documents"]["read"]
        told[2] += commit.tally["numbers"].get("completion_tokens", 0)
    assert found == wanted


def test_the_threshold_stands_where_samples_begin_to_fail():
    def lines(values, unwanted, name="copying"):
        told = {"passed": 0, "flagged": 0, "rejected": 0, "values": values, "unwanted": unwanted}
        found = check_bars(name, {"passed": 0, "flagged": 0, "rejected": 0, "formats": {"faq": told}})
        return [row.value for row in found["formats"]["faq"]["rows"] if row.threshold]

    assert lines({"0": 5, "0.3": 2, "0.5": 4}, {"0.5": 4}) == ["0.5"]
    assert lines({"0": 5, "0.3": 2, "0.5": 4}, {"0.3": 1, "0.5": 4}) == ["0.3"]
    assert lines({"0": 5, "1": 2, "2": 4, "4": 1}, {"0": 5, "4": 1}) == ["1", "4"]
    assert lines({"0": 5, "0.3": 2}, {}) == [] == lines({"0.3": 2}, {"0.3": 1})
    assert lines({"1": 5, "2": 2, "3": 4}, {"1": 1, "2": 1, "3": 1}) == []
    assert lines({"2": 5, "3": 4}, {"2": 1, "3": 4}, "faq") == []
    told = {"passed": 0, "flagged": 0, "rejected": 0, "values": {"0": 5, "0.5": 15}}  # of an older run
    [row, last] = check_bars("copying", {**told, "formats": {"faq": told}})["formats"]["faq"]["rows"]
    assert (row.or_less, row.or_more, last.or_less, last.or_more) == (0.25, 1.0, 1.0, 0.75)


def test_pauses_rates_and_gpu_hours(run, tmp_path):
    times = [1000.0 + at for at in (0, 10, 20, 30, 330, 340, 700)]
    lane = Lane("w", 1000.0, 10, times, [9, 1, 1, 1, 1, 1, 2])
    assert lane.stalls([]) == [(1030.0, 1330.0), (1340.0, 1700.0)]
    assert lane.stalls([1400.0]) == [(1030.0, 1330.0)], "nobody stalls who is started again"
    assert lane.rate == 7 / 700 and lane.longest_pause == 360
    assert Lane("w", 990.0, 10, times, lane.tokens).rate == 16 / 710, "it is known since when it made the first ones"
    shutil.copytree(run, tmp_path / "run")
    folder = RunFolder.at(str(tmp_path / "run"))
    gathered = Gathered(folder)
    told = gathered.look()
    assert told["gpu_hours"] is None, "an endpoint is not ours"
    assert told["drawing"]["peak"] > 0 and told["launches"] == 1
    launch = orjson.loads((folder.state / "launches.jsonl").read_bytes())
    (folder.state / "launches.jsonl").write_bytes(orjson.dumps({**launch, "gpus": 4}) + b"\n")
    last = max(commit.at for commit in load_commits(folder))
    hours = gpu_hours(folder, {"server": "vllm"}, gathered.timeline)
    assert hours == pytest.approx(4 * (last - launch["at"]) / 3600)
    job = Report(folder.state / "launches" / "0001" / "0", 8)
    job.update({"completion_tokens": 10, "retries": 3})
    job.end("done")
    [found] = jobs_of(folder)
    assert (found["job"], found["gpus"], found["restarts"], found["ended"]) == ("0001/0", 8, 0, "done")
    (folder.state / "launches.jsonl").write_bytes(orjson.dumps({**launch, "gpus": 4, "job": True}) + b"\n")
    hours = gpu_hours(folder, {"server": "vllm"}, gathered.timeline)
    assert hours == pytest.approx(8 * found["seconds"] / 3600) and hours > 0


def test_nothing_in_it_acts(server, opened, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": f"h{n}", "text": text} for n, text in enumerate(HOSTILE)])
    asked = ["--input", source, "--output", tmp_path / "run", "--formats", "faq", *endpoint(server)]
    assert finephrase(*asked).returncode == 0
    file = report(tmp_path / "run", output=tmp_path / "r.html")
    assert file.stat().st_size < 5_000_000
    page = opened(file)
    assert page.title() != "acted" and page.locator("iframe, img, svg[onload], a[href^=javascript]").count() == 0
    text = page.locator("main").inner_text()
    assert "document.title = 'acted'" in text and "{{ 7 * 7 }}" in text and "RIGHT-TO-LEFT OVERRIDE" in text
    assert "\u202e" not in text and re.search(r"… [\d,]+ more characters", text)
    assert page.evaluate("[...document.querySelectorAll('article')].length") == len(HOSTILE)


def test_however_long_it_gets_it_can_be_mailed(server, tmp_path):
    texts = ["a" + "\u200b\u200d" * 2900, "1 " * 2900]
    rows = [{"id": f"{n} " + "\u2066" * 400, "text": texts[n % 5 == 0] + " MOCK-SAY-echo"} for n in range(90)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    asked = ["--input", source, "--output", tmp_path / "run", "--formats", "faq,table,math,tutorial"]
    assert finephrase(*asked, *endpoint(server)).returncode == 0
    written = report(tmp_path / "run", output=tmp_path / "r.html")
    assert written.stat().st_size < 5_000_000
    assert re.search(r"[1-9]\d* more are too long for this page", written.read_text())


def test_what_was_tried_again_is_shown_as_it_ended(start_mock, opened, tmp_path):
    mended = tmp_path / "mended"
    server = start_mock("--mended", str(mended))
    rows = [{"id": f"d{n}", "text": f"Text {n}. {'MOCK-BROKEN-ALL' if n % 2 else ''}"} for n in range(8)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    asked = ["--input", source, "--formats", "faq", *endpoint(server), "--max-failure-rate", 1, "--output"]
    assert finephrase(*asked, tmp_path / "run").returncode == 0
    mended.touch()
    assert finephrase(*asked, tmp_path / "run", "--retry-failed").returncode == 0
    assert finephrase(*asked, tmp_path / "clean").returncode == 0
    page = opened(report(tmp_path / "run", output=tmp_path / "r.html"))
    assert page.locator("#failed").inner_text() == "0" and page.locator("[data-kind=failed]").count() == 0
    assert page.locator("article").count() == 6
    page = opened(report(tmp_path / "run", tmp_path / "clean", output=tmp_path / "c.html"))
    assert [one.get_attribute("data-why") for one in page.locator("article").all()] == ["kept by both"] * 8


def test_files_that_are_not_in_their_place_are_told(run, opened, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "shards").rename(tmp_path / "elsewhere")
    page = opened(report(tmp_path / "run", output=tmp_path / "r.html"))
    assert "not in their place" in page.locator("main").inner_text()
    assert page.locator("[data-kind=written]").count() == 0 < page.locator("[data-kind=rejected]").count()


def test_filters_search_and_keys(file, opened):
    page = opened(file)
    every = page.locator("article").count()
    assert page.locator("#count").inner_text() == f"{every} of {every} shown"
    page.select_option("#format", "table")
    tables = page.locator("article:visible").count()
    assert 0 < tables < every
    assert {one.get_attribute("data-format") for one in page.locator("article:visible").all()} == {"table"}
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
def test_an_automatic_checker_finds_no_barrier(file, opened, width, scheme):
    page = opened(file, width, scheme)
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out to the side"


def test_the_same_samples_every_time(run, file, tmp_path):
    assert report(run, output=tmp_path / "again.html").read_bytes() == file.read_bytes()
    fewer = report(run, "--samples", 5, output=tmp_path / "c.html").read_text()
    assert len(re.findall("<article", fewer)) == 5


def test_no_run_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "pipelines" / "report.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "is no run folder" in done.stdout and "Traceback" not in done.stderr


def test_copied_stretches_and_numbers_are_marked():
    source = "The bridge over the Orna was built by two sisters in 1820 and has 12 arches, 3 of them dry."
    said = "The bridge over the Orna was built by two sisters in 1820 and has 13 arches and 12 lamps."
    shown = str(highlight(said, source, True))
    assert (
        '<mark>The bridge over the Orna was built by two sisters in <span class="number">1820</span> and has</mark>'
        in shown
    )
    few = " ".join(said.split()[: RUN_WORDS - 1])
    assert "<mark>" not in str(highlight(few, source, True)) and copying(few, source)[0].value is None
    listed = str(highlight("1. One of 12.\n**2.** Step 3: 7 more.\nStep 4: none.", source, True))
    assert [listed.count(f">{number}</span>") for number in (1, 2, 3, 4, 7, 12)] == [0, 0, 1, 0, 1, 1]
    assert '<span class="new number">13</span>' in shown and '<span class="number">12</span>' in shown
    assert str(visible("\u061c\u2028\u00ad\u3164\U000e0041")).count('class="hidden"') == 5
    assert str(visible("a\r\nb" + "\u200b" * 9)) == 'a\nb<span class="hidden">9 × ZERO WIDTH SPACE</span>'
    far = "before it " * 9000 + source
    assert str(highlight(said, far, True)).startswith("<mark>The bridge"), "however far behind it stands"
    assert str(visible("a<b\u202ec\x00")) == (
        'a&lt;b<span class="hidden">RIGHT-TO-LEFT OVERRIDE</span>c<span class="hidden">U+0000</span>'
    )
    assert json.dumps(str(visible("\ud800"))) == json.dumps("?")
