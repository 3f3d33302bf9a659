"""Silver data: what a large teacher has answered, as a small student shall answer it.

FineInstructions (arXiv 2601.22146): about 50,000 queries teach a model of 1 B to make templates; about 100,000
documents with six templates each, of which about 100,000 examples are taken, teach one of 3 B to make pairs, and 5 % of
these say that the two do not fit. The student is asked as the paper's is, with the bare input and nothing around it, so
it needs no tokens for an instruction (`prompts/instruct/*.bare.md`).

Only what has passed the checks of the pipeline that asked is taken; the prompt that the teacher was given is left away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import orjson
import pyarrow as pa
import xxhash
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from blocks.distill.draw import MOST_VARIABLES, draw, length, topic
from blocks.instruct.budget import Thresholds
from blocks.instruct.instantiate import contract
from blocks.instruct.pairs import KEYS
from blocks.instruct.templates import read_object
from blocks.shards import meter
from blocks.shards.chunk import ANSWER, FORMAT, LINEAGE, chunk_of
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunFolder
from blocks.shards.tables import read_tables

SILVER = "silver"
"""The format of all examples."""

TEMPLATES, PAIRS, NULL_SHARE = 50_000, 100_000, 0.05
"""The paper's: examples for each student, and how many of the pairs are `null`."""

NOT_COMPATIBLE = "not_compatible"
"""Why the stage `pairs` has rejected what its model called `null`."""

SILVER_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # prompt and completion
        pa.field("format", pa.string(), nullable=False),  # silver
        pa.field("prompt", pa.string(), nullable=False),  # what the student is asked
        pa.field("completion", pa.string(), nullable=False),  # what it shall say
        pa.field("kind", pa.string(), nullable=False),  # that it was drawn as, for stratification
        pa.field("source_id", pa.string(), nullable=False),
    ]
)


def draw_templates(made: RunFolder, size: int, seed: int, good: frozenset[str] | None = None) -> dict[str, str]:
    """Draw queries evenly over where they come from and how many variables their templates have.

    Args:
        made: a run of the stage `templates`.
        size: how many.
        seed: of the draw.
        good: ids to draw from; None for all.

    Returns:
        Kinds by id.
    """

    def candidates() -> Iterator[tuple[str, str]]:
        for table in read_tables(made, ["id", "template_source", "complexity"]):
            for row in table.to_pylist():
                if good is None or row["id"] in good:
                    variables = min(row["complexity"], MOST_VARIABLES)
                    yield row["id"], f"{row['template_source'] or 'unnamed'}, {variables} variables"

    return draw(candidates(), size, seed)


def draw_pairs(
    made: RunFolder, size: int, null_share: float, thresholds: Thresholds, seed: int
) -> tuple[dict[str, str], dict[str, int]]:
    """Draw pairs evenly over length of the answer, number of variables and topic, with some that do not fit.

    Args:
        made: a run of the stage `pairs`.
        size: how many, `null` included; fewer where there are fewer.
        null_share: share of the examples that are `null`, where there are enough of those.
        thresholds: what a pair has to reach.
        seed: of the draw.

    Returns:
        Kinds by id of the pair (`{document}/{template}`); and how many there were to draw from: `sound`, `null`, and by
        reason those that were not good enough.
    """
    there: Counter[str] = Counter(sound=0, null=0)
    columns = ["id", "instruction", "answer", "complexity", "grounding", "resemblance", "judge_score"]

    def pairs() -> Iterator[tuple[str, str]]:
        for table in read_tables(made, columns):
            for row in table.to_pylist():
                reason = thresholds.reason(row)
                there[reason or "sound"] += 1
                if reason is None:
                    variables = min(row["complexity"], MOST_VARIABLES)
                    about = topic(f"{row['instruction']} {row['answer']}")
                    yield row["id"], f"{about}, {variables} variables, length {length(row['answer'])}"

    def nulls() -> Iterator[tuple[str, str]]:
        for table in read_tables(made, ["id", "reason"], "rejected"):
            for row in table.to_pylist():
                if row["reason"] == NOT_COMPATIBLE:
                    there["null"] += 1
                    yield row["id"], "null"

    sound = draw(pairs(), round(size * (1 - null_share)), seed)
    unfit = draw(nulls(), round(len(sound) * null_share / (1 - null_share)), seed)
    return sound | unfit, dict(there)


def content_of(made: RunFolder) -> str:
    """What a run holds now, as a hash: it may grow, or have more when what failed is tried again."""
    digest = xxhash.xxh3_64()
    for commit in load_commits(made):
        for file in commit.files:
            digest.update(f"{file.path}\0{file.hash}\n".encode())
    return digest.hexdigest()


class SilverTemplates(PipelineStep):
    """Turn templates into what the query genericizer learns: the bare query, and the object that it answers with.

    Args:
        kinds: what was drawn, see `draw_templates`.
    """

    name = "Silver templates"
    type = "🥈 - SILVER"

    def __init__(self, kinds: Mapping[str, str]) -> None:
        super().__init__()
        self.kinds = kinds

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield an example for each row that was drawn; the reader has left out the others."""
        for document in data or ():
            row = document.metadata
            told = {"template": row["template"], "compatible_document_description": row["description"]}
            meter.add(documents=1)
            yield from _replace(
                document,
                [(document.id, document.text, orjson.dumps(told).decode(), self.kinds[document.id])],
            )


class SilverPairs(PipelineStep):
    """Turn documents into what the instantiator learns: template and document, and the object or `null`.

    Args:
        kinds: what was drawn, see `draw_pairs`.
    """

    name = "Silver pairs"
    type = "🥈 - SILVER"

    def __init__(self, kinds: Mapping[str, str]) -> None:
        super().__init__()
        self.kinds = kinds

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the examples of each document that has some; the reader has left out the others."""
        for document in data or ():
            raws = {pair["id"]: pair["raw"] for pair in document.metadata["pairs"] or ()}
            meter.add(documents=1)
            yield from _replace(
                document,
                [
                    (
                        name,
                        contract(match["template"], document.text),
                        canonical(raws[name]) if name in raws else "null",
                        self.kinds[name],
                    )
                    for match in document.metadata["templates"]
                    if (name := f"{document.id}/{match['template_id']}") in self.kinds
                ],
            )


def canonical(raw: str) -> str:
    """What a teacher answered, without a fence, other fields and other names of the two that count."""
    told = read_object(raw, "pair_json")
    said = {name: next(str(told[key]).strip() for key in keys if key in told) for name, keys in KEYS.items()}
    return orjson.dumps(said).decode()


def _replace(document: Document, examples: list[tuple[str, str, str, str]]) -> Iterator[Document]:
    """The examples (id, prompt, completion, kind) of a document in its place."""
    made = [
        Document(
            f"{prompt}\n\n{completion}",
            name,
            metadata={
                FORMAT: SILVER,
                ANSWER: completion,
                "prompt": prompt,
                "completion": completion,
                "kind": kind,
                "source_id": document.id,
            },
        )
        for name, prompt, completion, kind in examples
    ]
    chunk = chunk_of(document)
    assert chunk is not None
    yield from chunk.replace(document.metadata[LINEAGE], made, [])
