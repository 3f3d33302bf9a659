"""Copies of the data sets that lighteval reads: the same columns, a few lines of our own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from blocks.evaluate.tools.common import THEIRS

WORDS = ["river", "stone", "lamp", "cloud", "bread", "wheel", "glass", "paper"]
"""Of which the lines speak."""


SUBJECTS = re.findall(r"\w+", (THEIRS / "finephrase_tasks.py").read_text().split('"""')[3])
"""Of MMLU-Redux, as the tasks have them; that file is not to be imported here."""


def few(count: int, line: Any) -> list[dict[str, Any]]:
    return [line(number, WORDS[number % len(WORDS)]) for number in range(count)]


def arc(number: int, word: str) -> dict[str, Any]:
    choices = {"text": [f"a {word}", "a fish", "a tree", "a song"], "label": ["A", "B", "C", "D"]}
    return {"id": f"{number}", "question": f"Which of these is like a {word}", "choices": choices, "answerKey": "A"}


def mmlu(number: int, word: str) -> dict[str, Any]:
    line = {"question": f"What is a {word}", "choices": [word, "nothing", "a verb", "a number"], "answer": 0}
    kinds = ["ok", "wrong_groundtruth", "bad_question_clarity", "ok"]
    kind = kinds[number % 4]
    return {**line, "error_type": kind, "correct_answer": "B" if kind == "wrong_groundtruth" else None}


def squad(number: int, word: str) -> dict[str, Any]:
    texts = [] if number % 4 == 3 else [f"the {word}", f"the {word}", word]  # some have no answer
    answers = {"text": texts, "answer_start": [0] * len(texts)}
    return {"context": f"In the hall stood the {word}", "question": "What stood in the hall", "answers": answers}


def drop(number: int, word: str) -> dict[str, Any]:
    answers = [
        {"number": "3", "date": {"day": "", "month": "", "year": ""}, "spans": []},
        {"number": "", "date": {"day": "4", "month": "May", "year": "1911"}, "spans": []},
        {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": [word, "a lamp"]},
    ]
    return {"passage": f"There were 3 of the {word}", "question": "How many were there", "answer": answers[number % 3]}


def openbookqa(number: int, word: str) -> dict[str, Any]:
    choices = {"text": ["air", word, "sand", "noise"], "label": ["A", "B", "C", "D"]}
    return {"id": f"{number}", "question_stem": f"A {word} is made of", "choices": choices, "answerKey": "B"}


def piqa(number: int, word: str) -> dict[str, Any]:
    return {"goal": f"To move a {word}", "sol1": f"Lift the {word}.", "sol2": "Sleep.", "label": number % 2}


def xcsqa(number: int, word: str) -> dict[str, Any]:
    texts = [word, "moon", "king", "salt", " " if number == 2 else "rain"]
    choices = {"label": ["A", "B", "C", "D", "E"], "text": texts}
    return {"id": f"{number}", "question": {"stem": f"Where is a {word}", "choices": choices}, "answerKey": "E"}


def hellaswag(number: int, word: str) -> dict[str, Any]:
    endings = [f"breaks the {word}.", "sings.", "flies off.", "melts."]
    return {"ctx_a": f"A man holds a {word}.", "ctx_b": "he", "endings": endings, "label": f"{number % 4}"}


def winogrande(number: int, word: str) -> dict[str, Any]:
    sentence = f"The {word} fell on the plate because the _ was old."
    return {"sentence": sentence, "option1": word, "option2": "plate", "answer": f"{number % 2 + 1}"}


def gsm8k(number: int, word: str) -> dict[str, Any]:
    answer = f"Two and {number} are {number + 2}.\n#### {number + 2}"
    return {"question": f"Two and {number} of the {word}: how many", "answer": answer}


def wikitablequestions(number: int, word: str) -> dict[str, Any]:
    return {"table_md": f"| a | b |\n|---|---|\n| {word} | 1 |", "question": "What is in a", "answers": [word]}


def treb(number: int, word: str) -> dict[str, Any]:
    tables = [f"| {word} |\n|---|\n| 7 |"] * (2 if number == 1 else 1)
    return {"Table_markdown": tables, "question": f"What is below {word}", "answer": "7"}


def ifeval(number: int, word: str) -> dict[str, Any]:
    told = [("punctuation:no_comma", {}), ("keywords:existence", {"keywords": [word]})][number % 2]
    names = ("keywords", "num_words")
    kwargs = [{name: told[1].get(name) for name in names}]
    prompt = f"Write about a {word} without commas. MOCK-SAY-{['verdict1', 'fence'][number % 2]}"
    return {"key": number, "prompt": prompt, "instruction_id_list": [told[0]], "kwargs": kwargs}


def mixeval(number: int, word: str) -> dict[str, Any]:
    line = {"problem_type": "free-form", "benchmark_name": "TriviaQA", "context": None, "options": ["a fish", word]}
    return {**line, "prompt": f"What is like a {word}? MOCK-SAY-verdict{number % 2}", "target": ["1"]}


def write_datasets(folder: Path) -> None:
    """Write them as `hf download --repo-type dataset` would: folders of Parquet with a card that names subsets.

    Args:
        folder: gets one folder per repository.
    """
    with_train = {"train": 8, "validation": 6}
    sets: list[tuple[str, str, dict[str, int], Any]] = [
        ("allenai/ai2_arc", "ARC-Easy", {"test": 6, "validation": 8}, arc),
        *(("edinburgh-dawg/mmlu-redux-2.0", subject, {"test": 8}, mmlu) for subject in SUBJECTS),
        ("lighteval/squad_v2", "default", with_train, squad),
        ("lighteval/drop_harness", "default", with_train, drop),
        ("allenai/openbookqa", "main", with_train, openbookqa),
        ("baber/piqa", "default", with_train, piqa),
        ("INK-USC/xcsr", "X-CSQA-en", {"validation": 8}, xcsqa),
        ("Rowan/hellaswag", "default", with_train, hellaswag),
        ("allenai/winogrande", "winogrande_xl", with_train, winogrande),
        ("openai/gsm8k", "main", {"train": 8, "test": 6}, gsm8k),
        ("lighteval/wikitablequestions", "default", {"test": 8}, wikitablequestions),
        ("lighteval/treb_table_retrieval", "default", {"test": 8}, treb),
        ("google/IFEval", "default", {"train": 6}, ifeval),
        *(
            ("MixEval/MixEval", name, {"free_form": 6, "multiple_choice": 3}, mixeval)
            for name in ("MixEval", "MixEval_Hard")
        ),
    ]
    configs: dict[str, list[dict[str, Any]]] = {}
    for repo, subset, splits, line in sets:
        files = []
        for split, count in splits.items():
            path = folder / repo / subset / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(few(count, line)), path)
            files.append({"split": split, "path": f"{subset}/{split}.parquet"})
        configs.setdefault(repo, []).append({"config_name": subset, "data_files": files})
    for repo, found in configs.items():
        card = f"---\n{yaml.safe_dump({'configs': found})}---\n"
        (folder / repo / "README.md").write_text(card, encoding="utf-8")
