"""Finds samples to look at, with the documents that they were made from: in a run folder, in files, or on the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from blocks.shards.chunk import SOURCE
from blocks.shards.commit import load_commits
from blocks.shards.documents import Documents, SourceDocument, source_hash
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import load_plan
from blocks.shards.rows import read_rows, schema_of
from blocks.shards.run import load_run
from blocks.shards.source import InputFile, list_files, pin
from blocks.shards.where import Where

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


@dataclass(frozen=True)
class Wanted:
    """Which rows to show.

    Args:
        format: only this one; None for all.
        reason: of rejection or failure; what was not written is shown then.
        where: a row's columns must match all of these.
        checks: a row's checks must have these values, such as `copying > 0.5`.
    """

    format: str | None = None
    reason: str | None = None
    where: Sequence[Where] = ()
    checks: Sequence[Where] = ()

    def __call__(self, row: dict[str, Any]) -> bool:
        """Whether a row is wanted."""
        found = {check["check"]: check["value"] for check in row.get("checks") or ()}
        return (
            (self.format is None or row.get("format") == self.format)
            and (self.reason is None or row.get("reason") == self.reason)
            and all(one(row) for one in self.where)
            and all(one(found) for one in self.checks)
        )


def find(path: str, state: Path | None, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Rows that are wanted, each with its document in `source_text` as far as that can be had.

    Args:
        path: a run folder; files, a folder or a glob of samples, local, s3:// or hf://; or a dataset, `org/name`.
        state: the run's state folder, if it is not in it.
        wanted: which.

    Raises:
        RunError: there is nothing of the kind.
    """
    if (folder := _run_at(path, state)) is not None:
        yield from _of_run(folder, wanted)
        return
    if wanted.reason is not None:
        raise RunError(f"{path} is no run folder: only that knows what was rejected")
    on_hub = _REPOSITORY.fullmatch(path) and not Path(path).exists()
    for file in list_files(pin(f"hf://datasets/{path}" if on_hub else path)):
        if wanted.format is None or not on_hub or file.name.startswith(f"{wanted.format}/"):
            yield from filter(wanted, rows_of(file))


def _run_at(path: str, state: Path | None) -> RunFolder | None:
    if path.startswith("hf://"):
        return None
    fs, local = url_to_fs(path)
    return RunFolder.at(path, state) if fs.exists(f"{local}/run.yaml") else None


def rows_of(file: InputFile) -> Iterator[dict[str, Any]]:
    """All rows of a file that can be read."""
    columns = schema_of([file]).names if file.format == "parquet" else []
    return (row for row in read_rows(file, 0, None, columns) if isinstance(row, dict))


def _of_run(folder: RunFolder, wanted: Wanted) -> Iterator[dict[str, Any]]:
    record = load_run(folder)
    assert record is not None
    units = {unit.number: unit for unit in load_plan(folder.state / "plan.jsonl")}
    documents, missing = Documents(record.fingerprint), list[str]()
    kind = "rejected/" if wanted.reason is not None else f"shards/{wanted.format or ''}"
    for commit in load_commits(folder):
        for written in commit.files:
            if not written.path.startswith(kind) or not written.rows:
                continue
            try:
                [file] = list_files(f"{folder.output}/{written.path}")
            except RunError:  # its worker is about to move it, or was killed before
                missing.append(written.path)
                continue
            found = [row for row in rows_of(file) if wanted(row)]
            if found and SOURCE not in found[0] and commit.unit in units:
                with suppress(OSError):  # the input may be gone since
                    add_documents(found, documents.of_chunk(units[commit.unit], commit.k))
            yield from found
    if missing:
        raise RunError(f"{len(missing)} files are not in their place, the first is {missing[0]}: the run moves them")


def add_documents(rows: Sequence[dict[str, Any]], documents: Sequence[SourceDocument]) -> None:
    """Add to each row the document that it was made from, or that was rejected."""
    by_hash = {source_hash(document.text): document.text for document in documents}
    by_place = {document.place: document.text for document in documents}
    by_id = {document.id: document.text for document in documents}
    for row in rows:
        if "source_hash" in row:
            row[SOURCE] = by_hash.get(row["source_hash"])
        elif "lineage" in row:
            row[SOURCE] = by_place.get(int(row["lineage"].partition(":")[2].partition("/")[0]))
        else:  # what is said about the rows of the input
            row[SOURCE] = by_id.get(row["id"])
