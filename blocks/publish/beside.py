"""`--publish org/name` and `--output hf://datasets/org/name`: a publisher beside a run."""

from __future__ import annotations

import re
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from blocks.execute.cluster import Cluster, active_arrays, job_folder, next_submission, sbatch
from blocks.publish.card import About
from blocks.publish.hub import Repository
from blocks.publish.publisher import Publisher
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.run import load_run

_DATASET = re.compile(r"hf://datasets/([^/@]+/[^/@]+)/?")


def hub_output(output: str, publish: str | None = None) -> tuple[str, Repository | None]:
    """The run folder that `--output` means, and the repository to publish it to, if any.

    Args:
        output: what `--output` says.
        publish: what `--publish` says.

    Raises:
        RunError: it is a path on the Hub, but no dataset, or not the one that is to be published to.
    """
    if not output.startswith("hf://"):
        return output, Repository(publish) if publish else None
    match = _DATASET.fullmatch(output)
    if match is None:
        raise RunError(f"--output {output}: a dataset on the Hub is hf://datasets/org/name, without a path behind it")
    if publish not in (None, match[1]):
        raise RunError(f"--output {output}: --publish names another repository, {publish}; give one of the two")
    return str(Path("runs") / match[1].replace("/", "--")), Repository(match[1])


@contextmanager
def publishing(
    repository: Repository | None, folder: RunFolder, console: Console, cluster: Cluster | None = None
) -> Iterator[None]:
    """Publish a run while it is made; at the end wait until all of it is there.

    On a cluster a job without GPUs does it when the run's jobs are over. What keeps the publisher from working does not
    stop the run; it is said at the end.

    Args:
        repository: where to; None for nowhere.
        folder: the run.
        console: for messages.
        cluster: where the run is submitted to.

    Raises:
        RunError: this account cannot write there (before the run begins), or not all could be published.
    """
    if repository is None or job_folder() is not None:
        yield
        return
    repository.check()
    if cluster is not None:
        script = _publish_script()
        yield
        job = _publish_after(cluster, script, active_arrays(folder), repository, folder)
        console.print(f"submitted job {job}, which publishes to {repository.name} afterwards", highlight=False)
        return
    over, problems = threading.Event(), list[Exception]()

    def work() -> None:
        try:
            while load_run(folder) is None and not over.wait(1):
                pass
            Publisher(folder, repository, About()).run(follow=True, over=over)
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=work, daemon=True)  # whoever kills the run may kill it, too
    thread.start()
    yield
    over.set()
    console.print(f"publishing to {repository.name} what is not there yet", highlight=False)
    thread.join()
    if problems:
        raise RunError(f"not published: {problems[0]}; when that is mended, `pipelines/publish.py` goes on with it")
    console.print(f"published: {repository.api.endpoint}/datasets/{repository.name}", highlight=False, soft_wrap=True)


def _publish_script() -> Path:
    """`pipelines/publish.py`, in the folder of the script that runs or in one above it.

    Raises:
        RunError: there is none.
    """
    script = Path(sys.argv[0]).resolve()
    found = next((folder / "publish.py" for folder in script.parents if (folder / "publish.py").is_file()), None)
    if found is None:
        raise RunError(f"there is no publish.py beside {script}: submit without --publish, and publish afterwards")
    return found


def _publish_after(
    cluster: Cluster, script: Path, arrays: Sequence[str], repository: Repository, folder: RunFolder
) -> str:
    here = next_submission(folder.state / "followers")
    command = [cluster.python, script, folder.output, "--repo", repository.name, "--state", folder.state]
    return sbatch(cluster, here, cluster.bookkeeping_options(here, arrays), [shlex.join(map(str, command))], "HF_TOKEN")
