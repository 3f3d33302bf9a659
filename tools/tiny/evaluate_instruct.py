"""How good finemill-tiny is at the two tasks of FineInstructions, on queries and documents that it has never seen.

Its answers are read by the parsers of the pipeline (`blocks.instruct`). What it is asked comes from the teachers, so a
fault in one task does not hide in the other.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from blocks.generate.budget import truncate
from blocks.generate.errors import Rejected
from blocks.instruct.excerpts import Source
from blocks.instruct.pairs import MIN_GROUNDED, is_sound, parse_pair
from blocks.instruct.templates import parse_template, parse_templatized
from tools.tiny.data import Examples, Task, pair_input, prompts
from tools.tiny.generate import Generated, generate

LONGEST = 700
"""Tokens of a document from which it is cut: JSON and the answer need room, too."""

_SHOWN = 6


def instruct_figures(model: Any, examples: Examples, seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Figures of both tasks, ready for JSON, and some answers.

    Args:
        model: an exported one.
        examples: of the documents and queries set aside; every query and every document is asked about once.
        seed: of the sampling.

    Returns:
        `templatize` (`asked`, shares `stopped`, `valid` and `same` as the teacher's, `reasons`) and `instantiate`
        (`asked`, shares `stopped` and `null` (and `teacher_null`), `null_agrees`: the share on whose null the teacher
        agrees, of what is not null the share `kept` that can be read and is grounded, `reasons`); and the samples.
    """
    templatize, first = _templatize(model, examples, seed)
    instantiate, second = _instantiate(model, examples, seed)
    return {"templatize": templatize, "instantiate": instantiate}, first + second


def _templatize(model: Any, examples: Examples, seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    dice = random.Random(f"templatize\0{seed}")
    made = [examples.query(dice) for _ in examples.documents] if not examples.queries else []
    queries = [examples.counter.neutralise(query.text)[0] for query in examples.queries]
    queries += [query for query in made if query]
    prompt = prompts()["templatize"]
    answers = generate(model, examples, [prompt.render(query) for query in queries], seed)
    reasons: Counter[str] = Counter()
    same = 0
    for query, answer in zip(queries, answers, strict=True):
        try:
            template = parse_templatized(query, answer.text).template.text
        except Rejected as error:
            reasons[error.reason] += 1
            continue
        wanted = examples.teachers.templatize(query)
        same += wanted is not None and orjson.loads(wanted)["template"] == template
    told = {
        "asked": len(queries),
        "stopped": _stopped(answers),
        "valid": _share(len(queries) - reasons.total(), len(queries)),
        "same": _share(same, len(queries)),
        "reasons": dict(reasons.most_common()),
    }
    return told, _samples("templatize", zip(queries, answers, strict=True))


def _instantiate(model: Any, examples: Examples, seed: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    dice = random.Random(f"instantiate\0{seed}")
    texts = [examples.counter.neutralise(document.text.strip())[0] for document in examples.documents]
    tasks = [examples.fit(truncate(text, LONGEST, examples.counter)[0], dice) for text in texts]
    prompt = prompts()["instantiate"]
    answers = generate(model, examples, [prompt.render(pair_input(task)) for task in tasks], seed)
    null = teacher_null = agrees = 0
    reasons: Counter[str] = Counter()
    for task, answer in zip(tasks, answers, strict=True):
        reason = fault(task, answer)
        wanted = examples.teachers.instantiate(*task, dice) == "null"
        null += reason == "null"
        teacher_null += wanted
        agrees += wanted == (reason == "null")
        if reason not in (None, "null"):
            reasons[str(reason)] += 1
    filled = len(tasks) - null
    told = {
        "asked": len(tasks),
        "stopped": _stopped(answers),
        "null": _share(null, len(tasks)),
        "teacher_null": _share(teacher_null, len(tasks)),
        "null_agrees": _share(agrees, len(tasks)),
        "kept": _share(filled - reasons.total(), filled),
        "reasons": dict(reasons.most_common()),
    }
    return told, _samples("instantiate", ((task.template, said) for task, said in zip(tasks, answers, strict=True)))


def fault(task: Task, answer: Generated) -> str | None:
    """Why an answer is no sound pair; `null` where the model says that there is none, None where nothing is wrong."""
    if not answer.stopped:
        return "cut_off"
    try:
        pair = parse_pair(parse_template(task.template), Source(task.document), answer.text)
    except Rejected as error:
        return error.reason
    if pair is None:
        return "null"
    if is_sound(pair):
        return None
    return "not_grounded" if pair.grounded < MIN_GROUNDED else "little_resemblance"


def _samples(task: str, asked: Iterable[tuple[str, Generated]]) -> list[dict[str, str]]:
    return [{"id": question, "format": task, "text": answer.text} for question, answer in list(asked)[:_SHOWN]]


def _stopped(answers: Sequence[Generated]) -> float:
    return _share(sum(answer.stopped for answer in answers), len(answers))


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
