"""Checks a tutorial: it has steps, numbered without gaps, none empty or said twice, and they instruct.

Steps are marked in many ways, from `### Step 1: Mix` to plain bullets, and a text often has several kinds at once:
numbered headings with bullets beneath. The strongest kind of mark that gives enough steps counts, and weaker ones
belong to their steps. Emoji before a mark say nothing. A step may be divided into substeps (`Step 2a`, `Step 2.1`),
which are steps of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from blocks.filters.checks.measure import Measure, nothing
from blocks.filters.checks.number_words import SMALL
from blocks.filters.checks.outline import Line, key, lines_of

# Shorter steps ("Rinse.", "Stir well.") may well come twice.
_DUPLICATE_WORDS = 4

# The kinds of marks, the strongest first: `Step 1:`; `## 1. Mix` and `**1. Mix**`; numbered items; bullets; items of
# lists within lists.
_STEP, _TITLE, _NUMBER, _BULLET, _NESTED = range(5)

_WORDS = {word: value for word, value in SMALL.items() if 1 <= value <= 10}
# 2, two, 2a, 2(a), 2.1, 2.1.3
_PLACE = (
    rf"(?P<number>\d{{1,3}}|{'|'.join(_WORDS)})"
    r"(?P<sub>(?<=\d)(?:(?:\.\d{1,3}){1,3}|\.?[a-z]|[ \t]?\([a-z]\)))?(?!\w)"
)
_STEP_LABEL = re.compile(rf"Step[ \t]{{0,4}}#?{_PLACE}(?:[ \t]{{0,4}}(?P<mark>[:.)–—-])|\Z)?[ \t]*", re.IGNORECASE)
_PART_LABEL = re.compile(
    rf"(?:Phase|Stage|Part|Lesson|Chapter|Section|Module|Unit)[ \t]{{0,4}}{_PLACE}[ \t]*[:.)–—-]?[ \t]*",
    re.IGNORECASE,
)
_SUB = re.compile(r"\d+|[a-z]")

# Emoji and arrows, without mathematical operators: `√9` says something.
_SYMBOL = r"\u200d\u2139\u2190-\u21ff\u2300-\u2bff\U0001f000-\U0001faff"
_MARKS = r"^(?P<marks>(?:[ \t>#*_+•–-]|\d{1,3}[.)])*+)"
_SYMBOLS = re.compile(rf"{_MARKS}[{_SYMBOL}][{_SYMBOL} \t]*+(?=\S)", re.MULTILINE)
# A keycap is a digit that this mark follows, between them perhaps one that says "as an emoji".
_KEY, _AS_EMOJI, _KEYCAP_TEN = "\u20e3", "\ufe0f", "\U0001f51f"
_KEYCAP = re.compile(rf"{_MARKS}(?P<number>\d{{1,3}}){_KEY}[.):]?[ \t]*", re.MULTILINE)
_KEY_WITHIN = re.compile(rf"{_KEY}(?=\d{_KEY})")

# Some 490 verbs that instructions begin with: household, workshop, garden, computer, office, school, health, money.
VERBS = frozenset(
    """
    accept access act activate add adjust adopt agree aim align allow analyse analyze answer apply approach arrange ask
    assemble assess assign attach attend avoid back bake balance bear beat become begin bend blend block boil book
    bookmark break breathe bring browse brush build buy calculate call carry cast catch celebrate change charge check
    choose chop clean clear click climb close coat collect combine come communicate compare compile complete compute
    conduct configure confirm connect consider construct consult contact continue contribute control convert cook cool
    copy correct count cover create cross cultivate customize cut dab deal debug decide decorate deepen define delete
    deploy describe design determine develop dig dip disconnect discover discuss dissolve distinguish distribute divide
    document double download drag drain draw dress drill drink drive drop dry eat edit eliminate embrace empty enable
    encourage engage enjoy enroll ensure enter establish estimate evaluate examine execute exercise expect experiment
    explain explore export express extend familiarize fasten feed feel fetch file fill filter find finish fit fix flip
    focus fold follow form format freeze fry gain gather generate get give glue go grab grasp grate grease greet grind
    group grow guide hammer handle hang have heat help highlight hold identify ignore imagine implement import improve
    include incorporate increase indicate inform insert inspect install integrate interpret introduce invest investigate
    invite iron join jot keep knead knit know label launch lay lead learn leave let level lift limit line link list
    listen load locate lock log look loosen lower maintain make manage map mark master match measure meet melt memorize
    mention minimize mix modify monitor mount move multiply name navigate negotiate note notice observe obtain offer
    open operate order organise organize outline pack paint pass paste pause pay peel perform pick pierce pin place plan
    plant play plot plug point polish position post pour practice practise prepare present preserve press prevent print
    prioritize proceed process produce promote protect prove provide prune pull pump purchase push put raise reach read
    recall receive recognise recognize record reduce refer reflect refrigerate register relax release remember remind
    remove repeat replace reply report request research reserve respect respond rest restart return review rewrite ride
    rinse roast roll rotate round rub run sand save scan schedule scrape screw scroll scrub seal search season secure
    see seek select sell send separate serve set sew shake shape share shift shop show shut sift sign simmer simplify
    sit sketch slice slide smooth soak solve sort space speak spend split spray spread sprinkle squeeze stack stand
    start state stay stick stir stop store strain strengthen stretch strip study submit subtract suggest summarise
    summarize support swap switch take talk tap taste teach tell test thank thaw think thread tie tighten toss touch
    trace track train transfer transform translate transplant trim try turn twist type understand unfold uninstall
    unlock unplug unscrew update upgrade upload use utilise utilize validate verify view visit visualize wait walk warm
    wash watch water wear weigh whisk wipe withdraw work wrap write zoom do be don't
    """.split()
)
# After these words a verb was a noun: "Water is heavy", "The use of", "Plant cells are".
AFTER_NOUNS = frozenset("""is are was were of has had can will may might must should cannot""".split())
_FILLERS = frozenset(
    """first firstly second secondly third thirdly fourth next then now finally lastly last also again please always
    never just simply and or once more afterwards instead optionally optional alternatively you we should must can will
    need have want to may let's let us not do""".split()
)
_CLAUSES = frozenset(
    """to once when if after before while for in on at with without using by as until from depending during whenever
    throughout because since unless under over next step""".split()
)
_TOKEN = re.compile(r"[a-z]+(?:['’-][a-z]+){0,3}|,")
_TITLE_END = re.compile(r"(?::|\.|\s[-–—])\s+")

# The beginning of a step, in characters, in which its verb is looked for.
_BEGINNING = 200


@dataclass
class _Step:
    place: tuple[int, ...]  # (2, 1) for `Step 2.1` and `Step 2a`; empty without a number
    title: str
    rest: str
    fresh: bool
    body: list[str] = field(default_factory=list)

    def words(self) -> str:
        return key(" ".join((self.title, *self.body)))


def tutorial(
    text: str, source: str = "", *, min_steps: int = 3, max_steps: int = 100, min_verbs: float = 0.3
) -> list[Measure]:
    """Count steps, name the first fault, and measure how many of them begin with a verb.

    Args:
        text: the output.
        source: not used.
        min_steps: fewer steps are a fault: with one or two there is hardly an order to keep.
        max_steps: more steps are a fault; 2,048 tokens hold no hundred steps, but a loop writes them.
        min_verbs: the smallest share (0 to 1) of steps that begin with a verb. Low, since the list of verbs is short
            and a tutorial about a subject ("1. The three estates") explains more than it instructs.

    Returns:
        `tutorial`: the number of steps. Its faults: `no_steps`; in the order in which they stand `empty_step`,
        `duplicate_step`, `numbering_gap`, `numbering_repeat`; `too_few_steps`, `too_many_steps`.
        `tutorial_verbs`: the share of steps that begin with a verb.
    """
    steps = _read_steps(text, min_steps)
    fault = _first_fault(steps)
    if not fault:
        fault = "too_few_steps" if len(steps) < min_steps else "too_many_steps" if len(steps) > max_steps else ""
    measure = Measure("tutorial", len(steps), not fault, fault)
    if not steps:
        return [measure, nothing("tutorial_verbs")]
    without = [step for step in steps if not _begins_with_verb(step)]
    share = (len(steps) - len(without)) / len(steps)
    return [measure, Measure("tutorial_verbs", share, share >= min_verbs, without[0].title[:80] if without else "")]


def _first_fault(steps: Sequence[_Step]) -> str:
    if not steps:
        return "no_steps"
    seen: set[str] = set()
    last: tuple[int, ...] = ()
    ones = True  # all numbers so far are 1: Markdown numbers such a list itself
    for step in steps:
        words = step.words()
        if not words:
            return "empty_step"
        if words in seen and words.count(" ") + 1 >= _DUPLICATE_WORDS:
            return f"duplicate_step: {step.title[:80]}"
        seen.add(words)
        place = step.place
        if not place:
            continue
        if (not last or step.fresh) and _succeeds(place, (0,)):
            ones = True
        elif _succeeds(place, last or (-1,)):
            ones = False
        elif not (place == (1,) and ones):
            return _numbering_fault(place, last)
        last = place
    return ""


def _succeeds(place: tuple[int, ...], last: tuple[int, ...]) -> bool:
    """Whether a step may follow on another: 3, 3.1, 2.2 and 2.1.1 on 2.1."""
    padded = (*last, 0)
    # "Step 2" and "Step 2b": the first is what would be 2a.
    return place == (*last, 2) or any(
        place[: at + 1] == (*padded[:at], padded[at] + 1) and set(place[at + 1 :]) <= {0, 1}
        for at in range(len(padded))
    )


def _numbering_fault(place: tuple[int, ...], last: tuple[int, ...]) -> str:
    written, before = (".".join(map(str, numbers)) for numbers in (place, last))
    if not last:
        return f"numbering_gap: begins with {written}"
    return f"numbering_{'repeat' if place <= last else 'gap'}: {written} after {before}"


def _read_steps(text: str, min_steps: int) -> list[_Step]:
    """The steps by the strongest kind of mark that gives enough of them, otherwise by the kind that gives most."""
    lines = list(lines_of(_without_symbols(text)))
    kinds = _kinds(lines)
    best = _best(kinds, min_steps)
    steps: list[_Step] = []
    fresh, open_step, below_heading = True, False, False
    for line, kind in zip(lines, kinds, strict=True):
        if kind == best or (best == _NESTED and kind in (_NUMBER, _BULLET)):
            place, title = _place_and_title(line, kind)
            step = _Step(place if best != _NESTED else (), title, line.rest, fresh)
            if steps and _only_holds(steps[-1], step):
                step.fresh = steps.pop().fresh
            steps.append(step)
            fresh, open_step, below_heading = False, True, line.kind == "heading"
        elif _is_break(line, kind, best):
            fresh, open_step = True, False
        elif line.kind == "heading":
            fresh = True
        elif open_step and line.text:
            # It may begin something new, and still may belong to the step above it.
            steps[-1].body.append(line.text)
            fresh = fresh or _may_begin_anew(line, best, below_heading)
    return steps


def _without_symbols(text: str) -> str:
    """The text without the emoji that its lines begin with, and with keycaps as numbers."""
    if text.isascii():
        return text
    text = text.replace(_AS_EMOJI, "").replace(_KEYCAP_TEN, f"10{_KEY}")
    text = _SYMBOLS.sub(r"\g<marks>", text)
    return _KEYCAP.sub(r"\g<marks>\g<number>. ", _KEY_WITHIN.sub("", text)).replace(_KEY, "")


def _best(kinds: Sequence[int | None], min_steps: int) -> int:
    counts = [kinds.count(kind) for kind in range(_NESTED + 1)]
    counts[_NESTED] += counts[_NUMBER] + counts[_BULLET]
    wanted = max(min_steps, 1)
    best = next((kind for kind, count in enumerate(counts) if count >= wanted), None)
    return max(range(_NESTED + 1), key=counts.__getitem__) if best is None else best


def _only_holds(step: _Step, substep: _Step) -> bool:
    """Whether a step says nothing but that a substep begins it: `Step 2`, and beneath it `Step 2.1: Mix`."""
    return len(substep.place) > 1 and substep.place[:-1] == step.place and not step.words()


def _may_begin_anew(line: Line, best: int, below_heading: bool) -> bool:
    """Whether steps beneath a line may count from 1 again."""
    if best in (_NUMBER, _BULLET):
        return line.kind == "text" and line.depth == 0  # text at the margin ends a list
    # `**Method 2: With Water**` stands above steps, but for those that are headings.
    return best in (_STEP, _TITLE) and not below_heading and _is_bold_line(line)


def _kinds(lines: Sequence[Line]) -> list[int | None]:
    kinds: list[int | None] = []
    top = 0
    in_list = False
    for line in lines:
        if _step_label(line):
            kinds.append(_STEP)
            in_list = False
        elif line.kind in ("heading", "text"):
            title = line.kind == "heading" or bool(line.bold)
            numbered = title and (line.number is not None or _PART_LABEL.match(line.text) is not None)
            kinds.append(_TITLE if numbered else None)
            in_list = in_list and line.kind == "text" and line.depth > 0
        else:
            # Lists may be indented as a whole.
            top = line.depth if not in_list or line.depth < top else top
            in_list = True
            nested = line.depth > top + 1
            kinds.append(_NESTED if nested else _NUMBER if line.kind == "number" else _BULLET)
    return kinds


def _step_label(line: Line) -> re.Match[str] | None:
    label = _STEP_LABEL.match(line.text)
    # "Step 2 is hard" in a paragraph is no mark.
    if label and (label["mark"] or label.end() == len(line.text) or line.kind == "heading" or line.bold):
        return label
    return None


def _place_and_title(line: Line, kind: int | None) -> tuple[tuple[int, ...], str]:
    own = () if line.number is None else (line.number,)
    if own and kind == _NUMBER:
        return own, line.text
    label = _STEP_LABEL.match(line.text) if kind == _STEP else _PART_LABEL.match(line.text) if kind == _TITLE else None
    if label and (kind == _STEP or not own):
        return _place(label), line.text[label.end() :]
    return own, line.text


def _place(label: re.Match[str]) -> tuple[int, ...]:
    number = label["number"].lower()
    subs = _SUB.findall((label["sub"] or "").lower())
    letter_a = ord("a") - 1
    return _WORDS.get(number) or int(number), *(ord(sub) - letter_a if sub.isalpha() else int(sub) for sub in subs)


def _is_break(line: Line, kind: int | None, best: int) -> bool:
    """Whether a line ends the step before it: a heading that is no step, such as `## Tips`."""
    if best in (_STEP, _TITLE):
        return line.kind == "heading" and line.depth <= 2 and kind is None
    return line.kind == "heading" or _is_bold_line(line) or (kind is not None and kind < best)


def _is_bold_line(line: Line) -> bool:
    return line.kind == "text" and bool(line.bold) and line.rest in ("", ":") and line.depth == 0


def _begins_with_verb(step: _Step) -> bool:
    """Whether a step, what follows on its title, or the first line beneath it begins with a verb."""
    if _instructs(step.title):
        return True
    end = _TITLE_END.search(step.title, 0, _BEGINNING)
    if end and _instructs(step.title[end.end() :]):
        return True
    return (step.rest != step.title and _instructs(step.rest)) or (bool(step.body) and _instructs(step.body[0]))


def _instructs(text: str) -> bool:
    tokens = _TOKEN.findall(text[:_BEGINNING].lower().replace("’", "'"))
    # Past words that may stand before the verb: "First, carefully open", "To clean it, you should use".
    at = 0
    for _ in range(8):
        if at >= len(tokens):
            return False
        token = tokens[at]
        if token in _CLAUSES and "," in tokens[at + 1 :]:
            at = tokens.index(",", at + 1) + 1
        elif _is_verb(token) and not (at + 1 < len(tokens) and tokens[at + 1] in AFTER_NOUNS):
            return True
        elif token in _FILLERS or token in _CLAUSES or token == "," or token.endswith("ly"):
            at += 1
        else:
            return False
    return False


def _is_verb(word: str) -> bool:
    if word in VERBS:
        return True
    # Titles like "Preparing the soil", "Mixing", "Getting started"; and "double-check".
    if word.endswith("ing"):
        stem = word[:-3]
        return stem in VERBS or f"{stem}e" in VERBS or (stem[-1:] == stem[-2:-1] and stem[:-1] in VERBS)
    return "-" in word and word.rpartition("-")[2] in VERBS
