"""Word lists of the rule-based teachers: verbs with their base forms, words a sentence cannot begin with, and so on.

A tagger would know more words, but the teachers only need to find the subject of plain sentences, and skip what they
do not understand: a list that is too short costs a sentence, never a wrong answer.
"""

from __future__ import annotations

from blocks.filters.checks.tutorial import VERBS

BE = frozenset("is are was were".split())
MODALS = frozenset("can could will would may might must should".split())
HAVE = frozenset("has have had".split())

_REGULAR = """
    abandon accuse achieve acquire admit affect announce appear appoint argue arrest arrive attack attract award
    capture cause claim commission compete compose confess conquer convince crash declare defeat deliver deny depend
    direct discuss display dominate earn elect employ end encounter enable establish evolve exist face fail fire found
    function happen host house injure inspire introduce involve issue kidnap kill last live lobby marry murder need
    obey occupy occur open oppose originate participate persuade persist perform possess promise propose publish
    purchase range realize receive refuse reign reject rely remain represent require rescue resemble resign result
    retire reveal rule score serve shoot sign star succeed suffer surround survive threaten tour train transport
    travel treat vary vote want warn welcome
""".split()
_IRREGULAR = dict(
    pair.split("=")
    for pair in """
    became=become began=begin broke=break brought=bring built=build bought=buy caught=catch chose=choose came=come
    cost=cost drew=draw drove=drive ate=eat fell=fall felt=feel fought=fight found=find flew=fly gave=give went=go
    grew=grow hid=hide held=hold kept=keep knew=know laid=lay led=lead left=leave lent=lend lost=lose made=make
    meant=mean met=meet paid=pay ran=run rose=rise said=say saw=see sent=send sold=sell sang=sing slept=sleep
    spoke=speak stood=stand stole=steal struck=strike swam=swim taught=teach took=take told=tell thought=think
    spent=spend threw=throw understood=understand withdrew=withdraw won=win wore=wear wrote=write
    """.split()
)
_PRESENT = """
    appears becomes begins belongs brings carries causes comes consists contains continues covers creates describes
    discovers divides drinks eats enjoys explains extends finds flows follows gets gives goes grows happens helps holds
    includes involves keeps knows lays leads learns leaves lives looks loses makes means meets moves needs occurs
    occupies offers opens owns prepares prevents produces protects provides reaches receives refers remains removes
    requires reveals runs says sees seems sends serves spends stars takes teaches tells tries uses visits wants wins
    clears drains melts falls sinks turns builds burns collects compresses cuts deletes dries drops hangs heats lifts
    joins passes pays presses rolls sets spreads sticks stops stores swims throws wears works writes studies thinks
    rises feeds sleeps lies stands features depicts represents supports shows forms plays
""".split()


def _past(verb: str) -> str:
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return f"{verb[:-1]}ied"
    if len(verb) < 5 and verb[-1] not in "aeiouwxy" and verb[-2] in "aeiou" and verb[-3:-2] not in "aeiou":
        return f"{verb}{verb[-1]}ed"
    return f"{verb}ed"


def _base(present: str) -> str:
    if present.endswith("ies") and len(present) > 4:
        return f"{present[:-3]}y"
    if present.endswith(("ches", "shes", "sses", "goes")):
        return present[:-2]
    return present[:-1]


PAST: dict[str, str] = {
    **{_past(verb): verb for verb in (*VERBS, *_REGULAR) if len(verb) > 2 and "'" not in verb},
    **_IRREGULAR,
}
"""Base form by past form."""

PRESENT: dict[str, str] = {**{form: _base(form) for form in _PRESENT}, "lies": "lie", "dies": "die"}
"""Base form by the form of the third person."""

FINITE = BE | MODALS | HAVE | PAST.keys() | PRESENT.keys()
"""Words, in lower case, that a sentence's first verb may be. Other words in -ed count, too."""

NO_VERBS = frozenset("need hundred indeed seed speed breed red bed feed shed led-".split())

DETERMINERS = frozenset("the a an his her its their some many most several all each every no this that these".split())
LOWERED = frozenset("The A An Some Many Most Several All Each Every No".split())
"""First words of a sentence that get a small letter inside of a question."""

PREPOSITIONS = frozenset(
    """
    in on at by for from with without during after before since until under over between among through despite
    following according as to of about against along around behind beside near within throughout upon unlike like
    """.split()
)

CONNECTIVES = (
    *("However, ", "Also, ", "In addition, ", "Moreover, ", "Furthermore, ", "For example, ", "For instance, "),
    *("Therefore, ", "Thus, ", "Today, ", "Additionally, ", "Meanwhile, ", "In fact, ", "Finally, ", "Later, "),
    *("Afterwards, ", "Eventually, ", "As a result, ", "Instead, ", "Nevertheless, ", "And ", "But ", "So "),
)
"""What may be left out before a sentence that shall stand alone."""

HANGING = frozenset(
    """
    he she it they his her its their him them this that these those there here such other others another both so also
    but and or nor yet however then thus hence i we you my our your one some what when where which who whose why how
    if while although though because since until unless not only even just as yes no neither either former latter
    instead please rather with once now all none many more last next yesterday
    today tomorrow ago fewer less ours mine theirs enough nothing everything anyone someone everyone nobody
    """.split()
)
"""First words, in lower case, of a sentence that cannot stand alone, or that is too long-winded to be read by rules."""

RELATIVE = frozenset("once who which that when where while because if although whose what how".split())

PEOPLE = frozenset(
    """
    actor actress architect artist astronaut astronomer author bishop botanist boxer businessman businesswoman captain
    chemist coach comedian commander composer conductor cricketer cyclist dancer designer director doctor dramatist
    economist editor emperor engineer explorer filmmaker footballer general geologist goalkeeper golfer governor
    guitarist historian inventor journalist judge king lawyer leader linguist magistrate mathematician mayor minister
    model monarch monk musician novelist nurse officer painter philosopher photographer physician physicist pilot
    player playwright poet politician pope president priest prince princess producer professor psychologist queen
    rapper runner sailor scholar scientist screenwriter sculptor sultan senator singer skier soldier songwriter
    statesman student surgeon surveyor swimmer teacher theologian theorist violinist wrestler writer zoologist
    pupil rector chief man woman boy girl father mother son daughter wife husband brother sister friend preacher agent
    detective expert
    """.split()
)

ABBREVIATIONS = frozenset(
    """
    Mr. Mrs. Ms. Dr. St. Ste. Jr. Sr. Prof. Gen. Col. Capt. Lt. Sgt. Sen. Rep. Gov. Rev. No. vs. etc. e.g. i.e. Inc.
    Ltd. Co. Corp. Bros. Brig. Maj. Cmdr. Adm. Mt. Ft. c. ca. cf. approx. Jan. Feb. Mar. Apr. Aug. Sept. Sep. Oct.
    Nov. Dec. feat. Vol. pp. al.
    """.split()
)
