"""The true second half is always found, another document's never."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from blocks.complete.halve import halve
from blocks.complete.verbatim import overlap

ROOT = Path(__file__).parents[2]
TEXTS = [json.loads(line)["text"] for line in (ROOT / "demo" / "documents.jsonl").read_text().splitlines()]
HALVED = [halve(text, str(number), min_units=40) for number, text in enumerate(TEXTS) if len(text.split()) > 40]


@pytest.mark.parametrize("halved", HALVED)
def test_the_true_half_is_found_in_every_disguise(halved):
    rest = halved.rest
    words = rest.split()
    assert overlap(rest, rest).is_near_verbatim
    assert overlap(rest.upper().replace(",", ""), rest).is_near_verbatim
    assert overlap(" ".join(words[: max(8, len(words) // 3)]), rest).is_near_verbatim  # cut off
    assert overlap(f"Sure, here is how it goes on: {rest} I hope that helps.", rest).is_near_verbatim
    dice = random.Random(1)
    some = [word if dice.random() > 1 / 40 else "other" for word in words]
    if len(some) > 80:
        assert overlap(" ".join(some), rest).is_near_verbatim  # one word in 40 is another one


def test_other_halves_are_not():
    for one in HALVED:
        for other in HALVED:
            if one is not other:
                assert not overlap(one.rest, other.rest).is_near_verbatim


def test_a_quotation_is_none():
    found = overlap(
        "As she said, " + "the tide comes in twice a day here" + " but much else is new in this text" * 3,
        "we know that the tide comes in twice a day here and so on",
    )
    assert found.longest == 8 and not found.is_near_verbatim


def test_scripts_without_spaces():
    held = "この潮だまりには小さな魚や蟹が住んでいて、潮が引くたびに岩の間に取り残される。"
    assert overlap(f"続きを書きます。{held[:30]}", held).is_near_verbatim
    assert not overlap("山の上では風が強く、雪は夏まで残ることがあるので登山者は注意が必要だ。", held).is_near_verbatim


def test_nothing_is_nothing():
    assert overlap("", "a b c") == overlap("a b", "") == (0, 0.0, 0.0)
