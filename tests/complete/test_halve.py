"""Cuts: where they lie, that nothing is lost, and that they depend on nothing but seed and id."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from blocks.complete.halve import halve
from blocks.generate.errors import Rejected
from blocks.generate.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
TEXTS = [json.loads(line)["text"] for line in (ROOT / "demo" / "documents.jsonl").read_text().splitlines()]
TINY = load_tokenizer(str(ROOT / "demo" / "finemill-tiny"))
UNITS = ("word", "sentence", "token", "character")


@pytest.mark.parametrize("unit", UNITS)
def test_cuts_lie_in_the_middle_half_and_nothing_is_lost(unit):
    cuts = 0
    for number, text in enumerate(TEXTS):
        for seed in range(20):
            try:
                found = halve(text, str(number), seed, unit, TINY)
            except Rejected:
                continue
            cuts += 1
            assert found.prompt + found.rest == text
            assert found.prompt.strip() and found.rest.strip()
            assert 0.25 <= found.fraction <= 0.75
    assert cuts > 400


def test_cuts_are_even_over_what_is_allowed():
    text = " ".join(f"w{n}" for n in range(100))
    cuts = Counter(halve(text, "d", seed).cut for seed in range(20_000))
    assert set(cuts) == set(range(25, 76))
    expected = 20_000 / 51
    assert sum((count - expected) ** 2 / expected for count in cuts.values()) < 87  # chi-square, 50 degrees, 0.1 %


def test_a_cut_depends_on_seed_and_id_alone():
    text = TEXTS[0]
    assert halve(text, "a", 1) == halve(text, "a", 1)
    assert len({halve(text, "a", seed).cut for seed in range(10)}) > 3
    assert len({halve(text, name, 1).cut for name in "abcdefghij"}) > 3


def test_words_sentences_and_characters_stay_whole():
    text = " ".join(["naïve"] * 80)
    for seed in range(50):
        found = halve(text, "d", seed)
        assert found.prompt.endswith("naïve") and found.rest.startswith(" naïve")
    text = "It rains. Why? It does! " * 30
    assert all(halve(text, "d", seed, "sentence").prompt[-1] in ".?!" for seed in range(50))
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    text = f"e\u0301{family}\U0001f1f3\U0001f1f4" * 200
    for seed in range(50):
        found = halve(text, "d", seed, "character")
        assert not found.rest.startswith(("\u0301", "\u200d")) and not found.prompt.endswith("\u200d")
        assert found.prompt.count("\U0001f1f3") == found.prompt.count("\U0001f1f4")


def test_scripts_without_spaces_are_cut_between_their_letters():
    found = halve("今日は雨が降っています。" * 20, "d")
    assert found.units > 200 and 0.25 <= found.fraction <= 0.75


@pytest.mark.parametrize(
    ("text", "unit"), [("", "word"), ("one two three", "word"), ("No end", "sentence"), ("ab", "token")]
)
def test_too_short(text, unit):
    with pytest.raises(Rejected, match="too_short"):
        halve(text, "d", 0, unit, TINY)


def test_what_cannot_be_asked():
    with pytest.raises(ValueError, match="takes a tokenizer"):
        halve(TEXTS[0], "d", 0, "token")
    with pytest.raises(ValueError, match="must lie inside"):
        halve(TEXTS[0], "d", low=0.8, high=0.2)
