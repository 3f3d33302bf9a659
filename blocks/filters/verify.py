"""`Verify`: measures every sample with the checks of its format, and keeps, flags or rejects it.

A check is a pure function of an output and its source (`blocks/filters/checks`); which ones a format gets, with which
thresholds, stands in its prompt's front matter:

    verify:
      table: {min_rows: 2}            # a check with thresholds of its own
      table_answer: reject            # the verdict on samples that do not pass: flag, reject
      names: off                      # one of the checks that every format gets, left out

Structure that is missing, loops and a wrong language reject a sample; wrong equations, numbers from nowhere and copying
only flag it, since the data that trained the best models in the FinePhrase study is far from clean (its section on
sample quality: 57 % of the equations are right). What was measured goes into the `checks` column and into the summary,
whatever the verdict.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from blocks.filters.checks.equations import equations
from blocks.filters.checks.faq import faq
from blocks.filters.checks.grounding import copying, names, numbers
from blocks.filters.checks.language import language
from blocks.filters.checks.math import math_problem
from blocks.filters.checks.measure import Measure
from blocks.filters.checks.table import table
from blocks.filters.checks.text import length, markup, repetition
from blocks.filters.checks.tutorial import tutorial
from blocks.generate.prompts import Prompt
from blocks.shards.chunk import LINEAGE, SOURCE, Refusal, chunk_of, format_of, written_by_model
from blocks.shards.folder import RunError

Verdict = Literal["pass", "flag", "reject"]

VERSION = 2
"""Raise it when a check measures differently: it is part of a run's fingerprint."""

CHECKS: dict[str, Callable[..., list[Measure]]] = {
    check.__name__: check
    for check in (
        length,
        repetition,
        markup,
        language,
        copying,
        numbers,
        names,
        table,
        math_problem,
        equations,
        faq,
        tutorial,
    )
}
"""Checks by name; one may measure several things."""

VERDICTS: dict[str, Verdict] = {
    "length": "reject",
    "length_ratio": "flag",
    "repetition": "reject",
    "markup": "reject",
    "language": "reject",
    "copying": "flag",
    "numbers": "flag",
    "names": "flag",
    "table": "reject",
    "table_answer": "flag",
    "math_problem": "reject",
    "equations": "flag",
    "faq": "reject",
    "faq_self_contained": "flag",
    "tutorial": "reject",
    "tutorial_verbs": "flag",
}
"""What becomes of a sample that does not pass, by measure."""

ALWAYS = ("length", "repetition", "markup", "language", "copying", "numbers", "names")
"""Checks that every format gets."""


NEED_SOURCE = ("language", "copying", "numbers", "names", "max_ratio", "usual_ratio")
"""Checks, and thresholds of `length`, that measure nothing without the text that a sample was made from."""


class Rule(NamedTuple):
    """One check of a format.

    Args:
        check: its name in `CHECKS`.
        thresholds: keyword arguments of the check.
        verdicts: what becomes of a sample that does not pass, by measure, where it is not as in `VERDICTS`.
    """

    check: str
    thresholds: dict[str, Any]
    verdicts: dict[str, Verdict]


class Finding(NamedTuple):
    """A measure with its verdict."""

    measure: Measure
    verdict: Verdict


def parse_rules(written: Any, always: Sequence[str] = ALWAYS) -> list[Rule]:
    """The rules of a format.

    Args:
        written: `verify` as it stands in front matter or a configuration: a list of names, or a mapping of names to a
            verdict, to thresholds (with or without `verdict`), or to off; None for nothing.
        always: checks that are added where they are not mentioned.

    Raises:
        ValueError: an unknown check, threshold or verdict; the message names those there are.
    """
    settings = _as_mapping(written)
    # The format's own checks come first: the first that rejects a sample is its reason.
    settings = settings | dict.fromkeys(name for name in always if name not in settings)
    rules: dict[str, Rule] = {}
    for name, setting in settings.items():
        if name in CHECKS and setting not in (False, "off"):
            rules[name] = Rule(name, *_settings(name, setting))
    for name, setting in settings.items():
        if name in CHECKS:
            continue
        owner = next((check for check in rules if name in VERDICTS and name.startswith(f"{check}_")), None)
        if owner is None:
            raise ValueError(f"there is no check {name!r} here; there are {', '.join(CHECKS)}")
        rules[owner].verdicts[name] = _verdict(name, setting)
    return list(rules.values())


def rules_by_hand(
    checks: Iterable[str], thresholds: Mapping[str, Mapping[str, Any]], verdict: Verdict = "reject"
) -> list[Rule]:
    """Rules with one verdict for all that they measure.

    Args:
        checks: names in `CHECKS`.
        thresholds: of these checks, where they are not the default ones.
        verdict: on a text that does not pass, whatever the measure.

    Raises:
        ValueError: as `parse_rules`.
    """
    wanted = list(checks)
    if not wanted:
        raise ValueError(f"name at least one check of {', '.join(CHECKS)}")
    if unused := [name for name in thresholds if name not in wanted]:
        raise ValueError(f"there are thresholds for {', '.join(unused)}, but not among the checks")
    for name, told in thresholds.items():
        if not isinstance(told, Mapping):
            raise ValueError(f"the thresholds of the check {name!r} must be a JSON object by name, not {told!r}")
    rules = parse_rules({name: dict(thresholds.get(name, {})) for name in wanted}, always=())
    for rule in rules:
        measures = [name for name in VERDICTS if name == rule.check or name.startswith(f"{rule.check}_")]
        rule.verdicts.update(dict.fromkeys(measures, verdict))
    return rules


def blind(rules: Iterable[Rule]) -> list[str]:
    """What these rules cannot measure where the text that a sample was made from is not known."""
    asked = [name for rule in rules for name in (rule.check, *(k for k, v in rule.thresholds.items() if v is not None))]
    return [name for name in asked if name in NEED_SOURCE]


def _settings(name: str, setting: Any) -> tuple[dict[str, Any], dict[str, Verdict]]:
    thresholds = dict(setting) if isinstance(setting, dict) else {} if setting is None else {"verdict": setting}
    verdicts = {name: _verdict(name, thresholds.pop("verdict"))} if "verdict" in thresholds else {}
    parameters = inspect.signature(CHECKS[name]).parameters.values()
    known = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    for threshold, value in thresholds.items():
        if threshold not in known:
            raise ValueError(f"the check {name!r} has no threshold {threshold!r}; it has {', '.join(known) or 'none'}")
        two = known[threshold].annotation.startswith("Sequence")
        if value is None and known[threshold].default is None:
            continue
        numbers = value if two and isinstance(value, list) else [value]
        if len(numbers) != (2 if two else 1) or not all(type(number) in (int, float) for number in numbers):
            wanted = "[low, high]" if two else "a number"
            raise ValueError(f"the threshold {threshold!r} of the check {name!r} must be {wanted}, not {value!r}")
    return thresholds, verdicts


def _verdict(name: str, verdict: Any) -> Verdict:
    if verdict not in ("flag", "reject"):
        raise ValueError(f"the verdict of {name!r} must be flag or reject, not {verdict!r}")
    result: Verdict = verdict
    return result


def run_rules(prompts: Iterable[Prompt], overrides: Mapping[str, Any]) -> dict[str, list[Rule]]:
    """The rules of a run: those of its prompts' front matter, and over them those of its configuration.

    Args:
        prompts: the run's formats.
        overrides: what `verify` says by format.

    Returns:
        Rules by format.

    Raises:
        ValueError: as `parse_rules`, with the name of the prompt, or a name that is no format of the run.
    """
    by_name = {prompt.name: prompt for prompt in prompts}
    for name in overrides:
        if name not in by_name:
            there = ", ".join(by_name)
            raise ValueError(f"--verify holds checks by format; {name!r} is no format of the run, which has {there}")
    rules = {}
    for name, prompt in by_name.items():
        try:
            written = {**_as_mapping(prompt.extra.get("verify")), **_as_mapping(overrides.get(name))}
            rules[name] = parse_rules(_with_length_ratio(prompt, written))
        except ValueError as error:
            raise ValueError(f"the checks of prompt {name!r}: {error}") from error
    return rules


def _with_length_ratio(prompt: Prompt, written: dict[str, Any]) -> dict[str, Any]:
    """The checks of a format with its prompt's `length_ratio`."""
    ratio, length = prompt.extra.get("length_ratio"), written.get("length")
    if ratio is None or length in ("off", False):
        return written
    own = length if isinstance(length, dict) else {} if length is None else {"verdict": length}
    return {**written, "length": {"usual_ratio": ratio, **own}}


def _as_mapping(written: Any) -> dict[str, Any]:
    if not isinstance(written, (list, dict, type(None))):
        raise ValueError(f"`verify` must be a list of checks or `check: …` lines, not {written!r}")
    return written if isinstance(written, dict) else dict.fromkeys(written or ())


def describe(rules: Iterable[Rule]) -> str:
    """Rules as one line, the same for the same rules: part of a run's fingerprint."""
    shown = (
        f"{rule.check}{orjson.dumps({**rule.thresholds, **rule.verdicts}, option=orjson.OPT_SORT_KEYS).decode()}"
        if rule.thresholds or rule.verdicts
        else rule.check
        for rule in rules
    )
    return f"checks {VERSION}: {', '.join(shown)}"


def verify(text: str, source: str, rules: Iterable[Rule]) -> list[Finding]:
    """Measure an output.

    Args:
        text: the output.
        source: the text it was made from; empty when that is not known.
        rules: the checks of its format.
    """
    findings = []
    for rule in rules:
        try:
            measures = CHECKS[rule.check](text, source, **rule.thresholds)
        except Exception as error:  # no text may stop a run
            logger.warning(f"the check {rule.check} raised {type(error).__name__}: {error}")
            findings.append(Finding(Measure(rule.check, None, False, f"raised {type(error).__name__}"), "flag"))
            continue
        for measure in measures:
            unwanted = rule.verdicts.get(measure.check, VERDICTS[measure.check])
            findings.append(Finding(measure, "pass" if measure.passed else unwanted))
    return findings


class Verify(PipelineStep):
    """Measure samples; drop those that are rejected, with their reason in the ledger.

    Args:
        rules: by format.
        default: of samples whose format has none.
    """

    name = "Verify"
    type = "🔎 - VERIFY"

    def __init__(self, rules: Mapping[str, Sequence[Rule]], default: Sequence[Rule] = ()) -> None:
        super().__init__()
        self.rules = {name: list(found) for name, found in rules.items()}
        self.default = list(default)

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the samples that are kept, each with `metadata["checks"]`."""
        for sample in data or ():
            name = format_of(sample)
            source, rules = sample.metadata.get(SOURCE) or "", self.rules.get(name, self.default)
            findings = verify(written_by_model(sample), source, rules)
            sample.metadata["checks"] = [
                {"check": measure.check, "value": measure.value, "verdict": verdict} for measure, verdict in findings
            ]
            self._count(sample, name, findings)
            fault = next((measure for measure, verdict in findings if verdict == "reject"), None)
            if fault is None:
                yield sample
            else:
                self._reject(sample, fault)

    def _count(self, sample: Document, name: str, findings: Sequence[Finding]) -> None:
        counts: dict[str, int] = {}
        for measure, verdict in findings:
            self.stat_update(f"{measure.check}_{verdict}")
            key = f"check/{name or 'documents'}/{measure.check}"
            value = "nothing" if measure.value is None else bucket(measure.value)
            counts[f"{key}/{verdict}"] = counts[f"{key}/={value}"] = 1
            if verdict != "pass":
                counts[f"{key}/{verdict}={value}"] = 1
        if (chunk := chunk_of(sample)) is not None:
            chunk.count(**counts)

    def _reject(self, sample: Document, fault: Measure) -> None:
        detail = f"{fault.detail} ({fault.value:g})" if fault.value is not None else fault.detail
        chunk = chunk_of(sample)
        if chunk is None:  # no ledger: a stock reader is in use
            logger.warning(f"{sample.id}: rejected, {fault.check} {detail}")
        else:
            chunk.refuse(sample.metadata[LINEAGE], Refusal(fault.check, id=sample.id, raw=sample.text, detail=detail))


def bucket(value: float) -> str:
    """Where a value falls in the summary's distributions: tenths up to 1, whole numbers to 10, then powers of two."""
    if not math.isfinite(value):
        raise RunError(f"a check measured {value}")
    value = round(value, 9)  # 1 - 0.8 is a little less than 0.2
    if value < 1:
        return f"{math.floor(10 * value) / 10:g}"
    return f"{math.floor(value)}" if value < 10 else f"{2 ** math.floor(math.log2(value))}"
