"""A scripted writer: whole answers in four formats about documents of its own, some of them spoilt in a known way.

What a run's summary says can be held against what was really done to its samples: `FAULTS` says what must become of a
sample that is spoilt so. Which one is, and how, depends on its prompt alone.
"""

from __future__ import annotations

import random
import re

import xxhash

FORMATS = ("faq", "math", "table", "tutorial")

FAULTS: dict[str, tuple[tuple[str, ...], str, str]] = {
    # fault: the formats that it is done to, what becomes of the sample, and why
    "cut_off": (FORMATS, "rejected", "cut_off"),
    "empty": (FORMATS, "rejected", "empty"),
    "refusal": (FORMATS, "rejected", "refusal"),
    "echo": (FORMATS, "rejected", "prompt_echo"),
    "loop": (FORMATS, "rejected", "repetition"),
    "german": (("faq",), "rejected", "language"),
    "no_pairs": (("faq",), "rejected", "faq"),
    "torn_row": (("table",), "rejected", "table"),
    "no_solution": (("math",), "rejected", "math_problem"),
    "no_steps": (("tutorial",), "rejected", "tutorial"),
    "invented": (("faq", "tutorial"), "flagged", "numbers"),
    "wrong_sum": (("math",), "flagged", "equations"),
    "wrong_answer": (("table",), "flagged", "table_answer"),
}

DOCUMENT = (
    "The {name} Bridge crosses the river north of the old market and was opened in {year}. It is {metres} metres long "
    "and rests on {arches} arches of grey stone. {workers} masons worked on it for several summers, because the water "
    "is too high in winter. For a long time it carried {load}, and a toll was paid at the southern end. The first "
    "keeper of the {name} Bridge wrote down the height of the water every morning, and {boats} boats passed in a week."
)
FACTS = re.compile(
    r"The (?P<name>\w+) Bridge .* in (?P<year>\d+)\. It is (?P<metres>\d+) .* on (?P<arches>\d+) arches .*?"
    r"(?P<workers>\d+) masons .* carried (?P<load>[\w ]+), .* and (?P<boats>\d+) boats"
)
GOOD = {
    "faq": (
        "**Where does the {name} Bridge stand?**\n\nThe {name} Bridge crosses the river to the north of the old "
        "market.\n\n**When was the {name} Bridge opened?**\n\nIt was opened in {year}, after {workers} masons had "
        "built it of grey stone.\n\n**How long is the {name} Bridge?**\n\nThe {name} Bridge has a length of {metres} "
        "metres and stands on {arches} arches."
    ),
    "table": (
        "| Property of the {name} Bridge | Value |\n|:---|---:|\n| Year of opening | {year} |\n| Length in metres | "
        "{metres} |\n| Arches | {arches} |\n| Masons | {workers} |\n\n**Question:** How many arches does the {name} "
        "Bridge have?\n\n**Answer:** The {name} Bridge has {arches} arches."
    ),
    "math": (
        "**Problem:** At the {name} Bridge, {workers} masons worked in the first summer, and {boats} more came in the "
        "second. How many masons worked there in the second summer, and how many in both together?\n\n**Solution:**\n"
        "1. Masons in the second summer: {workers} + {boats} = {second}\n2. Masons in both summers: {workers} + "
        "{second} = {both}\n\n**Answer:** {both} masons"
    ),
    "tutorial": (
        "# How to get to know the {name} Bridge\n\n1. **Find the place.** Walk to the river north of the old market, "
        "where the {name} Bridge crosses it.\n2. **Count the arches.** Look at the {arches} arches of grey stone and "
        "compare them with the length of {metres} metres.\n3. **Learn its history.** Read that {workers} masons built "
        "it and that it was opened in {year}.\n4. **Watch the river.** Write down how high the water is, as the first "
        "keeper did every morning."
    ),
}
GERMAN = (
    "**Wann wurde die Brücke eröffnet?**\n\nDie Brücke wurde schon vor langer Zeit eröffnet und wird noch heute von "
    "vielen Menschen benutzt.\n\n**Warum ist sie so bekannt?**\n\nSie trägt auch schwere Wagen sicher über den Fluss, "
    "und niemand in der Stadt möchte sie missen.\n\n**Wer hat sie gebaut?**\n\nMaurer aus der ganzen Gegend haben sie "
    "gebaut."
)


def document(number: int) -> str:
    """A document about a bridge of its own."""
    dice = random.Random(number)
    name = "".join(dice.choices(["Ald", "Ber", "Cor", "Dun", "Ela", "Fen", "Gor", "Hal"], k=3)).title()
    loads = ["carts with grain", "herds of sheep", "the mail of three counties", "stone from the hills"]
    return DOCUMENT.format(
        name=name,
        year=1500 + number,
        metres=dice.randint(40, 900),
        arches=dice.randint(3, 29),
        workers=dice.randint(100, 999),
        boats=dice.randint(30, 99),
        load=dice.choice(loads),
    )


def write(prompt: str) -> tuple[str, str, str, str]:
    """The answer to a prompt, its finish reason, its format, and what is wrong with it ("" for two of three)."""
    instruction, _, source = prompt.partition("Document:\n")
    marks = {"faq": "complete FAQ", "math": "word problem", "table": "markdown table", "tutorial": "clear tutorial"}
    (name,) = (name for name, mark in marks.items() if mark in instruction)
    lot = xxhash.xxh3_64_intdigest(prompt.encode())
    possible = [fault for fault, (formats, _, _) in FAULTS.items() if name in formats]
    fault = "" if lot % 3 else possible[lot // 3 % len(possible)]
    found = FACTS.search(source)
    assert found is not None, source
    facts: dict[str, object] = dict(found.groupdict())
    facts["second"] = int(found["workers"]) + int(found["boats"])
    facts["both"] = int(found["workers"]) + int(str(facts["second"])) + (fault == "wrong_sum")
    text = spoil(GOOD[name].format(**facts), fault, instruction)
    return text, "length" if fault == "cut_off" else "stop", name, fault


def spoil(text: str, fault: str, instruction: str) -> str:
    if fault == "cut_off":
        return text[: len(text) // 2]
    if fault == "empty":
        return " \n"
    if fault == "refusal":
        return "I'm sorry, but I cannot help with that request."
    if fault == "echo":
        return f"{instruction}{text}"
    if fault == "loop":
        return text.replace("\n\n", "\n\n" + "It goes on and on, and on it goes as it always went. " * 40 + "\n\n", 1)
    if fault == "german":
        return GERMAN
    if fault in ("no_pairs", "no_steps"):
        return " ".join(re.findall(r"[A-Z][^.?*#\n]+\.", text))
    if fault == "torn_row":
        return text.replace("| Arches |", "| Arches | of stone |")
    if fault == "no_solution":
        return text.partition("**Solution:**")[0]
    if fault == "invented":
        return text.replace(
            "metres", "metres, 4,817 yards, 77,341 feet, 90,043 inches, 6,391 chains, 17,777 rods and 8,653 furlongs"
        )
    if fault == "wrong_answer":
        return re.sub(r"has \d+ arches", "has 311 arches", text)
    return text
