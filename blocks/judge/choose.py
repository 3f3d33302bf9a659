"""Which rubric and which model judge: `--judge` of a generating pipeline, and the options of `pipelines/judge.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from blocks.execute.arguments import OWN_FIELDS
from blocks.execute.options import json_object
from blocks.generate.endpoint import Endpoint
from blocks.generate.model import Model, choose_model
from blocks.judge.judge import MAX_TOKENS, SAMPLING, Judge
from blocks.judge.rubric import Rubric, load_rubric
from blocks.shards.folder import RunError

FLOW_JUDGE = "flowaicom/Flow-Judge-v0.1"
"""The judge of FineInstructions (arXiv 2601.22146): 3.8 billion parameters, trained on the format that is used here."""

JUDGED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # of the sample
        pa.field("format", pa.string()),
        pa.field("judge_score", pa.float64(), nullable=False),
        pa.field("judge_feedback", pa.string(), nullable=False),
        pa.field("judge_rubric", pa.string(), nullable=False),
        pa.field("judge_rubric_hash", pa.string(), nullable=False),
        pa.field("judge_model", pa.string(), nullable=False),
        pa.field("judge_model_revision", pa.string()),
    ]
)
"""A row of the side table: what a judge says about one sample."""

SAMPLED = ("temperature", "top_p", "top_k")
"""What `sampling` may hold."""

IN_A_PIPELINE: dict[str, type] = {
    "rubric": str,
    "keep": int,
    "server": str,
    "model": str,
    "revision": str,
    "endpoint": str,
    "api_key_env": str,
    "price": str,
    "server_options": dict,
    "extra_body": dict,
    "tokenizer": str,
    "context": int,
    "max_tokens": int,
    "sampling": dict,
}
"""What `--judge` of a generating pipeline may hold, and of which type."""


@dataclass(frozen=True)
class ChosenJudge:
    """A rubric, a model, and how it is asked.

    Args:
        rubric: what is judged.
        model: who judges.
        keep: the lowest score that is kept; None keeps all.
        max_tokens: longest answer in tokens.
        sampling: as it is sent.
        extra_body: further fields of every request.
        price: of an endpoint's answers, as `parse_price` takes it.
    """

    rubric: Rubric
    model: Model
    keep: int | None
    max_tokens: int
    sampling: Mapping[str, float | int | None]
    extra_body: Mapping[str, Any]
    price: str | None = None

    def priced(self, limit: float | None, state: Path) -> ChosenJudge:
        """The same judge, whose answers count against what the run may spend; see `Model.priced`."""
        return replace(self, model=self.model.priced(self.price, limit, state))

    def step(self, endpoint: Endpoint, **generate: Any) -> Judge:
        """The pipeline step; further arguments as in `Generate`."""
        return Judge(
            self.rubric,
            endpoint,
            self.model.tokenizer,
            self.model.context,
            self.max_tokens,
            self.keep,
            self.sampling,
            self.extra_body,
            self.model.revision,
            **generate,
        )

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that shapes a score."""
        return {
            "rubric": f"{self.rubric.name} {self.rubric.hash}",
            "keep": self.keep,
            **self.model.fingerprint,
            "max_tokens": self.max_tokens,
            **self.sampling,
            "extra_body": dict(self.extra_body),
        }


def choose_judge(
    rubric: str,
    server: Any = "vllm",
    model: str | None = None,
    revision: str | None = None,
    endpoint: str | None = None,
    api_key_env: str | None = None,
    tokenizer: str | None = None,
    context: int | None = None,
    keep: int | None = None,
    max_tokens: int = MAX_TOKENS,
    sampling: Mapping[str, float | int | None] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    server_options: Mapping[str, Any] | None = None,
    pinned: str | None = None,
) -> ChosenJudge:
    """Settle on a judge.

    Args:
        rubric: name or path.
        server: as in `choose_model`, and so are the next arguments; the default model is Flow Judge.
        model: Hub name or folder.
        revision: as typed.
        endpoint: its URL.
        api_key_env: environment variable with the endpoint's key.
        tokenizer: Hub name or path.
        context: tokens of prompt and answer together.
        keep: the lowest score that is kept; None keeps all.
        max_tokens: longest answer in tokens.
        sampling: over temperature 0.1 and top_p 0.95; null values are not sent.
        extra_body: further fields of every request.
        server_options: options of the started server.
        pinned: the revision that an earlier launch resolved.

    Raises:
        RunError: options that contradict each other, or something that is not there.
        ValueError: the rubric cannot be used, or leaves no room for a sample.
        FileNotFoundError: there is no such rubric.
    """
    loaded = load_rubric(rubric)
    if keep is not None and keep not in loaded.scores:
        raise RunError(f"the rubric {loaded.name} has the scores {', '.join(map(str, loaded.scores))}, not {keep}")
    name = model or (None if server == "endpoint" else FLOW_JUDGE)
    chosen = choose_model(server, name, revision, endpoint, api_key_env, tokenizer, context, server_options, pinned)
    chosen = chosen.taking(extra_body or {})
    sent = {**SAMPLING, **(sampling or {})}
    judge = ChosenJudge(loaded, chosen, keep, max_tokens, sent, dict(extra_body or {}))
    _ = judge.step(chosen.at).room  # no room for a sample is an error now, not on the GPU node
    return judge


def judge_in_pipeline(
    text: str, columns: Collection[str], pinned: str | None = None, drops: bool = True
) -> ChosenJudge:
    """The judge of `--judge`, which drops what it scores below `keep`.

    Args:
        text: the rubric's name or path, or a JSON object with it and arguments of `choose_judge`. With an endpoint,
            `server` need not be said; `keep` is the rubric's own by default.
        columns: what a sample has.
        pinned: the revision that an earlier launch resolved.
        drops: False where a later stage decides by the scores, and all that could be scored is kept.

    Raises:
        RunError: a key or value that means nothing, a column that samples lack, or as `choose_judge`.
        ValueError, FileNotFoundError: as `choose_judge`.
    """
    options: dict[str, Any] = {"rubric": text}
    if text.lstrip().startswith("{"):
        options = json_object(text, "--judge")
    for key, value in options.items():
        if key not in IN_A_PIPELINE:
            raise RunError(f"--judge has no {key!r}; it has {', '.join(IN_A_PIPELINE)}")
        if type(value) is not IN_A_PIPELINE[key]:
            raise RunError(f"--judge: {key!r} cannot be {value!r}")
    if options.get("max_tokens", 1) < 1:
        raise RunError("--judge: 'max_tokens' must be at least 1")
    if "rubric" not in options:
        raise RunError('--judge needs a rubric, such as \'{"rubric": "faithfulness"}\'')
    for key, value in options.get("sampling", {}).items():
        if key not in SAMPLED or not (value is None or type(value) in (int, float)):
            raise RunError(
                f"--judge: 'sampling' has {', '.join(SAMPLED)}, which are numbers or null; not {key}: {value!r}"
            )
    for key in options.get("extra_body", {}):
        if key in OWN_FIELDS:
            raise RunError(f"--judge: 'extra_body' must not hold {key!r}")
    if "keep" in options and not drops:
        raise RunError(
            "--judge: 'keep' drops nothing here, all scores are kept: give a --min-score to the stage `budget`"
        )
    if "endpoint" in options:
        options.setdefault("server", "endpoint")
    price = options.pop("price", None)
    try:
        chosen = replace(choose_judge(**options, pinned=pinned), price=price)
    except RunError as error:
        raise RunError(f"--judge: {error}") from error
    if drops and "keep" not in options:
        chosen = replace(chosen, keep=chosen.rubric.keep)
    if missing := [name for name in chosen.rubric.columns if name not in columns]:
        raise RunError(
            f"the rubric {chosen.rubric.name} wants {', '.join(missing)}, which samples of this pipeline do not have; "
            f"they have {', '.join(columns)}"
        )
    return chosen
