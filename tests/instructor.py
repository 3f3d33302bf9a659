"""What a model answers in FineInstructions, by rules: queries become templates, templates and documents become pairs.

Which of the answers are broken, and how, is a function of the request; so a test can count what should come out.
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

sys.path.insert(0, str(Path(__file__).parents[1]))  # it is imported by a script in this folder, which has tools, too

from tools.tiny.teachers import instantiate, templatize

TEMPLATE_FAULTS = ("no_json", "unbalanced", "lost_text", "empty_variable", "no_variable", "no_description")
PAIR_FAULTS = ("no_pair_json", "keys", "missing", "backwards", "left_over", "empty", "ungrounded", "unlike")

_INPUT = re.compile(r"\{\"instruction_template\".*\}", re.DOTALL)
_LABELLED = re.compile(r"\{\"description\".*\}", re.DOTALL)
_SENTENCE = re.compile(r"[^.!?]+[.!?]")


class Said(NamedTuple):
    """An answer: what it is (`template`, `pair`, `null`, or the name of its fault) and how it reads."""

    kind: str
    text: str


def lot(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode(errors="replace"))


def instruct(prompt: str, by_rules: bool = False) -> Said | None:
    """The answer to a prompt of FineInstructions; None to any other.

    Args:
        prompt: as it was sent.
        by_rules: templates and pairs are those of the rule-based teachers of finemill-tiny, which a student can learn.
    """
    if found := _INPUT.search(prompt):
        asked: dict[str, Any] = json.loads(found[0])
        task = (asked["instruction_template"], asked["document"])
        return Said("pair", instantiate(*task, random.Random(prompt))) if by_rules else pair(*task)
    if found := _LABELLED.search(prompt):
        asked = json.loads(found[0])
        return label(asked["description"], asked["document"])
    if "Query:\n" in prompt:
        query = prompt.rpartition("Query:\n")[2]
        return Said("template", templatize(query) or "I do not know.") if by_rules else template(query)
    return None


def label(description: str, document: str) -> Said:
    """Whether a document fits a description: half of the long words of one have to be in the other."""
    wanted = set(re.findall(r"[a-z]{5,}", description.lower()))
    there = set(re.findall(r"[a-z]{5,}", document.lower()))
    fault = lot(f"{description}\0{document}") % 16 == 0
    fits = 2 * len(wanted & there) >= len(wanted)
    return Said("no_label" if fault else "label", "It depends." if fault else str(int(fits)))


def template(query: str, faults: int = 10) -> Said:
    """A template of a query; one of `faults` is broken."""
    dice = lot(query)
    words = query.split()
    places = sorted({(dice >> 8 * n) % len(words) for n in range(1 + dice % 3)}) if len(words) > 2 else [len(words) - 1]
    made = " ".join(f"<fi>word {n}</fi>" if n in places else word for n, word in enumerate(words))
    told = {"template": made, "compatible_document_description": f"A text that tells {query}."}
    fault = TEMPLATE_FAULTS[dice // faults % len(TEMPLATE_FAULTS)] if dice % faults == 0 else "template"
    if fault == "unbalanced":
        told["template"] = made.replace("</fi>", "", 1)
    elif fault == "lost_text":
        told["template"] = f"Tell me {made}"
    elif fault == "empty_variable":
        told["template"] = re.sub("<fi>.*?</fi>", "<fi> </fi>", made, count=1)
    elif fault == "no_variable":
        told["template"] = query
    elif fault == "no_description":
        told["compatible_document_description"] = ""
    text = json.dumps(told, ensure_ascii=False)
    return Said(fault, text[:-2] if fault == "no_json" else text)


def pair(template: str, document: str, faults: int = 6) -> Said:
    """A pair of a template and a document, `null` for one of eight, and one of `faults` of the others is broken."""
    dice = lot(f"{template}\0{document}")
    sentences = [one.strip() for one in _SENTENCE.findall(document) if len(one.split()) > 8]
    if dice % 8 == 0 or not sentences:
        return Said("null", "null")
    own = set(re.findall(r"\w+", re.sub("<fi>.*?</fi>", "", template.lower())))
    sentence = max(sentences, key=lambda one: (len(own & set(re.findall(r"\w+", one.lower()))), lot(one)))
    words = sentence.split()
    excerpt = f"<excerpt>{' '.join(words[:4])}<...>{' '.join(words[-4:])}</excerpt>"
    told: dict[str, Any] = {
        "instruction": re.sub("<fi>.*?</fi>", " ".join(words[:2]), template),
        "answer": excerpt if dice % 2 else f"Well: {excerpt}",
    }
    fault = PAIR_FAULTS[dice // 8 % len(PAIR_FAULTS)] if (dice >> 8) % faults == 0 else "pair"
    if fault == "keys":
        told["reply"] = told.pop("answer")
    elif fault == "missing":
        told["answer"] = "<excerpt>words that stand nowhere<...>in this text at all</excerpt>"
    elif fault == "backwards":
        told["answer"] = f"<excerpt>{' '.join(words[-4:])}<...>{' '.join(words[:4])}</excerpt>"
    elif fault == "left_over":
        told["instruction"] = template
    elif fault == "empty":
        told["answer"] = " "
    elif fault == "ungrounded":
        told["answer"] = f"{excerpt} And much more can be said of it, but not here. " * 2
    elif fault == "unlike":
        told["instruction"] = "What is this?"
    text = json.dumps(told, ensure_ascii=False)
    return Said(fault, text[:-2] if fault == "no_pair_json" else text)
