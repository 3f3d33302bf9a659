"""Texts to tokens: the same as datatrove's, whole, and with one EOS, at the end."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer

from blocks.pretrain import encode
from blocks.pretrain.encode import INPUT_IDS, Tokenize, Vocabulary, split
from tests.generate.small_tokenizers import CORPUS, KINDS, make_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    return {kind: make_tokenizer(root / kind, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_datatrove(folders, tmp_path, kind):
    vocabulary = Vocabulary(folders[kind])
    vocabulary.tokenizer.save(str(tmp_path / "tokenizer.json"))  # without truncation, which datatrove would obey
    texts = [*CORPUS, "", " ", "één naïve zin 漢字 🙂\n", "a" * 5000]
    theirs = DocumentTokenizer(
        str(tmp_path / "out"), str(tmp_path / "tokenizer.json"), eos_token="<|im_end|>", shuffle_documents=False
    )
    theirs.run([Document(text, str(number)) for number, text in enumerate(texts)])
    [file] = (tmp_path / "out").glob("*.ds")
    ours = vocabulary.encode(texts)
    assert file.read_bytes() == b"".join(tokens.tobytes() for tokens in ours)
    assert np.frombuffer(Path(f"{file}.index").read_bytes(), "<u8").tolist() == np.cumsum([*map(len, ours)]).tolist()


def test_special_tokens_of_a_text_are_text(folders):
    text = "One.<|im_end|>Two.</s>"
    plain = Vocabulary(folders["plain"])
    [tokens] = plain.encode([text])
    assert tokens.tolist().count(plain.eos_id) == 1 and tokens[-1] == plain.eos_id
    assert plain.tokenizer.decode(tokens[:-1].tolist(), skip_special_tokens=False) == text
    many = "<|im_end|>" * 50_000  # half a megabyte of them: neither memory nor time may grow with its square
    [tokens] = plain.encode([many])
    assert plain.tokenizer.decode(tokens[:-1].tolist(), skip_special_tokens=False) == many
    [chat] = Vocabulary(folders["plain"], special_tokens=True).encode([text])
    assert chat.tolist().count(plain.eos_id) == 2


def test_an_end_that_is_a_word_or_comes_of_normalization(tmp_path):
    """Unigram models know their special tokens as words, too; a normalizer makes tokens of other characters."""
    words = [("<end>", 0.0), *((character, -3.0) for character in "abcdefghijklmnopqrstuvwxyz <>.")]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(words, 1, False))
    tokenizer.normalizer = tokenizers.normalizers.NFKC()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = Vocabulary(str(tmp_path), eos="<end>")
    [tokens] = vocabulary.encode(["one<end>two<end><end>"])
    assert tokens.tolist().count(0) == 1 and tokens[-1] == 0
    assert vocabulary.tokenizer.decode(tokens[:-1].tolist()).replace(" ", "") == "one<end>two<end><end>"
    found = Tokenize(vocabulary).run([Document("a<end>b", "kept"), Document("a\uff1cend\uff1eb", "refused")])
    assert [document.id for document in found] == ["kept"]
    with pytest.raises(ValueError, match=r"'\.' of .* is a part of texts: give a special token"):
        _ = Vocabulary(str(tmp_path), eos=".").eos_token


def test_long_texts_are_encoded_in_pieces(folders, monkeypatch):
    monkeypatch.setattr(encode, "LONGEST_PIECE", 100)
    text = "Some words to cut between, and here a line ends.\n" * 9 + "x" * 250 + " end"
    pieces = list(split(text))
    assert "".join(pieces) == text and max(map(len, pieces)) <= 100 and pieces[0].endswith("\n")
    vocabulary = Vocabulary(folders["plain"])
    [tokens] = vocabulary.encode([text])
    assert vocabulary.tokenizer.decode(tokens[:-1].tolist()) == text
    assert list(split("")) == [""] and list(split("a" * 100)) == ["a" * 100]


def test_large_vocabularies_take_four_bytes(tmp_path):
    for words, size in ((65_535, 2), (65_536, 4)):
        names = {"<end>": 0, **{f"w{number}": number for number in range(1, words + 1)}}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, unk_token="<end>"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(["<end>"])
        (tmp_path / str(size)).mkdir()
        tokenizer.save(str(tmp_path / str(size) / "tokenizer.json"))
        vocabulary = Vocabulary(str(tmp_path / str(size)), eos="<end>")
        assert (vocabulary.size, vocabulary.token_size) == (words + 1, size)
        [tokens] = vocabulary.encode([f"w{words - 1} w7"])
        assert tokens.dtype == f"<u{size}" and tokens.tolist() == [words - 1, 7, 0]


def test_a_vocabulary_without_an_end_is_refused(folders, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text((Path(folders["plain"]) / "tokenizer.json").read_text())
    vocabulary = Vocabulary(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="does not say which token ends a text; give it as --eos"):
        _ = vocabulary.eos_token
    with pytest.raises(ValueError, match="has no token '<end>'"):
        _ = Vocabulary(str(tmp_path / "model"), eos="<end>").eos_token
    assert Vocabulary(str(tmp_path / "model" / "tokenizer.json"), eos="</s>").eos_id == 3
    with pytest.raises(ValueError, match=r"has no tokenizer\.json; pass --tokenizer"):
        _ = Vocabulary(str(tmp_path)).size


def test_a_vocabulary_pickles_without_its_tokenizer(folders):
    vocabulary = Vocabulary(folders["plain"])
    size = vocabulary.size
    pickled = pickle.dumps(vocabulary)
    assert len(pickled) < 1000 and pickle.loads(pickled).size == size


def test_names_that_transformers_can_open(folders, monkeypatch):
    folder = Path(folders["plain"])
    monkeypatch.chdir(folder.parent)
    for source in (str(folder), f"{folder}/tokenizer.json", folder.name):
        assert Vocabulary(source).name == str(folder)
    assert Vocabulary("org/model").name == "org/model"


def test_batches_keep_the_order_and_documents_that_no_reader_knows(folders, monkeypatch):
    monkeypatch.setattr(encode, "BATCH_ITEMS", 3)
    monkeypatch.setattr(encode, "BATCH_CHARACTERS", 50)
    texts = ["short", "a word " * 20, "", "three", "four", "five", "six"]
    step = Tokenize(Vocabulary(folders["plain"]))
    found = list(step.run(Document(text, str(number)) for number, text in enumerate(texts)))
    assert [document.id for document in found] == ["0", "1", "3", "4", "5", "6"]
    assert all(
        document.metadata[INPUT_IDS].tolist() == step.vocabulary.encode([document.text])[0].tolist()
        for document in found
    )
    assert json.loads(step.stats.to_json())["stats"]["tokens"]["total"] == sum(
        len(d.metadata[INPUT_IDS]) for d in found
    )
