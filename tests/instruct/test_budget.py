"""The budget: pairs never have more tokens than their documents, and nothing that could be kept is lost on the way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from datatrove.data import Document

from blocks.generate.tokenizer import CharacterEstimate
from blocks.instruct.budget import Budget, Thresholds
from blocks.shards.folder import RunFolder

COUNTER = CharacterEstimate()


def pair(number, words=10, **fields):
    text = f"Instruction: i{number}\n\nAnswer: {'word ' * words}"
    scores = {"grounding": 0.9, "resemblance": 1.0, "judge_score": 5.0}
    return {"id": f"d/{number}", "text": text, "instruction": "i", "answer": "a", **scores, **fields}


def document(words, pairs):
    return Document("word " * words, "d", metadata={"pairs": pairs})


def budget(**options):
    return Budget(RunFolder("out", Path("state")), Thresholds(), COUNTER, **options)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"grounding": 0.8}, None),
        ({"grounding": 0.79}, "not_grounded"),
        ({"resemblance": 0.5}, "unlike_its_template"),
        ({"judge_score": 4.0}, None),
        ({"judge_score": 3.0}, "judged_badly"),
        ({"judge_score": None}, "judged_badly"),
    ],
)
def test_what_a_pair_has_to_reach(fields, reason):
    assert Thresholds().reason(pair(1, **fields)) == reason


def test_other_thresholds():
    assert Thresholds(min_score=None).reason(pair(1, judge_score=None)) is None
    assert Thresholds(min_grounded=0.95).reason(pair(1)) == "not_grounded"


@pytest.mark.parametrize("seed", range(20))
def test_pairs_never_have_more_tokens_than_the_documents_so_far(seed):
    dice = random.Random(seed)
    step, left, documents, pairs = budget(seed=seed), 0, 0, 0
    for _ in range(200):
        made = [pair(n, dice.randint(1, 120), grounding=dice.uniform(0.6, 1)) for n in range(dice.randint(0, 6))]
        asked = document(dice.randint(1, 200), made)
        tokens = COUNTER.count(asked.text)
        kept, refused, after = step.keep(asked, tokens, left)
        needed = sum(COUNTER.count(one.text) for one in kept)
        documents, pairs = documents + tokens, pairs + needed
        assert pairs <= documents
        assert after == left + tokens - needed >= 0  # what is left over is what rolls over
        assert sorted([*(one.id for one in kept), *(one.id for one in refused)]) == sorted(one["id"] for one in made)
        assert all(one.metadata["tokens"] == COUNTER.count(one.text) for one in kept)
        if not any(one.reason == "over_budget" for one in refused):
            assert len(kept) == sum(one["grounding"] >= 0.8 for one in made)
        left = after
    assert pairs > 0


def test_what_a_document_leaves_over_goes_to_the_next():
    step = budget()
    few, _, left = step.keep(document(500, []), 500, 0)
    assert (few, left) == ([], 500)
    kept, refused, left = step.keep(document(1, [pair(n, 50) for n in range(3)]), 2, left)
    assert (len(kept), refused) == (3, [])
    assert left == 502 - sum(one.metadata["tokens"] for one in kept)


def test_the_choice_is_random_and_repeatable_and_in_the_order_of_the_pairs():
    pairs = [pair(n) for n in range(6)]
    tokens = 3 * COUNTER.count(pairs[0]["text"])
    chosen = [tuple(one.id for one in budget(seed=seed).keep(document(5, pairs), tokens, 0)[0]) for seed in range(40)]
    assert all(len(one) == 3 and list(one) == sorted(one) for one in chosen)
    assert len(set(chosen)) > 10
    assert chosen[7] == tuple(one.id for one in budget(seed=7).keep(document(5, pairs), tokens, 0)[0])
    first = {pair["id"]: sum(pair["id"] in one for one in chosen) for pair in pairs}
    assert min(first.values()) > 5  # none of them is always left out


def test_without_a_budget_all_good_pairs_stay():
    kept, refused, left = budget(limited=False).keep(document(1, [pair(n) for n in range(9)]), 1, 0)
    assert (len(kept), refused, left) == (9, [], 0)


def test_several_tasks_would_lose_the_thread():
    with pytest.raises(ValueError, match="one task"):
        list(budget().run([], 0, 2))
