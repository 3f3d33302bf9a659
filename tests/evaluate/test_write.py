"""The scripts of an evaluation: run with stand-ins for the tools, killed, started twice, and refused."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from blocks.evaluate.suites import SUITES
from blocks.evaluate.targets import FINAL, Judge, Settings, Target, find_targets
from blocks.evaluate.write import check, write_evaluations
from blocks.shards.folder import RunError

TOOL = """#!{python}
import os, pathlib, shutil, sys
assert pathlib.Path("model/config.json").exists(), "no model"
pathlib.Path("../tool.log").open("a").write(" ".join(sys.argv[1:]) + "\\n")
if pathlib.Path("fail").exists():
    sys.exit(1)
out = pathlib.Path("results/results/model")
out.mkdir(parents=True)
shutil.copy(os.environ["STAND_IN_RESULTS"], out / "results_2026-01-01.json")
"""

CONVERTER = """#!{python}
import pathlib, sys, time
assert sys.argv[1:4] == ["-m", "torch.distributed.run", "--standalone"], sys.argv
assert pathlib.Path("examples").is_dir(), "not started in nanotron"
told = dict(zip(sys.argv[4:], sys.argv[5:]))
assert pathlib.Path(told["--checkpoint_path"], "model_config.json").exists()
assert told["--tokenizer_name"] == "org/tokenizer" and told["--config_cls"] == "Qwen2Config"
out = pathlib.Path(told["--save_path"])
out.mkdir()
with pathlib.Path(out.parent, "conversions").open("a") as log:
    print("begun", file=log, flush=True)
(out / "half").touch()
time.sleep({seconds})
(out / "config.json").write_text("{{}}")
"""


def program(path: Path, text: str, **told: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable, **told))
    path.chmod(0o755)
    return path


def model(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def training(folder: Path, *steps: int, **more: object) -> Path:
    for step in steps:
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        (folder / "checkpoints" / str(step) / "model_config.json").write_text("{}")
    folder.mkdir(exist_ok=True)
    told = {"checkpoints": {"checkpoints_path": str(folder / "checkpoints")}}
    told |= {"tokenizer": {"tokenizer_name_or_path": "org/tokenizer"}, **more}
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    return folder


IFEVAL = {f"{level}_level_{how}_acc": 0.5 for level in ("prompt", "inst") for how in ("strict", "loose")}


def stand_ins(folder: Path, results: object) -> dict[str, str]:
    """An environment with stand-ins for lighteval and nanotron."""
    program(folder / "bin" / "lighteval", TOOL)
    python = program(folder / "converter", CONVERTER, seconds=0)
    (folder / "nanotron" / "examples").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    own = {"NANOTRON": str(folder / "nanotron"), "NANOTRON_PYTHON": str(python)}
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**own, "PATH": path, "STAND_IN_RESULTS": str(folder / "results.json")}


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, **stand_ins(tmp_path, {"results": {"ifeval|0": IFEVAL}})}


def start(script: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = ["bash", str(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)


def run(script: Path, environment: dict[str, str]) -> tuple[int, str]:
    process = start(script, environment)
    return process.wait(), process.stdout.read()


def test_what_a_name_stands_for(tmp_path):
    model(tmp_path / "one")
    model(tmp_path / "steps" / "200"), model(tmp_path / "steps" / "step-100")
    training(tmp_path / "run", 500, 1000)
    one, *rest = find_targets(str(tmp_path / "one"), None)
    assert (one.name, one.step, one.loaded, rest) == ("one", FINAL, "model", [])
    assert [(t.name, t.step) for t in find_targets(str(tmp_path / "steps"), None)] == [("steps", 100), ("steps", 200)]
    assert [(t.name, t.step) for t in find_targets(str(tmp_path / "steps" / "200"), None)] == [("steps", 200)]
    students = [find_targets(str(model(tmp_path / name / "model")), None)[0] for name in ("first", "second")]
    assert [(t.name, t.step) for t in students] == [("first", FINAL), ("second", FINAL)], "as finetune.py writes them"
    found = find_targets(str(tmp_path / "run"), None)
    assert [(t.folder, t.tokenizer) for t in found] == [("run/500", "org/tokenizer"), ("run/1000", "org/tokenizer")]
    assert [(t.folder, t.loaded) for t in find_targets("org/m", None)] == [("org_m/final", "org/m")]
    served = find_targets(str(tmp_path / "one"), "http://h/v1/")
    assert served[0].url == "http://h/v1" and served[0].model == str(tmp_path / "one")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nothing", "no such folder"),
        (lambda path: path, "neither a model"),
        (lambda path: training(path / "run"), "there is no checkpoint in"),
        (lambda path: training(path / "run", tokenizer=None), "is no configuration of nanotron"),
        (lambda path: training(path / "run", 5, s3_upload={"upload_s3_path": "s3://b/run"}), "moved to s3://b/run"),
    ],
)
def test_what_it_does_not_stand_for(tmp_path, make, message):
    with pytest.raises(RunError, match=message):
        find_targets(str(make(tmp_path)), None)


def test_what_cannot_be_evaluated_is_told():
    here, there = Target("m", FINAL, "org/m"), Target("m", FINAL, "m", url="http://h/v1")
    judged = Settings(judge=Judge("j", "http://j/v1"))
    for targets, suite, settings, message in [
        ([here], "mmlu", judged, "there are finephrase, ifeval"),
        ([here], "mixeval", Settings(), "needs a judge"),
        ([here], "mt-bench", judged, "asks an endpoint"),
        ([there], "finephrase", judged, "loads the model"),
        ([here, Target("m", FINAL, "org/other")], "ifeval", judged, "would both be evaluated as m"),
    ]:
        with pytest.raises(RunError, match=message):
            check(targets, [suite], settings)
    check([here, here], ["finephrase", "mixeval"], judged)


def test_scripts_run_what_is_not_done(tmp_path, environment):
    for step in (100, 200):
        model(tmp_path / "my models" / str(step))
    targets, output = find_targets(str(tmp_path / "my models"), None), tmp_path / "out put"
    left = write_evaluations(targets, ["ifeval"], Settings(), output)
    assert [folder.relative_to(output).as_posix() for folder in left] == [
        "my models/100/ifeval",
        "my models/200/ifeval",
    ]
    (left[0] / "fail").touch()
    code, told = run(output / "evaluate.sh", environment)
    assert code == 1 and "1 of 2 failed" in told and (left[0] / "log").exists()
    assert not (left[0] / "done").exists() and SUITES["ifeval"].read(left[1] / "results")["overall"] == 0.5
    assert write_evaluations(targets, ["ifeval"], Settings(), output) == [left[0]]
    (left[0] / "fail").unlink()
    with (left[0] / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as a job of the array that was submitted first
        code, told = run(left[0] / "evaluate.sh", environment)
        assert code == 0 and "another job is at work on this evaluation" in told and not (left[0] / "done").exists()
    assert run(output / "evaluate.sh", environment) == (0, "== my models/100/ifeval\n")
    # Nothing is asked twice, and nothing more is to be done.
    assert len((left[0].parent / "tool.log").read_text().splitlines()) == 2
    assert len((left[1].parent / "tool.log").read_text().splitlines()) == 1
    assert write_evaluations(targets, ["ifeval"], Settings(), output) == [] and run(
        output / "evaluate.sh", environment
    ) == (0, "")


def test_scores_of_one_model_are_not_taken_for_those_of_another(tmp_path):
    first, second = find_targets(str(model(tmp_path / "a/m")), None), find_targets(str(model(tmp_path / "b/m")), None)
    write_evaluations(first, ["ifeval"], Settings(), tmp_path / "out")
    write_evaluations(first, ["ifeval"], Settings(max_samples=3, batch_size=1), tmp_path / "out")  # not its matter
    with pytest.raises(RunError, match="written for another target"):
        write_evaluations(second, ["ifeval"], Settings(), tmp_path / "out")
    with pytest.raises(RunError, match="written for another dtype"):
        write_evaluations(first, ["ifeval"], Settings(dtype="float32"), tmp_path / "out")
    (tmp_path / "a/m/config.json").write_text('{"trained": "again"}')
    with pytest.raises(RunError, match="another weights"):
        write_evaluations(first, ["ifeval"], Settings(), tmp_path / "out")


def test_a_checkpoint_is_converted_once_whoever_is_killed(tmp_path, environment):
    output = tmp_path / "out"
    environment["NANOTRON"] = os.path.relpath(environment["NANOTRON"])
    targets = find_targets(str(training(tmp_path / "run", 500)), None)
    left = write_evaluations(targets, ["ifeval", "finephrase"], Settings(), output)
    missing = {name: value for name, value in environment.items() if name != "NANOTRON"}
    code, told = run(left[0] / "evaluate.sh", missing)
    assert code != 0 and "set it to a checkout" in told
    program(tmp_path / "converter", CONVERTER, seconds=60)
    process = start(left[0] / "evaluate.sh", environment)
    while not (output / "run/500/conversions").exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "run/500/hf").exists()
    program(tmp_path / "converter", CONVERTER, seconds=1)
    both = [start(folder / "evaluate.sh", environment) for folder in left]
    assert [process.wait() for process in both] == [0, 0], [process.stdout.read() for process in both]
    assert (output / "run/500/conversions").read_text() == "begun\nbegun\n"
    assert sorted(path.name for path in (output / "run/500/hf").iterdir()) == ["config.json", "half"]
    assert not (output / "run/500/hf.part").exists()


def test_an_endpoint_that_does_not_answer_is_seen_at_once(tmp_path, environment, start_mock):
    server = start_mock("--models", "m,j", "--key", "secret-key")
    settings = Settings(judge=Judge("j", f"{server.url}/v1"))
    targets = find_targets("m", f"{server.url}/v1")
    suites = [name for name, suite in SUITES.items() if suite.served is not False]
    left = write_evaluations(targets, suites, settings, tmp_path / "out")
    keys = {"OPENAI_API_KEY": "secret-key", "JUDGE_API_KEY": "secret-key"}
    code, told = run(left[0] / "evaluate.sh", {**environment, "OPENAI_API_KEY": "other"})
    assert code == 22 and "401" in told
    code, told = run(left[0] / "evaluate.sh", {**environment, **keys})
    assert "no model" in told  # the stand-in for the tool was started
    server.stop()
    code, told = run(left[0] / "evaluate.sh", {**environment, **keys})
    assert code == 7 and "Failed to connect" in told
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 20 and not [path for path in files if b"secret-key" in path.read_bytes()]


def test_slurm_runs_them_as_an_array(tmp_path, environment, slurm):
    for step in (100, 200):
        model(tmp_path / "m" / str(step))
    output = tmp_path / "out put"
    left = write_evaluations(find_targets(str(tmp_path / "m"), None), ["ifeval"], Settings(), output)
    script = output / "evaluate.sbatch"
    script.write_text(script.read_text().replace("#SBATCH --gpus-per-node=1\n", ""))  # this cluster has none
    own = ",".join(f"{name}={environment[name]}" for name in ("PATH", "STAND_IN_RESULTS"))
    slurm.run("sbatch", f"--export=ALL,{own}", script)
    slurm.wait(lambda: all((folder / "done").exists() for folder in left), "the evaluations")
    assert len(list(output.glob("slurm-*.log"))) == 2


def test_what_opencompass_has_not_judged_is_an_error(tmp_path):
    checker = Path(__file__).parents[2] / "blocks/evaluate/theirs/opencompass_check.py"
    run_folder = tmp_path / "results/20260101_000000"

    def checked() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, checker, tmp_path / "results", "mtbench_0.1"], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    run_folder.mkdir(parents=True)
    assert checked() == (1, "mtbench_0.1: no answers\n")
    for folder, count in (("predictions/m", 3), ("results/m_judged-by--judge", 2)):
        (run_folder / folder).mkdir(parents=True)
        (run_folder / folder / "mtbench_0.1.json").write_text(json.dumps({str(i): {} for i in range(count)}))
    assert checked() == (1, "mtbench_0.1: 2 of 3 judgements\n")
    shutil.copy(
        run_folder / "predictions/m/mtbench_0.1.json", run_folder / "results/m_judged-by--judge/mtbench_0.1.json"
    )
    assert checked() == (0, "")
    # Against the answers of another model, each is judged in both orders.
    (run_folder / "results/m_judged-by--judge").rename(run_folder / "results/gpt4-0314_m_judged-by--judge")
    assert checked() == (1, "mtbench_0.1: 3 of 6 judgements\n")
    both = json.dumps({str(number): {} for number in range(6)})
    (run_folder / "results/gpt4-0314_m_judged-by--judge/mtbench_0.1.json").write_text(both)
    assert checked() == (0, "")


def test_what_alpaca_eval_has_not_judged_is_an_error(tmp_path):
    checker = Path(__file__).parents[2] / "blocks/evaluate/theirs/alpaca_check.py"
    judged = tmp_path / "results/judge/annotations.json"
    judged.parent.mkdir(parents=True)
    (tmp_path / "results/model_outputs.json").write_text(json.dumps([{"output": "a"}, {"output": "b"}]))
    for preferences, code in (([1.2, None], 1), ([1.2], 1), ([1.2, 1.9], 0)):
        judged.write_text(json.dumps([{"preference": one} for one in preferences]))
        done = subprocess.run(
            [sys.executable, checker, tmp_path / "results"], capture_output=True, text=True, check=False
        )
        assert done.returncode == code and ("1 of 2 answers were judged" in done.stderr) == bool(code)
