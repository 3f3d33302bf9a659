import random

import pytest

from blocks.filters.checks.math import math_problem, split_problem
from tests.conftest import cpu_limit

GOOD = [
    "Problem: A pool holds 40 litres. Two taps add 5 litres each. How much is in it?\n\n"
    "Solution: 2 × 5 = 10. 40 + 10 = 50."
    "\n\nAnswer: 50 litres",
    "**Problem:** Anna has 12 apples and eats 4. How many are left?\n\n**Solution:** 12 - 4 = 8\n\n"
    "**Answer:** 8 apples.",
    "### Problem\n\nA train runs 120 km in 2 hours. What is its speed?\n\n### Solution\n\n1. Speed = distance / time\n"
    "2. 120 / 2 = 60 km/h\n\n**Final answer: 60 km/h**",
    "## Math Word Problem\n\nA farm has 30 cows. Each gives 20 litres a day. How many litres in 7 days?\n\n"
    "## Step-by-Step Solution\n\n**Step 1:** 30 × 20 = 600\n\n**Step 2:** 600 × 7 = 4,200\n\n"
    "Therefore, the farm gets 4200 litres.",
    "Question: A shirt costs $25.00 and is 20% off. What is the price?\n"
    "Answer: 25 × 0.2 = 5. 25 - 5 = $20.00.\n#### 20",
    "Tom walks 3 miles a day. How many miles does he walk in 4 weeks?\n\nTom walks 3 * 7 = 21 miles a week.\n"
    "In 4 weeks he walks 21 * 4 = 84 miles.",
    "Tom walks 3 miles a day for 4 weeks. Calculate the distance.\n\nTo find it, multiply: 3 × 28 = 84 miles.\n"
    "So he walks 84 miles.",
    "**Question:** A tank has 200 L. 1/4 leaks. How much is left?\n\n**Solution:**\n"
    "\\[ 200 \\times \\frac{1}{4} = 50 \\]\n"
    "\\[ 200 - 50 = 150 \\]\n\nThe final answer is \\boxed{150}.",
    "Problem: Of 80 birds 40 are gulls. What share?\nSolution: 40/80 = 0.5\nAnswer: 50%",
    "Problem: Of 80 birds 40 are gulls. What share?\nSolution: 40/80 = 1/2\nAnswer: 0.5",
    "Problem: A car costs $1,000 and tax is 20%. What is the total?\nSolution: 1000 × 1.2 = $1,200.00\nAnswer: $1200",
    "Problem: 25 people ride in vans of 8. How many vans are needed?\n"
    "Solution: 25 / 8 = 3.125. Round up to whole vans.\n"
    "Answer: 4 vans",
    "Problem: Split 10 km in 3 parts. How long is one?\nSolution: 10 / 3 = 3.3333 km\nThe answer is about 3.33 km.",
    "Problem: Sam has 5 boxes of 6 eggs and drops 2 eggs. How many are whole?\nSolution: Sam begins with 30 eggs. "
    "After the fall he has 28.\n#### 28",
    "Problem: Sam has 3 pens and buys 4. How many pens?\nSolution: 3 + 4 = 7\n\nTherefore, Sam has seven pens.",
    "Problem: A has 650 000 cars, B half. How many?\nSolution: 650 000 / 2 = 325 000 cars\n#### 325,000",
    "Problem: 6 miles at 12 mph. How long?\nSolution: 6/12 = .5 hours, which is 30 minutes.\n#### 30",
    "Problem: A has 3 boxes of 12. How many?\nSolution: 3 × 12 = 36\nThe answer is thirty-six.",
    "Problem: A sells 3 for $5 and paid $20. Profit?\nSolution: 15 - 20 = -5\nAnswer: a loss of $5",
    "Problem: Share 100 km by 3?\nSolution: 100 / 3 ≈ 33.33\nAnswer: 33 1/3 km",
    "Problem: 3 and 5, doubled?\n\nSolution:\n\n$$\n3 + 5 &= 8 \\\\\n8 \\times 2 &= 16\n$$\n\nThe answer is $16$.",
    "Problem: A job takes 90 minutes. How many hours do 4 jobs take?\nSolution: 4 × 90 = 360 minutes = 6 hours.\n"
    "Answer: 6 hours",
    "Problem: A job takes 90 minutes. How many minutes do 4 jobs take?\nSolution: 4 × 90 = 360 minutes = 6 hours.\n"
    "Answer: 360 minutes",
    "Problem: A city has 1.2 million people; half are men. How many?\nSolution: 1,200,000 / 2 = 600,000\n"
    "Answer: 0.6 million",
    "Problem: Pens cost 25 cents. How many cents do 3 cost?\nSolution: 3 × $0.25 = $0.75\nAnswer: 75 cents",
    "Q: A has 5, B has 6. How many in all?\nA: 5 + 6 = 11. They have 11.",
    "Problem: There are 12 eggs in a box. How many in 3 boxes? Solution: 12 × 3 = 36. Answer: 36 eggs.",
    "**Problem**\n\nA hiker climbs 300 m an hour. How high is he after 3 hours?\n\n**Answer**\n\n300 × 3 = 900\n\n"
    "**The hiker is at 900 m.**",
    "Problem: x plus 5 is 9. Find x.\n\nSolution:\nx + 5 = 9\nx = 9 - 5\nx = 4\n\nAnswer: x = 4",
    "Problem: Weng earns $12 an hour. What does she earn in 50 minutes?\n"
    "Solution: 12/60 = $<<12/60=0.2>>0.2 a minute.\n"
    "0.2 x 50 = $<<0.2*50=10>>10.\n#### 10",
    "Problem: A has 3 bags of 4. How many?\nAnswer: 12\nExplanation: 3 × 4 = 12",
    "Problem: A has 3 bags of 4. How many?\nSolution: 3 × 4 = 12\nAnswer: 12\n\nCheck: 12 / 4 = 3",
    "Problem: A loan of Rs. 500 bears 10%. What is due?\nSolution: 500 × 0.1 = Rs. 50. 500 + 50 = Rs. 550\n"
    "Answer: Rs. 550",
    "A team wins 3 of 4 games. It plays 20 games. How many does it win? How many does it lose?\n\n"
    "Step 1: 20 / 4 = 5\nStep 2: 5 × 3 = 15\nStep 3: 20 - 15 = 5\n\nThe answer is 15 wins and 5 losses.",
]


@pytest.mark.parametrize("text", GOOD)
def test_well_formed(text):
    (measure,) = math_problem(text)
    assert measure == ("math_problem", 0, True, "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no_problem"),
        ("The lake is deep and cold.", "no_problem"),
        ("Solution: 3 + 4 = 7\nAnswer: 7", "no_problem"),
        ("Problem: Anna has 3 apples and gets 4. How many has she?", "no_solution"),
        ("Problem: Anna has 3 apples and gets 4. How many has she?\n\nSolution:", "no_solution"),
        ("Problem: Anna has 3 apples and gets 4.\n\nSolution: 3 + 4 = 7\nAnswer: 7", "no_question"),
        ("Problem: Anna has apples and gets more. How many?\nSolution: 3 + 4 = 7\nAnswer: 7", "problem_without_number"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: Add them up.", "solution_without_number"),
        ("Problem: Anna has 3 and gets 4. How many?\nAnswer: 7", "no_working"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 =", "no_final_answer"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 = 7. Therefore, the total is", "no_final_answer"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 = 7\n\na\n\nb\n\nc\n\nd", "no_final_answer"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 = 7\nAnswer: 8", "final_answer_differs"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 = 7\n#### 70", "final_answer_differs"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 = 7\nSo \\boxed{6}.", "final_answer_differs"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 = 7.\nThus she has 9.", "final_answer_differs"),
        ("Problem: Anna has 3 and gets 4. How many?\nSolution: 3 + 4 = 7\nAnswer: nine", "final_answer_differs"),
        ("Problem: 3, 4, 2. Sum?\nSolution: 3 + 4 = 7. 7 + 2 = 9.\nAnswer: 7", "final_answer_differs"),
        ("Problem: 3, 4, 2. Sum?\nSolution:\n3 + 4 = 7\n7 + 2 = 9\nAnswer: 7", "final_answer_differs"),
        ("Problem: A has 30 and gets 6. How many?\nSolution: 30 + 6 = 36\nAnswer: sixty-six", "final_answer_differs"),
        (
            "Problem: It costs $1,000 and $200. Total?\nSolution: 1000 + 200 = 1200\nAnswer: $1,300",
            "final_answer_differs",
        ),
        ("Problem: 40 of 80 are gulls. What share?\nSolution: 40/80 = 0.5\nAnswer: 40%", "final_answer_differs"),
        (
            "Problem 1: A has 3 and 4. How many?\nSolution: 3 + 4 = 7\n\nProblem 2: A has 5 and 6. How many?\n"
            "Solution: 5 + 6 = 11",
            "several_problems",
        ),
    ],
)
def test_faults(text, fault):
    (measure,) = math_problem(text)
    assert not measure.passed
    assert measure.value >= 1
    assert measure.detail == fault


def test_faults_are_counted():
    text = "Problem: Anna has apples.\nSolution: 3 + 4 = 7\nAnswer: 8"
    assert math_problem(text)[0].value == 3  # no question, no number in the problem, another answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Problem: How many is 3 + 4?\nSolution: 7", "How many is 3 + 4?"),
        ("**Question 1:** How many is 3 + 4?\n**Answer:** 7", "How many is 3 + 4?"),
        ("# Math Problem\n\nAdd 3 to 4. What is it?\n\n## Solution\n7", "Add 3 to 4. What is it?"),
        ("Add 3 to 4. What is it? And 5?\n3 + 4 = 7", "Add 3 to 4. What is it? And 5?"),
        ("Tom has 4 cows.\nQuestion: How many legs?\nSolution: 16", "Tom has 4 cows.\nQuestion: How many legs?"),
        ("What is 3 + 4? 3 + 4 = 7", "What is 3 + 4?"),
        ("What is 3 + 4?\n3 + 4 = 7\nAnswer: 7", "What is 3 + 4?"),
        ("Find the sum of 3 and 4.\n3 + 4 = 7", "Find the sum of 3 and 4."),
    ],
)
def test_split(text, problem):
    split = split_problem(text)
    assert split is not None
    assert split[0] == problem
    assert "7" in split[1] or "16" in split[1]


@pytest.mark.parametrize("text", ["", "The lake is deep.", "How many is 3 + 4?", "How deep is the lake?\n\n"])
def test_nothing_to_split(text):
    assert split_problem(text) is None


PROBLEM_LABELS = ["Problem: {}", "**Problem:** {}", "### Problem\n\n{}", "Question: {}", "{}", "**Word Problem:**\n{}"]
SOLUTION_LABELS = ["Solution: {}", "**Solution:**\n{}", "### Solution\n\n{}", "**Step-by-step solution:**\n\n{}"]
ANSWERS = [
    "#### {}",
    "Answer: {}",
    "**Answer:** {} pens",
    "Therefore, she has {} pens.",
    "The final answer is {}.",
    "\\boxed{{{}}}",
]


def build(rng, answer=lambda total: total):
    first, second, times = (rng.randint(11, 99) for _ in range(3))
    total = (first + second) * times
    problem = f"Anna has {first} pens and {second} more in each of {times} rooms. How many pens has she?"
    steps = [f"{first} + {second} = {first + second}", f"{first + second} × {times} = {total:{rng.choice(['', ','])}}"]
    return "\n\n".join(
        [
            rng.choice(PROBLEM_LABELS).format(problem),
            rng.choice(SOLUTION_LABELS).format(rng.choice(["\n", ".\n", " pens.\n\n"]).join(steps)),
            rng.choice(ANSWERS).format(answer(total)),
        ]
    )


@pytest.mark.parametrize("seed", range(200))
def test_built_problems(seed):
    assert math_problem(build(random.Random(seed)))[0].detail == ""
    for change in (1, -1, 10, 1000):
        broken = build(random.Random(seed), lambda total, change=change: total + change)
        assert math_problem(broken)[0].detail == "final_answer_differs"
    assert "no_question" in math_problem(build(random.Random(seed)).replace("How many pens has she?", ""))[0].detail


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "1 + " * 250_000,
        "=" * 1_000_000,
        "= 1 " * 250_000,
        "?" * 1_000_000,
        "How many? " * 100_000,
        "\n" * 1_000_000,
        " " * 1_000_000,
        "Problem: How many is 1?\nSolution: " + "**" * 500_000,
        "Problem: How many is 1?\nSolution: " + "<<" * 500_000,
        "Problem: How many is 1?\nSolution: " + "\\boxed{" * 140_000,
        "Problem: How many is 1?\nSolution: " + "answer is " * 100_000,
        "Problem: How many is 1?\nSolution: " + "Answer: 1\n" * 100_000,
        "Problem: How many is 1?\nSolution: " + "1," * 500_000,
        "Problem: How many is 1?\nSolution: " + "9" * 1_000_000,
        "Problem: How many is 1?\nSolution: " + "\\frac{" * 160_000,
        "Problem: How many is 1?\nSolution: " + "final answer to " * 60_000,
        "#" * 1_000_000,
        "#### " * 200_000,
    ],
    ids=range(19),
)
def test_hostile(text):
    with cpu_limit():
        assert not math_problem(text)[0].passed or "Problem" in text
