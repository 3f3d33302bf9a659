"""The suites: which tool evaluates what. No benchmark is written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.evaluate.targets import Settings, Target
from blocks.evaluate.tools import alpaca, harness, lighteval, opencompass
from blocks.evaluate.tools.common import Written


@dataclass(frozen=True)
class Suite:
    """A suite.

    Attributes:
        install: what to give to pip.
        write: its files and commands.
        read: its scores from the folder that the tool wrote. "overall" stands for the suite, and is missing where the
            suite is incomplete; {} where there is nothing.
        judged: whether it needs a judge.
        served: True where it needs an endpoint, False where it has to load the model (it asks for probabilities that
            chat endpoints do not give); None where it does either.
    """

    install: str
    write: Callable[[Target, Settings], Written]
    read: Callable[[Path], dict[str, float]]
    judged: bool = False
    served: bool | None = None


def _compass(module: str, datasets: str, names: Sequence[str], as_asked: bool = False) -> Suite:
    write = opencompass.writer(module, datasets, names, as_asked)
    return Suite(opencompass.INSTALL, write, opencompass.read_opencompass, judged=True, served=True)


SUITES = {
    "finephrase": Suite(lighteval.INSTALL, lighteval.write_finephrase, lighteval.read_finephrase, served=False),
    "ifeval": Suite(lighteval.INSTALL, lighteval.write_ifeval, lighteval.read_ifeval),
    "mixeval": Suite(lighteval.INSTALL, lighteval.write_mixeval, lighteval.read_mixeval, judged=True),
    "open-llm-leaderboard": Suite(harness.INSTALL, harness.write_leaderboard, harness.read_leaderboard, served=False),
    "alpaca-eval": Suite(alpaca.INSTALL, alpaca.write_alpaca, alpaca.read_alpaca, judged=True, served=True),
    "mt-bench": _compass(
        "multiround.mtbench_single_judge_diff_temp",
        "mtbench_datasets",
        ["mtbench_0.0", "mtbench_0.1", "mtbench_0.7"],
        as_asked=True,
    ),
    "mt-bench-101": _compass("multiround.mtbench101_judge", "mtbench101_datasets", ["mtbench101"]),
    "arena-hard": _compass("arena_hard.arena_hard_compare", "arenahard_datasets", ["arenahard"]),
}
