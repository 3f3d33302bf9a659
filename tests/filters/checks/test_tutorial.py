import random

import pytest

from blocks.filters.checks.tutorial import tutorial
from tests.conftest import cpu_limit

GOOD = [
    ("1. Mix the flour.\n2. Bake it.\n3. Let it cool.", 3),
    ("1) Mix the flour.\n2) Bake it.\n3) Let it cool.", 3),
    ("1. Mix the flour.\n\n1. Bake it.\n\n1. Let it cool.", 3),
    ("- Mix the flour.\n- Bake it.\n- Let it cool.", 3),
    ("* **Mix** the flour.\n* **Bake** it.\n* **Cool**: let it stand.", 3),
    ("# Bread\n\n## Ingredients\n- flour\n- salt\n\n## Steps\n1. Mix the flour.\n2. Bake it.\n3. Let it cool.", 3),
    ("### Step 1: Mix\nMix the flour.\n\n### Step 2: Bake\nBake it.\n\n### Step 3: Cool\nLet it cool.", 3),
    ("**Step 1: Mix**\nMix it.\n\n**Step 2: Bake**\n- Heat it.\n- Bake it.\n\n**Step 3: Cool**\nLet it cool.", 3),
    ("**Step 1:** Mix the flour.\n**Step 2:** Bake it.\n**Step 3:** Let it cool.", 3),
    ("Step 1: Mix the flour.\nStep 2: Bake it.\nStep 3: Let it cool.\n\nStep 2 is hard.", 3),
    ("Step 1\nMix the flour.\n\nStep 2\nBake it.\n\nStep 3\nLet it cool.", 3),
    ("## Step One - Mix\nMix.\n\n## Step Two - Bake\nBake.\n\n## Step Three - Cool\nLet it cool.", 3),
    ("- **Step 1**: Mix the flour.\n- **Step 2**: Bake it.\n- **Step 3**: Let it cool.", 3),
    ("1. **Step 1: Mix**\n   Mix the flour.\n2. **Step 2: Bake**\n   Bake it.\n3. **Step 3: Cool**\n   Wait.", 3),
    ("## 1. Mix\nMix the flour.\n\n## 2. Bake\nBake it.\n\n## 3. Cool\nLet it cool.\n\n## Tips\nUse salt.", 3),
    ("**1. Mix**\nMix the flour.\n\n**2. Bake**\nBake it.\n\n**3. Cool**\nLet it cool.", 3),
    ("## Section 1: Mix\nMix it.\n## Section 2: Bake\nBake it.\n## Section 3: Cool\nLet it cool.", 3),
    ("## Part 1: Mix\nMix it.\n\n## Part 2: Bake\nBake it.\n\n## Part 3: Cool\nLet it cool.", 3),
    (
        "1. **Mix the flour**:\n   - Add salt.\n   - Add water.\n2. **Bake**:\n   1. Heat.\n   2. Bake.\n"
        "3. **Cool it**",
        3,
    ),
    ("1. Mix:\n- flour\n- salt\n2. Bake it.\n3. Let it cool.", 3),
    ("## Dough\n1. Mix the flour.\n2. Knead it.\n\n## Oven\n1. Heat it.\n2. Bake the bread.", 4),
    ("## Dough\n1. Mix the flour.\n2. Knead it.\n\n## Oven\n3. Heat it.\n4. Bake the bread.", 4),
    ("For the dough:\n1. Mix the flour.\n2. Knead it.\n\nFor the oven:\n1. Heat it.\n2. Bake the bread.", 4),
    ("1. First, open the lid.\n2. To clean it, you should use soap.\n3. Once it is dry, carefully close it.", 3),
    ("1. Preparation: wash your hands.\n2. The oven - heat it.\n3. **Cooling**\n   Let it cool.", 3),
    ("  1. Mix the flour.\n  2. Bake it.\n  3. Let it cool.", 3),
    ("- **Dough**\n  1. Mix the flour.\n  2. Knead it.\n- **Oven**\n  1. Heat it.\n  2. Bake it.", 6),
    ("1. Mix the flour.\n\nIt takes long.\n\n2. Bake it.\n\n```\n# 7. code\n9. code\n```\n\n3. Let it cool.", 3),
    ("### Step 0: Wash\nWash up.\n### Step 1: Mix\nMix it.\n### Step 2: Bake\nBake it.", 3),
    ("1. Please don't rush.\n2. Let's begin.\n3. Double-check the lid.\n4. Rinse.\n5. Dry it.\n6. Rinse.", 6),
    ("• Mix the flour.\n• Bake it.\n• Let it cool.", 3),
    (
        "**Step 1:** Open a shell.\n\n```npm init -y```\n\n**Step 2:** Add a file.\n\n**Step 3:** Begin again.\n\n"
        "```npm init -y```\n\n**Step 4:** Look at it.",
        4,
    ),
    ("### 🍅 Step 1: Cut\n\nCut it.\n\n### 🔥 Step 2: Fry\n\nFry it.\n\n### 👨‍🍳 Step 3: Serve\n\nServe it.", 3),
    ("✅ **Step 1: Cut**\n\nCut it.\n\n✅ **Step 2: Fry**\n\nFry it.\n\n✔️ **Step 3**\n\nServe it.", 3),
    ("**🍅 Step 1: Cut**\n\nCut it.\n\n**🔥 Step 2: Fry**\n\nFry it.\n\n**🍽️ Step 3: Serve**\n\nServe it.", 3),
    ("- 🍅 **Step 1**: Cut it.\n- 🔥 **Step 2**: Fry it.\n- 🍽️ **Step 3**: Serve it.", 3),
    ("### 🍅 1. Cut\n\nCut it.\n\n### 🔥 2. Fry\n\nFry it.\n\n### 🍽️ 3. Serve\n\nServe it.", 3),
    ("### 1️⃣ Cut\n\nCut it.\n\n### 2️⃣ Fry\n\nFry it.\n\n### 3️⃣ Serve\n\nServe it.", 3),
    ("1️⃣ **Cut**\n\nCut it.\n\n2️⃣ **Fry**\n\nFry it.\n\n3️⃣ **Serve**\n\nServe it.", 3),
    ("**1️⃣ Cut**\nCut it.\n\n**2️⃣ Fry**\nFry it.\n\n**3️⃣ Serve**\nServe it.", 3),
    ("**🍅 1️⃣ Cut**\nCut it.\n\n🔥 **2️⃣ Fry**\nFry it.\n\n**3️⃣: Serve**\nServe it.", 3),
    ("Step 1️⃣: Cut it.\nStep 2️⃣: Fry it.\nStep 3️⃣: Serve it.", 3),
    ("\n".join(f"{mark} Fold the paper." for mark in ("1️⃣ First,", "2️⃣ Then", "3⃣ Again,")), 3),
    (
        "\n".join(
            f"### {''.join(f'{digit}️⃣' for digit in str(n)) if n != 10 else '🔟'} Fold\n\nFold it {n} times."
            for n in range(1, 13)
        ),
        12,
    ),
    (
        "**Method 1: With Salt**\n\nStep 1: Take salt.\nStep 2: Rub it in.\n\n"
        "**Method 2: With Water**\n\nStep 1: Pour water.\nStep 2: Wait.",
        4,
    ),
    (
        "**With Salt**\n\n**Step 1:** Take salt.\n\n**Step 2:** Rub it in.\n\n"
        "**With Water**:\n\nIt is milder.\n\n**Step 1:** Pour water.\n\n**Step 2:** Wait.",
        4,
    ),
    ("**Salt**\n\n**1. Take**\nTake it.\n\n**Water**\n\n**1. Pour**\nPour it.\n\n**2. Wait**\nWait.", 3),
    ("Step 1: Mix it.\nStep 2a: Bake it.\nStep 2b: Fry it.\nStep 3: Let it cool.", 4),
    ("Step 1: Mix it.\nStep 2: Bake it.\nStep 2b: Fry it instead.\nStep 3: Let it cool.", 4),
    ("Step 1: Mix it.\nStep 2: Heat it.\nStep 2(a): Bake it.\nStep 2 (b): Fry it.\nStep 3: Let it cool.", 5),
    (
        "#### Step 1: Mix\nMix it.\n#### Step 2: Heat\nHeat it.\n#### Step 2.1: Bake\nBake it.\n"
        "#### Step 2.2: Fry\nFry it.\n#### Step 3: Cool\nCool it.",
        5,
    ),
    ("### Step 1\n#### Step 1.1: Mix\nMix it.\n#### Step 1.2: Bake\nBake it.\n### Step 2: Cool\nLet it cool.", 3),
    ("Step 1.1: Mix it.\nStep 1.2: Bake it.\nStep 2.1: Let it cool.\nStep 2.1.1: Cut it.\nStep 2.2: Eat it.", 5),
    ("Step 1.0: Mix it.\nStep 2.0: Bake it.\nStep 2.1: Let it cool.\nStep 3.0: Eat it.", 4),
    ("Step 1: Mix it.\nStep 2: Bake it.\nStep 3: Let it cool.\n\nStep 2.1 is hard, and Step 2a is not.", 3),
    ("## Part 1.1: Mix\nMix it.\n## Part 1.2: Bake\nBake it.\n## Part 2.1: Cool\nLet it cool.", 3),
]


@pytest.mark.parametrize(("text", "steps"), GOOD)
def test_well_formed(text, steps):
    measure, verbs = tutorial(text)
    assert measure == ("tutorial", steps, True, "")
    assert verbs.passed


@pytest.mark.parametrize(
    ("text", "fault", "steps"),
    [
        ("", "no_steps", 0),
        ("Bread is made of flour.\n\n## Baking\nIt is baked.", "no_steps", 0),
        ("1. Mix the flour.\n2. Bake it.", "too_few_steps", 2),
        ("\n".join(f"{n}. Mix the flour {n} times." for n in range(1, 102)), "too_many_steps", 101),
        ("1. Mix the flour.\n2. Bake it.\n4. Let it cool.", "numbering_gap", 3),
        ("2. Mix the flour.\n3. Bake it.\n4. Let it cool.", "numbering_gap", 3),
        ("1. Mix the flour.\n2. Bake it.\n2. Let it cool.", "numbering_repeat", 3),
        ("1. Mix the flour.\n2. Bake it.\n1. Let it cool.", "numbering_repeat", 3),
        ("1. Mix the flour.\n1. Bake it.\n2. Let it cool.\n2. Eat it.", "numbering_repeat", 4),
        ("### Step 1: Mix\nMix.\n### Step 3: Bake\nBake.\n### Step 4: Cool\nCool.", "numbering_gap", 3),
        ("## 1. Mix\nMix.\n## 2. Bake\nBake.\n## 2. Cool\nCool.", "numbering_repeat", 3),
        ("**1. Mix**\nMix.\n**2. Bake**\nBake.\n**4. Cool**\nCool.", "numbering_gap", 3),
        ("1. Mix the flour.\n2.\n3. Let it cool.", "empty_step", 3),
        ("- Mix the flour.\n-\n- Let it cool.", "empty_step", 3),
        ("### Step 1:\n### Step 2: Mix\nMix.\n### Step 3: Bake\nBake.", "empty_step", 3),
        ("1. Mix flour and salt.\n2. Bake it.\n3. Mix flour, and salt!", "duplicate_step", 3),
        ("### Step 1: Mix\nAdd the salt.\n### Step 2: Mix\nAdd the salt.\n### Step 3: Eat\nEat.", "duplicate_step", 3),
        ("**Step 1:** Mix it.\n\n```\nmake it\n\n**Step 2:** Bake it.\n\n**Step 3:** Cool it.", "too_few_steps", 1),
        ("**Step 1:** Mix it.\n\n```mix```\n\n**Step 2:** Bake it.\n\n**Step 4:** Cool it.", "numbering_gap", 3),
        ("### 🍅 Step 1: Cut\nCut.\n### 🔥 Step 3: Fry\nFry.\n### 🍽️ Step 4: Serve\nServe.", "numbering_gap", 3),
        ("✅ **Step 1: Cut**\nCut.\n✅ **Step 2: Fry**\nFry.\n✅ **Step 2: Serve**\nServe.", "numbering_repeat", 3),
        ("### 1️⃣ Cut\nCut.\n### 3️⃣ Fry\nFry.\n### 4️⃣ Serve\nServe.", "numbering_gap", 3),
        ("1️⃣ Cut it.\n2️⃣ Fry it.\n2️⃣ Serve it.", "numbering_repeat", 3),
        ("### ✅ Step 1:\n### ✅ Step 2: Mix\nMix.\n### ✅ Step 3: Bake\nBake.", "empty_step", 3),
        ("✅ Flour is white.\n✅ Salt is, too.\n✅ So is milk.", "no_steps", 0),
        ("**Salt**\nStep 1: Mix it.\nStep 2: Bake it.\n**Water**\nStep 2: Let it cool.", "numbering_repeat", 3),
        ("**Salt**\nStep 1: Mix it.\nStep 2: Bake it.\n**Water**\nStep 4: Let it cool.", "numbering_gap", 3),
        ("Step 1: Mix it.\nStep 2: Bake it.\n**Now** it is hot.\nStep 1: Let it cool.", "numbering_repeat", 3),
        # A bold line beneath headings is a part of its step.
        ("### Step 1: Mix\nMix.\n### Step 2: Bake\n**Note**\nBake.\n### Step 1: Eat\nEat.", "numbering_repeat", 3),
        ("Step 1: Mix it.\nStep 2a: Bake it.\nStep 2c: Fry it.\nStep 3: Let it cool.", "numbering_gap", 4),
        ("Step 1: Mix it.\nStep 2b: Bake it.\nStep 3: Let it cool.", "numbering_gap", 3),
        ("Step 1: Mix it.\nStep 2a: Bake it.\nStep 2a: Fry it.\nStep 3: Let it cool.", "numbering_repeat", 4),
        ("Step 1: Mix it.\nStep 2.1: Bake it.\nStep 2: Fry it.\nStep 3: Let it cool.", "numbering_repeat", 4),
        ("Step 1: Mix it.\nStep 2.1: Bake it.\nStep 4: Let it cool.", "numbering_gap", 3),
        ("Step 1.1: Mix it.\nStep 1.2: Bake it.\nStep 1.1: Let it cool.", "numbering_repeat", 3),
        ("Step 2.1: Mix it.\nStep 2.2: Bake it.\nStep 2.3: Let it cool.", "numbering_gap", 3),
        ("### Step 1: Mix\nMix.\n### Step 2\n### Step 3: Bake\nBake.", "empty_step", 3),
        ("Step 1: Mix it.\nStep 1a: Add the salt now.\nStep 1b: Add the salt now.", "duplicate_step", 3),
    ],
)
def test_faults(text, fault, steps):
    measure = tutorial(text)[0]
    assert not measure.passed
    assert measure.detail.partition(":")[0] == fault
    assert measure.value == steps


def test_steps_with_one_title_may_differ():
    assert tutorial("### Step 1: Mix\nAdd salt.\n### Step 2: Mix\nAdd water.\n### Step 3: Eat\nEat.")[0].passed


VERBS = [
    "Open the lid.",
    "**Open** the lid.",
    "First, open the lid.",
    "Then open the lid.",
    "Carefully open the lid.",
    "To clean it, use soap.",
    "To open the lid, turn it.",
    "When it boils, pour it out.",
    "In a large bowl, mix the flour.",
    "You should open the lid.",
    "Do not open the lid.",
    "Don't open the lid.",
    "Make sure it is closed.",
    "**The lid**: Open it.",
    "The lid - open it.",
    "Opening the lid",
    "Setting it up",
    "Using a spoon, stir it.",
    "Double-check the lid.",
    "Preheat: heat the oven.",
]
OTHERS = [
    "The lid is open.",
    "Water is heavy.",
    "Tides rise twice a day.",
    "Use of tools",
    "A red lid",
    "It opens the lid.",
    "Carefully",
    "42",
]


@pytest.mark.parametrize("step", VERBS)
def test_instructions(step):
    assert tutorial(f"- {step}", min_steps=1)[1].value == 1


@pytest.mark.parametrize("step", OTHERS)
def test_statements(step):
    measure = tutorial(f"- {step}", min_steps=1)[1]
    assert measure.value == 0
    assert not measure.passed
    assert measure.detail == step


def test_share_of_verbs():
    text = "1. Open the lid.\n2. The soup is hot.\n3. The lid is red.\n4. The lid is blue."
    assert tutorial(text)[1] == ("tutorial_verbs", 0.25, False, "The soup is hot.")
    assert tutorial(text, min_verbs=0.25)[1].passed


def test_every_share_of_verbs_is_exact():
    for count, found in ((size, part) for size in range(1, 31) for part in range(size + 1)):
        steps = ["Open the lid."] * found + ["The lid is red."] * (count - found)
        measure = tutorial("\n".join(f"{n}. {step}" for n, step in enumerate(steps, 1)), min_verbs=found / count)[1]
        assert (measure.value, measure.passed) == (found / count, True)


def test_nothing_to_begin_with_a_verb():
    assert tutorial("A text.")[1] == ("tutorial_verbs", None, True, "nothing to check")


STYLES = [
    "{n}. {step}",
    "{n}. **{step}**\n   {body}",
    "{n}. {step}\n\n{body}\n",
    "### Step {n}: {step}\n\n{body}\n",
    "**Step {n}: {step}**\n{body}\n",
    "Step {n}: {step}",
    "## {n}. {step}\n\n- {body}\n- Or not.\n",
    "**{n}. {step}**\n\n{body}\n",
    "- **Step {n}**: {step}",
    "### 🍅 Step {n}: {step}\n\n{body}\n",
    "✅ **Step {n}: {step}**\n\n{body}\n",
    "**🔥 Step {n}: {step}**\n{body}\n",
    "### {n}️⃣ {step}\n\n{body}\n",
    "{n}️⃣ **{step}**\n\n{body}\n",
    "🔧 Step {n}️⃣: {step}",
    "Step 1.{n}: {step}",
]
BULLETS = ["- {step}", "* **{step}** {body}", "- {step}\n  - {body}"]
STEPS = [
    f"{verb} the {thing} on day {day}"
    for day in (1, 2)
    for verb in ("Open", "Wash", "Cut", "Fold")
    for thing in ("lid", "paper")
]


@pytest.mark.parametrize("style", STYLES + BULLETS)
def test_built_tutorials(style):
    for seed in range(40):
        rng = random.Random(seed)
        steps = rng.sample(STEPS, rng.randint(4, 12))
        intro = rng.choice(["", "# How to do it\n\nThis is easy.\n\n", "You need:\n\n"])

        def write(steps, numbers, intro=intro):
            return intro + "\n".join(
                style.format(n=n, step=step, body=f"Take {step.lower()} slowly.")
                for n, step in zip(numbers, steps, strict=True)
            )

        numbers = list(range(1, len(steps) + 1))
        assert tutorial(write(steps, numbers))[0] == ("tutorial", len(steps), True, "")
        assert tutorial(write(steps, numbers))[1].value == 1
        at = rng.randrange(1, len(steps))
        again = [*steps[:at], steps[0], *steps[at:]]
        assert tutorial(write(again, [*numbers, len(again)]))[0].detail.startswith("duplicate_step")
        if style in STYLES:
            gap = [n if n <= at else n + 1 for n in numbers]
            assert tutorial(write(steps, gap))[0].detail.startswith("numbering_gap")
            repeat = [n if n <= at else n - 1 for n in numbers]
            found = tutorial(write(steps, repeat))[0].detail
            assert found.startswith("numbering_repeat") or at == 1


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "- a\n" * 200_000,
        "1. a b c d\n" * 90_000,
        "1.\n" * 330_000,
        "-\n" * 500_000,
        "Step 1: " * 125_000,
        "Step 1:\n" * 125_000,
        "**Step 1\n" * 110_000,
        "**" * 500_000,
        "# 1. a\n" * 140_000,
        "1" * 1_000_000,
        "1. " * 330_000,
        "- " * 500_000,
        "\t" * 1_000_000,
        "  - " * 250_000,
        "".join(" " * (n % 50) + "- a\n" for n in range(38_000)),
        "- " + "first, " * 140_000,
        "- " + "to " * 330_000,
        "- a: " + "-" * 1_000_000,
        "?" * 1_000_000,
        "🍅" * 1_000_000,
        "🍅 " * 500_000,
        "🍅 x\n" * 250_000,
        "1️⃣" * 330_000,
        "1️⃣\n" * 250_000,
        "1. " * 330_000 + "🍅",
        "Step 1" + ".1" * 500_000,
        "**🍅 Step 1a\n" * 80_000,
        "".join(f"Step {n % 1000}.{n % 1000}.{n % 1000}: é\n" for n in range(50_000)),
    ],
    ids=range(29),
)
def test_hostile(text):
    with cpu_limit():
        tutorial(text)
