"""Exact token counts with the model's own tokenizer, and special tokens made harmless.

Characters per token vary from below 1 (CJK, emoji) to above 100 (runs of spaces), so a budget in characters either
wastes context or gets requests refused. This module loads only `tokenizer.json` (through the `tokenizers` library) and
the chat template; transformers takes seconds to import and is not needed. Most documents are never tokenised at all: a
token covers at least one byte, so a text whose UTF-8 bytes fit does fit (see `token_bound`).
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import tokenizers
from jinja2 import Template, TemplateError

from blocks.generate.chat_template import compile_template, find_template, render_chat, template_tokens
from blocks.generate.model_files import read_model_file
from blocks.generate.reasoning import OPEN
from blocks.generate.special_tokens import acts, break_up, special_pattern
from blocks.generate.token_bound import TokenBound

Message = Mapping[str, str]

# Tokens allowed for a chat template that cannot be rendered here. Role markers take some 5 tokens a message and the
# default system messages of SmolLM2 and Llama 3 some 20 to 30, so this errs on the safe side.
TEMPLATE_MARGIN = 64

# Texts of up to so many times the room (at 5 characters per token) are counted whole: some 30 ms at a room of 6,000.
MEASURED = 4

# The production code of FinePhrase counts 3 characters per token (examples/inference/generate_data.py in datatrove).
CHARACTERS_PER_TOKEN = 3

# What acts as a control token in well-known model families, for servers whose tokenizer is unknown.
_COMMON_CONTROL_TOKENS = (
    *("<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
)
_COMMON_CONTROL_PATTERN = r"<[|｜][^<>|｜\n]{1,40}[|｜]>"


class TokenCounter(ABC):
    """What a token budget needs to know about a model; made by `load_tokenizer`. Pickles as a small description."""

    @property
    @abstractmethod
    def special_tokens(self) -> tuple[str, ...]:
        """The strings that the model's tokenizer turns into control tokens."""

    @abstractmethod
    def count(self, text: str) -> int:
        """Tokens of a text on its own; no beginning-of-sequence or other special token is added."""

    @abstractmethod
    def count_chat(self, messages: Sequence[Message], options: Mapping[str, Any] | None = None) -> int:
        """Prompt tokens of a chat request, as the server counts them.

        Args:
            messages: `role` and `content` of each message.
            options: the request's `chat_template_kwargs`; None for none.
        """

    def opens_thinking(self, options: Mapping[str, Any] | None = None) -> bool:
        """Whether the chat template opens a `<think>` block at the end of the prompt; False where nobody knows it.

        Args:
            options: as in `count_chat`.
        """
        return False

    @abstractmethod
    def fits(self, text: str, room: int) -> bool:
        """Whether the text has at most `room` tokens."""

    def measure(self, text: str, room: int) -> tuple[bool, int | None]:
        """Whether the text has at most `room` tokens, and how many it has if they had to be counted anyway."""
        return self.fits(text, room), None

    @abstractmethod
    def prefix_end(self, text: str, room: int, start: int = 0) -> int:
        """Where about the first `room` tokens of `text[start:]` end, as an index; `len(text)` exactly when all fit.

        Cheap also for huge texts. Tokens may differ by a few once the text is cut there: count what was cut.
        """

    @cached_property
    def _special_pattern(self) -> re.Pattern[str] | None:
        return special_pattern(self.special_tokens)

    @cached_property
    def _special_starts(self) -> frozenset[str]:
        """First characters of the special tokens: most documents hold none of them."""
        return frozenset(token[0] for token in self.special_tokens)

    def neutralise(self, text: str) -> tuple[str, int]:
        """Break up special tokens that occur in a text, so that they reach the model as plain characters.

        See `break_up`.

        Returns:
            The text and the number of tokens broken up.
        """
        if not any(first in text for first in self._special_starts):
            return text, 0
        return break_up(text, self._special_pattern)


class CharacterEstimate(TokenCounter):
    """An estimate for models whose tokenizer is unknown: 3 characters per token, as in FinePhrase's production code.

    It is not safe for text far from English: Chinese needs a token per one or two characters.
    """

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Control tokens of common model families; `neutralise` also breaks up every `<|name|>`."""
        return _COMMON_CONTROL_TOKENS

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join([_COMMON_CONTROL_PATTERN, *map(re.escape, self.special_tokens)]))

    def count(self, text: str) -> int:
        """A third of the characters, rounded up."""
        return math.ceil(len(text) / CHARACTERS_PER_TOKEN)

    def count_chat(self, messages: Sequence[Message], options: Mapping[str, Any] | None = None) -> int:
        """The messages' contents and a margin of 64 tokens for the unknown chat template."""
        return sum(self.count(message["content"]) for message in messages) + TEMPLATE_MARGIN

    def fits(self, text: str, room: int) -> bool:
        """Whether the estimate is at most `room`."""
        return self.count(text) <= room

    def prefix_end(self, text: str, room: int, start: int = 0) -> int:
        """Exactly `room` times 3 characters on."""
        return min(len(text), start + max(room, 0) * CHARACTERS_PER_TOKEN)


class ModelTokenizer(TokenCounter):
    """A model's tokenizer and chat template, loaded when first used and left out of pickles.

    Args:
        source: a folder with `tokenizer.json`, that file itself, or a Hugging Face repository.
        revision: commit, branch or tag of the repository; None for its main branch.
    """

    def __init__(self, source: str, revision: str | None = None) -> None:
        self.source = source
        self.revision = revision

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "revision": self.revision}

    @cached_property
    def _tokenizer(self) -> tokenizers.Tokenizer:
        estimate = "or --tokenizer none for an estimate of 3 characters per token"
        return read_tokenizer(self.source, self.revision, estimate)

    @cached_property
    def _bound(self) -> TokenBound:
        return TokenBound.of(_definition(self._tokenizer.normalizer), _definition(self._tokenizer.pre_tokenizer))

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_tokenizer_config(self.source, self.revision)

    @cached_property
    def _template(self) -> Template | None:
        source = find_template(self._config, read_model_file(self.source, "chat_template.jinja", self.revision))
        try:
            return None if source is None else compile_template(source)
        except TemplateError:
            return None

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """The added tokens that steer the model; see `acts`."""
        return tuple(token.content for token in self._tokenizer.get_added_tokens_decoder().values() if acts(token))

    def count(self, text: str) -> int:
        """Tokens of a text on its own; no special token is added."""
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])  # fast: without offsets

    def count_chat(self, messages: Sequence[Message], options: Mapping[str, Any] | None = None) -> int:
        """Tokens of the rendered chat template.

        Without a template that can be rendered: the contents and a margin of 64 tokens.
        """
        rendered = self._render(messages, options or {})
        if rendered is None:
            return sum(self.count(message["content"]) for message in messages) + TEMPLATE_MARGIN
        return self.count(rendered)

    def opens_thinking(self, options: Mapping[str, Any] | None = None) -> bool:
        """As in `TokenCounter`."""
        rendered = self._render([{"role": "user", "content": "a"}], options or {})
        return rendered is not None and rendered.rstrip().endswith(OPEN)

    def _render(self, messages: Sequence[Message], options: Mapping[str, Any]) -> str | None:
        if self._template is None:
            return None
        try:
            return render_chat(self._template, template_tokens(self._config), messages, options)
        except Exception:  # a template is foreign code
            return None

    def fits(self, text: str, room: int) -> bool:
        """Whether the text has at most `room` tokens; tokenises only when its UTF-8 bytes leave a doubt."""
        return self._bound.fits(text, room) or self.prefix_end(text, room) == len(text)

    def measure(self, text: str, room: int) -> tuple[bool, int | None]:
        """As `fits`; a text that has to be tokenised is counted whole, unless it is over `MEASURED` times too long."""
        if self._bound.fits(text, room):
            return True, None
        if len(text) > MEASURED * 5 * room:
            return self.fits(text, room), None
        tokens = self.count(text)
        return tokens <= room, tokens

    def prefix_end(self, text: str, room: int, start: int = 0) -> int:
        """Where about the first `room` tokens of `text[start:]` end.

        Encodes a growing prefix, so the cost follows `room` and not the length of the text.
        """
        if room <= 0:
            return start
        size = 5 * room + 64  # English has 4 to 5 characters per token
        while True:
            encoding = self._tokenizer.encode(text[start : start + size], add_special_tokens=False)
            if len(encoding) > room:
                # The start of the first token too many, not the end of the last one that fits: a character made of
                # several tokens (bytes) then stays whole.
                return start + int(encoding.offsets[room][0])
            if start + size >= len(text):
                return len(text)
            size *= 2


def read_tokenizer(source: str, revision: str | None, otherwise: str = "") -> tokenizers.Tokenizer:
    """The tokenizer of a model, without the truncation and the padding that its file may ask for.

    Args:
        source: as in `ModelTokenizer`.
        revision: likewise.
        otherwise: what else can be done where there is none.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    text = read_model_file(source, "tokenizer.json", revision)
    if text is None:
        advice = f", {otherwise}" if otherwise else ""
        raise ValueError(
            f"{source} has no tokenizer.json; pass --tokenizer with a folder or repository that has one{advice}"
        )
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"the tokenizer.json of {source} cannot be read: {error}") from error
    # Both would falsify counts, and shorten documents.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_tokenizer_config(source: str, revision: str | None) -> dict[str, Any]:
    """What `tokenizer_config.json` says; empty where there is none.

    Raises:
        ValueError: it cannot be read.
    """
    text = read_model_file(source, "tokenizer_config.json", revision)
    try:
        config: dict[str, Any] = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"the tokenizer_config.json of {source} cannot be read: {error}") from error
    return config


def _definition(component: Any) -> dict[str, Any] | None:
    """A normaliser or pre-tokenizer as it stands in `tokenizer.json`."""
    return None if component is None else json.loads(component.__getstate__())


def load_tokenizer(name_or_path: str | None, revision: str | None = None) -> TokenCounter:
    """The token counter of a model.

    Args:
        name_or_path: local folder, `tokenizer.json` file or Hugging Face repository; None gives `CharacterEstimate`.
        revision: commit, branch or tag of the repository.

    Raises:
        ValueError: no usable tokenizer there; the message says what to do.
    """
    if name_or_path is None:
        return CharacterEstimate()
    tokenizer = ModelTokenizer(name_or_path, revision)
    # Reads every file, so that what is wrong shows here, in the launching process, and not in every worker.
    tokenizer.count_chat([{"role": "user", "content": ""}])
    return tokenizer
