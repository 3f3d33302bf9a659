"""The run record, `run.yaml`: what this run is, so that nobody continues it as something else.

The *fingerprint* holds everything that shapes a sample. A launch with another fingerprint is refused and told what
differs. Workers, windows, URLs and the limit are not part of it. Formats may be added later: they become a further
*pass* over the same plan with commit records of its own, and what was committed before stays as it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import yaml

from blocks.shards.folder import Retry, RunError, RunFolder, write_atomically


@dataclass
class RunRecord:
    """The content of `run.yaml`.

    Args:
        fingerprint: what shapes samples, by name; plain YAML values.
        formats: hash of what makes each format (its prompt), by name.
        pins: names resolved at the first launch (commit hashes of dataset and model) that later launches use.
        passes: names of the formats of each pass.
        config: the first launch's options, for people.
        retries: by number of a pass that asks again about what failed: `of`, the pass in which it failed, and `units`,
            how many the plan had then.
        id: stands in the state folder, too, so that output and state can not be mixed up.
    """

    fingerprint: dict[str, Any]
    formats: dict[str, str]
    pins: dict[str, Any]
    passes: list[list[str]]
    config: dict[str, Any]
    retries: dict[int, dict[str, int]] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    finemill: str = field(default_factory=lambda: version("finemill"))

    def root(self, number: int) -> int:
        """The pass whose formats a pass makes: itself, or the one whose failures it tries again."""
        return self.retries[number]["of"] if number in self.retries else number

    def chain(self, root: int) -> list[int]:
        """A pass and all its retries, newest first."""
        return [*sorted((n for n in self.retries if self.root(n) == root), reverse=True), root]

    def seen_by(self, folder: RunFolder, number: int) -> RunFolder:
        """The run as pass `number` sees it."""
        if number not in self.retries:
            return folder.for_pass(number)
        passes = tuple(one for one in self.chain(self.root(number)) if one < number)
        return folder.for_pass(number, Retry(passes, self.retries[number]["units"]))


def load_run(folder: RunFolder) -> RunRecord | None:
    """The run that lives in `folder`, None when there is none yet.

    Raises:
        RunError: `run.yaml` is there but is not one of ours.
    """
    content = folder.read_output("run.yaml")
    if content is None:
        return None
    try:
        return RunRecord(**yaml.safe_load(content))
    except (yaml.YAMLError, TypeError) as error:
        raise RunError(f"{folder.output}/run.yaml cannot be read: {error}") from error


def kept_pins(former: RunRecord | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What names were resolved to at the first launch, without those that are other names now.

    A dataset and a model mean what they meant at the first launch; `input`, `tokenizer`, the revisions of models, and
    the `columns` that only some inputs have, are missing where they have to be looked up.

    Args:
        former: the run as it was begun; None at the first launch.
        options: this launch's, by name.
    """
    if former is None:
        return {}
    told_by = {
        "input": ("input",),
        "model_revision": ("model", "revision"),
        "encoder_revision": ("encoder", "revision"),
        "bank": ("bank",),
        "judge_revision": ("judge",),
        "tokenizer": ("tokenizer", "revision"),
        "columns": ("input", "source_column", "frequency_column"),
    }
    changed = {pin for pin, names in told_by.items() if any(former.config.get(n) != options.get(n) for n in names)}
    return {pin: value for pin, value in former.pins.items() if pin not in changed}


def save_run(folder: RunFolder, record: RunRecord) -> None:
    """Write `run.yaml`.

    Raises:
        RunError: the output cannot be written.
    """
    folder.write_output("run.yaml", yaml.safe_dump(asdict(record), sort_keys=False, allow_unicode=True).encode())


def begin_run(
    folder: RunFolder,
    fingerprint: Mapping[str, Any],
    formats: Mapping[str, str],
    pins: Mapping[str, Any],
    config: Mapping[str, Any],
    partly: bool = False,
) -> RunRecord:
    """Create the run's record, or hold this launch against it; new formats are added as a pass.

    Args:
        folder: the run folder.
        fingerprint: as in `RunRecord`, and so are `formats`, `pins` and `config`.
        formats: what this launch makes.
        pins: used only when the record is created.
        config: likewise.
        partly: whether the run may have further formats, which others have added and make; their passes are empty in
            the record that is returned.

    Raises:
        RunError: the run is another one; the message lists what differs.
    """
    record = load_run(folder)
    marked = check_state(folder, record)
    fingerprint = yaml.safe_load(yaml.safe_dump(dict(fingerprint)))  # as it will be read back, with lists for tuples
    if record is None:
        record = RunRecord(dict(fingerprint), dict(formats), dict(pins), [], dict(config))
        added = list(formats)
    else:
        _compare(folder, record, fingerprint, formats, partly)
        added = [name for name in formats if name not in record.formats]
    if added:
        record.formats.update({name: formats[name] for name in added})
        record.passes.append(added)
        save_run(folder, record)
    if partly:
        record.passes = [names if set(names) <= set(formats) else [] for names in record.passes]
    if not marked:
        write_atomically(folder.state / "run", f"{record.id} {folder.output}\n".encode())
    return record


def check_state(folder: RunFolder, record: RunRecord | None) -> bool:
    """Refuse an output and a state folder that do not belong together; whether the state folder has its mark."""
    try:
        mark = (folder.state / "run").read_text()
    except FileNotFoundError:
        mark = ""
    if mark and (record is None or record.id != mark.split()[0]):
        raise RunError(
            f"the state folder {folder.state} belongs to another run ({mark.strip()}); give this run a --state of its "
            f"own"
        )
    if record is not None and not mark and folder.has_shards():
        raise RunError(
            f"{folder.output} holds shards, and {folder.state} knows nothing of them: give the --state that this run "
            f"was started with, or another --output"
        )
    return bool(mark)


def _compare(
    folder: RunFolder, record: RunRecord, fingerprint: Mapping[str, Any], formats: Mapping[str, str], partly: bool
) -> None:
    differences = [
        f"{name}: {record.fingerprint.get(name)!r} there, {fingerprint.get(name)!r} now"
        for name in dict.fromkeys([*record.fingerprint, *fingerprint])
        if record.fingerprint.get(name) != fingerprint.get(name)
    ]
    differences += [
        f"the prompt {name!r} was {record.formats[name]} and is {formats[name]} now"
        for name in formats
        if record.formats.get(name, formats[name]) != formats[name]
    ]
    missing = [name for name in record.formats if name not in formats]
    if missing and not partly:
        differences.append(f"formats {', '.join(missing)} are part of the run and not asked for now")
    if differences:
        raise RunError(
            f"{folder.output} holds another run: {'; '.join(differences)}. Use the same options to continue it, or "
            f"another --output to start anew"
        )
