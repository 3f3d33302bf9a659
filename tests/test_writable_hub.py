"""The stand-in for the Hub, tests/writable_hub.py, behaves as huggingface_hub expects of the real one."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, HfFileSystem
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.conftest import ROOT

REPO = "lab/texts"
TOKENS = ["--token", "write:W:lab,other", "--token", "read:R:lab", "--token", "write:S::stranger"]


@dataclass
class Hub:
    url: str
    root: Path
    process: subprocess.Popen[str]

    def api(self, token: str | bool = "W") -> HfApi:
        return HfApi(endpoint=self.url, token=token)

    def fs(self) -> HfFileSystem:
        return HfFileSystem(endpoint=self.url, token="W", skip_instance_cache=True)

    def log(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / f"{name}.jsonl").read_text().splitlines()]

    def injected(self) -> dict[str, int]:
        counters: dict[str, int] = json.loads((self.root / "faults.json").read_text())
        return counters


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_DISABLE_XET", True)
    caplog.set_level(logging.ERROR, "huggingface_hub")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    hubs: list[Hub] = []

    def start(*options: object, root: Path | None = None) -> Hub:
        root = root or tmp_path / f"hub-{len(hubs)}"
        command = [sys.executable, str(ROOT / "tests" / "writable_hub.py"), str(root), *TOKENS, *map(str, options)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        hubs.append(Hub(process.stdout.readline().strip(), root, process))
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.process.kill()
        hub.process.wait()


def table(rows: int = 1000) -> bytes:
    sink = pa.BufferOutputStream()
    text = [f"{i} {hashlib.sha256(str(i).encode()).hexdigest()}" for i in range(rows)]
    pq.write_table(pa.table({"id": range(rows), "text": text}), sink, row_group_size=100, compression="none")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def commit(api: HfApi, *operations: Any, repo: str = REPO, **options: Any) -> str:
    return api.create_commit(repo, operations, commit_message="more", repo_type="dataset", **options).oid


def create(api: HfApi, repo: str = REPO, **options: Any) -> str:
    api.create_repo(repo, repo_type="dataset", **options)
    head: str | None = api.dataset_info(repo).sha
    assert head
    return head


def status(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return int(error.value.response.status_code)


def test_files_are_committed_and_read_back(start: Callable[..., Hub], tmp_path: Path) -> None:
    hub, content = start("--page", 2), table()
    api = hub.api()
    first = create(api)
    local = tmp_path / "local.parquet"
    local.write_bytes(content)
    operations = [
        CommitOperationAdd("data/a b%2F.parquet", local),
        add("data/deep/two.parquet", content[:-1]),
        add("README.md", b"---\nlicense: mit\n---\n# Texts\n"),
        add("empty.parquet", b""),
    ]
    api.preupload_lfs_files(REPO, operations[:1], repo_type="dataset")
    assert [operation._is_uploaded for operation in operations] == [True, False, False, False]
    assert api.list_repo_files(REPO, repo_type="dataset") == [".gitattributes"]  # uploaded is not committed
    second = commit(api, *operations, parent_commit=first)

    info = hub.api().dataset_info(REPO, files_metadata=True)
    assert (info.sha, info.private) == (second, False)
    paths = [".gitattributes", "README.md", "data/a b%2F.parquet", "data/deep/two.parquet", "empty.parquet"]
    assert [sibling.rfilename for sibling in info.siblings or []] == paths
    assert api.list_repo_files(REPO, repo_type="dataset") == paths
    assert api.list_repo_files(REPO, repo_type="dataset", revision=first) == paths[:1]
    found = {one.path: one for one in api.list_repo_tree(REPO, repo_type="dataset", recursive=True, expand=True)}
    assert found["data/a b%2F.parquet"].lfs.sha256 == hashlib.sha256(content).hexdigest()
    assert found["data/deep"].last_commit.oid == second
    inside = api.list_repo_tree(REPO, "data/deep", repo_type="dataset")
    assert [one.path for one in inside] == ["data/deep/two.parquet"]
    several = api.get_paths_info(REPO, ["data", "empty.parquet", "no", "data/a b%2F.parquet"], repo_type="dataset")
    assert [one.path for one in several] == ["data", "empty.parquet", "data/a b%2F.parquet"]
    assert [one.commit_id for one in api.list_repo_commits(REPO, repo_type="dataset")] == [second, first]

    for path, expected in (("data/a b%2F.parquet", content), ("empty.parquet", b"")):
        copy = api.hf_hub_download(REPO, path, repo_type="dataset", cache_dir=tmp_path / "cache")
        assert Path(copy).read_bytes() == expected
    assert Path(api.snapshot_download(REPO, repo_type="dataset", local_dir=tmp_path / "all")).is_dir()
    assert (tmp_path / "all/data/deep/two.parquet").read_bytes() == content[:-1]
    raw = f"{hub.url}/datasets/{REPO}/raw/main"
    assert httpx2.get(f"{raw}/README.md").text.endswith("# Texts\n")
    assert "oid sha256:" in httpx2.get(f"{raw}/data/deep/two.parquet").text

    assert api.file_exists(REPO, "README.md", repo_type="dataset")
    assert not api.file_exists(REPO, "no.md", repo_type="dataset")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(REPO, "no.parquet", repo_type="dataset", cache_dir=tmp_path / "cache")
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(REPO, "nowhere", repo_type="dataset"))
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(REPO, revision="0" * 40)
    said = hub.log("commits")[-1]
    assert (said["sha"], said["parent"], said["files"], said["repo"]) == (second, first, 4, REPO)
    assert not [line for line in hub.log("requests") if "xet" in line["path"]]


def test_a_range_of_a_parquet_file_is_read_through_fsspec(start: Callable[..., Hub]) -> None:
    hub, content = start(), table(20_000)
    create(hub.api())
    revision = commit(hub.api(), add("data/one.parquet", content))
    path = f"datasets/{REPO}@{revision}/data/one.parquet"
    with hub.fs().open(path, block_size=1 << 12) as file:
        parquet = pq.ParquetFile(file)
        assert parquet.read_row_group(150, columns=["id"]).column("id").to_pylist() == list(range(15_000, 15_100))
    assert hub.fs().cat_file(path) == content
    assert hub.fs().cat_file(path, start=7, end=19) == content[7:19]
    assert hub.fs().cat_file(path, start=-8) == content[-8:]
    assert [Path(one).name for one in hub.fs().glob(f"datasets/{REPO}/**/*.parquet")] == ["one.parquet"]
    reply = httpx2.get(f"{hub.url}/datasets/{REPO}/resolve/main/data/one.parquet", headers={"Range": "bytes=4-9"})
    assert (reply.status_code, reply.content) == (206, content[4:10])
    assert reply.headers["X-Linked-Size"] == str(len(content)) and "X-Xet-Hash" not in reply.headers
    beyond = {"Range": f"bytes={len(content)}-"}
    assert httpx2.get(str(reply.url), headers=beyond).status_code == 416
    head = httpx2.head(str(reply.url))
    assert (head.headers["Content-Length"], head.headers["X-Repo-Commit"]) == (str(len(content)), revision)


def test_commits_replace_delete_and_copy(start: Callable[..., Hub]) -> None:
    hub = start()
    api = hub.api()
    create(api)
    first = commit(api, add("a/1.parquet", b"one"), add("a/2.parquet", b"two"), add("b.txt", b"text"))
    again = commit(api, add("a/1.parquet", b"one"))
    assert again == first  # the client itself saw that nothing changed
    commit(
        api, add("b.txt", b"new"), CommitOperationDelete("a/2.parquet"), CommitOperationCopy("a/1.parquet", "c.parquet")
    )
    files = {one.path: one for one in api.list_repo_tree(REPO, repo_type="dataset", recursive=True)}
    assert sorted(files) == [".gitattributes", "a", "a/1.parquet", "b.txt", "c.parquet"]
    commit(api, CommitOperationDelete("a/"))
    with hub.fs().open(f"datasets/{REPO}/d.parquet", "wb") as file:
        file.write(b"written")
    assert hub.fs().cat_file(f"datasets/{REPO}/d.parquet") == b"written"
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        commit(api, CommitOperationDelete("a/1.parquet"))
    assert hub.fs().cat_file(f"datasets/{REPO}/c.parquet") == b"one"
    assert hub.fs().cat_file(f"datasets/{REPO}@{first}/b.txt") == b"text"
    puts = [line for line in hub.log("requests") if line["method"] == "PUT"]
    assert len(puts) == 3  # what is there already is not uploaded again


def test_two_writers_conflict(start: Callable[..., Hub]) -> None:
    api = start().api()
    head = create(api)
    commit(api, add("1.txt", b"1"), parent_commit=head)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        commit(api, add("2.txt", b"2"), parent_commit=head)
    assert status(error) == 412
    commit(api, add("2.txt", b"2"))


def test_tokens_and_namespaces(start: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    hub = start("--token", "fineGrained:F:lab")
    me = hub.api().whoami()
    assert me["auth"]["accessToken"]["role"] == "write" and [org["name"] for org in me["orgs"]] == ["lab", "other"]
    assert hub.api("R").whoami()["auth"]["accessToken"]["role"] == "read"
    assert "repo.write" in hub.api("F").whoami()["auth"]["accessToken"]["fineGrained"]["scoped"][0]["permissions"]
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as error:
        hub.api("unknown").whoami()
    assert status(error) == 401

    create(hub.api())
    with pytest.raises(HfHubHTTPError, match="already created this dataset repo") as error:
        create(hub.api())
    assert status(error) == 409
    create(hub.api(), exist_ok=True)
    for token, repo in (("W", "missing/texts"), ("R", "lab/more"), ("S", "lab/more")):
        with pytest.raises(HfHubHTTPError, match='create a dataset under the namespace "') as error:
            hub.api(token).create_repo(repo, repo_type="dataset")
        assert status(error) == 403
    with monkeypatch.context() as patched:
        patched.setattr(hub_constants, "ENDPOINT", hub.url)  # where exist_ok meets a 403, HfApi.endpoint is forgotten
        assert hub.api("R").create_repo(REPO, repo_type="dataset", exist_ok=True).repo_id == REPO  # it is there: fine
    for token, reason in (("R", "write token"), ("S", "create_pr=1")):
        with pytest.raises(HfHubHTTPError, match=reason) as error:
            commit(hub.api(token), add("1.txt", b"1"))
        assert status(error) == 403
    with pytest.raises(HfHubHTTPError, match="401"):
        commit(hub.api(False), add("1.txt", b"1"))
    with pytest.raises(RepositoryNotFoundError):
        commit(hub.api(), add("1.txt", b"1"), repo="lab/none")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        hub.api("unknown").dataset_info(REPO)

    create(hub.api(), "lab/secret", private=True)
    commit(hub.api(), add("1.txt", b"1"), repo="lab/secret")
    assert hub.api("R").dataset_info("lab/secret").private
    for token, expected in ((False, 401), ("S", 404)):
        with pytest.raises(RepositoryNotFoundError) as error:
            hub.api(token).dataset_info("lab/secret")
        assert status(error) == expected
    hub.api().update_repo_settings("lab/secret", private=False, repo_type="dataset")
    assert not hub.api(False).dataset_info("lab/secret").private
    hub.api().update_repo_settings("lab/secret", gated="manual", repo_type="dataset")
    assert hub.api("S").dataset_info("lab/secret").gated == "manual"
    with pytest.raises(GatedRepoError):
        hub.api("S").file_exists("lab/secret", "1.txt", repo_type="dataset")
    hub.api().delete_repo("lab/secret", repo_type="dataset")
    assert not hub.api().repo_exists("lab/secret", repo_type="dataset")


def test_quotas(start: Callable[..., Hub]) -> None:
    hub = start("--commits-per-hour", 2, "--commit-window", 2, "--quota-bytes", 10_000)
    api = hub.api()
    head = create(api)
    with pytest.raises(HfHubHTTPError, match="Private repository storage limit reached") as error:
        commit(api, add("large.parquet", bytes(9_000)), add("larger.parquet", bytes(2_000)))
    assert status(error) == 403
    with pytest.raises(HfHubHTTPError, match="Private repository storage limit reached"):
        commit(api, add("large.txt", bytes(10_000)))
    assert api.dataset_info(REPO).sha == head
    for name in "12":
        commit(api, add(f"{name}.txt", b"1"))
    with pytest.raises(HfHubHTTPError, match=r"rate limit for repository commits \(2 per hour\)") as error:
        commit(api, add("3.txt", b"1"))
    headers = error.value.response.headers
    assert status(error) == 429 and headers["Retry-After"] in "12"
    assert headers["RateLimit"].startswith('"api";r=') and "RateLimit-Policy" in headers
    time.sleep(int(headers["Retry-After"]))
    commit(api, add("3.txt", b"1"))


def test_large_files_are_uploaded_in_parts(start: Callable[..., Hub]) -> None:
    hub, content = start("--multipart-above", 10_000), table()
    create(hub.api())
    commit(hub.api(), add("data/one.parquet", content), add("small.parquet", b"small"))
    parts = [line["path"] for line in hub.log("requests") if line["method"] == "PUT"]
    assert len(parts) == -(-len(content) // 10_000) + 1
    assert hub.fs().cat_file(f"datasets/{REPO}/data/one.parquet") == content
    assert not list((hub.root / "incoming").iterdir())


def test_what_was_not_uploaded_is_refused(start: Callable[..., Hub]) -> None:
    hub, content = start(), b"content"
    api, oid = hub.api(), hashlib.sha256(content).hexdigest()
    head = create(api)
    absent = add("1.parquet", content)
    absent._is_uploaded, absent._upload_mode = True, "lfs"
    with pytest.raises(BadRequestError, match="LFS pointer pointed to a file that does not exist"):
        commit(api, absent)
    said = {"operation": "upload", "transfers": ["basic"], "hash_algo": "sha256"}
    said |= {"objects": [{"oid": oid, "size": len(content)}]}
    batch = f"{hub.url}/datasets/{REPO}.git/info/lfs/objects/batch"
    reply = httpx2.post(batch, json=said, headers={"Authorization": "Bearer W"}).json()
    url = reply["objects"][0]["actions"]["upload"]["href"]
    assert httpx2.put(url, content=b"c0ntent").status_code == 400
    assert httpx2.put(url, content=content).status_code == 200
    assert "actions" not in httpx2.post(batch, json=said, headers={"Authorization": "Bearer W"}).json()["objects"][0]
    assert api.dataset_info(REPO).sha == head


@pytest.mark.parametrize("kind", ["lost-close", "lost-500", "lost-504"])
def test_the_answer_of_a_commit_is_lost(start: Callable[..., Hub], kind: str) -> None:
    hub = start("--faults", 1, "--fault-kinds", kind, "--fault-limit", 1)
    api = hub.api()
    head = create(api)
    operations = [add("1.parquet", b"one"), add("1.txt", b"1")]
    expected = httpx2.RemoteProtocolError if kind == "lost-close" else HfHubHTTPError
    with pytest.raises(expected):
        commit(api, *operations, parent_commit=head)
    made = api.dataset_info(REPO)
    assert made.sha != head and len(made.siblings or []) == 3
    assert hub.injected() == {kind: 1}
    # The same operations again: the library does not ask again what is there, and the parent is no longer the head.
    with pytest.raises(HfHubHTTPError, match="412"):
        commit(api, *operations, parent_commit=head)
    # New ones with the same content: it sees that nothing changed.
    fresh = [add("1.parquet", b"one"), add("1.txt", b"1")]
    assert commit(api, *fresh, parent_commit=head) == made.sha
    assert len(hub.log("commits")) == 2


def test_the_library_itself_retries_an_upload(start: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub, content = start("--faults", 1, "--fault-paths", "^/_upload", "--fault-limit", 5), bytes(3_000_000)
    create(hub.api())
    commit(hub.api(), add("1.parquet", content))
    assert sum(hub.injected().values()) == 5
    assert hub.fs().cat_file(f"datasets/{REPO}/1.parquet") == content


def test_faults_of_every_kind_and_a_seed(start: Callable[..., Hub]) -> None:
    def outcomes(hub: Hub) -> list[object]:
        seen: list[object] = []
        with httpx2.Client(headers={"Authorization": "Bearer W"}) as client:
            for _ in range(60):
                try:
                    seen.append(client.get(f"{hub.url}/api/whoami-v2").status_code)
                except httpx2.TransportError as error:
                    seen.append(type(error).__name__)
        return seen

    first, second = (outcomes(start("--faults", 0.5, "--seed", 7)) for _ in range(2))
    assert first == second
    assert {200, 429, 500, 503, "RemoteProtocolError"} == set(first)

    hub = start("--faults", 1, "--fault-kinds", "reset", "--hang-seconds", 0.5)
    httpx2.post(f"{hub.url}/_faults", json={"share": 0})
    head = create(hub.api())
    httpx2.post(f"{hub.url}/_faults", json={"share": 1})
    with pytest.raises(httpx2.TransportError):
        commit(hub.api(), add("1.txt", bytes(5_000_000)))
    httpx2.post(f"{hub.url}/_faults", json={"share": 0, "hang_share": 1})
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{hub.url}/api/datasets/{REPO}", timeout=0.1)
    assert httpx2.get(f"{hub.url}/_faults").json()["injected"] == {"reset": 1, "hang": 1} == hub.injected()
    assert hub.api().dataset_info(REPO).sha == head

    httpx2.post(f"{hub.url}/_faults", json={"hang_share": 1, "paths": "/commit/"})
    lines = [{"key": "header", "value": {"summary": "late"}}]
    lines.append({"key": "file", "value": {"path": "late.txt", "content": "late", "encoding": "utf-8"}})
    body = "\n".join(map(json.dumps, lines))
    with pytest.raises(httpx2.ReadTimeout):
        headers = {"Authorization": "Bearer W"}
        httpx2.post(f"{hub.url}/api/datasets/{REPO}/commit/main", content=body, headers=headers, timeout=0.1)
    assert hub.api().dataset_info(REPO).sha == head
    time.sleep(0.6)
    assert hub.api().list_repo_commits(REPO, repo_type="dataset")[0].title == "late"


def test_a_restarted_server_knows_what_it_knew(start: Callable[..., Hub]) -> None:
    hub = start()
    create(hub.api(), private=True)
    head = commit(hub.api(), add("1.parquet", b"one"), add("1.txt", b"1"))
    hub.process.kill()
    again = start(root=hub.root)
    assert again.api().dataset_info(REPO).sha == head
    assert again.fs().cat_file(f"datasets/{REPO}/1.parquet") == b"one"
    commit(again.api(), add("2.parquet", b"two"), parent_commit=head)
