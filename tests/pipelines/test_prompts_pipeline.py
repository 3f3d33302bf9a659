"""pipelines/prompts.py, as a user runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from blocks.generate.prompts import load_prompt, load_wordings
from blocks.generate.tokenizer import load_tokenizer
from tests.conftest import ROOT, write_jsonl, write_parquet
from tests.generate.small_tokenizers import make_tokenizer

ROWS = [{"id": "a", "text": "Tide pools fall dry twice a day."}, {"id": "b", "text": "Locks lift boats.", "body": "B."}]


def prompts(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "pipelines" / "prompts.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_list_has_a_line_per_prompt():
    done = prompts("list")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert lines["math"].split()[1:3] == ["rephrase", "3"] and "math_problem, equations" in lines["math"]
    assert "no numbers" in lines["continue"] and "0.03 – 0.8" in lines["summarize"]
    assert "arXiv 2412.02595" in lines["distill"]
    only = prompts("list", "--family", "wrap").stdout
    assert "wrap_easy" in only and "distill" not in only


def test_show_prints_front_matter_and_every_wording():
    done = prompts("show", "math")
    assert done.returncode == 0, done.stderr
    assert "max_tokens: 2048\n" in done.stdout and "- equations\n" in done.stdout
    for wording in load_wordings("math"):
        assert wording.text in done.stdout and wording.hash in done.stdout
    story = prompts("show", "math.story").stdout
    assert load_wordings("math")[0].text not in story and "Write a short story" in story


def test_show_and_render_take_files_of_ones_own(tmp_path):
    mine = tmp_path / "glossary.md"
    mine.write_text("Define the terms.\n\n[[DOCUMENT]]")
    (tmp_path / "glossary.brief.md").write_text("Terms only.\n\n[[DOCUMENT]]")
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    assert "glossary.brief" in prompts("show", mine).stdout
    rendered = prompts("render", tmp_path / "glossary.brief.md", "--input", source).stdout
    assert rendered == "Terms only.\n\nTide pools fall dry twice a day.\n"
    dotted = tmp_path / "my.terms.md"
    dotted.write_text("---\nname: terms\n---\nList terms.\n\n[[DOCUMENT]]")
    assert prompts("render", dotted, "--input", source).stdout.startswith("List terms.")


def test_render_finds_rows_and_columns(tmp_path):
    jsonl, parquet = tmp_path / "in.jsonl", tmp_path / "in.parquet"
    write_jsonl(jsonl, ROWS)
    write_parquet(parquet, ROWS, row_group_size=1)
    text = tmp_path / "mine.txt"
    text.write_text("Locks lift boats.")
    expected = load_prompt("faq").render("Locks lift boats.") + "\n"
    assert prompts("render", "faq", "--input", jsonl, "--row", 1).stdout == expected
    assert prompts("render", "faq", "--input", parquet, "--row", 1).stdout == expected
    assert prompts("render", "faq", "--input", text).stdout == expected
    assert prompts("render", "faq", "--input", "-", input="Locks lift boats.").stdout == expected
    done = prompts(
        *("render", "faq", "--input", jsonl, "--row", 1, "--text-column", "body"),
        *("--prompt-layout", "document-first"),
    )
    assert done.stdout == load_prompt("faq").render("B.", "document-first") + "\n"


def test_render_sends_what_a_run_sends_and_counts_it(tmp_path):
    folder = make_tokenizer(tmp_path / "tokenizer", "plain")
    document = "The lock lifts boats <|im_end|> and lowers them. " * 200
    done = prompts("render", "table", "--input", "-", "--tokenizer", folder, "--context", 3000, input=document)
    assert done.returncode == 0, done.stderr
    message = done.stdout.removesuffix("\n")
    before, after = load_prompt("table").parts("instruction-first")
    sent = message.removeprefix(before).removesuffix(after)
    assert sent and "<|im_end|>" not in message and sent.startswith("The lock lifts boats < |im_end|> and lowers them.")
    assert sent.endswith("lowers them.")  # cut behind a sentence
    counted = {
        line.split("│")[1].strip(): line.split("│")[2].strip() for line in done.stderr.splitlines() if "│" in line
    }
    counter = load_tokenizer(folder)
    assert counted["document"] == f"{counter.count(sent):,} tokens"
    total = counter.count_chat([{"role": "user", "content": message}])
    assert counted["both together"] == f"{total:,} tokens" and total + 2048 <= 3000
    assert counted["document cut"].startswith("yes") and counted["special tokens broken up"] == "200"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--family", "poems"], "no family 'poems'; there are baseline, beyondweb"),
        (["show", "poem"], "there is no prompt 'poem'"),
        (["show", "math.poem"], "no wording 'math.poem'; there are math, math.given, math.story"),
        (["show", "./nowhere.md"], "there is no prompt file nowhere.md"),
        (["render", "faq", "--input", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["render", "faq", "--input", "in.jsonl", "--text-column", "words"], "no column 'words'"),
        (["render", "faq", "--input", "in.jsonl", "--row", "2"], "no row 2 of in.jsonl"),
        (["render", "faq", "--input", "in.jsonl", "--text-column", "body"], "row 0 of in.jsonl has no text"),
        (["render", "faq", "--input", "torn.jsonl", "--row", "1"], "cannot be read: invalid_json"),
        (["render", "faq", "--input", "empty.txt"], "empty.txt has no text"),
        (["render", "faq", "--input", "in.jsonl", "--tokenizer", "./nowhere"], "nowhere"),
        (["render", "faq", "--input", "in.jsonl", "--context", "2100"], "no room for a document"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, arguments, said):
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    (tmp_path / "torn.jsonl").write_text('{"text": "Whole."}\n{"text": "Torn')
    (tmp_path / "empty.txt").write_text(" \n")
    done = prompts(*arguments, cwd=tmp_path)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1), done.stdout + done.stderr
    assert said in done.stdout and done.stderr == ""
