"""What is made of a teacher's continuation, and that the original second half never is one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from datatrove.data import Document

from blocks.complete.complete import Complete
from blocks.complete.halve import halve
from blocks.generate.answer import Answer
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected
from blocks.generate.prompts import PROMPTS, load_prompt
from blocks.generate.tokenizer import CharacterEstimate

ROOT = Path(__file__).parents[2]
TEXTS = [json.loads(line)["text"] for line in (ROOT / "demo" / "documents.jsonl").read_text().splitlines()]
TEXT = TEXTS[0]
HALVED = halve(TEXT, "d")
NEW = (
    "Crabs wait under the weed until the water returns, and small fish that were caught by the ebb hide between the "
    "stones. Whoever kneels down quietly can watch them for an hour without getting cold feet."
)


def step(prompt="bare", **options):
    loaded = load_prompt(str(PROMPTS / "complete" / f"{prompt}.md"))
    return Complete(loaded, Endpoint((), "teacher"), CharacterEstimate(), 8192, 400, **options)


def ask(said, finish="stop", prompt="bare", text=TEXT, **options):
    seen = []

    async def generate(request):
        seen.append(request["messages"][0]["content"])
        return Answer(said, finish, {"completion_tokens": 9})

    [made] = asyncio.run(
        step(prompt, **options).rollout(Document(text, "d", metadata={"source_dataset": "s"}), generate)
    )
    return made, seen[0]


@pytest.mark.parametrize("prompt", ["bare", "onward"])
def test_the_pair_has_the_bare_first_part(prompt):
    sample, seen = ask(NEW, prompt=prompt)
    assert (seen == HALVED.prompt) == (prompt == "bare") and seen.endswith(HALVED.prompt)
    told = sample.metadata
    assert told["prompt"] == HALVED.prompt and told["completion"] == NEW
    assert told["messages"] == [{"role": "user", "content": HALVED.prompt}, {"role": "assistant", "content": NEW}]
    assert sample.text == f"{HALVED.prompt} {NEW}"
    assert (told["teacher_prompt"], told["arm"], told["cut_unit"], told["completion_tokens"]) == (
        prompt,
        "teacher",
        "word",
        9,
    )
    assert told["cut_fraction"] == HALVED.fraction and told["same_words"] < 8


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (HALVED.rest, "near_verbatim"),
        (f"{HALVED.prompt}{HALVED.rest}", "near_verbatim"),
        (" ".join(HALVED.rest.split()[:60]), "near_verbatim"),
        (" ".join(HALVED.prompt.split()[-60:]), "echo"),
        ("It ends here.", "too_short_completion"),
        ("", "empty"),
        ("I'm sorry, but I cannot help with that request.", "refusal"),
        (("The water comes and the water goes, again and again it comes and goes. " * 12), "repetition"),
        (
            "Unter dem Tang warten die Krebse, bis das Wasser zurückkehrt, und kleine Fische verstecken sich zwischen "
            "den Steinen. Wer leise niederkniet, kann ihnen eine Stunde lang zusehen, ohne kalte Füße zu bekommen.",
            "language",
        ),
    ],
)
def test_what_is_no_completion(said, reason):
    refusal, _ = ask(said)
    assert (refusal.kind, refusal.reason, refusal.format) == ("rejected", reason, "completions")


def test_a_language_without_spaces_has_words_too():
    text = "潮が引くと、岩の間に海水が残り、そこに小さな魚や蟹が取り残される。" * 8
    said = "夜になると水温が下がり、貝は殻を閉じて次の満ち潮を静かに待つ。朝の光が差すころ、海はまた岩を包みこむ。"
    sample, _ = ask(said, text=text)
    assert sample.metadata["completion"] == said and sample.text.endswith(said)


def test_an_answer_that_says_the_first_part_again_is_relieved_of_it():
    assert ask(f"{HALVED.prompt} {NEW}")[0].metadata["completion"] == NEW


@pytest.mark.parametrize(("truncated", "end"), [("trim", "the stones."), ("keep", "cold")])
def test_cut_off(truncated, end):
    sample, _ = ask(NEW.rpartition(" feet.")[0], "length", truncated_output=truncated)
    assert sample.metadata["completion"].endswith(end)


def test_cut_off_and_rejected():
    assert ask(NEW, "length", truncated_output="reject")[0].reason == "cut_off"


def test_documents_that_cannot_be_cut_are_rejected_before_anything_is_asked():
    with pytest.raises(Rejected, match="too_short"):
        ask(NEW, text="Too short.")
    with pytest.raises(Rejected, match="document_too_long"):
        ask(NEW, text="long words " * 20_000)


@pytest.mark.parametrize("text", TEXTS)
def test_the_original_is_never_a_completion(text):
    try:
        halved = halve(text, "d")
    except Rejected:
        return
    for said in (halved.rest, halved.rest.lower(), f"Sure! Here is the rest of the text:\n\n{halved.rest}"):
        with pytest.raises(Rejected):
            step().keep(Answer(said, "stop"), halved)
