"""How good finemill-tiny is on documents that it has never seen.

Documents are asked about as a run asks (`Rephrase` prepares them and cleans the answers) and measured by the checks of
their format; judges are asked about teachers' samples, half of them spoiled, so that their scores can be compared with
the teacher's. Queries and templates are asked about as the pipeline of FineInstructions does it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from blocks.filters.verify import run_rules, verify
from blocks.generate.answer import Answer
from blocks.generate.endpoint import Endpoint
from blocks.judge.flow import parse_judgement
from blocks.judge.judge import SAMPLING as JUDGE_SAMPLING
from blocks.rephrase.rephrase import Rephrase
from tools.tiny.data import FORMATS, PAIR_RUBRIC, Example, Examples, Source, Teachers, prompts
from tools.tiny.evaluate_instruct import instruct_figures
from tools.tiny.generate import ANSWER_TOKENS, generate, load
from tools.tiny.tokenizer import CONTEXT

_ATTEMPTS = 20


class Asked(NamedTuple):
    """A document's sample: what became of it."""

    id: str
    format: str
    text: str
    reason: str | None
    checks: Mapping[str, tuple[float | None, str]]


def evaluate(
    folder: Path, aside: Sequence[Source], queries: Sequence[Source], teachers: Teachers, seed: int = 0
) -> dict[str, Any]:
    """Figures of an exported model, ready for JSON.

    Args:
        folder: of the model.
        aside: documents that it was not trained on.
        queries: search queries that it was not trained on; without any, they are made.
        teachers: for the judge's samples.
        seed: of the sampling.

    Returns:
        `formats` (by format: `asked`, shares `stopped`, `kept` and `clean` (kept without a flag), `reasons` of
        rejection, means of `measures`), `judge` (`asked`, shares `stopped`, `parsable` and `agrees`; for the rubric of
        pairs by itself), `instruct` (see `instruct_figures`), and `samples`.
    """
    model = load(folder)
    examples = Examples(aside, teachers, folder, seed, queries)
    samples = _ask(model, examples, aside, seed)
    formats = {name: _figures([sample for sample in samples if sample.format == name]) for name in FORMATS}
    kept = [sample for sample in samples if sample.reason is None]
    shown = random.Random(seed).sample(kept, min(12, len(kept)))
    instruct, told = instruct_figures(model, examples, seed)
    judged = partial(_judge, model, examples, number=len(aside), seed=seed)
    return {
        "documents": len(aside),
        "formats": formats,
        "judge": judged(examples.judgement) | {PAIR_RUBRIC: judged(examples.judged_pair)},
        "instruct": instruct,
        "samples": [{"id": sample.id, "format": sample.format, "text": sample.text} for sample in shown] + told,
    }


def _ask(model: Any, examples: Examples, aside: Sequence[Source], seed: int) -> list[Asked]:
    formats = [prompts()[name] for name in FORMATS]
    rephrase = Rephrase(formats, Endpoint((), ""), examples.counter, context=CONTEXT, max_tokens=ANSWER_TOKENS)
    rules = run_rules(formats, {})
    asked = [
        (document.id, prompt, rephrase.prepare(document.text).pieces[0]) for document in aside for prompt in formats
    ]
    messages = [rephrase.request(prompt, text)["messages"][0]["content"] for _, prompt, text in asked]
    samples = []
    for (document_id, prompt, source), said in zip(asked, generate(model, examples, messages, seed), strict=True):
        answer = Answer(text=said.text, finish_reason="stop" if said.stopped else "length")
        text, reason = rephrase.keep(answer, prompt)
        findings = [] if reason else verify(text, source, rules[prompt.name])
        faults = [measure.check for measure, verdict in findings if verdict == "reject"]
        checks = {measure.check: (measure.value, verdict) for measure, verdict in findings}
        samples.append(Asked(document_id, prompt.name, text, reason or next(iter(faults), None), checks))
    return samples


def _figures(samples: Sequence[Asked]) -> dict[str, Any]:
    kept = [sample for sample in samples if sample.reason is None]
    clean = [sample for sample in kept if all(verdict == "pass" for _, verdict in sample.checks.values())]
    names = dict.fromkeys(name for sample in kept for name in sample.checks)
    values = {name: [s.checks[name][0] for s in kept if name in s.checks] for name in names}
    flagged = Counter(name for s in kept for name, (_, verdict) in s.checks.items() if verdict == "flag")
    return {
        "asked": len(samples),
        "stopped": _share(sample.reason != "cut_off" for sample in samples),
        "kept": round(len(kept) / len(samples), 4),
        "clean": round(len(clean) / len(samples), 4),
        "reasons": dict(Counter(sample.reason for sample in samples if sample.reason).most_common()),
        "flags": dict(flagged.most_common()),
        "measures": {
            name: round(fmean(known), 3)
            for name, found in values.items()
            if (known := [value for value in found if value is not None])
        },
    }


def _judge(
    model: Any, examples: Examples, ask: Callable[[random.Random], Example | None], number: int, seed: int
) -> dict[str, Any]:
    dice = random.Random(f"judge\0{seed}")
    asked: list[Example] = []
    for _ in range(_ATTEMPTS * number):
        found = ask(dice) if len(asked) < number else None
        if found is not None and len(examples.encode(found).tokens) <= CONTEXT:  # the training has no longer ones
            asked.append(found)
    if len(asked) < number:
        raise ValueError("the teachers answer hardly any document")
    parsed = agrees = 0
    answers = generate(model, examples, [example.prompt for example in asked], seed, JUDGE_SAMPLING)
    for example, answer in zip(asked, answers, strict=True):
        assert example.rubric is not None
        try:
            judgement = parse_judgement(answer.text, example.rubric)
        except ValueError:
            continue
        parsed += 1
        agrees += judgement.score == parse_judgement(example.answer, example.rubric).score
    stopped = _share(answer.stopped for answer in answers)
    return {"asked": number, "stopped": stopped, "parsable": parsed / number, "agrees": agrees / number}


def _share(found: Any) -> float:
    return round(fmean(map(float, found)), 4)
