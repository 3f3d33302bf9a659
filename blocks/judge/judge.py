"""`Judge`: asks a model what a sample is worth, on a rubric's scale, in the Flow Judge format.

FineInstructions (arXiv 2601.22146) keeps the pairs to which Flow Judge gives at least 4 of 5. An answer that cannot be
read is not a low score: it is asked for once more, then counted on its own (`judge_unreadable`). Scores are counted
with the checks, so the summary shows their distribution by format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from datatrove.data import Document

from blocks.generate.budget import LEAST_ROOM, SEAM_SLACK, truncate
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected
from blocks.generate.generate import Ask, Generate
from blocks.generate.tokenizer import TokenCounter
from blocks.judge.flow import Judgement, judge_prompt, parse_judgement
from blocks.judge.rubric import Rubric
from blocks.shards.chunk import Refusal, chunk_of, format_of, written_by_model

MAX_TOKENS = 1000
"""Longest answer, as in the flow-judge package."""

SAMPLING = {"temperature": 0.1, "top_p": 0.95}
"""As in the flow-judge package, and in FineInstructions as far as the paper tells."""

ATTEMPTS = 2
"""How often a judge is asked whose answer cannot be read."""

CHEAP_CHARACTERS = 8000
"""Samples up to this length, inputs included, are prepared on the event loop; longer ones in a thread."""


class Judge(Generate):
    """Score samples; drop those below a threshold, with the judge's feedback in the ledger.

    A sample that is kept carries `judge_score`, `judge_feedback`, `judge_rubric`, `judge_rubric_hash`, `judge_model`
    and `judge_model_revision` in its metadata.

    Args:
        rubric: what to judge.
        endpoint: where the judge answers.
        tokenizer: the judge's, for exact budgets; see `load_tokenizer`.
        context: the judge's context in tokens, prompt and answer together.
        max_tokens: longest answer in tokens.
        keep: the lowest score that is kept; None keeps all that could be scored.
        sampling: `temperature`, `top_p` and `top_k` as far as they shall be sent.
        extra_body: further fields of every request.
        model_revision: recorded with every sample.
        generate: further arguments of `Generate`.
    """

    name = "Judge"

    def __init__(
        self,
        rubric: Rubric,
        endpoint: Endpoint,
        tokenizer: TokenCounter,
        context: int = 8192,
        max_tokens: int = MAX_TOKENS,
        keep: int | None = None,
        sampling: Mapping[str, float | int | None] = SAMPLING,
        extra_body: Mapping[str, Any] | None = None,
        model_revision: str | None = None,
        **generate: Any,
    ) -> None:
        sent = {name: value for name, value in sampling.items() if value is not None}
        parameters = {**sent, **(extra_body or {}), "max_tokens": max_tokens}
        thinks = tokenizer.opens_thinking(parameters.get("chat_template_kwargs"))
        super().__init__(endpoint, parameters, opens_thinking=thinks, **generate)
        self.rubric, self.tokenizer = rubric, tokenizer
        self.context, self.max_tokens = context, max_tokens
        self.keep = keep
        self.model_revision = model_revision

    @cached_property
    def room(self) -> int:
        """Tokens that a sample and its inputs may have together.

        Raises:
            ValueError: there is no room for a sample.
        """
        empty = judge_prompt(self.rubric, dict.fromkeys(self.rubric.inputs, ""), "")
        options = self.parameters.get("chat_template_kwargs")
        around = self.tokenizer.count_chat([{"role": "user", "content": empty}], options)
        room = self.context - self.max_tokens - around - SEAM_SLACK
        if room < 2 * LEAST_ROOM:
            raise ValueError(
                f"no room for a sample in the judge's context: {self.context} − answer {self.max_tokens} − rubric "
                f"{around} − slack {SEAM_SLACK} leaves {room} tokens; lower the judge's max_tokens or raise its context"
            )
        return room

    def preview(self, sample: Document) -> dict[str, Any]:
        """The request body for a sample as it would be sent (but for a seed)."""
        return {"model": self.endpoint.model, **self.parameters, **self.request(sample)[0]}

    def request(self, sample: Document) -> tuple[dict[str, Any], bool]:
        """The request body (without `model` and sampling) for a sample, and whether an input was cut to fit.

        Raises:
            Rejected: an input is missing, or the sample leaves no room for it.
        """
        (column,) = self.rubric.output.values()
        texts = {name: self._text(sample, column) for name, column in self.rubric.inputs.items()}
        output = self._text(sample, column)
        cut = False
        # A token covers at least a byte: most samples need no counting.
        if sum(len(text.encode()) for text in (output, *texts.values())) > self.room:
            longest = max(texts, key=lambda name: len(texts[name]), default="")
            others = [text for name, text in texts.items() if name != longest]
            room = self.room - sum(map(self.tokenizer.count, [output, *others]))
            if room < (LEAST_ROOM if longest else 0):
                raise Rejected("too_long_to_judge", f"leaves {room} of the judge's tokens for what it is held against")
            if longest:
                texts[longest], cut = truncate(texts[longest], room, self.tokenizer)
        return {"messages": [{"role": "user", "content": judge_prompt(self.rubric, texts, output)}]}, cut

    def _text(self, sample: Document, column: str) -> str:
        value = written_by_model(sample) if column == "text" else sample.metadata.get(column)
        if value is None:
            raise Rejected("no_judge_input", f"there is no {column}")
        return self.tokenizer.neutralise(str(value))[0]

    async def rollout(self, document: Document, generate: Ask) -> Sequence[Document | Refusal]:
        """Ask for a judgement; the sample, or why it is dropped."""
        if sum(map(len, [document.text, *map(str, document.metadata.values())])) <= CHEAP_CHARACTERS:
            request, cut = self.request(document)
        else:
            request, cut = await self.offload(self.request, document)
        if cut:
            self._count(document, judge_input_cut=1)
        problem = ""
        for _ in range(ATTEMPTS):
            answer = await generate(request)
            try:
                judgement = parse_judgement(answer.text, self.rubric)
            except ValueError as error:
                problem = f"{error} (finish reason {answer.finish_reason}): {answer.text[:500]}"
                continue
            return [self._judged(document, judgement)]
        return [Refusal("judge_unreadable", format=format_of(document), raw=document.text, detail=problem)]

    def _judged(self, document: Document, judgement: Judgement) -> Document | Refusal:
        score, feedback = judgement
        enough = score >= (self.rubric.keep if self.keep is None else self.keep)
        verdict = "pass" if enough else "flag" if self.keep is None else "reject"
        key = f"check/{format_of(document) or 'documents'}/judge_{self.rubric.name}"
        unwanted = {} if verdict == "pass" else {f"{key}/{verdict}={score}": 1}
        self._count(document, **{f"{key}/{verdict}": 1, f"{key}/={score}": 1}, **unwanted)
        if verdict == "reject":
            reason = f"judge_{self.rubric.name}"
            return Refusal(reason, format=format_of(document), raw=document.text, detail=f"{score}: {feedback}")
        document.metadata |= {
            "judge_score": float(score),
            "judge_feedback": feedback,
            "judge_rubric": self.rubric.name,
            "judge_rubric_hash": self.rubric.hash,
            "judge_model": self.endpoint.model.removesuffix(f"@{self.model_revision}"),
            "judge_model_revision": self.model_revision,
        }
        return document

    def _count(self, document: Document, **numbers: int) -> None:
        if (chunk := chunk_of(document)) is not None:
            chunk.count(**numbers)
