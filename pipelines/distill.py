"""Distil the small models of FineInstructions (arXiv 2601.22146) from a large one: silver data, labels, students.

Each step is a run of its own whose shards can be read. The genericizer (the paper: 50,000 queries, a student of 1 B):

    python pipelines/fineinstructions.py templates --input queries.jsonl.gz --output runs/t --model TEACHER
    python pipelines/distill.py silver-templates --input runs/t --output runs/silver-t
    python pipelines/finetune.py --input runs/silver-t --output runs/1b --config pipelines/recipes/templatizer.yaml

The instantiator (100,000 documents with six templates, a student of 3 B). In its second round the first student is
asked (`pairs --model runs/3b/model --prompt prompts/instruct/instantiate.bare.md`), and judged (`--judge relevance`):

    python pipelines/fineinstructions.py pairs --input runs/m --output runs/p --model TEACHER
    python pipelines/distill.py silver-pairs --input runs/p --output runs/silver-p
    python pipelines/finetune.py --input runs/silver-p --output runs/3b --config pipelines/recipes/instantiator.yaml

The matching embedding, in two rounds (200,000 documents with five templates):

    python pipelines/fineinstructions.py match --input … --bank runs/bank --output runs/m5 --templates 5 --threshold 0.5
    python pipelines/distill.py label --input runs/m5 --output runs/labels --model TEACHER
    python pipelines/distill.py embedding --input runs/labels --output runs/encoder --encoder BAAI/bge-m3 --round 1

`compare` holds a student against its teacher on input that it has not seen.
"""

from __future__ import annotations

import typer

from pipelines.students.compare import compare
from pipelines.students.embedding import embedding
from pipelines.students.label import label
from pipelines.students.silver import silver_pairs, silver_templates

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_show_locals=False,
    no_args_is_help=True,
    help="From what a large teacher has answered to small students.",
)
for step in (silver_templates, silver_pairs, label, embedding, compare):
    app.command(no_args_is_help=True)(step)

if __name__ == "__main__":
    app()
