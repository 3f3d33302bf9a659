"""One run after another: a job without GPUs that waits for the jobs of a run and then submits the next one.

What the next run reads is there only when the first one is complete, so it cannot be planned before. The waiting job
does nothing but call the same command again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from blocks.execute.cluster import active_arrays, load_cluster, next_submission, sbatch, this_command
from blocks.shards.commit import pending_units
from blocks.shards.folder import RunError, RunFolder, write_atomically
from blocks.shards.plan import load_plan
from blocks.shards.run import load_run


def waits_for(before: str | None, options: Mapping[str, Any], console: Console) -> bool:
    """Put a command off until a run is complete.

    Args:
        before: the run, its output folder or its state folder; None to wait for nothing.
        options: of the command line, with `cluster`.
        console: for messages.

    Returns:
        Whether a job was submitted that calls the command again; False when it can go on now.

    Raises:
        RunError: there is no such run, or it is not complete and nobody works on it.
    """
    if before is None:
        return False
    folder = RunFolder.named(before)
    record = load_run(folder)
    if record is None:
        raise RunError(f"--after {before}: there is no run")
    units = load_plan(folder.state / "plan.jsonl")
    if not units:
        raise RunError(f"--after {before}: there is no plan; if the run has a --state, give that folder")
    passes = (record.seen_by(folder, number) for number in range(len(record.passes)))
    if not any(any(pending_units(one, units)) for one in passes):
        return False
    if options["cluster"] is None:
        raise RunError(f"--after {before}: the run is not complete; only with --cluster a job can wait for it")
    arrays = active_arrays(folder)
    if not arrays:
        raise RunError(f"--after {before}: the run is not complete, and no job is at work on it; resume it first")
    cluster = load_cluster(Path(options["cluster"]))
    here = next_submission(folder.state / "followers")
    asked = {name.replace("_", "-"): value for name, value in options.items() if value is not None and name != "config"}
    asked["cluster"] = str(Path(options["cluster"]).resolve())
    write_atomically(here / "options.yaml", yaml.safe_dump(asked, allow_unicode=True).encode())
    command = [cluster.python, *this_command(), "--config", str(here / "options.yaml")]
    named = cluster.bookkeeping_options(here, arrays)
    job = sbatch(cluster, here, named, [shlex.join(command)], str(options.get("api_key_env")))
    console.print(f"submitted job {job}, which waits for {', '.join(arrays)} and then submits this", highlight=False)
    return True
