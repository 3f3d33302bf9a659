"""Publishing to a stand-in for the Hub: each sample once, whatever the Hub or the machine does meanwhile."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from blocks.publish.beside import _publish_script
from blocks.publish.card import About
from blocks.publish.hub import Repository, _pause
from blocks.publish.parts import _groups
from blocks.publish.publisher import Publisher
from blocks.shards import commit
from blocks.shards import documents as documents_module
from blocks.shards.folder import RunError, RunFolder
from tests.conftest import ROOT, command, documents, endpoint, finephrase, samples, summary, write_jsonl, write_parquet
from tests.pipelines.test_judge import judge

REPO = "org/made"


class Hub:
    """A running `tests/writable_hub.py`."""

    def __init__(self, root: Path, *options: object) -> None:
        self.root = root
        tokens = ["--token", "write:WRITE:org", "--token", "read:READ:org"]
        program = [sys.executable, ROOT / "tests" / "writable_hub.py", root, *tokens, *options]
        self.process = subprocess.Popen([*map(str, program)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")},
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(root / "client"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "WRITE",
        }

    def commits(self) -> list[dict]:
        log = self.root / "commits.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def files(self, repo: str = REPO) -> Path:
        """All that is in the repository, downloaded by huggingface_hub."""
        script = f"import huggingface_hub as h; print(h.snapshot_download({repo!r}, repo_type='dataset'))"
        done = subprocess.run([sys.executable, "-c", script], env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def hub(tmp_path):
    started: list[Hub] = []

    def start(*options: object) -> Hub:
        started.append(Hub(tmp_path / f"hub{len(started)}", *options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def publish(hub: Hub, run: object, *options: object, **more: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, ROOT / "pipelines" / "publish.py", run, "--repo", REPO, *options]
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 300, **more}
    return subprocess.run([*map(str, program)], env=hub.environment, **told)


def make_run(tmp_path: Path, server: object, count: int, chunk: int, *options: object) -> Path:
    source = write_parquet(tmp_path / "in.parquet", documents(count), row_group_size=chunk)
    run = tmp_path / "run"
    done = finephrase(
        "--input", source, "--output", run, "--formats", "faq,table", "--chunk-size", chunk, *endpoint(server), *options
    )
    assert done.returncode == 0, done.stdout
    return run


def published(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_the_job_that_publishes_is_found_from_every_pipeline(tmp_path, monkeypatch):
    for script in ("pipelines/finephrase.py", "pipelines/instruct/pairs.py"):
        monkeypatch.setattr(sys, "argv", [str(ROOT / script)])
        assert _publish_script() == ROOT / "pipelines" / "publish.py"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "own.py")])
    with pytest.raises(RunError, match=r"no publish\.py beside .*own\.py: submit without --publish"):
        _publish_script()


def test_shards_are_joined_and_the_card_tells_what_they_hold(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 60, 5), hub()
    done = publish(there, run, "--file-size", 0.05, "--license", "odc-by", "--language", "en")
    assert done.returncode == 0, done.stdout
    assert re.search(r"120 samples in \d+ file\(s\): http://.*/datasets/org/made", done.stdout)
    folder = there.files()
    rows = published(folder)
    assert sorted(rows, key=str) == sorted(samples(run), key=str)
    files = sorted((folder / "faq").iterdir())
    assert 1 < len(files) < 12 and files[0].name == "train-00000.parquet"
    metadata = pq.ParquetFile(files[0]).metadata
    assert metadata.row_group(0).column(0).has_offset_index

    readme = (folder / "README.md").read_text()
    front = yaml.safe_load(readme.split("---")[1])
    assert front["license"] == "odc-by" and [c["config_name"] for c in front["configs"]] == ["all", "faq", "table"]
    for name in ("faq", "table"):
        mine = [row for row in rows if row["format"] == name]
        words = round(sum(len(row["text"].split()) for row in mine) / len(mine))
        tokens = sum(row["completion_tokens"] for row in mine)
        assert f"| {name} | {len(mine):,} | {tokens:,} | {words} |" in readme
    counted = summary(run)
    assert f"Of {counted['read']} documents read, {counted['done']} were asked about" in readme
    prompt = (ROOT / "prompts" / "rephrase" / "faq.md").read_text().split("---", 2)[2].strip()
    assert prompt in readme
    for row in (rows[0], next(row for row in rows if row["format"] == "table")):
        assert row["text"][:200] in readme
    commits = len(there.commits())
    assert publish(there, run, "--file-size", 0.05, "--license", "odc-by", "--language", "en").returncode == 0
    assert len(there.commits()) == commits, "nothing had changed"


def test_a_hub_that_fails_and_a_publisher_that_is_killed(tmp_path, mock, hub):
    run = make_run(tmp_path, mock, 500, 5)
    there = hub("--faults", 0.2, "--seed", 7)
    program = [sys.executable, ROOT / "pipelines" / "publish.py", run, "--repo", REPO, "--file-size", 0.05]
    for seconds in (4, 6, 8):
        process = subprocess.Popen(
            [*map(str, program)], env=there.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    done = publish(there, run, "--file-size", 0.05)
    assert done.returncode == 0, done.stdout
    injected = json.loads((there.root / "faults.json").read_text())
    assert sum(injected.values()) > 20 and injected.keys() >= {"429", "500", "503", "close"}, injected
    subprocess.run(["curl", "-s", "-X", "POST", f"{there.url}/_faults", "-d", '{"share": 0}'], check=True)
    rows = published(there.files())
    assert Counter(row["id"] for row in rows) == Counter(row["id"] for row in samples(run))
    assert len(there.commits()) <= 60


def test_while_the_run_goes_on(tmp_path, start_mock, hub):
    mock, there = start_mock("--latency", "0.6"), hub()
    source = write_parquet(tmp_path / "in.parquet", documents(160), row_group_size=5)
    run = tmp_path / "run"
    asked = ["--input", source, "--output", run, "--formats", "faq", "--chunk-size", 5, "--max-in-flight", 4]
    making = subprocess.Popen(command(*asked, *endpoint(mock)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run / "run.yaml").exists() or not list((run / "state" / "commits").glob("*.json")):
        assert making.poll() is None
        time.sleep(0.05)
    done = publish(there, run, "--follow", "--every", 1, "--file-size", 0.02)
    assert making.wait(60) == 0
    assert done.returncode == 0, done.stdout
    assert len(published(there.files())) == 160
    data = [commit for commit in there.commits() if any(path.startswith("faq/") for path in commit["paths"])]
    assert len(data) > 1, "the first files came before the run was complete"
    assert "Being made" not in (there.files() / "README.md").read_text()


def test_the_result_does_not_depend_on_when_it_was_published(tmp_path, mock, hub):
    run, early, late = make_run(tmp_path, mock, 40, 5, "--limit", 20), hub(), hub()
    assert publish(early, run, "--file-size", 0.02).returncode == 0
    whole = [path.name for path in sorted((early.files() / "faq").iterdir())][:-1]  # the last one may be smaller
    same = ["--input", tmp_path / "in.parquet", "--output", run, "--formats", "faq,table", "--chunk-size", 5]
    assert finephrase(*same, *endpoint(mock)).returncode == 0
    for one in (early, late):
        assert publish(one, run, "--file-size", 0.02).returncode == 0
        assert Counter(row["id"] for row in published(one.files())) == Counter(row["id"] for row in samples(run))
    for name in whole:
        assert (early.files() / "faq" / name).read_bytes() == (late.files() / "faq" / name).read_bytes()


def test_retries_and_formats_of_later_and_a_file_that_was_deleted(tmp_path, start_mock, hub):
    mended, there = tmp_path / "mended", hub()
    mock = start_mock("--mended", str(mended))
    rows = [{**row, "text": row["text"] + " MOCK-BROKEN-ALL"} if i == 3 else row for i, row in enumerate(documents(20))]
    source, run = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "run"
    common = ["--input", source, "--output", run, "--chunk-size", 5, "--max-failure-rate", 1, *endpoint(mock)]
    assert finephrase(*common, "--formats", "faq").returncode == 0
    assert publish(there, run).returncode == 0
    mended.touch()
    assert finephrase(*common, "--formats", "faq", "--retry-failed").returncode == 0
    assert finephrase(*common, "--formats", "faq,table").returncode == 0
    script = f"import huggingface_hub as h; h.delete_file('faq/train-00000.parquet', {REPO!r}, repo_type='dataset')"
    subprocess.run([sys.executable, "-c", script], env=there.environment, check=True)
    done = publish(there, run)
    assert done.returncode == 0 and "it is published again" in done.stdout, done.stdout
    folder = there.files()
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.parquet")}
    assert names == {"faq/train-00000.parquet", "faq/train-p1-00000.parquet", "table/train-00000.parquet"}
    assert Counter(row["id"] for row in published(folder)) == Counter(row["id"] for row in samples(run))
    assert len(published(folder)) == 40


def test_what_the_hub_refuses_is_one_clear_line(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 10, 5), hub()

    def refused(
        *words: str, repo: str = REPO, at: Hub = there, options: Sequence[str] = (), **environment: str
    ) -> None:
        program = [sys.executable, ROOT / "pipelines" / "publish.py", run, "--repo", repo, "--patience", 5, *options]
        done = subprocess.run(
            [*map(str, program)], env={**at.environment, **environment}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert len(done.stdout.strip().splitlines()) == 1, done.stdout
        for word in words:
            assert word in done.stdout, done.stdout

    refused("no token", "hf auth login", HF_TOKEN="")
    refused("does not know this token", HF_TOKEN="nonsense")
    refused("may only read", HF_TOKEN="READ")
    refused("rights to create a dataset", repo="elsewhere/made")
    refused("is no name of a repository", repo="a/b/c")
    refused("keeps failing", HF_ENDPOINT="http://127.0.0.1:9")
    refused("storage", at=hub("--quota-bytes", 1))
    taken = (
        "import huggingface_hub as h; a = h.HfApi(); a.create_repo('org/taken', repo_type='dataset'); a.upload_file("
    )
    taken += "path_or_fileobj=b'{}', path_in_repo='faq/train-extra.jsonl', repo_id='org/taken', repo_type='dataset')"
    subprocess.run([sys.executable, "-c", taken], env=there.environment, check=True, capture_output=True, timeout=60)
    refused("org/taken holds faq/train-extra.jsonl, which is not ours", repo="org/taken")
    assert publish(there, run).returncode == 0
    refused("is there already and private", options=["--public"])
    other = tmp_path / "other"
    other.mkdir()
    run = make_run(other, mock, 10, 5)
    refused("holds another run")


def test_output_on_the_hub_means_a_run_and_a_publisher(tmp_path, mock, hub):
    there, source = hub(), write_parquet(tmp_path / "in.parquet", documents(30), row_group_size=5)
    asked = ["--input", source, "--output", f"hf://datasets/{REPO}", "--formats", "faq", "--chunk-size", 5]
    may_not = {**there.environment, "HF_TOKEN": "READ"}
    refused = finephrase(*asked, *endpoint(mock), cwd=tmp_path, env=may_not)
    assert refused.returncode == 1 and "may only read" in refused.stdout and not mock.requests()
    done = finephrase(*asked, *endpoint(mock), cwd=tmp_path, env=there.environment)
    assert done.returncode == 0 and "published: http://" in done.stdout, done.stdout
    assert len(samples(tmp_path / "runs" / "org--made")) == len(published(there.files())) == 30


def test_a_run_of_any_folder_is_published_beside(tmp_path, mock, hub):
    there, source = hub(), write_parquet(tmp_path / "in.parquet", documents(30), row_group_size=5)
    asked = ["--input", source, "--output", tmp_path / "run", "--formats", "faq", "--chunk-size", 5]
    done = finephrase(*asked, "--publish", REPO, *endpoint(mock), env=there.environment)
    assert done.returncode == 0 and "published: http://" in done.stdout, done.stdout
    assert len(samples(tmp_path / "run")) == len(published(there.files())) == 30
    twice = finephrase("--output", "hf://datasets/org/other", "--publish", REPO, *asked[:2], *endpoint(mock))
    assert twice.returncode == 1 and "--publish names another repository" in twice.stdout


def test_scores_without_texts_can_be_published(tmp_path, mock, hub):
    there, judged = hub(), tmp_path / "judged"
    rows = [{**row, "format": "faq"} for row in documents(10)]
    done = judge(mock, "--input", write_jsonl(tmp_path / "in.jsonl", rows), "--output", judged, "--rubric", "format")
    assert done.returncode == 0, done.stdout
    assert publish(there, judged).returncode == 0
    assert {row["id"] for row in published(there.files())} == {row["id"] for row in rows}


def test_the_card_of_a_run_that_goes_on_tells_how_far_it_is(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 40, 5), hub()
    for name in ("00006-00000", "00007-00000"):  # as if these were still to come
        (run / "state" / "commits" / f"{name}.json").unlink()
        (run / "state" / "finished" / name.partition("-")[0]).unlink()
    assert publish(there, run, "--file-size", 0.01).returncode == 0
    readme = (there.files() / "README.md").read_text()
    assert "**Being made.** `███████████████░░░░░` 75% of 40: 30 documents in" in readme
    assert re.search(r"per hour\. About \d", readme)


def test_documents_are_joined_on_request(tmp_path, mock, hub):
    there, run = hub(), tmp_path / "run"
    rows = [{"name": "same", "body": f"{row['text']} a{i}@b.org", "keep": i % 2} for i, row in enumerate(documents(24))]
    corpus = write_jsonl(tmp_path / "in.jsonl", rows)
    asked = ["--text-column", "body", "--id-column", "name", "--chunk-size", 5, "--formats", "faq,table", "--pii"]
    asked += ["--where", "keep == 1"]
    assert finephrase("--input", corpus, "--output", run, *asked, *endpoint(mock)).returncode == 0
    assert publish(there, run, "--with-source", "--file-size", 0.01).returncode == 0
    folder = there.files()
    for name in ("faq", "table"):
        found = [row["source_text"] for row in published(folder / name)]
        assert found == [re.sub(r"a\d+@b.org", "email@example.com", row["body"]) for row in rows if row["keep"]]
    assert "do not train on them by mistake" in (folder / "README.md").read_text()


def test_a_commit_record_and_a_line_of_input_are_read_once(tmp_path, mock, hub, monkeypatch):
    source, run = write_jsonl(tmp_path / "in.jsonl", documents(40)), tmp_path / "run"
    asked = ["--input", source, "--output", run, "--formats", "faq", "--chunk-size", 5]
    assert finephrase(*asked, *endpoint(mock)).returncode == 0
    publisher = Publisher(RunFolder.at(str(run)), Repository(REPO), About(), with_source=True, target=10_000)
    records, opened = Counter(), Counter()
    load, read = commit.load_commit, documents_module.read_rows
    monkeypatch.setattr(commit, "load_commit", lambda path: [load(path), records.update([path])][0])
    monkeypatch.setattr(documents_module, "read_rows", lambda *asked: [read(*asked), opened.update(["file"])][0])
    for _ in range(3):
        parts, _ = publisher.due({})
        publisher.card({})
    assert len(parts) > 2 and len(records) == 8 and set(records.values()) == {1}
    publisher.work.mkdir()
    texts = [row["source_text"] for part in parts for row in pq.read_table(publisher._joined(part)).to_pylist()]
    assert texts == [row["text"] for row in documents(40)] and opened["file"] == 1


def test_documents_that_are_not_there_are_not_published(tmp_path, mock, hub):
    run, there, checked = make_run(tmp_path, mock, 10, 5), hub(), tmp_path / "checked"
    program = [sys.executable, ROOT / "pipelines" / "verify.py", "--input", run / "shards" / "faq", "--output", checked]
    verified = subprocess.run([*map(str, program), "--checks", "markup"], capture_output=True, text=True, timeout=60)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    done = publish(there, checked, "--with-source")
    assert done.returncode == 1 and "or the run reads samples; publish without --with-source" in done.stdout
    assert publish(there, checked).returncode == 0


@pytest.mark.parametrize(
    ("kinds", "paths"), [("lost-close,lost-500,lost-504", "/commit/"), ("reset", "_upload|/commit/")]
)
def test_an_answer_that_is_lost_and_an_upload_that_breaks(tmp_path, mock, hub, kinds, paths):
    run = make_run(tmp_path, mock, 20, 5)
    there = hub("--faults", 1, "--fault-limit", 3, "--fault-kinds", kinds, "--fault-paths", paths)
    done = publish(there, run, "--file-size", 0.01)
    assert done.returncode == 0, done.stdout
    injected = json.loads((there.root / "faults.json").read_text())
    assert sum(injected.values()) > 0 and injected.keys() <= set(kinds.split(",")), injected
    added = Counter(path for commit in there.commits() for path in commit["paths"] if path.endswith(".parquet"))
    assert set(added.values()) == {1}, "a commit that was made is not made again"
    assert Counter(row["id"] for row in published(there.files())) == Counter(row["id"] for row in samples(run))


def test_a_hub_that_says_nothing_is_asked_again(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 10, 5), hub("--hang-share", 0.1, "--hang-seconds", 900, "--seed", 3)
    done = publish(there, run, "--silence", 2)
    assert done.returncode == 0, done.stdout
    assert json.loads((there.root / "faults.json").read_text())["hang"] > 0


def test_a_file_that_a_killed_publisher_left_is_not_taken_for_another(tmp_path, mock):
    run = make_run(tmp_path, mock, 20, 5, "--limit", 10)
    publisher = Publisher(RunFolder.at(str(run)), Repository(REPO), About())
    publisher.work.mkdir()

    def joined() -> tuple[str, Path]:
        parts, _ = publisher.due({})
        return parts[0].path, publisher._joined(parts[0])

    name, left = joined()
    assert joined() == (name, left), "used again"
    same = ["--input", tmp_path / "in.parquet", "--output", run, "--formats", "faq,table", "--chunk-size", 5]
    assert finephrase(*same, *endpoint(mock)).returncode == 0
    again, grown = joined()
    assert again == name and pq.read_metadata(left).num_rows == 10 and pq.read_metadata(grown).num_rows == 20


def test_a_shard_that_is_on_its_way_is_waited_for(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 10, 5), hub()
    shard = run / "shards" / "faq" / "00001-00000.parquet"
    shard.rename(tmp_path / "away")
    done = publish(there, run)
    assert done.returncode == 1 and "a committed shard is missing" in done.stdout
    program = [sys.executable, ROOT / "pipelines" / "publish.py", run, "--repo", REPO, "--follow", "--every", 1]
    process = subprocess.Popen([*map(str, program)], env=there.environment, stdout=subprocess.PIPE, text=True)
    time.sleep(6)
    assert process.poll() is None
    (tmp_path / "away").rename(shard)
    assert process.wait(60) == 0
    assert len(published(there.files())) == 20


def test_small_json_lines_are_not_published_again_and_again(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 20, 5, "--shard-format", "jsonl"), hub()
    for _ in range(2):
        done = publish(there, run, "--license", "odc-by")
        assert done.returncode == 0 and "40 samples in 2 file(s)" in done.stdout, done.stdout
    again = publish(there, run)  # and the licence stays
    assert again.returncode == 0 and len(there.commits()) == 2
    folder = there.files()
    lines = [json.loads(line) for path in folder.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert len({row["id"] for row in lines}) == len(lines) == 40


def test_a_publisher_beside_a_run_that_grows_waits_for_its_end(tmp_path, start_mock, hub):
    """The plan of the run is complete when the second launch begins, and grows a little later."""
    mock, there = start_mock("--latency", "0.3"), hub()
    source = write_parquet(tmp_path / "in.parquet", documents(60), row_group_size=5)
    asked = ["--input", source, "--output", f"hf://datasets/{REPO}", "--formats", "faq", "--chunk-size", 5]
    for limit in (10, 60):
        done = finephrase(*asked, *endpoint(mock), "--limit", limit, cwd=tmp_path, env=there.environment)
        assert done.returncode == 0 and "published: http://" in done.stdout, done.stdout
        assert len(published(there.files())) == limit
    finephrase(*asked, *endpoint(mock), "--formats", "faq,table", cwd=tmp_path, env=there.environment)
    assert len(published(there.files())) == 120
    assert "have been changed" not in (there.files() / "README.md").read_text()


def test_a_bad_request_is_not_tried_again():
    """It is a ValueError with a cause as well, like errors that pass."""
    library = importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
    response = library.Response(400, request=library.Request("POST", "http://hub"))
    error = BadRequestError("the licence is unknown", response=response)
    error.__cause__ = library.HTTPError("400")
    with pytest.raises(RunError, match="refuses org/made: the licence is unknown"):
        _pause(error, REPO)
    assert _pause(RuntimeError("Error while uploading"), REPO) == 0.0


def test_chunks_are_told_apart_beyond_five_digits():
    shards = {(unit, 0): (f"{unit}.parquet", 1, 10) for unit in (99_990, 100_003, 100_005, 100_006)}
    published = [((10_000, 0), (10_005, 0)), ((99_990, 0), (100_003, 0))]
    assert list(_groups(shards, published, 15, whole=True)) == [[(100_005, 0), (100_006, 0)]]


def test_another_wish_for_documents_is_refused(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 10, 5), hub()
    assert publish(there, run).returncode == 0
    done = publish(there, run, "--with-source")
    assert done.returncode == 1 and "begun without the documents" in done.stdout


def test_a_state_folder_of_another_run_is_refused(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 10, 5), hub()
    (tmp_path / "other").mkdir()
    other = make_run(tmp_path / "other", mock, 10, 5)
    done = publish(there, run, "--state", other / "state")
    assert done.returncode == 1 and "belongs to another run" in done.stdout and not there.commits()


def test_dry_run_asks_nobody(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 20, 5), hub()
    there.process.kill()
    done = publish(there, run, "--dry-run")
    assert done.returncode == 0 and "faq/train-00000.parquet: 20 samples of 4 shards" in done.stdout


def test_the_code_of_the_card_loads_it(tmp_path, mock, hub):
    pytest.importorskip("datasets", reason="datasets is not installed (extra test-all)")
    run, there = make_run(tmp_path, mock, 30, 5), hub()
    assert publish(there, run, "--file-size", 0.02).returncode == 0
    readme = (there.files() / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    code += f"""
print(sum(1 for _ in samples), samples.features["text"])
every = load_dataset({REPO!r}, split="train", streaming=True)
print(sum(1 for _ in every), sorted(row["format"] for row in every)[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=there.environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    _, count, every = done.stdout.strip().splitlines()[-3:]
    assert count.startswith("30 Value") and every == "60 faq"


def test_a_card_is_renewed_once_an_hour(tmp_path, mock, hub):
    run, there, hidden = make_run(tmp_path, mock, 40, 5), hub(), tmp_path / "hidden"
    records = run / "state" / "commits"
    hidden.mkdir()
    for unit in range(4, 8):  # as if these were still to come
        (records / f"{unit:05d}-00000.json").rename(hidden / f"{unit}.json")
        (run / "state" / "finished" / f"{unit:05d}").unlink()

    def comes(unit: int) -> None:
        (hidden / f"{unit}.json").rename(records / f"{unit:05d}-00000.json")

    def follow() -> subprocess.Popen[bytes]:
        program = [sys.executable, ROOT / "pipelines" / "publish.py", run, "--repo", REPO, "--follow", "--every", 1]
        return subprocess.Popen([*map(str, program)], env=there.environment)

    def wait_for(commits: int) -> str:
        deadline = time.monotonic() + 60
        while len(there.commits()) <= commits:  # the first one creates the repository
            assert time.monotonic() < deadline, there.commits()
            time.sleep(0.1)
        time.sleep(3)  # further looks, that must not commit
        assert [one["paths"] for one in there.commits()][1:] == [["finemill.json", "README.md"]] * commits
        return (there.files() / "README.md").read_text()

    first = follow()
    assert "50% of 40" in wait_for(1)
    comes(4)
    assert "50% of 40" in wait_for(1), "not an hour has passed"
    first.kill()
    first.wait()
    times = run / "state" / "publish" / "commits.json"
    times.write_text(json.dumps([time.time() - 7200]))
    second = follow()
    assert "62% of 40" in wait_for(2)
    comes(5)
    assert "62% of 40" in wait_for(2)
    comes(6)
    comes(7)
    assert second.wait(60) == 0
    assert len(published(there.files())) == 80 and "Being made" not in (there.files() / "README.md").read_text()


def test_what_was_published_can_be_read_by_another_pipeline(tmp_path, mock, hub):
    run, there = make_run(tmp_path, mock, 20, 5), hub()
    assert publish(there, run).returncode == 0
    sha = there.commits()[-1]["sha"]
    again = tmp_path / "again"
    done = finephrase(
        "--input", f"hf://datasets/{REPO}@{sha}/faq", "--output", again, "--formats", "table", *endpoint(mock),
        env=there.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert len(samples(again)) == 20
    program = [sys.executable, ROOT / "pipelines" / "look.py", REPO, "--format", "table", "--count", 1]
    seen = subprocess.run([*map(str, program)], env=there.environment, capture_output=True, text=True, timeout=60)
    assert "doc-0/table" in seen.stdout, seen.stdout + seen.stderr
