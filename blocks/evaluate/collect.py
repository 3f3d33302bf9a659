"""Collect what was evaluated: scores of all models, means over seeds, and a picture over the steps of training."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from blocks.evaluate.suites import SUITES
from blocks.evaluate.targets import FINAL
from blocks.evaluate.tools.common import RESULTS
from blocks.evaluate.write import DONE, SCRIPT
from blocks.pretrain.ablation import NOISE, Ablation
from blocks.shards.folder import RunError


@dataclass(frozen=True)
class Evaluated:
    """The scores of one model on one suite; none where it has not been run, or not to its end."""

    model: str
    step: int
    suite: str
    scores: dict[str, float]

    @property
    def overall(self) -> float | None:
        """The score that stands for the suite."""
        return self.scores.get("overall")


@dataclass(frozen=True)
class Arm:
    """An arm of an ablation on one suite.

    Attributes:
        scores: "overall" of its trainings, one per seed.
        step: at which all trainings of all arms were evaluated.
    """

    name: str
    suite: str
    step: int
    scores: list[float]

    @property
    def mean(self) -> float:
        return fmean(self.scores)

    @property
    def sd(self) -> float | None:
        """Over seeds, None for one."""
        return stdev(self.scores) if len(self.scores) > 1 else None


def collect(output: Path) -> list[Evaluated]:
    """Read all evaluations of a folder, by suite, model and step.

    Raises:
        RunError: there are none.
    """
    found = []
    for script in output.glob(f"*/*/*/{SCRIPT}"):
        model, step, suite = script.relative_to(output).parts[:3]
        if suite in SUITES:
            number = FINAL if step == "final" else int(step)
            # What a tool has written before its script found that something is missing counts for nothing.
            scores = SUITES[suite].read(script.parent / RESULTS) if (script.parent / DONE).exists() else {}
            found.append(Evaluated(model, number, suite, scores))
    if not found:
        raise RunError(f"{output}: no evaluations here; `eval_suite.py write` begins some")
    return sorted(found, key=lambda one: (list(SUITES).index(one.suite), one.model, one.step == FINAL, one.step))


def arms(found: Sequence[Evaluated], ablation: Ablation) -> list[Arm]:
    """The arms of an ablation, each suite at the last step at which all of its trainings have a score.

    Raises:
        RunError: there is no such step for any suite.
    """
    by_arm: dict[str, list[str]] = {}
    for arm, experiment in ablation.experiments():
        by_arm.setdefault(arm, []).append(experiment.name)
    trainings = [name for names in by_arm.values() for name in names]
    result = []
    for suite in SUITES:
        scores = {(one.model, one.step): one.overall for one in found if one.suite == suite and one.overall is not None}
        steps = [{step for model, step in scores if model == training} for training in trainings]
        common = set.intersection(*steps)
        if common:
            step = FINAL if FINAL in common else max(common)
            result += [Arm(arm, suite, step, [scores[name, step] for name in names]) for arm, names in by_arm.items()]
    if not result:
        missing = sorted(set(trainings) - {one.model for one in found if one.overall is not None})
        raise RunError(
            f"there is no step at which all {len(trainings)} trainings were evaluated"
            + (f"; nothing of {', '.join(missing)}" if missing else "")
        )
    return result


def noise(ablation: Ablation) -> float | None:
    """The difference of two arms' means that seeds alone exceed once in twenty times, by the study's spread.

    That is 1.96 · sd · √(2 / seeds) with the greater of the two standard deviations in `NOISE`; None for a model that
    the study did not train. It holds for "overall" of the FinePhrase suite.
    """
    model = ablation.training.get("model")
    if not isinstance(model, str) or model not in NOISE:
        return None
    return 1.96 * max(NOISE[model]) * math.sqrt(2 / len(ablation.seeds))


def write_csv(found: Sequence[Evaluated], path: Path) -> None:
    """One line per score: model, step (empty for the final one), suite, name, value."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "step", "suite", "score", "value"])
        for one in found:
            for name, value in one.scores.items():
                writer.writerow([one.model, "" if one.step == FINAL else one.step, one.suite, name, value])


def plot(found: Sequence[Evaluated], path: Path, ablation: Ablation | None = None) -> None:
    """Draw "overall" over steps, a panel per suite and a line per model, or per arm with the range of its seeds.

    Args:
        found: as `collect` gives it.
        path: .svg, .png or .pdf.
        ablation: whose trainings are drawn as arms.

    Raises:
        RunError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise RunError("a plot needs matplotlib: pip install matplotlib") from error
    matplotlib.use("agg")
    from matplotlib import pyplot

    arm_of = {experiment.name: arm for arm, experiment in ablation.experiments()} if ablation else {}
    lines: dict[str, dict[str, dict[int, list[float]]]] = {}
    for one in found:
        if one.overall is not None:
            by_step = lines.setdefault(one.suite, {}).setdefault(arm_of.get(one.model, one.model), {})
            by_step.setdefault(one.step, []).append(one.overall)
    if not lines:
        raise RunError("there is no complete evaluation to draw yet")
    figure, panels = pyplot.subplots(1, len(lines), figsize=(6.5 * len(lines), 4.5), squeeze=False, layout="tight")
    for panel, (suite, models) in zip(panels[0], lines.items(), strict=True):
        last = max((step for steps in models.values() for step in steps), default=FINAL)
        for index, (model, by_step) in enumerate(models.items()):
            color = f"C{index % 10}"
            # A model without steps, such as a baseline from the Hub, is a line across the picture.
            if FINAL in by_step:
                panel.axhline(fmean(by_step[FINAL]), color=color, linestyle="--", linewidth=1, label=model)
            points = sorted((step, values) for step, values in by_step.items() if step != FINAL)
            if points:
                x = [step for step, _ in points]
                label = None if FINAL in by_step else model
                panel.plot(x, [fmean(v) for _, v in points], color=color, marker="o", markersize=3, label=label)
                if any(len(values) > 1 for _, values in points):
                    low, high = [min(v) for _, v in points], [max(v) for _, v in points]
                    panel.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        panel.set(title=suite, xlabel="steps" if last != FINAL else "", ylabel="overall")
        if last == FINAL:
            panel.set_xticks([])
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    figure.savefig(path)
    pyplot.close(figure)
