"""What exactly a model name meant at launch: resolved once, kept in `run.yaml`, used by every later launch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import xxhash
from huggingface_hub import HfApi, hf_hub_download, is_offline_mode
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from blocks.generate.model_files import read_model_file
from blocks.shards.folder import RunError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def pin_model(model: str, revision: str | None, option: str = "--model", file: str = "config.json") -> str:
    """The commit hash of a Hub model, or a digest of a local folder (`local-<xxh3-64>`).

    A commit hash is taken at its word. Without network (`HF_HUB_OFFLINE=1`) the local cache says what a branch means. A
    local folder's digest covers the contents of its JSON files and templates, and names and sizes of all else.

    Args:
        model: repository or folder.
        revision: commit, branch or tag; None for the main branch.
        option: what asked for it, for messages.
        file: that the local cache has of every model that can be used.

    Raises:
        RunError: there is no such model or revision, or the Hub cannot be asked.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        digest = xxhash.xxh3_64()
        for path in sorted(folder.iterdir()):
            if path.is_file():
                content = path.read_bytes() if path.suffix in (".json", ".jinja") else str(path.stat().st_size).encode()
                digest.update(path.name.encode() + b"\0" + content)
        return f"local-{digest.hexdigest()}"
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    try:
        if is_offline_mode():
            return Path(hf_hub_download(model, file, revision=revision)).parent.name
        return str(HfApi().model_info(model, revision=revision).sha)
    except RevisionNotFoundError as error:
        raise RunError(f"{option} {model} has no --revision {revision}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise RunError(
            f"{option} {model}: no such folder here, and no such model on the Hub that this account can read (for "
            f"gated ones accept the licence and run `hf auth login`)"
        ) from error
    except LocalEntryNotFoundError as error:
        raise RunError(
            f"the Hub is switched off (HF_HUB_OFFLINE) and {model} is not in the local cache: run "
            f"`hf download {model}` on a machine with network, or give a local folder as {option}"
        ) from error
    except Exception as error:  # connection errors are those of the Hub's HTTP library, which differs by version
        raise RunError(
            f"cannot ask the Hub which revision of {model} is meant: {' '.join(str(error).split())}; give a local "
            f"folder as {option}, or a commit hash as --revision"
        ) from error


def model_json(model: str, revision: str | None, name: str) -> dict[str, Any]:
    """A JSON file of a model (`config.json`, `generation_config.json`), empty when it has none.

    Raises:
        RunError: the model cannot be reached.
    """
    try:
        text = read_model_file(model, name, revision)
    except ValueError as error:
        raise RunError(str(error)) from error
    try:
        content: dict[str, Any] = json.loads(text or "{}")
    except ValueError as error:
        raise RunError(f"the {name} of {model} cannot be read: {error}; is the download whole?") from error
    return content


def tokenizer_hash(source: str, revision: str | None) -> str:
    """xxh3-64 (hex) of a tokenizer's definition and chat template: what token budgets depend on."""
    digest = xxhash.xxh3_64()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        digest.update((read_model_file(source, name, revision) or "").encode())
    return digest.hexdigest()
