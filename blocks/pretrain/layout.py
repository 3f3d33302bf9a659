"""The last step to what nanotron reads: shards of tokens, shuffled and joined to few large `.ds` files per format.

    OUTPUT/ds-s3/<format>/00000.ds             tokens, little endian
    OUTPUT/ds-s3/<format>/00000.ds.index       where each document ends, in tokens (uint64)
    OUTPUT/ds-s3/<format>/00000.ds.metadata    tokenizer and size of a token, count, count for people
    OUTPUT/tokens.json                         what is there, see `lay_out`

nanotron crashes after its first step unless the path of a folder holds the letters "s3" (its issue 387); so ours do.
It reads a folder's files one after the other without shuffling, and drops the rest of a file that fills no window.

Which chunk comes into which file is drawn once from all chunks, and the documents of a file are shuffled among each
other: neighbours in a file come from all over the source, and never more than one file's chunks are open. Nothing
depends on who tokenized what when, so the files of a run are the same bytes, however often it was interrupted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from datatrove.pipeline.tokens.tokenizer import TokenizedFile
from fsspec.core import url_to_fs

from blocks.pretrain.encode import INPUT_IDS, Vocabulary
from blocks.shards.commit import load_commits
from blocks.shards.folder import RunError, RunFolder, sync, write_atomically

FOLDER = "ds-s3"
"""Where the files of all formats lie."""

MANIFEST = "tokens.json"

TOKENS_PER_FILE = 200_000_000
"""About, but a whole chunk at least. A file is made in memory: this is 0.4 GB with two bytes per token, twice."""


@dataclass(frozen=True)
class Part:
    """A file to be made.

    Args:
        path: in the output.
        format: of its documents.
        shards: with its tokens, in the order in which they are read.
        tokens: of all shards.
        seed: of the shuffling.
    """

    path: str
    format: str
    shards: tuple[str, ...]
    tokens: int
    seed: tuple[int, ...]


def parts_of(folder: RunFolder, seed: int, tokens_per_file: int = TOKENS_PER_FILE) -> list[Part]:
    """The files that the committed shards of a run make."""
    shards: dict[str, list[tuple[str, int]]] = {}
    for commit in load_commits(folder):
        for file in commit.files:
            kind, _, rest = file.path.partition("/")
            if kind == "shards" and file.rows:
                name = rest.partition("/")[0]
                shards.setdefault(name, []).append((file.path, commit.tally["numbers"][f"tokens/{name}"]))
    parts = []
    for name, found in sorted(shards.items()):
        own = [seed, xxhash.xxh3_64_intdigest(name)]  # formats are shuffled independently of each other
        order = np.random.default_rng(own).permutation(len(found))
        total = sum(tokens for _, tokens in found)
        count = max(1, round(total / tokens_per_file))
        groups: list[list[tuple[str, int]]] = [[] for _ in range(count)]
        passed = 0
        for at in order:
            groups[min(count - 1, passed * count // total)].append(found[at])
            passed += found[at][1]
        for number, group in enumerate(filter(None, groups)):
            paths, sizes = zip(*group, strict=True)
            path = f"{FOLDER}/{name}/{number:05d}.ds"
            parts.append(Part(path, name, paths, sum(sizes), (*own, number)))
    return parts


def is_laid_out(folder: RunFolder, parts: Sequence[Part]) -> bool:
    """Whether these files are there, and `tokens.json`."""
    return folder.read_output(MANIFEST) is not None and len(_made(folder, parts)) == len(parts)


def lay_out(folder: RunFolder, vocabulary: Vocabulary, parts: Sequence[Part], seed: int) -> dict[str, Any]:
    """Make the files of a complete run, those that are not there yet, and write `tokens.json`.

    That is not there while files are made: where it is, the files are whole, and are what it says. Some hundred million
    tokens take seconds, so one process does it; nobody else may do it at the same time.

    Args:
        folder: the run.
        vocabulary: what it was tokenized with.
        parts: the files, see `parts_of`.
        seed: of the shuffling.

    Returns:
        `tokenizer` (`name`, `revision`, `eos`, `eos_id`, `own_eos`, `vocab_size`, `entries`, `token_size` in bytes; see
        `Vocabulary`), `seed`, and by format under `formats`: `documents`, `tokens` and `files` (`path`, `documents`,
        `tokens`, `bytes`, `hash`).

    Raises:
        RunError: a shard is missing or does not hold what its commit record says.
    """
    (folder.state / "ds").mkdir(exist_ok=True)
    for left in (folder.state / "ds").glob("*.part"):
        shutil.rmtree(left)
    for record in {*(folder.state / "ds").glob("*.json")} - {_record(folder, part) for part in parts}:
        record.unlink()
    files = _made(folder, parts)
    surplus = _surplus(folder, parts)
    if surplus or len(files) < len(parts):
        fs, root = url_to_fs(folder.output)
        if fs.exists(f"{root}/{MANIFEST}"):
            fs.rm_file(f"{root}/{MANIFEST}")
        for path in surplus:
            fs.rm_file(path)
    for part in parts:
        if part.path not in files:
            files[part.path] = _make(folder, vocabulary, part)
    formats: dict[str, Any] = {}
    for part in parts:
        file = files[part.path]
        of_format = formats.setdefault(part.format, {"documents": 0, "tokens": 0, "files": []})
        of_format["documents"] += file["documents"]
        of_format["tokens"] += file["tokens"]
        of_format["files"].append(file)
    manifest = {
        "tokenizer": {
            "name": vocabulary.name,
            "revision": vocabulary.revision,
            "eos": vocabulary.eos_token,
            "eos_id": vocabulary.eos_id,
            "own_eos": vocabulary.own_eos,
            "vocab_size": vocabulary.size,
            "entries": vocabulary.entries,
            "token_size": vocabulary.token_size,
        },
        "seed": seed,
        "formats": formats,
    }
    folder.write_output(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")
    return manifest


def _make(folder: RunFolder, vocabulary: Vocabulary, part: Part) -> dict[str, Any]:
    """Make one file, put it into its place and remember that."""
    here = folder.state / "ds" / f"{_name(part)}.part"
    here.mkdir()
    name = Path(part.path).name
    written = TokenizedFile(
        str(here),
        name,
        tokenizer_name_or_path=vocabulary.name,
        save_final_metadata=True,
        token_size=vocabulary.token_size,
    )
    documents = 0
    for tokens in _shuffled(folder, part):
        written.write_bytes(tokens)
        documents += 1
    written.close()
    if len(written) != part.tokens:
        raise RunError(f"{part.path} would have {len(written):,} tokens and the records say {part.tokens:,}")
    digest = xxhash.xxh3_64()
    with (here / name).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    file = {
        "path": part.path,
        "documents": documents,
        "tokens": part.tokens,
        "bytes": part.tokens * vocabulary.token_size,
        "hash": digest.hexdigest(),
    }
    record = _record(folder, part)
    record.unlink(missing_ok=True)  # first: it may tell of a file that is now replaced
    sync(record.parent)
    for made in sorted(here.iterdir()):
        sync(made)
        folder.place(made, f"{part.path}{made.name.removeprefix(name)}")
    here.rmdir()
    write_atomically(record, orjson.dumps({"part": _hash(part), "file": file}))
    return file


def _made(folder: RunFolder, parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """What is known of the files that are there, whole, by path."""
    fs, root = url_to_fs(folder.output)
    there = fs.find(f"{root}/{FOLDER}", detail=True) if fs.exists(f"{root}/{FOLDER}") else {}
    sizes = {path[len(root) :].lstrip("/"): info["size"] for path, info in there.items()}
    found = {}
    for part in parts:
        try:
            record = orjson.loads(_record(folder, part).read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            continue
        file = record["file"]
        whole = (sizes.get(part.path), sizes.get(f"{part.path}.index")) == (file["bytes"], 8 * file["documents"])
        if record["part"] == _hash(part) and whole and sizes.get(f"{part.path}.metadata"):
            found[part.path] = file
    return found


def _surplus(folder: RunFolder, parts: Sequence[Part]) -> list[str]:
    """Files of an earlier layout, when the run has grown or another size was asked for."""
    fs, root = url_to_fs(folder.output)
    wanted = {f"{part.path}{suffix}" for part in parts for suffix in ("", ".index", ".metadata")}
    there = fs.find(f"{root}/{FOLDER}") if fs.exists(f"{root}/{FOLDER}") else []
    return [path for path in there if path[len(root) :].lstrip("/") not in wanted]


def _shuffled(folder: RunFolder, part: Part) -> Iterator[bytes]:
    """The tokens of each document, in a random order."""
    columns: list[pa.Array] = []
    for shard in part.shards:
        try:
            with fsspec.open(f"{folder.output}/{shard}", "rb") as stream:
                columns += pq.read_table(stream, columns=[INPUT_IDS])[INPUT_IDS].chunks
        except FileNotFoundError as error:
            raise RunError(f"a committed shard is missing ({error}): start the run again") from None
    values = [column.flatten().to_numpy() for column in columns]
    ends = [column.offsets.to_numpy() - column.offsets[0].as_py() for column in columns]
    owner = np.concatenate([np.full(len(column), at) for at, column in enumerate(columns)])
    place = np.concatenate([np.arange(len(column)) for column in columns])
    for document in np.random.default_rng(list(part.seed)).permutation(len(owner)):
        at, row = owner[document], place[document]
        yield values[at][ends[at][row] : ends[at][row + 1]].tobytes()


def _record(folder: RunFolder, part: Part) -> Path:
    return folder.state / "ds" / f"{_name(part)}.json"


def _name(part: Part) -> str:
    return f"{part.format}-{Path(part.path).stem}"


def _hash(part: Part) -> str:
    return xxhash.xxh3_64_hexdigest(orjson.dumps(asdict(part)))
