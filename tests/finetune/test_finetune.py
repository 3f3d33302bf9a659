"""Fine-tuning for real, on a CPU, with the bundled model as the student."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT, samples, write_jsonl, write_parquet

torch = pytest.importorskip("torch", reason="torch is not installed: make cpu")
pytest.importorskip("trl", reason="trl is not installed: pip install -e '.[train]'")
pytest.importorskip("peft", reason="peft is not installed: pip install -e '.[train]'")

from datasets import disable_progress_bars  # noqa: E402 - after the skips
from safetensors.torch import load_file  # noqa: E402 - after the skips
from tokenizers import AddedToken  # noqa: E402 - after the skips

from blocks.finetune.examples import load_examples, split_off  # noqa: E402 - after the skips
from blocks.finetune.train import PLAIN, Settings, chat_tokenizer, last_checkpoint, train, trainer_of  # noqa: E402 - after the skips
from blocks.generate.tokenizer import load_tokenizer  # noqa: E402 - after the skips
from blocks.instruct.instantiate import contract  # noqa: E402 - after the skips
from blocks.shards.folder import RunError  # noqa: E402 - after the skips
from blocks.shards.source import list_files  # noqa: E402 - after the skips

disable_progress_bars()
STUDENT = str(ROOT / "demo" / "finemill-tiny")
SCRIPT = ROOT / "pipelines" / "finetune.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
FAST = ["--batch", 16, "--device-batch", 8, "--learning-rate", 1e-3, "--save-steps", 5, "--held-out", 0.2]


def rows(count):
    """Two numbers, to be said the other way round: nothing that the student knows, and easily learned."""
    dice = random.Random(4)
    for number in range(count):
        a, b = dice.randint(1, 99), dice.randint(1, 99)
        yield {
            "id": f"e{number}",
            "source_id": f"d{number // 2}",
            "prompt": f"Say the two numbers {a} and {b} the other way round.",
            "completion": f"The two numbers are {b} and {a}.",
        }


def command(*arguments, before=()):
    return [*before, sys.executable, str(SCRIPT), *map(str, arguments)]


def finetune(*arguments, before=(), fails=False):
    done = subprocess.run(
        command(*arguments, before=before),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
        cwd="/",
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A student that was trained without any trouble."""
    folder = tmp_path_factory.mktemp("trained")
    source = write_jsonl(folder / "examples.jsonl", rows(200))
    said = finetune("--input", source, "--output", folder / "run", "--model", STUDENT, *FAST)
    return source, folder / "run", said


def loaded(source, tokenizer=None, **options):
    """The examples of a file or folder, cached beside it."""
    files, cache = list_files(str(source)), source.parent / "cache"
    return load_examples(files, cache, tokenizer or chat_tokenizer(STUDENT, None, None), **options)


def prepared(tmp_path, settings, made=None):
    examples, aside = split_off(loaded(write_jsonl(tmp_path / "examples.jsonl", made or rows(24))).rows, 0.2, 0)
    tokenizer = chat_tokenizer(STUDENT, None, None)
    return trainer_of(STUDENT, None, tokenizer, examples, aside, settings, tmp_path / "checkpoints")


def test_only_what_the_student_shall_say_counts(tmp_path):
    """The gradient is that of the answers' tokens, computed here by hand, and not that of all tokens."""
    trainer, _ = prepared(tmp_path, Settings(batch=8, device_batch=8, lora_dropout=0.0))
    few = [{name: trainer.train_dataset[at][name] for name in ("input_ids", "labels")} for at in range(8)]
    for row in few:
        said = trainer.processing_class.decode([token for token in row["labels"] if token != -100])
        assert said.startswith("The two numbers are ") and said.rstrip().endswith(".<|im_end|>")
    model = trainer.model.eval()
    names = [name for name, weight in model.named_parameters() if weight.requires_grad and "lora_B" in name]

    def gradients(loss):
        model.zero_grad()
        loss.backward(retain_graph=True)
        return torch.cat([model.get_parameter(name).grad.flatten() for name in names])

    theirs = gradients(trainer.compute_loss(model, trainer.data_collator([dict(row) for row in few])))
    answers, everything, spoken, tokens = 0.0, 0.0, 0, 0
    for row in few:
        ids = torch.tensor([row["input_ids"]])
        losses = -model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        begins = next(at for at, label in enumerate(row["labels"]) if label != -100)
        answers, spoken = answers + losses[begins - 1 :].sum(), spoken + len(losses) - begins + 1
        everything, tokens = everything + losses.sum(), tokens + len(losses)
    torch.testing.assert_close(theirs, gradients(answers / spoken), rtol=1e-4, atol=1e-6)
    other = gradients(everything / tokens)
    assert torch.cosine_similarity(theirs, other, dim=0) < 0.95, "prompts would show in the gradient"


def test_loss_falls_and_unseen_examples_are_answered(trained):
    _, run, said = trained
    told = json.loads((run / "training.json").read_bytes())
    assert told["loss"][-1][1] < 0.2 * told["loss"][0][1]
    assert told["perplexity"]["after"] < 1.5 < 10 < told["perplexity"]["before"]
    assert told["examples"] + told["held_out"] == 200 and 10 <= told["held_out"] <= 80 and not told["too_long"]
    assert told["special_tokens_broken_up"] == 0 and told["unusable"] == {} and told["empty"] == []
    said_once = re.compile(r"The two numbers are \d+ and \d+\.")
    assert all(said_once.fullmatch(sample["said"]) for sample in told["samples"]) and len(told["samples"]) == 8
    assert "perplexity of held-out answers after" in said
    assert {path.name for path in (run / "model").iterdir()} >= {"model.safetensors", "tokenizer.json", "config.json"}


def test_documents_are_held_out_whole(tmp_path):
    examples = loaded(write_jsonl(tmp_path / "e.jsonl", rows(200))).rows
    train, aside = split_off(examples, 0.3, 0)
    assert not set(train["source_id"]) & set(aside["source_id"]) and 30 <= len(aside) <= 90
    assert set(split_off(examples, 0.3, 1)[1]["id"]) != set(aside["id"])


def test_merged_weights_are_student_and_adapter(trained, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    source, run, _ = trained
    finetune("--input", source, "--output", tmp_path, "--model", STUDENT, *FAST, "--dtype", "float32", "--epochs", 0.5)
    student = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    tokens = torch.randint(300, 4000, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = student(tokens).logits
        beside = PeftModel.from_pretrained(student, str(tmp_path / "adapter"))(tokens).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)(tokens).logits
    torch.testing.assert_close(merged, beside, rtol=1e-4, atol=1e-4)
    assert (merged - before).abs().max() > 0.05, "it has learned nothing, so nothing was merged"
    kinds = {weight.dtype for weight in load_file(run / "model" / "model.safetensors").values()}
    assert kinds == {torch.bfloat16}, "as the student was"


def test_another_dtype_is_another_merge_of_the_same_training(trained, tmp_path):
    source, run, _ = trained
    shutil.copytree(run, tmp_path / "run")
    again = ["--input", source, "--output", tmp_path / "run", "--model", STUDENT, *FAST, "--dtype"]
    assert "nothing to do" in finetune(*again, "bfloat16")
    assert "is bfloat16: move it and training.json away" in finetune(*again, "float32", fails=True)
    shutil.rmtree(tmp_path / "run" / "model")
    (tmp_path / "run" / "training.json").unlink()
    assert "step " not in finetune(*again, "float32"), "it was trained already"
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


def test_killed_and_gone_on_with_it_is_the_same_run(trained, tmp_path):
    source, run, _ = trained
    again = command("--input", source, "--output", tmp_path, "--model", STUDENT, *FAST)
    for after in ("checkpoint-5", "checkpoint-20"):
        process = subprocess.Popen(again, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (tmp_path / "checkpoints" / after / "trainer_state.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tmp_path / "checkpoints" / "checkpoint-30").mkdir()  # as if it had been killed while that was written
    finetune(*again[2:])
    for name in ("adapter/adapter_model.safetensors", "model/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()
    ours, theirs = (json.loads((folder / "training.json").read_bytes()) for folder in (tmp_path, run))
    assert ours == theirs
    assert "nothing to do" in finetune(*again[2:])
    refused = finetune(*again[2:], "--learning-rate", 5e-4, fails=True)
    assert "holds another run" in refused and "learning_rate" in refused


def test_less_at_a_time_is_the_same_training(tmp_path):
    """Whoever runs out of memory goes on with a smaller --device-batch, and every step has the examples it would have.

    An epoch has three steps of 8 and a smaller one, and the checkpoint is in the middle of the second epoch.
    """
    settings = Settings(epochs=2, batch=8, device_batch=8, lora_dropout=0.0, learning_rate=1e-3, save_steps=5)
    less = replace(settings, device_batch=2)
    assert less.shaping == settings.shaping
    (tmp_path / "less").mkdir()
    trainers = [prepared(tmp_path / name, one, rows(36))[0] for name, one in (("more", settings), ("less", less))]
    train(trainers[0], tmp_path / "more" / "checkpoints")
    shutil.copytree(tmp_path / "more" / "checkpoints" / "checkpoint-5", tmp_path / "less" / "checkpoints/checkpoint-5")
    train(trainers[1], tmp_path / "less" / "checkpoints")
    assert [trainer.state.global_step for trainer in trainers] == [8, 8]
    learned = [
        {name: weight.detach() for name, weight in trainer.model.named_parameters() if "lora" in name}
        for trainer in trainers
    ]
    for name, weight in learned[0].items():
        torch.testing.assert_close(learned[1][name], weight, rtol=1e-3, atol=1e-6)


def test_a_checkpoint_that_was_not_finished_is_not_taken(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step in (20, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (20, 60):
        (tmp_path / f"checkpoint-{step}").mkdir(exist_ok=True)
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-60" / "trainer_state.json").write_text('{"global_st')  # torn
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")
    assert not (tmp_path / "checkpoint-100").exists()


def test_a_server_loads_the_result(trained, tmp_path):
    _, run, _ = trained
    documents = [{"id": f"d{n}", "text": f"The number {n} has 7 old friends. " * 30} for n in range(2)]
    source = write_jsonl(tmp_path / "in.jsonl", documents)
    script = [sys.executable, str(ROOT / "pipelines" / "noninstruct.py"), "--input", str(source)]
    script += ["--output", str(tmp_path / "run"), "--server", "transformers", "--model", str(run / "model")]
    done = subprocess.run(
        [*script, "--max-tokens", "64", "--max-in-flight", "2"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "run" / "summary.json").read_bytes())
    assert told["complete"] and told["requests"] == 2 and told["completion_tokens"] > 10
    assert told["failed"] == {} and len(samples(tmp_path / "run")) + sum(told["rejected"].values()) == 2


def test_two_processes_train_one_student(trained, tmp_path):
    source, run, _ = trained
    before = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch = command("--input", source, "--output", tmp_path, "--model", STUDENT, *FAST)[1:]
    done = subprocess.run([*before, *launch], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = (json.loads((folder / "training.json").read_bytes()) for folder in (tmp_path, run))
    # A step has the same examples, whoever sees which: were they seen twice, the loss would be another.
    assert [step for step, _ in ours["loss"]] == [step for step, _ in theirs["loss"]]
    assert [loss for _, loss in ours["loss"]] == pytest.approx([loss for _, loss in theirs["loss"]], rel=0.1)
    assert ours["perplexity"]["after"] < 1.5
    assert done.stdout.count("perplexity of held-out answers after") == 1, "one process tells"


def test_every_kind_of_shard_is_read(tmp_path):
    pairs = [
        {"id": "p", "source_id": "d", "instruction": "Why?", "answer": "So.", "prompt": "instantiate", "text": "t"}
    ]
    told = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]
    kinds = {
        "pairs": (write_parquet(tmp_path / "pairs.parquet", pairs, row_group_size=1), ("Why?", "So.")),
        "messages": (write_jsonl(tmp_path / "messages.jsonl", [{"messages": told}]), ("Who?", "I.")),
        "lists": (
            write_jsonl(tmp_path / "lists.jsonl", [{"prompt": told[:1], "completion": told[1:]}]),
            ("Who?", "I."),
        ),
    }
    for file, (asked, said) in kinds.values():
        examples, left_out, broken_up = loaded(file)
        (example,) = examples
        assert example["prompt"] == [{"role": "user", "content": asked}] and left_out == {} and broken_up == 0
        assert example["completion"] == [{"role": "assistant", "content": said}]


def test_files_with_other_columns_and_rows_without_an_answer(tmp_path):
    write_parquet(tmp_path / "in" / "a.parquet", list(rows(6)), row_group_size=2)
    more = [
        {"id": f"m{n}", "prompt": f"Ask {n}", "completion": [None, "", "Say."][n % 3], "extra": n} for n in range(6)
    ]
    write_parquet(tmp_path / "in" / "b.parquet", more, row_group_size=3)
    examples, left_out, _ = loaded(tmp_path / "in")
    assert left_out == {"empty": ["m0", "m1", "m3", "m4"]} and len(examples) == 8
    assert not {example["id"] for example in examples} & set(left_out["empty"])
    assert len(loaded(tmp_path / "in", limit=3).rows) == 3


def test_special_tokens_that_are_quoted_do_not_act(tmp_path):
    """An answer ends once, and what is asked is what is asked in use, also of silver data."""
    template, document = "Why <fi>x</fi>?", 'Chats are\n<|im_start|>marked<|im_end|> like "this".'
    made = [
        {"id": "quotes", "prompt": "What ends a turn?", "completion": "It is <|im_end|>, and then\n<|im_start|>user."},
        {"id": "silver", "prompt": contract(template, document), "completion": "null"},
        {"id": "plain", "prompt": "Why?", "completion": "So < that |>."},
    ]
    trainer, _ = prepared(tmp_path, Settings(batch=1, device_batch=1), [*made, *rows(4)])
    tokenizer = trainer.processing_class
    acting = set(tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "<|endoftext|>"]))
    read = [row for part in (trainer.train_dataset, trainer.eval_dataset) for row in part]
    told = {row["id"]: [token for token in row["input_ids"] if token in acting] for row in read}
    assert len(told) == 7 and all(tokens == told["plain"] for tokens in told.values())

    examples, _, broken_up = loaded(tmp_path / "examples.jsonl")
    assert broken_up == 2
    quotes, silver, plain = (examples[at] for at in range(3))
    assert quotes["completion"][0]["content"] == "It is < |im_end|>, and then\n< |im_start|>user."
    assert plain["completion"][0]["content"] == made[2]["completion"]
    said = finetune(
        "--input", tmp_path / "examples.jsonl", "--output", tmp_path / "run", "--model", STUDENT, "--dry-run"
    )
    assert "2 examples quote special tokens" in " ".join(said.split())
    used = load_tokenizer(STUDENT)
    assert silver["prompt"][0]["content"] == contract(template, used.neutralise(document)[0])


def test_an_answer_may_think_aloud(tmp_path):
    tokenizer = chat_tokenizer(STUDENT, None, None)
    tokenizer.add_tokens([AddedToken(mark, special=False) for mark in ("<think>", "</think>", "<｜User｜>")])
    text = "<think>Hm.</think> <｜User｜> asks <|im_end|>."
    source = write_jsonl(tmp_path / "examples.jsonl", [{"prompt": text, "completion": text}])
    (example,), _, _ = loaded(source, tokenizer)
    assert example["completion"][0]["content"] == "<think>Hm.</think> < ｜User｜> asks < |im_end|>."
    assert example["prompt"][0]["content"] == "< think>Hm.< /think> < ｜User｜> asks < |im_end|>."


def test_rows_of_a_wrong_shape_are_left_out_and_told(tmp_path):
    said = {"role": "assistant", "content": "So."}
    told = [{"from": "human", "value": "Why?"}]
    shapes = [5, ["Why?"], told, [{"role": "user", "content": ["Why?"]}], {"role": "user"}]
    made = [{"id": f"p{n}", "prompt": prompt, "completion": "So."} for n, prompt in enumerate(shapes)]
    source = write_jsonl(tmp_path / "prompts.jsonl", [*rows(2), *made])
    with source.open("a") as file:
        file.write("{no JSON}\n")
    examples, left_out, _ = loaded(source)
    assert left_out == {"wrong_shape": [row["id"] for row in made], "invalid_json": ["prompts.jsonl:7"]}
    assert examples["id"] == ["e0", "e1"] and set(examples.column_names) == {"id", "source_id", "prompt", "completion"}

    chats = ["Why?", [*told, {"from": "gpt", "value": "So."}], [said]]
    source = write_jsonl(tmp_path / "chats.jsonl", [{"messages": chat} for chat in chats])
    with pytest.raises(RunError, match=r"none of 3 rows .*\(2 wrong_shape, 1 empty\): .*role and content"):
        loaded(source)


def test_a_file_that_is_cut_off_is_no_smaller_training(tmp_path):
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows(2000)).encode())
    source = tmp_path / "examples.jsonl.gz"
    source.write_bytes(whole[: len(whole) // 2])
    said = finetune("--input", source, "--output", tmp_path / "run", "--model", STUDENT, "--dry-run", fails=True)
    assert f"{source} is damaged (EOFError" in said and "Traceback" not in said
    assert len(loaded(source, limit=50).rows) == 50
    source.write_bytes(whole)
    assert len(loaded(source).rows) == 2000


def test_a_file_that_cannot_be_reached_is_told_in_one_line(tmp_path, monkeypatch):
    def unreachable(*_):
        raise ConnectionError("the network\n is down")

    source = write_jsonl(tmp_path / "examples.jsonl", rows(3))
    monkeypatch.setattr("blocks.finetune.examples.read_rows", unreachable)
    with pytest.raises(RunError, match="the input cannot be read: the network is down"):
        loaded(source)


def test_a_run_that_is_not_finished_is_no_input(tmp_path):
    write_parquet(tmp_path / "run" / "shards" / "completions" / "0.parquet", list(rows(6)), row_group_size=6)
    (tmp_path / "run" / "run.yaml").write_text("{}")
    said = finetune(
        "--input", tmp_path / "run", "--output", tmp_path / "s", "--model", STUDENT, "--dry-run", fails=True
    )
    assert "is not finished: start it again first" in said


def test_a_student_learns_to_stop_where_its_template_ends(tmp_path):
    """As of base models whose template ends an answer with another token than the tokenizer's eos_token."""
    base = tmp_path / "base"
    base.mkdir()
    for file in Path(STUDENT).iterdir():
        text = file.read_bytes()
        if file.suffix == ".json" and file.name != "tokenizer.json":
            text = text.replace(b'"eos_token": "<|im_end|>"', b'"eos_token": "<|endoftext|>"')
            text = text.replace(b'"eos_token_id": 3', b'"eos_token_id": 0')
        (base / file.name).write_bytes(text)
    source = write_jsonl(tmp_path / "examples.jsonl", rows(60))
    options = ["--model", base, *FAST, "--epochs", 4, "--lora-rank", 0]
    finetune("--input", source, "--output", tmp_path / "run", *options)
    told = json.loads((tmp_path / "run" / "training.json").read_bytes())
    assert all(sample["said"].count("The two numbers") == 1 for sample in told["samples"]), told["samples"]
    generation = json.loads((tmp_path / "run" / "model" / "generation_config.json").read_bytes())
    assert generation["eos_token_id"] == [3, 0]
    assert json.loads((tmp_path / "run" / "model" / "tokenizer_config.json").read_bytes())["eos_token"] == "<|im_end|>"

    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())  # trained again, say
    (tmp_path / "run" / "training.json").unlink()
    refused = finetune("--input", source, "--output", tmp_path / "run", *options, fails=True)
    assert "holds another run: weights" in refused

    endless = tmp_path / "endless.jinja"
    endless.write_text("{% for message in messages %}{{ message.content }}\n{% endfor %}")
    with pytest.raises(RunError, match="would never stop"):
        chat_tokenizer(STUDENT, None, endless)


def test_what_is_too_long_is_left_out_and_told(tmp_path):
    made = [*rows(10), {"id": "long", "prompt": "Say it.", "completion": "word " * 300}]
    trainer, too_long = prepared(tmp_path, Settings(batch=2, device_batch=2, max_length=100), made)
    assert too_long == ["long"] and len(trainer.train_dataset) + len(trainer.eval_dataset) == 10
    with pytest.raises(RunError, match="no example has at most --max-length 9 tokens"):
        prepared(tmp_path, Settings(batch=2, device_batch=2, max_length=9), made)


def test_a_base_model_gets_a_plain_chat_template(tmp_path):
    from transformers import AutoTokenizer

    base = AutoTokenizer.from_pretrained(STUDENT)
    base.chat_template = None
    base.save_pretrained(tmp_path)
    tokenizer = chat_tokenizer(str(tmp_path), None, None)
    asked = [{"role": "user", "content": "Why?"}]
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": "So."}], tokenize=False)
    assert whole == f"User: Why?\n\nAssistant: So.{base.eos_token}"
    assert (
        tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == "User: Why?\n\nAssistant:"
    )
    own = tmp_path / "own.jinja"
    own.write_text("{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}")
    assert chat_tokenizer(STUDENT, None, own).apply_chat_template(asked, tokenize=False) == "Why?<|im_end|>"
    assert chat_tokenizer(STUDENT, None, None).chat_template != PLAIN.read_text().rstrip("\n")


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"text": "only text"}, [], "the input has no examples"),
        (next(rows(1)), ["--batch", 10, "--device-batch", 4], "--batch 10 is no multiple of --device-batch 4"),
        (next(rows(1)), ["--model", "/no/such/folder"], "no such folder here"),
        (next(rows(1)), ["--dtype", "bf16"], "'bf16' is not one of 'bfloat16'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(tmp_path, row, options, message):
    source = write_jsonl(tmp_path / "in.jsonl", [row])
    said = finetune("--input", source, "--output", tmp_path / "run", "--model", STUDENT, *options, fails=True)
    assert message in said and "Traceback" not in said and not (tmp_path / "run" / "checkpoints").exists()


def test_a_dry_run_shows_what_the_student_reads(trained, tmp_path):
    source, _, _ = trained
    said = finetune("--input", source, "--output", tmp_path / "run", "--model", STUDENT, "--dry-run")
    assert "<|im_start|>assistant" in said and "The two numbers are" in said and "held out" in said
    assert not Path(tmp_path / "run").exists()


def test_a_job_that_is_stopped_goes_on(trained, slurm, tmp_path):
    """slurm/finetune.sbatch, told 120 seconds before its time limit that it will end."""
    source, run, _ = trained
    log, checkpoints = tmp_path / "job.log", tmp_path / "run" / "checkpoints"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**slurm.environment, **ENVIRONMENT, "SLURM_CONF": slurm.environment["SLURM_CONF"], "PATH": path}
    options = ["--input", source, "--output", tmp_path / "run", "--model", STUDENT, *FAST]
    batch = ["sbatch", "--parsable", f"--output={log}", "slurm/finetune.sbatch", *map(str, options)]
    submitted = subprocess.run(batch, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    slurm.wait(lambda: (checkpoints / "checkpoint-5" / "trainer_state.json").exists(), "checkpoint", 120)
    slurm.run("scancel", "--signal=USR1", "--batch", job)
    slurm.wait(lambda: "PENDING" in "".join(slurm.queue(job)), "job in the queue again")
    assert not (tmp_path / "run" / "model").exists()
    time.sleep(3)  # slurmd refuses a job that was killed in the same second
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    slurm.wait(lambda: (tmp_path / "run" / "training.json").exists(), f"student: {log.read_text()}", 180)
    slurm.wait(lambda: not slurm.queue(job), "end of the job")
    name = "model/model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes(), log.read_text()


def test_a_warning_after_the_last_step_is_no_longer_for_the_training(tmp_path):
    """It ends the process at once, so that its job goes back into the queue before the time limit."""
    from transformers import TrainerCallback

    class Warned(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == state.max_steps:
                os.kill(os.getpid(), signal.SIGUSR1)

    settings = Settings(epochs=1, batch=16, device_batch=16)
    trainer, _ = prepared(tmp_path, settings)
    train(trainer, tmp_path / "checkpoints")
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, "for the merge and what follows"
    trainer, _ = prepared(tmp_path / "again", settings)
    trainer.add_callback(Warned())
    with pytest.raises(SystemExit):
        train(trainer, tmp_path / "again" / "checkpoints")
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize("recipe", sorted((ROOT / "pipelines" / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_can_be_used(recipe, trained, tmp_path):
    """What it says is an option, and its batch can be divided; with the bundled model in the place of its own."""
    source, _, _ = trained
    said = finetune(
        "--config", recipe, "--input", source, "--output", tmp_path / "run", "--model", STUDENT, "--dry-run"
    )  # fmt: skip
    assert "held out" in said
