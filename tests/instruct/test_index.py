"""The index of templates, against brute force in NumPy."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import pytest

faiss = pytest.importorskip("faiss", reason="faiss is not installed: make test-all")

from blocks.instruct.index import TemplateSearch, build_index, list_count  # noqa: E402 - as the other tests of extras
from blocks.shards.folder import RunError  # noqa: E402 - likewise

ROOT = Path(__file__).parents[2]
ROWS, DIMENSIONS, SHARD = 5000, 32, 1000

BUILD = """
import os, signal, sys
from pathlib import Path
import numpy as np
from blocks.instruct import index
folder, moment, sync = Path(sys.argv[1]), int(sys.argv[4]), index.sync

def sync_and_die(path):
    global moment
    sync(path)
    moment -= 1
    if moment == 0:
        os.kill(os.getpid(), signal.SIGKILL)

index.sync = sync_and_die
vectors = np.memmap(folder / "vectors.f16", np.float16, "r").reshape(-1, int(sys.argv[2]))
index.build_index(vectors, folder, flat_below=0, shard_rows=int(sys.argv[3]))
"""
"""Kills itself at a moment: each file is synced before it gets its name (odd), and its folder after that (even)."""

SEARCH = """
import sys
from pathlib import Path
import numpy as np
from blocks.instruct.index import TemplateSearch
search = TemplateSearch(Path(sys.argv[1]))
found = search.search(np.load(sys.argv[2]), 5)[1]
mapped = [line.rsplit(None, 1)[-1].rsplit("/")[-1] for line in open("/proc/self/maps") if sys.argv[1] in line]
print(sorted(set(mapped)), flush=True)
sys.stdin.readline()
np.save(sys.argv[3], found)
"""


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_vectors(folder: Path, rows: int = ROWS, seed: int = 1) -> np.ndarray:
    """Vectors in 50 heaps; mapped."""
    dice = np.random.default_rng(seed)
    heaps = dice.normal(size=(50, DIMENSIONS))
    folder.mkdir(parents=True, exist_ok=True)
    found = unit(heaps[dice.integers(50, size=rows)] + 0.5 * dice.normal(size=(rows, DIMENSIONS)))
    found.astype(np.float16).tofile(folder / "vectors.f16")
    return np.memmap(folder / "vectors.f16", np.float16, "r", shape=(rows, DIMENSIONS))


def ask(vectors: np.ndarray, count: int = 60) -> np.ndarray:
    dice = np.random.default_rng(2)
    near = vectors[dice.integers(len(vectors), size=count)].astype(np.float32)
    return unit(near + 0.1 * dice.normal(size=near.shape)).astype(np.float32)


def nearest(vectors, queries, count, allowed=None):
    """By brute force: cosines and rows, the lower of equals first."""
    cosines = queries.astype(np.float64) @ vectors.astype(np.float64).T
    if allowed is not None:
        cosines[:, ~allowed] = -np.inf
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(cosines, rows, 1), rows


def recall(found, right) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, right, strict=True)]))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def ivf(tmp_path_factory):
    """A folder with an index that approximates, and its vectors."""
    folder = tmp_path_factory.mktemp("ivf")
    vectors = write_vectors(folder)
    build_index(vectors, folder, flat_below=100, shard_rows=SHARD)
    return folder, vectors


def test_a_small_bank_is_searched_without_approximation(tmp_path):
    vectors = write_vectors(tmp_path)
    build_index(vectors, tmp_path)
    assert set(files(tmp_path)) == {"vectors.f16", "index.json"}
    queries = ask(vectors)
    cosines, rows = TemplateSearch(tmp_path).search(queries, 10)
    assert (cosines.dtype, rows.dtype) == (np.float32, np.int64)
    right, right_rows = nearest(vectors, queries, 10)
    np.testing.assert_array_equal(rows, right_rows)
    np.testing.assert_allclose(cosines, right, atol=1e-6)


def test_a_large_one_is_nearly_so_and_its_cosines_are_exact(ivf):
    folder, vectors = ivf
    assert set(files(folder)) == {"vectors.f16", "index.json", "index.faiss"}
    about = orjson.loads((folder / "index.json").read_bytes())
    assert (about["kind"], about["rows"], about["lists"]) == ("ivf", ROWS, 128)
    queries = ask(vectors)
    _, right_rows = nearest(vectors, queries, 10)
    found = {}
    for nprobe in (1, 8, 1000):
        cosines, rows = TemplateSearch(folder, nprobe).search(queries, 10)
        found[nprobe] = recall(rows, right_rows)
        picked = np.einsum("qrd,qd->qr", vectors[rows].astype(np.float64), queries)
        picked[rows < 0] = -np.inf  # one list may hold fewer than ten
        np.testing.assert_allclose(cosines, picked, atol=1e-6)
        assert (cosines[:, 1:] <= cosines[:, :-1]).all()
    assert found[1] < found[8] <= found[1000]
    assert found[8] > 0.9
    assert found[1000] > 0.99


@pytest.mark.parametrize("nprobe", [None, 1000])
@pytest.mark.parametrize("share", [0.5, 0.01])
def test_only_allowed_rows_are_found(ivf, share, nprobe):
    folder, vectors = ivf
    allowed = np.random.default_rng(3).random(ROWS) < share
    queries = ask(vectors)
    cosines, rows = TemplateSearch(folder, nprobe).search(queries, 10, allowed)
    assert allowed[rows].all()
    right, right_rows = nearest(vectors, queries, 10, allowed)
    assert recall(rows, right_rows) > 0.95
    if share == 0.01:  # so few that all are compared
        np.testing.assert_array_equal(rows, right_rows)
        np.testing.assert_allclose(cosines, right, atol=1e-6)


@pytest.mark.parametrize("flat", [False, True])
def test_a_query_finds_the_same_in_any_batch_and_with_any_number_of_threads(ivf, tmp_path, flat):
    folder, vectors = ivf
    if flat:
        folder = tmp_path
        vectors = write_vectors(folder)
        build_index(vectors, folder)
    queries = ask(vectors, 100)
    search = TemplateSearch(folder, 4)
    cosines, rows = search.search(queries, 10)
    threads = faiss.omp_get_max_threads()
    try:
        for size, count in ((1, 1), (7, 2), (19, 2), (20, 3), (64, 1)):
            faiss.omp_set_num_threads(count)
            again = TemplateSearch(folder, 4)
            parts = [again.search(queries[start : start + size], 10) for start in range(0, len(queries), size)]
            np.testing.assert_array_equal(np.vstack([part[0] for part in parts]), cosines)
            np.testing.assert_array_equal(np.vstack([part[1] for part in parts]), rows)
    finally:
        faiss.omp_set_num_threads(threads)


def test_equals_are_in_the_order_of_their_rows(tmp_path):
    write_vectors(tmp_path, 2000)
    vectors = np.memmap(tmp_path / "vectors.f16", np.float16, "r+", shape=(2000, DIMENSIONS))
    same = [1999, 3, 500, 77, 1200]
    vectors[same] = vectors[10]
    for flat_below in (10_000, 0):
        folder = tmp_path / str(flat_below)
        folder.mkdir()
        (folder / "vectors.f16").write_bytes(vectors.tobytes())
        build_index(vectors, folder, flat_below=flat_below)
        _, rows = TemplateSearch(folder).search(vectors[10:11].astype(np.float32), 6)
        assert rows.tolist() == [sorted([10, *same])]


def test_more_are_asked_for_than_there_are(ivf, tmp_path):
    folder, vectors = ivf
    allowed = np.zeros(ROWS, bool)
    allowed[[5, 900, 17]] = True
    cosines, rows = TemplateSearch(folder).search(ask(vectors), 5, allowed)
    assert np.isfinite(cosines[:, :3]).all() and (np.sort(rows[:, :3]) == [5, 17, 900]).all()
    assert (cosines[:, 3:] == -np.inf).all() and (rows[:, 3:] == -1).all()
    cosines, rows = TemplateSearch(folder).search(ask(vectors), 5, np.zeros(ROWS, bool))
    assert (cosines == -np.inf).all() and (rows == -1).all()
    few = write_vectors(tmp_path, 3)
    build_index(few, tmp_path, flat_below=0)  # too few for codes
    cosines, rows = TemplateSearch(tmp_path).search(ask(few, 4), 5)
    assert (rows[:, :3] >= 0).all() and (rows[:, 3:] == -1).all()
    assert [one.shape for one in TemplateSearch(tmp_path).search(ask(few, 0), 5)] == [(0, 5), (0, 5)]


def test_without_any_row(tmp_path):
    build_index(write_empty(tmp_path), tmp_path)
    _, rows = TemplateSearch(tmp_path).search(np.ones((2, DIMENSIONS), np.float32), 3)
    assert (rows == -1).all()


def write_empty(folder: Path) -> np.ndarray:
    (folder / "vectors.f16").touch()
    return np.empty((0, DIMENSIONS), np.float16)


def test_a_search_can_be_sent_to_another_process(ivf):
    folder, vectors = ivf
    search = TemplateSearch(folder, 4)
    _, rows = search.search(ask(vectors), 3)
    sent = pickle.dumps(search)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).search(ask(vectors), 3)[1], rows)


def test_two_processes_share_the_files(ivf, tmp_path):
    folder, vectors = ivf
    np.save(tmp_path / "queries.npy", ask(vectors))
    found = [tmp_path / "0.npy", tmp_path / "1.npy"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SEARCH, str(folder), str(tmp_path / "queries.npy"), str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for path in found
    ]
    # Both have searched and have the files open before either ends.
    for process in started:
        assert process.stdout.readline().strip() == "['index.faiss', 'vectors.f16']"
    for process in started:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    np.testing.assert_array_equal(*map(np.load, found))


def test_a_killed_build_is_finished_with_the_same_result(ivf, tmp_path):
    folder, vectors = ivf
    queries = ask(vectors)
    whole = TemplateSearch(folder).search(queries, 10)
    write_vectors(tmp_path)
    process = start_build(tmp_path)
    while not (tmp_path / "shards" / "plan.json").exists():
        time.sleep(0.001)
    time.sleep(0.2)  # it is training
    process.kill()
    process.wait()
    kept: dict[str, int] = {}
    # What is finished by then: nothing, the centroids, no more, 1 shard, 3, all 5, no more, the whole index.
    for moment, count in ((1, 0), (2, 1), (1, 1), (2, 2), (5, 4), (4, 6), (1, 6), (2, 7)):
        assert start_build(tmp_path, moment).wait(timeout=120) == -signal.SIGKILL
        there = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("[!.]*.faiss")}
        assert len(there) == count
        assert kept.items() <= there.items()  # it was not made again
        kept = there
        with pytest.raises(RunError, match="no finished index"):
            TemplateSearch(tmp_path).search(queries, 1)
    for _ in range(2):
        assert start_build(tmp_path).wait(timeout=120) == 0
        assert set(files(tmp_path)) == {"vectors.f16", "index.json", "index.faiss"}
    for found, right in zip(TemplateSearch(tmp_path).search(queries, 10), whole, strict=True):
        np.testing.assert_array_equal(found, right)


def start_build(folder: Path, moment: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", BUILD, *map(str, (folder, DIMENSIONS, SHARD, moment))]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


def test_what_is_finished_stays(ivf):
    folder, vectors = ivf
    before = files(folder)
    build_index(vectors, folder, flat_below=100, shard_rows=SHARD)
    assert files(folder) == before
    build_index(vectors, folder, flat_below=100, shard_rows=SHARD, nprobe=3)
    assert orjson.loads((folder / "index.json").read_bytes())["nprobe"] == 3
    build_index(vectors, folder, flat_below=100, shard_rows=SHARD)
    assert files(folder) == before


def test_an_index_of_something_else_is_refused(tmp_path):
    vectors = write_vectors(tmp_path)
    build_index(vectors, tmp_path)
    other = write_vectors(tmp_path / "other", seed=4)
    for wrong, settings, word in (
        (vectors[:-1], {}, "rows 5000, not 4999"),
        (vectors[:, :16], {}, "dimensions 32, not 16"),
        (other, {}, "vectors "),
        (vectors, {"flat_below": 100}, "kind flat, not ivf"),
    ):
        with pytest.raises(RunError, match=word) as error:
            build_index(wrong, tmp_path, **settings)
        assert "\n" not in str(error.value)
    # Unfinished ones as well.
    begun = tmp_path / "begun"
    (begun / "shards").mkdir(parents=True)
    (begun / "shards" / "plan.json").write_bytes((tmp_path / "index.json").read_bytes())
    with pytest.raises(RunError, match="vectors "):
        build_index(other, begun, flat_below=100)
    # A search does not take other vectors for those of its index.
    (tmp_path / "vectors.f16").write_bytes(other.tobytes())
    with pytest.raises(RunError, match="build the index anew"):
        TemplateSearch(tmp_path).search(ask(vectors), 1)
    (tmp_path / "vectors.f16").write_bytes(vectors[:-1].tobytes())
    with pytest.raises(RunError, match="build the index anew"):
        TemplateSearch(tmp_path).search(ask(vectors), 1)
    with pytest.raises(RunError, match="no finished index"):
        TemplateSearch(begun).search(ask(vectors), 1)


def test_lists_are_many_and_not_too_small():
    assert [list_count(rows) for rows in (1000, 5000, 100_000, 1_000_000, 18_000_000)] == [16, 128, 1024, 4096, 16384]
