"""One of three nodes is ten times as slow: how much longer than the ideal does a run on a real Slurm take?

    python tests/bench/stragglers.py [--documents 2000]

Each job has a server of its own (a stand-in for vLLM) that answers four requests at a time, in 0.5 s, on one node in
5 s. `leased` is finemill's way; `static` gives each job a fixed third, as the published run did, of an eighth of the
documents. Both are held against the time that all three would take together without a break, from the first answer to
the last, and against what the planner says. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocks.execute.planner import leased_wall, static_wall
from tests.conftest import ROOT, documents, fake_vllm, write_parquet
from tests.generate.small_tokenizers import make_tokenizer
from tests.slurm import Slurm, missing

SLOTS, LATENCY, SLOW, UNIT = 4, 0.5, 10, 4
SPEEDS = [1.0, 1.0, 1 / SLOW]


def submit(slurm: Slurm, folder: Path, rows: list[dict[str, Any]], **profile: Any) -> None:
    """Submit a run over `rows` as `folder`; its answers are noted in `folder.parent / "answers"`."""
    programs = folder.parent / "bin"
    fake_vllm(programs)
    setup = f"""
export PATH={programs}:$PATH CUDA_VISIBLE_DEVICES=0 FAKE_VLLM_LATENCY={LATENCY}
export FAKE_VLLM_ANSWERS={folder.parent}/answers FINEMILL_LEASE_SECONDS=20
if [ "$SLURMD_NODENAME" = n1 ]; then FAKE_VLLM_LATENCY={LATENCY * SLOW}; fi
"""
    told = {"cpus": 2, "warning": 65, "setup": setup, "preflight": False, **profile}
    folder.with_suffix(".yaml").write_text(yaml.safe_dump(told))
    source = write_parquet(folder.with_suffix(".parquet"), rows, row_group_size=UNIT)
    command = [sys.executable, ROOT / "pipelines" / "finephrase.py", "--input", source, "--output", folder]
    command += ["--formats", "faq", "--verify", "off", "--chunk-size", UNIT, "--max-in-flight", SLOTS]
    command += ["--model", folder.parent / "model", "--cluster", folder.with_suffix(".yaml")]
    subprocess.run([*map(str, command)], env=slurm.environment, check=True, stdout=subprocess.DEVNULL)


def wall(slurm: Slurm, answers: Path, wanted: int) -> float:
    """Seconds from the first request to the last answer, when all jobs are over."""
    slurm.wait(lambda: not slurm.queue(), "end", 1800)
    times = sorted(float(line) for line in answers.read_text().splitlines())
    if len(times) != wanted:
        logs = "\n".join(
            f"{log}:\n{log.read_text()[-3000:]}" for log in sorted(answers.parent.glob("*/**/launches/*/*.log"))
        )
        raise SystemExit(f"{logs}\n{len(times)} answers to {wanted} documents")
    answers.unlink()
    return times[-1] - times[0] + LATENCY


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=2000)
    options = parser.parse_args()
    if missing():
        print(f"skipped: Slurm is not installed (slurm-wlm): {', '.join(missing())}")
        sys.exit("FINEMILL_NO_SKIPS" in os.environ)
    leased, fixed = options.documents, max(3 * UNIT, options.documents // 8)
    seconds = LATENCY / SLOTS  # of an average worker per document
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="finemill-bench") as root:
        folder = Path(root)
        make_tokenizer(folder / "model", "plain")
        (folder / "slurm").mkdir()
        slurm = Slurm(folder / "slurm", nodes=3)
        try:
            slurm.start()
            submit(slurm, folder / "leased", documents(leased), jobs=3)
            planned = leased_wall(-(-leased // UNIT), UNIT * seconds, SPEEDS)
            found["leased"] = {"wall": wall(slurm, folder / "answers", leased), "planned": planned}
            for node in range(3):
                part = documents(fixed)[node::3]
                submit(slurm, folder / f"static{node}", part, jobs=1, sbatch={"nodelist": f"n{node + 1}"})
            planned = static_wall(fixed * seconds, SPEEDS)
            found["static"] = {"wall": wall(slurm, folder / "answers", fixed), "planned": planned}
        finally:
            slurm.stop()
    for name, count in (("leased", leased), ("static", fixed)):
        result = found[name]
        result["ideal"] = count * seconds / sum(SPEEDS)
        result["over_ideal"] = result["wall"] / result["ideal"]
        planned = result["planned"] / result["ideal"]
        print(f"{name}: {result['wall']:6.1f} s, {result['over_ideal']:.2f} times the ideal (planned: {planned:.2f})")
    print(json.dumps({name: {key: round(value, 2) for key, value in result.items()} for name, result in found.items()}))


if __name__ == "__main__":
    main()
