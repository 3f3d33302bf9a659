"""What the instantiator is shown of a document, and what is recorded of its pair."""

from __future__ import annotations

import json

import pytest
from datatrove.data import Document

from blocks.generate.answer import Answer
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected
from blocks.generate.tokenizer import CharacterEstimate
from blocks.instruct.instantiate import Instantiate, contract
from blocks.instruct.prompts import instruct_prompt
from blocks.shards.chunk import Refusal

ENDPOINT = Endpoint((), "model")
SENTENCES = [f'Sentence number {n} says "something" about item {n}.' for n in range(300)]
LONG = "\n".join(SENTENCES)


def step(context=8192, model="model"):
    prompt = instruct_prompt("instantiate", model)
    return Instantiate(prompt, ENDPOINT, CharacterEstimate(), context, 200)


def match(**fields):
    known = {"template_id": "t1", "template": "what is said about <fi>item</fi>", "template_source": "nq"}
    return {**known, "complexity": 1, "chunk_k": 0, "similarity": 0.5, **fields}


async def ask(document, answer, **options):
    seen = []

    async def generate(request):
        seen.append(request["messages"][0]["content"])
        return Answer(answer, "stop", {"prompt_tokens": 7})

    made = await step(**options).rollout(document, generate)
    return made, seen


def run(*arguments, **options):
    import asyncio

    return asyncio.run(ask(*arguments, **options))


def test_models_of_the_authors_get_the_json_and_nothing_else():
    document = Document("A text.", "d", metadata={"templates": [match()]})
    _, [seen] = run(document, "null", model="fineinstructions/template_instantiator")
    assert json.loads(seen) == {"instruction_template": "what is said about <fi>item</fi>", "document": "A text."}
    _, [seen] = run(document, "null")
    assert seen.startswith("The input is a JSON object") and seen.endswith(contract(match()["template"], "A text."))


def test_a_pair_carries_all_that_it_will_be_judged_by():
    document = Document(LONG, "d", metadata={"templates": [match(chunk_k=2)], "source_dataset": "set"})
    said = {
        "instruction": "what is said about item 70",
        "answer": "It: <excerpt>Sentence number 70<...>item 70.</excerpt>",
    }
    [pair], _ = run(document, json.dumps(said), context=40_000)
    told = pair.metadata
    assert pair.id == "d/t1"
    assert pair.text == f"Instruction: what is said about item 70\n\nAnswer: It: {SENTENCES[70]}"
    assert told["grounding"] == pytest.approx(len(SENTENCES[70]) / (len(SENTENCES[70]) + 4))
    assert (told["resemblance"], told["chunk_k"], told["similarity"], told["input_cut"]) == (1.0, 2, 0.5, False)
    assert told["position"] == pytest.approx(LONG.index(SENTENCES[70]) / len(LONG), abs=0.01)
    assert (told["source_id"], told["source_dataset"], told["prompt_tokens"]) == ("d", "set", 7)
    assert "templates" not in told


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("null", "not_compatible"),
        ("```json\nnull\n```", "not_compatible"),
        ("I would rather not.", "pair_json"),
        ('{"instruction": "i", "answer": "<excerpt>not there<...>at all</excerpt>"}', "excerpt_not_found"),
        ('{"instruction": "i <fi>x</fi>", "answer": "a"}', "pair_left_over_tags"),
    ],
)
def test_each_pair_that_is_none_has_its_reason(answer, reason):
    document = Document(LONG, "d", metadata={"templates": [match(), match(template_id="t2")]})
    made, _ = run(document, answer, context=40_000)
    assert [(one.id, one.format, one.reason) for one in made if isinstance(one, Refusal)] == [
        ("d/t1", "pairs", reason),
        ("d/t2", "pairs", reason),
    ]


@pytest.mark.parametrize("chunk", range(6))
def test_of_a_long_document_the_part_around_the_chunk_is_shown(chunk):
    instantiate = step(context=2048)
    start, shown = instantiate.passage(LONG, match()["template"], chunk)
    assert LONG[start : start + len(shown)] == shown
    assert instantiate.tokenizer.count(contract(match()["template"], shown)) <= instantiate.room
    assert len(shown) > 0.6 * instantiate.room * 3 * 0.8  # most of the room is used
    if chunk == 0:
        assert start == 0
    else:
        assert start <= chunk * len(LONG) // 6 <= start + len(shown)
    assert shown.startswith("Sentence number") and shown.endswith(".")


def test_positions_are_those_of_the_whole_document():
    document = Document(LONG, "d", metadata={"templates": [match(chunk_k=4)]})
    said = {"instruction": "what is said about item 200", "answer": f"<excerpt>{SENTENCES[200]}</excerpt>"}
    [pair], _ = run(document, json.dumps(said), context=2048)
    assert pair.metadata["position"] == pytest.approx(LONG.index(SENTENCES[200]) / len(LONG), abs=0.01)
    assert pair.metadata["input_cut"] is True


def test_a_template_that_leaves_no_room():
    with pytest.raises(Rejected, match="template_too_long"):
        step(context=2048).passage(LONG, "word " * 2000, 0)


def test_text_that_no_request_can_carry():
    document = Document("lone \ud83d half", "d", metadata={"templates": [match()]})
    [refusal], _ = run(document, "null")
    assert (refusal.kind, refusal.reason) == ("rejected", "invalid_unicode")
