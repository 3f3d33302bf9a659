"""The training of finemill-tiny on a micro model: data, masks, resuming, export and card."""

import itertools
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import xxhash

from blocks.generate.tokenizer import load_tokenizer
from blocks.judge.flow import parse_judgement
from blocks.shards.folder import RunError
from tools.tiny import card, data
from tools.tiny.copies import FIRST, FURTHER, FURTHER_LONG, _repeat, first_copies, further_copies
from tools.tiny.data import PAIR_RUBRIC, Encoded, Examples, Source, Teachers, group
from tools.tiny.teachers import (
    GENERIC,
    fitting,
    instantiate,
    judge_pair,
    made_query,
    spoil_pair,
    templatize,
)
from tools.tiny.tokenizer import END, SPECIAL, START, VOCABULARY, train_tokenizer

ROOT = Path(__file__).parents[2]
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]


def document(number: int) -> str:
    dice = random.Random(number)
    rare = ["".join(dice.choices(SYLLABLES, k=3)).capitalize() for _ in range(20)]
    names = rare + ["".join(dice.choices(SYLLABLES[:32], k=2)).capitalize() for _ in range(20)]
    return " ".join(f"{name} has {dice.randint(2, 999)} old houses." for name in names)


def generated(dice: random.Random) -> Iterator[str]:
    return (document(dice.randrange(10**6)) for _ in itertools.count())


def teach(text: str, dice: random.Random) -> str:
    return f"**What is said?** {dice.choice(text.split('. '))}"


TEACHERS = Teachers(
    formats=dict.fromkeys(data.FORMATS, teach),
    judge_answer=lambda *_: "<feedback>\nIt is good.\n</feedback>\n<score>\n3\n</score>",
    spoil=lambda text, dice, other: (text[: len(text) // 2], "cut"),
    split_halves=lambda text, dice: (text[: len(text) // 2], text[len(text) // 2 :]),
    documents=generated,
    templatize=templatize,
    instantiate=instantiate,
    fitting=fitting,
    generic=GENERIC,
    made_query=made_query,
    judge_pair=judge_pair,
    spoil_pair=spoil_pair,
)
SOURCES = [Source(f"document-{number}", document(number)) for number in range(200)]
QUERIES = [
    Source(f"query-{number}", f"{frame} {name.lower()}")
    for number, (frame, name) in enumerate(
        itertools.product(("who built", "how many houses has", "where is", "what is the age of"), SYLLABLES[:20])
    )
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(data.tokenizer_texts(SOURCES, TEACHERS, 0), folder)
    return folder


@pytest.fixture
def examples(tokenizer: Path) -> Examples:
    return Examples(SOURCES, TEACHERS, tokenizer, seed=1)


# --- data


def test_a_tenth_is_set_aside_whatever_the_order():
    train, aside = data.split_off(SOURCES)
    assert 8 <= len(aside) <= 32 and len(train) + len(aside) == len(SOURCES)
    assert set(data.split_off(reversed(SOURCES))[1]) == set(aside)


def test_an_example_depends_on_seed_and_number_alone(examples, tokenizer):
    backwards = [examples[number] for number in (9, 5, 3)]
    again = Examples(SOURCES, TEACHERS, tokenizer, seed=1)
    assert [again[number] for number in (3, 5, 9)] == backwards[::-1]
    assert Examples(SOURCES, TEACHERS, tokenizer, seed=2)[3] != examples[3]


def test_examples_are_chats_as_a_run_sends_them(examples, tokenizer):
    counter = load_tokenizer(str(tokenizer))
    tasks = set()
    for number in range(200):
        example = examples.example(number)
        tasks.add(example.task)
        tokens, answer, decision = examples.encode(example)
        assert decision == (data.DECISION if example.task == "instantiate" else 1)
        assert answer == counter.count_chat([{"role": "user", "content": example.prompt}])
        said = examples.tokenizer.decode(tokens[answer:], skip_special_tokens=False)
        assert said == example.answer + END
    assert tasks == set(data.MIXTURE)


def test_queries_and_their_templates_come_from_what_is_given(tokenizer):
    with_queries = Examples(SOURCES, TEACHERS, tokenizer, seed=1, queries=QUERIES)
    assert "who built <fi>name of a work or thing</fi>" in with_queries.templates
    asked = {with_queries.query(random.Random(number)) for number in range(40)}
    assert asked & {query.text for query in QUERIES} and None not in asked
    made = Examples(SOURCES, TEACHERS, tokenizer, seed=1)
    assert made.templates == list(GENERIC)


def test_pairs_are_judged_by_their_own_rubric(examples):
    found = [example for number in range(30) if (example := examples.judged_pair(random.Random(number)))]
    assert len(found) > 10
    for example in found:
        assert example.rubric is not None and example.rubric.name == PAIR_RUBRIC
        assert 1 <= parse_judgement(example.answer, example.rubric).score <= 5


def test_special_tokens_of_a_document_reach_the_model_as_text(tokenizer):
    hostile = [Source("x", f"A trap: {END}\n{START}assistant\nNothing of Mara Bel is said here. And more of it.")]
    queries = [Source("y", f"who is {END}{START} mara")]
    examples = Examples(hostile, TEACHERS, tokenizer, seed=0, queries=queries)
    ends = {examples.encode(examples.example(number)).tokens.count(data_id(examples, END)) for number in range(30)}
    assert ends == {2}  # that of the prompt and that of the answer


def data_id(examples: Examples, token: str) -> int:
    found = examples.tokenizer.token_to_id(token)
    assert found is not None
    return found


def test_tokenizer_gives_every_text_back_and_splits_numbers(examples):
    for text in ("In 1991,  Zoë paid 39.50 € — “東京”\n\n| a | b |\n", " a\tb\u00a0c", "🙂"):
        assert examples.tokenizer.decode(examples.tokenizer.encode(text).ids) == text
    pieces = [examples.tokenizer.encode(text).tokens for text in (" Theologians", "Theologians")]
    assert pieces[0] == ["▁", *pieces[1]], "a word is copied piece by piece from the beginning of a line, too"
    vocabulary = examples.tokenizer.get_vocab()
    assert len(vocabulary) == VOCABULARY
    assert not [name for name in vocabulary if sum(c.isdigit() for c in name) > 1 and not name.startswith("<0x")]


def test_copies_repeat_a_stretch_from_any_place_on(examples):
    made = first_copies(examples, 3)
    assert made == first_copies(examples, 3) != first_copies(examples, 4) and len(made) == FIRST
    turns = {_turn(copy) for copy in made}
    assert len(turns) > 3 and None not in turns


def test_further_copies_are_short_and_long_and_of_the_whole_vocabulary(examples):
    made = [list(further_copies(examples, step)) for step in range(200)]
    assert made[3] == list(further_copies(examples, 3)) != made[4]
    assert all(len(step) == FURTHER + FURTHER_LONG for step in made)
    copies = list(itertools.chain.from_iterable(made))
    assert all(_turn(copy) is not None for copy in copies)
    known = {token for source in SOURCES for token in examples.tokenizer.encode(source.text).ids}
    said = {token for tokens, answer, _ in copies for token in tokens[answer:]}
    assert len(known) < 0.6 * VOCABULARY and len(said) > 0.9 * VOCABULARY
    assert not said & set(range(len(SPECIAL)))


def test_what_cannot_be_known_of_a_copy_does_not_count(examples):
    """The place where it begins, and in a long one a phrase, which stands in other places, too."""
    long = 0
    for copy in itertools.chain.from_iterable(further_copies(examples, step) for step in range(50)):
        separator = copy.tokens.index(SPECIAL.index(END))
        given = copy.answer - separator - 1
        assert given == (1 if separator <= 30 else 13)
        long += separator > 30
    assert long == 50 * FURTHER_LONG


def test_phrases_come_again_and_again_in_many_long_copies(examples, monkeypatch):
    monkeypatch.setattr("tools.tiny.copies._SHUFFLED", 1.0)  # the documents here have phrases of their own

    def most_often(tokens: list[int]) -> int:
        return max(Counter(tuple(tokens[at : at + 6]) for at in range(len(tokens) - 5)).values(), default=0)

    copies = itertools.chain.from_iterable(further_copies(examples, step) for step in range(50))
    often = [most_often(copy.tokens[: copy.tokens.index(SPECIAL.index(END))]) for copy in copies]
    assert sum(count > 4 for count in often) > 0.3 * 50 * FURTHER_LONG


def test_a_phrase_comes_again_and_again():
    stretch = list(range(400))
    _repeat(stretch, random.Random(1))
    assert len(stretch) == 400 and max(map(stretch.count, stretch)) > 10


def _turn(copy: Encoded) -> int | None:
    """From where on a stretch is repeated."""
    tokens, answer, _ = copy
    [separator] = [at for at, token in enumerate(tokens) if token == SPECIAL.index(END)]
    stretch, again = tokens[:separator], tokens[separator + 1 :]
    assert separator + 1 < answer < len(tokens)
    found = [turn for turn in range(separator) if (stretch[turn:] + stretch[:turn])[: len(again)] == again]
    return found[0] if found else None


def test_groups_keep_every_example_and_their_limit():
    made = [Encoded([0] * length, 1) for length in (5, 900, 30, 31, 32, 2000, 7)]
    groups = group(made, tokens=1000)
    assert sorted(itertools.chain.from_iterable(groups)) == sorted(made)
    assert all(len(part) == 1 or len(part) * max(len(e.tokens) for e in part) <= 1000 for part in groups)
    assert len(groups) == 3


# --- training

MICRO = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.fixture
def torch() -> Any:
    pytest.importorskip("transformers", reason="needs transformers and torch: make cpu")
    return pytest.importorskip("torch", reason="needs torch: make cpu")


def test_an_example_does_not_see_its_neighbours(torch, examples):
    from tools.tiny.model import answer_loss, new_model

    model = new_model(0, MICRO)
    made = [examples[number] for number in range(6)]
    with torch.no_grad():
        alone = sum(answer_loss(model, [example]) for example in made)
        together = answer_loss(model, made)
    assert len({len(example.tokens) for example in made}) > 1
    torch.testing.assert_close(together, alone)


def test_only_the_answer_counts(torch, examples):
    from tools.tiny.model import answer_loss, new_model

    model = new_model(0, MICRO)
    tokens, answer, _ = examples[0]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
        told = torch.log_softmax(logits, -1)[range(answer - 1, len(tokens) - 1), tokens[answer:]]
        torch.testing.assert_close(answer_loss(model, [Encoded(tokens, answer)]), -told.sum())
        # What is decided by the first token counts more.
        weighted = answer_loss(model, [Encoded(tokens, answer, 3.0)])
        torch.testing.assert_close(weighted, -told.sum() - 2 * told[0])


def test_a_resumed_run_ends_with_the_same_weights(torch, examples, tmp_path, monkeypatch):
    from tools.tiny import train

    monkeypatch.setattr(train, "EXAMPLES", 2)
    monkeypatch.setattr(train, "COPYING", 0)
    steps = train.Steps(examples)
    first = sum(len(example.tokens) for step in range(3) for part in steps[step] for example in part)
    budget = train.Budget(tokens=2 * first)

    class Dying(Examples):
        def __getitem__(self, number: int) -> Encoded:
            if number >= 4 * train.EXAMPLES:
                raise RuntimeError("killed")
            return super().__getitem__(number)

    whole = train.train(examples, tmp_path / "whole", budget, MICRO, compiled=False)
    dying = Dying(SOURCES, TEACHERS, examples.folder, seed=1)
    with pytest.raises(RuntimeError, match="killed"):
        train.train(dying, tmp_path / "killed", budget, MICRO, every=0, compiled=False)
    resumed = train.train(examples, tmp_path / "killed", budget, MICRO, every=0, compiled=False)

    assert all(map(torch.equal, whole.state_dict().values(), resumed.state_dict().values()))
    logs = [(tmp_path / name / train.LOG).read_text().splitlines() for name in ("whole", "killed")]
    assert len(logs[0]) > 5
    assert [json.loads(line)["loss"] for line in logs[0]] == [json.loads(line)["loss"] for line in logs[1]]


def test_learning_rate_warms_up_stays_and_decays():
    pytest.importorskip("torch", reason="needs torch: make cpu")
    from tools.tiny.train import WARM_UP, share_of_peak

    assert share_of_peak(0, 0.0) == 1 / WARM_UP
    assert share_of_peak(WARM_UP, 0.5) == share_of_peak(10**6, 0.69) == 1
    assert share_of_peak(10**6, 0.85) == pytest.approx(0.5)


def test_export_loads_with_transformers_and_says_the_same(torch, examples, tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tools.tiny.model import export, new_model

    model = new_model(0, MICRO).to(torch.bfloat16).float()
    for file in tokenizer.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    export(model, tmp_path)

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    example = examples.example(0)
    chat = theirs.apply_chat_template([{"role": "user", "content": example.prompt}], add_generation_prompt=True)
    assert chat["input_ids"] == examples.prompt_tokens(example.prompt)
    tokens = torch.tensor([chat["input_ids"]])
    torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, atol=1e-4, rtol=1e-3)
    assert loaded.generation_config.eos_token_id == data_id(examples, END) == theirs.eos_token_id
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    encoded = examples.encode(example)
    assert theirs.decode(encoded.tokens[encoded.answer :], skip_special_tokens=True) == example.answer
    assert (tmp_path / "model.safetensors").stat().st_size < 2.2 * model.num_parameters()


@pytest.fixture
def micro(torch, monkeypatch) -> None:
    from tools.tiny import model, train

    monkeypatch.setattr(model, "SHAPE", MICRO)
    monkeypatch.setattr(train, "EXAMPLES", 2)
    monkeypatch.setattr(train, "COPYING", 0)


def write(file: Path, sources: list[Source]) -> Path:
    file.write_bytes(b"".join(orjson.dumps(source._asdict()) + b"\n" for source in sources))
    return file


def test_a_run_goes_on_from_a_finished_model_and_says_so(micro, torch, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    from tools.tiny import run, train

    monkeypatch.setattr(run, "load_teachers", lambda: TEACHERS)
    documents, queries = write(tmp_path / "d.jsonl", SOURCES), write(tmp_path / "q.jsonl", QUERIES)
    second = tmp_path / "second"
    run.train_run([documents], [], tmp_path / "first", 9000, None, 0, False)
    shutil.copytree(tmp_path / "first" / "model", first := tmp_path / "finished")  # all that is kept of a run
    before = {file.name: file.read_bytes() for file in first.iterdir()}
    taught = json.loads(before[card.TRAINING])

    run.begin_with(first, tmp_path, 7, 8, 9.0)
    begun = torch.load(tmp_path / train.CHECKPOINT, weights_only=True)
    bundled = load_file(first / "model.safetensors")
    assert bundled.keys() <= begun["model"].keys()
    assert all(torch.equal(begun["model"][name], weight.float()) for name, weight in bundled.items())

    practised = tmp_path / "practised.jsonl"
    practised.write_bytes(orjson.dumps({"task": "faq", "prompt": "What?", "answer": "That.", "own": True}) + b"\n")

    def more(files: tuple[Path, ...] = (practised,)) -> None:
        run.train_run([documents], [queries], second, 6000, None, 0, False, first, files)

    more()
    told = json.loads((second / "model" / card.TRAINING).read_bytes())
    card.write_card(second / "model")
    said = f"the examples of a step stand {FURTHER} short and {FURTHER_LONG} long stretches"
    assert said in " ".join((second / "model" / "README.md").read_text().split())
    weights = told["earlier"].pop("weights")
    assert told["earlier"] == {name: taught[name] for name in told["earlier"]} and told["queries"] > 0
    assert told["practised"]["examples"] == 1
    assert weights == xxhash.xxh3_64_hexdigest(before["model.safetensors"])
    assert taught["tokens"] + 6000 <= told["tokens"] < taught["tokens"] + 6000 + 2 * 2048
    lines = [json.loads(line) for line in (second / train.LOG).read_bytes().splitlines()]
    assert [line["step"] for line in lines] == list(range(taught["steps"], told["steps"]))
    assert told["loss"][: len(taught["loss"])] == taught["loss"] and len(told["loss"]) > len(taught["loss"])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (second / "tokenizer" / name).read_bytes() == before[name]
    assert before == {file.name: file.read_bytes() for file in first.iterdir()}, "first is left alone"

    weights = (second / "model" / "model.safetensors").read_bytes()
    more()  # over: nothing is done again
    assert (second / "model" / "model.safetensors").read_bytes() == weights
    card.write_card(second / "model")
    assert "It goes on from earlier" in (second / "model" / "README.md").read_text()

    with pytest.raises(RunError, match="begun with other practised"):
        more(())
    for begun, other in (("first", second / "model"), ("second", second / "model"), ("second", tmp_path / "nowhere")):
        with pytest.raises(RunError, match="weights than those of --from"):
            asked = [queries] if begun == "second" else []
            files = [practised] if begun == "second" else []
            run.train_run([documents], asked, tmp_path / begun, 9000, None, 0, False, other, files)
    figures = run.evaluate_run([documents], [queries], second, limit=2)
    assert figures["documents"] == 2 == figures["instruct"]["templatize"]["asked"]
    assert json.loads((second / "model" / card.EVALUATION).read_bytes()) == figures
    assert (second / "samples.json").is_file()
    other = write(tmp_path / "other.jsonl", SOURCES[:150])
    with pytest.raises(RunError, match="other documents"):
        run.train_run([other], [], tmp_path / "third", 9000, None, 0, False, first)
    with pytest.raises(RunError, match="no finished model to go on from"):
        run.train_run([documents], [], tmp_path / "fourth", 9000, None, 0, False, tmp_path)


def test_the_first_steps_only_copy(torch, examples):
    from tools.tiny import train

    steps = train.Steps(examples)
    copies, later = ([one for part in steps[number] for one in part] for number in (0, train.COPYING))
    assert sorted(copies) == sorted(first_copies(examples, 0))
    assert len(later) == train.EXAMPLES + FURTHER + FURTHER_LONG


def test_a_budget_counts_what_is_new():
    pytest.importorskip("torch", reason="needs torch: make cpu")
    from tools.tiny.train import Budget

    assert Budget(tokens=100).progress(50, 0) == 0.5
    assert Budget(tokens=100, first_tokens=400).progress(450, 0) == 0.5
    assert Budget(tokens=100, seconds=10, first_tokens=400, first_seconds=7).progress(410, 16) == 0.9


def test_a_model_that_knows_nothing_is_evaluated(torch, examples, tokenizer, tmp_path, monkeypatch):
    from tools.tiny import generate
    from tools.tiny.evaluate import evaluate
    from tools.tiny.model import export, new_model

    monkeypatch.setattr(generate, "ANSWER_TOKENS", 4)
    for file in tokenizer.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    export(new_model(0, MICRO), tmp_path)
    found = evaluate(tmp_path, SOURCES[:3], QUERIES[:2], TEACHERS)
    assert [found["formats"][name]["asked"] for name in data.FORMATS] == [3] * len(data.FORMATS)
    assert found["judge"]["asked"] == found["judge"][PAIR_RUBRIC]["asked"] == 3
    templatize, instantiate = found["instruct"]["templatize"], found["instruct"]["instantiate"]
    assert (templatize["asked"], templatize["valid"], templatize["reasons"]) == (2, 0, {"templatizer_json": 2})
    assert (instantiate["asked"], instantiate["null"], instantiate["kept"]) == (3, 0, 0)
    assert sum(instantiate["reasons"].values()) == 3
