"""Write the scripts of an evaluation: one folder per model and suite, and scripts that run what has no result yet."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from blocks.evaluate.suites import SUITES, Settings, model_name
from blocks.evaluate.targets import Target
from blocks.shards.folder import RunError, write_atomically

SCRIPT = "evaluate.sh"
RESULTS = "results"
DONE = "done"
"""The file that a script leaves when its tool has ended well."""


def check(targets: Sequence[Target], suites: Sequence[str], settings: Settings) -> None:
    """Make sure that all of it can be done.

    Raises:
        RunError: a suite is unknown, needs a judge, an endpoint, or a model that it can load.
    """
    for name in suites:
        suite = SUITES.get(name)
        if suite is None:
            raise RunError(f"--suite {name}: there are {', '.join(SUITES)}")
        if suite.judged and settings.judge is None:
            raise RunError(f"--suite {name} needs a judge: --judge NAME --judge-url URL, its key in JUDGE_API_KEY")
        for target in targets:
            if suite.served and target.url is None:
                raise RunError(f"--suite {name} asks an endpoint: serve {target.model}, and give --url and its name")
            if suite.served is False and target.url is not None:
                raise RunError(f"--suite {name} loads the model, for its probabilities: give its folder, without --url")
    seen: dict[str, Target] = {}
    for target in targets:
        if seen.setdefault(target.folder, target) != target:
            raise RunError(f"{target.model} and {seen[target.folder].model} would both be evaluated as {target.label}")


def write_evaluations(targets: Sequence[Target], suites: Sequence[str], settings: Settings, output: Path) -> list[Path]:
    """Write a script per model and suite into `output/MODEL/STEP/SUITE`, and `evaluate.sh` and `evaluate.sbatch`.

    Returns:
        The folders that have no result yet. What was evaluated is left as it is.
    """
    left = []
    for target in targets:
        for name in suites:
            folder = output / target.folder / name
            if not (folder / DONE).exists():
                _write(target, name, settings, folder)
                left.append(folder)
    scripts = sorted(path.parent.relative_to(output) for path in output.glob(f"*/*/*/{SCRIPT}"))
    _write_all(scripts, output)
    return left


def _write(target: Target, name: str, settings: Settings, folder: Path) -> None:
    suite = SUITES[name]
    files, lines = suite.write(target, settings)
    begin = ["#!/bin/bash", f"# {name} of {target.label}. Its tool: pip install {suite.tool}"]
    begin += [
        "set -euo pipefail",
        'cd "$(dirname "$(realpath "$0")")"',
        "mkdir -p results",
        f"[ ! -e {DONE} ] || exit 0",
    ]
    if settings.judge and suite.judged:
        begin.append("# A judge that does not answer would look like a model that knows nothing.")
        begin += _answers(settings.judge.url, "JUDGE_API_KEY")
    if target.url:
        begin += ['export OPENAI_API_KEY="${OPENAI_API_KEY:-none}"', *_answers(target.url, "OPENAI_API_KEY")]
    begin += _model(target)
    files = {**files, SCRIPT: "\n".join([*begin, *lines, f"touch {DONE}"]) + "\n"}
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / file, text.encode())
    (folder / SCRIPT).chmod(0o755)


def _answers(url: str, key: str) -> list[str]:
    """Fail now rather than with empty answers."""
    asked = shlex.quote(f"{url}/models")
    return [
        f'curl --fail --silent --show-error --max-time 60 -H "Authorization: Bearer ${{{key}:-}}" {asked} >/dev/null'
    ]


def _model(target: Target) -> list[str]:
    """Put a Hugging Face model, or a link to one, into `model`."""
    if model_name(target) != "model" or target.url:
        return []
    if not target.tokenizer:
        return [f"ln -sfn {shlex.quote(target.model)} model"]
    # One conversion serves all suites of a checkpoint; it appears whole, or not at all.
    convert = ["torchrun", "--nproc_per_node=1", "-m", "examples.llama.convert_nanotron_to_hf"]
    convert += ["--config_cls", "Qwen2Config", "--checkpoint_path", target.model, "--tokenizer_name", target.tokenizer]
    return [
        "converted=$(realpath ..)/hf",
        'if [ ! -e "$converted/config.json" ]; then',
        '  : "${NANOTRON:?set it to a checkout of github.com/huggingface/nanotron}"',
        '  new=$(mktemp -d "$converted.XXXX")',
        f'  (cd "$NANOTRON" && {shlex.join(convert)} --save_path "$new")',
        '  chmod 755 "$new" && mv -T "$new" "$converted" || [ -e "$converted/config.json" ]',
        "fi",
        "ln -sfn ../hf model",
    ]


def _write_all(scripts: Sequence[Path], output: Path) -> None:
    names = "\n".join(f"  {shlex.quote(str(script))}" for script in scripts)
    told = {"here": shlex.quote(str(output.absolute())), "names": names, "done": DONE, "script": SCRIPT}
    told |= {"last": str(len(scripts) - 1), "log": f"{output.absolute()}/slurm-%A_%a.log"}
    for name, text in (("evaluate.sh", _HERE), ("evaluate.sbatch", _JOBS)):
        write_atomically(output / name, text.format(**told).encode())
        (output / name).chmod(0o755)


_HERE = """\
#!/bin/bash
# All evaluations that are not done, one after the other; one that fails does not keep the others from running.
cd {here}
scripts=(
{names}
)
failed=0
for script in "${{scripts[@]}}"; do
  [ -e "$script/{done}" ] && continue
  echo "== $script"
  bash "$script/{script}" 2>&1 | tee "$script/log"
  [ -e "$script/{done}" ] || failed=$((failed + 1))
done
[ "$failed" = 0 ] || {{ echo "$failed of ${{#scripts[@]}} failed; each has a file log" >&2; exit 1; }}
"""

_JOBS = """\
#!/bin/bash
#SBATCH --job-name=evaluate
#SBATCH --array=0-{last}
#SBATCH --gpus-per-node=1
#SBATCH --requeue
#SBATCH --output={log}
# All evaluations, one per task of the array; those that are done end at once.
cd {here}
scripts=(
{names}
)
exec bash "${{scripts[$SLURM_ARRAY_TASK_ID]}}/{script}"
"""
