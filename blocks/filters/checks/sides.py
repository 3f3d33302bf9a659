"""Tells which of the tokens around an equality sign are its two sides.

Words decide: behind a number they are its unit or say what is counted ("12 apples * 3"); before an operator they
stand for an operand ("price * 3"), so that nothing can be computed; before an expression they are prose, unless they
belong to it ("half of 12"). None means that it cannot be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from blocks.filters.checks.arithmetic import Formula
from blocks.filters.checks.notation import Token

MAX_SIDE = 120
"""Tokens of one side of an equation."""

# Behind a number such words are neither its unit nor what is counted.
_NO_UNIT = """
    is was were are be been am and or but so then if when that which who whose will would could should must has have
    had he she they it we you i this these those there than as because since after before while until where how what not
    gives makes costs equal equals gets got need needs x y z squared cubed mod choose to st nd rd th
    pi sin cos tan log ln exp sqrt max min
"""
_SHORT_UNITS = """
    km cm mm nm kg mg ml cl dl ft in yd mi lb oz hr hp am pm ms kw wh mb gb tb kb hz pa kn mw bp pt qt db ev kj kv ma ha
    ct cc px th m g s h l w v a j n k c f
"""
# Such a word before an expression belongs to it: log 100 + 3.
_BELONGS = """
    twice thrice double doubled triple tripled quadruple half root square cube log ln sin cos tan sqrt mod modulo than
    choose plus minus times exp max min
"""
SHORT_UNITS = frozenset(_SHORT_UNITS.split())
"""Units of up to two letters; other words as short behind a number are variables (2ab)."""

_NO_UNITS = frozenset(_NO_UNIT.split())
_OPERATIONS = frozenset(_BELONGS.split())
_LETTERS = frozenset("mgshlLWVAJNKCF")


class Side(NamedTuple):
    """One side of an equation.

    Args:
        tokens: its expression, with units.
        formula: its expression without them.
        beside: what stands on the other side of it: before a left side, behind a right one.
    """

    tokens: Sequence[Token]
    formula: Formula
    beside: Token | None

    @property
    def has_words(self) -> bool:
        """Whether there are words in or beside it."""
        return len(self.tokens) > len(self.formula.tokens) or (self.beside is not None and self.beside.kind == "w")


def left_side(side: Sequence[Token]) -> Side | None:
    """The expression at the end of what stands before an equality sign."""
    depth = 0
    begin = len(side)
    following: Token | None = None
    while begin > 0:
        token = side[begin - 1]
        after = following.kind if following else "="
        ends = False
        if token.kind == "w":
            if after in "n(f":
                if depth or _belongs(token, following):
                    return None
                ends = True
            elif begin == 1 or not _is_unit(token, side[begin - 2]):
                return None
        elif token.kind == ")":
            ends = after == "n"
            depth += not ends
        elif token.kind == "(":
            ends = depth == 0
            depth -= not ends
            if ends and begin > 1 and side[begin - 2].kind == "o":
                return None
        elif token.kind == "n":
            if after in "n(f" and following is not None and following.start > token.end:
                return None
        elif token.kind == "b":
            ends = True
        elif token.kind == "x":
            return None
        if ends:
            break
        following = token
        begin -= 1
    beside = side[begin - 1] if begin else None
    if depth or begin == len(side) or len(side) - begin > MAX_SIDE:
        return None
    if beside is not None and beside.kind == "w" and begin > 1:
        kind = side[begin - 2].kind
        if kind == "o" or (kind == "n" and beside.text == "and"):
            return None  # 3 * the 4 apples, 2 and 1/4 cups
    if side[begin].kind == "o" and (
        side[begin].text != "-" or begin + 1 == len(side) or side[begin + 1].start > side[begin].end + 1
    ):
        return None  # 1 + 2 + ... + 10
    return Side(side[begin:], Formula.of(side[begin:]), beside)


def _belongs(word: Token, following: Token | None) -> bool:
    """Whether a word before an expression makes it a part of something else: sin 30, f(2), half of 12."""
    attached = following is not None and following.kind == "(" and following.start == word.end
    last = word.text[-20:].split()[-1]
    variable = len(last) == 1 and last.islower() and last != "a"
    return attached or variable or last.lower() in _OPERATIONS


def _is_unit(words: Token, before: Token) -> bool:
    """Whether words behind a number are its unit or say what is counted: 12 apples, 60 km/h, $5 for lunch."""
    if before.kind not in "n)%s":
        return False
    parts = words.text.replace("/", " ").split()
    if len(parts) > 8 or parts[0].lower() in ("the", "of"):
        return False
    attached = words.start == before.end and words.text[0] != "/"
    if attached and len(parts[0]) < 3 and parts[0].lower() not in SHORT_UNITS:
        return False
    for part in parts:
        part = part.rstrip(".")
        if len(part) == 1 and part not in _LETTERS and part.lower() != "a":
            return False
        power = part[0].isalpha() and part[-1] in "23²³"  # m2
        if part.lower() in _NO_UNITS or not (part.isalpha() or power or "-" in part):
            return False
    return True


def right_side(side: Sequence[Token]) -> Side | None:
    """The expression at the beginning of what stands behind an equality sign."""
    depth = 0
    operand = False
    end = 0
    while end < len(side):
        token = side[end]
        before = side[end - 1] if end else None
        if not operand:
            negative = token.text == "-" and (before is None or before.kind in "o(")
            if token.kind == "(":
                depth += 1
            elif token.kind == "n":
                operand = True
            elif token.kind != "f" and not negative:
                break
        elif token.kind == "o":
            operand = False
        elif token.kind in "(f" and before is not None and token.start == before.end:
            depth += token.kind == "("
            operand = False
        elif token.kind == ")" and depth:
            depth -= 1
        elif token.kind == "w" and before is not None and end + 1 < len(side) and side[end + 1].kind in "o)":
            if not _is_unit(token, before):
                break
        elif token.kind not in "%s":
            break
        end += 1
    beside = side[end] if end < len(side) else None
    if depth or end == 0 or end > MAX_SIDE:
        return None
    if not operand:
        end -= 1
        if not _is_dash(side[end], beside) or end == 0:
            return None
    elif beside is not None and not _may_follow(beside, side[end - 1], side[end + 1 : end + 2]):
        return None
    return Side(side[:end], Formula.of(side[:end]), beside)


def _is_dash(sign: Token, following: Token | None) -> bool:
    """Whether an operator without a second operand is none: "= 12 - so", "= $5 / week", "= 12*"."""
    if following is None or following.kind == "b":
        return sign.text in "-*"
    if following.kind != "w" or following.start == sign.end:
        return False
    return sign.text in "-/" and (len(following.text.split()[0]) > 2 or following.text[:2].lower() in ("a ", "so"))


def _may_follow(token: Token, before: Token, further: Sequence[Token]) -> bool:
    """Whether a result may end before this token; not in 3x, 5√2, 2π, 3 : 4."""
    if token.kind == "w":
        first = token.text.lstrip("/").replace("/", " ").partition(" ")[0]
        if token.start == before.end and token.text[0] != "/":
            return len(first) > 2 or first.lower() in SHORT_UNITS
        return len(first) > 1 or first in _LETTERS or first in "aAIR"
    if token.text == ":":
        return not (further and further[0].kind == "n")
    if token.kind == "n":
        return len(token.text) != 3  # 80 000
    return token.kind not in "xf" or token.text == "of"
