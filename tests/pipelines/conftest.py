"""A real Slurm and a run on it, for the tests of submission."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import documents, endpoint, finephrase, start_slurm, write_parquet
from tests.slurm import Slurm


@pytest.fixture
def three_nodes() -> Iterator[Slurm]:
    yield from start_slurm(3)


@pytest.fixture
def submit(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Submit `finephrase.py` over 60 documents in units of 5; the id of the array."""
    source = write_parquet(tmp_path / "in.parquet", documents(60), row_group_size=5)
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("FINEMILL_LEASE_SECONDS", "5")

    def call(server: Any, *arguments: object, **profile: object) -> str:
        file = tmp_path / "cluster.yaml"
        file.write_text(yaml.safe_dump({"jobs": 2, "cpus": 1, "warning": 65, **profile}))
        always = ["--input", source, "--output", tmp_path / "run", "--chunk-size", 5, "--formats", "faq,table"]
        done = finephrase(*always, *endpoint(server), "--cluster", file, *arguments)
        assert done.returncode == 0, done.stdout
        found = re.search(r"submitted job (\d+)", done.stdout)
        return found[1] if found else ""

    return call
