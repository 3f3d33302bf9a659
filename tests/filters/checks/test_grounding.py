import random

import pytest

from blocks.filters.checks.grounding import copying, names, numbers
from tests.conftest import cpu_limit

SOURCE = (
    "The lighthouse of Port Alden was built in 1874 by the engineer Maria Holm. It is 42 metres high and has 203 "
    "steps. In 2019 it had 12,400 visitors, 31 % of them children, who paid 4.50 euros each; three keepers, Jonas "
    "Brandt among them, look after it. Its repair cost 2.6 million euros, and the light is seen for twenty-five miles."
)


def grounded(text: str, source: str = SOURCE) -> float | None:
    return numbers(text, source)[0].value


@pytest.mark.parametrize(
    "text",
    [
        "It was built in 1874.",
        "It had 12400 visitors.",
        "It had 12,400 visitors.",
        "Its repair cost 2,600,000 euros.",
        "Its repair cost 2.6 million euros.",
        "The share of children was 0.31.",
        "The share of children was 31%.",
        "The share of children was $31\\%$.",
        "The share of children was 31 per cent.",
        "The light is seen for 25 miles.",
        "The light is seen for twenty-five miles.",
        "There are 3 keepers.",
        "It costs 4.5 euros, with all 203 steps.",
        "About 12,000 people came.",
        "It is in its 42nd year.",
        "Nearly 30 % were children.",
    ],
)
def test_numbers_that_occur(text: str) -> None:
    (measure,) = numbers(text, SOURCE)
    assert (measure.value, measure.passed) == (1.0, True)
    assert "0 follow" in measure.detail


@pytest.mark.parametrize(
    "text",
    [
        "Built in 1874, it was 145 years old in 2019.",  # difference of stated numbers
        "203 steps and 42 metres make 245.",
        "203 steps times 42 metres make 8526.",
        "203 steps for 42 metres are 4.83 per metre.",
        "Of 12,400 visitors, 31 % or 3844 were children.",
        "Of the visitors, 3844 were children.",  # two numbers of the source, too large for chance
        "All of them paid 55,800 euros.",
        "With 203 steps and 42 metres, that is 245. Twice: 245 + 245 = 490.",
    ],
)
def test_numbers_that_follow(text: str) -> None:
    (measure,) = numbers(text, SOURCE)
    assert measure.value == 1.0
    assert "0 follow" not in measure.detail


@pytest.mark.parametrize(
    "text",
    [
        "It was built in 1875.",
        "It was built in 1880.",
        "It is 44 metres high.",
        "It had 13,700 visitors.",
        "The share of children was 36 %.",
        "Its repair cost 3.4 million euros.",
        "The light is seen for twenty-six miles.",
        "It costs 4.90 euros.",
    ],
)
def test_numbers_from_nowhere(text: str) -> None:
    (measure,) = numbers(text, SOURCE)
    assert (measure.value, measure.passed) == (0.0, False)
    assert measure.detail.startswith("0 of 1 numbers occur, 0 follow; not ")


def test_the_share_counts_distinct_numbers() -> None:
    assert grounded("1874, 1874 and 1874, but 77, 78 and 79.") == 0.25
    assert numbers("1874, 1874 and 1874, but 77, 78 and 79.", SOURCE, min_grounded=0.25)[0].passed


@pytest.mark.parametrize(
    "text",
    [
        "1. Open the door.\n2) Climb up.\n**3.** Look out.\n(4) Go home.\n## 5. Rest\n- 6. Sleep",
        "Step 71: climb. See Table 72, Question 73 and **Part 74**.",
        "| Nr | Place |\n|---|---|\n| 81 | door |\n| 82 | stairs |",
        "Q4 was rainy. The V12 engine and the MP3 player stood there.",
        "There are two ways up and four ways down.",
        "No numbers.",
        "",
    ],
)
def test_numbering_and_small_counts_are_no_numbers(text: str) -> None:
    assert numbers(text, SOURCE)[0] == ("numbers", None, True, "nothing to check")


def test_without_source() -> None:
    for check in (numbers, names, copying):
        assert check("In 1871 Anna Lind and Otto Berg met Paul Kern. " * 5)[0].value is None


def test_a_year_is_not_rounded_but_amounts_are() -> None:
    assert grounded("It had 2000 steps.", "It had 1,987 steps.") == 0.0
    assert grounded("It had 20,000 steps.", "It had 19,870 steps.") == 1.0
    assert grounded("It was 39.5.", "It was 39.4871.") == 1.0
    assert grounded("It was 39.5.", "It was 39.6.") == 0.0


def test_fractions_and_multiples_in_words() -> None:
    assert grounded("That is .5 or 0.25 of it, 12 pieces.", "Half of it, a quarter, a dozen.") == 1.0
    assert grounded("That is .25.5 of it.", "A quarter.") == 0.5
    assert grounded("That is .6 of it.", "Half of it, 6 pieces.") == 0.0


def test_a_hundred_and_the_half_come_with_percent_and_half() -> None:
    assert grounded("48/2 = 24, and 24 + 48 = 72.", "She sold 48 and then half as many.") == 1.0
    assert grounded("100 - 31 = 69.") == 1.0
    assert grounded("100 - 31 = 69.", "There were 31.") == pytest.approx(1 / 3)


def test_random_texts_against_themselves_and_changed() -> None:
    made = random.Random(5)
    selves, changed = [], []
    for _ in range(200):
        values = [made.randint(13, 99_999) for _ in range(made.randint(3, 12))]
        source = " ".join(f"The hall has {value:,} seats." for value in values)
        other = " ".join(f"The hall has {int(value * made.uniform(1.1, 1.6)) + 1} seats." for value in values)
        selves.append(grounded(source.replace(",", ""), source) or 0.0)
        changed.append(grounded(other, source) or 0.0)
    assert min(selves) == 1.0
    assert sum(value >= 0.5 for value in changed) <= 10


def test_copying_is_counted_in_words() -> None:
    own = "Someone else wrote every single one of these words on another day in another town far away from here."
    quoted = "It is 42 metres high and has 203 steps. In 2019 it had"
    assert len(quoted.split()) == 13
    (measure,) = copying(f"{own} {quoted.upper().replace('.', ' -')} {own}", SOURCE)
    assert measure.value == pytest.approx(13 / (13 + 2 * len(own.split())))
    assert measure.passed
    assert copying(f"{own} {quoted.removesuffix(' had')} {own}", SOURCE)[0].value == 0


def test_copying_of_all_and_of_nothing() -> None:
    (measure,) = copying(SOURCE, f"Before. {SOURCE} Behind.")
    assert (measure.value, measure.passed) == (1.0, False)
    assert measure.detail.startswith("copied: 'the lighthouse of")
    assert copying(SOURCE, " ".join(reversed(SOURCE.split())))[0].value == 0
    assert copying("Too short.", SOURCE)[0].value is None


def test_a_name_in_a_script_without_spaces_is_not_copied_text() -> None:
    name = "中华人民共和国个人信息保护法"
    source = f"{name}自二〇二一年十一月一日起施行。为了保护个人信息权益，规范处理活动，制定本法。"
    own = f"什么是{name}？它是一部法律。{name}保护谁？它保护每个人。谁要遵守{name}？所有企业都要遵守。"
    assert copying(own, source)[0].value == 0
    assert copying(source, f"前言。{source}后记。")[0].value == 1


def test_copying_agrees_with_counting_by_hand() -> None:
    made = random.Random(7)
    for _ in range(100):
        there = made.choices("abcd", k=made.randint(13, 80))
        found = list(there)
        for _ in range(made.randint(0, 6)):
            found[made.randrange(len(found))] = made.choice("abcdxyz")
        marked = set()
        for i in range(len(found) - 12):
            if any(found[i : i + 13] == there[j : j + 13] for j in range(len(there) - 12)):
                marked.update(range(i, i + 13))
        assert copying(" ".join(found), " ".join(there))[0].value == pytest.approx(len(marked) / len(found))


def test_names_of_the_source_and_others() -> None:
    ours = "The tower of Port Alden was planned by Maria Holm. Today Jonas Brandt keeps it."
    theirs = "The tower of Cape Winter was planned by Otto Berg. Today Anna Lind keeps it."
    assert names(ours, SOURCE)[0] == ("names", 1.0, True, "")
    (measure,) = names(theirs, SOURCE)
    assert (measure.value, measure.passed) == (0.0, False)
    assert measure.detail == "not in the source: Cape, Winter, Otto"
    assert names(f"{ours} {theirs}", SOURCE, min_shared=0.5)[0].value == pytest.approx(6 / 12)


def test_every_share_of_names_is_exact() -> None:
    for count, found in ((size, part) for size in range(3, 27) for part in range(size + 1)):
        called = [f"Al{chr(ord('a') + n)}ric" for n in range(count)]
        text = f"They met {', '.join(called)}."
        source = f"There were {', '.join(called[:found])} and others."
        measure = names(text, source, min_shared=found / count)[0]
        assert (measure.value, measure.passed) == (found / count, True)


def test_names_in_capitals_are_the_same() -> None:
    assert names("We met JONAS BRANDT and MARIA HOLM.", SOURCE)[0].value == 1.0
    assert names("We met Jonas Brandt and Maria Holm.", SOURCE.upper())[0].value == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "Lighthouses are old. Towers are tall. Keepers are few. Engineers are many.",
        "# How Keepers Clean Lamps And Windows\n**Understanding Old Glass Prisms:** they break.",
        "| Name Given | Old Trade | Main Duty |\n|---|---|---|\n| anna | cook | soup |",
        "The keeper of the keeper met Anna.",  # one name
        "Here the Steps lead to the Light, and the Visitors pay.",  # common words, capitalised
        "这座古老的茶馆位于城市的中心，已经有一百多年的历史。",
    ],
)
def test_texts_without_names(text: str) -> None:
    assert names(text, SOURCE)[0].value is None


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "1 ",
        "1,",
        "1,000",
        "1.",
        "| 1 ",
        "9 million ",
        "twenty ",
        "A",
        "a B",
        "Ab ",
        "# A",
        "**",
        "|\n",
        "é É",
        "a-",
        "\n",
    ],
)
def test_time_is_linear(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    for check in (numbers, copying, names):
        for output, source in ((text, text), (text, SOURCE), (SOURCE, text)):
            with cpu_limit():
                check(output, source)


def test_time_with_many_distinct_numbers() -> None:
    made = random.Random(9)
    text = " ".join(str(made.randint(1, 10**9)) for _ in range(100_000))
    source = " ".join(str(made.randint(1, 10**9)) for _ in range(100_000))
    with cpu_limit():
        assert grounded(text, source) is not None


def test_letters_that_only_look_alike_do_not_break_the_scale() -> None:
    assert grounded("It cost 5 thou\u017fand.", "It cost 5.") == 1.0
    assert grounded("It cost 5\u212a.", "It cost 5,000.") == 1.0


def test_sources_are_not_mixed_up() -> None:
    other = (
        "The mill at Brook End has 17 wheels and 230 sacks. It was sold in 1902 for 95 pounds by Ada Whitlock there."
    )
    for _ in range(2):
        assert [grounded("It has 203 steps.", source) for source in (SOURCE, other)] == [1.0, 0.0]
        assert [copying(other, source)[0].value for source in (other, SOURCE)] == [1.0, 0.0]


def test_steps_with_whole_numbers_are_found_as_those_with_decimals() -> None:
    made = random.Random(5)
    for _ in range(50):
        source = " ".join(str(made.choice((0, 1, made.randint(2, 90), made.randint(100, 9999)))) for _ in range(12))
        text = " ".join(str(made.randint(2101, 9999) if made.random() < 0.9 else 0) for _ in range(40))
        # So small that no step with it leads anywhere; but now not all operands are whole.
        with_decimals = f"{source} 0.00000000000001"
        assert numbers(text, source)[0] == numbers(text, with_decimals)[0]
