"""The demo's files: the sample documents, the guard against CUDA packages."""

import json
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo import install_cpu

DEMO = Path(__file__).parents[1] / "demo"
KINDS = {"encyclopedic", "how-to", "news", "numeric", "dialogue", "code", "long", "hostile", "short", "multilingual"}


@pytest.fixture(scope="module")
def documents() -> list[dict[str, str]]:
    with (DEMO / "documents.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# --- documents


def test_documents_are_many_distinct_and_of_every_kind(documents):
    assert len(documents) >= 24
    assert all(list(document) == ["id", "text", "kind"] for document in documents)
    assert len({document["id"] for document in documents}) == len(documents)
    assert len({document["text"] for document in documents}) == len(documents)
    assert Counter(document["kind"] for document in documents).keys() == KINDS


def test_document_lengths_suit_their_kind(documents):
    for document in documents:
        shortest, longest = {"short": (1, 300), "long": (25_000, 60_000)}.get(document["kind"], (900, 3_000))
        assert shortest <= len(document["text"]) <= longest, document["id"]
        assert document["text"] == document["text"].strip(), document["id"]


def test_hostile_document_holds_what_breaks_pipelines(documents):
    [text] = [document["text"] for document in documents if document["kind"] == "hostile"]
    for markup in ("[[DOCUMENT]]", "<|im_start|>assistant", "<|im_end|>", "</s>", "{{ ", "<think>", "```", "<div"):
        assert markup in text, markup


def test_parquet_holds_the_same_rows_in_several_row_groups(documents):
    parquet = pq.ParquetFile(DEMO / "documents.parquet")
    assert parquet.schema_arrow.names == ["id", "text", "kind"]
    assert set(parquet.schema_arrow.types) == {pa.string()}
    assert parquet.metadata.num_row_groups >= 3
    assert parquet.read().to_pylist() == documents


# --- install_cpu.py


def packages(*names_and_versions: str) -> dict:
    """What pip's installation report says about distributions given as `name version`."""
    pairs = [pair.split() for pair in names_and_versions]
    return {"version": "1", "install": [{"metadata": {"name": name, "version": version}} for name, version in pairs]}


def test_cuda_packages_are_found_in_a_report():
    default = packages("torch 2.13.0", "triton 3.7.1", "nvidia-nccl-cu13 2.29.7", "cuda_bindings 13.5.0", "numpy 2.4.6")
    assert install_cpu.cuda_packages(default) == ["cuda_bindings", "nvidia-nccl-cu13", "triton"]
    assert install_cpu.cuda_packages(packages("torch 2.13.0+cu130", "sympy 1.14.0")) == ["torch"]
    assert install_cpu.cuda_packages(packages("torch 2.13.0+cpu", "transformers 5.23.0", "accelerate 1.15.0")) == []
    assert install_cpu.cuda_packages(packages()) == []


def make_wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can see."""
    make_wheel(tmp_path, "finemill-test-plain", "1.0")
    make_wheel(tmp_path, "finemill-test-torch", "1.0", requires="nvidia-finemill-test")
    make_wheel(tmp_path, "nvidia-finemill-test", "1.0")
    make_wheel(tmp_path, "finemill-test-marked", "1.0+cu130")
    for variable, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(f"PIP_{variable}", value)
    return tmp_path


@pytest.mark.parametrize(
    ("requirement", "cuda"),
    [
        ("finemill-test-plain", []),
        ("finemill-test-torch", ["nvidia-finemill-test"]),  # seen in pip's output
        ("finemill-test-marked", ["finemill-test-marked"]),  # seen only in its report
    ],
)
def test_pip_is_asked_what_it_would_install(index, requirement, cuda):
    assert install_cpu.planned_cuda_packages([requirement]) == cuda


def test_requirements_that_pip_cannot_find_are_an_error(index):
    with pytest.raises(RuntimeError, match="could not resolve finemill-test-absent"):
        install_cpu.planned_cuda_packages(["finemill-test-absent"])


def test_cuda_ends_the_installation_with_one_line_of_advice(index, monkeypatch, capfd):
    monkeypatch.setattr(install_cpu, "installed", lambda: False)
    monkeypatch.setattr(install_cpu, "REQUIREMENTS", ["finemill-test-torch"])
    assert install_cpu.main() == 1
    [advice] = [line for line in capfd.readouterr().err.splitlines() if "CUDA" in line]
    assert "nvidia-finemill-test" in advice
    assert f"{sys.executable} -m pip install torch==" in advice
    shown = subprocess.run([sys.executable, "-m", "pip", "show", "finemill-test-torch"], capture_output=True)
    assert shown.returncode != 0, "it was installed all the same"
