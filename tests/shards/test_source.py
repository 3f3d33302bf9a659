"""What `--input` finds."""

from __future__ import annotations

import pytest

from blocks.shards.folder import RunError
from blocks.shards.rows import read_rows
from blocks.shards.source import dataset_name, list_files

ROW = '{"text": "x"}\n'


def names(source) -> list[str]:
    return [file.name for file in list_files(str(source))]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "in"
    for name in ("b.jsonl", "a [1] #2 é.jsonl", "sub/c.ndjson", "what?.jsonl", "_done.jsonl", ".cache/x.jsonl", "r.md"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ROW)
    return root


def test_folders_globs_and_files(folder):
    assert names(folder) == ["a [1] #2 é.jsonl", "b.jsonl", "sub/c.ndjson", "what?.jsonl"]
    assert names(folder / "b*") == ["b.jsonl"]
    assert names(folder / "**" / "*.ndjson") == ["sub/c.ndjson"]
    assert names(folder / "a [1] #2 é.jsonl") == ["a [1] #2 é.jsonl"]
    assert names(folder / "_done.jsonl") == ["_done.jsonl"]  # who names it wants it
    for file in list_files(str(folder)):
        assert list(read_rows(file, 0, None, ["text"])) == [{"text": "x"}]
        assert file.size == len(ROW)


def test_links_are_followed(folder, tmp_path):
    """The Hub's local cache consists of nothing else."""
    links = tmp_path / "links"
    links.mkdir()
    (links / "b.jsonl").symlink_to(folder / "b.jsonl")
    [file] = list_files(str(links))
    assert (file.name, file.size) == ("b.jsonl", len(ROW))
    assert names(links / "*.jsonl") == ["b.jsonl"]
    (links / "gone.jsonl").symlink_to(folder / "gone")
    with pytest.raises(RunError, match=r"gone\.jsonl is a link that leads nowhere"):
        list_files(str(links))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing", "does not exist"),
        ("*.csv", "matches no file that ends in"),
        (".cache", "matches no file|does not exist"),
        ("r.md", "unknown file format; known are .parquet"),
        ("nope://x/y", "cannot open --input nope://x/y"),
    ],
)
def test_what_is_not_there(folder, source, said):
    if source == ".cache":
        (folder / ".cache" / "x.jsonl").unlink()
    with pytest.raises(RunError, match=said):
        list_files(source if "://" in source else str(folder / source))


def test_dataset_names():
    assert dataset_name("hf://datasets/org/name@abc/data/*.parquet") == "org/name"
    assert dataset_name("data/x.jsonl") == "x.jsonl"  # a local path says more than anybody needs to know
    assert dataset_name("s3://bucket/data/*.parquet") == "s3://bucket/data/*.parquet"
