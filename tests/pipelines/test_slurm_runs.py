"""Whole runs on a real Slurm: one after another, published, retried, cut off by the limit, with nodes that fail."""

from __future__ import annotations

from collections import Counter

import yaml

from blocks.execute.status import find_jobs
from blocks.shards.folder import RunFolder
from tests.conftest import documents, endpoint, fake_vllm, finephrase, rejected, samples, summary, write_parquet
from tests.generate.small_tokenizers import make_tokenizer
from tests.pipelines.test_judge import judge
from tests.pipelines.test_noninstruct import run as noninstruct
from tests.pipelines.test_noninstruct import teacher, texts
from tests.pipelines.test_publish import REPO, Hub, published
from tests.pipelines.test_slurm import each_once, status


def test_one_run_waits_for_another(slurm, submit, start_mock, tmp_path):
    mock = start_mock("--latency", "0.3")
    run, judged = tmp_path / "run", tmp_path / "judged"
    profile = tmp_path / "cluster.yaml"
    arguments = ["--input", run / "shards", "--output", judged, "--rubric", "format", "--cluster", profile]
    profile.write_text("jobs: 1")
    early = judge(mock, *arguments, "--after", run)
    assert early.returncode == 1 and "there is no run" in early.stdout
    job = submit(mock, "--max-in-flight", 4)
    put_off = judge(mock, *arguments, "--after", run)
    assert put_off.returncode == 0 and f"which waits for {job}" in put_off.stdout, put_off.stdout
    assert not judged.exists()
    slurm.wait(lambda: not slurm.queue(), "end", 120)
    each_once(run)
    assert "submitted job" in (run / "state" / "followers" / "0001" / "job.log").read_text()
    assert Counter(row["id"] for row in samples(judged)) == Counter(row["id"] for row in samples(run))
    done = judge(mock, *arguments, "--after", run)
    assert done.returncode == 0 and "there is nothing to submit" in done.stdout


def test_published_when_its_jobs_are_over(slurm, mock, tmp_path, monkeypatch):
    there = Hub(tmp_path / "hub")
    try:
        for name, value in there.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
        monkeypatch.setenv("FINEMILL_LEASE_SECONDS", "5")
        source = write_parquet(tmp_path / "in.parquet", documents(20), row_group_size=5)
        (tmp_path / "cluster.yaml").write_text("jobs: 2\ncpus: 1")
        asked = ["--input", source, "--output", f"hf://datasets/{REPO}", "--chunk-size", 5, "--formats", "faq"]
        done = finephrase(*asked, *endpoint(mock), "--cluster", tmp_path / "cluster.yaml", cwd=tmp_path)
        assert done.returncode == 0 and f"which publishes to {REPO} afterwards" in done.stdout, done.stdout
        slurm.wait(lambda: not slurm.queue(), "end", 90)
        log = tmp_path / "runs" / "org--made" / "state" / "followers" / "0001" / "job.log"
        assert "20 samples in 1 file(s)" in log.read_text()
        assert len(published(there.files())) == 20
    finally:
        there.process.kill()


def test_what_failed_is_submitted_again(slurm, submit, start_mock, tmp_path):
    mended = tmp_path / "mended"
    mock = start_mock("--mended", str(mended))
    rows = [
        {**row, "text": f"{row['text']} {'MOCK-BROKEN' if i % 6 == 0 else ''}"} for i, row in enumerate(documents(60))
    ]
    write_parquet(tmp_path / "in.parquet", rows, row_group_size=5)
    run = tmp_path / "run"
    job = submit(mock, "--max-failure-rate", 1)
    slurm.wait(lambda: not slurm.queue(job), "end", 90)
    assert 3 < sum(summary(run)["failed"].values()) < 20
    mended.touch()
    assert "submitted job" in status(run, "retry-failed")
    slurm.wait(lambda: not slurm.queue(), "end")
    each_once(run)
    assert summary(run)["failed"] == {}


def test_a_sample_is_completed_by_jobs(slurm, start_mock, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts(100))]
    source = write_parquet(tmp_path / "in.parquet", rows, row_group_size=10)
    (tmp_path / "cluster.yaml").write_text("jobs: 2\ncpus: 1")
    asked = ["--input", source, "--output", tmp_path / "run", "--documents", 30, "--chunk-size", 5]
    said = noninstruct(*asked, *teacher(start_mock("--completes")), "--cluster", tmp_path / "cluster.yaml")
    assert "30 documents drawn" in said and "submitted job" in said
    slurm.wait(lambda: not slurm.queue(), "end", 90)
    run = tmp_path / "run"
    assert summary(run)["complete"] and len(samples(run)) + len(rejected(run)) == 30 and len(samples(run)) > 20


def test_killed_at_its_time_limit_and_resumed(slurm, submit, start_mock, tmp_path):
    """Without a warning: `signal` of the profile is taken away. Slurm looks at limits every half minute."""
    mock = start_mock("--latency", "1")
    job = submit(mock, "--max-in-flight", 1, jobs=1, time="00:01:00", sbatch={"signal": None})
    slurm.wait(lambda: not slurm.queue(job), "time limit", 150)
    assert "TIMEOUT" in slurm.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T")
    run = tmp_path / "run"
    asked = len(mock.requests())
    assert 20 < asked < 110
    assert "No job is at work" in status(run)
    submit(mock, "--max-in-flight", 20)
    slurm.wait(lambda: not slurm.queue(), "end")
    each_once(run)
    assert len(mock.requests()) <= 120 + 3, "more than the last moment was asked again"


def test_work_moves_away_from_nodes_that_are_slow_or_die(three_nodes, tmp_path, monkeypatch):
    """Every job starts servers of its own, as with vLLM; that of n1 is ten times as slow, the job on n3 is killed."""
    program = fake_vllm(tmp_path / "bin")
    setup = f"""
export PATH={program.parent}:$PATH CUDA_VISIBLE_DEVICES=0 FAKE_VLLM_LATENCY=0.3
if [ "$SLURMD_NODENAME" = n1 ]; then FAKE_VLLM_LATENCY=3; fi
"""
    monkeypatch.setenv("SLURM_CONF", three_nodes.environment["SLURM_CONF"])
    monkeypatch.setenv("FINEMILL_LEASE_SECONDS", "5")
    run, model = tmp_path / "run", tmp_path / "model"
    make_tokenizer(model, "plain")
    source = write_parquet(tmp_path / "in.parquet", documents(240), row_group_size=4)
    profile = tmp_path / "cluster.yaml"
    profile.write_text(yaml.safe_dump({"jobs": 3, "cpus": 2, "warning": 65, "setup": setup, "requeue": False}))
    asked = ["--formats", "faq,table", "--verify", "off", "--max-in-flight", 4, "--chunk-size", 4, "--model", model]
    done = finephrase("--input", source, "--output", run, *asked, "--cluster", profile)
    assert done.returncode == 0, done.stdout
    job = three_nodes.queue()[0].split("_")[0]
    by_node: dict[str, int] = {}

    def n3_is_at_work() -> bool:
        by_node.update({job.node: job.total("documents") for job in find_jobs(RunFolder.at(str(run)))})
        return by_node.get("n3", 0) >= 4

    three_nodes.wait(n3_is_at_work, "work on n3")
    [victim] = [line.split()[0] for line in three_nodes.queue(job) if line.endswith(" n3")]
    three_nodes.run("scancel", "--signal=KILL", "--full", victim)
    three_nodes.wait(lambda: not three_nodes.queue(job), "end", 120)
    assert Counter(row["id"] for row in samples(run)) == {
        f"doc-{i}/{n}": 1 for i in range(240) for n in ("faq", "table")
    }
    by_node = {job.node: job.total("documents") for job in find_jobs(RunFolder.at(str(run)))}
    assert by_node["n1"] < by_node["n2"] / 2, by_node
