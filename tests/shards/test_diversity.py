"""Diversity: exact values of small shards, what adds up over shards, what raises an alarm, and strings from hell."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tracemalloc
from itertools import permutations

import orjson
import pytest

from blocks.shards.alarms import diversity_alarms
from blocks.shards.diversity import BEGINNING, LOOKED_AT, LOOKED_INTO, POOL, Diversity, FormatDiversity

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "ai") for c in "bdfgklmnprst"]


def prose(seed: int | str, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def shard(texts) -> dict:
    diversity = Diversity()
    for text in texts:
        diversity.add(text)
    return diversity.as_dict()


def merged(*shards: dict) -> dict:
    total = FormatDiversity()
    for i, found in enumerate(shards):
        total.add(f"shards/faq/{i}", found)
    return total.as_dict()


def of(texts) -> dict:
    return merged(shard(texts))


def measures(found: dict) -> list[str]:
    return [alarm["measure"] for alarm in diversity_alarms("faq", found)]


def test_values_computed_by_hand():
    found = shard(["The cat sat on mats.", "The cat sat on hats.", "| A dog\n"])
    assert found["samples"] == found["looked_at"] == 3
    assert found["openings"] == {"distinct": 2, "top": [["The cat sa", 2], ["| A dog\n", 1]]}
    assert found["beginnings"]["distinct"] == 3
    assert found["leading_word_bits"] == 0.918  # 2/3 "the", 1/3 "a"
    assert found["words"] == {"total": 13, "min": 3, "max": 5, "sizes": {"2": 1, "4": 2}}
    # the cat sat on mats | the cat sat on hats | a dog
    assert found["distinct_n"] == {"words": 12, "1": [8, 12], "2": [6, 9], "3": [4, 6]}
    assert found["near_duplicates"] == 0


def test_an_empty_shard_and_empty_samples():
    assert shard([])["words"] == {"total": 0, "min": 0, "max": 0, "sizes": {}}
    assert merged(shard([]))["samples"] == 0 and diversity_alarms("faq", merged(shard([]))) == []
    found = shard(["", " \n"])
    assert found["words"] == {"total": 0, "min": 0, "max": 0, "sizes": {"0": 2}}
    assert (found["leading_word_bits"], found["near_duplicates"]) == (0, 0)


@pytest.mark.parametrize(
    ("copy", "found"),
    [
        (lambda text: text, 40),
        (lambda text: text.upper().replace(" ", ",\n"), 40),  # case, punctuation and line breaks do not count
        (lambda text: text.replace("7 of 12", "305 of 1,248.50"), 40),  # nor do numbers
        (lambda text: " ".join([*text.split()[:60], "turnip", *text.split()[61:]]), 40),
        (lambda text: " ".join([*text.split()[:30], *prose(text, 90).split()]), 0),  # only a quarter is kept
    ],
)
def test_near_duplicates_are_counted_against_earlier_samples(copy, found):
    originals = [f"7 of 12 {prose(seed)}" for seed in range(40)]
    assert shard(originals)["near_duplicates"] == 0
    assert shard([*originals, *map(copy, originals)])["near_duplicates"] == found


def test_samples_shorter_than_a_shingle_and_texts_without_spaces_can_repeat():
    assert shard(["Yes, sir.", "No.", "yes sir"])["near_duplicates"] == 1
    lines = ["水车磨坊慢慢地磨着谷物一粒也不丢失", "昨天晚上我们在河边看见了三只白色的鸟"]
    assert shard([lines[0], lines[1], lines[0] + "。"])["near_duplicates"] == 1
    assert shard(lines)["distinct_n"]["words"] == sum(map(len, lines))


def test_the_dear_measures_are_bounded_and_the_others_see_every_sample():
    texts = [prose(seed, 110) for seed in range(LOOKED_AT)]
    found = shard([*texts, *texts])
    assert (found["samples"], found["looked_at"], found["near_duplicates"]) == (2 * LOOKED_AT, LOOKED_AT, 0)
    assert found["words"]["total"] == 2 * 110 * LOOKED_AT
    assert found["openings"]["top"][0][1] % 2 == 0
    assert found["distinct_n"]["words"] == found["distinct_n"]["1"][1] == POOL
    assert shard(["mill " * LOOKED_INTO])["distinct_n"]["words"] == LOOKED_INTO / len("mill ")
    pool = [word for text in texts for word in text.split()][:POOL]
    assert found["distinct_n"]["1"][0] == len(set(pool))


def test_what_adds_up_over_shards_is_exact():
    first = [f"**Problem:** {prose(seed)}" for seed in range(150)]
    second = [prose(seed, 80) for seed in range(200, 399)] + [prose(200, 80)]
    small = ["**Problem:** 1"] * 50
    shards = [shard(first), shard(second), shard(small)]
    found = merged(*shards)
    assert (found["shards"], found["compared_shards"], found["samples"]) == (3, 2, 400)
    assert found["words"]["sizes"] == {"2": 50, "64": 350}
    assert found["words"]["mean"] == round((150 * 121 + 200 * 80 + 100) / 400, 1)
    assert (found["words"]["min"], found["words"]["max"]) == (2, 121)
    assert found["openings"]["top"][0] == {"text": "**Problem:", "count": 200, "share": round(200 / 400, 4)}
    assert found["near_duplicates"]["looked_at"] == 400
    assert found["near_duplicates"]["rate"] == round((1 + 49) / 400, 4)
    # The small shard, the worst one by far, is not compared.
    assert found["openings"]["per_1000_samples"]["min"] == round(1000 / 150, 3)
    assert found["openings"]["per_1000_samples"]["shard"] == "shards/faq/0"
    assert found["openings"]["top_share"] == {"max": 1.0, "shard": "shards/faq/0"}
    assert found["leading_word"]["bits"]["min"] == found["leading_word"]["evenness"]["min"] == 0
    assert found["near_duplicates"]["shard"] == "shards/faq/1"
    assert found["distinct_n"]["shards"] == 2  # 50 samples of 2 words do not fill the pool
    assert merged(shards[2])["distinct_n"] is None


def test_ratios_of_one_shard_are_its_own():
    one = shard(prose(seed, 200) for seed in range(128))
    found = merged(one)
    assert found["distinct_n"]["shards"] == 1
    assert found["distinct_n"]["2"] == round(one["distinct_n"]["2"][0] / one["distinct_n"]["2"][1], 4)
    assert found["leading_word"]["bits"]["mean"] == one["leading_word_bits"]
    assert found["leading_word"]["evenness"]["mean"] == round(one["leading_word_bits"] / 7, 3)  # of log2(128) bits


def test_the_order_of_shards_does_not_matter():
    shards = [shard(f"{prose(s % 7, 1)} {prose(s, 300)}" for s in range(i, i + 100 + i)) for i in range(4)]
    results = []
    for order in permutations(range(4)):
        total = FormatDiversity()
        for i in order:
            total.add(str(i), shards[i])
        results.append(orjson.dumps(total.as_dict()))
    assert len(set(results)) == 1


def test_many_shards_with_openings_of_their_own_take_little_memory():
    found = shard(["**Problem: how many?"] * 100)
    total = FormatDiversity()
    tracemalloc.start()
    for i in range(30_000):
        found["openings"]["top"] = [["**Problem:", 60], *([f"{i}/{k}", 1] for k in range(4))]
        total.add(str(i), found)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 5_000_000
    assert total.as_dict()["openings"]["top"][0] == {"text": "**Problem:", "count": 30_000 * 60, "share": 0.6}


def test_prose_raises_no_alarm_and_neither_do_labels_that_change():
    assert measures(of(prose(seed) for seed in range(300))) == []
    heads = ("# FAQ\n\n**Q1: ", "**Q1: ", "### Frequently Asked Questions\n\n1. ", "| Tower | Built |\n|---|---|\n| ")
    assert measures(of(heads[seed % 4] + prose(seed) for seed in range(300))) == []


def test_a_label_is_told_from_a_template():
    for label in ("**Problem:** ", "Problem: ", "| Name |"):
        assert diversity_alarms("faq", of((label if seed % 4 else "") + prose(seed) for seed in range(400))) == []
    (alarm,) = diversity_alarms(
        "faq", of(("In this tutorial, " if seed % 4 else "") + prose(seed) for seed in range(400))
    )
    assert (alarm["measure"], alarm["value"], alarm["limit"]) == ("openings", 0.75, 0.5)
    assert "75%" in alarm["text"] and "'In this tu'" in alarm["text"]
    sentence = "**Problem:** A farmer has some apples, and gives a third of them to each of his three neighbours. "
    template = [(sentence if seed % 4 else "") + prose(seed) for seed in range(400)]
    (alarm,) = diversity_alarms("faq", of(template))
    assert (alarm["measure"], alarm["value"]) == ("beginnings", 0.75)
    assert sentence[:BEGINNING] in alarm["text"]


def test_near_copies_raise_an_alarm():
    copies = [prose(seed - seed % 5 if seed % 5 == 1 else seed) + f" the end {seed}" for seed in range(400)]
    (alarm,) = diversity_alarms("faq", of(copies))
    assert (alarm["measure"], alarm["value"]) == ("near_duplicates", 0.2)
    assert "shards/faq/0" in alarm["text"]
    # None of these shards is large enough to be the worst.
    small = merged(*(shard(prose(seed % 20) for seed in range(first, first + 50)) for first in (0, 50, 100)))
    assert any(alarm["measure"] == "near_duplicates" for alarm in diversity_alarms("faq", small))
    assert not any("worst shard" in alarm["text"] for alarm in diversity_alarms("faq", small))


def test_a_few_samples_raise_no_alarm():
    assert diversity_alarms("faq", of(["**Problem:** the same again"] * 99)) == []
    assert measures(of(["**Problem:** the same again"] * 100)) == ["beginnings", "near_duplicates"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0" * 200,
        "\ud800 lone \udfff surrogates",
        "\ud800" * 200,
        "x" * 1_000_000,
        "| " * 500_000,
        "\n" * 1_000_000,
        "1" * 1_000_000,
        "1.1" * 300_000,
        "漢" * 300_000,
        "İ" * 1000,
        "e\u0301" * 1000,
        "\u2028\u3000\x85\xa0",
        "👩‍👩‍👧" * 100,
        "".join(map(chr, range(0x3000))),
    ],
)
def test_any_string_is_measured_and_goes_into_json(text):
    found = shard([text, "a plain text", text])
    assert found["samples"] == 3
    record = orjson.dumps(found)
    assert len(record) < 3000
    total = merged(*[orjson.loads(record)] * 40)
    assert orjson.loads(orjson.dumps(total))["samples"] == 120
    orjson.dumps(diversity_alarms("faq", total))


def test_hash_randomisation_changes_nothing():
    program = (
        "from tests.shards.test_diversity import merged, prose, shard\n"
        "print(merged(shard(prose(s - s % 5 if s % 5 == 1 else s) for s in range(200))))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] and b"near_duplicates" in outputs[0]
