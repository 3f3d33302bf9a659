import pytest

from blocks.generate.prompts import PLACEHOLDER, Prompt, load_prompts
from blocks.rephrase.features import features
from blocks.rephrase.route import describe, parse_routes, routing_report, suits

FORMATS = "faq,math,table,tutorial"

RECIPE = """Flat bread

You need 500 g of flour, 300 ml of water and two teaspoons of salt. It makes 8 breads.

1. Mix the flour, the salt and the water, and knead the dough for 10 minutes until it is smooth.
2. Let it rest for an hour, because it can be rolled more easily then.
3. Divide it, roll each piece out and bake it in a dry pan if it has no blisters yet.
"""
LAW = (
    "A lease may be ended by either party if the other one does not keep its duties, unless the breach is slight. "
    "Whoever ends it must say so in writing and must name the reason. A tenant can object to it when moving out would "
    "mean hardship for the household; such an objection need not be justified unless the owner demands it."
)
TALE = (
    "Anna told Ben that she had never seen the sea. He laughed, and his sister Cornelia said that they should leave at "
    "once. They walked to Dover, where an old man took them in. He was a friend of their mother, he said, and had been "
    "waiting for them all his life. Anna did not believe a word of what he said."
)
CODE = """import os

def load(path, limit=10):
    with open(path) as handle:
        rows = [json.loads(line) for line in handle]
    return rows[:limit]

if __name__ == "__main__":
    print(load(sys.argv[1]))
"""
PDF_TABLE = """Energy and nutrients of foods
Food        kJ     Protein g   Fat g
Milk        268    3.4         3.6
Butter      3101   0.7         83.2
Rye bread   912    6.2         1.0
"""
PRICES = "Adults pay £12.50 and children £6, but a family of four pays £30 for a day and £45 for the whole weekend."
MENU = "Home\nNews\nSport\nWeather\nShop\nContact\nAbout us\nLog in"
GERMAN = (
    "Er sagte, dass seine Schwester gestern angekommen sei und dass sie nun bei ihrer Mutter wohne. Niemand hatte sie "
    "gesehen, und doch wussten alle im Dorf davon, noch bevor der Abend gekommen war."
)


def prompt(route, name="mine"):
    return Prompt(name, f"Do it: {PLACEHOLDER}", extra={} if route is None else {"route": route})


def suiting(text):
    return {
        name for name, reason in suits(features(text), parse_routes(load_prompts(FORMATS))).items() if reason is None
    }


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        (RECIPE, {"faq", "math", "table", "tutorial"}),
        (LAW, {"faq", "tutorial"}),
        (TALE, {"faq", "table"}),
        (PDF_TABLE * 2, {"math", "table"}),
        (MENU, set()),
        ("Fog forms in valleys on clear nights, when the ground loses its heat to the sky. " * 2, {"faq", "tutorial"}),
        (GERMAN, {"faq", "table", "tutorial"}),
        (GERMAN + " Es waren 240 Menschen und 12 Hunde.", {"faq", "math", "table", "tutorial"}),
    ],
)
def test_the_formats_of_finephrase(text, formats):
    assert suiting(text) == formats


def test_code_is_no_faq_and_prices_are_math():
    assert "faq" not in suiting(CODE)
    assert "math" in suiting(PRICES)


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (None, None),
        ([], None),
        ("words >= 5", None),
        (["words >= 5", "words <= 5"], None),
        (["words > 5"], "words <= 5"),
        (["words < 5"], "words >= 5"),
        (["words != 5"], "words == 5"),
        (["words == 4"], "words != 4"),
        (["words >= 5", "words >= 6", "words >= 7"], "words < 6"),
        (["words >= 6 or numbers >= 1"], None),
        (["words >= 6 or numbers >= 2"], "words < 6 and numbers < 2"),
        (["number_density >= 20.5"], None),  # 1 of 5 words is 20 per 100
        (["number_density >= 19.5"], None),
    ],
)
def test_conditions_at_their_borders(route, reason):
    found = features("one 40 lamps two more")._replace(words=5, numbers=1, quantities=1, number_density=20.5)
    assert suits(found, parse_routes([prompt(route)])) == {"mine": reason}


def test_what_cannot_be_judged_holds():
    found = features(GERMAN)
    assert found.facts is None
    assert suits(found, parse_routes([prompt(["facts >= 99", "language == de"])]))["mine"] is None
    assert suits(found, parse_routes([prompt(["language == en"])]))["mine"] == "language != en"
    assert suits(features("x"), parse_routes([prompt(["language == en"])]))["mine"] is None


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (["beauty >= 3"], "there is no feature 'beauty'; there are words, "),
        (["words"], "cannot read 'words': write FEATURE OPERATOR VALUE"),
        (["words >= 3 or "], "cannot read ''"),
        (["words >= many"], "compare `words` with a number"),
        (["words >= true"], "compare `words` with a number"),
        (["language >= 3"], "compare `language` with a code"),
        (["language > en"], "compare `language` with a code"),
        ([["words >= 3"]], "write a list of conditions"),
        ({"words": 3}, "write a list of conditions"),
        (3, "write a list of conditions"),
        (False, "write a list of conditions"),
    ],
)
def test_errors_name_the_prompt_and_the_key(route, message):
    with pytest.raises(ValueError, match=r"^`route` of prompt 'mine': ") as raised:
        parse_routes([prompt(None, "other"), prompt(route)])
    assert message in str(raised.value)


def test_wordings_share_their_rule():
    assert list(parse_routes([prompt(["words >= 3"]), prompt(["words >= 3"])])) == ["mine"]


def test_describe_tells_rules_apart():
    told = [describe(parse_routes([prompt(route)])["mine"]) for route in (None, ["words >= 3"], ["words >= 4"])]
    assert told[0] == "every document"
    assert told[1].startswith("features ") and told[1].endswith(": words >= 3")
    assert len(set(told)) == 3


def test_report():
    routes = parse_routes([prompt(["words >= 3", "numbers < 1"], "a"), prompt(None, "b")])
    report = routing_report(["one", "one two", "one two three", "1 2 three"], routes)
    assert report == {"a": {"suits": 1, "spared": {"words < 3": 2, "numbers >= 1": 1}}, "b": {"suits": 4, "spared": {}}}
    assert list(report["a"]["spared"]) == ["words < 3", "numbers >= 1"]
    assert routing_report([], routes)["a"] == {"suits": 0, "spared": {}}
