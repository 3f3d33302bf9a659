"""What the options of a script mean for the model that it asks.

The scripts that ask a model have these options in common (`blocks.execute.arguments`), by the same names. The functions
here take all of a script's options and read what they need, so that a script says only what is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocks.execute.arguments import OWN_FIELDS
from blocks.execute.options import json_object
from blocks.generate.endpoint import Endpoint
from blocks.generate.generate import PATIENCE
from blocks.generate.model import Model, choose_model

BETWEEN_LIVES = 60.0
"""Seconds from the death of a server to its next start, at the most: its processes are ended, and there is a pause."""


def model_of(options: Mapping[str, Any], state: Path, pinned: str | None = None, default: str | None = None) -> Model:
    """The model that the options ask for, at its price.

    Args:
        options: of the command line, by name.
        state: the run's state folder, where is counted what has been spent.
        pinned: the revision that an earlier launch resolved.
        default: Hub name of the model where neither --model nor --endpoint names one; None is `DEFAULT_MODEL`.

    Raises:
        RunError: as in `choose_model`, `Model.taking` and `Model.priced`, or --extra-body cannot be used.
    """
    chosen = choose_model(
        options["server"],
        options["model"] or (None if options["server"] == "endpoint" else default),
        options["revision"],
        options["endpoint"],
        options["api_key_env"],
        options["tokenizer"],
        options["context"],
        json_object(options["server_options"], "--server-options"),
        pinned,
    )
    chosen = chosen.taking(json_object(options["extra_body"], "--extra-body", OWN_FIELDS))
    return chosen.priced(options["price"], options["max_spending"], state)


def sampling_of(options: Mapping[str, Any]) -> dict[str, float | int | None]:
    """How answers are drawn; None leaves it to the model."""
    return {name: options.get(name) for name in ("temperature", "top_p", "top_k")}


def pace(model: Model, at: Endpoint, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Generate` that say how fast and how patiently a model is asked.

    Args:
        model: who is asked.
        at: where it answers.
        options: of the command line, by name; `seed` may be missing, as in scripts that send none.
    """
    # A crashed server with large weights needs longer for its restart than an endpoint may be away.
    restart = 0.0 if model.server is None else model.server.start_timeout + BETWEEN_LIVES
    return {
        "patience": max(PATIENCE, restart),
        "seed": options.get("seed"),
        "max_in_flight": options["max_in_flight"] or model.in_flight(at, options["workers"]),
        "max_failure_rate": options["max_failure_rate"],
        "request_timeout": options["request_timeout"],
    }


def asking(model: Model, at: Endpoint, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that `Rephrase` and the steps with one prompt (`Prompted`) have in common.

    Args:
        model: as in `pace`.
        at: where it answers.
        options: likewise; without `max_tokens`, it is the prompt's own.

    Raises:
        RunError: --extra-body is no JSON object, or holds a field that finemill sets itself.
    """
    return {
        "endpoint": at,
        "tokenizer": model.tokenizer,
        "context": model.context,
        "max_tokens": options.get("max_tokens"),
        "sampling": sampling_of(options),
        "extra_body": json_object(options["extra_body"], "--extra-body", OWN_FIELDS),
        "model_revision": model.revision,
        **pace(model, at, options),
    }
