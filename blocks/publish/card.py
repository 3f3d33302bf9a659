"""The dataset card: what is in the repository, how it was made, how to load it.

Its numbers come from what was counted when the files were made and from the run's commit records; none is estimated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import yaml

from blocks.execute.progress import duration
from blocks.generate.prompts import Prompt, load_prompts
from blocks.publish.parts import Stored
from blocks.shards.run import RunRecord

LOCAL = frozenset("after api_key_env cluster config endpoint output publish samples server state".split())
"""Options that say where a run was, not what it made; a card does not tell them."""

_SECRET = re.compile(r"key|token(?!s|izer)|secret|password|authorization", re.IGNORECASE)

LONGEST_SAMPLE = 1500
"""Characters of a sample that the card shows."""


@dataclass(frozen=True)
class About:
    """What only people know about a dataset.

    Args:
        license: of the documents, as the Hub names it (`odc-by`).
        language: code of the texts' language.
        title: of the card; the repository's name if empty.
    """

    license: str | None = None
    language: str | None = None
    title: str = ""

    def over(self, former: Mapping[str, Any]) -> About:
        """With what was said formerly where nothing is said now."""
        said = {name: value for name, value in asdict(self).items() if value}
        return About(**{**former, **said})


def make_card(
    repository: str,
    record: RunRecord,
    summary: Mapping[str, Any],
    files: Mapping[str, Stored],
    schema: pa.Schema | None,
    shown: Sequence[Mapping[str, Any]],
    about: About,
    planned: int | None = None,
    with_source: bool = False,
) -> str:
    """The README of a repository, front matter included.

    Args:
        repository: `org/name`.
        record: what the run is.
        summary: its counts, see `summarize`.
        files: what is published, by path.
        schema: of the files; None where it is not known (JSON Lines, or nothing is there yet).
        shown: samples to show.
        about: what only people know.
        planned: rows of the plan, as far as they were counted.
        with_source: whether the publisher adds the documents; they may be in the run's own samples, too.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters.update(thousands=lambda number: f"{number:,}", spread=_spread)
    environment.filters.update(fenced=fenced, inline=inline, escaped=escaped)
    formats = _by_format(files)
    known, changed = _prompts(record)
    requested = sum(summary["samples"]["requested"].values())
    body = environment.from_string(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8")).render(
        title=about.title or repository.partition("/")[2],
        repository=repository,
        progress=_progress(summary, planned),
        complete=summary["complete"],
        samples=sum(one["rows"] for one in formats),
        formats=formats,
        buckets=sorted({int(size) for one in formats for size in one["sizes"]}),
        model=_public(record.fingerprint.get("model") or "a model"),
        revision=record.fingerprint.get("model_revision"),
        source=_public(record.pins.get("input") or record.fingerprint.get("input") or ""),
        finemill=record.finemill,
        recipe=yaml.safe_dump(_recipe(record), sort_keys=False, allow_unicode=True),
        prompts=known,
        changed=changed,
        documents=summary["documents"],
        requested=requested,
        written=sum(summary["written"].values()),
        reasons={**summary["rejected"], **summary["failed"]},
        checks=summary["checks"],
        alarms=summary["alarms"],
        shown=shown,
        license=about.license,
        kind=_kind(record, schema),
        with_source=with_source or bool(record.fingerprint.get("keep_source")),
    )
    return f"---\n{_front_matter(repository, record, formats, schema, about)}---\n{body}"


def _kind(record: RunRecord, schema: pa.Schema | None) -> str:
    """What the rows are: `judged`, `checked`, `original`, `completed` or `written`."""
    if schema is not None and "text" not in schema.names:
        return "judged"
    if "model" not in record.fingerprint:
        return "checked"
    return {"original": "original", "teacher": "completed"}.get(record.fingerprint.get("arm", ""), "written")


def inline(text: str) -> str:
    """A text as code within a line, whatever is in it."""
    told = " ".join(text.split())
    marks = "`" * (max((len(run) for run in re.findall("`+", told)), default=0) + 1)
    return f"{marks}{told}{marks}" if len(marks) == 1 else f"{marks} {told} {marks}"


def escaped(text: str) -> str:
    """A text in a line in which no sign means anything."""
    return re.sub(r"([\\`*_\[\]<>#|!&])", r"\\\1", " ".join(text.split()))


def fenced(text: str) -> str:
    """A text as it stands, between fences longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    cut = text if len(text) <= LONGEST_SAMPLE else f"{text[:LONGEST_SAMPLE]} …"
    return f"{'`' * (longest + 1)}text\n{cut}\n{'`' * (longest + 1)}"


def _by_format(files: Mapping[str, Stored]) -> list[dict[str, Any]]:
    found = []
    for name, group in groupby(sorted(files.values(), key=lambda file: file["format"]), lambda file: file["format"]):
        total: Counter[str] = Counter()
        sizes: Counter[int] = Counter()
        for file in group:
            total.update(rows=file["rows"], words=file["words"], completion_tokens=file["completion_tokens"])
            sizes.update({int(size): count for size, count in file["sizes"].items()})
        found.append({"name": name, **total, "sizes": sizes})
    buckets = sorted({size for one in found for size in one["sizes"]})
    for one in found:
        one["bars"] = " ".join(_bar(one["sizes"][size] / one["rows"]) for size in buckets)
    return found


def _bar(share: float) -> str:
    """A share as one of eight blocks, so that a row of them is a little plot; a dot for nothing."""
    return "·" if not share else "▁▂▃▄▅▆▇█"[min(7, int(share * 8))]


def _spread(check: Mapping[str, Any]) -> str:
    """The values of a check in all formats as a little plot between the lowest and the highest."""
    counts: Counter[float] = Counter()
    for found in check["formats"].values():
        counts.update({float(value): count for value, count in found["values"].items() if value != "nothing"})
    if not counts:
        return ""
    most = max(counts.values())
    bars = "".join(_bar(counts[value] / most) for value in sorted(counts))
    return f"{min(counts):g} {bars} {max(counts):g}"


def _progress(summary: Mapping[str, Any], planned: int | None) -> str:
    """How far the run is: of all its launches together, so that a restart changes neither rate nor rest."""
    if summary["complete"]:
        return ""
    done, seconds = summary["read"] + summary["documents"]["excluded"], summary["seconds"]
    if planned and done >= planned:
        return "All documents were read once; what was added to the run later is being made."
    rate = done / seconds if seconds else 0.0
    said = f"{done:,} documents in {duration(seconds)} of work, {rate * 3600:,.0f} per hour."
    if not planned:
        return said
    bar = ("█" * round(20 * done / planned)).ljust(20, "░")
    left = f" About {duration((planned - done) / rate)} left." if rate else ""
    return f"`{bar}` {done / planned:.0%} of {planned:,}: {said}{left}"


def _prompts(record: RunRecord) -> tuple[list[Prompt], list[str]]:
    """The prompts of the run that are still what they were, and the names of the others."""
    options = record.config
    if "formats" not in options:
        return [], []
    prompts: list[Prompt] = []
    wordings = options.get("wordings") == "all"
    own = [("none", [file]) for file in options.get("prompt") or []]
    for names, files in [*((name, []) for name in record.formats), *own]:  # formats that were added later, too
        with suppress(OSError, ValueError):
            prompts += load_prompts(names, files, wordings)
    known = {prompt.title: prompt for prompt in prompts if prompt.hash in record.formats.get(prompt.name, "")}
    return list(known.values()), sorted(set(record.formats) - {prompt.name for prompt in known.values()})


def _recipe(record: RunRecord) -> dict[str, Any]:
    shaping = {name: value for name, value in record.fingerprint.items() if value not in (None, [], {}, False)}
    return {**{name: _public(value) for name, value in shaping.items() if name not in LOCAL}, "formats": record.formats}


def _public(value: Any) -> Any:
    """A value without the folders of this machine, and without what looks like a key."""
    if isinstance(value, Mapping):
        return {
            name: _public(one) for name, one in value.items() if not _SECRET.search(str(name)) and name not in LOCAL
        }
    if isinstance(value, list):
        return [_public(one) for one in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~", "file:")) else value


def _front_matter(
    repository: str, record: RunRecord, formats: Sequence[Mapping[str, Any]], schema: pa.Schema | None, about: About
) -> str:
    rows = sum(one["rows"] for one in formats)
    names = [one["name"] for one in formats]
    patterns = {"all": [f"{name}/train-*" for name in names], **{name: [f"{name}/train-*"] for name in names}}
    if "all" in names:
        patterns.pop("all", None)
    source = re.match(r"hf://datasets/([^/@]+/[^/@]+)", str(record.fingerprint.get("input")))
    by_model = _kind(record, schema) not in ("checked", "original")
    told: dict[str, Any] = {
        "pretty_name": about.title or repository.partition("/")[2],
        **({"license": about.license} if about.license else {}),
        **({"language": [about.language]} if about.language else {}),
        **({"annotations_creators": ["machine-generated"]} if by_model else {}),
        "task_categories": ["text-generation"],
        "size_categories": [_size(rows)],
        "tags": ["synthetic", "finemill"] if by_model else ["finemill"],
        **({"source_datasets": [source[1]]} if source else {}),
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": paths}],
                **({"default": True} if name == "all" else {}),
            }
            for name, paths in patterns.items()
            if names
        ],
    }
    features = [_feature(field.name, field.type) for field in schema or ()]
    if names and features and None not in features:
        told["dataset_info"] = [{"config_name": name, "features": features} for name in patterns]
    return yaml.dump(told, Dumper=_Plain, sort_keys=False, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes what comes twice twice: not every reader of front matter knows references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _feature(name: str, kind: pa.DataType) -> dict[str, Any] | None:
    """A column as the Hub declares it in a card; None for one that is seldom enough to be left to be inferred."""
    inner = kind.value_type if pa.types.is_list(kind) else kind
    if not pa.types.is_struct(inner):
        dtype = {"double": "float64", "float": "float32"}.get(str(inner), str(inner))
        return {"name": name, "list" if inner is not kind else "dtype": dtype} if dtype in _DTYPES else None
    fields = [_feature(field.name, field.type) for field in inner]
    return None if None in fields else {"name": name, "list" if inner is not kind else "struct": fields}


def _size(rows: int) -> str:
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")
    return names[next((at for at, limit in enumerate(10**power for power in range(3, 10)) if rows < limit), 7)]


_DTYPES = frozenset(
    "string large_string bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 binary".split()
)


def samples_to_show(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first sample of each format."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = str(row.get("format") or "documents")
        if "text" not in row:  # a judge's side table
            continue
        found.setdefault(name, {"format": name, "source_id": row.get("source_id") or row["id"], "text": row["text"]})
    return list(found.values())
