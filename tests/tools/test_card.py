"""The card of finemill-tiny: what it tells of training and evaluation, and of prompts that have changed since."""

import orjson
import pytest

from blocks.shards.folder import RunError
from tools.tiny import card, data
from tools.tiny.data import PAIR_RUBRIC

TRAINED = {
    "seed": 0,
    "documents": 180,
    "set_aside": 20,
    "files": ["documents.jsonl"],
    "parameters": 6_200_000,
    "tokens": 1_000_000,
    "seconds": 600.0,
    "steps": 100,
    "mixture": {"faq": 90, "continue": 10},
    "generated": 0.5,
    "loss": [{"tokens": 1_000_000, "loss": 2.5}],
}


def test_a_changed_prompt_is_found_and_named(tmp_path):
    trained = {"prompts": data.prompt_hashes() | {"faq": "another"}}
    (tmp_path / card.TRAINING).write_bytes(orjson.dumps(trained))
    assert card.changed_prompts(tmp_path) == ["faq"]


def test_the_bundled_model_knows_the_prompts_as_they_are():
    changed = card.changed_prompts(card.BUNDLED)
    assert not changed, f"{', '.join(changed)} changed since finemill-tiny was trained: {card.RETRAIN}, then bundle it"
    assert sum(file.stat().st_size for file in card.BUNDLED.iterdir()) <= 16e6


def test_card_tells_figures_and_hashes(tmp_path):
    with pytest.raises(RunError, match=r"train_tiny\.py train"):
        card.write_card(tmp_path)
    (tmp_path / card.TRAINING).write_bytes(orjson.dumps(TRAINED | {"prompts": data.prompt_hashes()}))
    card.write_card(tmp_path)
    assert "Not evaluated yet" in (tmp_path / "README.md").read_text()

    found = {"stopped": 0.97, "kept": 0.912, "clean": 0.5, "measures": {"numbers": 0.99}}
    judge = {"asked": 20, "stopped": 1.0, "parsable": 0.96, "agrees": 0.7}
    figures = {"documents": 20, "formats": dict.fromkeys(data.FORMATS, found), "judge": judge}
    (tmp_path / card.EVALUATION).write_bytes(orjson.dumps(figures))
    card.write_card(tmp_path)
    written = (tmp_path / "README.md").read_text()
    assert "| faq | 97.0% | 91.2% | 50.0% | 0.99 |  |  |" in written
    assert "FineInstructions" not in written, "figures of an evaluation that had none"
    assert data.prompt_hashes()["judge/format"] in written


@pytest.mark.parametrize(
    ("former", "said"),
    [
        ({}, "the examples of a step stand 8 short"),
        ({"earlier": {"steps": 5041}}, "the examples of a step, from step 5,041 on, stand 8 short"),
        (
            {"earlier": {"steps": 9041, "copies": {"short": 1, "long": 1}, "earlier": {"steps": 5041}}},
            "from step 5,041 on, stand 8 short and 4 long stretches (1 and 1 up to step 9,041) of the documents",
        ),
        (
            {"earlier": {"steps": 9041, "copies": {"short": 8, "long": 4}}},
            "a step stand 8 short and 4 long stretches of",
        ),
    ],
)
def test_card_tells_since_when_copies_stood_beside_the_examples(former, said):
    told = card._copies({"copies": {"short": 8, "long": 4}, **former})
    assert said in " ".join(told.split())
    assert card._copies(former) == ""


def test_card_tells_which_answers_are_a_models_own():
    assert card._practised({"earlier": {"steps": 5041}}) == ""
    practised = {"share": 0.4, "examples": 4321, "hash": "x"}
    later = {**practised, "tasks": ["faq", "math"]}
    told = " ".join(card._practised({"practised": later, "earlier": {"steps": 9041, "practised": practised}}).split())
    assert "from step 0 on, in 40% of the examples, from practice: 4,321" in told
    assert "step 9,041 on, in 40% of the examples of faq, math, from practice: 4,321" in told


def test_card_tells_of_pairs_queries_and_the_earlier_run(tmp_path):
    hashes = data.prompt_hashes()
    earlier = {
        "steps": 5041,
        "tokens": 40_000_507,
        "seconds": 9.0,
        "seed": 0,
        "mixture": {"faq": 100},
        "prompts": {name: digest for name, digest in hashes.items() if name != "templatize"},
    }
    earlier |= {"earlier": {**earlier, "steps": 2041, "tokens": 20_000_000, "mixture": {"math": 100}}}
    queries = {"queries": 3662, "queries_set_aside": 395, "query_files": ["queries.jsonl"]}
    told = TRAINED | {"prompts": hashes, "earlier": earlier} | queries
    (tmp_path / card.TRAINING).write_bytes(orjson.dumps(told))
    judge = {"asked": 20, "stopped": 1.0, "parsable": 0.96, "agrees": 0.7}
    templatize = {"asked": 395, "stopped": 1.0, "valid": 0.931, "same": 0.5, "reasons": {"template_lost_text": 27}}
    instantiate = {"asked": 222, "stopped": 0.98, "null": 0.2, "teacher_null": 0.21, "null_agrees": 0.777}
    instantiate |= {"kept": 0.845, "reasons": {}}
    figures = {
        "documents": 20,
        "formats": {name: {"stopped": 1, "kept": 1, "clean": 1, "measures": {}} for name in data.FORMATS},
        "judge": judge | {PAIR_RUBRIC: judge | {"agrees": 0.444}},
        "instruct": {"templatize": templatize, "instantiate": instantiate},
    }
    (tmp_path / card.EVALUATION).write_bytes(orjson.dumps(figures))
    card.write_card(tmp_path)
    written = (tmp_path / "README.md").read_text()
    for said in (
        "teachers of its time: up to step 2,041 (20.0 million tokens) with seed 0 and the mixture math 100 %; up to",
        "up to step 5,041 (40.0 million tokens) with seed 0 and the mixture faq 100 %, without the prompts templatize.",
        "3,662 real ones",
        "93.1%",
        "84.5%",
        "77.7%",
        "44.4%",
    ):
        assert said in written
    assert "27 `template_lost_text`" in written and "does it again" not in written
