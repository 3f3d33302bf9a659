"""What fine-tuning does to the matching embedding, on labelled pairs that are made of real documents by rule.

    python tests/bench/embedding.py [--documents FILE] [--limit 300] [--encoder FOLDER]

A description is "A document that tells of …" and three words of content of one sentence of a part of a document, in any
order. It fits that part (label 1); what does not (label 0) is the description of another document's sentence that is
nearest to it for the encoder as it is given. Training sees one part of each document, whole in round 1 and masked in
round 2, which goes on from there. Three tenths of the documents are held out, with all their parts.

- `whole`: of documents, how often the description of one of their parts is among the k nearest of as many descriptions
  as there are rows.
- `parts`: of parts, how often their description is among the k nearest of those of all parts of all documents.

Both are told of the encoder as given and after each round. Documents have 500 to 800 characters: a core trains on some
hundred tokens per second. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from chunks import sentences
from common import HERE, scratch

sys.path.insert(0, str(HERE.parents[1]))

from datasets import Dataset

from blocks.distill.embedding import Settings, save, trainer_of
from blocks.distill.recall import evaluate
from blocks.finetune.examples import split_off
from blocks.finetune.train import keep_quiet, train
from blocks.instruct.encoder import PACKAGED, Encoder, encoder_source

WORD = re.compile(r"[A-Za-z]{5,}")
WORDS = 3
SHORTEST, LONGEST = 500, 800


def described(texts: list[str]) -> Dataset:
    """Descriptions of sentences of all parts of documents, each with the part that it fits."""
    dice, rows = random.Random(0), []
    for number, text in enumerate(texts):
        found = sentences(text)
        dice.shuffle(found)
        for chunk, sentence in {section: sentence for sentence, _, section in found}.items():
            words = sorted(set(WORD.findall(sentence)))
            if len(words) > WORDS:
                told = " and ".join(dice.sample(words, WORDS))
                row = {"source_id": str(number), "text": text, "chunk_k": chunk, "label": 1}
                rows.append(row | {"description": f"A document that tells of {told}"})
    return Dataset.from_list(rows)


def one_part(rows: Dataset) -> Dataset:
    """The first row of each document: sections come in random order."""
    return rows.select(list(dict(zip(reversed(rows["source_id"]), reversed(range(len(rows))), strict=True)).values()))


def with_misfits(rows: Dataset, encoder: Encoder) -> Dataset:
    """Beside each row one with another document's nearest description."""
    bank = encoder.descriptions(rows["description"])
    near, source = bank @ bank.T, np.array(rows["source_id"])
    near[source[:, None] == source] = -1
    fitting = list(rows)
    misfits = [
        row | {"description": fitting[other]["description"], "label": 0}
        for row, other in zip(fitting, near.argmax(1), strict=True)
    ]
    return Dataset.from_list(fitting + misfits)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=Path, default=HERE.parents[1] / "demo" / "documents.jsonl")
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--encoder", default=PACKAGED)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    options = parser.parse_args()
    keep_quiet()
    content = options.documents.read_bytes()
    lines = (gzip.decompress(content) if options.documents.suffix == ".gz" else content).splitlines()
    every = [json.loads(line)["text"] for line in lines]
    # Of one length, so that parts are alike; the demo's documents are longer, and cut.
    texts = [text for text in every if SHORTEST <= len(text) <= LONGEST] or [text[:LONGEST] for text in every]
    encoder = Encoder(encoder_source(options.encoder))
    learn, aside = split_off(described(texts[: options.limit]), 0.3, 0)
    learn, whole, parts = (with_misfits(rows, encoder) for rows in (one_part(learn), one_part(aside), aside))
    told: dict[str, Any] = {"documents": len(texts[: options.limit]), "pairs": len(learn), "seconds": {}}

    def show(name: str, encoder: Encoder) -> None:
        told[name] = {"whole": evaluate(encoder, whole, parts=False), "parts": evaluate(encoder, parts, parts=True)}
        for searched, found in told[name].items():
            recalls = ", ".join(f"@{k} {found[f'recall@{k}']:.1%}" for k in (1, 5, 10))
            print(
                f"{name}, {searched}: recall {recalls} of {found['searches']} searches among {found['descriptions']}; "
                f"mean cosine {found['cosine']['fitting']:.3f}, of misfits {found['cosine']['not_fitting']:.3f}",
                flush=True,
            )

    show("given", encoder)
    with scratch() as folder:
        for number in (1, 2):
            begun, output = time.monotonic(), folder / f"round{number}"
            settings = Settings(round=number, learning_rate=options.learning_rate, batch=16, save_steps=10_000)
            trainer = trainer_of(encoder, learn, settings, output / "checkpoints")
            train(trainer, output / "checkpoints")
            save(trainer, output)
            told["seconds"][f"round_{number}"] = round(time.monotonic() - begun)
            encoder = Encoder(str(output / "model"))
            show(f"round_{number}", encoder)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
