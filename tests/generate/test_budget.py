import itertools

import pytest
from small_tokenizers import KINDS, hostile_texts, make_tokenizer
from tokenizers import Tokenizer, models

from blocks.generate.budget import LEAST_ROOM, SEAM_SLACK, document_room, split, truncate
from blocks.generate.prompts import Prompt, load_prompt
from blocks.generate.tokenizer import CharacterEstimate, load_tokenizer


@pytest.fixture(scope="module", params=[*KINDS, "estimate"])
def tokenizer(request, tmp_path_factory):
    if request.param == "estimate":
        return CharacterEstimate()
    return load_tokenizer(make_tokenizer(tmp_path_factory.mktemp("tokenizers") / request.param, request.param))


def without_spaces(text):
    return "".join(text.split())


@pytest.mark.parametrize("seed", range(2))
def test_what_is_cut_fits_and_loses_nothing_else(tokenizer, seed):
    for length, room in itertools.product((100, 2000), (LEAST_ROOM, 200)):
        for kind, text in hostile_texts(seed, length).items():
            pieces = split(text, room, tokenizer)
            assert all(tokenizer.count(piece) <= room for piece in pieces), kind
            assert without_spaces("".join(pieces)) == without_spaces(text), kind
            position = 0
            for piece in pieces:
                position = text.index(piece, position) + len(piece)
            first, cut = truncate(text, room, tokenizer)
            assert tokenizer.count(first) <= room
            assert first == (pieces[0] if pieces else "")
            assert cut == (len(pieces) > 1), kind


def test_a_text_that_fits_stays_as_it_is(tokenizer):
    for text in ("", "  spaced\n\n", "Short. Text."):
        assert split(text, 100, tokenizer) == [text]
        assert truncate(text, 100, tokenizer) == (text, False)


def test_most_of_the_room_is_used(tokenizer):
    for kind, text in hostile_texts(7, 20_000).items():
        if kind in ("spaces", "only spaces"):  # whitespace at a cut goes
            continue
        first, cut = truncate(text, 200, tokenizer)
        assert cut and tokenizer.count(first) > 85, kind


@pytest.mark.parametrize(
    ("text", "end"),
    [
        # 100 words of 10 characters with one boundary; about 60 % to 90 % of the room lies before it.
        ("wordwordw " * 43 + "end.\n\n" + "wordwordw " * 57, "end."),
        ("wordwordw " * 43 + "end\n\n" + "wordwordw " * 57, "end"),
        ("wordwordw " * 30 + "end. Next " + "wordwordw " * 60, "end."),
        ("wordwordw " * 30 + '"end!" Next ' + "wordwordw " * 60, '"end!"'),
        ("wordwordw " * 30 + "end\n" + "wordwordw " * 60, "end"),
        ("字" * 300 + "。" + "字" * 600, "。"),
        ("wordwordw " * 100, "wordwordw"),
        ("wordwordw " * 30 + "3.14 v1.2 " + "wordwordw " * 60, "wordwordw"),
    ],
)
def test_where_a_cut_falls(text, end):
    first, cut = truncate(text, 150, CharacterEstimate())  # 450 characters
    assert cut and first.endswith(end)
    assert text[len(first)].isspace() or end == "。"


def test_a_paragraph_goes_before_a_later_sentence():
    text = "Word here. " * 32 + "The end.\n\n" + "Word here. " * 100
    assert truncate(text, 150, CharacterEstimate())[0].endswith("The end.")


def test_huge_texts(tokenizer):
    for kind, text in hostile_texts(11, 2_000_000).items():
        first, _ = truncate(text, 6000, tokenizer)
        assert tokenizer.count(first) <= 6000, kind
    text = hostile_texts(11, 300_000)["no spaces"]
    assert "".join(split(text, 6000, tokenizer)) == text


@pytest.mark.parametrize(
    ("layout", "system"), [("instruction-first", "You are a careful writer."), ("document-first", None)]
)
def test_requests_never_exceed_the_context(tokenizer, layout, system):
    context, max_tokens = 1100, 300
    for name in ("faq", "table"):
        prompt = load_prompt(name)
        room = document_room(prompt, layout, tokenizer, context, max_tokens, system)
        for kind, text in hostile_texts(13, 3000).items():
            document, _ = tokenizer.neutralise(text)
            for piece in [truncate(document, room, tokenizer)[0], *split(document, room, tokenizer)]:
                messages = [{"role": "system", "content": system}] if system else []
                messages.append({"role": "user", "content": prompt.render(piece, layout)})
                assert tokenizer.count_chat(messages) + max_tokens <= context, (name, kind)


def test_no_room_is_told_with_the_arithmetic(tokenizer):
    prompt = load_prompt("faq")
    around = tokenizer.count_chat([{"role": "user", "content": prompt.render("")}])
    needed = around + SEAM_SLACK + LEAST_ROOM
    assert document_room(prompt, "instruction-first", tokenizer, needed + 480, 480) == LEAST_ROOM
    with pytest.raises(ValueError, match=rf"context {needed + 479} − max_tokens 480 − prompt {around} .*--max-tokens"):
        document_room(prompt, "instruction-first", tokenizer, needed + 479, 480)


def test_template_options_count(tmp_path):
    tokenizer = load_tokenizer(make_tokenizer(tmp_path / "t", "plain", "{{ messages[0].content }}{{ 'x ' * pad }}"))
    prompt = Prompt("p", "Do it.\n\n[[DOCUMENT]]")
    rooms = [
        document_room(prompt, "instruction-first", tokenizer, 500, 100, template_options={"pad": pad})
        for pad in (0, 50)
    ]
    assert rooms[0] - rooms[1] == tokenizer.count("x " * 50)


def test_a_piece_is_counted_after_it_was_cut():
    class Hopeful(CharacterEstimate):
        def prefix_end(self, text, room, start=0):
            return min(len(text), super().prefix_end(text, room + room // 4, start))

    for text in hostile_texts(17, 3000).values():
        pieces = split(text, 100, Hopeful())
        assert pieces or text.isspace()
        assert all(Hopeful().count(piece) <= 100 for piece in pieces)


def test_tokens_may_differ_where_prompt_and_document_meet(tmp_path):
    # "a" is one token and "bcd" is one token, but "abcd" is the three tokens ab, c, d.
    vocabulary = {token: number for number, token in enumerate(["a", "b", "c", "d", "ab", "bc", "bcd"])}
    Tokenizer(models.BPE(vocabulary, [("a", "b"), ("b", "c"), ("bc", "d")])).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    tokenizer, prompt = load_tokenizer(str(tmp_path)), Prompt("p", "a[[DOCUMENT]]")
    room = document_room(prompt, "instruction-first", tokenizer, 300, 100)
    document, cut = truncate("bcd" * 500, room, tokenizer)
    assert cut and tokenizer.count(document) == room
    assert tokenizer.count(prompt.render(document)) == 1 + room + 1
    assert tokenizer.count(prompt.render(document)) + 100 <= 300


def test_a_room_for_nothing_is_an_error():
    class Wide(CharacterEstimate):
        def count(self, text):
            return 40 * len(text)

        def prefix_end(self, text, room, start=0):
            return start + room // 40

    with pytest.raises(ValueError, match="one character"):
        split("abc", 39, Wide())
    assert split("abc", 40, Wide()) == ["a", "b", "c"]
