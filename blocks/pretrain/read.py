"""YAML files that people write, read as what they must be."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from blocks.shards.folder import RunError

Read = TypeVar("Read", bound=BaseModel)


def read_yaml(path: Path, kind: type[Read]) -> Read:
    """Read a file.

    Args:
        path: the file.
        kind: what it holds.

    Raises:
        RunError: it cannot be read, or says what cannot be; the message names every place.
    """
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RunError(f"{path}: {explain(error)}") from error
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def explain(error: ValidationError) -> str:
    """What is wrong, and where, in one line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors())
