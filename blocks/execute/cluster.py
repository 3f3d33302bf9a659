"""Slurm: a profile of a cluster, and the submission of a run as an array of jobs.

Each job of the array is a whole launch of the pipeline's own script on one node: it starts the model servers of its
GPUs, and its workers take one unit of the run after the other (`blocks.shards.leases`) until none is left. So jobs need
no lists of ranks that could be stale, every job keeps its warm servers for as long as it runs, and a job more, a job
less, a slow one or a dead one only changes how many units the others take.

Before its time limit a job is signalled, drains and puts itself back into the queue; after a preemption Slurm does it.
Nothing but the command line reaches the job by file: keys come from the environment in which `sbatch` was called.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from blocks.execute.preflight import check_disks, check_gpus, check_programs, try_out
from blocks.generate.servers import SCRATCH
from blocks.shards.folder import RunError, RunFolder, write_atomically

if TYPE_CHECKING:
    from blocks.generate.model import Model

JOB = "FINEMILL_JOB"
"""Environment variable that tells a launch that it is a job of a cluster: the folder of its submission."""

DRAIN = "FINEMILL_DRAIN_SECONDS"
"""Environment variable with the seconds that a job has for draining."""

STOP = "stop"
"""File in a submission's folder that keeps its jobs from going back into the queue."""

STOPPING = 60
"""Seconds of the warning that are left for ending servers and workers."""


@dataclass(frozen=True)
class Cluster:
    """A profile of a cluster: what a job gets. What is not given is not asked for.

    Args:
        jobs: jobs at a time.
        partition: as in sbatch, and so are `account`, `qos`, `constraint`, `exclude`.
        time: limit of a job as Slurm has it (`24:00:00`, `2-00:00:00`).
        gpus: GPUs of a job, all on one node; each (or each group that a model needs) gets a server.
        cpus: CPUs of a job.
        memory: memory of a job, such as `200G`.
        setup: lines of shell before the job's own, such as `source …/activate` or `module load …`.
        python: the interpreter; that of the submitting process if not given.
        scratch: folder on the node's own disk for compile caches; each server gets one of its own there.
        warning: seconds before the time limit at which a job begins to drain.
        requeue: whether a job that drained or was preempted goes back into the queue.
        rate: completion tokens per second and GPU that you expect; below half of it, `status.py` raises an alarm.
        preflight: whether `setup` and the pipeline are tried on this node, with a few documents, before anything is
            submitted.
        sbatch: any further options of sbatch by their long names; they win over everything above.
        bookkeeping: the same for jobs that only wait for a run and submit the next one. They get one CPU and no GPU,
            and nothing of `sbatch`, which may ask for some.
    """

    jobs: int = 1
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    time: str | None = None
    gpus: int = 0
    cpus: int | None = None
    memory: str | None = None
    setup: str = ""
    python: str = sys.executable
    scratch: str | None = None
    warning: int = 600
    requeue: bool = True
    rate: float | None = None
    preflight: bool = True
    sbatch: Mapping[str, Any] = field(default_factory=dict)
    bookkeeping: Mapping[str, Any] = field(default_factory=dict)

    def bookkeeping_options(self, folder: Path, arrays: Sequence[str]) -> dict[str, Any]:
        """The options of sbatch for a job that waits for other jobs."""
        own = {
            "job-name": "-".join(["finemill-after", *arrays]),
            "dependency": f"afterany:{':'.join(arrays)}" if arrays else None,
            "ntasks": 1,
            "cpus-per-task": 1,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.time,
            "output": str(folder / "job.log"),
            **self.bookkeeping,
        }
        return {option: value for option, value in own.items() if value is not None and value is not False}

    def options(self, name: str, folder: Path, jobs: int) -> dict[str, Any]:
        """The options of sbatch for an array of jobs; True for an option without a value."""
        own = {
            "job-name": name,
            "array": f"0-{jobs - 1}",
            "nodes": 1,
            "ntasks": 1,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "exclude": self.exclude,
            "time": self.time,
            "gpus-per-node": self.gpus or None,
            "cpus-per-task": self.cpus,
            "mem": self.memory,
            "requeue" if self.requeue else "no-requeue": True,
            "signal": f"B:USR1@{self.warning}",
            "output": str(folder / "%a.log"),
            "open-mode": "append",
            **self.sbatch,
        }
        return {option: value for option, value in own.items() if value is not None and value is not False}


def load_cluster(file: Path) -> Cluster:
    """Read a profile.

    Raises:
        RunError: it is no profile; the message says what is wrong with it.
    """
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"--cluster {file}: {error}") from error
    known = {field.name: field for field in fields(Cluster)}
    if not isinstance(content, dict):
        raise RunError(f"--cluster {file}: not a mapping of {', '.join(known)}")
    if unknown := [name for name in content if name not in known]:
        raise RunError(
            f"--cluster {file}: unknown {', '.join(unknown)}; it knows {', '.join(known)}, and `sbatch` takes any "
            f"other option of sbatch"
        )
    if not isinstance(content.get("time", ""), str):
        raise RunError(f"--cluster {file}: put the time in quotes; YAML takes 24:00:00 for a number")
    for name, value in content.items():
        kinds = str(known[name].type).partition("[")[0].split(" | ")
        if not any(_fits(value, kind) for kind in kinds):
            raise RunError(f"--cluster {file}: {name} must be {_KINDS[kinds[0]]}, not {value!r}")
    cluster = Cluster(**content)
    if cluster.warning <= STOPPING:
        raise RunError(f"--cluster {file}: warning must be more than {STOPPING} seconds")
    # A job that is told to stop while its servers start goes back into the queue, and so on for ever.
    limited = cluster.time is not None and cluster.time.lower() not in _NO_LIMIT and "signal" not in cluster.sbatch
    if cluster.time and limited and 2 * cluster.warning > seconds_of(cluster.time):
        raise RunError(
            f"--cluster {file}: jobs are told to stop {cluster.warning} s before the end of {cluster.time}, which is "
            f"more than half of it: ask for more time, or lower `warning`"
        )
    return cluster


_NO_LIMIT = ("infinite", "unlimited")


_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "Mapping": "a mapping of options",
    "str": "text",
}
"""What a value of a profile must be, by the type of its field."""


def _fits(value: Any, kind: str) -> bool:
    if kind == "float":
        return type(value) in (int, float)
    if kind == "Mapping":
        return isinstance(value, dict)
    return type(value).__name__ == ("NoneType" if kind == "None" else kind)


def seconds_of(limit: str) -> float:
    """A time limit as Slurm writes it (`minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours[:…]`).

    Raises:
        RunError: it is none.
    """
    days, dash, rest = limit.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        if dash:
            hours, minutes, seconds = [*parts, 0, 0][:3]
        elif len(parts) == 3:
            hours, minutes, seconds = parts
        else:
            hours, (minutes, seconds) = 0, [*parts, 0][:2]
        return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)
    except ValueError:
        raise RunError(f"{limit!r} is no time limit of Slurm, such as 24:00:00 or 2-00:00:00") from None


def submit(
    cluster: Cluster,
    folder: RunFolder,
    options: Mapping[str, Any],
    models: Sequence[Model],
    jobs: int,
    asks: bool = True,
) -> str:
    """Try a run out and submit it.

    Args:
        cluster: where.
        folder: the run, planned.
        options: the options of this launch.
        models: those that the run asks, the one of `options` first; none for a pipeline without one.
        jobs: how many jobs have something to do.
        asks: as in `Launch.submitted`.

    Returns:
        The id of the array.

    Raises:
        RunError: sbatch is not here or refuses, the trial failed, jobs could not start the models' servers, or a key
            stands in the profile.
    """
    _need("sbatch")
    asked = _asked(options)
    script = this_command()
    if cluster.preflight:
        check_disks([folder.state, *([Path(folder.output)] if Path(folder.output).is_dir() else [])])
        python = ["bash", "-ec", f'{cluster.setup}\nexec "$@"', "trial", cluster.python]
        servers = [model.server for model in models if model.server]
        check_gpus(cluster, servers)
        check_programs(python, servers)
        try_out([*python, *script], asked, models[0].name if models and asks else None)
    here = next_submission(folder.state / "launches")
    write_atomically(here / "options.yaml", yaml.safe_dump(asked, allow_unicode=True).encode())
    # `exec`: the signal goes to the batch shell, which is then the launch itself.
    lines = [f"export {JOB}={shlex.quote(str(here))}", f"export {DRAIN}={cluster.warning - STOPPING}"]
    if cluster.scratch is not None:
        lines.append(f'export {SCRATCH}="{cluster.scratch}"')  # it may hold variables of the node
    lines.append(shlex.join(["exec", cluster.python, *script, "--config", str(here / "options.yaml")]))
    named = cluster.options(f"finemill-{Path(folder.output).name}", here, jobs)
    job = sbatch(cluster, here, named, lines, str(options.get("api_key_env")))
    profile = str(Path(options["cluster"]).resolve())
    told = {"id": job, "jobs": jobs, "script": script, "cluster": profile, "rate": cluster.rate}
    told["cwd"] = str(Path.cwd())  # what paths in the options begin at
    write_atomically(here / "job.json", orjson.dumps(told))
    return job


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a job is called with."""
    asked = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    for name in ("cluster", "config", "after", "retry-failed"):  # what is done here and now
        asked.pop(name, None)
    return asked


def changed_options(folder: RunFolder, options: Mapping[str, Any]) -> list[str]:
    """The names of options that are others than in the run's last submission."""
    done = sorted((folder.state / "launches").glob("*/job.json"))
    if not done:
        return []
    before = yaml.safe_load(done[-1].with_name("options.yaml").read_text())
    now = yaml.safe_load(yaml.safe_dump(_asked(options)))
    return [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]


def this_command() -> list[str]:
    """The script that runs, and which of its commands where it has several."""
    named = [word for word in sys.argv[1:2] if not word.startswith("-")]
    return [str(Path(sys.argv[0]).resolve()), *named]


def _need(program: str) -> None:
    if shutil.which(program) is None:
        raise RunError(f"there is no {program} here: this wants a login node of a Slurm cluster")


def sbatch(cluster: Cluster, here: Path, options: Mapping[str, Any], lines: Sequence[str], key_env: str) -> str:
    """Write a job's script to `here` and submit it.

    Args:
        cluster: where; its `setup` comes first in the script.
        here: a new folder; it is removed when nothing was submitted.
        options: of sbatch, by their long names.
        lines: what the script does.
        key_env: environment variable with a key that must not be in the script; `HF_TOKEN` neither.

    Returns:
        The id of the job.

    Raises:
        RunError: sbatch refuses, or a key stands in the profile.
    """
    _need("sbatch")
    given = [f"#SBATCH --{name}" + ("" if value is True else f"={value}") for name, value in options.items()]
    place = f"cd {shlex.quote(str(Path.cwd()))}"
    script = "\n".join(["#!/bin/bash", *given, "set -e", cluster.setup, place, *lines, ""])
    for key in ("HF_TOKEN", key_env):
        if os.environ.get(key) and os.environ[key] in script:
            shutil.rmtree(here)
            raise RunError(f"the profile holds the value of {key}: jobs inherit your environment, so export it there")
    write_atomically(here / "job.sh", script.encode())
    # What describes the job that submits from within the cluster does not describe the one that it submits.
    own = {name: value for name, value in os.environ.items() if name == "SLURM_CONF" or not name.startswith("SLURM_")}
    command = ["sbatch", "--parsable", str(here / "job.sh")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    if done.returncode != 0:
        shutil.rmtree(here)
        raise RunError(f"sbatch refused the job: {done.stderr.strip()}")
    return done.stdout.strip().split(";")[0]


def active_arrays(folder: RunFolder) -> list[str]:
    """The ids of a run's arrays of which jobs wait or run.

    Raises:
        RunError: there is no Slurm here.
    """
    _need("squeue")
    launches = folder.state / "launches"
    ids = [orjson.loads(file.read_bytes())["id"] for file in sorted(launches.glob("*/job.json"))]
    return [job for job in ids if _is_active(job)]


def jobs_at_work(folder: RunFolder) -> int:
    """How many jobs of a run wait or run, without those that were told to stop.

    Raises:
        RunError: there is no Slurm here.
    """
    _need("squeue")
    found = 0
    for file in (folder.state / "launches").glob("*/job.json"):
        if not (file.parent / STOP).exists():
            job = orjson.loads(file.read_bytes())["id"]
            asked = ["squeue", "-h", "-r", "-o", "%T", "-j", job]
            states = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
            found += sum(state != "COMPLETING" for state in states)
    return found


def _is_active(job: str) -> bool:
    done = subprocess.run(["squeue", "-h", "-o", "%i", "-j", job], capture_output=True, text=True, check=False)
    # A controller that does not answer says nothing about the job.
    return bool(done.stdout) or (done.returncode != 0 and "Invalid job id" not in done.stderr)


def next_submission(launches: Path) -> Path:
    """A folder for one more submission; never one that jobs of an earlier one read from."""
    launches.mkdir(exist_ok=True)
    number = max((int(path.name) for path in launches.iterdir() if path.name.isdigit()), default=0)
    while True:
        number += 1
        here = launches / f"{number:04d}"
        with suppress(FileExistsError):
            here.mkdir()
            return here


def job_folder() -> Path | None:
    """Where this job may leave what only concerns itself; None when this process is no job of a cluster."""
    here = os.environ.get(JOB)
    return None if here is None else Path(here) / os.environ.get("SLURM_ARRAY_TASK_ID", "0")


def stopped() -> bool:
    """Whether somebody has stopped this job's submission: it does not go back into the queue then."""
    return (Path(os.environ[JOB]) / STOP).exists()


def stop(folder: RunFolder) -> list[str]:
    """Stop all jobs of a run: those that wait go, those that run drain and end. The ids of their arrays.

    Raises:
        RunError: there is no Slurm here.
    """
    _need("scancel")
    ids = []
    launches = folder.state / "launches"
    for here in sorted(launches.iterdir()) if launches.is_dir() else []:
        if (here / "job.json").exists():
            (here / STOP).touch()
            ids.append(orjson.loads((here / "job.json").read_bytes())["id"])
            for options in (["--state=PENDING"], ["--signal=USR1", "--batch", "--state=RUNNING"]):
                subprocess.run(["scancel", *options, ids[-1]], capture_output=True, check=False)
    return ids


def submit_again(folder: RunFolder, *options: str) -> int:
    """Submit what is left of a run with the options and the profile of its last submission; the exit code.

    Args:
        folder: the run.
        options: further ones of the pipeline.

    Raises:
        RunError: it was never submitted.
    """
    launches = folder.state / "launches"
    done = sorted(launches.glob("*/job.json")) if launches.is_dir() else []
    if not done:
        raise RunError(f"{folder.output} was never submitted: start its pipeline with --cluster")
    told = orjson.loads(done[-1].read_bytes())
    same = ["--config", str(done[-1].with_name("options.yaml")), "--cluster", told["cluster"]]
    place = told.get("cwd")
    if place is not None and not Path(place).is_dir():
        raise RunError(f"{place}, where this run was submitted, is not there: start its pipeline again with --cluster")
    return subprocess.run([sys.executable, *told["script"], *same, *options], check=False, cwd=place).returncode


def requeue() -> bool:
    """Put this job back into the queue; Slurm ends it then. False when Slurm refuses."""
    return subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False).returncode == 0
