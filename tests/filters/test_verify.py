import pytest

from blocks.filters.verify import (
    ALWAYS,
    CHECKS,
    VERDICTS,
    bucket,
    describe,
    parse_rules,
    rules_by_hand,
    run_rules,
    verify,
)
from blocks.generate.prompts import Prompt, known_prompts

TABLE = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\n**Question:** What is the sum of a?\n\n**Answer:** It is 4."
TEXTS = [
    "",
    "   ",
    "A short text with 3 numbers, 4 of them wrong.",
    TABLE,
    "1. Mix.\n2. Bake.\n",
    "Q: Why?\nA: So.\n",
    "x " * 3000,
]


def names(rules):
    return [rule.check for rule in rules]


def test_what_a_format_gets():
    assert names(parse_rules(None)) == list(ALWAYS)
    assert names(parse_rules(["table"])) == ["table", *ALWAYS]
    assert names(parse_rules({"names": False, "copying": "off", "faq": None})) == [
        "faq",
        *(name for name in ALWAYS if name not in ("names", "copying")),
    ]


def test_thresholds_and_verdicts():
    rules = parse_rules({"table": {"min_rows": 2, "verdict": "flag"}, "table_answer": "reject"}, always=())
    assert [(rule.thresholds, rule.verdicts) for rule in rules] == [
        ({"min_rows": 2}, {"table": "flag", "table_answer": "reject"})
    ]
    found = {measure.check: verdict for measure, verdict in verify("No table.", "", rules)}
    assert found["table"] == "flag"
    found = {measure.check: verdict for measure, verdict in verify("No table.", "", parse_rules(["table"], always=()))}
    assert found["table"] == "reject"
    found = {measure.check: verdict for measure, verdict in verify(TABLE, "", parse_rules(["table"], always=()))}
    assert found == {"table": "pass", "table_answer": "pass"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("table", "must be a list"),
        (["tables"], "no check 'tables'"),
        ({"table": {"rows": 2}}, "no threshold 'rows'; it has"),
        ({"table": "drop"}, "must be flag or reject"),
        ({"table_answer": "reject"}, "no check 'table_answer'"),
        ({"table": None, "table_question": "flag"}, "no check 'table_question'"),
    ],
)
def test_mistakes_are_named(written, said):
    with pytest.raises(ValueError, match=said):
        parse_rules(written)


def test_every_prompt_of_the_repository():
    rules = run_rules(known_prompts(), {})
    assert "table" in names(rules["table"]) and "equations" in names(rules["math"])
    four = [describe(rules[name]) for name in ("faq", "math", "table", "tutorial")]
    assert len(set(four)) == 4


def test_a_run_changes_the_checks_of_a_prompt():
    prompt = Prompt("mine", "Rewrite: [[DOCUMENT]]", extra={"verify": {"faq": {"min_pairs": 1}}})
    plain, changed = run_rules([prompt], {}), run_rules([prompt], {"mine": {"faq": "flag", "names": "off"}})
    assert describe(plain["mine"]) != describe(changed["mine"])
    assert "names" not in names(changed["mine"])
    with pytest.raises(ValueError, match="'other' is no format of the run, which has mine"):
        run_rules([prompt], {"other": {}})
    with pytest.raises(ValueError, match="the checks of prompt 'mine': there is no check"):
        run_rules([prompt], {"mine": ["spelling"]})


@pytest.mark.parametrize("check", CHECKS)
def test_every_measure_has_a_verdict_and_belongs_to_its_check(check):
    for text in TEXTS:
        for source in ("", "Some source with 3 numbers.", TABLE):
            measures = CHECKS[check](text, source)
            assert measures, "nothing to check must be said, too"
            for measure in measures:
                assert measure.check in VERDICTS
                assert measure.check == check or measure.check.startswith(f"{check}_")
                assert measure.value is not None or measure.passed
                assert measure.passed or measure.detail


def test_a_check_that_raises_flags_and_goes_on(monkeypatch):
    monkeypatch.setitem(CHECKS, "faq", lambda text, source: 1 / 0)
    faq, length = verify("Some text.", "", parse_rules(["faq", "length"], always=()))
    assert (faq.verdict, faq.measure.detail) == ("flag", "raised ZeroDivisionError")
    assert length.verdict == "reject"


def test_by_hand_all_have_one_verdict():
    rules = rules_by_hand(["table", "faq"], {"table": {"min_rows": 9}})
    verdicts = {measure.check: verdict for measure, verdict in verify(TABLE, "", rules)}
    assert verdicts["table"] == "reject" and verdicts["faq"] == "reject"
    assert set(rules[0].verdicts) == {"table", "table_answer"}
    with pytest.raises(ValueError, match="thresholds for numbers"):
        rules_by_hand(["table"], {"numbers": {}})


def test_buckets():
    assert [bucket(value) for value in (0, 0.05, 0.3, 0.99, 1, 3.7, 9, 10, 100, 5000)] == [
        *("0", "0", "0.3", "0.9", "1", "3", "9", "8", "64", "4096")
    ]
    assert [bucket(tenths / 10) for tenths in range(10)] == [f"{tenths / 10:g}" for tenths in range(10)]


def test_buckets_of_what_floating_point_lost():
    assert [bucket(1 - tenths / 10) for tenths in range(1, 10)] == [f"{tenths / 10:g}" for tenths in range(9, 0, -1)]
    assert [bucket(value) for value in (0.8 - 0.1, 1 - 4 / 5, 2.9999999999999996, 15.999999999999998)] == [
        *("0.7", "0.2", "3", "16")
    ]
    assert [bucket(value) for value in (0.2999, 0.19999, 0.99999, 2.9999)] == ["0.2", "0.1", "0.9", "2"]


def test_what_is_usual_for_a_format():
    front = {"length_ratio": [0.5, 2], "verify": {"length": {"min_words": 3}}}
    prompt = Prompt("mine", "Rewrite: [[DOCUMENT]]", extra=front)
    (rules,) = run_rules([prompt], {}).values()
    source = "One two three four five six seven eight."
    ratios = {}
    for text in ("One two three.", "One two three four.", "Word. " * 16, "Word. " * 17):
        (finding,) = [found for found in verify(text, source, rules) if found.measure.check == "length_ratio"]
        ratios[finding.measure.value] = finding.verdict
    assert ratios == {0.375: "flag", 0.5: "pass", 2.0: "pass", 2.125: "flag"}
    without = verify("One two three.", "", rules)
    assert [found.measure.value for found in without if found.measure.check == "length_ratio"] == [None]
    (strict,) = run_rules([prompt], {"mine": {"length_ratio": "reject"}}).values()
    assert "reject" in {found.verdict for found in verify("One two three.", source, strict)}
    for wrong in (2, [1], ["a", "b"]):
        with pytest.raises(ValueError, match="the checks of prompt 'mine': the threshold 'usual_ratio'"):
            run_rules([Prompt("mine", "[[DOCUMENT]]", extra={"length_ratio": wrong})], {})
    bare = Prompt("mine", "[[DOCUMENT]]", extra={"length_ratio": [0.5, 2], "verify": {"length": "off"}})
    assert "length" not in names(run_rules([bare], {})["mine"])
