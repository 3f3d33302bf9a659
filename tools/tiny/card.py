"""The card of finemill-tiny: what it is, what it is not, how it was made and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from blocks.shards.folder import RunError
from tools.tiny.data import FORMATS, PAIR_RUBRIC, prompt_hashes

TRAINING = "training.json"
"""What a model was trained with, beside its weights."""

EVALUATION = "evaluation.json"
"""How good it is, beside its weights."""

BUNDLED = Path(__file__).resolve().parents[2] / "demo" / "finemill-tiny"
"""Where the repository keeps the trained model."""

RETRAIN = "python tools/train_tiny.py train --documents FILE --queries FILE --out runs/tiny --tokens 60000000"

_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
---
# finemill-tiny

A Llama of {millions:.1f} million parameters that answers finemill's own prompts: {tasks}. It is
bundled so that demos and end-to-end tests show real text, on a CPU and without a download.

**What it is not.** It knows nothing about the world. It copies sentences, names and numbers out of the document in its
prompt and puts regular frames around them, as rule-based teachers taught it; where it adds something, that is wrong as
often as not. Any other prompt gives noise. Never train on its output, and judge no real data with it.

## How it was made

- **Answers** come from the rules in `tools/tiny/teachers`{practised}; no other language model wrote any of them.
- **Documents**: {documents:,} real ones from {files}, and generated ones in {generated:.0%} of the examples. A further
  {set_aside:,} were set aside by a hash of their id before anything else and are used for the figures below only.
{queries}- **Mixture** in examples: {mixture}.
{copies}- **Training**: {tokens:.1f} million tokens (prompts included, loss on answers only), {steps:,} steps,
  {minutes:.0f} minutes on a CPU, seed {seed}. {again}
- **Tokenizer**: a BPE of 4,096 tokens, trained on the training documents, generated ones, answers of the teachers and
  the prompts; digits are single tokens.
- **Prompts** that it was trained on, by hash: {prompts}. With others it has to be trained again.

| million tokens | loss (nats per answer token) |
|---:|---:|
{curve}

## Licences of the training data

The real documents are passages of the public T0 training mixture as published with Self-Instruct (Apache-2.0
repository). The underlying sets: AdversarialQA and Quoref (CC BY-SA, CC BY), WikiHop, CNN/DailyMail, XSum, Multi-News,
DuoRC and SciQ. The queries are those of NQ-open (Natural Questions: Apache-2.0, CC BY-SA). The generated documents, the
teachers and the weights are Apache-2.0 like finemill.

## Figures

{figures}
"""

_FIGURES = """\
{documents} documents that it has never seen, each asked for every format, with the sampling of
`generation_config.json`. *Kept*: not rejected by the checks of the format. *Clean*: kept without a flag. Numbers
and copying are the means of what the checks of these names measure over what was kept, wrong equations that of the
equations in an answer that do not hold.

| format | stops by itself | kept | clean | numbers | copying | wrong equations |
|---|---:|---:|---:|---:|---:|---:|
{rows}

Judgements of {judged} samples of the teachers, every other one spoiled: {parsable:.1%} can be read, {agrees:.1%} give
the teacher's score.
"""

_PAIRS_JUDGED = """
Judgements of {asked} pairs of the teachers by the rubric `{rubric}`, every other one spoiled: {parsable:.1%} can be
read, {agrees:.1%} give the teacher's score.
"""

_INSTRUCT = """
The two tasks of FineInstructions, read by the pipeline's own parsers:

- `templatize`, {templatize[asked]} queries that it has never seen: {templatize[stopped]:.1%} stop by themselves,
  {templatize[valid]:.1%} give a valid template ({templatize[same]:.1%} the teacher's){lost_queries}.
- `instantiate`, {instantiate[asked]} documents that it has never seen, each with a template that mostly fits:
  {instantiate[stopped]:.1%} stop by themselves, {instantiate[null]:.1%} are null
  (the teacher: {instantiate[teacher_null]:.1%}; on {instantiate[null_agrees]:.1%} the two agree). Of the others
  {instantiate[kept]:.1%} are sound: all excerpts can be expanded, and four fifths of the answer are the
  document's{lost_pairs}.
"""

_QUERIES = """\
- **Queries**: {queries:,} real ones from {files}, and made ones (names out of documents in the frames of others) in two
  of five examples. A further {set_aside:,} were set aside in the same way.
"""

_PRACTISED = """,
  and from step {since:,} on, in {share:.0%} of the examples{tasks}, from practice: {examples:,} training examples
  that an earlier of these models was asked about, with its own answer where the checks of a run found nothing wrong
  with it, and the rules' otherwise (`tools/tiny/practise.py`)"""

_COPIES = """\
- **Copying** is taught by itself, too: beside the examples of {since} stand {short} short and {long} long
  stretches{before} of the documents that are only repeated (`tools/tiny/copies.py`). The loss below is that of both.
"""

_AGAIN = "`{retrain}` does it again, with the teachers and the mixture of the checkout; the files are not bundled."

_CONTINUED = """\
It goes on from earlier
  models, each with the teachers of its time: {stages}. `{retrain}`
  trains one from the beginning instead, with the teachers and the mixture of the checkout, which gives other weights;
  the files are not bundled."""

_STAGE = "up to step {steps:,} ({tokens:.1f} million tokens) with seed {seed} and the mixture {mixture}{without}"


def changed_prompts(folder: Path) -> list[str]:
    """The prompts that are not as they were when the model in `folder` was trained with them, by name."""
    now = prompt_hashes()
    return sorted(name for name, digest in _read(folder / TRAINING)["prompts"].items() if now.get(name) != digest)


def write_card(folder: Path) -> None:
    """Write README.md into the folder of a trained model; with the figures of its evaluation where there are some.

    Raises:
        RunError: there is no trained model.
    """
    if not (folder / TRAINING).is_file():
        raise RunError(f"there is no trained model in {folder}: {RETRAIN}")
    (folder / "README.md").write_text(_card(folder), encoding="utf-8")


def _card(folder: Path) -> str:
    training = _read(folder / TRAINING)
    evaluation = _read(folder / EVALUATION) if (folder / EVALUATION).is_file() else None
    curve = (f"| {point['tokens'] / 1e6:.1f} | {point['loss']:.3f} |" for point in training["loss"])
    return _CARD.format(
        millions=training["parameters"] / 1e6,
        tasks=", ".join(training["mixture"]),
        documents=training["documents"],
        set_aside=training["set_aside"],
        files=", ".join(f"`{name}`" for name in training["files"]),
        generated=training["generated"],
        mixture=_mixture(training["mixture"]),
        tokens=training["tokens"] / 1e6,
        steps=training["steps"],
        minutes=training["seconds"] / 60,
        seed=training["seed"],
        queries=_queries(training),
        copies=_copies(training),
        practised=_practised(training),
        again=_again(training),
        prompts=", ".join(f"{name} `{digest}`" for name, digest in training["prompts"].items()),
        curve="\n".join(curve),
        figures=_figures(evaluation) if evaluation else "Not evaluated yet.",
    )


def _mixture(mixture: dict[str, int]) -> str:
    return ", ".join(f"{task} {share} %" for task, share in mixture.items())


def _queries(training: dict[str, Any]) -> str:
    if not training.get("queries"):
        return ""
    files = ", ".join(f"`{name}`" for name in training["query_files"])
    return _QUERIES.format(queries=training["queries"], files=files, set_aside=training["queries_set_aside"])


def _copies(training: dict[str, Any]) -> str:
    """That copies stood beside the examples, and from which step on."""
    if "copies" not in training:
        return ""
    first, before = training, ""
    while "copies" in first.get("earlier", {}):
        later, first = first, first["earlier"]
        if first["copies"] != later["copies"]:
            before += f" ({first['copies']['short']} and {first['copies']['long']} up to step {first['steps']:,})"
    since = f"a step, from step {first['earlier']['steps']:,} on," if "earlier" in first else "a step"
    return _COPIES.format(**training["copies"], since=since, before=before)


def _practised(training: dict[str, Any]) -> str:
    """That some answers are a model's own."""
    found: list[str] = []
    stage = training
    while stage:
        if "practised" in stage:
            since = stage["earlier"]["steps"] if "earlier" in stage else 0
            told = stage["practised"]  # the first such stage drew from all tasks alike
            tasks = f" of {', '.join(told['tasks'])}" if "tasks" in told else ""
            found.insert(0, _PRACTISED.format(**told | {"since": since, "tasks": tasks}))
        stage = stage.get("earlier", {})
    return "".join(found)


def _again(training: dict[str, Any]) -> str:
    stages: list[str] = []
    later, earlier = training, training.get("earlier")
    while earlier:
        new = [name for name, digest in later["prompts"].items() if earlier["prompts"].get(name) != digest]
        stages.insert(
            0,
            _STAGE.format(
                steps=earlier["steps"],
                tokens=earlier["tokens"] / 1e6,
                seed=earlier["seed"],
                mixture=_mixture(earlier["mixture"]),
                without=f", without the prompts {', '.join(new)}" if new else "",
            ),
        )
        later, earlier = earlier, earlier.get("earlier")
    return _CONTINUED.format(stages="; ".join(stages), retrain=RETRAIN) if stages else _AGAIN.format(retrain=RETRAIN)


def _instruct(evaluation: dict[str, Any]) -> str:
    """The figures of pairs and templates; empty for an evaluation without them."""
    told = ""
    if pairs := evaluation["judge"].get(PAIR_RUBRIC):
        told += _PAIRS_JUDGED.format(rubric=PAIR_RUBRIC, **pairs)
    if instruct := evaluation.get("instruct"):
        lost = {name: _lost(figures["reasons"]) for name, figures in instruct.items()}
        told += _INSTRUCT.format(**instruct, lost_queries=lost["templatize"], lost_pairs=lost["instantiate"])
    return told


def _lost(reasons: dict[str, int]) -> str:
    return f"; lost: {', '.join(f'{number} `{reason}`' for reason, number in reasons.items())}" if reasons else ""


def _figures(evaluation: dict[str, Any]) -> str:
    rows = []
    for name in FORMATS:
        found = evaluation["formats"][name]
        shares = [f"{found[key]:.1%}" for key in ("stopped", "kept", "clean")]
        measures = [f"{found['measures'][key]:.2f}" if key in found["measures"] else "" for key in _MEASURES]
        rows.append(f"| {' | '.join([name, *shares, *measures])} |")
    judge = evaluation["judge"]
    told = _FIGURES.format(
        documents=evaluation["documents"],
        rows="\n".join(rows),
        judged=judge["asked"],
        parsable=judge["parsable"],
        agrees=judge["agrees"],
    )
    return (told + _instruct(evaluation)).rstrip()


_MEASURES = ("numbers", "copying", "equations")


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(file.read_bytes())
    return content
