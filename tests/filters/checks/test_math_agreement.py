"""Right answers that do not repeat the last result, each next to wrong ones of the same shape."""

import pytest

from blocks.filters.checks.math import math_problem
from tests.conftest import cpu_limit

BOOKS = (
    "Tom has $50. He buys 3 books at $12 each. How much money does he have left?\n\n"
    "Solution:\n3 × $12 = $36\n$50 − $36 = $14\n\n"
)
TANK = (
    "**Problem:** A tank holds 500 liters. A pump fills it at 30 liters a minute. Will it be full after 16 minutes?\n\n"
    "**Solution:**\n30 × 16 = 480\n500 − 480 = 20 liters are missing.\n\n"
)
PLANS = (
    "Problem: Plan A costs $30 and $0.10 a minute. Plan B costs $20 and $0.20 a minute. "
    "Which plan is cheaper for 150 minutes?\n\n"
    "Solution:\nPlan A: 30 + 0.10 × 150 = $45\nPlan B: 20 + 0.20 × 150 = $50\n\n"
)
BUS = (
    "Problem: A bus leaves at 9:40 AM and drives 120 km at 40 km/h. When does it arrive?\n\n"
    "Solution: Time = 120 ÷ 40 = 3 hours\n\n"
)
CLOCK = BUS.replace("3 hours\n", "3 hours\nArrival: 9:40 AM + 3 hours = 12:40 PM\n")
BIKE = "Problem: Ann rides 30 km at 40 km/h. How long does she ride?\n\nSolution: 30 ÷ 40 = 0.75 hours\n\n"
CLASS = (
    "Problem: A class has 40 children, and 60% are girls. How many girls and how many boys are there?\n\n"
    "Solution:\n0.60 × 40 = 24\n40 − 24 = 16\n\n"
)
LEAK = (
    "Problem: A tank holds 200 liters and loses 5 liters an hour. When does it hold 150 liters?\n\n"
    "Solution: 200 − 150 = 50 liters must go. 50 ÷ 5 = 10 hours. "
)
CHECKS = [
    "We can verify this: $36 + $14 = $50.",
    "You can check the result by adding: $36 + $14 = $50",
    "**Double check:** 14 + 36 = 50",
    "**Sanity check:** 14 + 36 = 50",
    "**Proof:** 14 + 36 = 50",
    "Checking: 14 + 36 = 50",
    "1. Check: 14 + 36 = 50",
    "Step 4: Verify the answer: 14 + 36 = 50",
    "### Verification\n\n14 + 36 = 50",
    "To verify, 14 + 36 = 50.",
    "**Explanation:** The books cost 3 × $12 = $36, and the rest is left.",
    "This makes sense, since $14 + $36 = $50.",
]
MARKS = ["**Answer:** ${}", "The answer is \\boxed{{{}}}.", "#### {}", "**Final answer: ${}**"]


def fault(text):
    return math_problem(text)[0].detail


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("check", CHECKS)
def test_check_behind_the_answer(check, mark):
    assert fault(f"{BOOKS}{mark.format(14)}\n\n{check}") == ""
    for wrong in (15, 36, 50, 140):
        assert fault(f"{BOOKS}{mark.format(wrong)}\n\n{check}") == "final_answer_differs"


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("check", [check for check in CHECKS if "Explanation" not in check])
def test_check_before_the_answer(check, mark):
    assert fault(f"{BOOKS}{check}\n\n{mark.format(14)}") == ""
    assert fault(f"{BOOKS}{check}\n\n{mark.format(15)}") == "final_answer_differs"
    if "makes sense" not in check:
        assert fault(f"{BOOKS}{check}\n\n{mark.format(50)}") == "final_answer_differs"


RIGHT = [
    LEAK + "After 10 hours, the tank holds 200 − 5 × 10 = 150, as required. Answer: 10 hours",
    LEAK + "\nAfter 10 hours, the tank holds 200 − 5 × 10 = 150 ✓\n\n**Answer:** 10 hours",
    # What begins like a check may be a step.
    "Problem: 3 pens cost $12 each, and tax is 10%. What is due?\n"
    "Solution: 3 × 12 = 36\nNote: tax is added.\n36 × 1.1 = 39.6\n#### 39.6",
    "Problem: Ann can check 45 eggs a minute. How many in 8 minutes?\nSolution:\nShe checks 8 minutes.\n"
    "To check 8 minutes long gives 45 × 8 = 360\nAnswer: 360 eggs",
    # The steps follow the answer.
    "Problem: Pens cost $12. How much do 3 cost?\nSolution: Price = $12\nAnswer: $36\nExplanation: 3 × 12 = 36",
    "Problem: Sam has 5 boxes of 6 eggs and drops 2. How many are whole?\nSolution: He begins with 30 eggs and has 28 "
    "after the fall.\n#### 28\nThis is right, since 28 + 2 = 30.",
    TANK + "**Answer:** No, the tank will not be full after 16 minutes.",
    TANK + "**Answer:** No, 20 liters are missing.",
    TANK + "**Answer:** No, it holds only 480 liters then.",
    TANK + "Therefore, the tank will not be full after 16 minutes.",
    TANK.replace("Will it be full", "Determine whether it is full").replace("minutes?", "minutes.")
    + "**Answer:** The tank is not full after 16 minutes.",
    PLANS + "**Answer:** Plan A is cheaper for 150 minutes.",
    PLANS + "Therefore, Plan A is cheaper for 150 minutes.",
    PLANS + "**Answer:** Plan A is cheaper, with $45.",
    PLANS.replace("Which plan is", "For 150 minutes, which plan is") + "**Answer:** Plan A is cheaper for 150 minutes.",
    PLANS.replace("Which plan is", "How much does each cost, and which is") + "**Answer:** Plan A, for 150 minutes.",
    BUS + "**Answer:** The bus arrives at 12:40 PM.",
    BUS + "**Answer:** 12:40 PM",
    BUS + "Therefore, the 40 km/h bus arrives at 12:40.",
    BUS + "**Answer:** It arrives at 12:40 PM, after 3 hours.",
    BUS.replace("9:40", "9") + "**Answer:** It arrives at 12 p.m.",
    CLOCK + "**Answer:** The bus arrives at 12:40 PM.",
    CLOCK + "**Answer:** The bus needs 3 hours and arrives at 12:40 PM.",
    CLOCK.replace("12:40 PM", "15:40") + "**Answer:** The bus arrives at 3:40 PM.",
    BIKE + "**Answer:** 45 minutes",
    BIKE + "#### 45 minutes",
    BIKE + "**Answer:** She rides for 2700 seconds.",
    BIKE.replace("0.75 hours", "0.75") + "**Answer:** 45 minutes",
    BIKE.replace("30", "70").replace("0.75", "1.75") + "**Answer:** 1 hour and 45 minutes",
    BIKE.replace("30 ÷ 40 = 0.75 hours", "20 + 25 = 45 minutes") + "**Answer:** 0.75 hours",
    CLASS + "**Answer:** 24 girls and 16 boys",
    CLASS + "**Final Answer:**\n- Girls: 24\n- Boys: 16",
    CLASS + "**Final Answer:**\n\n* 24 girls\n* 16 boys\n\nThere are 40 children.",
    CLASS + "**Final Answer:**\n\n- **Girls:** 24\n\n- **Boys:** 16",
    CLASS + "**Final Answer:** The class has:\n- Girls: 24\n- Boys: 16",
    CLASS + "**Final Answer:**\n1. 24 girls\n2. 16 boys",
    CLASS + "**Final Answer:**\nGirls: 24\nBoys: 16",
    CLASS + "**Final Answer:**\n24 girls\n16 boys",
    CLASS + "**Final Answer:**\n- Children: 40\n- Girls: 24 (60%)\n- Boys: 16",
    BIKE.replace("hours\n", "hours\nThe way back: 60 ÷ 40 = 1.5 hours\n")
    + "**Answer:**\n- Out: 45 minutes\n- Back: 90 min",
    CLASS.replace("girls", "notebooks") + "**Answer:**\nNotebooks: 24\nPens: 16",
    # Steps in words.
    "Problem: Ann has 3 bags of 4 eggs and eats half. How many are left?\n"
    "Answer:\n- In the bags are 12.\n- She eats 6.\n- So 6 are left.",
    "Problem: A class has 40 children, and 24 are girls. How many of each?\nAnswer:\n- Girls: 24\n- Boys: 16\n"
    "Explanation: 40 − 24 = 16",
    CLASS + "**Final Answer:**\n(a) 24\n(b) 16",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right(text):
    assert fault(text) == ""


WRONG = [
    LEAK + "After 10 hours, the tank holds 200 − 5 × 10 = 150, as required. Answer: 12 hours",
    LEAK + "After 10 hours, the tank holds 200 − 5 × 10 = 150, as required. Answer: 5 hours",
    # The result of the last step happens to be a number of the problem, but nothing says that it is a check.
    "Problem: Ann has $3, and each of 4 pens costs $2. What is missing for $5 more than them?\n"
    "Solution: 4 × 2 = 8\n8 − 3 = 5\nAnswer: 8",
    "Problem: Pens cost $12. How much do 3 cost?\nSolution: Price = $12\nAnswer: $30\nExplanation: 3 × 12 = 36",
    TANK + "**Answer:** No, 25 liters are missing.",
    TANK + "**Answer:** Yes, it holds 520 liters then.",
    TANK + "**Answer:** 16 minutes",
    TANK + "#### 500",
    PLANS + "**Answer:** Plan A is cheaper, with $48.",
    PLANS + "Therefore, Plan A is cheaper by $7.",
    PLANS + "**Answer:** $20",
    PLANS + "\\boxed{150}",
    # A quantity is asked for, and the number is one of the problem.
    BOOKS + "**Answer:** Tom has $12 left.",
    BOOKS + "Therefore, Tom has $50 left.",
    BUS + "**Answer:** It arrives at 12:40 PM, after 4 hours.",
    BUS + "**Answer:** It drives 40 km/h.",
    CLOCK + "**Answer:** The bus arrives at 1:40 PM.",
    CLOCK + "**Answer:** The bus needs 3 hours and arrives at 12:30 PM.",
    BIKE + "**Answer:** 40 minutes",
    BIKE + "**Answer:** 75 minutes",
    BIKE + "**Answer:** 45 km",
    BIKE.replace("30", "70").replace("0.75", "1.75") + "**Answer:** 1 hour and 15 minutes",
    BIKE.replace("30 ÷ 40 = 0.75 hours", "60 + 30 = 90 minutes") + "**Answer:** 2 hours",
    BIKE.replace("30 ÷ 40 = 0.75 hours", "60 + 60 = 120 minutes") + "**Answer:** 3 hours",
    CLASS + "**Final Answer:**\n- Girls: 26\n- Boys: 14",
    CLASS + "**Final Answer:**\n- Girls: 25\n- Boys: 16",
    CLASS + "**Final Answer:**\n- Girls: 24\n- Boys: 17",
    CLASS + "**Final Answer:**\nGirls: 26\nBoys: 14",
    CLASS + "**Final Answer:** The class has:\n- Girls: 26\n- Boys: 14",
    # An explanation is no part of the answer.
    CLASS + "**Answer:** 17 boys\n\n- There are 16 boys, since 24 are girls.",
    CLASS + "**Answer:** 17 boys\nExplanation: 16 of them are boys.",
    CLASS + "**Answer:**\n- 17 boys\n- Check: with 16 boys there are 40.",
]


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text):
    assert fault(text) == "final_answer_differs"


@pytest.mark.parametrize(
    "text",
    [
        "Is it, " * 100_000 + "1?\nSolution: 2 = 2\nAnswer: it is 3",
        "Is 1\n" * 100_000 + "?\nSolution: 2 = 2\nAnswer: it is 3",
        "How many is 1?\nSolution: 2 = 2\nAnswer: " + "12:40 " * 100_000,
        "How many is 1?\nSolution: 2 = 2\nAnswer:\n" + "- 3\n" * 100_000,
        "How many is 1?\nSolution: 2 = 2\n" + "Answer:\na: 1\n" * 50_000,
        "How many is 1?\nSolution:\n" + "check\n" * 100_000 + "Answer: 3",
        "How many is 1?\nSolution:\n" + "we can also now to " * 50_000 + "Answer: 3",
        "How many is 1?\nSolution:\n" + "2 = 2. " * 100_000 + "Answer: no, 3",
        "How many is 1?\nSolution: 2 = 2 " + "1 hour " * 100_000 + "Answer: 3 minutes",
    ],
    ids=range(9),
)
def test_hostile(text):
    with cpu_limit():
        math_problem(text)
