"""Which samples a document becomes: routing, several wordings, answers with tags, samples joined to their document."""

from __future__ import annotations

from collections import Counter

import pytest

from blocks.generate.prompts import load_wordings
from tests.conftest import endpoint, finephrase, rejected, samples, summary, write_jsonl

PRICES = (
    "The ferry carries 120 cars and 450 passengers on each crossing. A ticket costs 18 dollars for a car and 6 dollars "
    "for a person, and there are 14 crossings a day in summer, because the islands have 3,200 guests then."
)
STORY = (
    "She walked along the shore in the evening and said that she would never leave. Her brother, who had come home, "
    "smiled and looked at the grey water. They had been happy there, and nobody asked them to go away again."
)
MENU = "home news about contact login"


def ask(tmp_path, mock, rows, *arguments):
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    return finephrase("--input", source, "--output", tmp_path / "run", *endpoint(mock), *arguments)


def test_a_document_gets_the_formats_that_suit_it(tmp_path, mock):
    texts = {"prices": PRICES, "story": STORY, "menu": MENU}
    rows = [{"id": name, "text": text} for name, text in texts.items()]
    done = ask(tmp_path, mock, rows, "--route", "auto")
    assert done.returncode == 0, done.stdout
    made = {name: {row["format"] for row in samples(tmp_path / "run") if row["source_id"] == name} for name in texts}
    assert {"faq", "math", "table"} <= made["prices"]
    assert "faq" in made["story"] and not {"math", "tutorial"} & made["story"]
    assert made["menu"] == set()

    result = summary(tmp_path / "run")
    asked = sum(map(len, made.values()))
    assert len(mock.requests()) == asked == sum(result["samples"]["requested"].values())
    assert sum(sum(reasons.values()) for reasons in result["spared"].values()) == 12 - asked
    assert result["spared"]["math"]["quantities < 2 and numbers < 6"] == 2
    assert result["rejected"] == {"no_format_suits": 1}
    (refused,) = rejected(tmp_path / "run")
    assert refused["id"] == "menu" and "faq: words < 20" in refused["detail"]

    other = ask(tmp_path, mock, rows)
    assert other.returncode == 1 and "the prompt 'math' was" in other.stdout


@pytest.mark.parametrize(("route", "says"), [("all", "would save"), ("auto", "saves")])
def test_the_dry_run_says_what_routing_saves(tmp_path, mock, route, says):
    rows = [{"id": "a", "text": PRICES}, {"id": "b", "text": STORY}, {"id": "c", "text": MENU}]
    done = ask(tmp_path, mock, rows, "--formats", "math,faq", "--route", route, "--dry-run")
    assert f"--route auto {says} 50% of the requests (3 documents looked at)" in done.stdout, done.stdout
    assert "math: suits 1: 2 have quantities < 2 and numbers < 6" in done.stdout
    assert not mock.requests()


def test_formats_that_are_added_to_a_routed_run(tmp_path, mock):
    rows = [{"id": f"d{n}", "text": f"{(PRICES, STORY)[n % 2]} Page {'a' * n}."} for n in range(8)]
    assert ask(tmp_path / "fresh", mock, rows, "--route", "auto", "--formats", "faq,math").returncode == 0
    first = ask(tmp_path / "grown", mock, rows, "--route", "auto", "--formats", "faq", "--limit", 4, "--chunk-size", 2)
    assert first.returncode == 0, first.stdout
    more = ask(tmp_path / "grown", mock, rows, "--route", "auto", "--formats", "faq,math", "--chunk-size", 2)
    assert more.returncode == 0, more.stdout
    fresh, grown = summary(tmp_path / "fresh" / "run"), summary(tmp_path / "grown" / "run")
    assert fresh["written"] == {"faq": 8, "math": 4} and fresh["rejected"] == {}
    for name in ("read", "done", "written", "rejected", "spared", "requests", "complete"):
        assert grown[name] == fresh[name], name


def test_a_route_that_cannot_be_read(tmp_path, mock):
    prompt = tmp_path / "mine.md"
    prompt.write_text("---\nroute: [length >= 3]\n---\nSay it again: [[DOCUMENT]]")
    done = ask(tmp_path, mock, [{"text": PRICES}], "--formats", "none", "--prompt", prompt)
    assert done.returncode == 1 and "`route` of prompt 'mine': there is no feature 'length'" in done.stdout


def test_pieces_of_a_long_document_are_routed_each(tmp_path, mock):
    text = f"{STORY} " * 30 + "\n\n" + f"{PRICES} " * 30
    arguments = ["--long-documents", "split", "--context", "1600", "--max-tokens", "300"]
    done = ask(tmp_path, mock, [{"id": "d", "text": text}], "--formats", "faq,math", "--route", "auto", *arguments)
    assert done.returncode == 0, done.stdout
    rows = samples(tmp_path / "run")
    pieces = rows[0]["pieces"]
    assert pieces > 2
    by_format = {name: {row["piece"] for row in rows if row["format"] == name} for name in ("faq", "math")}
    assert by_format["faq"] == set(range(pieces))
    assert pieces - 1 in by_format["math"] and 0 not in by_format["math"]
    assert sum(summary(tmp_path / "run")["spared"]["math"].values()) == pieces - len(by_format["math"])


def test_wordings_are_shared_out_and_recorded(tmp_path, mock):
    rows = [{"id": f"d{i}", "text": f"Document {i}. {PRICES}"} for i in range(90)]
    done = ask(tmp_path, mock, rows, "--formats", "math", "--wordings", "all")
    assert done.returncode == 0, done.stdout
    made = samples(tmp_path / "run")
    hashes = {wording.variant or None: wording.hash for wording in load_wordings("math")}
    assert len(hashes) == 3
    assert all(row["prompt_hash"] == hashes[row["prompt_variant"]] and row["format"] == "math" for row in made)
    shares = Counter(row["prompt_variant"] for row in made)
    assert len(shares) == 3 and min(shares.values()) >= 15

    # The same documents get the same wordings: a new run asks the same, and one with another seed does not.
    asked = Counter(entry["hash"] for entry in mock.requests())
    arguments = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "again", *endpoint(mock)]
    again = finephrase(*arguments, "--formats", "math", "--wordings", "all")
    assert again.returncode == 0, again.stdout
    assert Counter(entry["hash"] for entry in mock.requests()) == asked + asked
    seeded = ask(tmp_path / "seeded", mock, rows, "--formats", "math", "--wordings", "all", "--seed", 7)
    assert seeded.returncode == 0, seeded.stdout
    wording = {row["id"]: row["prompt_variant"] for row in made}
    changed = [row for row in samples(tmp_path / "seeded" / "run") if row["prompt_variant"] != wording[row["id"]]]
    assert len(changed) >= 15
    other = ask(tmp_path, mock, rows, "--formats", "math")
    assert other.returncode == 1 and "the prompt 'math' was" in other.stdout


def test_formats_that_are_added_see_the_same_pieces(tmp_path, mock):
    rows = [{"id": "d", "text": " ".join(f"{STORY} Part {n}." for n in range(60))}]
    options = ["--long-documents", "split", "--context", 4096, "--keep-source"]
    first = ask(tmp_path, mock, rows, *options, "--formats", "table")
    assert first.returncode == 0, first.stdout
    grown = ask(tmp_path, mock, rows, *options, "--formats", "table,summarize")  # whose instruction is shorter
    assert grown.returncode == 0, grown.stdout
    pieces: dict[str, set] = {}
    for row in samples(tmp_path / "run"):
        pieces.setdefault(row["format"], set()).add((row["piece"], row["source_text"]))
    assert len(pieces["table"]) > 1 and pieces["table"] == pieces["summarize"]
    (tmp_path / "longer.md").write_text("Say it again. " * 200 + "[[DOCUMENT]]")
    more = ["--formats", "table,summarize", "--prompt", tmp_path / "longer.md"]
    longer = ask(tmp_path, mock, rows, *options, *more)
    assert longer.returncode == 1 and "give these formats an --output of their own" in longer.stdout


def test_a_longer_prompt_that_is_added_sees_a_little_less(tmp_path, mock):
    rows = [{"id": "d", "text": " ".join(f"{STORY} Part {n}." for n in range(60))}]
    options = ["--context", 4096, "--keep-source", "--formats", "summarize"]
    assert ask(tmp_path, mock, rows, *options).returncode == 0
    (tmp_path / "longer.md").write_text("Say it again. " * 200 + "[[DOCUMENT]]")
    grown = ask(tmp_path, mock, rows, *options, "--prompt", tmp_path / "longer.md")
    assert grown.returncode == 0, grown.stdout
    sources = {row["format"]: row["source_text"] for row in samples(tmp_path / "run")}
    assert len(sources["longer"]) < len(sources["summarize"])


def test_reasoning_is_kept_apart_from_the_text(tmp_path, mock):
    rows = [{"id": "good", "text": f"{STORY} MOCK-SAY-tagged"}, {"id": "bare", "text": STORY}]
    rows += [{"id": "mute", "text": f"{STORY} MOCK-SAY-empty"}]
    done = ask(tmp_path, mock, rows, "--formats", "guided_rewrite")
    assert done.returncode == 0, done.stdout
    (row,) = samples(tmp_path / "run")
    assert (row["id"], row["text"], row["reasoning"]) == (
        "good/guided_rewrite",
        "A better text.",
        "It goes into <rewrite> tags.",
    )
    assert {row["id"]: row["reason"] for row in rejected(tmp_path / "run")} == {
        "bare/guided_rewrite": "no_rewrite",
        "mute/guided_rewrite": "empty",
    }


def test_a_sample_that_holds_its_document(tmp_path, mock):
    done = ask(tmp_path, mock, [{"id": "d", "text": STORY}], "--formats", "reading_comprehension,summarize")
    assert done.returncode == 0, done.stdout
    made = {row["format"]: row["text"] for row in samples(tmp_path / "run")}
    assert made["reading_comprehension"].startswith(f"{STORY}\n\nAnswer ")
    assert made["summarize"].startswith("Answer ")


def test_only_the_answer_of_such_a_sample_is_checked(tmp_path, mock):
    text = f"{STORY} MOCK-SAY-torn"
    arguments = endpoint(mock)[:-2]
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "d", "text": text}])
    done = finephrase("--input", source, "--output", tmp_path / "run", "--formats", "reading_comprehension", *arguments)
    assert done.returncode == 0, done.stdout
    checks = summary(tmp_path / "run")["checks"]
    assert checks["copying"]["flagged"] == 0  # with the document in it everything would be a copy
    assert checks["faq"]["rejected"] == 1  # one pair, and two are wanted


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("tags: {reasoning: plan}", "`tags` must be"),
        ("tags: rewrite", "`tags` must be"),
        ("tags: {text: 'a b'}", "`tags` must be"),
        ("joined: before", "`joined` can only be after_document, not 'before'"),
    ],
)
def test_front_matter_that_means_nothing(tmp_path, mock, front, message):
    prompt = tmp_path / "mine.md"
    prompt.write_text(f"---\n{front}\n---\nSay it again: [[DOCUMENT]]")
    done = ask(tmp_path, mock, [{"text": STORY}], "--formats", "none", "--prompt", prompt)
    assert done.returncode == 1 and message in done.stdout and not mock.requests(), done.stdout
