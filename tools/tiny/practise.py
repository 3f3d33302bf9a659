"""Practice: what finemill-tiny answers by itself, where the checks of a run find nothing wrong with it.

A teacher takes sentences for reasons that a small model cannot see: after 124 M tokens it failed in one FAQ of eight,
as often on documents that it was trained on as on others. So it is asked about training documents, and learns its own
answer where that is good, and the teacher's where it is not: the ways that it can go become likelier than those it
fails on (rejection sampling; Zelikman et al. 2022, arXiv 2203.14465, do so with reasoning).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from loguru import logger

from blocks.filters.verify import run_rules, verify
from blocks.filters.words import bare_words
from blocks.generate.answer import Answer
from blocks.generate.endpoint import Endpoint
from blocks.instruct import excerpts
from blocks.instruct.pairs import parse_pair
from blocks.instruct.templates import parse_template
from blocks.judge.flow import parse_judgement
from blocks.judge.rubric import load_rubric
from blocks.rephrase.rephrase import Rephrase
from blocks.shards.folder import write_atomically
from tools.tiny.data import FORMATS, PAIR_RUBRIC, Example, Examples, Task, prompts
from tools.tiny.evaluate_instruct import fault
from tools.tiny.generate import Generated, generate, load
from tools.tiny.tokenizer import CONTEXT

PRACTISED = (*FORMATS, "instantiate")
"""Tasks whose answers can be checked without a teacher."""

_FLAGS_LEFT = {"copying"}
"""Checks whose flags are no fault: this model does nothing but copy."""

_BEST_SCORES = 4
"""Of the teacher's judgements of pairs: those without a fault."""

_FRAMES = 1000
"""Examples whose teachers' answers tell the words of the frames."""

_LONGEST = 320
"""Tokens of an answer: what is longer is given up, since all of a batch wait for it."""

_AT_ONCE = 64
"""Examples after which answers are written, so that little is lost to a kill."""


def practise(folder: Path, examples: Examples, file: Path, first: int, number: int) -> dict[str, int]:
    """Ask a model about examples and write what it shall learn from each, in order; go on where a file ends.

    Args:
        folder: of the exported model.
        examples: with the documents to train on.
        file: JSON Lines: `number` of the example, `task`, `prompt`, `answer`, and whether that is the model's `own`.
        first: number of the first example.
        number: how many numbers; tasks that cannot be checked are left out of them.

    Returns:
        Examples in the file, and how many of their answers are the model's own, by task.
    """
    model = load(folder)
    done = _whole_lines(file)
    del done[len(done) - len(done) % _AT_ONCE :]  # a part is sampled together
    write_atomically(file, b"".join(map(_line, done)))
    after = done[-1]["number"] + 1 if done else first
    wanted = (
        (at, example) for at in range(after, first + number) if (example := examples.example(at)).task in PRACTISED
    )
    checks = _Checks(examples)
    with file.open("ab") as lines:
        while part := list(islice(wanted, _AT_ONCE)):
            answers = generate(model, examples, [example.prompt for _, example in part], part[0][0], longest=_LONGEST)
            for (at, example), said in zip(part, answers, strict=True):
                own = checks.good(example, said)
                row = {"number": at, "task": example.task, "prompt": example.prompt}
                row |= {"answer": said.text if own else example.answer, "own": own}
                lines.write(_line(row))
                done.append(row)
            lines.flush()
            logger.info(f"{len(done)} examples, {sum(row['own'] for row in done)} answers of its own")
    told = {"examples": len(done)}
    for task in PRACTISED:
        told[task] = sum(row["own"] for row in done if row["task"] == task)
    return told


def read_practised(files: Sequence[Path]) -> list[Example]:
    """The examples of such files."""
    rows = (row for file in files for row in _whole_lines(file))
    return [Example(row["task"], row["prompt"], row["answer"]) for row in rows]


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, without a last one that is torn."""
    lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
    return [orjson.loads(line) for line in lines if line.endswith(b"\n")]


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


class _Checks:
    """What a run would do with an answer, and what it would not see."""

    def __init__(self, examples: Examples) -> None:
        formats = [prompts()[name] for name in FORMATS]
        self.prompts = {prompt.name: prompt for prompt in formats}
        self.rules = run_rules(formats, {})
        self.rephrase = Rephrase(formats, Endpoint((), ""), examples.counter, context=CONTEXT)
        self.judge = examples.teachers.judge_pair
        self.framed = _framed(examples)

    def good(self, example: Example, said: Generated) -> bool:
        """Whether nothing is wrong with the model's answer; a pair only where the teacher has one, too."""
        if not said.stopped or example.given is None:
            return False
        if isinstance(example.given, Task):
            return example.answer != "null" and self._good_pair(example.given, said)
        text, reason = self.rephrase.keep(Answer(text=said.text, finish_reason="stop"), self.prompts[example.task])
        if reason or not self._known(text, example.given):
            return False
        # A word problem has numbers of its own.
        left = _FLAGS_LEFT | {"numbers"} if example.task == "math" else _FLAGS_LEFT
        return all(
            verdict == "pass" or (verdict == "flag" and measure.check in left)
            for measure, verdict in verify(text, example.given, self.rules[example.task])
        )

    def _good_pair(self, task: Task, said: Generated) -> bool:
        """Whether a pair is sound, and its answer about what its instruction asks."""
        if fault(task, said) is not None:
            return False
        pair = parse_pair(parse_template(task.template), excerpts.Source(task.document), said.text)
        assert pair is not None
        instruction, answer = pair.instruction.text, pair.answer.text
        judged = parse_judgement(self.judge(instruction, answer, random.Random(0)), load_rubric(PAIR_RUBRIC))
        return judged.score >= _BEST_SCORES and self._known(instruction, f"{task.template} {task.document}")

    def _known(self, text: str, source: str) -> bool:
        """Whether all words are the source's or a frame's: a small model makes words up."""
        known = self.framed.union(bare_words(source))
        return all(word in known or word.isdigit() for word in bare_words(text))


def _framed(examples: Examples) -> set[str]:
    """The words that teachers have beside those of a document."""
    found: Counter[str] = Counter()
    for number in range(_FRAMES):
        example = examples.example(number)
        if isinstance(example.given, str):
            found.update(set(bare_words(example.answer)).difference(bare_words(example.given)))
    return {word for word, times in found.items() if times > 2}
