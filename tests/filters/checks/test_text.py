import random

import pytest

from blocks.filters.checks.text import length, markup, repetition, words
from tests.conftest import cpu_limit

FAQ = """# Frequently asked questions

**Q: What is a sourdough starter?**
A: It is a mixture of flour and water in which wild yeast and bacteria live. It makes bread rise without bought yeast.

**Q: What is the role of salt?**
A: Salt slows the yeast down and strengthens the dough, so that it keeps its shape in the oven.

**Q: What is the role of steam?**
A: Steam keeps the crust soft during the first minutes, which lets the loaf grow before it browns.

**Q: How long does the dough rest?**
A: It rests four hours in a warm kitchen and up to twelve hours in the fridge.
"""

TABLE = "| Month | Open | Guide | Shop |\n|---|---|---|---|\n" + "".join(
    f"| {month} | yes | no | yes |\n" for month in ("May", "June", "July", "August", "September", "October")
)


def sentence(seed: int, count: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = random.Random(seed)
    return " ".join("".join(made.choices(letters, k=made.randint(3, 8))) for _ in range(count))


def measured(text: str) -> float:
    value = repetition(text)[0].value
    assert value is not None
    return value


def test_words_of_spaced_and_unspaced_scripts() -> None:
    assert words("Don't stop, it’s 5 km!") == ["Don", "t", "stop", "it", "s", "5", "km"]
    assert words("A, b.") == ["A", "b"]
    assert words("茶馆 tea") == ["茶", "馆", "tea"]


@pytest.mark.parametrize(("count", "passed"), [(0, False), (19, False), (20, True), (4000, True), (4001, False)])
def test_length_has_bounds(count: int, passed: bool) -> None:
    (measure,) = length("word " * count)
    assert (measure.check, measure.value, measure.passed) == ("length", count, passed)
    assert bool(measure.detail) is not passed


def test_length_relative_to_the_source() -> None:
    assert length("word " * 100, "word " * 10, max_ratio=10)[0].passed
    assert not length("word " * 101, "word " * 10, max_ratio=10)[0].passed
    assert length("word " * 101, "", max_ratio=10)[0].passed
    assert length("word " * 101, "word " * 10)[0].passed


@pytest.mark.parametrize("text", [FAQ, TABLE, sentence(1, 400), "- tea\n- milk\n- bread\n- salt\n" * 2])
def test_texts_that_repeat_by_nature_pass(text: str) -> None:
    assert repetition(text)[0].passed


def test_numbers_of_sums_are_not_thrown_away() -> None:
    text = "\n".join(f"{3 * i} + {7 * i} = {10 * i}" for i in range(1, 40))
    assert repetition(text)[0].passed


@pytest.mark.parametrize(
    "text",
    [
        sentence(2, 30) + ". " + "The train then stops at the old station again. " * 20,
        "a b " * 100,
        "again " * 200,
        "The same line stands here.\n" * 40,
        "\n".join(f"{i}. Add a pinch of salt and stir." for i in range(1, 40)),
        "\n".join(f"Step {i}: Repeat step {i - 1}." for i in range(1, 60)),
        "\n".join(f"{i}. Apples" for i in range(1, 60)),
        TABLE + "| May | yes | no | yes |\n" * 20,
        "| Nr | Name | Place |\n|---|---|---|\n" + "".join(f"| {i} | Anna Lind | the harbour |\n" for i in range(40)),
        "He laughed: " + "ha" * 300,
        "The result is 0." + "3" * 500,
        "这座茶馆很有名" * 30,
        FAQ + FAQ,
    ],
)
def test_loops_are_caught(text: str) -> None:
    (measure,) = repetition(text)
    assert not measure.passed
    assert measure.detail.startswith("repeated: ") and len(measure.detail) <= 100


def test_the_share_is_that_of_the_loop() -> None:
    for seed in range(20):
        unique, loop = sentence(seed, 100), sentence(1000 + seed, 10)
        for times in (0, 2, 5, 20):
            text = f"{unique}\n" + f"{loop}\n" * times
            expected = len(loop) * max(times - 1, 0) / (len(text) + 1)
            assert measured(text) == pytest.approx(expected, abs=0.06)


def test_long_words_that_do_not_loop() -> None:
    assert repetition("https://example.org/" + sentence(3, 40).replace(" ", "") + " is the address")[0].value == 0


def test_nothing_to_repeat() -> None:
    for text in ("", "\n\n", "!!! ---"):
        assert repetition(text)[0].value is None and repetition(text)[0].passed


@pytest.mark.parametrize(
    "leftover",
    [
        "[[DOCUMENT]]",
        "<|im_start|>",
        "<|im_end|>",
        "<|start_header_id|>",
        "<｜end▁of▁sentence｜>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "</s>",
        "<think>",
        "</think>",
        "<end_of_turn>",
        "\nDocument:\n",
        "\n**Document:**\n",
        "\n### Response:\n",
        "\nHere is the rewritten text:\n",
        "\nHere's the FAQ about bread and salt:\n",
        "\nHere is a list based on the provided document:\n",
        "\nSure! Here are some questions with answers:\n",
        "\n**Here is the markdown table:**\n",
    ],
)
def test_leftovers_are_counted(leftover: str) -> None:
    (measure,) = markup(f"{FAQ}{leftover}{FAQ}")
    assert (measure.value, measure.passed) == (1, False)
    assert measure.detail[1:-1] in leftover.replace("\n", "\\n")
    assert markup(f"{FAQ}{leftover}{FAQ}", f"A manual explains{leftover}as a token.")[0].passed


@pytest.mark.parametrize(
    "text",
    [
        FAQ,
        TABLE,
        "Here is a table of the conversions that you need in a kitchen:\n",
        "Here are the ingredients:\n- flour\n- salt\n",
        "Documents: a passport and a ticket.\n",
        "If a < s and s > b, then `x[i]` is small. See [1] and [the INST manual](x).",
        "Write: let me know if you can come. Then wait for the reply.\n\nSend the letter on Monday.",
        "Let me know if you can come, she wrote. Nobody came.",
    ],
)
def test_texts_without_leftovers(text: str) -> None:
    assert markup(text)[0] == ("markup", 0, True, "")


@pytest.mark.parametrize("end", ["Let me know if you need anything else!", "I hope this FAQ was of help to you."])
def test_closing_remarks(end: str) -> None:
    assert not markup(f"{FAQ}\n{end}")[0].passed
    assert not markup(f"The loaf cools on a rack. {end}\n")[0].passed
    assert markup(f"{end}\n{FAQ}")[0].passed


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a ",
        "ab",
        "| a ",
        "|\n",
        "\n",
        "<",
        "<|a",
        "[",
        "Here is the a ",
        "Here is the FAQ ",
        "**",
        "1.",
        "é",
        "茶",
        "ha.",
        "\x1c",
    ],
)
def test_time_is_linear(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    for check in (length, repetition, markup):
        with cpu_limit():
            check(text, text)
            check(text + ":")
