"""Renders a model's chat template the way its server does, without transformers.

The number of tokens a document may have depends on what the template adds: role markers, a default system message, the
start of the answer. So the template is rendered here as `transformers` renders it (`apply_chat_template`), in the same
kind of sandboxed Jinja environment: templates come from model repositories and are untrusted code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; for counting it is transparent."""

    tags = {"generation"}  # noqa: RUF012 (declared by Jinja)

    def parse(self, parser: Parser) -> Node | list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    # Jinja's own filter escapes HTML characters, which would change the count.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def compile_template(source: str) -> Template:
    """Compile a chat template.

    Raises:
        jinja2.TemplateError: the template is not valid.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
    environment.filters["tojson"] = _tojson
    return environment.from_string(source)


def find_template(config: Mapping[str, Any], template_file: str | None) -> str | None:
    """The chat template of a model: the text of `chat_template.jinja` wins over the key in `tokenizer_config.json`.

    Older configs hold a list of named templates; the one named `default` is what servers use for a plain chat.
    """
    if template_file is not None:
        return template_file
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def template_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """The `bos_token`, `eos_token`, … of `tokenizer_config.json` that templates refer to, as plain strings."""
    tokens = {}
    for key, value in config.items():
        if isinstance(value, dict):
            value = value.get("content")
        if key.endswith("_token") and isinstance(value, str):
            tokens[key] = value
    return tokens


def render_chat(
    template: Template, tokens: Mapping[str, str], messages: Sequence[Mapping[str, str]], options: Mapping[str, Any]
) -> str:
    """The text of a chat up to where the answer begins.

    Args:
        template: from `compile_template`.
        tokens: from `template_tokens`.
        messages: `role` and `content` of each message.
        options: the request's `chat_template_kwargs`, such as `enable_thinking`.

    Raises:
        jinja2.TemplateError: the template refuses these messages, for instance a system message.
    """
    return template.render(
        **{**tokens, "messages": messages, "tools": None, "documents": None, "add_generation_prompt": True, **options}
    )
