"""Prompt files: Markdown with YAML front matter, and the one place where a document enters a prompt.

A template is split at its placeholder when it is loaded, and rendering joins strings. Nothing is ever searched for or
substituted in text that already holds a document, so a document that contains `[[DOCUMENT]]`, Jinja or any other markup
cannot change the prompt around it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path
from typing import Any, Literal

import xxhash
import yaml

Layout = Literal["instruction-first", "document-first"]

PLACEHOLDER = "[[DOCUMENT]]"
PROMPTS = Path(__file__).resolve().parents[2] / "prompts"

NOT_FORMATS = ("complete", "instruct", "judge")
"""Families that make no samples of documents: other pipelines load them."""

# A prompt's name becomes the name of a folder of shards and a part of sample ids.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""Names of prompts and rubrics: they become names of files, folders and checks."""
_WORDING = re.compile(rf"{NAME.pattern}\.{NAME.pattern}")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True)
class Prompt:
    """One instruction with a place for one document.

    Args:
        name: short name, usable as a folder name (`faq`).
        text: the template; holds `[[DOCUMENT]]` exactly once.
        family: group of prompts that belong together (`rephrase`).
        description: one line for humans.
        source: where the idea comes from (a paper), for humans.
        max_tokens: longest answer in tokens; None leaves it to the run.
        variant: which of several wordings this is; empty for the first one.
        extra: front matter keys beyond those above.

    Raises:
        ValueError: the name is not usable, or the placeholder does not occur exactly once.
    """

    name: str
    text: str
    family: str = ""
    description: str = ""
    source: str = ""
    max_tokens: int | None = None
    variant: str = ""
    extra: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"prompt name {self.name!r} cannot name a folder of shards: use a-z, 0-9, '-' and '_' "
                "(set `name:` in the front matter or rename the file)"
            )
        found = self.text.count(PLACEHOLDER)
        if found != 1:
            raise ValueError(f"prompt {self.name!r} must contain {PLACEHOLDER} exactly once, found {found} times")

    @property
    def title(self) -> str:
        """Its name, with the variant if it has one (`math.story`)."""
        return f"{self.name}.{self.variant}" if self.variant else self.name

    @property
    def hash(self) -> str:
        """xxh3-64 of the template's UTF-8 text, 16 hex digits: identifies the wording in shards and fingerprints."""
        return xxhash.xxh3_64_hexdigest(self.text.encode())

    def parts(self, layout: Layout) -> tuple[str, str]:
        """The text before and after the document.

        `document-first` moves the paragraph that holds the placeholder to the front and keeps the order of the others.
        """
        before, after = self.text.split(PLACEHOLDER)
        if layout == "instruction-first":
            return before, after
        earlier, later = _BLANK_LINE.split(before), _BLANK_LINE.split(after)
        rest = [paragraph for paragraph in (*earlier[:-1], *later[1:]) if paragraph]
        return earlier[-1], "\n\n".join([later[0], *rest])

    def render(self, document: str, layout: Layout = "instruction-first") -> str:
        """The finished user message for one document."""
        before, after = self.parts(layout)
        return before + document + after


def load_prompt(name_or_path: str) -> Prompt:
    """Load a prompt of this repository by its name (`faq`), one of its wordings (`math.story`), or any file (`./a.md`).

    A file without front matter is fine: the stem of its name becomes the prompt's name.

    Raises:
        FileNotFoundError: no such prompt; the message lists the ones there are.
        ValueError: the file is not a usable prompt; the message says why.
    """
    path = _find(name_or_path)
    first = _first_wording(path)
    return _read(path) if first == path else _read_wording(path, _read(first))


def load_wordings(name_or_path: str) -> list[Prompt]:
    """A prompt and its further wordings: `math.md` first, then `math.<variant>.md` of the same folder by name.

    A wording has the front matter of the first one, but for a `description` of its own. The name or path of a wording
    means that one alone.

    Raises:
        FileNotFoundError: as `load_prompt`.
        ValueError: as `load_prompt`, or a wording's front matter has another key.
    """
    path = _find(name_or_path)
    prompt = load_prompt(name_or_path)
    if prompt.variant:
        return [prompt]
    return [prompt, *(_read_wording(file, prompt) for file in _further_wordings(path))]


def load_prompts(names: str, files: Sequence[str] = (), wordings: bool = False) -> list[Prompt]:
    """The prompts of `--formats` (names separated by commas, or `none`) and `--prompt` (files).

    Args:
        names: of prompts of this repository.
        files: of the user's own.
        wordings: with the further wordings of each, which stand behind the first one.

    Raises:
        FileNotFoundError: no such prompt.
        ValueError: a file is not a usable prompt, there is none at all, or two have the same name.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    wanted += [str(Path(file).absolute()) for file in files]
    formats = [load_wordings(name) if wordings else [load_prompt(name)] for name in wanted]
    taken = [found[0].name for found in formats]
    if not formats:
        raise ValueError("there is no prompt: name some with --formats, or add a file with --prompt")
    if twice := sorted({name for name in taken if taken.count(name) > 1}):
        raise ValueError(f"several prompts are called {', '.join(twice)}: set another `name:` in the front matter")
    return [prompt for found in formats for prompt in found]


def known_prompts() -> list[Prompt]:
    """The first wording of every prompt of this repository, by family and name."""
    return sorted(map(_read, _first_files()), key=lambda prompt: (prompt.family, prompt.name))


def _files(name: str) -> list[Path]:
    return sorted(path for path in PROMPTS.glob(f"*/{name}.md") if path.parent.name not in NOT_FORMATS)


def _find(name_or_path: str) -> Path:
    """The file that a name or path means."""
    bare = NAME.fullmatch(name_or_path)
    found = _files(name_or_path) if bare or _WORDING.fullmatch(name_or_path) else []
    if len(found) > 1:
        raise ValueError(f"{name_or_path!r} names several prompts, give a path: {', '.join(map(str, found))}")
    path = found[0] if found else Path(name_or_path).expanduser()
    if found or (path.is_file() and not bare):
        return path
    if _WORDING.fullmatch(name_or_path) and (first := _files(name_or_path.partition(".")[0])):
        known = ", ".join(file.stem for file in (first[0], *_further_wordings(first[0])))
        raise FileNotFoundError(f"there is no wording {name_or_path!r}; there are {known}")
    if not bare:
        raise FileNotFoundError(f"there is no prompt file {path}; the prompts by name are: {_known_names()}")
    hint = f" (for the file of that name, write ./{name_or_path})" if path.is_file() else ""
    raise FileNotFoundError(f"there is no prompt {name_or_path!r}{hint}; there are: {_known_names()}")


def _first_wording(path: Path) -> Path:
    """The file whose wording this one is: `math.md` of `math.story.md`, where there is one, else the file itself."""
    first = path.with_name(f"{path.name.partition('.')[0]}.md")
    return first if first.is_file() else path


def _further_wordings(first: Path) -> list[Path]:
    return sorted(first.parent.glob(f"{escape(first.stem)}.?*.md"))


def _first_files() -> list[Path]:
    return [path for path in _files("*") if "." not in path.stem]


def _known_names() -> str:
    return ", ".join(sorted(path.stem for path in _first_files())) or f"none in {PROMPTS}"


def _read(path: Path) -> Prompt:
    try:
        content = path.read_text(encoding="utf-8-sig")
        front, text = split_front_matter(content)
        return _build(path.stem, front, text.strip())
    except ValueError as error:  # includes UnicodeDecodeError
        raise ValueError(f"{path}: {error}") from error


def _read_wording(path: Path, first: Prompt) -> Prompt:
    try:
        front, text = split_front_matter(path.read_text(encoding="utf-8-sig"))
        description = front.pop("description", first.description)
        if front:
            raise ValueError(f"a wording shares its front matter with {first.name!r}; here it has {', '.join(front)}")
        variant = path.stem.partition(".")[2]
        return replace(first, text=text.strip(), variant=variant, description=description)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def split_front_matter(content: str) -> tuple[dict[str, Any], str]:
    """The front matter of a Markdown file as a mapping, empty without one, and the text below it.

    Raises:
        ValueError: it is not closed, or no YAML mapping.
    """
    if content.split("\n", 1)[0].rstrip() != "---":
        return {}, content
    match = _FRONT_MATTER.match(content)
    if match is None:
        raise ValueError("the front matter opened with '---' in the first line is never closed by a second '---' line")
    try:
        front = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise ValueError(f"the front matter is not valid YAML: {error}") from error
    if front is None:
        front = {}
    if not isinstance(front, dict):
        raise ValueError("the front matter must be lines of `key: value`")
    return front, content[match.end() :]


def _build(stem: str, front: dict[str, Any], text: str) -> Prompt:
    strings = {"name": stem, "family": "", "description": "", "source": ""}
    for key in strings:
        value = front.pop(key, strings[key])
        if not isinstance(value, str):
            raise ValueError(f"`{key}` in the front matter must be text, not {value!r}")
        strings[key] = value
    max_tokens = front.pop("max_tokens", None)
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise ValueError(f"`max_tokens` in the front matter must be a positive whole number, not {max_tokens!r}")
    return Prompt(text=text, max_tokens=max_tokens, extra=front, **strings)
