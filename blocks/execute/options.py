"""What the command lines of all pipelines share: a configuration file and errors of one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console

from blocks.generate.servers import ServerError
from blocks.shards.folder import RunError


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Callback of `--config FILE`: its values become defaults, so what is typed on the command line wins.

    Raises:
        typer.BadParameter: the file cannot be read, or has a key that is no option.
    """
    if path is None:
        return None
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise typer.BadParameter(f"{path} must hold `option: value` lines")
    known = {parameter.name: parameter for parameter in context.command.params}
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in known or name == "config":
            names = sorted(str(n).replace("_", "-") for n in known if n not in ("config", "help"))
            raise typer.BadParameter(f"{path}: there is no option {key!r}; options are {', '.join(names)}")
        many = getattr(known[name], "multiple", False)
        if isinstance(value, list) and not many:
            value = ",".join(map(str, value))
        if isinstance(value, dict):
            value = json.dumps(value)
        if value is False and not getattr(known[name], "is_flag", False):
            value = "off"  # as it was written: YAML takes the word for a truth value
        defaults[name] = [value] if many and not isinstance(value, list) else value
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def json_object(text: str | None, option: str, reserved: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The value of an option that takes a JSON object, empty when it is not given.

    Args:
        text: what was typed.
        option: the option's name.
        reserved: keys that it must not have, each with what to use instead.

    Raises:
        RunError: it is no JSON object, or has a reserved key.
    """
    try:
        value = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise RunError(f"{option} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{option} must be a JSON object")
    for key in value:
        if reserved and key in reserved:
            raise RunError(f"{option} must not hold {key!r}: use {reserved[key]}")
    return value


def number_or_none(text: str, option: str) -> float | None:
    """The value of an option that takes a number, or `none`.

    Raises:
        RunError: it is neither.
    """
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise RunError(f"{option} must be a number or none, not {text!r}") from None


@contextmanager
def one_line_errors(console: Console) -> Iterator[None]:
    """Turn what a user can mend into one line (a server's log tail below it) and exit code 1."""
    try:
        yield
    except (RunError, ServerError, OSError, ValueError) as error:
        console.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here", highlight=False)
        raise typer.Exit(130) from None


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
