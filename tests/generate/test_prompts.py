import pickle
from pathlib import Path

import pytest

from blocks.generate.prompts import PLACEHOLDER, Prompt, load_prompt

FORMATS = ("faq", "math", "table", "tutorial")


@pytest.mark.parametrize("name", FORMATS)
def test_bundled_prompts(name):
    prompt = load_prompt(name)
    assert (prompt.name, prompt.family, prompt.max_tokens) == (name, "rephrase", 2048)
    assert prompt.description and "FinePhrase" in prompt.source
    assert prompt.text.endswith("\n\nDocument:\n" + PLACEHOLDER)
    assert " below" not in prompt.text and " above" not in prompt.text
    assert pickle.loads(pickle.dumps(prompt)) == prompt


def test_document_first_gives_all_formats_one_prefix():
    document = "Tide pools.\n\nSecond paragraph."
    for name in FORMATS:
        prompt = load_prompt(name)
        first, last = prompt.render(document, "document-first"), prompt.render(document, "instruction-first")
        assert first.startswith(f"Document:\n{document}\n\n")
        assert last.endswith(f"\n\nDocument:\n{document}")
        assert sorted(first.split("\n\n")) == sorted(last.split("\n\n"))


@pytest.mark.parametrize("layout", ["instruction-first", "document-first"])
@pytest.mark.parametrize(
    "document", [PLACEHOLDER, f"a {PLACEHOLDER}\n\n{PLACEHOLDER} b", "{{ x }} {% y %}", r"\1 \g<0>", ""]
)
def test_a_document_cannot_change_the_prompt(document, layout):
    prompt = load_prompt("faq")
    before, after = prompt.parts(layout)
    assert prompt.render(document, layout) == before + document + after
    assert PLACEHOLDER not in before + after


def test_document_first_moves_the_whole_paragraph():
    prompt = Prompt("x", "One.\n\nTwo.\n \n\nText: <<[[DOCUMENT]]>> end\n\nThree.")
    assert prompt.render("D", "document-first") == "Text: <<D>> end\n\nOne.\n\nTwo.\n\nThree."
    assert prompt.render("D", "instruction-first") == "One.\n\nTwo.\n \n\nText: <<D>> end\n\nThree."
    inline = Prompt("x", "Sum up [[DOCUMENT]] in a line.")
    assert inline.render("D", "document-first") == "Sum up D in a line."
    bare = Prompt("x", "Sum up.\n\n[[DOCUMENT]]")
    assert bare.render("D", "document-first") == "D\n\nSum up."


def test_own_file_without_front_matter(tmp_path):
    path = tmp_path / "glossary.md"
    path.write_bytes(b"\xef\xbb\xbfDefine the terms.\r\n\r\n[[DOCUMENT]]\r\n")
    prompt = load_prompt(str(path))
    assert (prompt.name, prompt.text, prompt.max_tokens) == ("glossary", "Define the terms.\n\n[[DOCUMENT]]", None)


def test_own_file_with_front_matter(tmp_path):
    path = tmp_path / "Some File.md"
    path.write_text("---\nname: terms\nmax_tokens: 99\nverify: [pairs]\n---\nTerms.\n\n---\n\n[[DOCUMENT]]\n")
    prompt = load_prompt(str(path))
    assert (prompt.name, prompt.max_tokens, prompt.extra) == ("terms", 99, {"verify": ["pairs"]})
    assert prompt.text == "Terms.\n\n---\n\n[[DOCUMENT]]"


def test_the_hash_is_of_the_text_alone():
    one, other = Prompt("a", "A [[DOCUMENT]]", max_tokens=5), Prompt("b", "A [[DOCUMENT]]")
    assert one.hash == other.hash == "cb74cbc10e261313"
    assert Prompt("a", "B [[DOCUMENT]]").hash != one.hash


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("No place.", "exactly once, found 0"),
        ("[[DOCUMENT]] and [[DOCUMENT]]", "exactly once, found 2"),
        ("---\nname: x\n[[DOCUMENT]]", "never closed"),
        ("---\nname: [\n---\n[[DOCUMENT]]", "not valid YAML"),
        ("---\njust text\n---\n[[DOCUMENT]]", "key: value"),
        ("---\nname: 5\n---\n[[DOCUMENT]]", "`name` in the front matter must be text"),
        ("---\nname: ../up\n---\n[[DOCUMENT]]", "cannot name a folder"),
        ("---\nmax_tokens: many\n---\n[[DOCUMENT]]", "positive whole number"),
        ("---\nmax_tokens: true\n---\n[[DOCUMENT]]", "positive whole number"),
    ],
)
def test_unusable_files_say_why_and_which(tmp_path, content, message):
    path = tmp_path / "bad.md"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.md") as error:
        load_prompt(str(path))
    assert message in str(error.value)


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "bad.md"
    path.write_bytes(b"\xff\xfe[[DOCUMENT]]")
    with pytest.raises(ValueError, match=r"bad\.md.*utf-8"):
        load_prompt(str(path))


def test_missing_prompts_name_what_there_is(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="faq, guided_rewrite"):
        load_prompt("poem")
    with pytest.raises(FileNotFoundError, match=r"no prompt file .*poem\.md"):
        load_prompt(str(tmp_path / "poem.md"))
    monkeypatch.chdir(tmp_path)
    Path("poem").write_text("[[DOCUMENT]]")
    with pytest.raises(FileNotFoundError, match=r"write \./poem"):
        load_prompt("poem")
    assert load_prompt("./poem").name == "poem"
