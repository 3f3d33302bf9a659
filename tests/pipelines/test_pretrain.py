"""From texts to a folder that nanotron could train: read through its links, started as its scripts do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, write_jsonl
from tests.generate.small_tokenizers import make_tokenizer
from tests.pipelines.test_tokens import read, rows, tokens

WINDOW = 65

FORMATS = ("faq", "math", "table", "tutorial")

TORCHRUN = """#!/bin/sh
echo "$CUDA_DEVICE_MAX_CONNECTIONS $@" >> started.txt
mkdir -p checkpoints
touch checkpoints/latest.txt
if [ "$(wc -l < started.txt)" = 1 ]; then exec sleep 60; fi
"""


def pretrain(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, ROOT / "pipelines" / "pretrain.py", *arguments]
    return subprocess.run([*map(str, program)], capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def experiment(tmp_path):
    tmp_path = tmp_path / "with space"
    tmp_path.mkdir()
    model = make_tokenizer(tmp_path / "model", "plain")
    for name, count in (("few", 60), ("many", 400)):
        source = write_jsonl(tmp_path / f"{name}.jsonl", rows(count))
        asked = ["--tokenizer", model, "--chunk-size", 20, "--tokens-per-file", 0.005]
        assert tokens("--input", source, "--output", tmp_path / name, *asked).returncode == 0
    values = {
        "name": "small",
        "model": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2},
        "sources": {name: {"tokens": str(tmp_path / name)} for name in ("few", "many")},
        "steps": 20, "sequence_length": WINDOW - 1, "batch": 16, "micro_batch": 4, "gpus": 2,
    }  # fmt: skip
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "experiment.yaml"


def test_the_links_hold_as_many_epochs_as_are_needed(tmp_path, experiment):
    tmp_path = experiment.parent
    pytest.importorskip("torch", reason="torch is not installed: make cpu")
    from datatrove.utils.dataset import DatatroveFolderDataset

    out = tmp_path / "out"
    shown = pretrain(experiment, "--output", out, "--dry-run")
    assert shown.returncode == 0 and "4 · 2 · 2" in shown.stdout and not out.exists(), shown.stdout + shown.stderr
    done = pretrain(experiment, "--output", out)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((out / "config.yaml").read_text())
    dataset = config["data_stages"][0]["data"]["dataset"]
    assert dataset["dataset_folder"] == [f"{out}/data-s3/{name}" for name in ("few", "many")]
    for name, folder in zip(("few", "many"), dataset["dataset_folder"], strict=True):
        windows = DatatroveFolderDataset(folder, WINDOW - 1, filename_pattern="*.ds", return_positions=True)
        assert len(windows) >= 20 * 16 / 2
        files = sorted(Path(folder).glob("*.ds"))
        targets = [file.resolve() for file in files]
        assert all(target.is_relative_to(tmp_path / name) for target in targets)
        own = sorted((tmp_path / name / "ds-s3" / "documents").glob("*.ds"))
        assert [target.name for target in targets[: len(own)]] == [file.name for file in own][: len(targets)]
        seen = Counter(targets)
        assert max(seen.values()) - min(seen.values()) <= 1 and (max(seen.values()) > 1) == (name == "few")
        assert all(Path(f"{file}{suffix}").exists() for file in files for suffix in (".index", ".metadata"))
        first = windows[0]["input_ids"].tolist()
        assert first == [token for document in read(tmp_path / name, "documents") for token in document][:WINDOW]
    again = pretrain(experiment, "--output", out)
    assert again.returncode == 0 and yaml.safe_load((out / "config.yaml").read_text()) == config
    (out / "checkpoints").mkdir()
    assert pretrain(experiment, "--output", out).returncode == 0, "nothing is changed"
    experiment.write_text(experiment.read_text().replace("steps: 20", "steps: 21"))
    refused = pretrain(experiment, "--output", out)
    assert refused.returncode == 1 and "has checkpoints of another configuration" in refused.stdout
    resumed = yaml.safe_load((out / "resume.yaml").read_text())
    assert resumed["checkpoints"].pop("resume_checkpoint_path") == f"{out}/checkpoints" and resumed == config


def test_what_could_not_be_served_is_told_before_anything_is_written(tmp_path, experiment):
    told = yaml.safe_load(experiment.read_text())
    experiment.write_text(yaml.safe_dump({**told, "steps": 20_000}))
    done = pretrain(experiment, "--output", tmp_path / "out")
    assert done.returncode == 1 and "more than max_epochs 4; train fewer steps" in done.stdout, done.stdout
    experiment.write_text(yaml.safe_dump({**told, "gpus": 16, "batch": 64, "steps": 1}))
    assert "start it with: sbatch" in pretrain(experiment, "--output", tmp_path / "two").stdout
    assert "--nodes=2\n" in (tmp_path / "two" / "train.sbatch").read_text()
    assert not (tmp_path / "two" / "train.sh").exists()
    experiment.write_text(yaml.safe_dump({**told, "gpus": 12, "batch": 48}))
    done = pretrain(experiment, "--output", tmp_path / "out")
    assert done.returncode == 1 and "12 GPUs are no multiple of the 8 of a node" in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_small_training_on_the_cpu_learns(tmp_path, experiment):
    pytest.importorskip("torch", reason="torch is not installed: make cpu")
    done = pretrain(experiment, "--output", tmp_path / "out", "--smoke", 60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"a window of 64 tokens, in which \d documents? end", done.stdout)
    found = re.search(
        r"loss ([\d.]+) → ([\d.]+) nats per token; a guess among ([\d,]+) tokens is ([\d.]+)", done.stdout
    )
    first, last, _, uniform = (float(value.replace(",", "")) for value in found.groups())
    assert last < first <= uniform + 0.5 and last < uniform - 1.5


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "torchrun").write_text(TORCHRUN)
    (tmp_path / "bin" / "torchrun").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "NANOTRON": "/opt/./nanotron",
        **more,
    }


def test_the_script_of_this_machine_goes_on_from_a_checkpoint(tmp_path, experiment):
    out = experiment.parent / "out"
    assert pretrain(experiment, "--output", out).returncode == 0
    told = environment(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):  # the first start works until it is stopped
        subprocess.run([out / "train.sh"], env=told, timeout=2)
    subprocess.run([out / "train.sh"], env=told, check=True, timeout=20)
    common = "1 --standalone --nproc-per-node=2 /opt/nanotron/run_train.py --config-file"
    assert (out / "started.txt").read_text().splitlines() == [f"{common} config.yaml", f"{common} resume.yaml"]
    del told["NANOTRON"]
    unset = subprocess.run([out / "train.sh"], env=told, capture_output=True, text=True, timeout=20)
    assert unset.returncode != 0 and "set it to a checkout of github.com/huggingface/nanotron" in unset.stderr


def test_on_a_cluster_it_goes_back_into_the_queue(slurm, tmp_path, experiment):
    out = experiment.parent / "out"
    assert pretrain(experiment, "--output", out).returncode == 0
    told = environment(tmp_path, SLURM_CONF=slurm.environment["SLURM_CONF"])
    options = ["--gpus-per-node=0", "--export=ALL"]  # the cluster of the tests has none
    done = subprocess.run(
        ["sbatch", "--parsable", *options, out / "train.sbatch"], env=told, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    slurm.wait((out / "started.txt").exists, "first start")
    slurm.run("scancel", "--signal=USR1", "--batch", job)  # as before a time limit
    slurm.wait(lambda: len((out / "started.txt").read_text().splitlines()) == 2, "second start", 180)
    slurm.wait(lambda: not slurm.queue(job), "end", 60)
    assert [line.rpartition(" ")[2] for line in (out / "started.txt").read_text().splitlines()] == [
        "config.yaml", "resume.yaml",
    ]  # fmt: skip
    assert "--nnodes=1 --nproc-per-node=2 --rdzv-backend=c10d" in (out / "started.txt").read_text()


def test_a_whole_ablation_is_submitted_once(slurm, tmp_path, experiment):
    """Four formats and two baselines, three seeds each."""
    tmp_path = experiment.parent
    rows_of = {name: [{**row, "format": name} for row in rows(200)] for name in FORMATS}
    source = write_jsonl(tmp_path / "formats.jsonl", [row for name in FORMATS for row in rows_of[name]])
    model = tmp_path / "model"
    assert tokens("--input", source, "--output", tmp_path / "formats", "--tokenizer", model).returncode == 0
    web = {"tokens": str(tmp_path / "many")}
    arms = {name: {name: {"tokens": str(tmp_path / "formats"), "format": name}, "web": web} for name in FORMATS}
    arms |= {"web": {"web": web}, "rival": {"rival": {"tokens": str(tmp_path / "few")}}}
    told = yaml.safe_load(experiment.read_text())
    training = {key: value for key, value in told.items() if key not in ("name", "sources")}
    file, out = tmp_path / "ablation.yaml", tmp_path / "ablation"
    file.write_text(yaml.safe_dump({"training": {**training, "max_epochs": 9}, "arms": arms}))

    def ablation(*options: str, **more: str) -> str:
        program = [sys.executable, ROOT / "pipelines" / "ablation.py", file, "--output", out, *options]
        done = subprocess.run(
            [*map(str, program)], env={**os.environ, **more}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
        return done.stdout

    shown = ablation("--dry-run")
    assert all(name in shown for name in arms) and "50% faq, 50% web" in shown and not out.exists()
    told = environment(tmp_path, SLURM_CONF=slurm.environment["SLURM_CONF"])
    assert "set NANOTRON to a checkout" in ablation("--submit", SLURM_CONF=told["SLURM_CONF"], NANOTRON="")
    Path(tmp_path / "bin" / "torchrun").write_text("#!/bin/sh\necho $@ >> started.txt\n")
    submit = ["--submit", "--sbatch", "--gpus-per-node=0 --export=ALL --oversubscribe"]
    submitted = ablation(*submit, **told)
    assert submitted.count("submitted ") == 18 and "18 trainings" in submitted, submitted
    slurm.wait(lambda: not slurm.queue(), "end", 240)
    started = {path.parent.name: path.read_text() for path in out.glob("*/started.txt")}
    assert sorted(started) == sorted(f"{arm}-seed{seed}" for arm in arms for seed in (1, 2, 3))
    assert all(text.count("run_train.py --config-file config.yaml") == 1 for text in started.values())
    seeds = {yaml.safe_load((out / name / "config.yaml").read_text())["general"]["seed"] for name in started}
    assert seeds == {1, 2, 3}
    assert ablation(*submit, **told).count("was submitted as job") == 18
    (out / "web-seed1" / "job").write_text("submitting")  # as if it had been killed then
    assert "web-seed1 was being submitted when that was killed" in ablation(*submit, **told)
