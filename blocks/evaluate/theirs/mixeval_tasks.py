"""lighteval's MixEval with a judge of one's own: it knows only Flow-Judge in its own vLLM, and gpt-3.5-turbo.

    export HOSTED_VLLM_API_BASE=URL FINEMILL_JUDGE=NAME
    lighteval ... "judged_mixeval_hard:freeform|0" --custom-tasks blocks/evaluate/theirs/mixeval_tasks.py

Only lighteval imports this file. Questions, prompts of the judge and data are lighteval's.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

import numpy as np
from lighteval.metrics.metrics_sample import JudgeLLMMixEval
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc, SamplingMethod
from lighteval.tasks.tasks.mix_eval.judge_prompts import (
    gpt_judge_for_closeended_freeform,
    gpt_judge_for_closeended_multiplechoice,
)
from lighteval.tasks.tasks.mix_eval.main import TASKS_TABLE as THEIRS


def score(judgement: str) -> float:
    """What the judge gives, 0 to 1; 0 where it gives nothing.

    Raises:
        RuntimeError: it did not answer. lighteval would count that as a wrong answer.
    """
    if judgement.startswith("ERROR: Failed to get response"):
        raise RuntimeError("the judge did not answer; run the script again, which keeps the model's answers")
    found = re.search(r"\[\[([01](?:\.\d+)?)\]\]", judgement)
    return float(found[1]) if found else 0.0


class Judged(JudgeLLMMixEval):
    """Theirs, which gives a metric that lighteval 0.13 cannot take apart, and is never found again in its cache."""

    def __repr__(self) -> str:
        return f"Judged({self.judge.model})"

    def compute(self, responses: list[ModelResponse], docs: list[Doc], **options: Any) -> list[float]:
        return [scores["judge_score_judge"] for scores in super().compute(responses, docs, **options)]


def judged(template: Any) -> SampleLevelMetric:
    """A metric, the mean of what the judge gives."""
    judge = Judged(
        judge_model_name=f"hosted_vllm/{os.environ['FINEMILL_JUDGE']}",
        template=template,
        process_judge_response=score,
        judge_backend="litellm",
        short_judge_name="judge",
    )
    return SampleLevelMetric(
        metric_name="judge_score",
        higher_is_better=True,
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=judge,
        corpus_level_fn=np.mean,
        batched_compute=True,
    )


TEMPLATES = {"freeform": gpt_judge_for_closeended_freeform, "multichoice": gpt_judge_for_closeended_multiplechoice}

TASKS_TABLE = [
    replace(task, name=f"judged_{task.name}", metrics=[judged(TEMPLATES[task.name.split(":")[1]])]) for task in THEIRS
]
