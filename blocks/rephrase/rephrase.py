"""`Rephrase`: one document in, one sample per prompt out (FinePhrase, arXiv 2604.13977).

All prompts of a document are asked at once, in one pass over the input; the published code reads the corpus once per
prompt. What the published pipeline keeps silently is decided here and put on record: documents longer than the context,
answers that were cut off, empty answers, refusals and echoes of the prompt.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import xxhash
from datatrove.data import Document

from blocks.generate.answer import Answer
from blocks.generate.budget import document_room, split, truncate
from blocks.generate.clean import clean, trim_to_sentence
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected, RequestFailed, RequestRefused
from blocks.generate.generate import Ask, Generate
from blocks.generate.prompts import Layout, Prompt
from blocks.generate.tokenizer import TokenCounter
from blocks.rephrase.features import features
from blocks.rephrase.route import Route, suits
from blocks.rephrase.route import describe as describe_route
from blocks.rephrase.sections import parse_sections, section, text_of
from blocks.shards.chunk import ANSWER, FORMAT, LINEAGE, RETRIED, SOURCE, Refusal, chunk_of
from blocks.shards.documents import source_hash

LongDocuments = Literal["truncate", "split", "skip"]
TruncatedOutput = Literal["reject", "keep", "trim"]

WHOLE = (None, "stop", "eos", "eos_token", "stop_sequence")
"""Finish reasons of an answer that is complete; None is what servers say that do not tell."""

CHEAP_CHARACTERS = 4000
"""Documents up to this length are prepared on the event loop; longer ones may take milliseconds and go to a thread."""


class Prepared(NamedTuple):
    """A document as it will be asked about.

    Args:
        pieces: its text, or the consecutive pieces of it.
        cut: whether its end was cut off.
        tokens: tokens of the whole document, where they had to be counted.
        broken: special tokens of the model that occurred in it and were broken up.
        spared: for each piece, the formats that do not suit it, with the reason.
    """

    pieces: list[str]
    cut: bool
    tokens: int | None
    broken: int
    spared: list[dict[str, str]]


class Rephrase(Generate):
    """Rewrite each document with each prompt.

    Args:
        prompts: what to make of a document; a prompt's name is the format of its samples. Of several with one name,
            which are wordings of one format, each document gets one, by a hash of its id and the seed.
        endpoint: where the model answers.
        tokenizer: the model's, for exact budgets; see `load_tokenizer`.
        context: the model's context in tokens, prompt and answer together (FinePhrase: 8192).
        max_tokens: longest answer in tokens; None takes each prompt's own (FinePhrase: 2048).
        sampling: `temperature`, `top_p`, `top_k` as far as they shall be sent; the rest is the model's own.
        extra_body: further fields of every request, such as `chat_template_kwargs`.
        layout: where the document stands. `document-first` lets a server with prefix caching compute it once for all
            prompts; the published prompts have the instruction first.
        long_documents: a document that does not fit is cut at a sentence or paragraph end, split into pieces, or
            rejected.
        truncated_output: an answer that hit `max_tokens` is rejected, kept, or trimmed to its last whole sentence.
        routes: what each format asks of a document, see `parse_routes`; none asks every prompt about every document,
            as published.
        room: the most tokens that a document (or a piece) may have, so that formats which are added to a run later
            see the same text; None is what the longest of these prompts leaves.
        model_revision: recorded with every sample.
        generate: further arguments of `Generate`.
    """

    name = "Rephrase"

    def __init__(
        self,
        prompts: Sequence[Prompt],
        endpoint: Endpoint,
        tokenizer: TokenCounter,
        context: int = 8192,
        max_tokens: int | None = None,
        sampling: Mapping[str, float | int | None] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        layout: Layout = "instruction-first",
        long_documents: LongDocuments = "truncate",
        truncated_output: TruncatedOutput = "reject",
        routes: Mapping[str, Route] | None = None,
        room: int | None = None,
        model_revision: str | None = None,
        **generate: Any,
    ) -> None:
        self.sampling = {name: value for name, value in (sampling or {}).items() if value is not None}
        self.extra_body = dict(extra_body or {})
        thinks = tokenizer.opens_thinking(self.extra_body.get("chat_template_kwargs"))
        super().__init__(endpoint, {**self.sampling, **self.extra_body}, opens_thinking=thinks, **generate)
        self.prompts = tuple(prompts)
        self.formats: dict[str, list[Prompt]] = {}
        for prompt in prompts:
            self.formats.setdefault(prompt.name, []).append(prompt)
        self.sections = {name: parse_sections(wordings[0]) for name, wordings in self.formats.items()}
        self.tokenizer = tokenizer
        self.context = context
        self.max_tokens = max_tokens
        self.layout: Layout = layout
        self.long_documents = long_documents
        self.truncated_output = truncated_output
        self.routes = {name: route for name, route in (routes or {}).items() if name in self.formats}
        self._room = room
        self.model_revision = model_revision

    def answer_tokens(self, prompt: Prompt) -> int:
        """The longest answer to `prompt`, in tokens."""
        return self.max_tokens or prompt.max_tokens or 2048

    @cached_property
    def room(self) -> int:
        """Tokens that a document (or a piece) may have.

        Raises:
            ValueError: the prompts leave nothing, or less than the pieces of this run have; the message carries the
                arithmetic.
        """
        left = min(
            document_room(
                prompt,
                self.layout,
                self.tokenizer,
                self.context,
                self.answer_tokens(prompt),
                template_options=self.extra_body.get("chat_template_kwargs"),
            )
            for prompt in self.prompts
        )
        if self._room is not None and left < self._room and self.long_documents == "split":
            raise ValueError(
                f"the prompts leave {left:,} tokens for a document, and this run has split documents into pieces of "
                f"{self._room:,} for its other formats: give these formats an --output of their own"
            )
        return left if self._room is None else min(left, self._room)

    def describe(self) -> dict[str, str]:
        """What shapes the samples of each format, as one line that is the same for the same prompts."""
        return {
            name: ", ".join(
                [
                    "+".join(prompt.hash for prompt in wordings),
                    f"{self.answer_tokens(wordings[0])} tokens",
                    *([str(self.sections[name])] if self.sections[name] else []),
                    *([describe_route(self.routes[name])] if name in self.routes else []),
                ]
            )
            for name, wordings in self.formats.items()
        }

    def request(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """The request body (without `model` and sampling) for one prompt and one piece of a document."""
        return {
            "messages": [{"role": "user", "content": prompt.render(text, self.layout)}],
            "max_tokens": self.answer_tokens(prompt),
        }

    def preview(self, text: str) -> dict[str, dict[str, Any]]:
        """The request body of every prompt for the first piece of a document, as it would be sent (but for a seed)."""
        piece = truncate(self.tokenizer.neutralise(text)[0], self.room, self.tokenizer)[0]
        common = {"model": self.endpoint.model, **self.parameters}
        return {prompt.title: {**common, **self.request(prompt, piece)} for prompt in self.prompts}

    async def rollout(self, document: Document, generate: Ask) -> list[Document | Refusal]:
        """Ask every prompt that suits it about every piece of the document, all at once."""
        if len(document.text) <= CHEAP_CHARACTERS and len(document.text.encode()) <= self.room:
            prepared = self.prepare(document.text)
        else:
            prepared = await self.offload(self.prepare, document.text)
        wanted = document.metadata.get(RETRIED)
        counts: Counter[str] = Counter()
        for spared in prepared.spared:
            counts.update(f"spared/{name}/{reason}" for name, reason in spared.items())
        if prepared.broken:
            counts["special_tokens_broken_up"] = prepared.broken
        if counts and wanted is None and (chunk := chunk_of(document)) is not None:
            chunk.count(**counts)
        if prepared.pieces and all(len(spared) == len(self.formats) for spared in prepared.spared):
            raise Rejected("no_format_suits", "; ".join(f"{k}: {v}" for k, v in prepared.spared[0].items()))
        source = {
            **{key: value for key, value in document.metadata.items() if key not in (LINEAGE, RETRIED)},
            "source_id": document.id,
            "source_hash": source_hash(document.text),
            "source_tokens": prepared.tokens,
            "input_cut": prepared.cut,
            "pieces": len(prepared.pieces),
        }
        asked = [
            self._sample(sample_id, prompt, text, {**source, "piece": piece, SOURCE: text}, generate)
            for piece, text in enumerate(prepared.pieces)
            for prompt in self._wordings(document.id)
            if prompt.name not in prepared.spared[piece]
            and ((sample_id := self._sample_id(document.id, prompt, piece, prepared)) in (wanted or (sample_id,)))
        ]
        return [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)

    def _wordings(self, document_id: str) -> Iterator[Prompt]:
        """One wording of each format."""
        for name, wordings in self.formats.items():
            lot = f"{self.seed}\0{name}\0{document_id}".encode(errors="surrogatepass")
            yield wordings[xxhash.xxh3_64_intdigest(lot) % len(wordings) if len(wordings) > 1 else 0]

    def prepare(self, text: str) -> Prepared:
        """Make a document fit.

        Raises:
            Rejected: it does not fit and shall be skipped.
        """
        text, broken = self.tokenizer.neutralise(text)
        fits, tokens = self.tokenizer.measure(text, self.room)
        pieces, cut = [text], False
        if not fits and self.long_documents == "skip":
            raise Rejected("document_too_long", f"more than {self.room} tokens")
        if not fits and self.long_documents == "split":
            pieces = split(text, self.room, self.tokenizer)
        elif not fits:
            text, cut = truncate(text, self.room, self.tokenizer)
            pieces = [text]
        return Prepared(pieces, cut, tokens, broken, [self._spared(piece) for piece in pieces])

    def _spared(self, text: str) -> dict[str, str]:
        """The formats that do not suit a text, with the reason."""
        if not any(self.routes.values()):
            return {}
        return {name: reason for name, reason in suits(features(text), self.routes).items() if reason is not None}

    @staticmethod
    def _sample_id(document_id: str, prompt: Prompt, piece: int, prepared: Prepared) -> str:
        return f"{document_id}{f'/{piece}' if len(prepared.pieces) > 1 else ''}/{prompt.name}"

    async def _sample(
        self, sample_id: str, prompt: Prompt, text: str, source: dict[str, Any], generate: Ask
    ) -> Document | Refusal:
        try:
            answer = await generate(self.request(prompt, text))
        except RequestRefused as error:
            return Refusal(error.reason, id=sample_id, format=prompt.name, detail=error.detail)
        except RequestFailed as error:
            return Refusal(error.reason, "failed", id=sample_id, format=prompt.name, detail=error.detail)
        output, reason = self.keep(answer, prompt)
        if reason is not None:
            return Refusal(reason, id=sample_id, format=prompt.name, raw=answer.text or answer.reasoning or "")
        metadata = {**source, **self._provenance(prompt, answer)}
        sections = self.sections[prompt.name]
        if sections.reasoning:
            metadata["reasoning"] = section(answer.text, sections.reasoning) or answer.reasoning
        if sections.after_document:
            metadata[ANSWER] = output
            output = f"{text}\n\n{output}"
        return Document(output, sample_id, metadata=metadata)

    def keep(self, answer: Answer, prompt: Prompt) -> tuple[str, str | None]:
        """The text to keep, and the reason for keeping nothing of it."""
        sections = self.sections[prompt.name]
        if answer.finish_reason not in WHOLE and answer.finish_reason != "length":
            return "", "content_filter" if answer.finish_reason == "content_filter" else "odd_finish_reason"
        if answer.finish_reason == "length" and self.truncated_output == "reject":
            return "", "cut_off"
        said = text_of(answer.text, sections) if sections.text else answer.text
        if said is None:
            return "", f"no_{sections.text}" if answer.text.strip() else "empty"
        cleaned = clean(said, prompt.text)
        text = cleaned.text
        if cleaned.reason is None and answer.finish_reason == "length" and self.truncated_output == "trim":
            text = trim_to_sentence(text)
            return text, None if text else "cut_off"
        return text, cleaned.reason

    def _provenance(self, prompt: Prompt, answer: Answer) -> dict[str, Any]:
        return {
            FORMAT: prompt.name,
            "prompt": prompt.name,
            "prompt_hash": prompt.hash,
            "prompt_variant": prompt.variant or None,
            "model": self.endpoint.model.removesuffix(f"@{self.model_revision}"),
            "model_revision": self.model_revision,
            **self.sampling,
            "max_tokens": self.answer_tokens(prompt),
            "seed": self.seed,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "finish_reason": answer.finish_reason,
            "reasoning": answer.reasoning,
        }
