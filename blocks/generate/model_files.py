"""Finds the small files that describe a model, in a local folder or on the Hugging Face Hub.

Only the files asked for are downloaded, never a model's weights.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download, is_offline_mode
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def read_model_file(source: str, name: str, revision: str | None = None) -> str | None:
    """The text of one file of a model.

    Args:
        source: a folder, a Hugging Face repository, or a `tokenizer.json` itself, whose folder is then meant.
        name: name of the file, such as `tokenizer_config.json`.
        revision: commit, branch or tag of the repository; None for its main branch.

    Returns:
        The text; None when the model has no such file.

    Raises:
        ValueError: there is no such model, or it cannot be reached; the message says what to do.
    """
    local = Path(source).expanduser()
    path: Path | None
    if local.is_file():
        path = local if name == "tokenizer.json" else local.parent / name
    elif local.is_dir():
        path = local / name
    else:
        path = _from_hub(source, name, revision)
    return path.read_text(encoding="utf-8") if path is not None and path.is_file() else None


def _from_hub(repository: str, name: str, revision: str | None) -> Path | None:
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except LocalEntryNotFoundError as error:
        # Nothing but the cache could be asked. Offline on purpose, an optional file that is not there does not exist.
        if is_offline_mode() and name != "tokenizer.json":
            return None
        raise ValueError(
            f"{name} of {repository} is not in the local cache and the hub cannot be reached: download it on a machine "
            f"with network (`hf download {repository} {name}`) or pass --tokenizer with a local folder"
        ) from error
    except EntryNotFoundError:
        return None
    except RevisionNotFoundError as error:
        raise ValueError(f"{repository} has no revision {revision!r}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(
            f"no tokenizer found at {repository!r}: it is neither a local file or folder nor a repository this account "
            "can read (for gated ones accept the licence and run `hf auth login`)"
        ) from error
    except HfHubHTTPError as error:
        raise ValueError(f"the hub did not deliver {name} of {repository}: {error}") from error
