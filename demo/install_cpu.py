"""Install what serves the demo model on a CPU: `python demo/install_cpu.py`, run by the virtual environment's Python.

On Linux the default torch wheel drags in gigabytes of CUDA packages that a CPU demo never uses. Which wheel pip would
choose depends on the index, so this script lets pip resolve without installing, looks at the outcome, and stops with
one line of advice if CUDA is part of it. Otherwise it installs. When all is installed already, it returns at once.

Even `pip install --dry-run` may download every wheel that it resolves. The script therefore also reads pip's output as
it comes, and ends pip at the first CUDA package that it turns to; the JSON report of the dry run has the last word.

Only the standard library is used: nothing else is installed yet when this runs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TORCH = "2.13.0"
REQUIREMENTS = [f"torch=={TORCH}", "transformers[serving]>=5.23"]  # as the extra `cpu` of pyproject.toml
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def installed() -> bool:
    """Whether this environment can serve the demo model already."""
    try:
        for name in ("fastapi", "uvicorn", "openai", "accelerate"):  # what `transformers[serving]` adds
            version(name)
        release = tuple(map(int, version("transformers").split(".")[:2]))
        return version("torch").split("+")[0] == TORCH and release >= (5, 23)
    except PackageNotFoundError:
        return False


def is_cuda(name: str, release: str = "") -> bool:
    """Whether a distribution belongs to CUDA: `nvidia-*`, `cuda-*`, Triton, or a build marked like `2.13.0+cu130`."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    return name.startswith(("nvidia-", "cuda-")) or "triton" in name.split("-") or "+cu" in release


def cuda_packages(report: dict[str, Any]) -> list[str]:
    """Names of the CUDA packages that pip would install.

    Args:
        report: What `pip install --dry-run --report` writes, see the installation report of pip's reference.

    Returns:
        Sorted names; empty when no CUDA package is among them.
    """
    packages = [item["metadata"] for item in report["install"]]
    return sorted(package["name"] for package in packages if is_cuda(package["name"], package["version"]))


def planned_cuda_packages(requirements: list[str]) -> list[str]:
    """Let pip resolve the requirements without installing anything, and return the CUDA packages among them.

    Args:
        requirements: Requirement specifiers, as given to pip.

    Returns:
        Names of CUDA packages; only the first one when pip was ended on turning to it.

    Raises:
        RuntimeError: pip could not resolve the requirements; its message has been shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--report", str(report), *requirements]
        # An ended pip leaves what it has downloaded behind: give it our folder as its temporary one.
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "TMPDIR": folder}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as pip:
            assert pip.stdout is not None
            for line in pip.stdout:
                collecting = re.match(r"\s*Collecting ([\w.-]+)", line)
                if collecting and is_cuda(collecting[1]):
                    pip.terminate()
                    return [collecting[1]]
        if pip.returncode != 0:
            raise RuntimeError(f"pip could not resolve {' '.join(requirements)}: see its message above")
        return cuda_packages(json.loads(report.read_text(encoding="utf-8")))


def main() -> int:
    """Install the requirements of the demo's model server, or say what to do instead; the exit status."""
    if installed():
        return 0
    print(f"looking at what pip would install for {' '.join(REQUIREMENTS)} ...", flush=True)
    try:
        cuda = planned_cuda_packages(REQUIREMENTS)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if cuda:
        print(
            f"pip would install gigabytes of CUDA packages that the demo does not use ({', '.join(cuda)}); install the "
            f"CPU build first, then repeat: {sys.executable} -m pip install torch=={TORCH} --index-url {CPU_INDEX}",
            file=sys.stderr,
        )
        return 1
    return subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *REQUIREMENTS])


if __name__ == "__main__":
    sys.exit(main())
