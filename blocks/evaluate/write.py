"""Write the scripts of an evaluation: one folder per model and suite, and scripts that run what has no result yet."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from blocks.evaluate.suites import SUITES
from blocks.evaluate.targets import Settings, Target
from blocks.evaluate.tools.common import RESULTS
from blocks.shards.folder import RunError, write_atomically

SCRIPT = "evaluate.sh"
DONE = "done"
"""The file that a script leaves when its tool has ended well."""

CONVERTED = "hf"
"""The folder, beside the suites of a checkpoint, of its conversion."""

_ABSOLUTE = 'for name in NANOTRON DATASETS; do [ -z "${!name:-}" ] || export "$name=$(realpath "${!name}")"; done'
"""The scripts change folders, and what their user gave may be relative."""

IDENTITY = "evaluated.json"
"""The file that says of what model, with what settings, the scores beside it are."""


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
        The folders that are not done. Those that are stay as they are.

    Raises:
        RunError: a folder is of another model, of other weights, or of other settings.
    """
    wanted = [(target, name, output.absolute() / target.folder / name) for target in targets for name in suites]
    for target, name, folder in wanted:
        _check_same(folder, _identity(target, name, settings))
    left = []
    for target, name, folder in dict.fromkeys(wanted):
        if not (folder / DONE).exists():
            _write(target, name, settings, folder)
            left.append(folder)
    _write_all(sorted(path.parent.relative_to(output) for path in output.glob(f"*/*/*/{SCRIPT}")), output)
    return left


def _identity(target: Target, name: str, settings: Settings) -> dict[str, object]:
    """What the scores depend on, as JSON; weights by the size and time of what describes them."""
    marks = [Path(target.model, mark) for mark in ("config.json", "model_config.json")]
    stats = [path.stat() for path in marks if Path(target.model).is_absolute() and path.exists()]
    told = {**asdict(settings), "suite": name, "target": asdict(target)}
    del told["batch_size"]  # who ran out of memory may take a smaller one
    if not SUITES[name].judged:
        told["judge"] = None
    if name != "finephrase":
        told["max_samples"] = None
    return {**told, "weights": [[stat.st_size, stat.st_mtime] for stat in stats]}


def _check_same(folder: Path, identity: dict[str, object]) -> None:
    path = folder / IDENTITY
    if not path.exists():
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    differing = [key for key in identity if there.get(key) != identity[key]]
    if differing:
        raise RunError(
            f"{folder} was written for another {', '.join(differing)}: give another --output, or delete that folder"
            + (f", and {folder.parent / CONVERTED}" if "weights" in differing else "")
        )


def _write(target: Target, name: str, settings: Settings, folder: Path) -> None:
    suite = SUITES[name]
    files, lines = suite.write(target, settings)
    begin = [
        "#!/bin/bash",
        f"# {name} of {target.label}. Its tool: pip install {suite.install}",
        "set -euo pipefail",
        _ABSOLUTE,
        'cd "$(dirname "$(realpath "$0")")"',
        f"mkdir -p {RESULTS}",
        "# Two jobs that were submitted one after the other must not write over each other's results.",
        "exec 8>lock",
        'flock --nonblock 8 || { echo "another job is at work on this evaluation" >&2; exit 0; }',
        f"[ ! -e {DONE} ] || exit 0",
    ]
    if settings.judge and suite.judged:
        begin += ["# A judge that does not answer would look like a model that knows nothing."]
        begin += [_answers(settings.judge.url, "JUDGE_API_KEY")]
    if target.url:
        begin += ['export OPENAI_API_KEY="${OPENAI_API_KEY:-none}"', _answers(target.url, "OPENAI_API_KEY")]
    begin += _model(target)
    files = {**files, SCRIPT: "\n".join([*begin, *lines, f"touch {DONE}"]) + "\n"}
    files[IDENTITY] = json.dumps(_identity(target, name, settings), indent=2) + "\n"
    for file, text in files.items():
        write_atomically(folder / file, text.encode())
    (folder / SCRIPT).chmod(0o755)


def _answers(url: str, key: str) -> str:
    """Fail now rather than with empty answers; the key is not an argument, which everyone on a node can read."""
    asked = shlex.quote(f"{url}/models")
    header = f'<(printf "Authorization: Bearer %s" "${{{key}:-none}}")'
    return f"curl --fail --silent --show-error --max-time 60 -H @{header} {asked} >/dev/null"


def _model(target: Target) -> list[str]:
    """Put a Hugging Face model, or a link to one, into `model`."""
    if target.loaded != "model" or target.url:
        return []
    if not target.tokenizer:
        return [f"ln -sfn {shlex.quote(target.model)} model"]
    convert = ["--nproc_per_node=1", "-m", "examples.llama.convert_nanotron_to_hf", "--config_cls", "Qwen2Config"]
    convert += ["--checkpoint_path", target.model, "--tokenizer_name", target.tokenizer, "--save_path"]
    return [
        "# One conversion serves all suites of a checkpoint. It appears whole, whoever is killed on the way.",
        f"converted=$(realpath ..)/{CONVERTED}",
        "(",
        "  flock 9",
        '  if [ ! -e "$converted" ]; then',
        '    : "${NANOTRON:?set it to a checkout of github.com/huggingface/nanotron, and NANOTRON_PYTHON to the '
        'Python that has its dependencies}"',
        '    rm -rf "$converted.part"',
        '    (cd "$NANOTRON" && "${NANOTRON_PYTHON:-python}" -m torch.distributed.run --standalone \\',
        f'      {shlex.join(convert)} "$converted.part")',
        '    mv "$converted.part" "$converted"',
        "  fi",
        ') 9>"$converted.lock"',
        f"ln -sfn ../{CONVERTED} model",
    ]


def _write_all(scripts: Sequence[Path], output: Path) -> None:
    names = "\n".join(f"  {shlex.quote(str(script))}" for script in scripts)
    told = {
        "absolute": _ABSOLUTE,
        "here": shlex.quote(str(output.absolute())),
        "names": names,
        "done": DONE,
        "script": SCRIPT,
    }
    told |= {
        "last": str(len(scripts) - 1),
        "log": str(output.absolute()).replace("%", "%%") + "/slurm-%A_%a.log",
    }
    for name, text in (("evaluate.sh", _HERE), ("evaluate.sbatch", _JOBS)):
        write_atomically(output / name, text.format(**told).encode())
        (output / name).chmod(0o755)


_HERE = """\
#!/bin/bash
# All evaluations that are not done, one after the other; one that fails does not keep the others from running.
{absolute}
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
#SBATCH --output="{log}"
# All evaluations, one per task of the array; those that are done end at once.
{absolute}
cd {here}
scripts=(
{names}
)
exec bash "${{scripts[$SLURM_ARRAY_TASK_ID]}}/{script}"
"""
