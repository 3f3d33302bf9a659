"""Which templates are drawn: weights, preferences, and the draw itself."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from blocks.instruct.choose import Match, choose, parse_preferences, template_weights
from blocks.shards.folder import RunError


def bank(complexity, source, topic=None):
    columns = {
        "complexity": np.array(complexity),
        "template_source": np.array(source, object),
        "topic": np.array(topic or [0] * len(complexity)),
    }
    return SimpleNamespace(
        column=lambda name: columns[name],
        told={"complexities": {name: {} for name in source}},
        topics=[{}] * (1 + max(columns["topic"])),
    )


def test_complexities_that_are_drawn_are_those_of_real_users():
    dice = np.random.default_rng(0)
    real = dice.choice([1, 2, 5], 2000, p=[0.5, 0.3, 0.2])
    other = dice.choice([1, 2, 5, 14], 8000, p=[0.9, 0.05, 0.03, 0.02])
    there = bank([*real, *other], ["lmsys-chat-1m"] * 2000 + ["gooaq"] * 8000)
    weights = template_weights(there, parse_preferences({}))
    drawn = Counter()
    for number in range(400):
        found = [[Match(int(place), k, 0.5) for place in dice.integers(0, 10_000, 40)] for k in range(6)]
        drawn.update(int(there.column("complexity")[match.place]) for match in choose(found, weights, 6, str(number)))
    total = drawn.total()
    assert total == 2400
    assert 14 not in drawn  # no real user asks so
    for complexity, share in ((1, 0.5), (2, 0.3), (5, 0.2)):
        assert abs(drawn[complexity] / total - share) < 0.05


def test_without_real_users_all_weigh_the_same():
    assert template_weights(bank([1, 2, 3], ["a", "a", "b"]), parse_preferences({})).tolist() == [1, 1, 1]


def test_preferences():
    there = bank([1, 2, 3, 12], ["a", "b", "b", "c"], [0, 1, 1, 2])

    def weights(**told):
        return template_weights(there, parse_preferences(told)).tolist()

    assert weights(source=["b"]) == [0, 1, 1, 0]
    assert weights(topic={"1": 5, "others": 0.5}) == [0.5, 5, 5, 0.5]
    assert weights(complexity=[1, 10]) == [1, 0, 0, 1]
    assert weights(source={"a": 2}, complexity={"3": 0}) == [2, 1, 0, 1]
    assert weights(real=["a"]) == [4, 0, 0, 0]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"sources": ["b"]}, "'sources' is none of"),
        ({"source": "b"}, "'source' is none of"),
        ({"source": ["nowhere"]}, "has no source nowhere; it has 'a', 'b'"),
        ({"topic": [7]}, "has no topic 7; it has 0, 1"),
        ({"topic": ["sports"]}, "topic: invalid literal"),
        ({"source": {"a": -1}}, "0 or more"),
        ({"source": {"a": "much"}}, "could not convert"),
        ({"complexity": [7]}, "leaves no template"),
        ({"complexity": {"12": 100}}, "complexity 12: .* 10 stands for 10 and more"),
        ({"complexity": [0]}, "complexity 0"),
        ({"real": []}, "real is empty"),
        ({"real": ["x"]}, "has no source x"),
    ],
)
def test_preferences_that_mean_nothing(told, said):
    with pytest.raises(RunError, match=said):
        template_weights(bank([1, 2], ["a", "b"], [0, 1]), parse_preferences(told))


def test_each_embedding_draws_one_before_all_draw_more():
    weights = np.ones(100)
    found = [[Match(10 * k + n, k, 0.9 - n / 100) for n in range(10)] for k in range(6)]
    drawn = choose(found, weights, 6, "lot")
    assert [match.chunk for match in drawn] == [0, 1, 2, 3, 4, 5]
    assert choose(found, weights, 6, "lot") == drawn
    assert choose(found, weights, 6, "another") != drawn
    assert len({match.chunk for match in choose(found, weights, 3, "lot")}) == 3
    assert len(choose(found, weights, 30, "lot")) == 30


def test_a_template_is_drawn_once_and_others_fill_up():
    found = [[Match(1, k, 0.5 + k / 10)] for k in range(5)] + [[Match(n, 5, 0.3) for n in range(2, 9)]]
    drawn = choose(found, np.ones(10), 6, "lot")
    assert len({match.place for match in drawn}) == len(drawn) == 6
    assert choose([[], []], np.ones(3), 6, "lot") == []


def test_what_weighs_nothing_is_never_drawn():
    weights = np.array([0.0, 1, 0])
    assert [match.place for match in choose([[Match(n, 0, 0.9) for n in range(3)]], weights, 6, "lot")] == [1]
