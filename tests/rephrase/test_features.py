import pytest

from blocks.rephrase.features import Features, features

ENGLISH = (
    "The old ferry has crossed the lake since the war, and most of those who take it are walkers who want to reach the "
    "path on the other side before the sun is high. "
)
GERMAN = (
    "Die Bergbahn führt vom Tal bis auf den Gipfel, und unterwegs hält sie an kleinen Stationen, von denen aus man zu "
    "den Almen wandern kann. Im Winter fährt sie nur am Wochenende, weil der Schnee die Gleise oft verschüttet. "
)


def quantities(text):
    return features(ENGLISH + text).quantities


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It costs $36, £70,000 or € 5.", 3),
        ("It costs 36 €, 12 USD or 5 euros.", 3),
        ("Some 8.7% or 30 percent or 12 ％ of it.", 3),
        ("It is 13ft by 9 ft, 170km away, 22 miles on.", 4),
        ("There were 11 seasons and 253 episodes.", 2),
        ("At 25-year-old Ann's 12,000-acre farm.", 2),
        ("It took three days and fifteen smaller councils.", 2),
        ("It takes 12–15 minutes.", 1),
        ("They sold 1500 tickets for $1999, which took 2000 hours.", 2),  # 1500 may be a year
        ("The same 40 lamps and 40 lamps.", 1),
        ("It is 1 234 567 people.", 1),  # no-break spaces
        ("４０％ of it, ٣٠ lamps.", 2),
        # None of these says how many.
        ("It was in 1990 and in the 1930s, from 1885–87.", 0),
        ("It was on 16 June 1969, on June 16, on 12/05/2021 and 2021-05-12.", 0),
        ("It ran at 11:45 and 5.50 a.m. on the 15th.", 0),
        ("See Figure 11.28 shows, page 12 of it, chapter 3 holds, No. 5 is.", 0),
        ("Version 3.11.2 came, then 127.0.0.1 is called.", 0),
        ("Call 555-123-4567 for order 24887084 now.", 0),
        ("The H-60 helicopter and CO2 and R105 and U2 songs.", 0),
        ("Cited [12] there, and at http://example.org/42 too, x=5 or.", 0),
        ("\n1. mix it\n2. bake it\n10) eat it", 0),
        ("There are three main types of it, and two parts.", 0),
        ("It was 5 and 7 of 9 in 12.", 0),
        ("", 0),
    ],
)
def test_quantities(text, count):
    assert quantities(text) == count


def test_years_and_numbers():
    found = features(ENGLISH + "In 1990, 1990 and 2014 there were 40 lamps, then 7, in Figure 3.")
    assert (found.years, found.numbers, found.quantities) == (2, 2, 1)
    assert found.number_density == pytest.approx(100 / found.words)


def test_outside_english_numbers_count_and_words_do_not():
    found = features(GERMAN + "Im Jahr 1912 kaufte man 240 Brote und 12 Öfen.")
    assert (found.language, found.quantities, found.years) == ("de", 2, 1)
    assert (found.names, found.facts, found.procedural, found.explaining, found.narrating) == (None,) * 5


def test_chinese():
    text = "这座古老的茶馆位于城市的中心,每天早上附近的老人都会来这里喝茶。2014年3月5日,茶馆有120人和35张桌子。"
    found = features(text)
    assert (found.language, found.years, found.quantities, found.sentences) == ("zh", 1, 2, 2)
    assert found.words > 40


def test_thai_has_no_sentences_to_count():
    assert features("แม่น้ำสายนี้ไหลผ่านเมืองเก่าและชาวบ้านใช้เรือข้ามฟากทุกวัน").sentences is None


def test_sentences_and_questions():
    found = features('Is it open? "Yes," he said... "Really?!" (It is.) See example.org/a.b for 3.5 more.')
    assert found.sentences == 5
    assert found.questions == pytest.approx(2 / 5)
    assert features("one\ntwo\n- three").sentences == 0


@pytest.mark.parametrize(
    ("row", "share"),
    [
        ("| a | b |", 1),
        ("Milk\t3.5\t4.8", 1),
        ("Milk     3.5    4.8", 1),
        ("Milk 3.5 4.8 120", 1),
        ("milk,3.5,4.8,white", 1),
        ("Opening hours: 9 to 5", 1),
        ("Anna: I have not seen it since yesterday.", 0),
        ("It was 7,300,000 episodes in all, the paper says.", 0),
        ("We met Anna, Ben, and Cornelia there.", 0),
        ("x | y " * 100, 0),  # a paragraph, not a row
    ],
)
def test_table_lines(row, share):
    assert features(f"{row}\n\n{row}\n").table_lines == share


def test_list_lines():
    assert features("Shopping\n- flour\n* salt\n2. water").list_lines == 0.75


def test_names_and_facts():
    found = features(ENGLISH + "Then Anna Bell met Ben in South America. Cornelia had flour, salt and water in 1990.")
    assert found.names == 3  # the words that begin sentences are none
    assert found.facts == 5  # Anna Bell, Ben, South America; flour, salt and water; 1990


def test_procedural_explaining_narrating():
    recipe = features(
        "How to bake it\n\n1. Mix the flour with the water.\n2. Knead it until it is smooth.\n\n"
        "Next, let it rest. Bake it in the oven if it has risen, because you want a crust."
    )
    tale = features("Anna said that she had seen him. He was born in Dover, and his mother told her of Ben. " * 2)
    assert recipe.procedural > 10 and tale.procedural == 0
    assert recipe.explaining > 5 > tale.explaining
    assert recipe.narrating < 5 < tale.narrating


def test_nouns_at_the_begin_are_no_steps():
    assert features(ENGLISH + "Water is heavy. Plant cells are green.").procedural < 2.5


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\x00", "1", "٣", "\ud800", "²", ".", "$"])
def test_next_to_nothing(text):
    found = features(text)
    assert found.language == "" and found.facts is None
    assert isinstance(found, Features) and found.quantities <= 1


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "1",
            "1.",
            "1,",
            "1 ",
            "1-",
            "1:",
            "12,",
            "1,000",
            "a,",
            ", a",
            ", and",
            "A",
            "A a",
            "a A",
            "a, A ",
            "Aa Aa ",
        ),
        *(".", ". ", ".A", "?!", "\n", "\n-", "\n1. A", "\n ", "  ", "\t", "|", "$", "$ ", "two ", "to ", "```\n", '"'),
        *("茶", "1茶", "١", "\u00a0", "1\u00a0", "1\u00a0000", "A-", "'"),
    ],
)
def test_a_megabyte_of_anything(unit):
    # Whatever is not linear takes minutes here.
    for text in ((unit * (1_000_000 // len(unit)))[:1_000_000], ENGLISH * 4 + unit * (200_000 // len(unit))):
        assert all(value is None or isinstance(value, str) or value >= 0 for value in features(text))
