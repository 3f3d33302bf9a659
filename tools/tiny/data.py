"""What finemill-tiny learns from: prompts as a run sends them, with the answers of rule-based teachers.

Examples are made while training, not beforehand: step `n` of a run with seed `s` is a function of `s` and `n` alone, so
a run that goes on after a kill sees what it would have seen, and no example need ever come twice. A tenth of the
documents is set aside by a hash of its id before anything else happens; neither tokenizer nor model ever sees it.
"""

from __future__ import annotations

import gzip
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import orjson
import tokenizers
import xxhash

from blocks.generate.budget import SENTENCE_END, truncate
from blocks.generate.chat_template import compile_template, render_chat
from blocks.generate.prompts import PROMPTS, Prompt, load_prompt
from blocks.generate.tokenizer import ModelTokenizer
from blocks.instruct import excerpts
from blocks.instruct.pairs import parse_pair
from blocks.instruct.templates import parse_template
from blocks.judge.flow import judge_prompt
from blocks.judge.rubric import Rubric, load_rubric
from tools.tiny.tokenizer import CHAT_TEMPLATE, CONTEXT, END

FORMATS = ("faq", "math", "table", "tutorial")
INSTRUCT = ("templatize", "instantiate")
RUBRICS = ("faithfulness", "format", "usefulness")
"""Rubrics for samples of documents."""

PAIR_RUBRIC = "relevance"
"""The rubric for pairs of an instruction and an answer."""

MIXTURE = {
    "faq": 21,
    "math": 6,
    "table": 19,
    "tutorial": 13,
    "judge": 5,
    "continue": 1,
    "templatize": 10,
    "instantiate": 25,
}
"""Examples of each task in a hundred.

Math is learned first. A judge's prompt is three times as long as the others, so its share is small. How a text goes on
cannot be known at this size (6 nats per token of a real one): with many or long continuations, most of the gradient
would be noise.
"""

DECISION = 8.0
"""How much the first token of a pair counts, where it is a pair or `null`: one token of sixty decides, and at the same
weight as the others the model disagreed with the teacher on 28 of a hundred.
"""

PRACTISED = 0.5
"""Share of the examples of a task that come from practice, where it was practised."""

GENERATED = 0.25
"""Share of examples about generated documents: their names and numbers are new every time and can only be copied."""

# Tokens of a document, from and to. Half of the real ones are short, since they are what training costs; half have the
# length of a page, where there are such: with three in ten and none above 720, faults were three times as frequent from
# 600 tokens on. The prompt of a judge is long without its document, so that its short ones are shorter.
_SHORT, _LONG, _JUDGED, _CONTINUED = (90, 300), (400, 950), (70, 200), (60, 160)
_LONG_SHARE = 0.5
_LONG_SHARE_OF_PAIRS = 0.45

PAIRS_JUDGED = 0.33
"""Share of the judgements that are about pairs."""

_REAL_QUERIES = 0.6  # share of the queries to make templates of; the others are made
_REWORDED, _OTHER_WORDS = 0.5, 0.25  # share of the real ones that get other words, and share of their words
_GENERIC_SHARE = 0.35  # of the templates to make pairs of; the others were real queries
_CHOICE, _GENERIC_CHOICE = 24, 3  # templates of which the best fitting is taken: a run searches for them, too
_UNFIT = 0.05  # share of the templates that are taken even if the document does not fit

_ATTEMPTS = 20


class Source(NamedTuple):
    """A document to make examples from."""

    id: str
    text: str


class Task(NamedTuple):
    """A template and a document to make a pair of."""

    template: str
    document: str


class Example(NamedTuple):
    """A chat of one question and one answer.

    Args:
        task: of the mixture.
        prompt: user message.
        answer: what the model shall say.
        rubric: of a judgement.
        given: what an answer can be checked against: the document of a format, or the task of a pair.
    """

    task: str
    prompt: str
    answer: str
    rubric: Rubric | None = None
    given: str | Task | None = None


class Encoded(NamedTuple):
    """An example in tokens: `tokens[answer:]` is what the model shall say, the end token included.

    Args:
        tokens: prompt and answer.
        answer: where the answer begins.
        decision: how much the first token of the answer counts.
    """

    tokens: list[int]
    answer: int
    decision: float = 1.0


class Teachers(NamedTuple):
    """What writes the answers; see `tools.tiny.teachers`."""

    formats: Mapping[str, Callable[[str, random.Random], str | None]]
    judge_answer: Callable[[Rubric, str | None, str, str, random.Random], str]
    spoil: Callable[[str, random.Random, str], tuple[str, str]]
    split_halves: Callable[[str, random.Random], tuple[str, str] | None]
    documents: Callable[[random.Random], Iterator[str]]
    templatize: Callable[[str], str | None]
    instantiate: Callable[[str, str, random.Random], str]
    fitting: Callable[[Sequence[str], str], str]
    generic: Sequence[str]
    made_query: Callable[[str, str, random.Random], str | None]
    judge_pair: Callable[[str, str, random.Random], str]
    spoil_pair: Callable[[str, str, random.Random], str]


def load_teachers() -> Teachers:
    """The teachers of this repository."""
    from tools.tiny import teachers

    return Teachers(
        formats=teachers.TEACHERS,
        judge_answer=teachers.judge_answer,
        spoil=teachers.spoil,
        split_halves=teachers.split_halves,
        documents=teachers.documents,
        templatize=teachers.templatize,
        instantiate=teachers.instantiate,
        fitting=teachers.fitting,
        generic=teachers.GENERIC,
        made_query=teachers.made_query,
        judge_pair=teachers.judge_pair,
        spoil_pair=teachers.spoil_pair,
    )


def read_documents(files: Iterable[Path]) -> list[Source]:
    """Documents or queries of JSON Lines with `id` and `text`, `.gz` or not."""
    documents = []
    for file in files:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            rows = map(orjson.loads, lines)
            documents += [Source(row["id"], row["text"]) for row in rows]
    return documents


def held_out(document_id: str) -> bool:
    """Whether a document belongs to the tenth that is set aside for evaluation."""
    return xxhash.xxh3_64_intdigest(f"finemill-tiny held out\0{document_id}".encode()) % 10 == 0


def split_off(documents: Iterable[Source]) -> tuple[list[Source], list[Source]]:
    """Documents to train on, and those set aside."""
    train: list[Source] = []
    aside: list[Source] = []
    for document in documents:
        (aside if held_out(document.id) else train).append(document)
    return train, aside


def prompts() -> dict[str, Prompt]:
    """The prompts that finemill-tiny knows, by task."""
    known = {name: load_prompt(name) for name in (*FORMATS, "continue")}
    return known | {name: load_prompt(str(PROMPTS / "instruct" / f"{name}.md")) for name in INSTRUCT}


def rubrics() -> dict[str, Rubric]:
    """The rubrics that finemill-tiny knows."""
    return {name: load_rubric(name) for name in (*RUBRICS, PAIR_RUBRIC)}


def pair_input(task: Task) -> str:
    """What stands in the prompt `instantiate`."""
    return orjson.dumps({"instruction_template": task.template, "document": task.document}).decode()


def prompt_hashes() -> dict[str, str]:
    """Hash of all wordings that training saw: when one changes, the weights no longer fit.

    The judge's wording around a rubric is hashed with it.
    """
    hashes = {name: prompt.hash for name, prompt in prompts().items()}
    for name, rubric in rubrics().items():
        empty = judge_prompt(rubric, dict.fromkeys(rubric.inputs, ""), "")
        hashes[f"judge/{name}"] = xxhash.xxh3_64_hexdigest(empty.encode())
    return hashes


def tokenizer_texts(documents: Sequence[Source], teachers: Teachers, seed: int) -> Iterator[str]:
    """What the tokenizer is trained on: every training document, as many generated ones, answers and the prompts.

    Prompts come so often in training that their words are worth tokens of their own; so each is repeated.
    """
    dice = random.Random(f"tokenizer\0{seed}")
    generated = teachers.documents(dice)
    for document in documents:
        for text in (document.text, next(generated)):
            yield text
            yield teachers.formats[dice.choice(FORMATS)](text, dice) or ""
    wordings = [prompt.text for prompt in prompts().values()]
    wordings += [judge_prompt(rubric, dict.fromkeys(rubric.inputs, ""), "") for rubric in rubrics().values()]
    for text in wordings:
        yield from [text] * 40


class Examples:
    """Examples by number.

    Args:
        documents: to train on.
        teachers: what writes the answers.
        tokenizer: folder of the tokenizer.
        seed: of the choice of tasks, documents and wordings.
        queries: to train on; without any, all are made.
        practised: examples that come in `PRACTISED` of the cases of their tasks, see `tools.tiny.practise`.
    """

    def __init__(
        self,
        documents: Sequence[Source],
        teachers: Teachers,
        tokenizer: Path,
        seed: int,
        queries: Sequence[Source] = (),
        practised: Sequence[Example] = (),
    ) -> None:
        self.documents = list(documents)
        self.queries = list(queries)
        self.practised: dict[str, list[Example]] = defaultdict(list)
        for example in practised:
            self.practised[example.task].append(example)
        self.teachers = teachers
        self.folder = tokenizer
        self.seed = seed

    @cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """For tokens."""
        return tokenizers.Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    @cached_property
    def counter(self) -> ModelTokenizer:
        """For cutting documents and breaking up special tokens in them, as a run does it."""
        return ModelTokenizer(str(self.folder))

    @cached_property
    def _prompts(self) -> dict[str, Prompt]:
        return prompts()

    @cached_property
    def _rubrics(self) -> dict[str, Rubric]:
        return rubrics()

    @cached_property
    def templates(self) -> list[str]:
        """The templates of all queries, where they say enough to ask something; without any, the generic ones."""
        made = filter(None, (self.teachers.templatize(query.text) for query in self.queries))
        found = [parse_template(orjson.loads(answer)["template"]) for answer in made]
        return [template.text for template in found if len(template.words) > 1] or list(self.teachers.generic)

    @cached_property
    def _template(self) -> Callable[[str], str]:
        template = compile_template(CHAT_TEMPLATE)
        return lambda prompt: render_chat(template, {}, [{"role": "user", "content": prompt}], {})

    def __getitem__(self, number: int) -> Encoded:
        """The example with this number in tokens."""
        return self.encode(self.example(number))

    def example(self, number: int) -> Example:
        """The example with this number.

        Raises:
            ValueError: the teachers answer hardly any document.
        """
        dice = random.Random(f"{self.seed}\0{number}")
        [task] = dice.choices(list(MIXTURE), list(MIXTURE.values()))
        if (practised := self.practised.get(task)) and dice.random() < PRACTISED:
            return dice.choice(practised)
        for _ in range(_ATTEMPTS):
            if task == "judge":
                found = self.judged_pair(dice) if dice.random() < PAIRS_JUDGED else self.judgement(dice)
            else:
                found = self._answer(task, dice)
            if found is not None and len(self.encode(found).tokens) <= CONTEXT:
                return found
        raise ValueError(f"no document of {_ATTEMPTS} suits the teacher of {task}")

    def encode(self, example: Example) -> Encoded:
        """An example in tokens; the prompt as a server renders it."""
        prompt = self.prompt_tokens(example.prompt)
        answer = self.tokenizer.encode(example.answer + END, add_special_tokens=False).ids
        return Encoded(prompt + answer, len(prompt), DECISION if example.task == "instantiate" else 1.0)

    def prompt_tokens(self, prompt: str) -> list[int]:
        """A prompt in tokens, up to where the answer begins."""
        tokens: list[int] = self.tokenizer.encode(self._template(prompt), add_special_tokens=False).ids
        return tokens

    def document(self, dice: random.Random, room: tuple[int, int]) -> str:
        """A stretch of a real document, or a generated one, of about `room[0]` to `room[1]` tokens."""
        tokens = dice.randint(*room)
        if dice.random() < GENERATED:
            text = "\n\n".join(itertools.islice(self.teachers.documents(dice), 4 if tokens > _SHORT[1] else 1))
        else:
            text = dice.choice(self.documents).text
            if tokens > _SHORT[1]:  # most documents are shorter than that
                text = max(text, *(dice.choice(self.documents).text for _ in range(2)), key=len)
            else:
                starts = [0, *(end.end() for end in SENTENCE_END.finditer(text, 0, len(text) // 2))]
                text = text[dice.choice(starts) :]
        return truncate(self.counter.neutralise(text.strip())[0], tokens, self.counter)[0]

    def _answer(self, task: str, dice: random.Random) -> Example | None:
        if task == "continue":
            halves = self.teachers.split_halves(self.document(dice, _CONTINUED), dice)
            return None if halves is None else Example(task, self._prompts[task].render(halves[0]), halves[1])
        if task == "templatize":
            return self._templatized(dice)
        if task == "instantiate":
            given = self.task(dice)
            made = self.teachers.instantiate(*given, dice)
            return Example(task, self._prompts[task].render(pair_input(given)), made, given=given)
        document = self.document(dice, _LONG if dice.random() < _LONG_SHARE else _SHORT)
        answer = self.teachers.formats[task](document, dice)
        return None if answer is None else Example(task, self._prompts[task].render(document), answer, given=document)

    def _templatized(self, dice: random.Random) -> Example | None:
        query = self.query(dice)
        answer = None if query is None else self.teachers.templatize(query)
        if query is None or answer is None:
            return None
        return Example("templatize", self._prompts["templatize"].render(query), answer)

    def query(self, dice: random.Random) -> str | None:
        """A real query, or one with names of documents; None where the document has no names."""
        if self.queries and dice.random() < _REAL_QUERIES:
            return self._neutral(self._reworded(dice.choice(self.queries).text, dice))
        template = dice.choice(self.teachers.generic if dice.random() < 0.5 else self.templates)
        return self.teachers.made_query(template, self.document(dice, _SHORT), dice)

    def _reworded(self, query: str, dice: random.Random) -> str:
        """A query, or one with some words of a document: the real ones are few, and their words are soon known."""
        if dice.random() >= _REWORDED:
            return query
        others = dice.choice(self.documents).text.lower().split()
        return " ".join(dice.choice(others) if dice.random() < _OTHER_WORDS else word for word in query.split())

    def task(self, dice: random.Random) -> Task:
        """A document, and of some templates mostly that which fits it best."""
        return self.fit(self.document(dice, _LONG if dice.random() < _LONG_SHARE_OF_PAIRS else _SHORT), dice)

    def fit(self, document: str, dice: random.Random) -> Task:
        """A document with a template, mostly one that fits."""
        for _ in range(_ATTEMPTS):
            generic = dice.random() < _GENERIC_SHARE
            most = _GENERIC_CHOICE if generic else _CHOICE
            pool = self.teachers.generic if generic else self.templates
            chosen = [self._neutral(template) for template in dice.sample(pool, min(most, len(pool)))]
            template = self.teachers.fitting(chosen, document)
            if dice.random() < _UNFIT or self.teachers.instantiate(template, document, dice) != "null":
                break
        return Task(template, document)

    def judged_pair(self, dice: random.Random) -> Example | None:
        """A judge's task on a teacher's pair, every other one spoiled; None where there is no pair."""
        given = self.task(dice)
        source = excerpts.Source(given.document)
        pair = parse_pair(parse_template(given.template), source, self.teachers.instantiate(*given, dice))
        if pair is None:
            return None
        instruction, answer = pair.instruction.text, pair.answer.text
        if dice.random() < 0.5:
            answer = self.teachers.spoil_pair(answer, self.document(dice, _JUDGED), dice)
        rubric = self._rubrics[PAIR_RUBRIC]
        columns = {"instruction": instruction}
        inputs = {name: columns[column] for name, column in rubric.inputs.items()}
        told = self.teachers.judge_pair(instruction, answer, dice)
        return Example("judge", judge_prompt(rubric, inputs, answer), told, rubric)

    def _neutral(self, text: str) -> str:
        return self.counter.neutralise(text)[0]

    def judgement(self, dice: random.Random) -> Example | None:
        """A judge's task on a teacher's sample, every other one spoiled; None where the document suits no sample."""
        rubric = self._rubrics[dice.choice(RUBRICS)]
        format = dice.choice(FORMATS)
        document = self.document(dice, _LONG if dice.random() < _LONG_SHARE else _JUDGED)
        text = self.teachers.formats[format](document, dice)
        if text is None:
            return None
        if dice.random() < 0.5:
            other = self.teachers.formats[format](self.document(dice, _JUDGED), dice)
            text, _ = self.teachers.spoil(text, dice, other or document)
        columns = {"source_text": document, "format": format, "text": text}
        inputs = {name: columns[column] for name, column in rubric.inputs.items()}
        source = document if "source_text" in rubric.columns else None
        answer = self.teachers.judge_answer(rubric, source, text, format, dice)
        return Example("judge", judge_prompt(rubric, inputs, text), answer, rubric)


def round_up(tokens: int) -> int:
    """To a multiple of 64: matrix kernels are prepared for each shape anew, so there must not be many."""
    return -(-tokens // 64) * 64


def group(examples: Iterable[Encoded], tokens: int) -> list[list[Encoded]]:
    """Examples of one step in groups of like length, each of at most `tokens` tokens when padded.

    Padding stands behind the answer, where causal attention never looks, so groups need no attention mask: that keeps
    the fast path of the attention kernel, and an example cannot see its neighbours at all. Packing several examples in
    a row would pad less, but needs a mask and attends over rows as long as the longest example.
    """
    groups: list[list[Encoded]] = []
    for example in sorted(examples, key=lambda example: -len(example.tokens)):
        if groups and (len(groups[-1]) + 1) * round_up(len(groups[-1][0].tokens)) <= tokens:
            groups[-1].append(example)
        else:
            groups.append([example])
    return groups
