"""What exactly a model name meant at launch: resolved once, kept in `run.yaml`, used by every later launch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xxhash

from blocks.generate.model_files import read_model_file
from blocks.shards.folder import RunError


def pin_model(model: str, revision: str | None) -> str:
    """The commit hash of a Hub model, or a digest of a local folder (`local-<xxh3-64>`).

    A local folder's digest covers its JSON files' contents and its weights' names and sizes.

    Raises:
        RunError: there is no such model or revision, or the Hub cannot be asked.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        digest = xxhash.xxh3_64()
        for path in sorted(folder.iterdir()):
            if path.is_file():
                content = path.read_bytes() if path.suffix == ".json" else str(path.stat().st_size).encode()
                digest.update(path.name.encode() + b"\0" + content)
        return f"local-{digest.hexdigest()}"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        sha = HfApi().model_info(model, revision=revision).sha
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise RunError(f"--model {model}: no such folder here, and no such model (or revision) on the Hub") from error
    except (HfHubHTTPError, OSError) as error:
        raise RunError(
            f"cannot ask the Hub which revision of {model} is meant: {error}; give a local folder as --model, or a "
            f"commit hash as --revision"
        ) from error
    return str(sha)


def model_json(model: str, revision: str | None, name: str) -> dict[str, Any]:
    """A JSON file of a model (`config.json`, `generation_config.json`), empty when it has none.

    Raises:
        RunError: the model cannot be reached.
    """
    try:
        text = read_model_file(model, name, revision)
    except ValueError as error:
        raise RunError(str(error)) from error
    content: dict[str, Any] = json.loads(text) if text else {}
    return content


def tokenizer_hash(source: str, revision: str | None) -> str:
    """xxh3-64 (hex) of a tokenizer's definition and chat template: what token budgets depend on."""
    digest = xxhash.xxh3_64()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        digest.update((read_model_file(source, name, revision) or "").encode())
    return digest.hexdigest()
