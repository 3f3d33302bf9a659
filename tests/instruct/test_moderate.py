"""What a moderation endpoint flags is left out, and who flags it is asked once."""

from __future__ import annotations

import asyncio
import json

import pytest
from datatrove.data import Document

from blocks.generate.answer import parse_answer
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected
from blocks.instruct.moderate import Moderate, choose_moderation
from blocks.shards.folder import RunError


def said(flagged, **categories):
    return json.dumps({"id": "m", "results": [{"flagged": flagged, "categories": categories}]}).encode()


def test_what_an_endpoint_says():
    assert parse_answer(said(False, hate=False)).text == ""
    assert parse_answer(said(True, violence=True, hate=True, other=False)).text == "hate, violence"
    assert parse_answer(said(True)).text == "flagged"
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_answer(b'{"results": [{"categories": {}}]}')


def test_flagged_queries_are_refused_and_others_pass_as_they_are():
    asked = []

    async def generate(request):
        asked.append(request)
        return parse_answer(said("bomb" in request["input"], violence=True))

    step = Moderate(Endpoint((), "m"))
    query = Document("how old is the sun", "q", metadata={"frequency": 3})
    [passed] = asyncio.run(step.rollout(query, generate))
    assert (passed.text, passed.id, passed.metadata) == ("how old is the sun", "q", {"frequency": 3})
    assert asked == [{"input": "how old is the sun"}]
    with pytest.raises(Rejected, match="moderated: violence"):
        asyncio.run(step.rollout(Document("a bomb", "q"), generate))


@pytest.mark.parametrize("text", ['{"model": "m"}', '{"endpoint": "http://x", "key": "k"}', "[]", "{"])
def test_options_that_mean_nothing(text):
    with pytest.raises(RunError, match="--moderation"):
        choose_moderation(text)
