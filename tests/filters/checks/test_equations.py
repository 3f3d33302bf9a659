from __future__ import annotations

import random
from fractions import Fraction

import pytest

from blocks.filters.checks.equations import MAX_SIGNS, equations, find_equations
from blocks.filters.checks.measure import nothing
from tests.conftest import cpu_limit

# Each text with the number of right equations in it; none of them is wrong.
RIGHT = [
    # numbers
    ("17 + 25 = 42", 1),
    ("1,250.5 * 2 = 2,501", 1),
    ("-4 + 9 = 5", 1),
    ("6 * (−2) = −12", 1),
    (".5 + .25 = .75", 1),
    ("1.200 + 950 = 2.150", 1),
    ("3 * 1.500 € = 4500 €", 1),
    ("2.500 - 0.750 = 1.75", 1),
    ("1/4 + 1/4 = 1/2", 1),
    ("2 1/2 = 2.5", 1),
    ("2½ + ½ = 3", 1),
    ("3/8 = 0.375", 1),
    # operators
    ("6 x 7 = 42", 1),
    ("6x7=42", 1),
    ("6 × 7 = 42", 1),
    ("6 · 7 = 42", 1),
    (r"6 \* 7 = 42", 1),
    ("42 ÷ 6 = 7", 1),
    ("90 – 15 = 75", 1),
    ("6 times 7 equals 42", 1),
    ("45 divided by 9 = 5", 1),
    ("2^5 = 32", 1),
    ("2**5 = 32", 1),
    ("5² + 12² = 169", 1),
    ("2 + 3 * 4 - 6 / 2 = 11", 1),
    ("12 ÷ 3/4 = 16", 1),
    ("(3 + 5) * [10 - (2 + 2)] = 48", 1),
    ("3(4 + 5) = 27", 1),
    ("6.5 × 10^3 = 6,500", 1),
    # percentages
    ("30% of 90 = 27", 1),
    ("3/4 of 60 = 45", 1),
    ("25% * 80 = 20", 1),
    ("0.45 = 45%", 1),
    ("100% - 35% = 65%", 1),
    ("100% - 35% = 65", 1),
    ("18 / 24 * 100 = 75%", 1),
    ("18 / 24 * 100% = 75", 1),
    ("80 + 10% = 88", 1),
    # units and currency
    ("$15 * 4 = $60", 1),
    ("15 pears * 4 = 60 pears", 1),
    ("90 km / 2 h = 45 km/h", 1),
    ("7 kg + 6 kg = 13 kg", 1),
    ("7kg + 6kg = 13kg", 1),
    ("12 m × 5 m = 60 m²", 1),
    ("3 hours * 60 minutes/hour = 180 minutes", 1),
    ("$9 for lunch + $14 for dinner = $23", 1),
    ("5 bags of rice * 2 kg per bag = 10 kg", 1),
    ("$2 / 10 minutes = $0.2/minute", 1),
    ("8 ft. * 20 ft. = 160 sq. ft.", 1),
    ("$1.5 million * 4 = $6 million", 1),
    ("3 dozen eggs * 2 = 72 eggs", 1),
    ("3 dozen eggs * 2 = 6 dozen eggs", 1),
    ("300 km ÷ 5 h = 60 km/h, and 60 × 2 = 120", 2),
    # rounding, cutting off, approximation
    ("10/3 = 3.33", 1),
    ("2/3 = 0.667", 1),
    ("2/3 = 0.66", 1),
    ("2/3 = 66.7%", 1),
    ("20 / 3 = 6.666...", 1),
    ("19 * 5.2 = 99", 1),
    ("4,913 * 2 ≈ 10,000", 1),
    (r"22 / 7 \approx 3.14", 1),
    ("48.7 * 2 = about 97", 1),
    ("10/3 ~ 3.3", 1),
    ("10/3 = ~3.3", 1),
    ("17 / 3 = 5 remainder 2", 1),
    # chains
    ("3 * 4 = 12 + 5 = 17", 2),
    ("4 + 4 = 2 * 4 = 8", 2),
    ("1/3 + 1/6 = 2/6 + 1/6 = 3/6 = 1/2", 3),
    ("9 + 6 * 5\n  = 9 + 30\n  = 39", 2),
    # LaTeX
    (r"$\frac{3}{4} \times 20 = 15$", 1),
    (r"\[ \dfrac{450}{3} = \boxed{150} \text{ miles} \]", 1),
    (r"\( \left( 2 + 3 \right) \cdot 4 = 20 \)", 1),
    (r"$1{,}200 \div 4 = 300$", 1),
    (r"$$2 \times \$3.86 = \$7.72$$", 1),
    (r"$20\% \times 50 = 10$", 1),
    (r"$3^{2} + 2^{10} = 1033$", 1),
    (r"$60 \, \text{km/h} \times 2 \, \text{h} = 120 \, \text{km}$", 1),
    (r"\begin{align} 3 + 4 &= 7 \\ 7 \times 2 &= 14 \end{align}", 2),
    (r"\begin{align} x &= 3 \times 4 \\ &= 12 \end{align}", 1),
    (r"\[ 2 + 2 = 4 \] \[ 4 + 4 = 8 \]", 2),
    # marks and markup
    ("She has 48/2 = <<48/2=24>>24 clips.", 1),
    ("That makes <<3*4=12>>12 in all.", 1),
    ("3 baskets × **12** = **36** apples", 1),
    ("- 5 + 3 = 8", 1),
    ("* 5 + 3 = 8", 1),
    ("1. 5 + 3 = 8", 1),
    ("**Step 2:** 5 + 3 = 8.", 1),
    ("| apples | 3 × 4 = 12 | 5 + 5 = 10 |", 2),
    ("so (5 + 3 = 8) and 8 - 2 = 6 – that is all", 2),
    ("total = 3 * 4 = 12", 1),
    ("5 + 3 = 8! 4 + 4 = 8?", 2),
]

# Each text with the right result of its wrong equation.
WRONG = [
    ("17 + 25 = 43", 42),
    ("1,250.5 * 2 = 2,500", 2501),
    ("1.200 + 950 = 2.250", Fraction("951.2")),
    ("1000 * 1.005^60 = 1400", 1000 * Fraction("1.005") ** 60),  # too large where the point parts thousands
    ("1/4 + 1/4 = 2/8", Fraction(1, 2)),
    ("2/3 = 0.68", Fraction(2, 3)),
    ("2/3 = 67.7%", Fraction(2, 3)),
    ("1/4 = 0", Fraction(1, 4)),
    ("30% of 90 = 28", 27),
    ("15% * 80 = 120", 12),
    ("0.45 = 55%", Fraction(9, 20)),
    ("$15 * 4 = $65", 60),
    ("15 pears * 4 = 64 pears", 60),
    ("90 km / 2 h = 40 km/h", 45),
    ("3 hours * 60 minutes/hour = 190 minutes", 180),
    ("12 m × 5 m = 50 square meters", 60),
    ("$1.5 million * 4 = $7 million", 6_000_000),
    ("3 * 4 = 12 + 5 = 18", 17),
    ("3 * 4 = 13 + 5 = 18", 12),
    (r"$\frac{3}{4} \times 20 = 14$", 15),
    (r"$3^{2} + 2^{10} = 1030$", 1033),
    ("She has <<48/2=25>>25 clips.", 24),
    ("3 baskets × **12** = **38** apples", 36),
    ("8 – 3 = 6 pieces", 5),
    ("4,913 * 2 ≈ 12,000", 9826),
    ("2 + 2 = 5!", 4),
    ("40 = 6 * 7", 42),
    ("6 times 7 equals 41", 42),
    ("9 + 6 * 5\n  = 9 + 31", 39),
    ("2^-2 = 0.5", Fraction(1, 4)),
    ("7 / 0 = 7", None),
    ("7 / (3 - 3) = 0", None),
]

# No closed equation, or none that can be read without doubt.
NOTHING = [
    "",
    "No numbers here.",
    # names of numbers, dates, codes
    "On 2024-05-01 it was 3-2; on 5/6/2024 it was 4:4.",
    "The odds are 3:1, 4/5 stars, pages 10-12, ISBN 978-3-16-148410-0, call 555-1234.",
    "Python 3.11.4, v1.2-3, 192.168.0.1/24 = local",
    "2024-05-01 - 3 = 2024",
    "10:30 + 1:15 = 11:45",
    "0900 - 0130 = 0730",
    "3:1 + 2 = 7",
    "12:8 = 3:2",
    "24/7 = always, 50/50 = fair",
    # code
    "x = 5",
    "i += 1",
    "a == b",
    "if 3 + 4 == 8: pass",
    "3 + 4 <= 8, 3 + 4 != 8, 3 + 4 => 8, 3 + 4 >= 8",
    "for i in range(10): key=3",
    "print(2 + 3) = 6",
    "cells[1 + 2] = 7",
    "=SUM(A1:A3) =2+2",
    "See https://example.org/?a=1&b=2 and http://example.org/?1+1=3.",
    '<img width=5 height=3 alt="4">',
    "7 % 3 = 2",
    # variables and functions
    "y = 2x + 3",
    "2x + 3 = 7",
    "2x - 3 = 5",
    "3x^2 + 2 = 14",
    "120=3x+6",
    "10 = L + T",
    "1L + 2T = $14",
    "4N + 9 = 41 paws",
    "4K - 4 = 92",
    "21/7 = 90/x",
    "2 + 3 = 5x",
    "12 / n = 3",
    "E = mc^2",
    "2H2 + O2 = 2H2O",
    "f(2) + 1 = 5",
    "sin 30 + 1 = 2",
    "log 100 + 3 = 6",
    "√16 + 3 = 8",
    "5! + 3 = 124",
    "|-3| + 5 = 9",
    "2π + 1 = 5",
    r"$\frac{2x}{2} = \frac{4}{3}$",
    r"$\frac{\cancel{2}x}{\cancel{2}} = \frac{4}{3}$",
    r"$\sum_{i=1}^{3} i = 7$",
    r"$\sqrt{16} + 3 = 8$",
    "1 + 2 + ... + 10 = 54",
    # words that stand for numbers, or belong to the expression
    "price * 3 = 36",
    "3 * the price = 36",
    "3 * the 4 + 1 = 6",
    "1 + 2 and 1/4 = 3.25",
    "Profit - 5 = 10",
    "half of 12 + 4 = 10",
    "twice 6 + 1 = 13",
    "three times 5 + 2 = 18",
    "3 groups of 4 + 2 = 15",
    "5 out of 20 + 3 = 28",
    "2(apples) + 1 = 4",
    # names and statements that are no calculations
    "Area of room 2 = 3 * 4",
    "5 apples = 5 * $2",
    "20% = 10 students, so 100% = 50 students",
    "3/5 = 30, so 1/5 = 10",
    "2 hours = 120 minutes",
    "2 hours + 30 minutes = 150 minutes",
    "250 g × 4 = 1 kg",
    "$0.25 * 10 = 250 cents",
    "Step 1 - 12 * 3 = 36",
    "Weeks 1-2 = 96",
    "3 + 4 =",
    "3 + 4 =\n5 + 6 =",
    "3 + 4 = ___",
    "3 + 4 = ? 5 + 6 = ?",
    "$80 000 * 2 = $160 000",
    "2,5 * 2 = 6",
    # beyond what is computed
    "9^999 = 1",
    "2^0.5 = 2",
    f"{'9' * 31} * 1 = 5",
    f"{'(' * 30}1 + 1{')' * 30} = 3",
    f"{'1 + ' * 200}1 = 3",
]


@pytest.mark.parametrize(("text", "count"), RIGHT)
def test_right_equations_are_found(text, count):
    found = find_equations(text)
    assert len(found) == count
    assert [equation for equation in found if not equation.correct] == []
    assert equations(text)[0]._replace(detail="") == ("equations", 0.0, True, "")


@pytest.mark.parametrize(("text", "right"), WRONG)
def test_wrong_equations_are_found(text, right):
    wrong = [equation for equation in find_equations(text) if not equation.correct]
    assert [equation.computed for equation in wrong] == [right]
    assert not equations(text)[0].passed


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_no_closed_equation_is_left_alone(text):
    assert find_equations(text) == []
    assert equations(text) == [nothing("equations")]


@pytest.mark.parametrize(("text", "count"), RIGHT)
def test_in_prose(text, count):
    found = find_equations(f"As he has many, we know the following.\n\n{text}\n\nThat was x = 5, or half of it.")
    assert [equation.correct for equation in found] == [True] * count


def test_an_equation_tells_where_it_stands():
    text = "He pays $12 * 3 = $37 in all."
    (equation,) = find_equations(text)
    assert equation.left == "12 * 3"
    assert (equation.stated, equation.computed, equation.correct) == (37, 36, False)
    assert text[equation.start : equation.end] == "12 * 3 = $37"


def test_share_threshold_and_detail():
    text = "1 + 1 = 2. 2 + 2 = 5. 3 + 3 = 6. 4 + 4 = 8."
    (measure,) = equations(text)
    assert (measure.check, measure.value, measure.passed) == ("equations", 0.25, False)
    assert measure.detail == "2 + 2 = 5 (right: 4)"
    assert equations(text, max_wrong=0.25)[0].passed
    assert not equations(text, max_wrong=0.24)[0].passed


def test_the_detail_is_short():
    (measure,) = equations(f"{' + '.join(['1000000'] * 40)} = 3")
    assert len(measure.detail) < 120
    assert measure.detail.endswith("(right: 40000000)")
    assert equations("5 / 0 = 5")[0].detail == "5 / 0 = 5 (divides by zero)"
    assert equations("10 / 3 = 4.1")[0].detail == "10 / 3 = 4.1 (right: 3.33333)"


def test_a_mark_counts_once_and_both_are_checked_without_it():
    marked = "He has 48/2 = <<48/2=24>>24 clips and 24 + 1 = <<24+1=26>>26 pins."
    assert [equation.correct for equation in find_equations(marked)] == [True, False]
    bare = "He has 48/2 = 24 clips and 24 + 1 = 26 pins."
    assert [equation.correct for equation in find_equations(bare)] == [True, False]


def _expression(rng, depth=0):
    """A random expression as text and its value; None for a division by zero."""
    if depth == 3 or rng.random() < 0.3:
        if rng.random() < 0.25:
            number = Fraction(rng.randrange(1, 2000), 100)
            return f"{float(number):.2f}", number
        number = rng.randrange(1, 2000)
        return (f"{number:,}" if rng.random() < 0.5 else str(number)), Fraction(number)
    left, first = _expression(rng, depth + 1)
    right, second = _expression(rng, depth + 1)
    name, signs = rng.choice([("+", "+"), ("-", "-−–"), ("*", "*×·x"), ("/", "/÷")])
    if first is None or second is None or (name == "/" and second == 0):
        return left, None
    value = {
        "+": lambda: first + second,
        "-": lambda: first - second,
        "*": lambda: first * second,
        "/": lambda: first / second,
    }[name]()
    # Without spaces and with other signs it is the same.
    space = rng.choice([" ", " ", ""])
    text = f"{left}{space}{rng.choice(signs)}{space}{right}"
    return (f"({text})" if depth else text), value


def test_random_equations_pass_and_changed_ones_do_not():
    rng = random.Random(20)
    tried = 0
    while tried < 1500:
        text, value = _expression(rng)
        if value is None or not any(sign in text for sign in "+-−–*×·x/÷") or abs(value) < Fraction(1, 50):
            continue
        tried += 1
        decimals = 0 if value.denominator == 1 else rng.choice([2, 3, 4])
        scaled = round(value * 10**decimals)
        wrong = scaled + rng.choice([-1, 1]) * rng.randrange(2, 500)
        for number, correct in ((scaled, True), (wrong, False)):
            sign = "-" if number < 0 else ""
            whole, part = divmod(abs(number), 10**decimals)
            result = f"{sign}{whole}" + (f".{part:0{decimals}d}" if decimals else "")
            found = find_equations(f"So the total is {text} = {result} in the end.")
            assert [equation.correct for equation in found] == [correct], (text, result, value)


@pytest.mark.parametrize("unit", ["=", "1/3+1/7=", "(", "x ", "9,", "5 apples ", "\n=", "of the 5 "])
def test_hostile_text_takes_linear_time(unit):
    text = unit * (1_000_000 // len(unit)) + "=1\n"
    with cpu_limit():
        equations(text)


def test_no_more_signs_than_the_limit():
    found = find_equations("1 + 1 = 2\n" * (MAX_SIGNS + 50))
    assert MAX_SIGNS <= len(found) <= MAX_SIGNS + 1
