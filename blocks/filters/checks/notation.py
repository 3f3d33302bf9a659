r"""Cuts lines into the pieces of arithmetic as people write it: numbers, operators, units, and the words between.

The pieces stand where people put them: "12 apples * 3", "**$4.50** × 2", `\frac{1}{2} \cdot 8`. Words stay among
the tokens, since only the neighbourhood tells a unit ("12 apples * 3") from a variable ("apples * 3"); which tokens
belong to an expression is decided in `sides`.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from blocks.filters.checks.number_words import SCALES

Value: TypeAlias = int | Fraction
"""Exact; plain integers where possible, since they are far faster."""

MAX_DIGITS = 30
"""Longer numbers are no part of a calculation."""


MAX_WORDS = 300
"""Characters kept of words that are joined, so that joining takes linear time."""


class Token(NamedTuple):
    """A piece of a line.

    Args:
        kind: `n` number, `o` operator (text is one of `+-*/^`), `f` LaTeX fraction, `(`, `)`, `%`, `s` scale word
            (million, dozen), `w` words, `=` equality sign (text is `~` if approximate, `m` before a calculator mark),
            `x` a sign that no closed expression holds here (√, a date, another LaTeX command), `b` anything else.
        text: the operator, or the token as written.
        start: offset in the text.
        end: offset in the text.
        value: of a number or a scale word.
        decimals: digits behind the point of a number; -1 for a fraction (½, 3 1/2), which nobody rounds to.
    """

    kind: str
    text: str
    start: int
    end: int
    value: Value = 0
    decimals: int = 0


_SCALE = r"(?:dozen|hundred|thousand|million|billion|trillion)\b"
_SPOKEN = r"(?:times|plus|minus|multiplied by|divided by)(?= [*$€£¥₹\\]{0,3}[.(]?\d)"
_OF = r"of(?: the)?(?= [*$€£¥₹\\]{0,3}[.(]?\d)"
_EQUAL = r"(?:is equal to|equals)\b"
_ABOUT = r"(?:about|approximately|roughly|around)\b"
_PERCENT = r"(?:percent|per cent)\b"
_WORD = r"[^\W\d_]\w*+(?:['’-][^\W\d_]\w*+)*+(?:\.(?= ?[*/+×÷=)]))?+"
# Words that mean something in a formula end a run of words.
_PLAIN = rf"(?!(?:[xX]\b|{_OF}|{_SPOKEN}|{_EQUAL}|{_ABOUT}|{_PERCENT}|{_SCALE}|https?:|www\.))"
_LAYOUT = r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|boxed|fbox|text[a-z]{0,6}|math(?:rm|bf|it|sf)|mbox)(?![a-zA-Z])"
_CONTINUED = r"(?=\s{0,9}&?\s{0,9}=)"
_KINDS = {
    # Most of all tokens; none of those below begins like them. To have them first takes almost half of the time away.
    "plain": r"[1-9][0-9]{0,14}+(?![-/{\\\d]|[.,:]\d| \d)",
    "stop": r"[,;:?!\"']|\.(?![\d.])",
    "eq": rf"=+[<>~]?|[≈≅≃≐]|\\(?:approx|simeq|sim|thickapprox)(?![a-zA-Z])|{_EQUAL}",
    "o": rf"[-+−–·•×✕⋅∙÷⁄]|/(?![^\W\d_])|/(?=[xX]\b)|\\\*|\\(?:times|cdot|ast|div)(?![a-zA-Z])|{_SPOKEN}",
    "stars": r"\*+",
    "url": r"(?:https?://|www\.)\S+",
    "date": r"(?:19|20)\d\d-[01]\d-[0-3]\d(?!\d)|\d\d?/\d\d?/(?:19|20)\d\d(?!\d)",
    "times": r"[xX](?= {0,2}(?:\*\*)?(?:\\?[$€£¥₹])?(?:\.?\d|[(]|\\[dt]?frac))",
    "glyph": r"[¼½¾⅐-⅞]",
    "power": r"\^\{?-?\d{1,4}(?![\d.])\}?|⁻?[⁰¹²³⁴-⁹]+|\^(?!\{?\\circ)",
    "scale": rf"(?:[kKMB]\b(?<=\d[kKMB])|{_SCALE})",
    # Words with their hyphens and slashes: apples, miles/hour, 18-inch boards.
    "w": rf"(?:/(?![xX]\b)|\d++-(?=[^\W\d_]{{2}})|{_PLAIN}){_WORD}(?:(?:/(?![xX]\b)| {_PLAIN}){_WORD})*+",
    "mixed": r"\d{1,3} \d{1,3}/\d{1,3}(?![\w/]|[.,:]\d)",
    "n": r"(?>\d{1,3}(?:(?:,|\{,\}|\\,)\d{3}(?!\d))++(?:\.\d++)?+|\d++(?:\.\d++)?+|(?<![\w.])\.\d++)(?![.,:]\d)",
    "digits": r"\d++(?:[.,:]\d++)*+",
    "of": _OF,
    "mark": r"<<[^<>\n]{0,300}>>",
    "about": rf"~|{_ABOUT}",
    "percent": rf"(?:\.\.\.|…)?%|\\%|{_PERCENT}",
    "f": r"\\[dtc]?frac(?![a-zA-Z])",
    "open": r"[(\[{]",
    "close": r"[)\]}]",
    "noise": (rf"{_LAYOUT}|\\[$,;:!()\ &]|(?:\\\\|\n){_CONTINUED}|\^\{{?\\circ\}}?|</?(?:b|i|em|strong|span|u)>"),
    "letter": _WORD,
    # Between formulas, or behind the last one.
    "between": r"\\(?:[\[\]]|(?:q?quad|end|begin|[lc]?dots|implies|therefore|newline|[rR]ightarrow|to)(?![a-zA-Z]))",
    "x": r"\\[a-zA-Z]+|[√∛∑∏∫∂∞±∓]",
    "b": r".|\n",
}
_TOKEN = re.compile(
    rf"[ \t\xa0$€£¥₹`_&°]*+(?:{'|'.join(f'(?P<{kind}>{pattern})' for kind, pattern in _KINDS.items())})"
)
_SAME = {"letter": "w", "digits": "x", "x": "x", "b": "b", "w": "w", "url": "x", "date": "x", "between": "b"}
_OPERATORS = {
    **dict.fromkeys(["-", "−", "–", "minus"], "-"),
    **dict.fromkeys(["+", "plus"], "+"),
    **dict.fromkeys(["/", "÷", "⁄", "\\div", "divided by"], "/"),
}  # and everything else multiplies
_SCALES = {"dozen": 12, "hundred": 100, **SCALES, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_GLYPHS = {glyph: Fraction(unicodedata.numeric(glyph)).limit_denominator(10) for glyph in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
# Before these an equality sign is another one: <=, +=, :=, !=.
_NOT_EQUAL = frozenset("<>!:+-/|^~")


def tokens(text: str, start: int, end: int) -> list[Token]:
    """The tokens of a part of a text; spaces, currency signs, emphasis and mere LaTeX layout are left out."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text, start, end):
        kind = match.lastgroup
        if kind is None or kind == "noise":
            continue
        begin, stop = match.span(kind)
        written = text[begin:stop]
        if kind == "plain":
            found.append(Token("n", written, begin, stop, int(written)))
            continue
        if kind == "stop" or kind == "b":
            found.append(Token("b", written, begin, stop))
            continue
        last = found[-1] if found else None
        if kind == "w" and (last is None or last.kind != "w"):
            found.append(Token("w", written, begin, stop))
        elif kind == "n":
            found.append(_number(written, begin, stop))
        elif kind == "o":
            found.append(Token("o", _OPERATORS.get(written, "*"), begin, stop))
        elif kind in _SAME:
            _add_word(found, Token(_SAME[kind], written, begin, stop))
        elif kind == "eq":
            found.append(_relation(text, written, begin, stop))
        elif kind == "mark":
            if last is not None and last.kind == "=":
                found[-1] = last._replace(text="m")
        elif kind == "open":
            found.append(Token("(", written, begin, stop))
        elif kind == "close":
            _close(found, Token(")", written, begin, stop))
        elif kind == "percent":
            found.append(Token("%", written, begin, stop))
        elif kind == "stars":
            _add_stars(found, text, begin, stop)
        elif kind == "times":
            operator = _ends_operand(last)
            _add_word(found, Token("o", "*", begin, stop) if operator else Token("w", written, begin, stop))
        elif kind == "of":
            _add_of(found, Token("o", "*", begin, stop))
        elif kind == "about":
            if last is not None and last.kind == "=":
                found[-1] = last._replace(text="~")
            elif written == "~" and _ends_operand(last):
                found.append(Token("=", "~", begin, stop))
        elif kind == "scale":
            _add_scale(found, text, Token("s", written, begin, stop, _SCALES[written]))
        elif kind == "power":
            _add_power(found, written, begin, stop)
        elif kind == "f":
            found.append(Token("f", written, begin, stop))
        else:
            _add_fraction(found, written, begin, stop)
    return found


def _number(written: str, start: int, end: int) -> Token:
    unusual = written[0] == "0" and len(written) > 1 and written[1] != "."  # 0900, or the rest of 80 000
    if unusual or end - start > MAX_DIGITS or not written.isascii():
        return Token("x", written, start, end)
    if written.isdigit():
        return Token("n", written, start, end, int(written))
    whole, _, places = re.sub(r"[^\d.]", "", written).partition(".")
    value: Value = Fraction(int(whole + places), 10 ** len(places)) if places else int(whole)
    return Token("n", written, start, end, value, len(places))


def _relation(text: str, written: str, start: int, end: int) -> Token:
    if written[0] == "=" and written != "=~":
        before = text[start - 1] if start else ""
        bold = text[max(start - 2, 0) : start] == "**"
        if len(written) > 1 or before in _NOT_EQUAL or (before == "*" and not bold):
            return Token("b", written, start, end)
    return Token("=", "=" if written[0] in "=ei" else "~", start, end)


def _ends_operand(last: Token | None) -> bool:
    return last is not None and last.kind in "n)%sw"


def _add_word(found: list[Token], token: Token) -> None:
    if token.kind == "w" and found and found[-1].kind == "w":
        last = found.pop()
        token = Token("w", f"{last.text[-MAX_WORDS:]} {token.text}", last.start, token.end)
    found.append(token)


def _add_scale(found: list[Token], text: str, token: Token) -> None:
    last = found[-1] if found else None
    money = last is not None and last.kind == "n" and text[last.start - 1 : last.start] in ("$", "€", "£", "¥", "₹")
    variable = len(token.text) == 1 and not money  # 5k
    _add_word(found, token._replace(kind="w") if variable else token)


def _close(found: list[Token], token: Token) -> None:
    # Words alone in parentheses say something about the number before: 12 (apples), 5 \text{ km}.
    if len(found) > 1 and found[-1].kind == "w" and found[-2].kind == "(":
        words = found.pop()
        opened = found.pop()
        if opened.text == "(" and _ends_operand(found[-1] if found else None) and found[-1].end == opened.start:
            token = token._replace(kind="x")  # 2(price)
            found.append(token)
            return
        _add_word(found, Token("w", words.text, opened.start, token.end))
    else:
        found.append(token)


def _add_stars(found: list[Token], text: str, start: int, end: int) -> None:
    """Multiplication, power, or emphasis, which is left out."""
    if end - start > 2 or not _ends_operand(found[-1] if found else None):
        return
    after = text[end : end + 1]
    spaced = text[start - 1].isspace()
    following = text[end : end + 3].lstrip(" ")[:1]
    if not following or not (following.isalnum() or following in "$€£¥₹(-.\\{[*+"):
        return  # emphasis ends
    if (end - start == 2 or following.isalpha()) and spaced != after.isspace():
        if end - start == 1:
            found.append(Token("x", "*", start, end))
        return  # 3 **kg**
    found.append(Token("o", "^" if end - start == 2 else "*", start, end))


_A_PART_OF = re.compile(
    r"\b(?:half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|"
    r"roots?|squares?|cubes?|powers?|multiples?|factorial|logarithm)$",
    re.IGNORECASE,
)


def _add_of(found: list[Token], token: Token) -> None:
    """Multiplies behind a share (20% of 50, 3/4 of 20); is a mere word in "a total of"; else nobody knows."""
    last = found[-1] if found else None
    if last is None:
        return
    if last.kind == "w":
        counted = len(found) > 1 and found[-2].kind in "n)" and " " not in last.text  # 3 groups of 4
        if counted or _A_PART_OF.search(last.text[-20:]):
            found.append(token._replace(kind="x", text="of"))
    elif last.kind in "%)" or (last.kind == "n" and (last.decimals or (len(found) > 1 and found[-2].text == "/"))):
        found.append(token)
    else:
        found.append(token._replace(kind="x", text="of"))


def _add_power(found: list[Token], written: str, start: int, end: int) -> None:
    last = found[-1] if found else None
    exponent = written.translate(_SUPERSCRIPTS).strip("^{}")
    if last is not None and last.kind == "w" and exponent:
        return  # m², km/h^2
    found.append(Token("o", "^", start, end))
    if exponent.lstrip("-").isdigit() and len(exponent) < 6:
        found.append(Token("n", exponent, start, end, int(exponent)))


def _add_fraction(found: list[Token], written: str, start: int, end: int) -> None:
    """Adds a glyph (½, also in 3½), or what may be a mixed number (3 1/2)."""
    last = found[-1] if found else None
    if len(written) == 1:
        part = _GLYPHS[written]
        if last is not None and last.kind == "n" and last.decimals == 0 and start - last.end <= 1:
            found[-1] = Token("n", last.text + written, last.start, end, last.value + part, -1)
        else:
            found.append(Token("n", written, start, end, part, -1))
        return
    whole, _, fraction = written.partition(" ")
    above, _, below = fraction.partition("/")
    if 0 < int(above) < int(below):
        found.append(Token("n", written, start, end, int(whole) + Fraction(int(above), int(below)), -1))
        return
    slash = end - len(below) - 1
    found.append(Token("n", whole, start, start + len(whole), int(whole)))
    found.append(Token("n", above, slash - len(above), slash, int(above)))
    found.append(Token("o", "/", slash, slash + 1))
    found.append(Token("n", below, slash + 1, end, int(below)))
