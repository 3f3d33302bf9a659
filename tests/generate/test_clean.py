import random

import pytest

from blocks.generate.clean import Cleaned, clean, trim_to_sentence
from blocks.generate.prompts import load_prompt

FAQ = load_prompt("faq").text
TABLE = "| a | b |\n|---|---|\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("  Plain text.\n", "Plain text."),
        ("Sure! Here is the FAQ:\n\n**What is it?**\nA pool.", "**What is it?**\nA pool."),
        ("Sure, here's the FAQ:\nQ: What?\nA: That.", "Q: What?\nA: That."),
        ("Certainly! Here's a comprehensive FAQ based on the document:\n\nQ: What?", "Q: What?"),
        ("Of course!\n\nQ: What?", "Q: What?"),
        ("**Sure!**\nHere is your table:\n" + TABLE, TABLE),
        ("Here is the markdown table:\n\n" + TABLE, TABLE),
        ("Here’s a step-by-step tutorial on tying knots:\n\n1. Take a rope.", "1. Take a rope."),
        ("Here's a tutorial based on the document:\n1. Wash.", "1. Wash."),
        ("Here is a math word problem based on the given text.\n\nAnna buys 3 pens.", "Anna buys 3 pens."),
        ("Here is a math word problem based on the text: Anna buys 3 pens.", "Anna buys 3 pens."),
        ("Sure! Here is the problem: Anna buys 3 pens.", "Anna buys 3 pens."),
        ("**Here is the FAQ:**\n\n## Basics", "## Basics"),
        ("Below is a rewritten version of the text:\n\nTide pools form.", "Tide pools form."),
        ("I have created a list of questions based on the document:\n\nWhat?", "What?"),
        ("I'd be happy to help! Here is a table with the key data:\n\n" + TABLE, TABLE),
        ("Okay, I'm glad to help with that.\n\nHere are the questions and answers:\n\nWhat?", "What?"),
        ("Okay, let's create a tutorial based on the document.\n\n1. Wash.", "1. Wash."),
        ("Alright, let's turn this document into a tutorial!\n\n1. Wash.", "1. Wash."),
        ("**Let’s rewrite the text as a FAQ:**\n\nQ: What?", "Q: What?"),
        ("Okay, let's create a FAQ.\n\nHere is the FAQ:\n\nQ: What?", "Q: What?"),
        ("Based on the document provided, here is a step-by-step tutorial:\n\n1. Wash.", "1. Wash."),
        ("As requested, here is the tutorial:\n\n1. Wash.", "1. Wash."),
        ("Sure! Based on the text, here are the questions:\n\nWhat?", "What?"),
        ("```markdown\n" + TABLE + "\n```", TABLE),
        ("```\n" + TABLE + "\n```\n", TABLE),
        ("Here is the table:\n\n```md\n" + TABLE + "\n```", TABLE),
        ("```markdown\nHere is the table:\n\n" + TABLE + "\n```", TABLE),
        ("```markdown\n# T\n\n```python\nx\n```\n\nEnd.\n```", "# T\n\n```python\nx\n```\n\nEnd."),
        ("```markdown\n" + TABLE, TABLE),
        ("~~~\nText.\n~~~", "Text."),
        ("```markdown\n# T\n\n```make it```\n\nEnd.\n```", "# T\n\n```make it```\n\nEnd."),
        ("```markdown\n# T\n\n```make it```\n\nEnd.", "# T\n\n```make it```\n\nEnd."),
        ("~~~\nText.\n\n~~~a`b\nx\n~~~\n\nEnd.\n~~~", "Text.\n\n~~~a`b\nx\n~~~\n\nEnd."),
    ],
)
def test_what_belongs_to_the_chat_goes(answer, text):
    assert clean(answer, FAQ) == Cleaned(text, None)


@pytest.mark.parametrize(
    "text",
    [
        "Here is how photosynthesis works: light drives the reaction.",
        "Here is how photosynthesis works:\n\n1. Light falls on the leaf.",
        "Here is what you need:\n- flour\n- water",
        "Here is a list of the rivers of Europe:\n- Danube",
        "Here are the questions that Darwin asked:\n1. Why?",
        "Here is the answer: 42 apples.",
        "Here is the table about which the king wrote.\nIt is old.",
        "Let's make bread.\n\n1. Wash your hands.",
        "Okay, let's make bread!\n\n1. Wash your hands.",
        "Let's create a table in a spreadsheet.\n\n1. Click.",
        "Let's turn this document round.\n\nIt is blank.",
        "Okay, let's create a tutorial is what she said. He laughed.",
        "Based on his letters, here is a list of the towns:\n- Bonn",
        "Based on the document, the court decided:\n\nNo.",
        "As requested, the court decided.\n\nNo.",
        "Here lies the king.\n\nHe was old.",
        "Certainly, the king was old.\n\nHe died.",
        "Sure footing matters.\n\nWear boots.",
        "Sure, steel is strong. But aluminium is light.",
        "Great Britain is an island.\n\nIt is large.",
        "Okay is a village.\nIt has 90 people.",
        "The following is known about tides:\n\nThey come twice a day.",
        "I made tables for a living.\n\nThen the war came.",
        "Below are the steps:\n1. Wash.",
        "Q: Is it deep?\nA: Sure! Here is the FAQ:\nmore",
        "## FAQ\n\nSure!\n\nMore.",
        "```python\nprint(1)\n```",
        "```\na\n```\n\nText.\n\n```\nb\n```",
        "```markdown\na\n```\n\nAnd then text.",
        "Run this:\n\n```\nmake\n```",
        "Text with `code` and ``` in the middle.",
        "```make it```\n\nMore.",
        "```markdown\nmake it```\n\n```python\nx",
    ],
)
def test_text_stays_as_it_is(text):
    assert clean(text, FAQ) == Cleaned(text, None)


@pytest.mark.parametrize(
    "answer",
    ["", " \n\t", "```markdown\n```", "```\n\n```", "Sure!", "Sure! Here is the FAQ:", "---", "…", "| | |\n|---|---|"],
)
def test_empty(answer):
    assert clean(answer, FAQ).reason == "empty"


@pytest.mark.parametrize("name", ["faq", "math", "table", "tutorial"])
def test_echoes(name):
    instruction = load_prompt(name).text
    lines = [line for line in instruction.split("\n") if len(line.split()) > 12]
    for line in lines:
        assert clean(line, instruction).reason == "prompt_echo"
        assert clean(f"A pool.\n\n**{line.upper().replace(' ', '  ')}**\n\nMore.", instruction).reason == "prompt_echo"
    words = instruction.split()
    apart = " zebra ".join(" ".join(words[first : first + 8]) for first in range(0, len(words), 8))
    assert clean(apart, instruction).reason is None
    # The placeholder's name and the words around it are no instruction.
    assert clean("Reply with the FAQ only. Document: tide pools are small seas.", instruction).reason is None


def test_an_answer_is_no_echo_of_another_prompt():
    assert clean(FAQ, load_prompt("math").text).reason is None


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with this request.",
        "Sorry, I am unable to create a table from this text.",
        "I apologize, but as an AI language model, I cannot do so.",
        "I cannot create a math word problem because the document has no numbers.",
        "I am not able to write a FAQ about this topic.",
        "Unfortunately, the document does not contain any numbers to build a problem from.",
        "The text does not provide enough information to create a tutorial.",
        "There is not enough information in the document to build a table.",
        "As an AI language model, I don't have opinions.",
        "Please provide the document you would like me to rewrite.",
        "Could you please provide me with the text?",
        "Sure!\n\nI cannot fulfill this request.",
    ],
)
def test_refusals(answer):
    assert clean(answer, FAQ).reason == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear that you lost the key. Call the locksmith.",
        "“I'm sorry,” said Tom, “I can't come.” He stayed at home.",
        "Unfortunately, no lifeguards were on duty that day.",
        "I can't help but admire the tides.",
        "I could not believe my eyes.",
        "As an AI researcher, she studied language.",
        "The document does not have legal force until it is signed.",
        "Please provide your passport at the border.",
        "There is no water in the desert.",
        "Q: Why do I get an error?\nA: I'm sorry, but I can't help with that, says the server.",
        "I'm sorry, but I can't help with that, said the clerk. "
        + "The queue went on for hours and nobody moved. " * 14,
    ],
)
def test_no_refusals(text):
    assert clean(text, FAQ).reason is None


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("One. Two. Thr", "One. Two."),
        ("One. Two.", "One. Two."),
        ('He said "no." And th', 'He said "no."'),
        ("**Bold.** Mor", "**Bold.**"),
        ("Pi is 3.14 and", ""),
        ("no end at all", ""),
        ("", ""),
        ("第一句。第二句", "第一句。"),
        ("- one thing\n- two things\n- thr", "- one thing\n- two things"),
        ("1. Wash.\n2. Cut them. Then\n3.", "1. Wash.\n2. Cut them. Then"),
        ("1. Wash.\n2. Cut them. Then", "1. Wash.\n2. Cut them."),
        ("Text.\n\n- \n", "Text."),
        ("Text.\n\n## Next part\n", "Text."),
        ("Text.\n\nFor example:\n", "Text."),
        ("Text.\n\n- Ingredients:\n  ", "Text."),
        ("Text.\n\n```python\nx = 1. \ny", "Text."),
        ("Text.\n\n```\nx\n```\n\nMore. An", "Text.\n\n```\nx\n```\n\nMore."),
        ("Text.\n\n```make it```\n\nMore. An", "Text.\n\n```make it```\n\nMore."),
        ("Text.\n\n```make it```\n\n```python\nx = 1. \ny", "Text."),
        ("Text.\n\n```\n```make it```\nx = 1. \ny", "Text."),
        ("Text.\n\n```make it. An", "Text."),
        ("Text.\n\n~~~ a `b`\nx. y", "Text."),
        (TABLE + "\n| 3 |", TABLE),
        (TABLE + "\n| 3 | 4 |", TABLE + "\n| 3 | 4 |"),
        (TABLE + "\n| 3 | 4. Or", TABLE),
        (TABLE + "\n\nQuestion: Wh", TABLE),
        ("Text.\n\n| a | b |\n|---|---|\n| 1", "Text."),
        ("Text.\n\n| a | b |\n|--", "Text."),
        ("Text.\n\n| a | b", "Text."),
    ],
)
def test_trim_to_sentence(text, trimmed):
    assert trim_to_sentence(text) == trimmed


def test_long_hostile_answers_finish():
    n = 1_000_000
    rng = random.Random(0)
    words = [
        *FAQ.split(),
        "Sure!\n",
        "Here is the FAQ:\n",
        "```\n",
        "```markdown\n",
        "|",
        "- ",
        "\n",
        " ",
        "I cannot ",
        ". ",
    ]
    answers = [
        *(
            piece * (n // len(piece))
            for piece in ("a", " ", "Sure!\n", "Here is ", "```\n", "`", "*", "|", "|-", "- ", "\n")
        ),
        *(f"Sure! Here is the table{piece * n}x" for piece in (" ", "*", "\n ", "a-", "a ")),
        *(f"x.{piece * n}x" for piece in (" ", "*", ")", "\n")),
        "Sorry " + "I cannot " * (n // 9),
        " ".join(FAQ.split()[:11] * (n // 60)),
        " ".join(rng.choices(words, k=200_000)),
    ]
    for answer in answers:
        cleaned = clean(answer, FAQ)
        assert len(cleaned.text) <= len(answer)
        assert answer.startswith(trim_to_sentence(answer))


@pytest.mark.parametrize(
    "end",
    [
        "Would you like me to create another problem based on this document?",
        "---\n\nWould you like me to delve deeper into any specific aspect?",
        "Do you want me to:\n\n* Explain a step?\n* Add an example?",
        "If you have any further questions, feel free to ask!",
        "I hope this helps! Let me know if you need more.",
        "**Would you like more details?**",
    ],
)
def test_closing_remarks_are_cut(end: str) -> None:
    for text in ("# Knots\n\nThe **clove hitch** is a knot.", "**Q: What?**\nA: It is **a knot**"):
        assert clean(f"{text}\n\n{end}", "") == Cleaned(text, None)
        assert clean(text, "") == Cleaned(text, None)


def test_an_answer_of_nothing_but_a_remark_stays() -> None:
    assert clean("Would you like me to go on?", "").text == "Would you like me to go on?"
    assert (
        clean("Ask: “Would you like me to wait?” Then wait.", "").text == "Ask: “Would you like me to wait?” Then wait."
    )
