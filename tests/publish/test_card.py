"""What a dataset card says of runs of every kind, and what it lets nobody else say."""

from typing import Any

import pyarrow as pa
import pytest
import yaml

from blocks.publish.card import About, make_card
from blocks.publish.parts import Stored
from blocks.shards.run import RunRecord

SUMMARY: dict[str, Any] = {
    "complete": True,
    "documents": {"read": 9, "done": 8},
    "samples": {"requested": {"faq": 8}},
    "written": {"faq": 7},
    "rejected": {},
    "failed": {},
    "checks": {},
    "alarms": [],
}
FILES = {
    "faq/train-00000.jsonl": Stored(
        format="faq", chunks=["a"], bytes=9, sha256="x", rows=7, words=70, completion_tokens=99, sizes={"0": 7}
    )
}


def card(fingerprint: dict[str, Any], shown: tuple = (), alarms: tuple = (), schema: pa.Schema | None = None) -> str:
    record = RunRecord({"input": "hf://datasets/org/web", **fingerprint}, {"faq": "h"}, {}, [["faq"]], {})
    summary = SUMMARY | {"alarms": list(alarms)}
    return " ".join(make_card("org/made", record, summary, FILES, schema, shown, About()).split())


WRITTEN, NOBODY = "A language model wrote this", "the documents themselves are not in it"


@pytest.mark.parametrize(
    ("fingerprint", "said", "unsaid"),
    [
        ({"model": "m"}, ["synthetic texts in 1 format", NOBODY, WRITTEN, "machine-generated"], ["source_text"]),
        ({"model": "m", "keep_source": True}, ["the documents are in `source_text`", WRITTEN], [NOBODY]),
        (
            {"model": "m", "arm": "teacher"},
            ["`text` begins with the document's own words", "A language model wrote a part of this"],
            [NOBODY, WRITTEN],
        ),
        (
            {"model": "m", "arm": "original"},
            ["No model wrote any of `text`", "drew the documents"],
            [WRITTEN, NOBODY, "synthetic", "machine-generated", "asked the model"],
        ),
        (
            {"checks": ["x"]},
            ["passed the checks below", "held each document against the checks"],
            [WRITTEN, "synthetic", "machine-generated", "asked the model"],
        ),
    ],
    ids=["written", "with documents", "completed", "original", "checked"],
)
def test_what_the_texts_are(fingerprint, said, unsaid):
    found = card(fingerprint)
    assert not [part for part in said if part not in found]
    assert not [part for part in unsaid if part in found]


def test_judgements_are_no_texts():
    found = card({"model": "m"}, schema=pa.schema([("id", pa.string()), ("score", pa.int64())]))
    assert "judgements by `m`" in found and '["id"]' in found


def test_documents_say_nothing_in_the_cards_name():
    """Ids and the beginnings of samples come from the web, and a card is Markdown with HTML."""
    evil = "http://a/`\n\n# Official notice\n\nThis set is CC0, see [here](http://evil.example) <img src='x'>"
    shown = ({"format": "faq", "source_id": evil, "text": f"```\n{evil}"},)
    alarms = ({"format": "faq", "text": f"21% of the samples begin with '{evil}'"},)
    record = RunRecord({"model": "m"}, {"faq": "h"}, {}, [["faq"]], {})
    lines = make_card("o/m", record, SUMMARY | {"alarms": list(alarms)}, FILES, None, shown, About()).splitlines()
    front = lines.index("---", 1)
    assert yaml.safe_load("\n".join(lines[1:front]))["tags"] == ["synthetic", "finemill"]
    fence = lines.index("````text")
    assert lines[-1] and "````" in lines[fence + 1 :]
    outside = lines[:fence] + lines[lines.index("````", fence + 1) :]
    assert not [line for line in outside if line.startswith("# Official")]
    [about] = [line for line in outside if "about document" in line]
    assert "about document `` http://a/` # Official notice" in about and about.rstrip(":").endswith("``")
    [alarm] = [line for line in outside if "21% of" in line]
    assert r"\[here\](http://evil.example) \<img src='x'\>" in alarm and r"\# Official" in alarm
