from __future__ import annotations

import random

import pytest
from markdown_it import MarkdownIt

from blocks.filters.checks.markdown import cells, parse, plain
from blocks.filters.checks.numerals import numbers
from blocks.filters.checks.table import FAULTS, MAX_CHARACTERS, read, table
from blocks.filters.checks.table_answer import share_found
from tests.conftest import cpu_limit

QUESTION = "\n**Question:** Which city has the most inhabitants?\n\n**Answer:** Rome has the most, with 2,800,000.\n"
ROWS = "| City | Inhabitants |\n|:--|--:|\n| Rome | 2,800,000 |\n| Milan | 1,400,000 |\n"
GOOD = ROWS + QUESTION


def names(text: str, **thresholds: int) -> list[str]:
    """The names of the faults, first fault first."""
    found = {fault.name for fault in read(text, **thresholds).faults}
    measure = table(text, **thresholds)[0]
    assert measure.value == len(found)
    assert measure.passed == (not found)
    ordered = [name for name in FAULTS if name in found]
    assert measure.detail.split(":")[0] == (ordered[0] if ordered else "")
    return ordered


# --- hard cases: a short id, the sample, its faults ---

CASES = {
    "plain": (GOOD, []),
    "no outer pipes": ("City | Inhabitants\n:-- | --:\nRome | 2\nMilan | 1\n" + QUESTION, []),
    "indented by three": ("   " + ROWS.replace("\n|", "\n   |") + QUESTION, []),
    "indented by four": ("    " + ROWS.replace("\n|", "\n    |") + QUESTION, ["table_in_code"]),
    "in a fence": (f"```markdown\n{ROWS}```\n{QUESTION}", ["table_in_code"]),
    "in a list": ("- " + ROWS.replace("\n|", "\n  |") + QUESTION, []),
    "in a quote": ("> " + ROWS.replace("\n|", "\n> |") + QUESTION, []),
    "carriage returns": (GOOD.replace("\n", "\r\n"), []),
    "code elsewhere": (GOOD + "\n```\nx = 1\n```\n", []),
    "escaped pipe": (GOOD.replace("Rome |", r"Rome \| Roma |", 1), []),
    "pipe in code, escaped": (GOOD.replace("Rome |", r"`a \| b` |", 1), []),
    "pipe in code, bare": (GOOD.replace("Rome |", "`a | b` |", 1), ["unequal_cells"]),
    "backslashes before a pipe": (GOOD.replace("Rome |", r"Rome \\| Roma |", 1), []),
    "bold cells, links": (GOOD.replace("| Rome", "| **[Rome](https://a.b/c_(d))**"), []),
    "entity and break": (GOOD.replace("| Rome", "| Rome&nbsp;&amp;<br>more"), []),
    "no first header": (GOOD.replace("| City", "| "), []),
    "no second header": (GOOD.replace("Inhabitants |", " |", 1), ["empty_header"]),
    "headers alike but for case": (GOOD.replace("| City", "| **inhabitants**"), ["duplicate_header"]),
    "empty cell": (GOOD.replace("1,400,000", ""), []),
    "row of dashes": (ROWS + "| --- | --- |\n" + QUESTION, ["empty_row"]),
    "row of dots": (ROWS + "| ... | … |\n" + QUESTION, ["empty_row"]),
    "row again": (ROWS + "| **rome** |  2,800,000 |\n" + QUESTION, ["duplicate_row"]),
    "same name, other figure": (ROWS + "| Rome | 2,900,000 |\n" + QUESTION, []),
    "short row": (ROWS + "| Turin |\n" + QUESTION, ["unequal_cells"]),
    "alignment row too short": (GOOD.replace("|:--|--:|", "|:--|"), ["unequal_cells"]),
    "alignment row missing": (GOOD.replace("|:--|--:|\n", ""), ["no_alignment_row"]),
    "alignment row with a gap": (GOOD.replace("|:--|--:|", "|--||--|"), ["unequal_cells"]),
    "header missing": (GOOD.split("\n", 1)[1], ["no_header"]),
    "blank line behind the header": (GOOD.replace("|:--", "\n|:--"), ["no_header"]),
    "blank line between rows": (GOOD.replace("| Milan", "\n| Milan"), ["stray_row"]),
    "row indented by four": (GOOD.replace("| Milan", "    | Milan"), ["stray_row"]),
    "table in a fence besides": (GOOD + f"\n```\n{ROWS}```\n", []),
    "text right behind": (GOOD.replace("|\n\n**Q", "|\n**Q"), ["text_in_table"]),
    "two tables": (ROWS + "\n" + ROWS + QUESTION, ["several_tables"]),
    "second table broken": (ROWS + "\n| a | b |\n|---|\n| 1 | 2 |\n" + QUESTION, ["several_tables"]),
    "html": ("<table>\n<tr><td>Rome</td></tr>\n</table>\n" + QUESTION, ["html_table"]),
    "full-width bars": (GOOD.replace("|", "｜"), ["no_table"]),
    "one column": ("| City |\n|---|\n| Rome |\n" + QUESTION, ["too_few_columns"]),
    "header only": ("| City | Inhabitants |\n|---|---|\n" + QUESTION, ["no_rows"]),
    "title and caption": (f"# Cities\n\n{ROWS}\n*Table 1: cities of Italy*\n{QUESTION}", []),
    "Q and A": (ROWS + "\nQ: Which is largest?\nA: Rome.\n", []),
    "Q1 and A1": (ROWS + "\n**Q1.** Which is largest?\n\n**A1:** Rome.\n", []),
    "headings": (ROWS + "\n### Question\n\nWhich is largest?\n\n### Answer\n\nRome.\n", []),
    "words on lines of their own": (ROWS + "\n**Question**\nWhich is largest?\n**Answer**\nRome.\n", []),
    "bold question": (ROWS + "\n**Which is largest?**\n\nRome.\n", []),
    "unmarked, no blank line": (ROWS + "\nWhich is largest?\nRome.\n", []),
    "all on one line": (ROWS + "\nQuestion: Which is largest? Answer: Rome.\n", []),
    "unmarked on one line": (ROWS + "\n**Which is largest?** Rome.\n", []),
    "in a list of two": (ROWS + "\n1. **Question:** Which is largest?\n2. **Answer:** Rome.\n", []),
    "emoji": (ROWS + "\n❓ **Question:** Name the largest.\n💡 **Answer:** Rome.\n", []),
    "rule between": (ROWS + "\n---\n\n**Question:** Which is largest?\n\n---\n\n**Answer:** Rome.\n", []),
    "full-width marks": (ROWS + "\nQuestion：どの都市が最大ですか？\n\nAnswer：ローマです。\n", []),
    "Arabic marks": (ROWS + "\nما هي أكبر مدينة؟\n\nروما هي الأكبر.\n", []),
    "Arabic labels": (ROWS + "\n**السؤال:** ما هي أكبر مدينة؟\n\n**الإجابة:** روما.\n", []),
    "Greek marks": (ROWS + "\nΠοια είναι η μεγαλύτερη;\n\nΗ Ρώμη.\n", []),
    "Spanish labels": (ROWS + "\n**Pregunta:** Di la mayor.\n\n**Respuesta:** Roma.\n", []),
    "Chinese on one line": (ROWS + "\n问题：哪个最大？答案：罗马。\n", []),
    "unmarked Chinese on one line": (ROWS + "\n哪个最大？罗马最大。\n", []),
    "two questions in Russian": (
        ROWS + "\nВопрос: Какой больше?\nОтвет: Рим.\n\nВопрос: Какой меньше?\nОтвет: Милан.\n",
        ["several_questions", "several_answers"],
    ),
    "Hindi without an answer": (ROWS + "\nप्रश्न: सबसे बड़ा कौन सा है?\n", ["no_answer"]),
    "legend of letters": (ROWS + "\nF: female, D: died, P: people\n\nWhich is largest?\n\nRome.\n", []),
    "request instead of a question": (ROWS + "\n**Question:** Name the largest city.\n\n**Answer:** Rome.\n", []),
    "underlined headings": (ROWS + "\nQuestion\n========\n\nName one.\n\nAnswer\n======\n\nRome.\n", []),
    "request behind the question": (ROWS + "\nQuestion: Which? Give one only.\n\nAnswer: Rome.\n", []),
    "question of two sentences": (ROWS + "\nQuestion: Look at Rome. Is it larger?\nBy how much?\n\nAnswer: Yes.\n", []),
    "answer of two paragraphs": (GOOD + "\nThe second largest is Milan.\n", []),
    "answer without text": (ROWS + "\nQuestion: Which is largest?\n\nAnswer:\n", ["no_answer"]),
    "question without text": (ROWS + "\nQuestion:\nAnswer: Rome.\n", ["no_question"]),
    "statement only": (ROWS + "\nRome is largest.\n", ["no_question", "no_answer"]),
    "closing question": (GOOD + "\nWould you like another table?\n", ["several_questions"]),
    "nothing": ("", ["no_table", "no_question", "no_answer"]),
    "prose": ("Rome is a city.", ["no_table", "no_question", "no_answer"]),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_hard_case(text, expected):
    assert names(text) == expected


def test_thresholds():
    assert names(GOOD, min_rows=2, min_columns=2) == []
    assert names(GOOD, min_rows=3) == ["no_rows"]
    assert names(GOOD, min_columns=3) == ["too_few_columns"]


def test_details_are_short_and_say_where():
    measure = table(ROWS + "| Turin |\n" + QUESTION)[0]
    assert measure.detail == "unequal_cells: row 3 has 1, the header 2"
    for text, _ in CASES.values():
        assert all(len(measure.detail) < 120 for measure in table(text.replace("Rome", "Rome" * 100)))


def test_parts_of_a_sample():
    sample = read(GOOD.replace("| Rome", r"| **Ro\|me**&nbsp;[x](y)"))
    assert sample.rows[0] == ["City", "Inhabitants"]
    assert sample.rows[1] == ["Ro|me\xa0x", "2,800,000"]
    assert sample.questions == ["Which city has the most inhabitants?"]
    assert sample.answers == ["Rome has the most, with 2,800,000."]


def test_cells_and_plain_text():
    assert cells(r"| a | `b \| c` ||") == ["a", r"`b \| c`", ""]
    assert cells("a | b") == ["a", "b"]
    assert cells("|") == []
    assert plain("１２３％ of **x_y** and _z_") == "123% of x_y and z"


def test_lines_of_a_table_are_those_the_parser_sees():
    found = parse("text\n\n1. item\n\n   | a | b |\n   |---|---|\n   | 1 | 2 | 3 |\n\nmore").tables
    assert [(one.begin, one.end) for one in found] == [(4, 7)]
    assert found[0].rows == [["a", "b"], ["---", "---"], ["1", "2", "3"]]


def test_tables_stand_where_the_library_finds_them():
    """The rule of our own must agree with the library's about all kinds of mixtures."""
    library = MarkdownIt("commonmark").enable("table")
    parts = ["| a | b |", "|---|---|", "a | b", "--|--", "| 1 |", "", "", "text", "# head", "---", "- x", "  ", "```"]
    parts += [
        "    | c | d |",
        "> | a | b |",
        "> |---|---|",
        "> ",
        "1. | a | b |",
        "   |:-:|--:|",
        "<div>",
        "\\| a",
        "2. y",
    ]
    seen = 0
    for seed in range(1500):
        rng = random.Random(seed)
        text = "\n".join(
            rng.choices((parts[:8], parts[:12], parts, [*parts[:5], parts[13]])[seed % 4], k=rng.randint(2, 14))
        )
        expected = [token.map for token in library.parse(text) if token.type == "table_open"]
        assert [[found.begin, found.end] for found in parse(text).tables] == expected, text
        seen += len(expected)
    assert seen > 500


# --- properties: whole samples pass, and each way to break them is found by its name ---

WORDS = ["amber", "basalt", "cedar", "delta", "ember", "flint", "garnet", "harbor", "iris", "jasper", "kelp", "lumen"]


def random_cell(rng: random.Random) -> str:
    word = f"{rng.choice(WORDS)} {rng.randrange(1000)}"
    cells = [word, f"**{word}**", f"`x \\| {word}`", f"{word} \\| y", f"[{word}](http://a.b/c)", f"*{word}* km²"]
    cells += [f"{word} &amp; co", f"数据{word}", "１２", f"{rng.randrange(10**6):,}", f"−{rng.random():.2f} %"]
    return rng.choice(cells)


def random_table(rng: random.Random) -> tuple[list[str], int]:
    """Lines of a well-formed table, and how many columns it has."""
    columns = rng.randint(2, 6)
    header = [f"{rng.choice(['', '**'])}Column {i}" for i in range(columns)]
    header = [name + "**" if name.startswith("**") else name for name in header]
    if rng.random() < 0.3:
        header[0] = ""
    alignment = [rng.choice(["---", ":--", "--:", ":-:"]) for _ in range(columns)]
    rows = [[random_cell(rng) for _ in range(columns)] for _ in range(rng.randint(1, 9))]
    bare = bool(header[0]) and rng.random() < 0.3  # without outer pipes
    lines = []
    for row in (header, alignment, *rows):
        inner = rng.choice([" | ", "|", "  |  "]).join(row)
        lines.append(inner if bare else f"| {inner} |")
    return lines, columns


def random_question(rng: random.Random) -> tuple[str, str]:
    question = f"Which {rng.choice(WORDS)} is the largest?"
    answer = f"The {rng.choice(WORDS)} is the largest of all."
    marks = [("**Question:** ", "**Answer:** "), ("Q: ", "A: "), ("### Question\n\n", "### Answer\n\n")]
    marks += [("**Q:** ", "**A:** "), ("Question: ", "Answer: "), ("", ""), ("- Question: ", "- Answer: ")]
    before, behind = rng.choice(marks)
    return before + question, behind + answer


def joined(lines: list[str], *paragraphs: str) -> str:
    return "\n\n".join(["\n".join(lines), *paragraphs])


@pytest.mark.parametrize("seed", range(200))
def test_whole_samples_pass(seed):
    rng = random.Random(seed)
    lines, _ = random_table(rng)
    assert names(joined(lines, *random_question(rng))) == []


def drop_cell(lines, columns, rng):
    i = rng.randrange(2, len(lines))
    lines[i] = "| " + " | ".join(["x"] * (columns - 1)) + " |"


def add_cell(lines, columns, rng):
    i = rng.randrange(2, len(lines))
    lines[i] = "| " + " | ".join(["x"] * (columns + 1)) + " |"


def longer_alignment(lines, columns, rng):
    lines[1] = "|" + "---|" * (columns + 1)


def empty_row(lines, columns, rng):
    lines.insert(rng.randrange(2, len(lines) + 1), "|" + "  |" * columns)


def duplicate_row(lines, columns, rng):
    lines.append(rng.choice(lines[2:]))


def duplicate_header(lines, columns, rng):
    header = [f"Name {i}" for i in range(columns)]
    header[rng.randrange(1, columns)] = "*NAME 0*"
    lines[0] = "| " + " | ".join(header) + " |"


def empty_header(lines, columns, rng):
    header = [f"Name {i}" for i in range(columns)]
    header[rng.randrange(1, columns)] = " "
    lines[0] = "| " + " | ".join(header) + " |"


def no_rows(lines, columns, rng):
    del lines[2:]


def no_header(lines, columns, rng):
    lines[0:2] = ["|" + "---|" * columns]


def no_alignment(lines, columns, rng):
    lines[1] = "| " + " | ".join(["x"] * columns) + " |"
    lines[0] = lines[1]


def fenced(lines, columns, rng):
    fence = rng.choice(["```", "~~~~", "```markdown"])
    lines[:] = [fence, "| a | b |", "|---|---|", "| 1 | 2 |", fence.removesuffix("markdown")]


def split_by_a_blank_line(lines, columns, rng):
    lines += ["", "| " + " | ".join(["x"] * columns) + " |"]


def twice(lines, columns, rng):
    lines += ["", *lines]


def text_behind(lines, columns, rng):
    lines.append("The figures are from last year.")


BREAKS = [
    (drop_cell, "unequal_cells"),
    (add_cell, "unequal_cells"),
    (longer_alignment, "unequal_cells"),
    (empty_row, "empty_row"),
    (duplicate_row, "duplicate_row"),
    (duplicate_header, "duplicate_header"),
    (empty_header, "empty_header"),
    (no_rows, "no_rows"),
    (no_header, "no_header"),
    (no_alignment, "no_alignment_row"),
    (fenced, "table_in_code"),
    (split_by_a_blank_line, "stray_row"),
    (twice, "several_tables"),
    (text_behind, "text_in_table"),
]


@pytest.mark.parametrize(("break_table", "name"), BREAKS, ids=[way.__name__ for way, _ in BREAKS])
def test_broken_tables_are_found_by_name(break_table, name):
    for seed in range(60):
        rng = random.Random(seed)
        lines, columns = random_table(rng)
        break_table(lines, columns, rng)
        assert names(joined(lines, *random_question(rng))) == [name], joined(lines)


def test_broken_questions_are_found_by_name():
    for seed in range(60):
        rng = random.Random(seed)
        lines, _ = random_table(rng)
        question, answer = random_question(rng)
        labelled = not question.startswith("Which")
        other = "**Question:** Which one comes last?"
        assert names(joined(lines, question)) == ["no_answer"]
        assert names(joined([question, "", *lines], answer)) == (
            ["question_before_table"] if labelled else ["question_before_table", "no_answer"]
        )
        assert names(joined([question, "", answer, "", *lines])) == ["question_before_table"]
        assert names(joined(lines, "Answer: It is amber.")) == ["no_question"]
        assert names(joined(lines, question, answer, other)) == ["several_questions"]
        assert names(joined(lines, question, answer, other, "**Answer:** The last.")) == [
            "several_questions",
            "several_answers",
        ]
        assert names(joined(lines)) == ["no_question", "no_answer"]


# --- the answer ---

MEDALS = [
    ["Country", "Continent", "Gold", "Silver", "Share", "Budget"],
    ["Norway", "Europe", "16", "8", "12.5%", "$1.2 million"],
    ["Germany", "Europe", "12", "10", "25%", "$2.4 million"],
    ["China", "Asia", "9", "4", "30%", "$800,000"],
    ["Japan", "Asia", "3", "6", "9%", "$1,500,000"],
]

FOUND = {
    "cell": ("Who won most?", "Norway, with 16."),
    "cell with a scale": ("Who spent least?", "China, with $0.8 million."),
    "cell rounded": ("Whose share is least but one?", "It is Norway's, about 13%."),
    "sum of a column": ("How many gold medals in all?", "There were 40."),
    "sum of a continent": ("How many gold medals went to Asia?", "It won 12 of them, Europe 28."),
    "sum of named rows": ("How many gold medals did Norway and Japan win?", "They won 19."),
    "sum of three named rows": ("What do Norway, Germany and Japan have in gold?", "In gold they have 31."),
    "difference": ("By how much did Norway beat Japan?", "It won 13 more."),
    "difference of continents": ("By how much did Europe beat Asia?", "It won 16 more."),
    "sum of a row": ("How many medals in all for Germany?", "22 in all."),
    "product with a count": ("What would Norway win in 5 games?", "It would win 80."),
    "mean": ("What is the mean of the silver medals?", "It is 7."),
    "ratio": ("How do gold medals of Norway and China compare?", "They differ by a factor of 1.78."),
    "percentage": ("Which part of its medals is Norway's gold?", "Its gold is 40% of all gold."),
    "more by percent": ("How much more gold than Germany did Norway win?", "33.3% more."),
    "count of rows": ("How many countries are there?", "There are 4."),
    "count of a group": ("How many are in Asia?", "2 countries."),
    "count above a limit": ("How many won more than 8 gold medals?", "That were 3 countries."),
    "sum of scaled": ("What did Norway and Germany spend?", "They spent $3.6 million."),
    "full-width": ("Who won most?", "ノルウェー、16。"),
    "names": ("Who won most?", "It was Norway."),
    "number words": ("How many are from Asia?", "There are two."),
}


@pytest.mark.parametrize(("question", "answer"), FOUND.values(), ids=FOUND)
def test_answers_that_follow_from_the_table(question, answer):
    assert share_found(MEDALS, question, answer) == (1.0, "")


NOT_FOUND = {
    "wrong number": ("Who won most?", "Norway, with 47.", 0.0, "47"),
    "one of two": ("Who won most?", "Norway, with 16 of 57.", 0.5, "57"),
    "percentage without its sign": ("How much more gold?", "It is 33.3 more.", 0.0, "33.3"),
    "name": ("Who won most?", "It was Sweden.", 0.0, "Sweden"),
    "one name of two": ("Who won most?", "It was Norway, not Sweden.", 0.5, "Sweden"),
    "more than there are": ("How many won?", "There were seven.", 0.0, "seven"),
}


@pytest.mark.parametrize(("question", "answer", "share", "missing"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_answers_that_do_not(question, answer, share, missing):
    assert share_found(MEDALS, question, answer) == (share, missing)


def test_every_share_is_exact():
    for count, found in ((size, part) for size in range(1, 11) for part in range(size + 1)):
        rows = [["Name"], *([str(10_007 + 1000 * n)] for n in range(count))]
        stated = [rows[n + 1][0] if n < found else str(5_000_000_019 + 70_000_003 * n * n) for n in range(count)]
        assert share_found(rows, "Which?", f"They are {' and '.join(stated)}.")[0] == found / count


def test_numbers_of_the_question_are_no_evidence():
    assert share_found(MEDALS, "Did one win more than 16?", "No, 16 is most.") == (None, "")
    assert share_found(MEDALS, "Did one win more than 57?", "57 is more than the 16 of most.") == (1.0, "")


def test_cells_of_rows_that_are_not_named_are_not_combined():
    rows = [["City", "People"], *zip("ABCDE", ["90,100", "70,020", "50,003", "30,500", "10,007"], strict=True)]
    rows = [rows[0], *([f"{name}-town", people] for name, people in rows[1:])]
    assert share_found(rows, "What is the sum?", "It is 120,023.") == (1.0, "")
    assert share_found(rows, "What is the sum?", "B-town and C-town have 120,023.") == (1.0, "")
    assert share_found(rows, "What is the sum?", "D-town has 120,023.") == (0.0, "120,023")


def test_counts():
    rows = [["City", "Land"], ["Rome", "Italy"], ["Milan", "Italy"], ["Turin", "Italy"], ["Lyon", "France"]]
    for count, expected in ((4, 1.0), (3, 1.0), (2, 1.0), (5, 0.0), (7, 0.0)):
        assert share_found(rows, "How many are there?", f"There are {count}.")[0] == expected


def test_nothing_to_check():
    assert share_found(MEDALS, "Did Norway win?", "Yes, it did.") == (None, "")
    measure = table(ROWS + "\nIs Rome larger?\n\nYes.\n")[1]
    assert (measure.value, measure.passed, measure.detail) == (None, True, "nothing to check")


def test_threshold_of_the_answer():
    text = GOOD.replace("with 2,800,000", "with 2,800,000 of 9,999,999")
    assert table(text)[1][1:] == (0.5, False, 'not in the table: "9,999,999"')
    assert table(text, min_found=0.5)[1].passed


def test_random_results_are_found_and_others_mostly_not():
    rng = random.Random(3)
    missed = chance = 0
    for _ in range(200):
        values = [rng.randrange(10_000, 99_999) for _ in range(6)]
        rows = [["Item", "Value"], *([f"{WORDS[i]}", f"{value:,}"] for i, value in enumerate(values))]
        a, b = rng.sample(values, 2)
        right = rng.choice([sum(values), round(sum(values) / 6, 1), a + b, abs(a - b), max(values), 3 * a])
        missed += share_found(rows, "What is it, 3 times?", f"It is {right:,}.")[0] != 1
        chance += share_found(rows, "What is it, 3 times?", f"It is {rng.randrange(10_000, 99_999):,}.")[0] == 1
    assert missed == 0
    assert chance <= 4


def test_numbers():
    found = numbers("1,234.5, −5 °C, 10-20, H2O, 2nd, 3,5, .25, 5.5 million, 20 %, 1\u202f234, 12.05.2020")
    values = [1234.5, -5, 10, 20, 3.5, 0.25, 5.5, 20, 1234, 12.05, 2020]
    assert [number.value for number in found] == values
    assert found[6].scale == 1e6
    assert found[7].percent


# --- hostile texts of 1 MB: too long for the check as a whole, so its parts are shown them, too ---

MB = 1_000_000
HOSTILE = {
    "pipes": "|" * MB,
    "rows": "| a | b |\n|---|---|\n" + "|1|2|\n" * 100_000,
    "rows too short": "|a|b|c|d|\n|-|-|-|-|\n" + "|\n" * (MB // 2),
    "emphasis": "*a **b " * (MB // 7),
    "backticks": "`a" * (MB // 2),
    "brackets": "[" * MB,
    "links": "[a](" * (MB // 4),
    "tags": "<a " * (MB // 3),
    "quotes": ">" * MB,
    "list marks": "- " * (MB // 2),
    "blank lines": "\n" * MB,
    "alignment rows": "|---|---|\n" * (MB // 10),
    "fences": "```\n|a|b|\n|-|-|\n```\n" * (MB // 20),
    "question marks": "a?\n\n" * (MB // 4),
    "labels": "Question: a?\nAnswer: b\n" * (MB // 23),
    "digits": "1,234" * (MB // 5),
    "numbers": "1 " * (MB // 2),
    "spaces": " " * MB,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_linear_time(text):
    with cpu_limit():
        assert table(text)[0].detail.startswith("too_long")
        read(text[:MAX_CHARACTERS])
        table(ROWS + "\nWhich?\n\n" + text[: MAX_CHARACTERS - 200])
        plain(text)
        cells(text)
        numbers(text)


def test_large_tables_take_bounded_time():
    rng = random.Random(5)
    for columns in (2, 100):
        count = 9_000 // columns
        rows = [[str(rng.randrange(10**6)) for _ in range(columns)] for _ in range(count)]
        lines = ["|".join(f"c{i}" for i in range(columns)), "|".join(["---"] * columns), *("|".join(r) for r in rows)]
        wrong = " ".join(f"{rng.randrange(10**9)}.{i}" for i in range(5000))
        with cpu_limit():
            table(joined(lines, "What are 5 and 7?", f"They are {wrong}."))
