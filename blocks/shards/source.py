"""What `--input` means: which files, in which format, at which revision.

Local paths and globs, `s3://…` and `hf://datasets/org/name[@revision]/…` all go through fsspec; a Hub revision is
resolved to its commit hash once and stays in every path from then on, so that an update of the dataset can not shift
rows between two launches of a run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.core import has_magic, url_to_fs

from blocks.shards.folder import RunError
from blocks.shards.zstd import open_zstd

SUFFIXES: dict[str, Literal["parquet", "jsonl"]] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".jsonl.zst": "jsonl",
    ".ndjson": "jsonl",
    ".json.gz": "jsonl",
}

BUFFER = 1 << 20
"""Bytes read at a time from uncompressed files: every read hands the interpreter lock from thread to thread."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_DATASET = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?P<path>/.*)?$")


@dataclass(frozen=True)
class InputFile:
    """One input file.

    Args:
        url: how fsspec opens it.
        name: its path relative to the input's root; ids of documents without one are made of it.
        format: how to read it.
        size: bytes, to notice that a file changed under a running plan.
    """

    url: str
    name: str
    format: Literal["parquet", "jsonl"]
    size: int

    def open(self) -> Any:
        """Open the file for reading bytes, decompressed."""
        stream: Any = fsspec.open(self.url, "rb", compression="gzip" if self.url.endswith(".gz") else None).open()
        if self.url.endswith(".gz"):
            return stream
        return open_zstd(stream) if self.url.endswith(".zst") else BufferedReader(stream, BUFFER)


def pin(source: str) -> str:
    """The input with a Hub dataset's revision resolved to its commit hash; anything else unchanged.

    Raises:
        RunError: the dataset or revision does not exist or the Hub cannot be reached.
    """
    match = _HUB_DATASET.match(source)
    if match is None:
        return source
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    repo, revision = match["repo"], match["revision"]
    if revision is not None and _COMMIT.fullmatch(revision):
        return source
    try:
        sha = HfApi().dataset_info(repo, revision=revision).sha
    except RevisionNotFoundError as error:
        raise RunError(f"the dataset {repo} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise RunError(
            f"no dataset {repo} on the Hub that this account can read (for gated ones accept the terms and run "
            f"`hf auth login`)"
        ) from error
    except Exception as error:  # connection errors are those of the Hub's HTTP library, which differs by version
        raise RunError(f"cannot ask the Hub for {repo}: {' '.join(str(error).split())}") from error
    return f"hf://datasets/{repo}@{sha}{match['path'] or ''}"


def dataset_name(source: str) -> str:
    """What `source_dataset` says: the Hub repository, a remote URL as typed, or the last part of a local path."""
    match = _HUB_DATASET.match(source)
    if match:
        return match["repo"]
    return source if "://" in source else Path(source).name


def shards_of(source: str) -> str:
    """The shards of a run folder, as an input; anything else is an input already.

    Args:
        source: a run folder, local or remote, or an input.

    Raises:
        RunError: the path cannot be opened, or it is a run that has written nothing.
    """
    try:
        fs, path = url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise RunError(f"cannot open --input {source}: {error}") from error
    if not fs.exists(f"{path}/run.yaml"):
        return source
    if not fs.exists(f"{path}/shards"):
        raise RunError(f"the run {source} has written nothing: is it finished, and what does its summary.json say?")
    return f"{source.rstrip('/')}/shards/*/*"


def list_files(source: str) -> list[InputFile]:
    """The files of an input (a file, a folder or a glob), sorted by name.

    Raises:
        RunError: the path does not exist, or holds no file of a known format.
    """
    try:
        fs, path = url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise RunError(f"cannot open --input {source}: {error}") from error
    if fs.isdir(path):
        root, found = path, fs.find(path, detail=True)
    elif fs.exists(path):
        root, found = path.rpartition("/")[0], {path: fs.info(path)}
    elif has_magic(path):
        root = re.split(r"[*?\[{]", path, maxsplit=1)[0].rpartition("/")[0]
        found = fs.glob(path, detail=True)
    else:
        raise RunError(f"--input {source} does not exist")
    explicit = list(found) == [path]
    files = []
    for name, info in sorted(found.items()):
        suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(s)), None)
        if suffix is None and explicit:
            raise RunError(f"--input {source}: unknown file format; known are {', '.join(SUFFIXES)}")
        relative = name[len(root) :].lstrip("/")
        if not explicit and any(part.startswith((".", "_")) for part in relative.split("/")):
            continue  # caches and markers that tools leave beside data
        if info.get("islink"):  # a listing describes the link itself
            try:
                info = fs.info(name)
            except FileNotFoundError:
                raise RunError(f"{name} is a link that leads nowhere: repair it or remove it from --input") from None
        if suffix is not None and info["type"] == "file":
            files.append(InputFile(fs.unstrip_protocol(name), relative, SUFFIXES[suffix], int(info["size"] or 0)))
    if not files:
        raise RunError(f"--input {source} matches no file that ends in {', '.join(SUFFIXES)}")
    return files
