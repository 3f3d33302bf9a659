"""Finds where a text leans on what its reader does not have: the document it was made from, or another answer."""

from __future__ import annotations

import re

_TEXT = r"(?:document|text|passage|article|excerpt|paragraph)"
_SAID = r"(?:mentioned|stated|noted|discussed|explained|described|outlined|listed|indicated|shown|given|said)"
# Every phrase below holds one of these, and most texts hold none: looking for them takes a tenth of the time.
_HINTS = (
    *("document", "text", "passage", "article", "excerpt", "paragraph", "above", "earlier", "before", "previous"),
    *("preceding", "prior", "already", "question", "answer", "section", "response", "ed,", "shown,", "given,", "said,"),
)
_LEANS = re.compile(
    r"\b(?:"
    # according to the passage; in the given text; the document states
    rf"(?:according to|based on|in|from|by|per|throughout|of) (?:the|this) (?:\w{{1,12}} )?{_TEXT}(?! of\b|-)\b|"
    rf"(?:the|this) (?:above|given|provided|preceding|source|original) {_TEXT}\b|"
    rf"(?:the|this) {_TEXT} (?:above|says|states|stated|mentions|mentioned|describes|explains|provides|discusses|"
    r"notes|suggests|indicates|emphasi[sz]es|highlights|also|itself|(?:does not|doesn't|did not) \w{1,12})\b|"
    rf"(?:do|does|did) (?:the|this) {_TEXT} (?:say|state|mention|describe|explain|suggest|discuss)\b|"
    # as mentioned above; see the previous question
    rf"{_SAID} (?:above|earlier|before|previously)\b(?! the\b)|(?:previously|already) {_SAID}\b|"
    rf"as {_SAID} in (?:the|our|my|that|this) (?:\w{{1,12}} )?(?:question|answer|{_TEXT}|section|response)\b|"
    rf"as {_SAID},|"
    r"(?:the|our|my|this) (?:previous|preceding|above|earlier|prior) (?:questions?|answers?|responses?|sections?)|"
    r"(?:see|in|refer to|to|under|from) (?:question|answer) #?\d{1,3}|see (?:above|the answer)|"
    r"answered (?:above|earlier)"
    r")",
    re.IGNORECASE,
)


def leaning_phrase(text: str) -> str:
    """The first phrase that points to another text ("according to the passage", "as mentioned above"), or nothing."""
    lowered = text.lower()
    if not any(hint in lowered for hint in _HINTS):
        return ""
    match = _LEANS.search(text)
    return match[0] if match else ""
