"""Compares the stated answer of a solution with the result of its steps.

A right answer need not repeat the last result: it may convert it (45 minutes for 0.75 hours), give a time of day, or
say yes, no or which with numbers of the problem. Nor is the last equation always the result: a check leads from the
answer back to what the problem states. A sample that is rejected is lost, so each of these is read in the answer's
favour; but each is tied to its form, since wrong answers often repeat a number of the problem.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from blocks.filters.checks.clock import durations, times_of_day, units_of_time, without_times_of_day
from blocks.filters.checks.values import Value, last_results, same, values_in

# How long a sentence behind the last equation may be, the end of a solution with its answer, and how far back the last
# equation is looked for, in characters. They bound the time for hostile text.
_SENTENCE_CHARACTERS = 200
_END_CHARACTERS = 2000
_STEPS_CHARACTERS = 20_000

SENTENCE_END = re.compile(r"[.!?][*_)\"”]{0,4}[ \t\n]+|\n+")
"""What ends a sentence or a line."""

FIRST = re.compile(r"[-−$€£*_ \t(]{0,6}\.?\d")
"""The beginning of an answer that begins with its number."""

# Behind these words, at the beginning of a line, a solution is only looked at once more.
_CHECKING = re.compile(
    r"^[ \t#>*_-]{0,8}(?:(?:Step[ \t])?\d{1,2}[.):][*_ \t]{0,4})?"
    r"(?:(?:(?:let(?:['’]s|[ \t]us|[ \t]me)|we|you|I|one|can|could|may|should|will|must|also|now|to|as|a|the|just|"
    r"final|quick|quickly|double|sanity|finally|next|then|answer|result|solution)[ \t,-]{1,3}){0,6}"
    r"(?:check(?:s|ing)?|verif(?:y|ying|ication)|confirm(?:ing|ation)?|proof)\b|note:)",
    re.IGNORECASE | re.MULTILINE,
)
_CHECKING_HINTS = ("check", "verif", "confirm", "proof", "note:")

# A question for a choice, or for yes or no, whose answer need not hold a result.
_QUESTION_BEGIN = r"(?:\A|\n|[.?!:][*_\"”’)]{0,3}[ \t\n])[ \t\n*_\"“]{0,6}"
_QUESTION_PART = r"(?:(?!\b(?:how|what)\b)(?:[^.:?!\n]|[.:]\d))"
_CHOICE = re.compile(
    rf"{_QUESTION_BEGIN}(?:{_QUESTION_PART}{{1,200}},[ \t])?"
    r"(?:(?:so|then|but|and|at|for|in|on|by|with|from|to|of)[ \t])?"
    r"(?:which|who|is|are|was|were|does|do|did|can|could|will|would|has|have|should)\b"
    rf"{_QUESTION_PART}{{1,300}}\?|"
    rf"{_QUESTION_BEGIN}(?:determine|decide|find|find[ \t]out|tell|say|state|calculate|compare|explain|work[ \t]out|"
    r"figure[ \t]out)[ \t](?:which|who|whether|if)\b|"
    r"\band[ \t](?:which|who|whether)\b[^.?!\n]{1,200}\?|"
    r"\bwhat(?:['’]s|[ \t]is)[ \t]the[ \t](?:better|best|cheaper|cheapest|faster|fastest)\b",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(r"[-*_ \t]{0,6}(?:(?:therefore|thus|hence|so),? )?(?:yes|no)\b", re.IGNORECASE)

# How a sentence says that its equation is a check.
_CHECKED = re.compile(
    r"\b(?:as[ \t](?:required|expected|desired|needed|wanted|given|stated|asked|it[ \t]should)|makes?[ \t]sense|"
    r"check|verif|confirm|proof|proves|match|correct|consistent|agrees|indeed|substitut|plug|works[ \t]out)|[✓✔✅]",
    re.IGNORECASE,
)

_RESULT_OF_DAY = re.compile(r"=[^\d=\n]{0,24}(?=\d)")
_ROUNDING = re.compile(
    r"\bround|\bwhole\b|\bfull\b|\bat least\b|\bnearest\b|\bapproximately\b|≈|\babout\b", re.IGNORECASE
)
# Every way to speak of rounding holds one of these; looking for them takes a fiftieth of the time.
_ROUNDING_HINTS = ("round", "whole", "full", "at lea", "neare", "appro", "about", "≈")


class Answer(NamedTuple):
    """A stated answer.

    Args:
        statement: its text.
        begin: where it begins in the solution, with its label.
        end: where it ends.
        marked: whether the text presents it as the answer.
    """

    statement: str
    begin: int
    end: int
    marked: bool


def agrees(answer: Answer, problem: str, solution: str, *, in_cents: bool) -> bool:
    """Whether an answer can be meant by the last result of the steps before it.

    Args:
        answer: as the solution states it.
        problem: what the solution solves, without notation, as `solution` is.
        solution: the whole of it.
        in_cents: whether a hundred times the result is the same (cents, percent).

    Returns:
        True where a number of the answer is the last result, or a rounding or conversion of it, and where there is
        nothing to compare: no result, a time of day alone, or a choice that repeats numbers of the problem. False
        where a line of a list has only numbers that nothing before it has.
    """
    steps = solution[max(0, answer.end - _STEPS_CHARACTERS) : answer.end]
    times = times_of_day(answer.statement)
    if times and (reached := _time_reached(steps)):
        return reached[0] in times
    statement = without_times_of_day(answer.statement) if times else answer.statement
    answers = values_in(statement) + durations(statement)
    given = values_in(problem[-_STEPS_CHARACTERS:])
    results = _results(answer, solution, given)
    if in_cents:  # or in percent
        results += _hundredfold(results)
    if not results:
        return True
    if "\n" in statement and "=" in solution and not _list_follows(statement, answer, solution, [*given, *results]):
        return False
    if _any_same(answers, results, rounded=_rounds(solution)):
        return True
    return (
        _converted(answers, results, _factors(answer, problem, solution))
        or _any_same(answers, _before_check(answers, steps, given))
        or ((bool(times) or _chooses(statement, problem)) and _repeats(answers, steps, given))
    )


def _results(answer: Answer, solution: str, given: Sequence[Value]) -> list[Value]:
    """What the last equation before an answer gives, or else the last one behind it, or else the last line in words."""
    before = _without_check(solution[: answer.end])
    results = last_results(before[-_STEPS_CHARACTERS:])
    if len(before) < answer.end:
        # What looked like a check may be a step. A check leads back to what the problem states.
        results += _unlike(last_results(solution[max(0, answer.end - _STEPS_CHARACTERS) : answer.end]), given)
    if not _unlike(results, given):
        # Nothing but values that are set at the beginning ("price = $12"), if any: the steps may follow the answer.
        results += _results_behind(answer, solution, given)
    # Without equations the steps say their results in words, and the last line with a number should hold it.
    results = results or _said(answer, solution)
    # Behind the last equation a sentence may convert it: "0.5 hours, which is 30 minutes".
    return results + values_in(before[max(before.rfind("="), answer.begin - _SENTENCE_CHARACTERS, 0) : answer.begin])


def _results_behind(answer: Answer, solution: str, given: Sequence[Value]) -> list[Value]:
    """What the last equation behind an answer gives; where the steps before are words, their result is as good."""
    results = last_results(_without_check(solution[answer.end :])[-_STEPS_CHARACTERS:])
    words = results and "=" not in solution[: answer.end]
    return results + _unlike(_said(answer, solution), given) if words else results


def _said(answer: Answer, solution: str) -> list[Value]:
    """The numbers of the last line with one before an answer."""
    lines = solution[max(0, answer.begin - _END_CHARACTERS) : answer.begin].rstrip().split("\n")
    return next((values for line in reversed(lines) if (values := values_in(line))), [])


def _without_check(text: str) -> str:
    lowered = text.lower()
    checked = _CHECKING.search(text, 1) if any(hint in lowered for hint in _CHECKING_HINTS) else None
    return text[: checked.start()] if checked else text


def _before_check(answers: Sequence[Value], steps: str, given: Sequence[Value]) -> list[Value]:
    """The result before a sentence that leads from an answer back to the problem: "This makes sense: 36 + 14 = 50"."""
    at = steps.rfind("=")
    begin = max(0, at - _SENTENCE_CHARACTERS)
    left = SENTENCE_END.split(steps[begin : max(at, 0)])[-1]
    right = SENTENCE_END.split(steps[at + 1 : at + 1 + _SENTENCE_CHARACTERS])[0]
    checks = _CHECKED.search(left + right) is not None and _any_same(answers, values_in(left))
    return last_results(steps[:at]) if checks and not _unlike(last_results(steps[begin:])[:1], given) else []


def _time_reached(steps: str) -> list[int]:
    """The time of day behind the last equals sign, if one stands there."""
    result = _RESULT_OF_DAY.match(steps, max(0, steps.rfind("=")))
    return times_of_day(steps[result.end() : result.end() + 8]) if result else []


def _factors(answer: Answer, problem: str, solution: str) -> set[int]:
    """How many times larger the answer's unit of time is than the result's, or the reverse; empty without another."""
    at = solution.rfind("=", 0, answer.begin)
    line = solution.rfind("\n", 0, max(at, 0))
    units = units_of_time(answer.statement)
    others = units_of_time(solution[max(line, answer.begin - _END_CHARACTERS, 0) : answer.begin])
    # The last equation may leave its unit out.
    others = others or units_of_time(problem[-_STEPS_CHARACTERS:])
    return {60 ** abs(unit - other) for unit in units for other in others if unit != other}


def _chooses(statement: str, problem: str) -> bool:
    """Whether an answer says yes or no, or which; one that begins with a number states a quantity."""
    if FIRST.match(statement):
        return False
    return _YES_OR_NO.match(statement) is not None or _CHOICE.search(problem[-_STEPS_CHARACTERS:]) is not None


def _repeats(answers: Sequence[Value], steps: str, given: Sequence[Value]) -> bool:
    """Whether an answer has no numbers but those of the problem, or one of any result."""
    new = _unlike(answers, given)
    return not new or any(_any_same(new, last_results(sentence)) for sentence in SENTENCE_END.split(steps))


def _list_follows(statement: str, answer: Answer, solution: str, known: list[Value]) -> bool:
    """Whether each line of a list has a number that was seen before; times may stand in another unit."""
    before = solution[max(0, answer.begin - _STEPS_CHARACTERS) : answer.begin]
    seen = values_in(before if "=" in before else solution[answer.end : answer.end + _STEPS_CHARACTERS])
    known = [*known, *seen, *_hundredfold(seen)]
    rounded = _rounds(solution)
    lines = [(values_in(line), line) for line in statement.split("\n")]
    return all(not values or units_of_time(line) or _any_same(values, known, rounded=rounded) for values, line in lines)


def _hundredfold(values: Sequence[Value]) -> list[Value]:
    return [Value(value.value * 100, value.decimals - 2) for value in values]


def _unlike(values: Iterable[Value], given: Sequence[Value]) -> list[Value]:
    return [value for value in values if not any(math.isclose(value.value, one.value) for one in given)]


def _rounds(solution: str) -> bool:
    end = solution[max(0, len(solution) - _END_CHARACTERS) :]
    lowered = end.lower()
    return any(hint in lowered for hint in _ROUNDING_HINTS) and _ROUNDING.search(end) is not None


def _any_same(answers: Sequence[Value], results: Sequence[Value], *, rounded: bool = False) -> bool:
    return any(same(answer, result, rounded) for answer in answers for result in results)


def _converted(answers: Sequence[Value], results: Sequence[Value], factors: Iterable[int]) -> bool:
    """Whether an answer is a result in another unit. The larger number is kept, lest rounding hides what differs."""
    return any(
        _any_same(answers, _times(results, factor)) or _any_same(results, _times(answers, factor)) for factor in factors
    )


def _times(values: Sequence[Value], factor: int) -> list[Value]:
    return [Value(value.value * factor, max(0, value.decimals - 1)) for value in values]
