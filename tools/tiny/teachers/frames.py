"""The frames of search queries: what in a query is general, what is special, and which documents answer it.

A frame is a pattern in which `{kind}` stands for what is special, as some words of that kind. The first frame that fits
a query is taken, so special ones stand before general ones.
"""

from __future__ import annotations

import re
from typing import NamedTuple

KINDS = {
    "role": "name of a character",
    "work": "title of a film or series",
    "song": "title of a song",
    "book": "title of a book",
    "game": "name of a game",
    "person": "name of a person",
    "place": "name of a place",
    "event": "name of an event",
    "contest": "name of a contest",
    "team": "name of a person or team",
    "thing": "name of a thing",
    "made": "name of a work or thing",
    "topic": "subject",
    "term": "word or name",
    "year": "year",
    "number": "number",
}
"""What a variable is called, by kind."""

NOUNS = {
    "song": "song",
    "album": "song",
    "movie": "work",
    "film": "work",
    "series": "work",
    "show": "work",
    "tv show": "work",
    "tv series": "work",
    "book": "book",
    "novel": "book",
    "poem": "book",
    "game": "game",
    "video game": "game",
    "character": "role",
    "city": "place",
    "country": "place",
    "state": "place",
    "band": "team",
    "name": "term",
    "word": "term",
    "term": "term",
    "phrase": "term",
}
"""Nouns beside a name that say what it is the name of; they stay in the template."""


class Frame(NamedTuple):
    """A kind of query.

    Args:
        pattern: finds its special parts, as groups that are called like their kinds.
        documents: describes what documents have to hold; `{v}` is the query's own word for what is asked.
    """

    pattern: re.Pattern[str]
    documents: str


def _frame(pattern: str, documents: str) -> Frame:
    grouped = re.sub(r"\{(\w+)\}", lambda match: f"(?P<{match[1]}>\\S.*?)", pattern)
    return Frame(re.compile(rf"{grouped}\s*[?.!]*", re.IGNORECASE), documents)


_PLAY = r"(?:played|plays|play|playing|portrayed|portrays|is playing|(?:played|plays) the (?:part|role) of)"
_DO = r"(?:did|does|do|will|would|can|has|have|had)"
_BE = r"(?:is|are|was|were|will be|'s|has been)"
_MADE = (
    r"(?:invented|discovered|developed|founded|created|built|designed|made|established|directed|produced|started|"
    r"introduced|painted|proposed|coined|published|owns|owned|led|leads|runs|controls|controlled|makes|formed)"
)
_OUT = r"(?:come out|came out|comes out|get released|release|released|air|come on|came on|premiere)"
_RUN = (
    r"(?:start|begin|end|open|close|happen|occur|take place|took place|started|ended|began|go up|finish|go into effect)"
)
_DOES = (
    r"(?:win|won|join|leave|become|became|move to|get|go to|gain|enter|play|lose|change|sign|take|make|discover|invent|"
    r"build|write|score|land on|come to|arrive in|use|host|stop|start|adopt|beat|release|introduce|marry|qualify for)"
)
_DONE = (
    r"(?:built|founded|made|written|invented|discovered|created|established|released|published|completed|introduced|"
    r"formed|signed|added|used|held|started|adopted|abolished|opened|filmed|passed|elected|painted|named|recorded|"
    r"killed|developed|designed|produced|installed|put|set|taken|given|split|destroyed)"
)
_PLACED = (
    r"(?:located|found|filmed|made|born|held|situated|buried|set|shot|from|produced|played|written|built|based|"
    r"stored|grown|used|signed|created|fought|being held|being filmed|kept)"
)

FRAMES = (
    _frame(
        rf"who {_PLAY} {{role}} (?:in|on|from|for) {{work}}",
        "An article about a film or series that names the actors who play its characters.",
    ),
    _frame(
        r"who (?:does|did|do|is|was|are) (?:the )?voices? (?:of|for) {role} (?:in|on|from) {work}",
        "An article about a film or series that names the actors who speak its characters.",
    ),
    _frame(
        rf"who {_PLAY} {{role}}", "An article about a film or series that names the actors who play its characters."
    ),
    _frame(
        r"who (?:starred|stars|acted|was|were|is|are|appeared) in {work}",
        "An article about a film or series that names its actors.",
    ),
    _frame(
        r"who (?:sang|sings|sung|recorded|performed|released|did) (?:the )?(?:original )?(?:song )?{song}",
        "An article about a song that names the singer or the band who recorded it.",
    ),
    _frame(
        r"who (?:wrote|composed|made|has written) (?:the )?(?:song|lyrics|music|words|theme|theme song)"
        r"(?: to| for| of)? {song}",
        "An article about a song that names who wrote its words and its music.",
    ),
    _frame(
        r"who (?:wrote|is the author of|was the author of|has written) {book}",
        "An article about a book or another text that names its author.",
    ),
    _frame(
        r"who (?:won|wins|win|has won|is going to win|lost|hosted|hosts|played in|plays in|competed in|is in) "
        r"{contest}",
        "An article about a contest or a championship that names its winner and who took part.",
    ),
    _frame(
        r"who (?:has|holds|had|have|scored|won) the (?P<v>(?:most|highest|lowest|longest|fastest|record)[\w -]*?) "
        r"(?:in|of|for|on) {contest}",
        "An article about records that names who has the {v} in a sport or field.",
    ),
    _frame(rf"who (?P<v>{_MADE}) {{made}}", "An article about a thing, a work or a firm that names who {v} it."),
    _frame(
        rf"who {_BE} (?:the )?(?P<v>\w+(?: \w+)?) (?:of|for|in|on|at|to) {{topic}}",
        "An article about a place, a group or a work that names its {v}.",
    ),
    _frame(rf"who {_BE} {{person}}", "An article about a person that says who they are and what they do."),
    _frame(rf"who {_DO} {{topic}}", "An article about persons and groups that names who did something with whom."),
    _frame(
        r"who (?P<v>\w+(?: (?:part in|to|with|for|up|out|from|by|on|over|at|in|away))?) {topic}",
        "An article about an event or a subject that says who {v} it.",
    ),
    _frame(
        rf"when {_DO} {{work}} (?:originally |first |finally )?{_OUT}",
        "An article about a film, a song or a product that gives the date on which it was released.",
    ),
    _frame(r"when (?:was|is|were) {person} born", "An article about the life of a person with the date of birth."),
    _frame(
        r"when did {person} (?:die|pass away|get married|retire)",
        "An article about the life of a person with the date of death and other dates.",
    ),
    _frame(
        rf"when {_DO} {{event}} {_RUN}",
        "An article about an event, with the dates on which it began and ended.",
    ),
    _frame(
        rf"when {_DO} {{team}} (?:last |first |finally )?(?P<v>{_DOES}) {{topic}}",
        "An article about a person, a team or a country that gives the date on which they {v} something.",
    ),
    _frame(
        rf"when {_BE} {{made}} (?:first |last |originally |finally )?(?P<v>{_DONE}) (?:in|on|to|by|at) {{place}}",
        "An article about a place, a work or a thing that gives the year in which it was {v}.",
    ),
    _frame(
        rf"when {_BE} {{made}} (?:first |last |originally |finally )?(?P<v>{_DONE})",
        "An article about a place, a work or a thing that gives the year in which it was {v}.",
    ),
    _frame(
        rf"when {_BE} the (?P<v>first|last|next|new)(?: time)? {{event}}",
        "An article about the history of an event that gives the date of the {v} one.",
    ),
    _frame(rf"when {_BE} {{event}}", "An article about an event that gives its date."),
    _frame(rf"when {_DO} {{event}}", "An article about history and events, with their dates."),
    _frame(
        r"(?:what|which|in what|in which) (?P<v>year|month|day|date|season|century|episode) "
        r"(?:did|was|is|were|does|do|of) {event}",
        "An article about an event or a work that gives its {v}.",
    ),
    _frame(
        rf"where {_BE} {{thing}} (?P<v>{_PLACED})(?: at| in| on)?",
        "An article about a place, a person or a thing that says where it is {v}.",
    ),
    _frame(
        rf"where {_DO} {{thing}} (?:come from|originate|originate from|take place|took place|live|start|begin|end|get|"
        r"go)",
        "An article about a person, a name or a thing that says where it comes from or takes place.",
    ),
    _frame(
        r"where (?:can|do|did|could|does) (?:i|you|we|one|they) (?P<v>\w+) {thing}",
        "An article about a thing that says where people {v} it.",
    ),
    _frame(rf"where {_BE} {{place}} in {{place2}}", "An article about a place that says where in a country it lies."),
    _frame(rf"where {_BE} {{thing}}", "An article about a place or a thing that says where it lies."),
    _frame(rf"where {_DO} {{topic}}", "An article about persons and things that says where something happens."),
    _frame(
        r"how many (?P<v>\w+(?: \w+)?) (?:are|were|is|was)(?: there)? (?:in|on|of|for) {thing}",
        "An article with numbers that says how many {v} there are.",
    ),
    _frame(
        r"how many (?P<v>\w+(?: \w+)?) (?:does|do|did|has|have|will) {thing} (?:have|has|had|win|won|play|make|get|"
        r"score)",
        "An article about a person, a group or a thing that says how many {v} it has.",
    ),
    _frame(
        r"how many (?P<v>\w+(?: \w+)?) (?:of|in|on|are|were|does|do|did|has|have|can|to|make|for) {thing}",
        "An article with numbers that says how many {v} there are.",
    ),
    _frame(
        r"how (?P<v>long|much|old|far|tall|big|large|high|deep|fast|often|hot|cold|heavy) "
        r"(?:is|are|was|were|did|does|do|will|can|has|have) {thing}",
        "An article about a thing or an event that says in numbers how {v} it is.",
    ),
    _frame(
        r"how (?:do|does|did|can|is|are|was|were) {topic}", "An article that explains how something works or is done."
    ),
    _frame(r"why (?:do|does|did|can|is|are|was|were) {topic}", "An article that explains why something is so."),
    _frame(
        r"what (?:is|are|was|were|'s) the (?P<v>\w+(?: \w+){0,2}?) "
        r"(?:of|for|in|on|from|behind) {topic}",
        "An article about a subject that gives its {v}.",
    ),
    _frame(
        r"what (?:is|are|was|were) {thing} (?:used for|made of|made up of|known for|famous for|called|about|like|"
        r"based on|named after)",
        "An article about a thing or a place that says what it is, what it is used for and what it is known for.",
    ),
    _frame(
        r"what (?:does|do|did) {term} (?:mean|stand for|refer to|say)(?: in {topic})?",
        "An article about a word or a name that says what it means.",
    ),
    _frame(
        r"what (?:does|do|did) {thing} (?:do|have|look like|consist of|contain|eat|believe)",
        "An article about a thing, an animal or a person that says what it does or has.",
    ),
    _frame(
        r"what (?P<v>kind|type|sort|part|percentage|number|form|level) of (?P<w>\w+) "
        r"(?:is|are|was|were|does|do|did|has|have|can) {thing}",
        "An article about a thing that says which {v} of {w} it is.",
    ),
    _frame(
        r"what(?:'s| is| are| was| were) {thing}",
        "An article about a subject that says what it is.",
    ),
    _frame(
        r"(?:what|which) (?P<v>(?!is|are|was|were)\w+(?: \w+)?) "
        r"(?:is|are|was|were|does|do|did|has|have|can|in|on|won) {topic}",
        "An article about a subject that names the {v} it has to do with.",
    ),
    _frame(
        r"(?:summarize|describe|explain|discuss|tell me about|tell the story of|summarize what we know about|"
        r"give a short account of|write a few lines about|name a fact about|explain what|what is there to know about|"
        r"what should one know about|what do we know about|what happened (?:to|in|at|on)) {topic}",
        "An article about a subject that tells its story and explains what it is.",
    ),
    _frame(
        r"(?:list of|cast of|the cast of|number of|name of|winner of|actor who|name the|list the|the name of) {topic}",
        "An article about a subject with the names and numbers that belong to it.",
    ),
)

GENERIC = tuple(
    line
    for line in """
what is <fi>subject</fi>
what is <fi>name of a thing</fi> known for
who is <fi>name of a person</fi>
who was <fi>name of a person</fi>
what did <fi>name of a person</fi> do
what did <fi>name of a person</fi> say
what did <fi>name of a person</fi> do in <fi>year</fi>
what happened in <fi>year</fi>
what happened to <fi>subject</fi>
what happened to <fi>name of a person</fi> in <fi>year</fi>
when did <fi>event</fi> happen
when was <fi>name of a person</fi> born
when was <fi>name of a thing</fi> made
when was <fi>name of a place</fi> founded
when did <fi>name of a person</fi> die
where is <fi>name of a place</fi>
where does <fi>subject</fi> come from
where was <fi>name of a person</fi> born
where did <fi>name of a person</fi> live
how many people live in <fi>name of a place</fi>
how many <fi>group of things</fi> are there
how long is <fi>name of a thing</fi>
how much does <fi>name of a thing</fi> cost
how old is <fi>name of a thing</fi>
how does <fi>subject</fi> work
why is <fi>subject</fi> important
why did <fi>name of a person</fi> do this
who founded <fi>name of a thing</fi>
who made <fi>name of a work or thing</fi>
who works with <fi>name of a person</fi>
who designed <fi>name of a thing</fi>
who played in <fi>title of a film or series</fi>
who wrote <fi>title of a book</fi>
who directed <fi>title of a film or series</fi>
what is <fi>title of a film or series</fi> about
what is the story of <fi>title of a film or series</fi>
what is the population of <fi>name of a place</fi>
what is the history of <fi>subject</fi>
what is the name of <fi>subject</fi>
what is <fi>name of a thing</fi> used for
what is <fi>name of a thing</fi> made of
what does <fi>word or name</fi> mean
what does <fi>subject</fi> do
what are the parts of <fi>name of a thing</fi>
what is there to know about <fi>subject</fi>
what should one know about <fi>subject</fi>
what do we know about <fi>subject</fi> and <fi>second subject</fi>
what has <fi>name of a person</fi> to do with <fi>name of a place</fi>
summarize what we know about <fi>subject</fi>
give a short account of <fi>event</fi>
tell me about <fi>subject</fi>
describe <fi>subject</fi>
explain <fi>subject</fi>
explain what <fi>subject</fi> means for <fi>second subject</fi>
tell the story of <fi>name of a person</fi>
name a fact about <fi>name of a place</fi>
write a few lines about <fi>name of a person</fi>
how is <fi>subject</fi> related to <fi>second subject</fi>
in which year did <fi>event</fi> take place
which role did <fi>name of a person</fi> play in <fi>event</fi>
""".strip().split("\n")
)
"""Templates that fit many documents."""
