"""Teacher of the tutorial: numbered steps, each an imperative and the sentence of the document that it is about."""

from __future__ import annotations

import random

from tools.tiny.teachers.questions import step_title
from tools.tiny.teachers.sentences import read_instructions, read_sentences, told_apart, topic_of

MOST = 3
"""Steps with a sentence of the longest tutorial: see `tools.tiny.teachers.faq.MOST`."""

_MOST_INSTRUCTIONS = 6

_TITLES = (
    "# Getting to know {}",
    "## How to understand {}",
    "# A short guide to {}",
    "## {}, step by step",
    "# Learning about {}",
    "## What to learn about {}",
)
_HOW_TO = (
    "# Step by step: {}\n\n{}\n",
    "## Instructions: {}\n\n{}\n",
    "# How it is done: {}\n\n{}\n",
)
_LAST = (
    "**Explain it yourself.** Say in your own words what you have learned about {}.",
    "**Check what you know.** Close the guide and repeat the main points about {}.",
    "**Review the steps.** Go through them once more and write down what matters about {}.",
    "**Write a summary.** Put the most important points about {} into one sentence.",
)
_STEPS = ("{}. **{}** {}", "{}. {} {}", "### Step {}: {}\n{}")


def tutorial(document: str, dice: random.Random) -> str | None:
    """A tutorial of a document's own instructions, or of its sentences.

    Returns:
        None for a document with fewer than three instructions and two sentences that can stand alone.
    """
    sentences = read_sentences(document)
    topic = topic_of(document, sentences)
    instructions = list(dict.fromkeys(read_instructions(document)))
    title = document.strip().partition("\n")[0].strip("# ")
    if title.endswith((".", "!", "?", ":")) or not 0 < len(title.split()) <= 10:
        title = topic
    if title and len(instructions) > 2:
        about = sentences[0].text if sentences and sentences[0].kind == "definition" else "This is how to go about it."
        layout = dice.choice(("{}. {}", "- {1}", "**Step {}:** {}"))
        steps = [layout.format(number, text) for number, text in enumerate(instructions[:_MOST_INSTRUCTIONS], 1)]
        return "\n".join((dice.choice(_HOW_TO).format(title, about), *steps))
    if len(sentences) < 2:
        return None
    layout = dice.choice(_STEPS)
    steps = []
    titles: set[str] = set()
    for sentence in told_apart(sentences, MOST):
        title = step_title(sentence, dice)
        if title in titles:
            title = dice.choice(("Keep in mind what follows.", "Go on reading.", "Add one more fact."))
        titles.add(title)
        heading = title[:-1] if layout.startswith("###") else title
        steps.append(layout.format(len(steps) + 1, heading, sentence.text))
    if len(steps) < 3 or dice.random() < 0.3:
        last = dice.choice(_LAST).format(topic)
        title, _, text = last.removeprefix("**").partition("** ")
        heading = title[:-1] if layout.startswith("###") else title
        steps.append(layout.format(len(steps) + 1, heading, text))
    title = dice.choice(_TITLES).format(topic)
    title = title.replace("## " + topic, "## " + topic[:1].upper() + topic[1:])
    return "\n\n".join((title, *steps))
