"""Decontamination: documents and samples that share a run of words with an evaluation set are rejected.

Training text that holds questions of an evaluation makes its scores worthless. This is datatrove's n-gram
decontamination (`NGramsDecontFilter`): every run of 12 words of an evaluation item is hashed into an index, and a text
with one of them is contaminated. Used on the source documents it saves the GPU time, and it is needed there: a
paraphrase hides what its source has. Used on the samples it finds what the model knows by heart.

The index is built once per run. Its *fingerprint* names the content of the evaluation files and the settings, so that a
changed evaluation set is noticed and a resumed run finds its index again.

Where this departs from datatrove's defaults, and why:
- Questions are indexed, not only answers: an answer such as "B" has no 12 words.
- Numbers are kept. With all of them written as 0, as datatrove does, GSM8K's calculations become rows of zeros: they
  match any row of numbers, and an index of one half of GSM8K finds 21 % of the other half in it, instead of 1 %.
- Words are what stands between spaces, once punctuation is gone: the same as spaCy's for 99.9 % of English, 20 times as
  fast, without its 200 MB. Languages that are written without spaces have too few words for this to find anything.
- The stock indexer wants lighteval, and asks it for tasks even when it is given documents. The filter hashes items
  itself, with the indexer's function: so the two cannot differ in their settings.

A copy is found when 12 words in a row are unchanged. Of 1,000 GSM8K questions with answers these are 99 % when one
word in 20 is another one, 94 % at one in 10, 65 % at one in 5, and 92 % when all numbers are others; of questions alone
95 %, 85 %, 44 % and 82 %. A paraphrase or a translation is not found.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import orjson
import xxhash
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WhitespaceTokenizer

from blocks.filters.filtered import Filtered
from blocks.shards.folder import RunError, make_folder, sync, write_synced
from blocks.shards.rows import BadRow, columns_of_first_rows, read_rows
from blocks.shards.source import InputFile, dataset_name, list_files, pin

VERSION = 1
"""Raise it when items are read or hashed differently: it is part of a run's fingerprint."""

QUESTIONS = ("question", "query", "prompt", "problem", "instruction", "goal", "ctx", "sentence", "input")
"""Columns that may hold an item's question, in capitals or not; the first that is there counts."""

ANSWERS = (
    *("answer", "answers", "correct_answer", "best_answer", "solution", "canonical_solution", "sol1", "sol2"),
    *("completion", "response", "output", "target", "gold"),
)
"""Columns that may hold its answer: a text, a list of texts, or a struct with `text` or `value`."""

OPTIONS = ("choices", "options", "endings")
"""Columns that may hold what it lets one choose from; which of them is right does not matter here."""

TEXT = "text"
"""The column of a set of plain texts, when there is no question. Passages that questions are about (`context`,
`passage`) are not indexed: they are mostly Wikipedia, and no secret of the evaluation."""


class Item(NamedTuple):
    """An evaluation item as datatrove's indexer takes it: answers, and the question before each of them."""

    query: str | None
    labels: list[str]


@dataclass
class Indexed:
    """What became of one evaluation set.

    Args:
        items: its rows.
        too_short: rows with fewer words than an n-gram has, which nothing can match.
        hashes: different n-grams.
    """

    items: int = 0
    too_short: int = 0
    hashes: int = 0


@dataclass(frozen=True)
class Index:
    """An index on disk; see `EvaluationSets.index`.

    Args:
        folder: where its files are.
        n_grams: words of an n-gram.
        sets: what is in it, by evaluation set.
    """

    folder: Path
    n_grams: int
    sets: dict[str, Indexed]

    def __str__(self) -> str:
        """One line for people."""
        return "; ".join(
            f"{name}: {found.items:,} items, {found.hashes:,} runs of {self.n_grams} words"
            + (f", {found.too_short:,} items too short to be found" if found.too_short else "")
            for name, found in self.sets.items()
        )

    def filter(self) -> Filtered:
        """The step: rejects as `contaminated`, with the words and the evaluation set as detail.

        One for the documents and one for the samples, as each keeps count; a process holds the hashes once.
        """
        return Filtered(_Decontaminate(str(self.folder), _config(self.n_grams), language=_Words()))


class EvaluationSets:
    """The evaluation sets of a run, looked at but not yet indexed.

    Args:
        sources: JSON Lines or Parquet, as `--input` takes them: files, folders or globs, local, s3:// or hf://.
        n_grams: words that must be the same in a row (datatrove's default; GPT-3 used 13).

    Attributes:
        fingerprint: what the index depends on, for the run's fingerprint.

    Raises:
        RunError: a file is missing, cannot be read or has no column that is known.
    """

    def __init__(self, sources: Sequence[str], n_grams: int = 12) -> None:
        self.n_grams = n_grams
        self.files = {file.url: (_set_name(source, file), file) for source in sources for file in _list(source)}
        for _, file in self.files.values():
            _columns(file)
        self.fingerprint: dict[str, Any] = {
            "version": VERSION,
            "n_grams": n_grams,
            "files": sorted(f"{name} {_hash(file)}" for name, file in self.files.values()),
        }

    def index(self, folder: Path) -> Index:
        """The index of these sets, from `folder` or built there; one process at a time.

        Args:
            folder: on a POSIX file system that all workers see; what other sets left there does not matter.

        Raises:
            RunError: a row cannot be read, or all items of a set are too short.
        """
        key = xxhash.xxh3_64_hexdigest(orjson.dumps(self.fingerprint, option=orjson.OPT_SORT_KEYS))
        path = folder / key
        if not path.exists():
            self._build(path)
        sets = orjson.loads((path / "sets.json").read_bytes())
        return Index(path, self.n_grams, {name: Indexed(**found) for name, found in sets.items()})

    def short_questions(self) -> Iterator[str]:
        """Questions with fewer words than an n-gram has, which the index cannot find.

        Raises:
            RunError: a row cannot be read.
        """
        for _, file in self.files.values():
            for item in _items(file):
                if item.query and len(item.query.split()) < self.n_grams:
                    yield item.query

    def _build(self, path: Path) -> None:
        hashes: dict[str, set[int]] = {}
        sets: dict[str, Indexed] = {}
        hasher = _Decontaminate(".", _config(self.n_grams), language=_Words())
        for name, file in sorted(self.files.values(), key=lambda entry: entry[1].url):
            found, seen = sets.setdefault(name, Indexed()), hashes.setdefault(name, set())
            for item in _items(file):
                new = {one for label in item.labels for one in hasher.compute_hashes(label, item.query)}
                found.items += 1
                found.too_short += not new
                seen |= new
        for name, found in sets.items():
            found.hashes = len(hashes[name])
            if not found.hashes:
                raise RunError(
                    f"--decontaminate {name}: none of its {found.items:,} items has {self.n_grams} words, so nothing "
                    f"can match it"
                )
        # Whole or not there: what a launch that is killed meanwhile leaves, the next one writes over.
        part = path.with_name(f".{path.name}.part")
        make_folder(part)
        for name, seen in hashes.items():
            target = part / f"{name}.index.hashes"  # as datatrove reads it; a Hub name has a folder in it
            make_folder(target.parent)
            write_synced(target, array("Q", sorted(seen)).tobytes())
            sync(target.parent)
        write_synced(part / "sets.json", orjson.dumps({name: asdict(found) for name, found in sets.items()}))
        sync(part)
        part.rename(path)
        sync(path.parent)


class _Words(WhitespaceTokenizer):
    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


class _Decontaminate(NGramsDecontFilter):
    """The stock filter, which can also hash an item as the stock indexer does."""

    compute_hashes = NGramsDecontIndexer.compute_hashes
    _index_hashes: dict[int, str] | None

    def load_index_hashes(self) -> None:
        folder = self.index_folder.path
        with _loading:  # the documents' filter and the samples' run in two threads
            if folder not in _loaded:
                super().load_index_hashes()
                _loaded[folder] = self._index_hashes or {}
            self._index_hashes = _loaded[folder]


_loaded: dict[str, dict[int, str]] = {}  # hash → evaluation set, by the folder of the index
_loading = threading.Lock()


def _config(n_grams: int) -> NGramsDecontConfig:
    return NGramsDecontConfig(
        n_grams=n_grams,
        find_query_ngrams=True,
        norm_config=TextNormConfig(norm_numbers=False),
    )


def _list(source: str) -> list[InputFile]:
    try:
        return list_files(pin(source))
    except RunError as error:
        raise RunError(str(error).replace("--input", "--decontaminate")) from error


def _set_name(source: str, file: InputFile) -> str:
    return dataset_name(source) if source.startswith("hf://") else file.name


def _hash(file: InputFile) -> str:
    state = xxhash.xxh3_64()
    with fsspec.open(file.url, "rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _columns(file: InputFile) -> tuple[str | None, list[str]]:
    """The column with the questions (None for plain texts), and those with answers and options."""
    there = {name.lower(): name for name in sorted(columns_of_first_rows(file))}
    question = next((there[name] for name in QUESTIONS if name in there), None)
    if question is None:
        if TEXT in there:
            return None, [there[TEXT]]
        raise RunError(
            f"--decontaminate {file.url}: no column with a question ({', '.join(QUESTIONS)}) or `{TEXT}`; it has "
            f"{', '.join(there.values()) or 'none that can be read'}"
        )
    return question, [there[name] for name in (*ANSWERS, *OPTIONS) if name in there]


def _items(file: InputFile) -> Iterator[Item]:
    question, others = _columns(file)
    for position, row in enumerate(read_rows(file, 0, None, [*([question] if question else []), *others])):
        if isinstance(row, BadRow):
            raise RunError(f"--decontaminate {file.url}: row {position} cannot be read ({row.reason})")
        yield _item(row, question, others)


def _item(row: dict[str, Any], question: str | None, others: Iterable[str]) -> Item:
    labels = []
    for name in others:
        found = _texts(row.get(name))
        labels += found
        if name.lower() in OPTIONS:  # one after the other, as a page shows them: with letters, and without
            labels.append(" ".join(found))
            labels.append(" ".join(f"{letter} {text}" for letter, text in zip("ABCDEFGHIJ", found, strict=False)))
    return Item(" ".join(_texts(row.get(question))) if question else None, labels or [""])


def _texts(value: Any) -> list[str]:
    """The texts in a value: itself, those of a list, those under `text` or `value` of a struct."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    if isinstance(value, dict):
        return _texts(value.get("text") or value.get("value"))
    return []
