"""Every prompt of the repository: its front matter, its text in both layouts, and answers that its checks accept."""

from __future__ import annotations

import re

import pytest

from blocks.filters.verify import run_rules, verify
from blocks.generate.prompts import PLACEHOLDER, PROMPTS, known_prompts, load_prompt, load_wordings
from blocks.rephrase.sections import parse_sections

KNOWN = {prompt.name: prompt for prompt in known_prompts()}
WORDINGS = [wording for name in KNOWN for wording in load_wordings(name)]
IDS = [f"{wording.name}.{wording.variant}".rstrip(".") for wording in WORDINGS]

FAMILIES = {
    "baseline": "rephrase",
    "beyondweb": "continue summarize",
    "ipt": "reading_comprehension",
    "nemotron": "distill diverse_qa extract_knowledge knowledge_list wikipedia",
    "rephrase": "article commentary discussion explanation faq math narrative table tutorial",
    "rewire": "guided_rewrite",
    "wrap": "wrap_easy wrap_hard wrap_medium wrap_qa",
}

# Only one of the layouts has the document there.
ONE_LAYOUT = re.compile(
    r"\b(?:above|below|following|preceding|attached|at the (?:end|top|bottom) of this (?:message|prompt))\b", re.I
)

SOURCE = (
    "Four lighthouses have stood on the Eddystone rocks, about 14 km south-west of Plymouth Sound. Henry Winstanley "
    "lit the first one in 1698; it was made of wood and was lost in the great storm of 1703, together with its "
    "builder. John Rudyerd's tower followed in 1709 and burned down in 1755. John Smeaton shaped the third like the "
    "trunk of an oak and locked its granite blocks into each other with dovetail joints. He also found out that lime "
    "from clay-rich stone hardens under water. His tower of 22 m was lit in 1759 and stood until the rock under it "
    "began to crack. James Douglass finished the present tower, 49 m high, in 1882. The upper part of Smeaton's tower "
    "stands on Plymouth Hoe today, where visitors can climb its 93 steps."
)
# Answers as a model may well give them, laid out as the wordings ask for, and in ways that models have of their own.
ANSWERS = {
    "diverse_qa": """Question: Was the first lighthouse on the Eddystone rocks made of stone?
Answer: No, it was made of wood.

Question: Which joints held the blocks of Smeaton's tower together? A) iron chains B) dovetail joints C) wooden pegs
Answer: B) dovetail joints

Question: How many years did Rudyerd's tower stand?
Answer: It stood for 46 years, from 1709 to 1755.

Question: True or false: can visitors still climb a part of Smeaton's tower?
Answer: True. Its upper part stands on Plymouth Hoe.""",
    "diverse_qa with options on lines": """1. Question: Which force destroyed Rudyerd's tower?
A) Water
B) Fire
C) Wind
   Answer: B) Fire. It burned down in 1755.

2. Question: What did Smeaton find out about lime?
   Answer: Lime from stone that is rich in clay hardens under water.""",
    "wrap_qa": """Question: Who built the first lighthouse on the Eddystone rocks?
Answer: Henry Winstanley did. His tower of wood was lit in 1698.

Question: And what became of it?
Answer: It was lost in the great storm of 1703, as mentioned before, and he with it.

Question: What happened to the second one?
Answer: John Rudyerd's tower of 1709 burned down in 1755.""",
    "wrap_qa in Markdown": """**Question:** What kind of lime hardens under water?

**Answer:** Lime that is made of stone with much clay in it.

**Question:** When was Smeaton's lighthouse lit?

**Answer:** It was lit in 1759 and was 22 m high.""",
    "reading_comprehension": """Question: According to the text, why was the third tower given up?
Answer: The rock under it had begun to crack, so the tower was no longer safe, although it held.

Question: Which tower was destroyed by fire: the first, the second or the third?
Answer: The second, which John Rudyerd had built.""",
    "reading_comprehension, main idea": """Question: What is the main idea of the passage?
Answer: Each of the four lighthouses was built after the former one had been lost.

Question: Is it true that the present lighthouse is the lowest of all?
Answer: No. It has 49 m, while Smeaton's had only 22 m.""",
    "knowledge_list": """- The Eddystone rocks lie about 14 km south-west of Plymouth Sound.
- Winstanley's wooden lighthouse of 1698 was destroyed in the great storm of 1703.
- Dovetail joints lock granite blocks into each other and were used in Smeaton's tower.
- Lime from clay-rich stone hardens under water.""",
    "knowledge_list, nested": """* **Location:** The Eddystone rocks are situated about 14 km from Plymouth Sound.
* **Towers on the rocks:**
  * Winstanley's tower was wooden and stood from 1698 to 1703.
  * Rudyerd's tower stood from 1709 until it burned down in 1755.
* **Present tower:** James Douglass finished it in 1882; it is 49 m high.""",
    "guided_rewrite": """Four lighthouses have warned ships of the Eddystone rocks, about 14 km south-west of Plymouth
Sound, and each taught its builders something new. Henry Winstanley lit the first one in 1698; it was made of wood and
was lost in the great storm of 1703, together with its builder. Six years later John Rudyerd completed a second tower,
which burned down in 1755.

John Smeaton looked to nature. An oak withstands gales because its trunk is wide at the foot, so he gave his tower that
shape and locked its granite blocks into each other with dovetail joints. It was lit in 1759. In the end it was not the
tower that failed but the rock, and James Douglass built the present tower of 49 m in 1882.""",
    "math.story": """Nell let go of the rope. "Ninety-three steps," she said, "and we have 40 children to bring up
before the tower closes in 75 minutes." Only 8 children could climb at a time, and each group needed 12 minutes. How
many minutes would be left when the last group was down?

Solution: Nell counts the groups: 40 / 8 = 5 groups. They need 5 × 12 = 60 minutes, which leaves 75 - 60 = 15 minutes.
So there would be 15 minutes left.""",
    "math.given": """Between 1698 and 1755 two towers were lit on the same rock.

- first tower: lit 1698, lost 1703
- second tower: lit 1709, burned 1755

What is the average number of years for which one of them stood?

Solution:
1. 1703 - 1698 = 5 years for the first tower
2. 1755 - 1709 = 46 years for the second tower
3. (5 + 46) / 2 = 25.5 years on average

Answer: 25.5 years""",
    "faq.headings": """### Why did the lighthouses on the Eddystone rocks have to be rebuilt so often?
The first tower was lost in the great storm of 1703, and the second burned down in 1755.

### Is it true that a lighthouse was shaped like a tree?
Yes. John Smeaton gave his tower the shape of the trunk of an oak.""",
    "faq.plain": """Q: Who lost his life in his own lighthouse?
A: Henry Winstanley died in the storm of 1703.

Q: Where is the upper part of Smeaton's tower today?
A: It stands on Plymouth Hoe.""",
    "table.caption": """The builders of the Eddystone lighthouses and the years in which these were lit.

| Lighthouse | Builder | Lit |
|---|---|---:|
| First | Henry Winstanley | 1698 |
| Second | John Rudyerd | 1709 |

When was the lighthouse of John Rudyerd lit?

It was lit in 1709.""",
    "table.compare": """| Builder | Lit | Height (m) |
|---|---:|---:|
| Rudyerd | 1709 | unknown |
| Smeaton | 1759 | 22 |
| Douglass | 1882 | 49 |

Q: How much higher is the tower of Douglass than that of Smeaton?
A: It is 27 m higher, since 49 - 22 = 27.""",
    "tutorial.lesson": """How can a tower be built so that it stands in the sea for a hundred years?

## Step 1: Choose the right shape
Look at the trunk of an oak, which is wide at the foot.

## Step 2: Lock the blocks
Cut the blocks so that they grip each other. Such joints are called dovetail joints.

## Step 3: Use the right mortar
Burn lime from clay-rich stone, since it hardens under water.""",
    "tutorial.checklist": """By the end you can tell the Eddystone lighthouses apart.

1. Remember the place: the rocks lie about 14 km from Plymouth Sound.
2. Note the first tower, of wood, by Henry Winstanley.
3. Compare it with Rudyerd's tower, which burned down in 1755.
4. Check the height of the present tower: it has 49 m.""",
}


def test_the_library_is_complete_and_names_are_unique_over_families():
    found: dict[str, str] = {}
    for path in sorted(PROMPTS.glob("*/*.md")):
        if path.parent.name in FAMILIES and "." not in path.stem:
            found[path.parent.name] = f"{found.get(path.parent.name, '')} {path.stem}".strip()
            assert load_prompt(path.stem) == load_prompt(str(path)) == KNOWN[path.stem]
    assert found == FAMILIES
    readme = (PROMPTS / "README.md").read_text()
    assert [name for name in KNOWN if f"| `{name}`" not in readme] == []


@pytest.mark.parametrize("name", KNOWN)
def test_front_matter_says_all_that_others_rely_on(name):
    prompt = KNOWN[name]
    assert prompt.family in FAMILIES and 1024 <= (prompt.max_tokens or 0) <= 4096
    assert len(prompt.description.split()) >= 4 and prompt.description.endswith(".")
    assert re.search(r"\(arXiv \d{4}\.\d{5}\)", prompt.source) and prompt.source.endswith("; our wording")
    assert len(prompt.extra["intent"].split()) >= 4
    low, high = prompt.extra["length_ratio"]
    assert 0 < low < high <= 10 and high >= 3 * low
    assert run_rules([prompt], {})[name]
    assert prompt.extra.keys() <= {"intent", "length_ratio", "verify", "tags", "joined", "route"}


def test_parts_of_answers_are_declared_where_the_instruction_asks_for_them():
    declared = {name: sections for name, prompt in KNOWN.items() if (sections := parse_sections(prompt))}
    assert set(declared) == {"guided_rewrite", "reading_comprehension"}
    assert (declared["guided_rewrite"].reasoning, declared["guided_rewrite"].text) == ("analysis", "rewrite")
    assert declared["reading_comprehension"].after_document
    for prompt in WORDINGS:
        sections = parse_sections(prompt)
        tags = {tag for tag in (sections.reasoning, sections.text) if tag}
        assert set(re.findall(r"</?([a-z]+)>", prompt.text)) == tags


def test_wordings_differ_and_inherit_the_rest():
    assert len({wording.hash for wording in WORDINGS}) == len(WORDINGS)
    variants = {
        name: [wording.variant for wording in load_wordings(name)] for name in ("faq", "math", "table", "tutorial")
    }
    assert all(found[0] == "" and len(found) == 3 for found in variants.values())
    for wording in WORDINGS:
        first = KNOWN[wording.name]
        assert (wording.extra, wording.max_tokens, wording.source) == (first.extra, first.max_tokens, first.source)
        assert wording.variant == "" or wording.description != first.description


@pytest.mark.parametrize("prompt", WORDINGS, ids=IDS)
def test_texts_work_in_both_layouts(prompt):
    document = "Tide pools.\n\nThey fall dry twice a day."
    assert prompt.text.endswith(f"\n\nDocument:\n{PLACEHOLDER}")
    for layout in ("instruction-first", "document-first"):
        assert prompt.render(document, layout).count(document) == 1
    assert prompt.render(document, "document-first").startswith(f"Document:\n{document}\n\n")
    *instruction, last, _ = prompt.text.split("\n\n")
    assert "the document" in instruction[0] or "the document" in instruction[1]
    assert last.startswith("Reply with ") and " only" in last.split(".")[0]
    assert not ONE_LAYOUT.search(prompt.text)
    assert len(prompt.text.split()) <= 180  # small models lose track of longer instructions


@pytest.mark.parametrize("kind", ANSWERS)
def test_checks_accept_good_answers(kind):
    name = re.match(r"\w+", kind)[0]
    findings = verify(ANSWERS[kind], SOURCE, run_rules([KNOWN[name]], {})[name])
    assert [measure.detail for measure, verdict in findings if verdict == "reject"] == []
    flagged = {measure.check for measure, verdict in findings if verdict == "flag"}
    assert flagged <= ({"numbers"} if name == "math" else set())  # a problem may choose its own numbers


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("diverse_qa", "The Eddystone rocks lie off Plymouth Sound. " * 3, "faq"),
        ("knowledge_list", ANSWERS["knowledge_list"].replace("\n- ", "\n"), "tutorial"),
        ("summarize", SOURCE + " " + ANSWERS["guided_rewrite"], "length"),
        ("article", ANSWERS["table.caption"].split("\n")[0], "length"),
    ],
)
def test_checks_reject_what_is_not_that_format(name, answer, reason):
    findings = verify(answer, SOURCE, run_rules([KNOWN[name]], {})[name])
    assert reason in {measure.check for measure, verdict in findings if verdict == "reject"}


def test_faithful_formats_flag_what_was_added():
    added = (
        "The tower of 1934 by Ludwig Baumgartner, seen from Rotterdam and Bergen, was 77 m high and cost 5,120 ducats."
    )
    for name in ("distill", "extract_knowledge", "wikipedia", "summarize", "rephrase", "wrap_medium", "knowledge_list"):
        findings = verify(added, SOURCE, run_rules([KNOWN[name]], {})[name])
        assert {"numbers", "names"} <= {measure.check for measure, verdict in findings if verdict == "flag"}
