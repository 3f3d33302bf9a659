"""Special tokens that a text quotes, made harmless."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import AddedToken


def acts(token: AddedToken) -> bool:
    """Whether an added token steers the model: the special ones, and marks such as `</think>` that are not called so.

    Added runs of spaces, which some tokenizers have for code, do not, nor do elements of HTML, which Gemma's has.
    """
    if token.special:
        return True
    return token.content[:1] in "<[" and token.content[-1:] in ">]" and not _HTML.fullmatch(token.content)


_HTML = re.compile(
    r"</?(?:a|b|blockquote|br|caption|code|div|em|h[1-6]|hr|i|img|li|ol|p|pre|s|span|strong|su[bp]|table|tbody|td|tfoot|"
    r"th|thead|tr|u|ul)>"
)


def special_pattern(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """What finds those tokens in a text that can be broken up; None where there are none."""
    # A token of one visible character cannot be broken up by a space. The longest first: the first match counts.
    several = sorted({token for token in tokens if len(token.strip()) > 1}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, several))) if several else None


def break_up(text: str, pattern: re.Pattern[str] | None) -> tuple[str, int]:
    """Break up the special tokens in a text, so that they reach the model as plain characters.

    A space goes behind the first visible character (`<|im_end|>` becomes `< |im_end|>`). Breaking one token can leave
    an overlapping one, so this repeats until none is left. That ends: a space parts two neighbouring characters for
    good, or widens a gap inside a token that holds whitespace itself, up to the widest such gap.

    Args:
        text: any.
        pattern: from `special_pattern`.

    Returns:
        The text and the number of tokens broken up.
    """
    total = 0
    while pattern is not None:
        text, broken = pattern.subn(_parted, text)
        if not broken:
            break
        total += broken
    return text, total


def _parted(match: re.Match[str]) -> str:
    token = match[0]
    first = len(token) - len(token.lstrip()) + 1
    return f"{token[:first]} {token[first:]}"
