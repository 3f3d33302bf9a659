"""The twelve tasks of the FinePhrase study (arXiv 2604.13977, appendix) for lighteval 0.13, which has most of them not.

    lighteval accelerate "model_name=PATH" "finephrase_piqa|3" --custom-tasks blocks/evaluate/theirs/finephrase_tasks.py

Only lighteval imports this file. Multiple choice is asked as a cloze (the answer's text, no letters), and each task is
scored by `prob_norm_token`, the probability of a right answer, averaged over its tokens: it moves long before accuracy
does in models this small.

Data sets are those of the study, except PIQA, whose own repository needs a loading script that `datasets` 4 refuses.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod
from lighteval.tasks.templates.continuation import get_continuation_prompt_function
from lighteval.tasks.templates.hellaswag import get_hellaswag_prompt_function
from lighteval.tasks.templates.multichoice import get_mcq_prompt_function
from lighteval.tasks.templates.utils.formulation import CFFormulation
from lighteval.utils.language import Language
from transformers import AutoTokenizer

ENGLISH = Language.ENGLISH
CLOZE = CFFormulation()
Line = dict[str, Any]

MMLU_SUBJECTS = """
abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry
college_computer_science college_mathematics college_medicine college_physics computer_security conceptual_physics
econometrics electrical_engineering elementary_mathematics formal_logic global_facts high_school_biology
high_school_chemistry high_school_computer_science high_school_european_history high_school_geography
high_school_government_and_politics high_school_macroeconomics high_school_mathematics high_school_microeconomics
high_school_physics high_school_psychology high_school_statistics high_school_us_history high_school_world_history
human_aging human_sexuality international_law jurisprudence logical_fallacies machine_learning management marketing
medical_genetics miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory professional_accounting
professional_law professional_medicine professional_psychology public_relations security_studies sociology
us_foreign_policy virology world_religions
""".split()


class Probability(SampleLevelComputation):
    """The probability of the right answer, the best of several, as the geometric mean over its tokens.

    It counts tokens itself. With accelerate, lighteval 0.13 pads the answers of a batch to one length before it hands
    them to a metric, and drops those beyond as many as the longest has tokens, so that its own token-normalised
    metrics divide by the wrong number, or fail. (Its `ProbabilityMetric` also takes wrong answers for right ones.)
    """

    def __repr__(self) -> str:
        return type(self).__name__  # lighteval finds answers in its cache by this; an address is never the same

    def compute(self, doc: Doc, model_response: ModelResponse, **_: Any) -> float:
        return math.exp(max(per_token(doc, model_response)[index] for index in gold(doc)))


class Accuracy(Probability):
    """Whether the most probable answer per token is right. Where all are right it is 1, and says nothing."""

    def compute(self, doc: Doc, model_response: ModelResponse, **_: Any) -> float:
        scores = per_token(doc, model_response)
        return float(scores.index(max(scores)) in gold(doc))


def gold(doc: Doc) -> list[int]:
    """Indices of the right answers."""
    return [doc.gold_index] if isinstance(doc.gold_index, int) else list(doc.gold_index)


def per_token(doc: Doc, response: ModelResponse) -> list[float]:
    """Log-probability per token of each answer."""
    counts = [len(tokenizer()(text, add_special_tokens=False)["input_ids"]) for text in doc.choices]
    totals = response.logprobs[: len(counts)]
    return [total / max(1, count) for total, count in zip(totals, counts, strict=True)]


@cache
def tokenizer() -> Any:
    """The model's."""
    return AutoTokenizer.from_pretrained(os.environ["FINEMILL_EVAL_MODEL"])


def metric(name: str, score: SampleLevelComputation) -> SampleLevelMetric:
    return SampleLevelMetric(
        metric_name=name,
        higher_is_better=True,
        category=SamplingMethod.LOGPROBS,
        sample_level_fn=score,
        corpus_level_fn=np.mean,
    )


SCORES = [metric("prob_norm_token", Probability()), metric("acc_norm_token", Accuracy())]


def task(
    name: str, repo: str, subset: str, split: str, prompt: Callable[..., Any], shots: str | None = None
) -> LightevalTaskConfig:
    """A task whose answers are scored by their probability.

    Args:
        name: without the prefix `finephrase_`.
        repo: the data set.
        subset: its configuration.
        split: where the questions are.
        prompt: makes lighteval's `Doc` of a line, or None to leave it out.
        shots: where the examples come from; None for the questions themselves, which a question is never shown with.
    """
    return LightevalTaskConfig(
        name=f"finephrase_{name}",
        prompt_function=prompt,
        hf_repo=repo,
        hf_subset=subset,
        hf_avail_splits=[split, *([shots] if shots else [])],
        evaluation_splits=[split],
        few_shots_split=shots,
        metrics=SCORES,
    )


def choice(question: str, choices: list[str], gold: int) -> Line:
    return {"question": question, "choices": choices, "gold_idx": gold}


def answers(question: str, right: list[str | None], context: str | None = None) -> Line | None:
    """A question all of whose answers are right; None when it has none.

    lighteval's own template for these puts them into a set, so that its examples differ from run to run.
    """
    found = list(dict.fromkeys(answer for answer in right if answer))
    if not found:
        return None
    line = {"question": question, "choices": found, "gold_idx": list(range(len(found)))}
    return line if context is None else {**line, "context": context}


def asked(adapter: Callable[[Line], Line | None]) -> Callable[..., Any]:
    prompt: Callable[..., Any] = get_mcq_prompt_function(ENGLISH, adapter, formulation=CLOZE)
    return prompt


def arc(line: Line) -> Line:
    return choice(line["question"], line["choices"]["text"], line["choices"]["label"].index(line["answerKey"]))


def mmlu_redux(line: Line) -> Line | None:
    """Only questions that the reviewers found right, or could correct."""
    gold = line["correct_answer"] if line["error_type"] == "wrong_groundtruth" else line["answer"]
    if line["error_type"] not in ("ok", "wrong_groundtruth") or gold is None:
        return None
    gold = "ABCD".index(gold) if str(gold) in tuple("ABCD") else int(gold)
    return choice(line["question"], line["choices"], gold)


def openbookqa(line: Line) -> Line:
    return choice(line["question_stem"], line["choices"]["text"], "ABCD".index(line["answerKey"]))


def piqa(line: Line) -> Line:
    return choice(line["goal"], [line["sol1"], line["sol2"]], int(line["label"]))


def xcsqa(line: Line) -> Line | None:
    choices = line["question"]["choices"]
    if not all(text.strip() for text in choices["text"]):
        return None
    return choice(line["question"]["stem"], choices["text"], choices["label"].index(line["answerKey"]))


def gsm8k(line: Line) -> Line | None:
    return answers(line["question"], [line["answer"].split("####")[-1].strip()])


def squad(line: Line) -> Line | None:
    return answers(line["question"], line["answers"]["text"], line["context"])


def drop(line: Line) -> Line | None:
    answer, date = line["answer"], line["answer"].get("date") or {}
    day = " ".join(date[part] for part in ("day", "month", "year") if date.get(part))
    return answers(line["question"], [answer.get("number"), *answer["spans"], day], line["passage"])


def wikitablequestions(line: Line) -> Line | None:
    return answers(line["question"], line["answers"], line["table_md"])


def treb_qa(line: Line) -> Line | None:
    tables = line["Table_markdown"]
    return answers(line["question"], [line["answer"]], tables[0]) if len(tables) == 1 else None


def hellaswag(line: Line) -> Line:
    parts = {"ctx_a": line["ctx_a"], "ctx_b": line["ctx_b"], "continuations": line["endings"]}
    return {**parts, "gold_idx": int(line["label"])}


def winogrande(line: Line) -> Line | None:
    """The sentence up to the gap, then either word and the rest; lighteval's own adapter puts two spaces there."""
    before, gap, after = line["sentence"].partition("_")
    if not before.strip() or not gap or "_" in after:
        return None
    options = [f"{line[name].strip()} {after.strip()}" for name in ("option1", "option2")]
    return {"context": before.strip(), "continuations": options, "gold_idx": int(line["answer"]) - 1}


TASKS_TABLE = [
    task("arc_easy", "allenai/ai2_arc", "ARC-Easy", "test", asked(arc), "validation"),
    *(
        task(f"mmlu_redux:{subject}", "edinburgh-dawg/mmlu-redux-2.0", subject, "test", asked(mmlu_redux))
        for subject in MMLU_SUBJECTS
    ),
    task("squad_v2", "lighteval/squad_v2", "default", "validation", asked(squad), "train"),
    task("drop", "lighteval/drop_harness", "default", "validation", asked(drop), "train"),
    task("openbookqa", "allenai/openbookqa", "main", "validation", asked(openbookqa), "train"),
    task("piqa", "baber/piqa", "default", "validation", asked(piqa), "train"),
    task("xcsqa", "INK-USC/xcsr", "X-CSQA-en", "validation", asked(xcsqa)),
    task(
        "hellaswag",
        "Rowan/hellaswag",
        "default",
        "validation",
        get_hellaswag_prompt_function(ENGLISH, hellaswag, formulation=CLOZE),
        "train",
    ),
    task(
        "winogrande",
        "allenai/winogrande",
        "winogrande_xl",
        "validation",
        get_continuation_prompt_function(ENGLISH, winogrande, formulation=CLOZE),
        "train",
    ),
    task("gsm8k", "openai/gsm8k", "main", "test", asked(gsm8k), "train"),
    task("wikitablequestions", "lighteval/wikitablequestions", "default", "test", asked(wikitablequestions)),
    task("treb_qa", "lighteval/treb_table_retrieval", "default", "test", asked(treb_qa)),
]
