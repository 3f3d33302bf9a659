"""OpenCompass: MT-Bench, MT-Bench-101 and Arena-Hard, whose own repositories are no packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from blocks.evaluate.targets import Settings, Target
from blocks.evaluate.tools.common import RESULTS, THEIRS, Written, newest_rows, quoted

INSTALL = "'opencompass>=0.5.4' 'setuptools<80' 'pyarrow<21'"
"""It wants NumPy 1, which newer releases of pyarrow refuse."""

OVERALL = ("average", "total", "score")
"""What its summaries call the score of MT-Bench-101, MT-Bench and Arena-Hard."""


def writer(
    module: str, datasets: str, names: Sequence[str], as_asked: bool = False
) -> Callable[[Target, Settings], Written]:
    """What writes one of its benchmarks.

    Args:
        module: its configuration of the data, below `opencompass.configs.datasets.subjective`.
        datasets: what that calls its list of data sets.
        names: of the sets in it.
        as_asked: with the temperature that the benchmark asks for each question; 0 otherwise.
    """

    def write(target: Target, settings: Settings) -> Written:
        judge = settings.judge
        assert judge
        model = _model(target.name, target.model, str(target.url), "OPENAI_API_KEY", 1024)
        judging = _model("judge", judge.model, judge.url, "JUDGE_API_KEY", 2048)
        config = _CONFIG.format(module=module, datasets=datasets, model=model, judge=judging)
        config += _AS_ASKED if as_asked else ""
        lines = [
            f'export PYTHONPATH={quoted(str(THEIRS))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
            # With what an interrupted run has answered and judged.
            f"opencompass config.py -w {RESULTS} -r latest",
            # It summarises what there is, and ends well, when a part has failed.
            quoted("python", str(THEIRS / "opencompass_check.py"), RESULTS, *names),
        ]
        return {"config.py": config}, lines

    return write


def read_opencompass(folder: Path) -> dict[str, float]:
    """The judge's scores as it names them, the benchmark's own as "overall"."""
    scores = {}
    for row in newest_rows(folder, "Subjective_all_results-judged-by--*.csv"):
        values = [value for name, value in row.items() if name not in ("Dataset", "Detailed Scores")]
        try:
            scores[row["Detailed Scores"]] = float(values[0])
        except (IndexError, ValueError):
            continue  # it leaves cells empty
    found = [scores[name] for name in OVERALL if name in scores]
    return {"overall": found[0], **scores} if found else scores


def _model(name: str, model: str, url: str, key: str, tokens: int) -> str:
    return (
        f"dict(abbr={name!r}, type=Served, path={model!r}, openai_api_base={url!r}, key_variable={key!r}, "
        f"meta_template=meta_template, query_per_second=16, batch_size=16, "
        f"max_out_len={tokens}, max_seq_len=16384, retry=8)"
    )


_CONFIG = """\
from mmengine.config import read_base
from opencompass.partitioners import NaivePartitioner
from opencompass.partitioners.sub_naive import SubjectiveNaivePartitioner
from opencompass.runners import LocalRunner
from opencompass.summarizers import SubjectiveSummarizer
from opencompass.tasks import OpenICLInferTask
from opencompass.tasks.subjective_eval import SubjectiveEvalTask
from opencompass_model import AsAsked, Served

with read_base():
    from opencompass.configs.datasets.subjective.{module} import {datasets}

meta_template = dict(
    round=[dict(role='HUMAN', api_role='HUMAN'), dict(role='BOT', api_role='BOT', generate=True)],
    reserved_roles=[dict(role='SYSTEM', api_role='SYSTEM')],
)
models = [{model}]
judge_models = [{judge}]
datasets = [*{datasets}]
infer = dict(
    partitioner=dict(type=NaivePartitioner),
    runner=dict(type=LocalRunner, max_num_workers=4, task=dict(type=OpenICLInferTask)),
)
eval = dict(
    partitioner=dict(type=SubjectiveNaivePartitioner, models=models, judge_models=judge_models),
    runner=dict(type=LocalRunner, max_num_workers=4, task=dict(type=SubjectiveEvalTask)),
)
summarizer = dict(type=SubjectiveSummarizer, function='subjective')
"""

_AS_ASKED = """\
for _one in datasets:
    _one['infer_cfg']['inferencer']['type'] = AsAsked
"""
