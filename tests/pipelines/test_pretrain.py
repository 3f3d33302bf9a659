"""From texts to a folder that nanotron could train: read through its links, started as its scripts do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from blocks.pretrain.ablation import load_ablation
from tests.conftest import ROOT, write_jsonl
from tests.generate.small_tokenizers import make_tokenizer
from tests.pipelines.test_tokens import rows, tokens

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
        assert {target.name for target in targets[: len(own)]} <= {file.name for file in own}
        seen = Counter(targets)
        assert max(seen.values()) - min(seen.values()) <= 1 and (max(seen.values()) > 1) == (name == "few")
        assert all(Path(f"{file}{suffix}").exists() for file in files for suffix in (".index", ".metadata"))
        first = windows[0]["input_ids"].tolist()
        assert first == np.fromfile(targets[0], np.uint16)[:WINDOW].tolist()
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

    [first, *_] = sorted((out / "data-s3").rglob("*.ds"))
    before = first.read_bytes()
    first.resolve().write_bytes(before[:-2])  # as when the run that it was made of has grown since
    other = subprocess.run([out / "train.sh"], env=told, capture_output=True, text=True, timeout=20)
    assert other.returncode == 1 and "are not those that this training was written for" in other.stderr
    first.resolve().write_bytes(before)
    manifest = experiment.parent / "few" / "tokens.json"
    manifest.write_text(re.sub(r'"hash":\s*"\w', '"hash":"z', manifest.read_text(), count=1))
    refused = pretrain(experiment, "--output", out)
    assert refused.returncode == 1 and "checkpoints of another configuration, or of other data" in refused.stdout

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


def test_a_training_goes_on_with_other_data(tmp_path, experiment):
    folder, out = experiment.parent, experiment.parent / "out"
    told = yaml.safe_load(experiment.read_text())
    assert pretrain(experiment, "--output", out).returncode == 0
    after = folder / "after.yaml"

    def go_on(**changes: object) -> subprocess.CompletedProcess[str]:
        few = {"few": {"tokens": str(folder / "few")}}
        values = {**told, "sources": few, "after": {"training": str(out), "step": 10}, "max_epochs": 9, **changes}
        after.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
        return pretrain(after, "--output", folder / "on")

    assert "has no checkpoint of step 10" in go_on().stdout
    (out / "checkpoints/10").mkdir(parents=True)
    (out / "checkpoints/10/model_config.json").touch()
    assert "learning rate must be that of" in go_on(decay=0.2).stdout
    assert "steps must be that of" in go_on(steps=30).stdout
    assert "batch must be that of" in go_on(batch=32).stdout
    assert "nothing is left of 10 steps" in go_on(steps=10).stdout
    done = go_on(gpus=1)  # a step is the same
    assert done.returncode == 0 and "10 steps of 1,024 tokens" in done.stdout, done.stdout
    config = yaml.safe_load((folder / "on/config.yaml").read_text())
    first, second = config["data_stages"]
    assert first == yaml.safe_load((out / "config.yaml").read_text())["data_stages"][0]
    assert second["start_training_step"] == 11 and len(second["data"]["dataset"]["dataset_folder"]) == 1
    assert config["checkpoints"]["resume_checkpoint_path"] == f"{out}/checkpoints/10"
    resumed = yaml.safe_load((folder / "on/resume.yaml").read_text())["checkpoints"]
    assert resumed["resume_checkpoint_path"] == resumed["checkpoints_path"] == f"{folder}/on/checkpoints"


def test_as_many_tokens_as_another_corpus_has(experiment):
    folder = experiment.parent
    told = yaml.safe_load(experiment.read_text())
    corpus = json.loads((folder / "few/tokens.json").read_text())["formats"]["documents"]["tokens"]
    values = {
        **told,
        "steps": None,
        "tokens_of": str(folder / "few"),
        "sources": {"many": {"tokens": str(folder / "many")}},
    }
    experiment.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
    done = pretrain(experiment, "--output", folder / "out", "--dry-run")
    assert f"{-(-corpus // 1024):,} steps of 1,024 tokens" in done.stdout, done.stdout
    experiment.write_text(experiment.read_text().replace("/few", "/nowhere"))
    assert "tokens_of: there is no tokens.json" in pretrain(experiment, "--output", folder / "out", "--dry-run").stdout


def test_nanotron_is_asked_where_it_is(tmp_path, experiment):
    """Its place is taken by a package that reads files as strictly, with one key that it does not know."""
    config = tmp_path / "nanotron/src/nanotron/config.py"
    config.parent.mkdir(parents=True)
    config.write_text(
        "import yaml\n"
        "def get_config_from_file(path):\n"
        "    extra = set(yaml.safe_load(open(path))['parallelism']) - KNOWN\n"
        "    assert not extra, f'unknown keys {sorted(extra)}'\n"
        "KNOWN = {'dp', 'tp', 'pp', 'pp_engine', 'tp_mode', 'tp_linear_async_communication', 'recompute_layer', "
        "'expert_parallel_size', 'context_parallel_size'}\n"
    )
    asked = [experiment, "--output", experiment.parent / "out", "--check-nanotron", tmp_path / "nanotron"]
    done = pretrain(*asked)
    assert done.returncode == 0, done.stdout
    config.write_text(config.read_text().replace("'recompute_layer', ", ""))
    done = pretrain(*asked)
    assert done.returncode == 1 and "does not read" in done.stdout and "unknown keys ['recompute_layer']" in done.stdout


def test_a_whole_ablation_is_submitted_once(slurm, tmp_path, experiment):
    """Four formats and two baselines, three seeds each."""
    tmp_path = experiment.parent
    rows_of = {name: [{**row, "format": name} for row in rows(200)] for name in FORMATS}
    source = write_jsonl(tmp_path / "formats.jsonl", [row for name in FORMATS for row in rows_of[name]])
    model = tmp_path / "model"
    assert tokens("--input", source, "--output", tmp_path / "formats", "--tokenizer", model).returncode == 0
    web = {"tokens": str(tmp_path / "many")}
    arms = {name: {name: {"tokens": str(tmp_path / "formats"), "format": name}, "web": web} for name in FORMATS}
    baselines = {"web": tmp_path / "many", "rival": f"{tmp_path / 'few'}:documents"}
    told = yaml.safe_load(experiment.read_text())
    training = {key: value for key, value in told.items() if key not in ("name", "sources")}
    file, out = tmp_path / "ablation.yaml", tmp_path / "ablation"
    file.write_text(yaml.safe_dump({"training": {**training, "max_epochs": 9}, "arms": arms}))

    def ablation(*options: str, **more: str) -> str:
        program = [sys.executable, ROOT / "pipelines" / "ablation.py", file, "--output", out, *options]
        program += [f"--baseline={name}={folder}" for name, folder in baselines.items()]
        done = subprocess.run(
            [*map(str, program)], env={**os.environ, **more}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
        return done.stdout

    shown = ablation("--dry-run")
    names = {*arms, *baselines}
    assert all(name in shown for name in names) and "50% faq, 50% web" in shown and not out.exists()
    told = environment(tmp_path, SLURM_CONF=slurm.environment["SLURM_CONF"])
    assert "set NANOTRON to a checkout" in ablation("--submit", SLURM_CONF=told["SLURM_CONF"], NANOTRON="")
    Path(tmp_path / "bin" / "torchrun").write_text("#!/bin/sh\necho $@ >> started.txt\n")
    submit = ["--submit", "--sbatch", "--gpus-per-node=0 --export=ALL --oversubscribe"]
    submitted = ablation(*submit, **told)
    assert submitted.count("submitted ") == 18 and "18 trainings" in submitted, submitted
    slurm.wait(lambda: not slurm.queue(), "end", 240)
    started = {path.parent.name: path.read_text() for path in out.glob("*/started.txt")}
    assert sorted(started) == sorted(f"{arm}-seed{seed}" for arm in names for seed in (1, 2, 3))
    assert all(text.count("run_train.py --config-file config.yaml") == 1 for text in started.values())
    seeds = {yaml.safe_load((out / name / "config.yaml").read_text())["general"]["seed"] for name in started}
    assert seeds == {1, 2, 3}
    assert set(load_ablation(out / "ablation.yaml").arms) == names
    assert ablation(*submit, **told).count("was submitted as job") == 18
    file.write_text(yaml.safe_dump({"training": {**training, "max_epochs": 9, "steps": 19}, "arms": arms}))
    assert "was submitted with another configuration" in ablation(*submit, **told)
    file.write_text(yaml.safe_dump({"training": {**training, "max_epochs": 9}, "arms": arms}))
    (out / "web-seed1" / "job").write_text("submitting")  # as if it had been killed then
    assert "web-seed1 was being submitted when that was killed" in ablation(*submit, **told)
