"""The real lighteval, in an environment of its own, on the bundled model and on a scripted endpoint."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from blocks.evaluate.collect import collect
from blocks.evaluate.targets import Judge, Settings, find_targets
from blocks.evaluate.tools.common import THEIRS, newest_json
from blocks.evaluate.tools.lighteval import GROUPS
from blocks.evaluate.write import write_evaluations
from tests.conftest import ROOT
from tests.evaluate.small_datasets import write_datasets

BIN = ROOT / ".venv-lighteval" / "bin"
TINY = ROOT / "demo" / "finemill-tiny"

# It wants releases of its own and 2 GB with torch; `make test-all` installs it, and there a skip is a failure.
pytestmark = pytest.mark.skipif(not (BIN / "lighteval").exists(), reason="lighteval is not installed: make lighteval")

PROBABILITIES = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
found = []
for question, right in json.loads(sys.argv[2]):
    begin = tokenizer(question)["input_ids"]
    answer = tokenizer(right, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([begin + answer])).logits[0].log_softmax(-1)
    each = [logits[len(begin) + i - 1, token].item() for i, token in enumerate(answer)]
    found.append(2.718281828459045 ** (sum(each) / len(each)))
print(sum(found) / len(found))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    datasets = tmp_path_factory.mktemp("datasets")
    write_datasets(datasets)
    own = {"HF_HUB_OFFLINE": "1", "DATASETS": str(datasets), "HF_HOME": str(tmp_path_factory.mktemp("hf"))}
    return {**os.environ, **own, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def run(script: Path, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_finephrase_suite(tmp_path, environment):
    settings = Settings(dtype="float32", max_samples=4)
    (left,) = write_evaluations(find_targets(str(TINY), None), ["finephrase"], settings, tmp_path / "out")
    code, told = run(tmp_path / "out/evaluate.sh", environment)
    assert code == 0, told[-3000:]
    (found,) = collect(tmp_path / "out")
    assert set(found.scores) == {"overall", "micro", *GROUPS, *(task for tasks in GROUPS.values() for task in tasks)}
    assert all(0 < value < 1 for value in found.scores.values())
    results = newest_json(left / "results", "results_*.json")
    assert len([name for name in results["results"] if "mmlu_redux:" in name]) == 58  # all subjects, and their mean
    # Nothing was left in the model's folder, and killed before its end it would find its answers again.
    assert sorted(path.name for path in TINY.iterdir() if path.is_dir()) == []
    (left / "done").unlink()
    code, told = run(left / "evaluate.sh", environment)
    assert code == 0 and "not found in cache" not in told
    assert collect(tmp_path / "out") == [found]


def test_the_probability_is_that_of_the_right_answer_per_token(tmp_path, environment):
    (tmp_path / "model").symlink_to(TINY)
    for copy in Path(environment["DATASETS"]).iterdir():
        (tmp_path / copy.name).symlink_to(copy)
    arguments = "model_name=model,dtype=float32,batch_size=4,cache_dir=cache,override_chat_template=False"
    command = [BIN / "lighteval", "accelerate", arguments, "finephrase_openbookqa|0,finephrase_squad_v2|0"]
    command += ["--custom-tasks", THEIRS / "finephrase_tasks.py", "--output-dir", "results"]
    done = subprocess.run(
        [*map(str, command)],
        env={**environment, "FINEMILL_EVAL_MODEL": "model"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    scores = newest_json(tmp_path / "results", "results_*.json")["results"]
    words = ["River", "Stone", "Lamp", "Cloud", "Bread", "Wheel"]
    asked = [(f"Question: A {word.lower()} is made of\nAnswer:", f" {word}") for word in words]
    command = [BIN / "python", "-c", PROBABILITIES, TINY, json.dumps(asked)]
    alone = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=True)
    found = scores["finephrase_openbookqa|0"]["prob_norm_token"]
    assert found == pytest.approx(float(alone.stdout), rel=1e-3) and found < 0.5


def test_questions_to_an_endpoint_and_its_judge(tmp_path, environment, start_mock):
    server = start_mock("--models", "m,j")
    settings = Settings(judge=Judge("j", f"{server.url}/v1"))
    left = write_evaluations(find_targets("m", f"{server.url}/v1"), ["ifeval", "mixeval"], settings, tmp_path / "out")
    code, told = run(tmp_path / "out/evaluate.sh", environment)
    assert code == 0, told[-3000:]
    mixeval, ifeval = sorted(collect(tmp_path / "out"), key=lambda one: one.suite, reverse=True)[:2]
    assert mixeval.scores["hard freeform"] == mixeval.scores["easy freeform"] == 0.5
    assert mixeval.scores["hard multichoice"] == pytest.approx(1 / 3)
    assert 0 < ifeval.scores["overall"] < 1
    asked = [request["fields"]["model"] for request in server.requests()]
    # Both halves of our MixEval are the same nine questions, and none is judged twice.
    assert asked.count("j") == 9 and asked.count("m") >= 9 + 6
    assert [folder.name for folder in left] == ["ifeval", "mixeval"]


def test_an_endpoint_that_fails_midway_gives_no_scores(tmp_path, environment, start_mock):
    server = start_mock("--models", "m")
    (left,) = write_evaluations(find_targets("m", f"{server.url}/v1"), ["ifeval"], Settings(), tmp_path / "out")
    model = left / "model.yaml"
    model.write_text(
        model.read_text()
        .replace("api_max_retry: 8", "api_max_retry: 1")
        .replace("model_name: openai/m", "model_name: openai/gone")
    )
    code, told = run(left / "evaluate.sh", environment)
    assert code == 1 and "the endpoint left questions unanswered: nothing is kept" in told
    assert not (left / "results").exists() and not (left / "cache").exists() and not (left / "done").exists()
