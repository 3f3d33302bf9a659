"""Excerpts: abbreviated passages of documents, found again, or refused with the reason."""

from __future__ import annotations

import json
import random
import re
import unicodedata

import pytest

from blocks.generate.errors import Rejected
from blocks.instruct.excerpts import Source
from tests.conftest import ROOT

TEXT = "It is “known” that\nthe laws — all of them — hold. The café’s owner knew it. It is so, and it is known."


def expand(text: str, document: str = TEXT):
    return Source(document).expand(text)


def test_passages_are_copied_as_they_stand():
    owner = "The cafe\u0301's owner"  # é as two characters, and a plain apostrophe
    laws = '<excerpt>It is "known" that<...>all of them - hold.</excerpt>'
    found = expand(f"Well: {laws} So <excerpt>{owner}</excerpt>.")
    assert found.text == "Well: It is “known” that\nthe laws — all of them — hold. So The café’s owner."
    assert [found.text[one.start : one.end] for one in found.copied] == [
        TEXT[one.source_start : one.source_end] for one in found.copied
    ]
    assert found.copied[1].source_start == TEXT.index("The café")
    inside = len("It is “known” that\nthe laws — all of them — hold.") + len("The café’s owner")
    assert found.grounded == pytest.approx(inside / len(found.text))


def test_a_text_without_excerpts_is_itself():
    found = expand("Nothing < of . the ... kind >")
    assert found.text == "Nothing < of . the ... kind >" and not found.copied and found.grounded == 0
    assert expand("").grounded == 0


@pytest.mark.parametrize("ellipsis", ["<...>", " <...> ", "<…>", "< . . . >", "\n<...>\n"])
def test_ways_to_leave_words_out(ellipsis):
    assert expand(f"<excerpt>the laws{ellipsis}them — hold.</excerpt>").text == "the laws — all of them — hold."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<excerpt>the laws<...>hold.", "unbalanced_excerpt"),
        ("the laws</excerpt>", "unbalanced_excerpt"),
        ("<excerpt>the <excerpt>laws</excerpt></excerpt>", "unbalanced_excerpt"),
        ("<excerpt> </excerpt>", "empty_excerpt"),
        ("<excerpt><...>hold.</excerpt>", "empty_excerpt"),
        ("<excerpt>the laws<...> </excerpt>", "empty_excerpt"),
        ("<excerpt>the<...>laws<...>hold.</excerpt>", "several_ellipses"),
        ("the laws <...> hold", "stray_ellipsis"),
        ("<excerpt>the rules<...>hold.</excerpt>", "excerpt_not_found"),
        ("<excerpt>the laws<...>fail.</excerpt>", "excerpt_not_found"),
        ("<excerpt>knew it.<...>the laws</excerpt>", "excerpt_backwards"),
        ("<excerpt>It is<...>it is known.</excerpt>", "ambiguous_excerpt"),  # from either "It is"
        ("<excerpt>owner<...>it</excerpt>", "ambiguous_excerpt"),  # "knew it", or as far as the last "it"
        ("<excerpt>The law</excerpt>", "excerpt_not_found"),  # half a word, and another case
        ("<excerpt>he laws<...>hold.</excerpt>", "excerpt_not_found"),
        ("<excerpt>It is “known<...>known” that</excerpt>", "excerpt_backwards"),  # they may not overlap
    ],
)
def test_what_is_not_certain_is_refused(text, reason):
    with pytest.raises(Rejected) as error:
        expand(text)
    assert error.value.reason == reason and error.value.detail


def test_words_in_full_may_occur_twice():
    assert expand("<excerpt>it is</excerpt>", "as it  is, so it is").copied[0].source_start == 3


@pytest.mark.parametrize(
    ("document", "asked", "found"),
    [
        ("an e\u0301tude  by\u00a0him", "an étude by him", "an e\u0301tude  by\u00a0him"),
        ("co\u00adop\u200beration now", "cooperation now", "co\u00adop\u200beration now"),
        ("\u1112\u1161\u11ab is Korean", "한 is Korean", "\u1112\u1161\u11ab is Korean"),
        ("wait… more", "wait... more", "wait… more"),
        ("a \u200b b", "a b", "a \u200b b"),
        ("«x» ‚y‘", "\"x\" 'y'", "«x» ‚y‘"),
        ("q\u0323\u0307 end", "q\u0307\u0323 end", "q\u0323\u0307 end"),
    ],
)
def test_other_ways_to_write_the_same(document, asked, found):
    expanded = expand(f"<excerpt>{asked}</excerpt>", document)
    assert expanded.text == found
    # And where the document is the one that is written plainly.
    assert expand(f"<excerpt>{found}</excerpt>", unicodedata.normalize("NFC", asked)).grounded == 1


CHINESE = "我们知道物理定律在任何地方都是一样的，AI也不例外。所以它们在月球上也一样。"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("物理定律<...>一样的", "物理定律在任何地方都是一样的"),
        ("物理定律在任何地方", "物理定律在任何地方"),
        ("AI<...>例外", "AI也不例外"),
    ],
)
def test_languages_that_write_no_spaces(asked, found):
    assert expand(f"<excerpt>{asked}</excerpt>", CHINESE).text == found


def test_doubt_in_languages_that_write_no_spaces():
    for asked, reason in (("物理<...>一样", "ambiguous_excerpt"), ("A<...>例外", "excerpt_not_found")):
        with pytest.raises(Rejected) as error:
            Source(CHINESE).find(asked)
        assert error.value.reason == reason


def test_a_long_document_takes_little_longer_than_it_is_long():
    noise = "the quick ünïcode “fox” jumps — over it. " * 25_000
    document = noise + "Here it begins with words and ends in others." + noise
    source = Source(document)
    assert source.expand("<excerpt>Here it begins<...>ends in others.</excerpt>").copied[0].source_start == len(noise)
    # The number of places may be large, or all of them cut a word: neither is looked at pairwise.
    for anchors, reason in (
        ("the quick<...>over it.", "ambiguous_excerpt"),
        ("he quick<...>over it.", "excerpt_not_found"),
    ):
        with pytest.raises(Rejected) as error:
            source.find(anchors)
        assert error.value.reason == reason
    with pytest.raises(Rejected):
        Source("a" * 1_000_000).find("a" * 1000)


def words_of(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"\S+", text)]


def test_abbreviated_passages_of_real_documents_come_back():
    """Whatever is expanded is the passage, and what is refused was in doubt."""
    documents = [json.loads(line)["text"] for line in (ROOT / "demo/documents.jsonl").read_text().splitlines()]
    dice = random.Random(5)
    exact = doubtful = 0
    for _ in range(2000):
        text = dice.choice(documents)
        words = words_of(text)
        count = dice.randint(3, 8)
        length = dice.randint(2 * count, min(len(words), 120))
        begin = dice.randrange(len(words) - length + 1)
        chosen = words[begin : begin + length]
        start, end = chosen[0][0], chosen[-1][1]
        first = " ".join(text[a:b] for a, b in chosen[:count])
        last = " ".join(text[a:b] for a, b in chosen[-count:])
        try:
            found = Source(text).expand(f"<excerpt>{first}<...>{last}</excerpt>")
        except Rejected as error:
            plain = " ".join(text.split())
            assert error.reason == "ambiguous_excerpt" and max(plain.count(first), plain.count(last)) > 1
            doubtful += 1
        else:
            assert (found.copied[0].source_start, found.copied[0].source_end) == (start, end)
            assert found.text == text[start:end]
            exact += 1
    assert exact > 1900 and exact + doubtful == 2000
