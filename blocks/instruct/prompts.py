"""Which prompt a model of FineInstructions wants."""

from __future__ import annotations

from blocks.generate.prompts import PROMPTS, Prompt, load_prompt


def instruct_prompt(name: str, model: str) -> Prompt:
    """The prompt that a model wants.

    Args:
        name: `templatize` or `instantiate`.
        model: models of the paper's authors (`fineinstructions/…`) are given their input and nothing around it.
    """
    bare = ".bare" if model.startswith("fineinstructions/") else ""
    return load_prompt(str(PROMPTS / "instruct" / f"{name}{bare}.md"))
