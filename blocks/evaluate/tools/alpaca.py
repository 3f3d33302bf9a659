"""AlpacaEval 2 with its own tool: win rates against GPT-4 Turbo's answers, and the same corrected for length."""

from __future__ import annotations

from pathlib import Path

import yaml

from blocks.evaluate.targets import Settings, Target
from blocks.evaluate.tools.common import RESULTS, THEIRS, Written, newest_rows, quoted

INSTALL = "'alpaca_eval>=0.6.6' 'setuptools<80'"

PROMPT = "alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"
"""The judge's prompt in its package: which of two answers is better, said in one token."""


def write_alpaca(target: Target, settings: Settings) -> Written:
    """The judge is asked as its `weighted_alpaca_eval_gpt4_turbo` is, for the probabilities of its one-token answers.

    Files are named by their full paths, which the script fills in: it looks for others in its own package.
    """
    assert settings.judge
    asked = {"model_name": settings.judge.model, "max_tokens": 1, "temperature": 1, "logprobs": True, "top_logprobs": 5}
    annotator = {
        "prompt_template": "@HERE@/judge/prompt.txt",
        "fn_completions": "openai_completions",
        "completions_kwargs": {**asked, "client_config_path": "@HERE@/judge_client.json"},
        "fn_completion_parser": "logprob_parser",
        "completion_parser_kwargs": {
            "numerator_token": "m",
            "denominator_tokens": ["m", "M"],
            "is_binarize": False,
        },
        "completion_key": "completions_all",
        "batch_size": 1,
    }
    answering = {"model_name": target.model, "max_tokens": 2048, "temperature": 0}
    answers = {
        "prompt_template": "@HERE@/prompt.txt",
        "fn_completions": "openai_completions",
        "completions_kwargs": {**answering, "client_config_path": "@HERE@/client.json"},
        "pretty_name": target.label,
    }
    files = {
        "model.template": yaml.safe_dump({target.name: answers}, sort_keys=False),
        "judge/configs.template": yaml.safe_dump({"judge": annotator}, sort_keys=False),
        "prompt.txt": "<|im_start|>user\n{instruction}\n<|im_end|>\n",
    }
    fill = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); "
    fill += "p.with_suffix('.yaml').write_text(p.read_text().replace('@HERE@', str(pathlib.Path.cwd())))"
    find = "import alpaca_eval, pathlib; print(pathlib.Path(alpaca_eval.__file__).parent / 'evaluators_configs')"
    lines = [
        f'cp "$(python -c {quoted(find)})/{PROMPT}" judge/prompt.txt',
        f"for file in model judge/configs; do python -c {quoted(fill)} $file.template; done",
        "trap 'rm -f client.json judge_client.json' EXIT",
        _client("client.json", str(target.url), "OPENAI_API_KEY"),
        _client("judge_client.json", settings.judge.url, "JUDGE_API_KEY"),
        'alpaca_eval evaluate_from_model --model_configs "$PWD/model.yaml" --annotators_config "$PWD/judge" '
        f"--output_path {RESULTS}",
        f"python {quoted(str(THEIRS / 'alpaca_check.py'))} {RESULTS}",
    ]
    return files, lines


def read_alpaca(folder: Path) -> dict[str, float]:
    """Win rates in %; "overall" is the length-controlled one."""
    rows = newest_rows(folder, "leaderboard.csv")
    if not rows:
        return {}
    wanted = ("length_controlled_winrate", "win_rate", "avg_length", "n_total")
    scores = {name: float(rows[-1][name]) for name in wanted if rows[-1].get(name)}
    return {"overall": scores[wanted[0]], **scores} if wanted[0] in scores else scores


def _client(name: str, url: str, key: str) -> str:
    """Write a file that holds a key: it exists while the tool runs, and only its owner reads it."""
    code = "import json, os, sys; path, url, key = sys.argv[1:]; "
    code += "file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600); "
    code += "client = {'base_url': url, 'api_key': os.environ.get(key) or 'none'}; "
    code += "os.write(file, json.dumps({'default': [client]}).encode())"
    return f"rm -f {name}; python -c {quoted(code, name, url, key)}"
