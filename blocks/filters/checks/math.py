r"""Checks a math word problem: it asks something, is solved, and its final answer is what the last step gives.

Whether the steps are right is for another check. Here the answer that is stated (`#### 42`, `\boxed{42}`, "Answer: 42",
"Therefore, she has 42 apples.") is compared with the last result of the steps before it (`agreement`).
"""

from __future__ import annotations

import re

from blocks.filters.checks.agreement import FIRST, SENTENCE_END, Answer, agrees
from blocks.filters.checks.measure import Measure
from blocks.filters.checks.values import values_in

# The end of a text in which labels and answers are looked for, in characters. It bounds the time for hostile text.
_END_CHARACTERS = 2000

_MARK = r"^[ \t>]{0,8}(?:#{1,6}[ \t]{0,4})?(?:[-+][ \t]{1,4})?(?:\d{1,2}[.)][ \t]{1,4})?[*_]{0,3}"
_LABEL_END = r"(?:[ \t]{0,2}\d{1,2})?[*_]{0,3}[ \t]{0,4}(?:[:.][*_]{0,3}|$)"
_SOLUTION_WORD = (
    r"(?:(?:the|step[- ]by[- ]step|detailed|worked|complete|full|sample|model|problem)[ \t]){0,3}"
    r"(?:solutions?|answers?|explanation|working|workings|calculations?|solving)"
    r"(?:[ \t](?:steps?|process|to the problem|\(?step[- ]by[- ]step\)?)){0,2}"
)
_SOLUTION_LABEL = re.compile(
    rf"{_MARK}(?:{_SOLUTION_WORD}|A(?=[*_]{{0,3}}:)){_LABEL_END}|"
    # Where the whole answer is one line.
    r"(?<=[.?!])[ \t]{1,4}[*_]{0,3}(?:Solution|Answer|A)[*_]{0,3}:",
    re.IGNORECASE | re.MULTILINE,
)
_PROBLEM_LABEL = re.compile(
    rf"{_MARK}(?:(?:the|math|word|math(?:ematics|ematical)?|practice|sample)[ \t]){{0,3}}"
    rf"(?:problem(?:[ \t]statement)?|question|scenario|q){_LABEL_END}",
    re.IGNORECASE | re.MULTILINE,
)
# How an unlabelled solution begins.
_SOLUTION_BEGIN = re.compile(
    rf"{_MARK}(?:Step[ \t](?:1|one)\b|Let(?:['’]s|[ \t]us)[ \t](?:solve|calculate|find|break|start|first|begin|work)|"
    r"To[ \t](?:solve|find|calculate|determine|answer)[ \t]|We[ \t](?:need|can|first|start|begin)[ \t])",
    re.IGNORECASE | re.MULTILINE,
)
_REQUEST = re.compile(
    r"\b(?:find|calculate|determine|compute|how (?:many|much|long|far|old|fast|often|big|large|high|tall)|"
    r"what (?:is|are|was|were|will|would)|which|estimate|work out|solve for|show that|figure out)\b",
    re.IGNORECASE,
)
_QUESTION_END = re.compile(r"\?[*_\"'”’)]{0,4}(?=\s|\Z)")

_SPELLED = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w{3,5}teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|dozen|half|third|quarter|twice|double|triple)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"[0-9]")
_NUMBER = re.compile(r"[0-9][0-9.,/]*")
_HASHES = re.compile(r"^####[ \t]{0,4}(?P<answer>[*_$\\(\[]{0,6}[-−]?[$€£]?\.?\d[^\n]{0,80})$", re.MULTILINE)
_BOXED = re.compile(r"\\boxed[ \t]?\{(?P<answer>(?:[^{}\n]|\{[^{}\n]{0,80}\}){1,160})\}")
# It begins with a letter, and cases are spelled out, since so it is found several times as fast. "Verify the answer:"
# states none.
_ANSWER = re.compile(
    r"[Aa](?<!(?:eck|ify|irm) (?:the|our) [Aa])(?<!(?:eck|ify|irm) your [Aa])(?:nswers?|NSWERS?)"
    r"[*_]{0,3}[ \t]{0,2}(?::|(?:to [^:.=\n]{1,80}? )?(?:is|are)\b:?|$)[*_]{0,3}\s{0,4}"
    r"(?P<answer>[^\n]{0,400})",
    re.MULTILINE,
)
_CONCLUSION = re.compile(
    r"[-*_ \t]{0,6}(?:therefore|thus|hence|so|consequently|in total|altogether|in conclusion)\b", re.IGNORECASE
)
# The lines of an answer that is a list begin alike: with a bullet, a name and a colon, or a number. Longer lines, and
# those with an equation, explain it.
_BULLET = r"[ \t>]{0,8}(?:[-*+•]|\(?[a-z]\)|\(?\d{1,2}\)|\d{1,2}\.)[ \t]{1,4}"
_LINE = r"(?!.{0,80}\b(?:check(?:ing)?\b|verif|proof|confirm|note:|expla|reason|because|since|step \d))[^=\n]{1,80}$"
_LIST = re.compile(
    r"(?:[^\d=\n]{1,100}:[ \t]{0,4}\n\s{0,4})?(?:"
    + "|".join(
        rf"{form}{_LINE}(?:{gap}{form}{_LINE}){{1,9}}"
        for form, gap in ((_BULLET, r"\n\s{0,4}"), (r"[^\W\d][^:=\n]{0,40}:[ \t]", "\n"), (FIRST.pattern, "\n"))
    )
    + ")",
    re.IGNORECASE | re.MULTILINE,
)
_BULLETS = re.compile(rf"^{_BULLET}", re.IGNORECASE | re.MULTILINE)
_UNFINISHED = re.compile(
    r"(?:[=+*/×÷:,(]|\b(?:is|are|the|a|an|of|and|to|equals|has|have))[ \t*_$]{0,4}\Z", re.IGNORECASE
)
_ANNOTATION = re.compile(r"<<[^<>\n]{0,200}>>")
_LATEX = (
    (re.compile(r"\\[dt]?frac\{([\d.,]{1,20})\}\{([\d.,]{1,20})\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\{"), "("),
    (re.compile(r"\\(?:text|textbf|mathbf|mathrm)[ \t]?\{"), " "),
    (re.compile(r"\\(?:times|cdot)"), "×"),
    (re.compile(r"\\div"), "÷"),
    (re.compile(r"\\approx"), "≈"),
    (re.compile(r"\\[,;:!()\[\]]|\{,\}|\\(?=[$%#])|\\\\"), " "),
)


def math_problem(text: str, source: str = "") -> list[Measure]:
    """Count the faults of a word problem with its solution.

    Args:
        text: the output.
        source: not used.

    Returns:
        `math_problem`: the number of faults; the first is named: `no_problem` (no statement), `no_question` (nothing is
        asked), `no_solution`, `several_problems`, `problem_without_number`, `solution_without_number`, `no_working` (an
        answer alone), `no_final_answer` (also where the output breaks off), `final_answer_differs` (from the last
        result).
    """
    faults = _faults(text)
    return [Measure("math_problem", len(faults), not faults, faults[0] if faults else "")]


def split_problem(text: str) -> tuple[str, str] | None:
    """The problem without its label, and the solution with its own; None where they cannot be told apart.

    Without labels the solution begins where it says so ("Step 1", "To find …"), or behind the question.
    """
    start = _solution_start(text)
    if start is None:
        return None
    problem = text[:start]
    label = _PROBLEM_LABEL.search(problem, 0, _END_CHARACTERS)
    if label:
        before = problem[: label.start()]
        # A title may stand above the label, but a statement above "Question:" belongs to the problem.
        if before.count("\n") <= 2 and not any(map(str.isdigit, before)):
            problem = problem[label.end() :]
    return problem.strip(), text[start:].strip()


def _solution_start(text: str) -> int | None:
    label = _SOLUTION_LABEL.search(text)
    if label is None:
        return _unlabelled_start(text)
    if "answer" in label[0].lower() or label[0].lstrip("#>*_ \t")[:1] in "Aa":
        # The working may stand between the question and "Answer: 42".
        start = _unlabelled_start(text[: label.start()])
        if start is not None and "=" in text[start : label.start()]:
            return start
    return label.start()


def _unlabelled_start(text: str) -> int | None:
    begin = _SOLUTION_BEGIN.search(text)
    if begin and _asks(text[: begin.start()]):
        return begin.start()
    question = _QUESTION_END.search(text)
    if question:
        # Two questions may follow each other; the solution begins behind the last one before its first equation.
        ends = (text.find("\n", question.end()), text.find("=", question.end()))
        end = min((end for end in ends if end >= 0), default=0)
        start = max(
            (match.end() for match in _QUESTION_END.finditer(text, question.end(), end)), default=question.end()
        )
    else:
        request = _REQUEST.search(text)
        start = text.find("\n", request.end()) if request else -1
    return start if start >= 0 and any(map(str.isalnum, text[start:])) else None


def _asks(text: str) -> bool:
    return "?" in text or _REQUEST.search(text) is not None


def _faults(text: str) -> list[str]:
    split = split_problem(text)
    if split is None:
        return ["no_solution" if _asks(text) else "no_problem"]
    problem, solution = split
    if not any(map(str.isalnum, problem)):
        return ["no_problem"]
    label = _SOLUTION_LABEL.match(solution)
    body = solution[label.end() :] if label else solution
    faults = [] if _asks(problem) else ["no_question"]
    if not any(map(str.isalnum, body)):
        return [*faults, "no_solution"]
    lowered = body.lower()
    if any(word in lowered for word in ("problem", "question", "scenario", "\nq")) and _PROBLEM_LABEL.search(body):
        faults.append("several_problems")
    if not _has_digit(problem) and not _SPELLED.search(problem):
        faults.append("problem_without_number")
    if not _has_digit(body):
        return [*faults, "solution_without_number"]
    body = _without_notation(body)
    if "=" not in body and len(_NUMBER.findall(body)) < 2:
        faults.append("no_working")
    # The label of the solution may be that of the answer: "A: 42".
    solution = f"{solution[: label.end()]} {body}" if label else body
    answer = _final_answer(solution)
    if answer is None:
        faults.append("no_final_answer")
    elif answer.marked and not agrees(
        answer, _without_notation(problem), solution, in_cents="cent" in text or "¢" in text
    ):
        faults.append("final_answer_differs")
    return faults


def _has_digit(text: str) -> bool:
    return _DIGIT.search(text) is not None


def _without_notation(text: str) -> str:
    r"""Without calculator annotations, LaTeX commands (but \boxed, which marks answers) and bold marks."""
    if "<<" in text:
        text = _ANNOTATION.sub("", text)
    if "\\" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text.replace("**", "").replace("__", "").replace("≈", "=").replace("Rs.", "Rs")


def _final_answer(solution: str) -> Answer | None:
    for pattern in (_HASHES, _BOXED):
        found = list(pattern.finditer(solution))
        if found:
            last = found[-1]
            return Answer(last["answer"], last.start(), last.end(), True)
    last_equals = solution.rfind("=")
    marked = None
    for match in _ANSWER.finditer(solution):
        listed = _LIST.match(solution, match.start("answer"))
        statement, end = (_BULLETS.sub("", listed[0]), listed.end()) if listed else (match["answer"], match.end())
        # "Answer:" may also introduce the working. Then equations follow, and it does not begin with the number.
        if values_in(statement) and (last_equals < end or ("=" not in statement and FIRST.match(statement))):
            marked = Answer(statement, match.start(), end, True)
    return marked or _concluding(solution)


def _concluding(solution: str) -> Answer | None:
    """The last sentence with a number, if it stands in the last three lines and nothing breaks off behind it."""
    if _UNFINISHED.search(solution, max(0, len(solution) - 40)):
        return None
    begin = len(solution)
    for _ in range(3):
        begin = max(solution.rfind("\n", 0, max(0, begin)), 0)
        while begin > 0 and solution[begin - 1] in "\n \t":
            begin -= 1
    begin = max(begin, len(solution) - _END_CHARACTERS)
    at = len(solution)
    for sentence in reversed(SENTENCE_END.split(solution[begin:])):
        at = solution.rfind(sentence, begin, at)
        if values_in(sentence):
            return Answer(sentence, at, at + len(sentence), _CONCLUSION.match(sentence) is not None)
    return None
