"""The documents of a run's input, found again by their ids: for a look, or to publish them with the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.shards.plan import Unit
from blocks.shards.rows import read_rows


def documents_of(unit: Unit, k: int, fingerprint: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a chunk by the ids that the reader gave them.

    Args:
        unit: of the plan.
        k: number of the chunk in it.
        fingerprint: of the run, which says how it was read; nothing is found where it does not.

    Raises:
        OSError: the input is gone.
    """
    if "chunk_size" not in fingerprint or "id_column" not in fingerprint:
        return {}
    text, name, size = fingerprint.get("text_column", "text"), fingerprint["id_column"], fingerprint["chunk_size"]
    start = unit.start + k * size
    stop = start + size if unit.stop is None else min(start + size, unit.stop)
    documents: dict[str, str] = {}
    for number, row in enumerate(read_rows(unit.file, start, stop, [name, text]), start):
        if not isinstance(row, dict) or not isinstance(row.get(text), str):
            continue
        found = row.get(name)
        document_id = f"{unit.file.name}:{number}" if found is None or found == "" else str(found)
        while document_id in documents:  # as `ReadUnits` does it
            document_id = f"{document_id}#{number}"
        documents[document_id] = row[text]
    return documents
