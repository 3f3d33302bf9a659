"""`Moderate`: harmful queries are left out, as an OpenAI-compatible `/moderations` endpoint sees them.

FineInstructions (arXiv 2601.22146) shows all queries to OpenAI's. What it flags is refused as `moderated`, with the
categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datatrove.data import Document

from blocks.execute.options import json_object
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected
from blocks.generate.generate import Ask, Generate
from blocks.generate.probe import resolve
from blocks.shards.chunk import LINEAGE, Refusal
from blocks.shards.folder import RunError


class Moderate(Generate):
    """Refuse what a moderation endpoint flags; the rest passes as it is."""

    name = "Moderate"

    async def rollout(self, document: Document, generate: Ask) -> Sequence[Document | Refusal]:
        """Show the query to the endpoint.

        Raises:
            Rejected: it is flagged; `detail` names the categories.
        """
        try:
            answer = await generate({"input": document.text})
        except RunError as error:
            raise RunError(f"--moderation, asked for /moderations: {error}") from error
        if answer.text:
            raise Rejected("moderated", answer.text)
        metadata = {key: value for key, value in document.metadata.items() if key != LINEAGE}
        return [Document(document.text, document.id, metadata=metadata)]


def choose_moderation(text: str) -> Endpoint:
    """The endpoint of `--moderation`.

    Raises:
        RunError: the option cannot be read, or nothing answers there.
    """
    told: dict[str, Any] = json_object(text, "--moderation")
    if "endpoint" not in told or (unknown := set(told) - {"endpoint", "model", "api_key_env"}):
        wrong = f"; it has no {', '.join(sorted(unknown))}" if "endpoint" in told else ""
        raise RunError(f'--moderation wants {{"endpoint": URL, "model": …, "api_key_env": …}}{wrong}')
    return resolve(told["endpoint"], told.get("model"), told.get("api_key_env"))
