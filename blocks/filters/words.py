"""Words, also of languages that put no spaces between them."""

from __future__ import annotations

import regex

# Scripts without spaces have a word in every letter, as far as anybody can tell without a dictionary.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Inside of a set of characters: letters that are words."""

WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[^\s{UNSPACED}]+")
"""A word with the signs around it, as white space divides them."""

SPACED = rf"[\w--[_{UNSPACED}]]"
"""A letter or digit that is a word only with its neighbours; needs `regex.V1`."""

_BARE = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[\w--[{UNSPACED}]]+", regex.V1)


def bare_words(text: str) -> list[str]:
    """The words of a text in small letters, without the signs between them."""
    found: list[str] = _BARE.findall(text.lower())
    return found
