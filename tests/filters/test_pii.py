"""Addresses in what is published: every field that quotes, the same every time, at any length."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datatrove.data import Document

from blocks.filters.pii import FIELDS, RemovePII
from blocks.shards.chunk import LINEAGE, chunk_of
from blocks.shards.commit import load_commits
from tests.conftest import samples, write_jsonl
from tests.shards.steps import SCHEMA, execute, planned

TEXT = "Write to {0} or {1}, or ask 8.8.8.8."
CLEAN = "Write to email@example.com or email@example.com, or ask 192.0.2.1."


def quote(data, rank, size):
    """A `Generate` step whose samples quote their document in every field there is; of every third in one alone."""
    for document in data:
        number = int(document.id[1:])
        fields = dict.fromkeys(FIELDS, document.text)
        text = document.text
        if number % 3 == 0:
            text, fields = "Nothing to see.", {FIELDS[number % 9 // 3]: document.text}
        sample = Document(text, f"{document.id}/faq", metadata={"format": "faq", "source_id": document.id, **fields})
        chunk_of(document).replace(document.metadata[LINEAGE], [sample], [])
        yield sample


def test_what_is_written_has_no_addresses(tmp_path):
    schema = pa.schema([*SCHEMA, *(pa.field(name, pa.string()) for name in FIELDS)])
    rows = [{"id": f"d{i}", "text": TEXT.format(f"me{i}@mail.org", f"you.{i}@sub.mail.org")} for i in range(9)]
    rows.append({"id": "d10", "text": "me at mail.org, 10.0.0.1, version 1.2.3"})
    folder = planned(tmp_path / "run", write_jsonl(tmp_path / "a.jsonl", rows), 5)
    execute(folder, 5, [quote, RemovePII()], schema=schema)
    written = samples(tmp_path / "run")
    assert len(written) == 10
    for row in written[:-1]:
        assert {row["text"], *(row[name] for name in FIELDS)} <= {CLEAN, "Nothing to see.", None}
    assert {written[-1]["text"], *(written[-1][name] for name in FIELDS)} == {rows[-1]["text"]}
    assert [commit.tally["numbers"]["pii_replaced"] for commit in load_commits(folder)] == [5, 4]


def test_a_text_becomes_the_same_whatever_came_before():
    texts = [TEXT.format(f"a{i}@b.org", f"c{i}@d.org") for i in range(5)]
    step = RemovePII()
    together = [step.format(text) for text in texts]
    assert together == [RemovePII().format(text) for text in texts] == [CLEAN] * 5
    assert step.format(CLEAN) == CLEAN  # and once more changes nothing


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("(first.last+tag@mail.co.uk),x", "(email@example.com),x"),
        ("邮箱me@mail.org，谢谢", "邮箱email@example.com，谢谢"),
        ("a@b@mail.org", "a@email@example.com"),
        ("@me and me@ and me@localhost", "@me and me@ and me@localhost"),
        ("192.168.0.1 is private", "192.168.0.1 is private"),
    ],
)
def test_addresses(text, cleaned):
    assert RemovePII().format(text) == cleaned


@pytest.mark.parametrize("run", ["a-", "a.", "@a-", "a@a-", "a@b."])
def test_a_run_without_spaces_ends(run):
    """The stock pattern alone takes hours for these; the address behind them is found."""
    text = run * 500_000 + " me@mail.org"
    assert RemovePII().format(text).endswith(" email@example.com")
