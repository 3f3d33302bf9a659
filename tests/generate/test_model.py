"""Which model is meant: local folders, a fake hub on this machine, no hub at all, endpoints."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from blocks.generate.endpoint import Endpoint
from blocks.generate.generate import OTHER_FILES
from blocks.generate.model import DEFAULT_CONTEXT, Model, ServerKind, choose_model
from blocks.generate.pins import model_json, pin_model, tokenizer_hash
from blocks.generate.servers import VLLM, Transformers
from blocks.generate.tokenizer import CharacterEstimate
from blocks.shards.folder import RunError
from tests.conftest import MockServer
from tests.generate.small_tokenizers import make_tokenizer

COMMIT = "c0ffee" * 6 + "abcd"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in a folder, without a need for its weights to be real."""
    path = Path(make_tokenizer(tmp_path / "model", "plain"))
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    (path / "generation_config.json").write_text(json.dumps({"temperature": 0.6}))
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_a_local_folder(folder: Path) -> None:
    model = choose_model("vllm", str(folder), None, server_options={"max_num_seqs": 8})
    assert model.revision is not None and model.revision.startswith("local-")
    assert (model.context, model.generation_config) == (2048, {"temperature": 0.6})
    assert isinstance(model.server, VLLM) and model.endpoint is None
    assert isinstance(choose_model("transformers", str(folder), None).server, Transformers)
    assert choose_model("vllm", str(folder), None, context=512).context == 512


def test_a_large_model_may_take_longer_to_start(folder: Path) -> None:
    def seconds(**options: float) -> float:
        server = choose_model("vllm", str(folder), None, server_options=options).server
        assert server is not None
        return server.start_timeout

    assert seconds() == 1800
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 140_000_000_000}}))
    assert 4000 < seconds() < 6000
    assert seconds(start_timeout=60) == 60


def test_names_of_server_options_are_written_either_way(folder: Path) -> None:
    def chosen(kind: ServerKind, **options: float) -> Model:
        return choose_model(
            kind, str(folder), None, server_options={k.replace("_", "-"): v for k, v in options.items()}
        )

    with pytest.raises(RunError, match="as --context"):
        chosen("vllm", max_model_len=4096)
    large = chosen("vllm", tensor_parallel_size=8, start_timeout=60, max_num_seqs=512)
    assert isinstance(large.server, VLLM)
    assert (large.server.gpus_per_server, large.server.start_timeout) == (8, 60)
    assert large.fingerprint["server_options"] == {}
    small = chosen("transformers", start_timeout=60, cb_block_size=32).server
    assert small is not None and (small.start_timeout, small.options) == (60, {"cb_block_size": 32})


def test_as_many_requests_as_the_servers_run_and_files_may_be_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Endpoint(("http://a", "http://b"), "model")
    model = choose_model("vllm", str(folder), None, server_options={"max_num_seqs": 256})
    assert (model.in_flight(two, 1), model.in_flight(two, 2)) == (512, 256)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 400))
    assert model.in_flight(two, 1) == 400 - OTHER_FILES
    assert choose_model("transformers", str(folder), None).in_flight(two, 1) == 64


def test_no_speculation_where_vllm_would_refuse_the_requests(folder: Path) -> None:
    def speculates(fields: dict[str, Any], **options: Any) -> bool:
        model = choose_model("vllm", str(folder), None, server_options=options).taking(fields)
        assert isinstance(model.server, VLLM) and model.server_options == options
        return model.server.options.get("speculative_config", "by default") is not None

    assert speculates({}) and speculates({"repetition_penalty": 1.1, "min_p": 0, "logit_bias": {}})
    assert not speculates({"min_p": 0.05}) and not speculates({"logit_bias": {"5": -100}})
    with pytest.raises(RunError, match=r"with min_p, .*--server-options '\{\"speculative_config\": null\}'"):
        speculates({"min_p": 0.05}, speculative_config={"method": "ngram"})
    assert not speculates({"min_p": 0.05}, speculative_config=None)
    assert not speculates({}, override_generation_config={"min_p": 0.1})
    (folder / "generation_config.json").write_text(json.dumps({"min_p": 0.05}))
    assert not speculates({})
    assert speculates({"min_p": 0.0})
    assert speculates({}, generation_config="vllm")  # which leaves the model's own aside


def test_a_pin_changes_with_the_model(folder: Path) -> None:
    seen = {pin_model(str(folder), None)}
    assert {pin_model(str(folder), None)} == seen
    for name, content in [("config.json", "{}"), ("model.safetensors", "more weights"), ("chat_template.jinja", "a")]:
        (folder / name).write_text(content)
        seen.add(pin_model(str(folder), None))
    (folder / "chat_template.jinja").write_text("b")  # of the same size
    seen.add(pin_model(str(folder), None))
    assert len(seen) == 5


def test_a_folder_is_looked_at_again_whatever_was_pinned(folder: Path) -> None:
    now = pin_model(str(folder), None)
    assert choose_model("vllm", str(folder), None, pinned=now).revision == now
    (folder / "model.safetensors").write_text("other weights than those that were pinned")
    assert choose_model("vllm", str(folder), None, pinned=now).revision == pin_model(str(folder), None) != now


def test_damaged_files(folder: Path) -> None:
    (folder / "config.json").write_text('{"max_position')
    with pytest.raises(RunError, match=r"the config\.json of .* cannot be read") as caught:
        choose_model("vllm", str(folder), None)
    assert "\n" not in str(caught.value)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(RunError, match=r"no tokenizer\.json"):
        choose_model("vllm", str(folder), None)


def test_a_folder_without_configs(folder: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        (folder / name).unlink()
    model = choose_model("vllm", str(folder), None)
    assert (model.context, model.generation_config) == (DEFAULT_CONTEXT, {})


def test_an_endpoint(mock: MockServer, folder: Path) -> None:
    model = choose_model("endpoint", None, None, url=mock.url, tokenizer="none")
    assert (model.name, model.revision, model.server) == ("mock", None, None)
    assert isinstance(model.tokenizer, CharacterEstimate) and model.tokenizer_id == "none"
    known = choose_model("endpoint", None, None, url=mock.url, tokenizer=str(folder))
    assert known.tokenizer_id == f"{folder} {tokenizer_hash(str(folder), None)}" and known.context == 2048


def test_an_endpoint_that_tells_its_context(folder: Path, start_mock: Callable[..., MockServer]) -> None:
    def context(told: int, asked: int | None = None, tokenizer: str = "none") -> int:
        url = start_mock("--context", str(told)).url
        return choose_model("endpoint", None, None, url=url, tokenizer=tokenizer, context=asked).context

    assert context(4096) == 4096
    assert context(131072) == DEFAULT_CONTEXT
    assert context(4096, tokenizer=str(folder)) == 2048
    assert context(131072, 16384) == 16384
    with pytest.raises(RunError, match=r"--context 8192.* takes 4096 tokens"):
        context(4096, 8192)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"kind": "endpoint"}, "go together"),
        ({"kind": "vllm", "url": "http://127.0.0.1:1"}, "go together"),
        ({"kind": "endpoint", "url": "http://127.0.0.1:1", "server_options": {"a": 1}}, "--extra-body"),
        ({"kind": "vllm", "name": "./no/such/folder"}, "no such folder here"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(RunError, match=hint) as caught:
        choose_model(**{"name": None, "revision": None, **options})
    assert "\n" not in str(caught.value)


def test_a_commit_hash_needs_no_hub() -> None:
    assert pin_model("org/model", COMMIT) == COMMIT


class Hub(BaseHTTPRequestHandler):
    """The parts of the Hub that are asked: model info, revisions, and small files."""

    files = {"config.json": b'{"max_position_embeddings": 4096}'}  # noqa: RUF012 (http.server makes the handlers, so what they share is the class's)

    def do_GET(self) -> None:
        match self.path.partition("?")[0].strip("/").split("/"):
            case ["api", "models", "org", "model", *revision] if revision in ([], ["revision", "main"]):
                self.reply(200, json.dumps({"id": "org/model", "sha": COMMIT, "siblings": []}).encode())
            case ["api", "models", "org", "model", *_]:
                self.reply(404, b"{}", ("X-Error-Code", "RevisionNotFound"))
            case ["api", "models", "org", "gated", *_]:
                self.reply(403, b"{}", ("X-Error-Code", "GatedRepo"))
            case ["api", "models", "org", "broken", *_]:
                self.reply(500, b"oops")
            case ["org", "model", "resolve", _, name] if name in self.files:
                self.reply(200, self.files[name], ("ETag", '"1"'), ("X-Repo-Commit", COMMIT))
            case ["org", "model", "resolve", *_]:
                self.reply(404, b"", ("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", COMMIT))
            case _:
                self.reply(401, b"{}", ("X-Error-Code", "RepoNotFound"))

    do_HEAD = do_GET

    def reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in (("Content-Length", str(len(body))), *headers):
            self.send_header(*header)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


ASK = """
import json, sys
from blocks.generate.pins import model_json, pin_model
from blocks.shards.folder import RunError
for call in json.loads(sys.argv[1]):
    try:
        print(json.dumps(pin_model(*call) if len(call) == 2 else model_json(*call)))
    except RunError as error:
        print(json.dumps(f"RunError: {error}"))
"""


def ask_hub(home: Path, calls: list[list[str | None]], **environment: str) -> list[Any]:
    """Pins (two arguments) and JSON files (three) in a process that believes in another hub."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(calls)],
        env={**clean, "HF_HOME": str(home), "no_proxy": "*", **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_names_on_the_hub(hub: str, tmp_path: Path) -> None:
    found = ask_hub(
        tmp_path,
        [
            ["org/model", None],
            ["org/model", "main"],
            ["org/model", "v9"],
            ["org/nothing", None],
            ["org/gated", None],
            ["org/broken", None],
            ["org/model", COMMIT, "config.json"],
            ["org/model", COMMIT, "generation_config.json"],
        ],
        HF_ENDPOINT=hub,
    )
    assert found[:2] == [COMMIT, COMMIT]
    assert found[2] == "RunError: --model org/model has no --revision v9"
    assert "no such model on the Hub" in found[3]
    assert "hf auth login" in found[4]
    assert "cannot ask the Hub which revision of org/broken" in found[5]
    assert found[6:] == [{"max_position_embeddings": 4096}, {}]
    assert all("\n" not in said for said in found[:6])


def test_without_network(hub: str, tmp_path: Path) -> None:
    offline = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "1"}
    assert "is not in the local cache" in ask_hub(tmp_path, [["org/model", None]], **offline)[0]
    ask_hub(tmp_path, [["org/model", "main", "config.json"]], HF_ENDPOINT=hub)  # fills the cache
    found = ask_hub(tmp_path, [["org/model", None], ["org/model", "v9"]], **offline)
    assert found[0] == COMMIT
    assert "is not in the local cache" in found[1]
    (said,) = ask_hub(tmp_path, [["org/model", None]], HF_ENDPOINT="http://127.0.0.1:9")
    assert "cannot ask the Hub" in said and "commit hash as --revision" in said


def test_model_json_of_a_folder(folder: Path) -> None:
    assert model_json(str(folder), None, "generation_config.json") == {"temperature": 0.6}
    assert model_json(str(folder), None, "nothing.json") == {}
