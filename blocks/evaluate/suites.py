"""The suites: which tool evaluates what, with which command, and where its scores lie afterwards.

No benchmark is written here. lighteval has the tasks of the FinePhrase study (with definitions that it no longer
ships), IFEval and MixEval; lm-evaluation-harness has the Open LLM Leaderboard; AlpacaEval is its own tool; OpenCompass
has MT-Bench, MT-Bench-101 and Arena-Hard, whose own repositories are no packages.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from blocks.evaluate.results import (
    GROUPS,
    read_alpaca,
    read_finephrase,
    read_harness,
    read_ifeval,
    read_mixeval,
    read_opencompass,
)
from blocks.evaluate.targets import Target

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Judge:
    """The model that judges answers.

    Attributes:
        model: the name that its endpoint knows.
        url: of its OpenAI-compatible endpoint; its key is in JUDGE_API_KEY.
    """

    model: str
    url: str


@dataclass(frozen=True)
class Settings:
    """What the tools are told.

    Attributes:
        batch_size: sequences that lighteval and the harness hold on a GPU at once.
        max_samples: questions per task of the FinePhrase suite; the study took 1,000.
        dtype: of the weights.
        judge: None where no suite needs one.
    """

    batch_size: int = 16
    max_samples: int = 1000
    dtype: str = "bfloat16"
    judge: Judge | None = None


Written = tuple[dict[str, str], list[str]]
"""Files by name, and the lines of the script."""


@dataclass(frozen=True)
class Suite:
    """A suite.

    Attributes:
        tool: what to install, with pip.
        write: its files and commands.
        read: its scores from the folder that the tool wrote; {} where there is none yet.
        judged: whether it needs a judge.
        served: True where it needs an endpoint, False where it has to load the model (it asks for probabilities that
            chat endpoints do not give); None where it does either.
    """

    tool: str
    write: Callable[[Target, Settings], Written]
    read: Callable[[Path], dict[str, float]]
    judged: bool = False
    served: bool | None = None


def _quoted(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in words)


def _lighteval(tasks: list[str], target: Target, settings: Settings, custom: str = "", options: str = "") -> Written:
    """With a relative name and a cache of its own.

    lighteval keeps answers in a folder that is named after the model: inside of the model where that is a full path,
    in the user's home where it is not, and it gives them again when other weights lie at that path.
    """
    model: dict[str, object] = {"model_name": model_name(target), "dtype": settings.dtype, "cache_dir": "cache"}
    command = ["lighteval", "accelerate"]
    if target.url:
        command = ["lighteval", "endpoint", "litellm"]
        # Without a length it asks openrouter.ai for one. An answer that fails is empty in the end, and counts as wrong.
        model = {"model_name": f"openai/{target.model}", "base_url": target.url, "cache_dir": "cache"}
        model |= {"max_model_length": 4096, "api_max_retry": 8, "generation_parameters": {"temperature": 0}}
    else:
        model["batch_size"] = settings.batch_size
        if options:
            model["override_chat_template"] = False  # these ask for the continuation of a text
    lines = [
        'for copy in ${DATASETS:+"$DATASETS"/*}; do ln -sfn "$(realpath "$copy")" .; done',
        'if [ "${HF_HUB_OFFLINE:-0}" = 1 ]; then',
        "  # lighteval 0.13 fetches this when it starts, for tasks that nobody asked for, and fails without a network.",
        "  touch \"$(python -c 'import lighteval.tasks as t; print(t.__path__[0])')/tasks/tinyBenchmarks.pkl\"",
        "fi",
    ]
    own = f" --custom-tasks {shlex.quote(str(HERE / custom))}" if custom else ""
    lines.append(f"{_quoted(*command, 'model.yaml', ','.join(tasks))}{own} --output-dir results{options}")
    return {"model.yaml": yaml.safe_dump({"model_parameters": model}, sort_keys=False)}, lines


def model_name(target: Target) -> str:
    """What a tool that loads the model is told: a link or a folder beside the script, or a Hub id."""
    return "model" if target.tokenizer or Path(target.model).is_absolute() else target.model


def _finephrase(target: Target, settings: Settings) -> Written:
    tasks = [f"finephrase_{task}|3" for group in GROUPS.values() for task in group]
    options = f" --max-samples {settings.max_samples}"
    files, lines = _lighteval(tasks, target, settings, "finephrase_tasks.py", options)
    return files, [f"export FINEMILL_EVAL_MODEL={shlex.quote(model_name(target))}", *lines]


def _ifeval(target: Target, settings: Settings) -> Written:
    return _lighteval(["ifeval|0"], target, settings)


def _mixeval(target: Target, settings: Settings) -> Written:
    judge = settings.judge
    assert judge
    tasks = [f"judged_mixeval_{level}:{kind}|0" for level in ("easy", "hard") for kind in ("freeform", "multichoice")]
    files, lines = _lighteval(tasks, target, settings, "mixeval_tasks.py")
    told = f"FINEMILL_JUDGE={shlex.quote(judge.model)} HOSTED_VLLM_API_BASE={shlex.quote(judge.url)}"
    return files, [f'export {told} HOSTED_VLLM_API_KEY="${{JUDGE_API_KEY:-none}}"', *lines]


def _leaderboard(target: Target, settings: Settings) -> Written:
    arguments = f"pretrained={model_name(target)},dtype={settings.dtype}"
    command = ["lm_eval", "--model", "hf", "--model_args", arguments, "--batch_size", str(settings.batch_size)]
    return {}, [_quoted(*command, "--tasks", "leaderboard", "--output_path", "results")]


def _alpaca(target: Target, settings: Settings) -> Written:
    judge = settings.judge
    assert judge
    # Length-controlled win rates need the probabilities of "m" and "M", as upstream's weighted annotators ask for.
    asked = {"model_name": judge.model, "max_tokens": 1, "temperature": 1, "logprobs": True, "top_logprobs": 5}
    parser = {"numerator_token": "m", "denominator_tokens": ["m", "M"], "is_binarize": False}
    annotator = {
        "prompt_template": "alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt",
        "fn_completions": "openai_completions",
        "completions_kwargs": {**asked, "client_config_path": "judge_client.yaml"},
        "fn_completion_parser": "logprob_parser",
        "completion_parser_kwargs": parser,
        "completion_key": "completions_all",
        "batch_size": 1,
    }
    answers = {
        "prompt_template": "prompt.txt",
        "fn_completions": "openai_completions",
        "completions_kwargs": {
            "model_name": target.model,
            "max_tokens": 2048,
            "temperature": 0,
            "client_config_path": "client.yaml",
        },
        "pretty_name": target.label,
    }
    files = {
        "model.yaml": yaml.safe_dump({target.name: answers}, sort_keys=False),
        "judge/configs.yaml": yaml.safe_dump({"judge": annotator}, sort_keys=False),
        "prompt.txt": "<|im_start|>user\n{instruction}\n<|im_end|>",
    }
    clients = [
        _client("client.yaml", str(target.url), "OPENAI_API_KEY"),
        _client("judge_client.yaml", judge.url, "JUDGE_API_KEY"),
    ]
    command = ["alpaca_eval", "evaluate_from_model", "--model_configs", "model.yaml"]
    command += ["--annotators_config", "judge", "--output_path", "results"]
    return files, [*clients, _quoted(*command)]


def _client(name: str, url: str, key: str) -> str:
    """A file with a key, which no file that is written beforehand may hold; only its owner reads it."""
    text = f'default: [{{base_url: {url}, api_key: "%s"}}]'
    return f'(umask 077 && printf {shlex.quote(text)} "${{{key}:-none}}" > {name})'


def _opencompass(module: str, datasets: str) -> Callable[[Target, Settings], Written]:
    def write(target: Target, settings: Settings) -> Written:
        judge = settings.judge
        assert judge
        model = _served_model(target.name, target.model, str(target.url), "OPENAI_API_KEY", 1024)
        judging = _served_model("judge", judge.model, judge.url, "JUDGE_API_KEY", 2048)
        told = {"module": module, "datasets": datasets, "model": model, "judge": judging}
        return {"config.py": _OPENCOMPASS.format(**told)}, [_quoted("opencompass", "config.py", "-w", "results")]

    return write


def _served_model(name: str, model: str, url: str, key: str, tokens: int) -> str:
    return (
        f"dict(abbr={name!r}, type=OpenAISDK, path={model!r}, openai_api_base={url!r}, "
        f"key=os.environ.get({key!r}, 'none'), meta_template=meta_template, query_per_second=16, batch_size=16, "
        f"max_out_len={tokens}, max_seq_len=16384, temperature=0, tokenizer_path='gpt-4')"
    )


_OPENCOMPASS = """\
import os

from mmengine.config import read_base
from opencompass.models import OpenAISDK
from opencompass.partitioners import NaivePartitioner
from opencompass.partitioners.sub_naive import SubjectiveNaivePartitioner
from opencompass.runners import LocalRunner
from opencompass.summarizers import SubjectiveSummarizer
from opencompass.tasks import OpenICLInferTask
from opencompass.tasks.subjective_eval import SubjectiveEvalTask

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

LIGHTEVAL = "'lighteval[litellm,extended_tasks]==0.13.0' 'huggingface_hub<2' 'xxhash<4'"
"""With releases that it was made for: with huggingface_hub 2 no task loads, with xxhash 4 nothing can be saved."""

SUITES = {
    "finephrase": Suite(LIGHTEVAL, _finephrase, read_finephrase, served=False),
    "ifeval": Suite(LIGHTEVAL, _ifeval, read_ifeval),
    "mixeval": Suite(LIGHTEVAL, _mixeval, read_mixeval, judged=True),
    "open-llm-leaderboard": Suite("'lm_eval[hf,ifeval,math]>=0.4.9'", _leaderboard, read_harness, served=False),
    "alpaca-eval": Suite("'alpaca_eval>=0.6.6'", _alpaca, read_alpaca, judged=True, served=True),
    "mt-bench": Suite(
        "'opencompass>=0.5.4'",
        _opencompass("multiround.mtbench_single_judge_diff_temp", "mtbench_datasets"),
        read_opencompass,
        judged=True,
        served=True,
    ),
    "mt-bench-101": Suite(
        "'opencompass>=0.5.4'",
        _opencompass("multiround.mtbench101_judge", "mtbench101_datasets"),
        read_opencompass,
        judged=True,
        served=True,
    ),
    "arena-hard": Suite(
        "'opencompass>=0.5.4'",
        _opencompass("arena_hard.arena_hard_compare", "arenahard_datasets"),
        read_opencompass,
        judged=True,
        served=True,
    ),
}
