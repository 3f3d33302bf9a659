import random

import pytest

from blocks.filters.checks.language import language
from tests.conftest import cpu_limit

PARAGRAPHS = {
    "en": (
        "The old ferry has crossed the lake since the war and still runs on the first Sunday of every month. "
        "Most of those who take it are walkers, who want to reach the path on the other side before the sun "
        "is high. The captain learned his trade from his father and says that he will teach it to anyone who "
        "asks, because there are so few left who know how the engine works."
    ),
    "de": (
        "Die Bergbahn wurde im Jahr 1912 eröffnet und führt vom Tal bis auf den Gipfel. Für die Strecke "
        "braucht sie etwa vierzig Minuten, und unterwegs hält sie an drei kleinen Stationen, von denen aus "
        "man zu den Almen wandern kann. Im Winter fährt sie nur am Wochenende, weil der Schnee die Gleise oft "
        "verschüttet."
    ),
    "fr": (
        "Le marché couvert a été construit à la fin du dix-neuvième siècle par un architecte de la région. On "
        "y vend surtout des légumes, du fromage et du poisson, et les habitants viennent de loin le samedi "
        "matin. Depuis quelques années, les commerçants organisent aussi des cours de cuisine pour les "
        "enfants."
    ),
    "es": (
        "La biblioteca abrió sus puertas hace más de cien años y hoy conserva unos treinta mil libros. Los "
        "vecinos pueden llevarse hasta cinco volúmenes durante tres semanas, y los jueves por la tarde hay "
        "lecturas para los niños. Lo que pocos saben es que en el sótano se guardan mapas muy antiguos."
    ),
    "pt": (
        "A ponte foi inaugurada depois de oito anos de obras e liga as duas margens do rio. Antes disso, os "
        "moradores tinham de esperar pela balsa, que não funcionava quando chovia muito. Agora a viagem "
        "demora apenas dez minutos, mas muitos ainda sentem saudade do velho barqueiro e das suas histórias."
    ),
    "ru": (
        "Старая мельница стоит на берегу реки уже более двухсот лет. Раньше сюда привозили зерно из всех "
        "соседних деревень, а теперь в ней открыли небольшой музей. Посетители могут увидеть, как работает "
        "водяное колесо, и попробовать хлеб, который пекут здесь каждое воскресенье."
    ),
    "zh": (
        "这座古老的茶馆位于城市的中心，已经有一百多年的历史。每天早上，附近的老人都会来这里喝茶、下棋和聊天。"
        "茶馆的主人说，他希望年轻人也能够了解传统的茶文化，所以周末会举办免费的课程，教大家怎样泡出一杯好茶。"
    ),
}

CODE = """# Reading a file

```python
import os

def load_rows(path: str, limit: int = 10) -> list[dict]:
    with open(path) as handle:
        return [json.loads(line) for line in handle][:limit]

for row in load_rows("data.jsonl"):
    print(row["id"], row.get("name", "unknown"))
```

Then run `python load.py --limit 5`.
"""

TABLE = """| Name | Stadt | Points |
|---|---|---|
| Jean-Claude Dupont | Saint-Étienne | 39.5 |
| Karl-Heinz Müller | Düsseldorf | 21 |
| Giovanni Bianchi | Reggio nell'Emilia | 17 |
| João da Silva | São Paulo | 9 |
"""

SUMS = "12 × 3 = 36\n36 + 4 = 40\n40 / 2 = 20 km/h\n$\\frac{a}{b} = 20 \\text{ km}$\n**Final answer:** 20 km\n"


@pytest.mark.parametrize("name", PARAGRAPHS)
def test_the_same_language_passes(name: str) -> None:
    text = PARAGRAPHS[name]
    (measure,) = language(text, text)
    assert measure.check == "language" and measure.passed and measure.detail == ""
    assert measure.value is not None and measure.value > 0.5


@pytest.mark.parametrize("name", PARAGRAPHS)
@pytest.mark.parametrize("other", PARAGRAPHS)
def test_another_language_is_found(name: str, other: str) -> None:
    (measure,) = language(PARAGRAPHS[name], PARAGRAPHS[other])
    assert measure.passed is (name == other)
    if name != other:
        assert measure.detail == f"{name}, the source is {other}"
        assert measure.value is not None and measure.value < 0.2


@pytest.mark.parametrize("name", [name for name in PARAGRAPHS if name != "en"])
def test_drift_at_the_end_or_the_begin_is_found(name: str) -> None:
    english = PARAGRAPHS["en"]
    for text in (f"{english}\n\n{PARAGRAPHS[name]}", f"{PARAGRAPHS[name]}\n\n{english * 3}"):
        assert language(text, english)[0].detail == f"{name}, the source is en"


@pytest.mark.parametrize("text", [CODE, TABLE, SUMS, CODE * 20, TABLE * 20, SUMS * 20, "", "Yes.", "12 345"])
def test_code_names_and_numbers_are_no_other_language(text: str) -> None:
    assert language(text, PARAGRAPHS["en"])[0].passed
    assert language(f"{PARAGRAPHS['en']}\n\n{text}", PARAGRAPHS["en"])[0].passed


@pytest.mark.parametrize("code", ["```npm init -y```", "  ```npm init```", "```\nnpm init\n```", "~~~ a `b`\nnpm\n~~~"])
def test_what_follows_on_code_is_read(code: str) -> None:
    german, english = PARAGRAPHS["de"], PARAGRAPHS["en"]
    assert language(f"{code}\n\n{german}", english)[0].detail == "de, the source is en"
    assert language(f"{code}\n\n{english}", english)[0].passed


def test_what_stands_in_a_block_is_not() -> None:
    german, english = PARAGRAPHS["de"], PARAGRAPHS["en"]
    for code in (f"```\n{german[:400]}\n```", f"```\n```npm```\n{german[:400]}\n```", f"```\n{german}"):
        assert language(f"{english[:150]}\n\n{code}\n\n{english}"[:700], english)[0].passed


def test_shuffled_words_keep_their_language() -> None:
    made = random.Random(3)
    for _ in range(20):
        shuffled = PARAGRAPHS["en"].split()
        made.shuffle(shuffled)
        assert language(" ".join(shuffled), PARAGRAPHS["en"])[0].passed


@pytest.mark.parametrize("source", ["", "Yes.", "1 2 3", TABLE[:30], "\n\n"])
def test_nothing_to_check_without_a_source_that_can_be_told(source: str) -> None:
    assert language(PARAGRAPHS["de"], source)[0] == ("language", None, True, "nothing to check")


def test_thresholds() -> None:
    german, english = PARAGRAPHS["de"], PARAGRAPHS["en"]
    assert language(german, english, min_letters=10_000)[0].value is None
    assert language(german, english, min_same=0.0)[0].passed
    assert language(german, english, min_sure=1.01)[0].value is None


@pytest.mark.parametrize("unit", ["a", "A", "a ", "```\n", "\n", "茶", "-", "é", "{a", "\x00"])
def test_time_does_not_grow(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    with cpu_limit():
        language(text, PARAGRAPHS["en"])
        language(PARAGRAPHS["en"], text)
