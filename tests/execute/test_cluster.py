"""Profiles of clusters, what is asked of sbatch, and what is tried before."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from blocks.execute import cluster as cluster_module
from blocks.execute.cluster import Cluster, changed_options, load_cluster, seconds_of, stop, submit, submit_again
from blocks.execute.preflight import check_disks, check_gpus, check_programs, try_out
from blocks.generate.servers import SCRATCH, VLLM, Transformers
from blocks.shards.folder import RunError, RunFolder
from tests.conftest import ROOT, documents, fake_vllm, write_jsonl


@pytest.mark.parametrize("file", sorted((ROOT / "slurm").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_profiles_of_the_repository_load(file):
    profile = load_cluster(file)
    options = profile.options("x", Path("/run"), 2)
    assert options["signal"] == f"B:USR1@{profile.warning}" and "qos" not in options
    if profile.time:
        assert seconds_of(profile.time) > profile.warning


def test_what_is_not_given_is_not_asked_for_and_the_users_value_wins(tmp_path):
    assert Cluster().options("finemill-x", tmp_path, 3) == {
        "job-name": "finemill-x",
        "array": "0-2",
        "nodes": 1,
        "ntasks": 1,
        "requeue": True,
        "signal": "B:USR1@600",
        "output": str(tmp_path / "%a.log"),
        "open-mode": "append",
    }
    profile = Cluster(
        gpus=8, qos="high", requeue=False, sbatch={"gpus-per-node": "h100:8", "qos": None, "exclusive": True}
    )
    options = profile.options("x", tmp_path, 1)
    assert options["gpus-per-node"] == "h100:8" and "qos" not in options and options["exclusive"] is True
    assert options["no-requeue"] is True and "requeue" not in options


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gpu: 8", "unknown gpu; it knows jobs, partition"),
        ("- 1", "not a mapping"),
        ("a: [", "--cluster"),
        ("warning: 60", "more than 60 seconds"),
        ("time: '00:10:00'", "told to stop 600 s before the end of 00:10:00"),
        ("time: '15'", "or lower `warning`"),
        ("time: a day", "no time limit of Slurm"),
        ("time: 24:00:00", "in quotes"),
        ("jobs: many", "jobs must be a whole number, not 'many'"),
        ("jobs: true", "jobs must be a whole number"),
        ("memory: 200", "memory must be text"),
        ("rate: fast", "rate must be a number"),
        ("requeue: 'no'", "requeue must be true or false"),
        ("sbatch: exclusive", "sbatch must be a mapping"),
        ("gpus: null", "gpus must be a whole number"),
    ],
)
def test_a_profile_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(RunError, match=message):
        load_cluster(tmp_path / "c.yaml")
    with pytest.raises(RunError, match="No such file"):
        load_cluster(tmp_path / "none.yaml")


@pytest.mark.parametrize("content", ["time: UNLIMITED", "time: '20'", "time: '1'\nsbatch: {signal: null}"])
def test_a_time_limit_that_leaves_room_for_work_or_gives_no_warning(tmp_path, content):
    (tmp_path / "c.yaml").write_text(content)
    assert load_cluster(tmp_path / "c.yaml").time


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("90", 5400), ("1:30", 90), ("24:00:00", 86_400), ("2-00:00:00", 172_800), ("1-12", 129_600)],
)
def test_time_limits(limit, seconds):
    assert seconds_of(limit) == seconds
    with pytest.raises(RunError):
        seconds_of("a day")


def test_each_server_compiles_into_a_folder_of_its_own(monkeypatch):
    assert "VLLM_CACHE_ROOT" not in VLLM("m").environment(["0"])
    monkeypatch.setenv(SCRATCH, "/scratch/me")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    folders = [VLLM("m").environment(gpus)["VLLM_CACHE_ROOT"] for gpus in (["0"], ["1"], ["2", "3"])]
    assert folders == [f"/scratch/me/finemill-vllm/7-{name}" for name in ("0", "1", "2-3")]


def test_disks(tmp_path):
    check_disks([tmp_path], free=1)
    with pytest.raises(RunError, match="needs at least"):
        check_disks([tmp_path], free=1 << 60)
    if os.geteuid() == 0:
        with pytest.raises(RunError, match="cannot write"):
            check_disks([Path("/proc")], free=0)


FINEPHRASE = [sys.executable, str(ROOT / "pipelines" / "finephrase.py")]


def test_a_trial_finds_what_would_fail_in_a_job(tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", documents(3))
    options = {"input": str(source), "output": str(tmp_path / "run"), "server": "vllm", "tokenizer": "none"}
    report = tmp_path / "report.html"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # whoever would publish, fails
    whole = {**options, "server-options": '{"max_num_seqs": 4}', "publish": "org/made", "report": str(report)}
    try_out(FINEPHRASE, whole, "org/model")
    assert not (tmp_path / "run").exists() and not report.exists()
    with pytest.raises(RunError, match=r"(?s)trial of this run.*no column 'body'"):
        try_out(FINEPHRASE, {**options, "text-column": "body"}, "org/model")
    with pytest.raises(RunError, match="trial of this run"):
        try_out(["bash", "-ec", 'module load missing\nexec "$@"', "trial", *FINEPHRASE], options, "org/model")


def test_jobs_must_get_the_gpus_of_their_servers():
    large = VLLM("org/model", tensor_parallel_size=4)
    with pytest.raises(RunError, match=r"takes 4 GPU\(s\), and jobs of this profile get 1"):
        check_gpus(Cluster(gpus=1), [large, VLLM("org/judge")])
    with pytest.raises(RunError, match="jobs of this profile get 0"):
        check_gpus(load_cluster(ROOT / "slurm" / "cpu.yaml"), [VLLM("org/model")])
    check_gpus(Cluster(), [Transformers("org/model")])
    for fitting in (Cluster(gpus=8), Cluster(sbatch={"gres": "gpu:4"}), Cluster(setup="CUDA_VISIBLE_DEVICES=0,1,2,3")):
        check_gpus(fitting, [large])


def test_jobs_must_have_the_programs_of_their_servers(tmp_path, monkeypatch):
    program = fake_vllm(tmp_path / "bin")
    with pytest.raises(RunError, match=r"could not start its server: `vllm` is not installed: .*`preflight: false`"):
        check_programs([sys.executable], [VLLM("org/model")])
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    check_programs([sys.executable], [VLLM("org/model"), VLLM("org/judge")])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run, and an sbatch that notes what it is given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, said in (("sbatch", "4711;cluster"), ("scancel", "")):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/said\necho "{said}"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(cluster_module.sys, "argv", [FINEPHRASE[1]])
    made = RunFolder.at(str(tmp_path / "run"))
    made.prepare()
    return made


OPTIONS = {"input": "in.jsonl", "limit": None, "max_tokens": 40, "pii": False, "config": "c.yaml", "cluster": "my.yaml"}


def test_what_a_job_gets(folder, tmp_path):
    profile = Cluster(preflight=False, setup="source activate", scratch="/scratch/$USER", python="/venv/python")
    assert submit(profile, folder, OPTIONS, [], 2) == submit(profile, folder, OPTIONS, [], 1) == "4711"
    first, second = sorted((folder.state / "launches").iterdir())
    assert (first.name, second.name) == ("0001", "0002")
    assert yaml.safe_load((first / "options.yaml").read_text()) == {"input": "in.jsonl", "max-tokens": 40, "pii": False}
    script = (first / "job.sh").read_text().splitlines()
    assert script[0] == "#!/bin/bash" and "#SBATCH --array=0-1" in script and "#SBATCH --requeue" in script
    assert script[script.index("set -e") + 1] == "source activate"
    assert f"export FINEMILL_JOB={first}" in script and 'export FINEMILL_SCRATCH="/scratch/$USER"' in script
    assert script[-1] == f"exec /venv/python {FINEPHRASE[1]} --config {first}/options.yaml"
    assert subprocess.run(["bash", "-n", first / "job.sh"], check=False).returncode == 0

    assert stop(folder) == ["4711", "4711"] and (first / "stop").exists() and (second / "stop").exists()
    said = (tmp_path / "said").read_text()
    assert "--state=PENDING 4711" in said and "--signal=USR1 --batch --state=RUNNING 4711" in said


def test_a_judge_alone_needs_its_server_but_the_trial_has_no_model(folder, tmp_path, monkeypatch):
    stood_in = []
    monkeypatch.setattr(cluster_module, "try_out", lambda command, options, model: stood_in.append(model))
    monkeypatch.setattr(cluster_module, "check_disks", lambda folders: None)
    judge = SimpleNamespace(name="org/judge", server=VLLM("org/judge"))
    with pytest.raises(RunError, match=r"takes 1 GPU\(s\), and jobs of this profile get 0"):
        submit(Cluster(), folder, OPTIONS, [judge], 1, asks=False)
    monkeypatch.setenv("PATH", f"{fake_vllm(tmp_path / 'programs').parent}:{os.environ['PATH']}")
    submit(Cluster(gpus=1), folder, OPTIONS, [judge], 1, asks=False)
    submit(Cluster(gpus=1), folder, OPTIONS, [judge], 1)
    assert stood_in == [None, "org/judge"]


def test_what_is_left_is_submitted_from_where_it_was_at_first(folder, tmp_path, monkeypatch):
    script, here = tmp_path / "script.py", tmp_path / "project"
    script.write_text("import os, sys\nprint(os.getcwd(), file=open(sys.argv[0] + '.out', 'w'))\n")
    here.mkdir()
    monkeypatch.setattr(cluster_module.sys, "argv", [str(script)])
    monkeypatch.chdir(here)
    submit(Cluster(preflight=False), folder, OPTIONS, [], 1)
    monkeypatch.chdir(tmp_path)
    assert submit_again(folder) == 0
    assert Path(f"{script}.out").read_text().strip() == str(here)
    here.rmdir()
    with pytest.raises(RunError, match="where this run was submitted, is not there"):
        submit_again(folder)


def test_which_options_are_others_than_at_first(folder):
    assert changed_options(folder, OPTIONS) == []
    submit(Cluster(preflight=False), folder, OPTIONS, [], 1)
    assert changed_options(folder, {**OPTIONS, "cluster": "other.yaml", "retry_failed": True}) == []
    assert changed_options(folder, {**OPTIONS, "limit": 9, "max_tokens": None}) == ["max-tokens", "limit"]


def test_a_refusal_of_sbatch_leaves_nothing(folder, tmp_path):
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho no such partition >&2\nexit 1\n")
    with pytest.raises(RunError, match="sbatch refused the job: no such partition"):
        submit(Cluster(preflight=False), folder, OPTIONS, [], 2)
    assert not list((folder.state / "launches").iterdir())
    with pytest.raises(RunError, match="was never submitted"):
        submit_again(folder)


def test_a_key_in_the_profile_is_refused(folder, monkeypatch):
    monkeypatch.setenv("MY_KEY", "canary-key")
    profile = Cluster(preflight=False, setup="export MY_KEY=canary-key")
    with pytest.raises(RunError, match="holds the value of MY_KEY"):
        submit(profile, folder, {**OPTIONS, "api_key_env": "MY_KEY"}, [], 1)
    assert not list((folder.state / "launches").iterdir())


def test_without_slurm(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for call in (lambda: submit(Cluster(preflight=False), folder, OPTIONS, [], 1), lambda: stop(folder)):
        with pytest.raises(RunError, match="login node"):
            call()
