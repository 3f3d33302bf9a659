"""A local stand-in for the Hugging Face Hub that can be written to: dataset repositories, commits, LFS uploads.

    python tests/writable_hub.py ROOT --token write:WTOKEN:org1,org2 --token read:RTOKEN

It prints its URL, for HF_ENDPOINT; the clients need HF_HUB_DISABLE_XET=1. A token is ROLE:SECRET[:ORGS[:USER]] with
ROLE read, write or fineGrained. The state is ROOT/journal.jsonl and ROOT/objects, so a restarted server (with --port)
knows what it knew. ROOT/commits.jsonl tells of every commit, ROOT/requests.jsonl of every request, ROOT/faults.json of
the faults injected, by kind. Faults can be changed while it runs: POST /_faults {"share": 0.1, "kinds": [...], …}.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import math
import random
import re
import secrets
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LFS = tuple(".parquet .arrow .bin .gz .zst .zip .tar .7z .bz2 .xz .npy .npz .pt .safetensors .h5 .pickle".split())
REGULAR_LIMIT = 10_000_000
GIT_ATTRIBUTES = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LFS).encode()
EVERYWHERE = ["429", "500", "503", "close"]
BODY = ["reset"]  # where there is a body worth losing: uploads and commits
LOST = ["lost-close", "lost-500", "lost-504"]  # the commit is made, its answer is not heard
STORAGE = "Private repository storage limit reached, please upgrade your plan to increase your private storage limit"
NO_POINTER = "Your push was rejected because an LFS pointer pointed to a file that does not exist. Offending file: "
PAGE = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


class Refused(Exception):
    def __init__(self, status: int, error: str, code: str | None = None, **headers: str) -> None:
        super().__init__(error)
        self.status, self.error = status, error
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if code:
            self.headers["X-Error-Code"] = code
        if code or (status == 403 and "rights" not in error):  # as far as reports of the real Hub's errors show
            self.headers["X-Error-Message"] = error

    def response(self) -> web.Response:
        return web.json_response({"error": self.error}, status=self.status, headers=self.headers)


@dataclass(frozen=True)
class Token:
    role: str
    orgs: tuple[str, ...]
    user: str

    def writes(self, namespace: str) -> bool:
        return self.role != "read" and self.member(namespace)

    def member(self, namespace: str) -> bool:
        return namespace == self.user or namespace in self.orgs


@dataclass(frozen=True)
class Blob:
    oid: str  # git's: of the content, or of the pointer file
    size: int
    sha256: str
    lfs: bool
    commit: int  # the number of the commit that brought it

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def pointer(self) -> bytes:
        return pointer(self.sha256, self.size)


@dataclass
class Commit:
    sha: str
    time: float
    title: str
    message: str
    author: str
    files: dict[str, Blob]


@dataclass
class Repo:
    name: str
    private: bool
    created: float
    gated: str | bool = False
    commits: list[Commit] = field(default_factory=list)
    objects: dict[str, int] = field(default_factory=dict)  # uploaded through LFS, committed or not
    regular: dict[str, int] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        return self.commits[-1]


@dataclass
class Upload:
    """What a signed URL stands for."""

    repo: str
    oid: str
    size: int
    parts: dict[int, Path] = field(default_factory=dict)


def pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


async def drain(request: web.Request) -> None:
    async for _ in request.content.iter_chunked(1 << 16):
        pass


def sever(request: web.Request, reset: bool = False) -> web.Response:
    if request.transport is not None:
        if reset:  # closing with the linger time 0 sends RST
            linger = struct.pack("ii", 1, 0)
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.abort()
    return web.Response()


class Faults:
    def __init__(self, options: argparse.Namespace, log: Path) -> None:
        self.share, self.kinds, self.limit = options.faults, options.fault_kinds, options.fault_limit
        self.hang_share, self.hang_seconds = options.hang_share, options.hang_seconds
        self.paths = options.fault_paths
        self.random, self.log = random.Random(options.seed), log
        self.injected: Counter[str] = Counter()
        self.requests = 0

    def note(self, kind: str) -> None:
        self.injected[kind] += 1
        self.log.write_text(json.dumps(self.injected))

    def draw(self, request: web.Request) -> str | None:
        self.requests += 1
        chance, hang = self.random.random(), self.random.random()
        pick = self.random.random()  # three numbers a request, so that a limit does not move the later ones
        if self.limit is not None and self.injected.total() >= self.limit:
            return None
        if not re.search(self.paths, request.path):
            return None
        if hang < self.hang_share:
            return "hang"
        commit = "/commit/" in request.path and request.method == "POST"
        kinds = EVERYWHERE + (BODY if commit or request.method == "PUT" else []) + (LOST if commit else [])
        kinds = [kind for kind in kinds if not self.kinds or kind in self.kinds]
        return kinds[int(pick * len(kinds))] if kinds and chance < self.share else None

    async def inject(self, kind: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        if kind == "hang":
            self.note(kind)
            if "/commit/" in request.path:
                await request.read()  # so that the commit is made even for a client that gave up by then
            await asyncio.sleep(self.hang_seconds)
            return await handler(request)
        if kind in LOST:
            response = await handler(request)
            if response.status != 200:
                return response
            self.note(kind)
            return sever(request) if kind == "lost-close" else broken(int(kind[-3:]))
        self.note(kind)
        if kind == "reset":
            with contextlib.suppress(asyncio.IncompleteReadError):  # without Content-Length it may be shorter
                await request.content.readexactly((request.content_length or 2) // 2)
            return sever(request, reset=True)
        await drain(request)
        return sever(request) if kind == "close" else broken(int(kind))

    async def change(self, request: web.Request) -> web.Response:
        """Answer with the counters; a POST first changes what is injected."""
        if request.method == "POST":
            for name, value in (await request.json()).items():
                if name == "seed":
                    self.random = random.Random(value)
                elif name == "reset_counters":
                    self.injected.clear()
                else:
                    assert name in ("share", "kinds", "limit", "paths", "hang_share", "hang_seconds"), name
                    setattr(self, name, value)
        return web.json_response({"injected": self.injected, "requests": self.requests})


def broken(status: int) -> web.Response:
    if status == 429:
        headers = {"Retry-After": "1", "RateLimit": '"api";r=0;t=1'}
        return web.json_response({"error": "We had to rate limit you"}, status=429, headers=headers)
    if status == 500:
        error = "Internal Error - We're working hard to fix this as soon as possible!"
        return web.json_response({"error": error}, status=500)
    title = f"{status} {'Service Unavailable' if status == 503 else 'Gateway Time-out'}"
    return web.Response(text=PAGE.format(title), content_type="text/html", status=status)


class Hub:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.root = options, Path(options.root)
        (self.root / "objects").mkdir(parents=True, exist_ok=True)
        (self.root / "incoming").mkdir(exist_ok=True)
        self.tokens: dict[str, Token] = dict(options.token)
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, Upload] = {}  # by signature
        self.faults = Faults(options, self.root / "faults.json")
        self.journal = self.root / "journal.jsonl"
        if self.journal.exists():
            for line in self.journal.read_text().splitlines():
                self.apply(json.loads(line))

    # --- State: every change is an event in the journal ---

    def record(self, **event: Any) -> None:
        with self.journal.open("a") as file:
            file.write(json.dumps(event) + "\n")
        self.apply(event)

    def apply(self, event: dict[str, Any]) -> None:
        name = event["repo"]
        match event["op"]:
            case "create":
                self.repos[name] = Repo(name, event["private"], event["time"])
            case "delete":
                del self.repos[name]
            case "settings":
                self.repos[name].private, self.repos[name].gated = event["private"], event["gated"]
            case "object":
                self.repos[name].objects[event["oid"]] = event["size"]
            case "commit":
                repo = self.repos[name]
                files = dict(repo.head.files) if repo.commits else {}
                for path, blob in event["changes"].items():
                    files.pop(path, None)
                    if blob:
                        oid, size, sha256, lfs = blob
                        files[path] = Blob(oid, size, sha256, lfs, len(repo.commits))
                        if not lfs:
                            repo.regular[oid] = size
                said = event["title"], event["message"], event["author"]
                repo.commits.append(Commit(event["sha"], event["time"], *said, files))

    def commit(self, repo: Repo, title: str, message: str, author: str, changes: dict[str, Blob | None]) -> str:
        parent = repo.head.sha if repo.commits else None
        plain = {path: blob and [blob.oid, blob.size, blob.sha256, blob.lfs] for path, blob in changes.items()}
        now = time.time()
        identity = json.dumps([repo.name, len(repo.commits), parent, title, plain, now])
        sha = hashlib.sha1(identity.encode()).hexdigest()
        said = {"title": title, "message": message, "author": author}
        self.record(op="commit", repo=repo.name, sha=sha, time=now, changes=plain, **said)
        size = sum(blob.size for blob in changes.values() if blob)
        line = {"time": now, "repo": repo.name, "sha": sha, "parent": parent, "files": len(changes), "bytes": size}
        with (self.root / "commits.jsonl").open("a") as file:
            file.write(json.dumps(line | {"title": title, "paths": list(changes)}) + "\n")
        return sha

    def store(self, content: bytes) -> Blob:
        sha256 = hashlib.sha256(content).hexdigest()
        self.object(sha256).write_bytes(content)
        return Blob(git_oid(content), len(content), sha256, False, 0)

    def object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256

    # --- Who asks for what ---

    def caller(self, request: web.Request) -> Token | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        if (token := self.tokens.get(header.removeprefix("Bearer "))) is None:
            error = "Invalid credentials in Authorization header"
            raise Refused(401, error, X_Error_Message=error)
        return token

    def readable(self, request: web.Request) -> Repo:
        token, name = self.caller(request), request.match_info["repo"]
        repo = self.repos.get(name)
        if repo is None or (repo.private and not (token and token.member(name.split("/")[0]))):
            if token is None:
                raise Refused(401, "Invalid username or password.", "RepoNotFound")
            raise Refused(404, "Repository not found", "RepoNotFound")
        return repo

    def writable(self, request: web.Request) -> tuple[Repo, Token]:
        repo, token = self.readable(request), self.caller(request)
        if token is None:
            raise Refused(401, "Invalid username or password.")
        if not token.writes(repo.name.split("/")[0]):
            if request.path.endswith("/batch"):
                raise Refused(403, "Authorization error.")
            if token.role == "read":
                raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")
            raise Refused(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repo, token

    def revision(self, request: web.Request, repo: Repo) -> Commit:
        asked = request.match_info.get("revision", "main")
        found = repo.head if asked in ("main", "refs/heads/main") else None
        found = found or next((commit for commit in repo.commits if commit.sha == asked), None)
        if found is None:
            raise Refused(404, f"Invalid rev id: {asked}", "RevisionNotFound")
        return found

    def check_storage(self, repo: Repo, new: dict[str, int]) -> None:
        if self.options.quota_bytes is None:
            return
        namespace = repo.name.split("/")[0]
        mine = [other for other in self.repos.values() if other.name.split("/")[0] == namespace]
        used = sum(sum(other.objects.values()) + sum(other.regular.values()) for other in mine)
        known = repo.objects.keys() | repo.regular.keys()
        if used + sum(size for oid, size in new.items() if oid not in known) > self.options.quota_bytes:
            raise Refused(self.options.quota_status, STORAGE)

    def check_rate(self, repo: Repo) -> None:
        limit, window, now = self.options.commits_per_hour, self.options.commit_window, time.time()
        # The initial commit is the system's.
        recent = [commit.time for commit in repo.commits[1:] if commit.time > now - window]
        if limit is None or len(recent) < limit:
            return
        wait = math.ceil(recent[-limit] + window - now)
        error = (
            f"You have exceeded the rate limit for repository commits ({limit} per hour). You can retry this action in"
            f" {f'{wait} seconds' if wait < 60 else f'about {round(wait / 60)} minutes'}. To reduce the number of"
            " commits, you can upload entire folders at once using the Hub Python library."
        )
        raise Refused(429, error, Retry_After=str(max(wait, 1)))

    # --- Accounts and repositories ---

    async def whoami(self, request: web.Request) -> web.Response:
        token = self.caller(request)
        if token is None:
            raise Refused(401, "Invalid username or password.")
        access: dict[str, Any] = {"displayName": "test", "role": token.role, "createdAt": date(0)}
        if token.role == "fineGrained":
            rights = ["repo.content.read", "repo.write"]
            names = [("org", name) for name in token.orgs] + [("user", token.user)]
            scoped = [{"entity": {"type": kind, "name": name}, "permissions": rights} for kind, name in names]
            access["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
        orgs = [
            {"type": "org", "id": name, "name": name, "fullname": name, "email": None, "canPay": False, "plan": "team"}
            | {"avatarUrl": "", "isEnterprise": False, "roleInOrg": "read" if token.role == "read" else "write"}
            for name in token.orgs
        ]
        user: dict[str, Any] = {
            "type": "user",
            "id": token.user,
            "name": token.user,
            "fullname": token.user,
            "email": None,
        }
        user |= {"emailVerified": True, "canPay": False, "plan": "free", "isPro": False, "avatarUrl": ""}
        return web.json_response(user | {"orgs": orgs, "auth": {"type": "access_token", "accessToken": access}})

    async def create(self, request: web.Request) -> web.Response:
        token, asked = self.caller(request), await request.json()
        if token is None:
            raise Refused(401, "Invalid username or password.")
        if asked.get("type") != "dataset":
            raise Refused(400, "Only datasets can be created here")
        namespace = asked.get("organization") or token.user
        if not token.writes(namespace):
            raise Refused(403, f'You don\'t have the rights to create a dataset under the namespace "{namespace}"')
        name = f"{namespace}/{asked['name']}"
        answer = {"url": f"{request.url.origin()}/datasets/{name}", "name": name, "id": git_oid(name.encode())[:24]}
        if name in self.repos:
            return web.json_response(answer | {"error": "You already created this dataset repo"}, status=409)
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.record(op="create", repo=name, private=private, time=time.time())
        self.commit(self.repos[name], "initial commit", "", "system", {".gitattributes": self.store(GIT_ATTRIBUTES)})
        return web.json_response(answer)

    async def delete(self, request: web.Request) -> web.Response:
        token, asked = self.caller(request), await request.json()
        name = f"{asked.get('organization') or (token and token.user)}/{asked['name']}"
        if token is None or name not in self.repos:
            raise Refused(404, "Repository not found", "RepoNotFound")
        if not token.writes(name.split("/")[0]):
            raise Refused(403, "You don't have the rights to delete this repo")
        self.record(op="delete", repo=name)
        return web.json_response({})

    async def settings(self, request: web.Request) -> web.Response:
        repo, _ = self.writable(request)
        asked = await request.json()
        private = asked.get("private", asked.get("visibility", repo.private)) in ("private", True)
        self.record(op="settings", repo=repo.name, private=private, gated=asked.get("gated", repo.gated))
        return web.json_response({"private": repo.private, "gated": repo.gated})

    async def auth_check(self, request: web.Request) -> web.Response:
        self.writable(request) if request.path.endswith("/write") else self.readable(request)
        return web.json_response({})

    async def info(self, request: web.Request) -> web.Response:
        repo = self.readable(request)
        commit = self.revision(request, repo)
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
        if request.query.get("blobs", "").lower() == "true":
            for sibling in siblings:
                blob = commit.files[sibling["rfilename"]]
                sibling |= {"size": blob.size, "blobId": blob.oid}
                if blob.lfs:
                    sibling["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer())}
        answer: dict[str, Any] = {
            "_id": git_oid(repo.name.encode())[:24],
            "id": repo.name,
            "author": repo.name.split("/")[0],
        }
        answer |= {"sha": commit.sha, "lastModified": date(commit.time), "createdAt": date(repo.created)}
        answer |= {"gated": repo.gated, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        used = sum(repo.objects.values()) + sum(repo.regular.values())
        return web.json_response(answer | {"private": repo.private, "siblings": siblings, "usedStorage": used})

    async def commits(self, request: web.Request) -> web.Response:
        repo = self.readable(request)
        wanted = self.revision(request, repo)
        found = repo.commits[: repo.commits.index(wanted) + 1][::-1]
        said = [
            {"id": commit.sha, "title": commit.title, "message": commit.message, "date": date(commit.time)}
            | {"authors": [{"user": commit.author, "avatar": ""}]}
            for commit in found
        ]
        return self.page(request, said, min(self.options.page, 50))

    async def refs(self, request: web.Request) -> web.Response:
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": self.readable(request).head.sha}
        return web.json_response({"branches": [main], "tags": [], "converts": [], "pullRequests": []})

    # --- Reading ---

    def page(self, request: web.Request, entries: list[dict[str, Any]], size: int) -> web.Response:
        start = int(request.query.get("cursor", 0))
        following = request.url.update_query(cursor=str(start + size))
        headers = {"Link": f'<{following}>; rel="next"'} if start + size < len(entries) else {}
        return web.json_response(entries[start : start + size], headers=headers)

    def entries(self, repo: Repo, commit: Commit, paths: Iterable[str], expand: bool) -> list[dict[str, Any]]:
        """Those of `paths` that are files or folders."""
        found = []
        for path in paths:
            blob = commit.files.get(path)
            inside = [] if blob else [one for name, one in commit.files.items() if name.startswith(path + "/")]
            if blob is None and not inside:
                continue
            if blob is None:
                entry = {"type": "directory", "oid": git_oid(path.encode()), "size": 0, "path": path}
            else:
                entry = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
                if blob.lfs:
                    entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer())}
            if expand:
                last = repo.commits[max(one.commit for one in ([blob] if blob else inside))]
                entry["lastCommit"] = {"id": last.sha, "title": last.title, "date": date(last.time)}
            found.append(entry)
        return found

    async def tree(self, request: web.Request) -> web.Response:
        repo = self.readable(request)
        commit = self.revision(request, repo)
        start = request.match_info.get("path", "").strip("/")
        prefix = f"{start}/" if start else ""
        parts = [path.removeprefix(prefix).split("/") for path in commit.files if path.startswith(prefix)]
        if prefix and not parts:
            raise Refused(404, f'{start} does not exist on "{request.match_info["revision"]}"', "EntryNotFound")
        deep = request.query.get("recursive", "").lower() == "true"
        expand = request.query.get("expand", "").lower() == "true"
        paths = {prefix + "/".join(part[:end]) for part in parts for end in range(1, len(part) + 1 if deep else 2)}
        return self.page(request, self.entries(repo, commit, sorted(paths), expand), self.options.page)

    async def paths_info(self, request: web.Request) -> web.Response:
        repo = self.readable(request)
        commit = self.revision(request, repo)
        if request.content_type == "application/json":
            asked = await request.json()
            paths, expand = asked["paths"], bool(asked.get("expand"))
        else:
            form = await request.post()
            paths, expand = form.getall("paths", []), str(form.get("expand", "")).lower() == "true"
        return web.json_response(self.entries(repo, commit, (str(path).strip("/") for path in paths), expand))

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        """The content of a file: in full, or a range of it; for /raw/ an LFS file is its pointer."""
        repo, token = self.readable(request), self.caller(request)
        if repo.gated and not (token and token.member(repo.name.split("/")[0])):
            raise Refused(403 if token else 401, f"Access to dataset {repo.name} is restricted.", "GatedRepo")
        commit = self.revision(request, repo)
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        blob = commit.files.get(request.match_info["path"])
        if blob is None:
            raise Refused(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        headers["ETag"] = f'"{blob.etag}"'
        if blob.lfs and request.match_info.route.name == "raw":
            return web.Response(body=blob.pointer(), headers=headers)
        if blob.lfs:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        start, stop, _ = request.http_range.indices(blob.size)
        status = 200
        if "Range" in request.headers:
            if start >= stop:
                raise Refused(416, "Range not satisfiable", Content_Range=f"bytes */{blob.size}")
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
            status = 206
        response = web.StreamResponse(status=status, headers=headers)
        response.content_type = "application/octet-stream" if blob.lfs else "text/plain"
        response.content_length = stop - start
        await response.prepare(request)
        if request.method != "HEAD":
            with self.object(blob.sha256).open("rb") as file:
                file.seek(start)
                while start < stop and (chunk := file.read(min(1 << 18, stop - start))):
                    await response.write(chunk)
                    start += len(chunk)
        return response

    # --- Writing ---

    async def validate_yaml(self, request: web.Request) -> web.Response:
        content = (await request.json())["content"]
        header = re.match(r"---\s*\n(.*?)\n?---", content, re.DOTALL)
        if header is None:
            warning = {"message": "empty or missing yaml metadata in repo card"}
            return web.json_response({"errors": [], "warnings": [warning]})
        try:
            assert isinstance(yaml.safe_load(header[1]) or {}, dict)
        except (yaml.YAMLError, AssertionError) as error:
            said = {"errors": [{"message": f"Invalid YAML: {error}"}], "warnings": []}
            return web.json_response(said, status=400)
        return web.json_response({"errors": [], "warnings": []})

    async def preupload(self, request: web.Request) -> web.Response:
        repo, _ = self.writable(request)
        commit = self.revision(request, repo)
        answers = []
        for file in (await request.json())["files"]:
            large = file["path"].endswith(LFS) or file["size"] > REGULAR_LIMIT
            answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if blob := commit.files.get(file["path"]):
                answer["oid"] = blob.etag
            answers.append(answer)
        return web.json_response({"files": answers, "commitOid": commit.sha})

    async def batch(self, request: web.Request) -> web.Response:
        repo, _ = self.writable(request)
        asked = await request.json()
        assert asked["operation"] == "upload" and asked["hash_algo"] == "sha256", asked
        self.check_storage(repo, {one["oid"]: one["size"] for one in asked["objects"]})
        origin, above = request.url.origin(), self.options.multipart_above
        answers: list[dict[str, Any]] = []
        for one in asked["objects"]:
            oid, size = one["oid"], one["size"]
            answers.append(answer := {"oid": oid, "size": size})
            if repo.objects.get(oid) == size:
                continue
            signature = secrets.token_hex(8)
            self.uploads[signature] = Upload(repo.name, oid, size)
            verify = {"href": f"{origin}/datasets/{repo.name}.git/info/lfs/objects/verify"}
            upload: dict[str, Any] = {"href": f"{origin}/_upload/{signature}"}
            if size > above and "multipart" in asked["transfers"]:
                chunk = max(1, min(above, 20_000_000))
                numbers = range(1, math.ceil(size / chunk) + 1)
                upload["header"] = {str(number): f"{origin}/_upload/{signature}/{number}" for number in numbers}
                upload["header"]["chunk_size"] = str(chunk)
                upload["href"] = f"{origin}/_complete/{signature}"
            answer["actions"] = {"upload": upload, "verify": verify}
            answer["authenticated"] = True
        multipart = any("header" in answer.get("actions", {}).get("upload", {}) for answer in answers)
        return web.json_response({"transfer": "multipart" if multipart else "basic", "objects": answers})

    async def upload(self, request: web.Request) -> web.Response:
        """Take a whole object or, with a number, a part of one, at a signed URL, as S3 does."""
        upload = self.uploads.get(request.match_info["signature"])
        if upload is None or upload.repo not in self.repos:
            raise Refused(403, "The request signature is not known")
        number = int(request.match_info.get("number", 0))
        path = self.root / "incoming" / secrets.token_hex(8)
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with path.open("wb") as file:
                async for chunk in request.content.iter_chunked(1 << 18):
                    digest.update(chunk)
                    file.write(chunk)
        except BaseException:
            path.unlink()
            raise
        if number:
            upload.parts[number] = path
        else:
            self.take(upload, [path])
        return web.Response(headers={"ETag": f'"{digest.hexdigest()}"'})

    async def complete(self, request: web.Request) -> web.Response:
        upload = self.uploads.get(request.match_info["signature"])
        if upload is None:
            raise Refused(403, "The request signature is not known")
        asked = await request.json()
        if upload.oid not in self.repos[upload.repo].objects:  # completing twice is fine
            for part in asked["parts"]:
                path = upload.parts.get(part["partNumber"])
                etag = path and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                if etag is None or part["etag"].strip('"') != etag:
                    raise Refused(400, f"InvalidPart: part {part['partNumber']} is not what was uploaded")
            self.take(upload, [upload.parts[part["partNumber"]] for part in asked["parts"]])
        return web.json_response({"success": True})

    def take(self, upload: Upload, parts: list[Path]) -> None:
        whole = self.root / "incoming" / secrets.token_hex(8)
        digest = hashlib.sha256()
        with whole.open("wb") as file:
            for part in parts:
                content = part.read_bytes()
                digest.update(content)
                file.write(content)
                part.unlink()
        if (digest.hexdigest(), whole.stat().st_size) != (upload.oid, upload.size):
            whole.unlink()
            raise Refused(400, "BadDigest: what was uploaded does not have the size or the SHA256 announced")
        whole.replace(self.object(upload.oid))
        self.record(op="object", repo=upload.repo, oid=upload.oid, size=upload.size)

    async def verify(self, request: web.Request) -> web.Response:
        repo, _ = self.writable(request)
        asked = await request.json()
        if repo.objects.get(asked["oid"]) != asked["size"]:
            raise Refused(404, "Object not found, or of another size")
        return web.json_response({})

    async def make_commit(self, request: web.Request) -> web.Response:
        repo, token = self.writable(request)
        lines = [json.loads(line) for line in (await request.read()).splitlines()]
        # From here on nothing is awaited: no other commit comes between.
        if request.match_info["revision"] != "main" or request.query.get("create_pr"):
            raise Refused(404, f"Invalid rev id: {request.match_info['revision']}", "RevisionNotFound")
        self.check_rate(repo)
        header = lines[0]["value"]
        if lines[0]["key"] != "header" or not header.get("summary"):
            raise Refused(400, "The first line must be a header with a summary")
        if header.get("parentCommit") not in (None, repo.head.sha):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        changes: dict[str, Blob | None] = {}
        for line in lines[1:]:
            changes |= self.change(repo, line["key"], line["value"])
        added = [blob for blob in changes.values() if blob]
        self.check_storage(repo, {blob.oid: blob.size for blob in added if not blob.lfs})
        sha = self.commit(repo, header["summary"], header.get("description", ""), token.user, changes)
        url = f"{request.url.origin()}/datasets/{repo.name}/commit/{sha}"
        return web.json_response({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def change(self, repo: Repo, key: str, value: dict[str, Any]) -> dict[str, Blob | None]:
        path, files = value["path"], repo.head.files
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise Refused(400, f"Invalid path: {path}")
        if key == "file":
            text = value["content"]
            content = base64.b64decode(text) if value.get("encoding") == "base64" else text.encode()
            if len(content) > REGULAR_LIMIT:
                raise Refused(400, f"Your push was rejected because it contains files larger than 10 MiB: {path}")
            return {path: self.store(content)}
        if key == "lfsFile":
            size = repo.objects.get(value["oid"])
            if value.get("algo") != "sha256" or size is None or value.get("size", size) != size:
                raise Refused(400, NO_POINTER + path)
            return {path: Blob(git_oid(pointer(value["oid"], size)), size, value["oid"], True, 0)}
        if key == "copyFile":  # huggingface_hub 2.4.0 does not send it
            source = files.get(value["srcPath"])
            if source is None:
                raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
            return {path: source}
        if key == "deletedFile" and path in files:
            return {path: None}
        if key == "deletedFolder" and (inside := [name for name in files if name.startswith(path.rstrip("/") + "/")]):
            return dict.fromkeys(inside)
        if key in ("deletedFile", "deletedFolder"):
            raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
        raise Refused(400, f"Unknown operation: {key}")

    # --- Around every request ---

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            if request.can_read_body:
                await drain(request)
            return refused.response()

    def middleware(self) -> Any:
        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == "/_faults":
                return await handler(request)
            at, kind, status = time.time(), self.faults.draw(request), 0
            try:
                if kind:
                    response = await self.faults.inject(kind, request, lambda one: self.answer(one, handler))
                else:
                    response = await self.answer(request, handler)
                status = 0 if request.transport is None or request.transport.is_closing() else response.status
                return response
            except web.HTTPException as error:  # no such route
                status = error.status
                raise
            except ConnectionError:  # the client went away
                return sever(request)
            finally:
                line = {"time": at, "method": request.method, "path": request.path_qs, "status": status, "fault": kind}
                with (self.root / "requests.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")

        return around

    def app(self) -> web.Application:
        async def dress(request: web.Request, response: web.StreamResponse) -> None:
            response.headers["X-Request-Id"] = f"Root=1-{secrets.token_hex(8)}"
            if request.path.startswith("/api/"):  # on every answer; they speak of API requests, not of commits
                response.headers.setdefault("RateLimit", '"api";r=949;t=271')
                response.headers.setdefault("RateLimit-Policy", '"fixed window";"api";q=1000;w=300')

        app = web.Application(middlewares=[self.middleware()], client_max_size=1 << 40)
        app.on_response_prepare.append(dress)
        repo = "{repo:[^/]+/[^/]+}"
        api, files = f"/api/datasets/{repo}", f"/datasets/{repo}"
        app.router.add_get("/_faults", self.faults.change)
        app.router.add_post("/_faults", self.faults.change)
        app.router.add_get("/api/whoami-v2", self.whoami)
        app.router.add_post("/api/repos/create", self.create)
        app.router.add_delete("/api/repos/delete", self.delete)
        app.router.add_post("/api/validate-yaml", self.validate_yaml)
        app.router.add_get(api, self.info)
        app.router.add_get(f"{api}/revision/{{revision:.+}}", self.info)
        app.router.add_put(f"{api}/settings", self.settings)
        app.router.add_get(f"{api}/auth-check", self.auth_check)
        app.router.add_get(f"{api}/auth-check/write", self.auth_check)
        app.router.add_get(f"{api}/refs", self.refs)
        app.router.add_get(f"{api}/commits/{{revision}}", self.commits)
        app.router.add_get(f"{api}/tree/{{revision}}", self.tree)
        app.router.add_get(f"{api}/tree/{{revision}}/{{path:.*}}", self.tree)
        app.router.add_post(f"{api}/paths-info/{{revision}}", self.paths_info)
        app.router.add_post(f"{api}/preupload/{{revision}}", self.preupload)
        app.router.add_post(f"{api}/commit/{{revision}}", self.make_commit)
        app.router.add_post(f"{files}.git/info/lfs/objects/batch", self.batch)
        app.router.add_post(f"{files}.git/info/lfs/objects/verify", self.verify)
        app.router.add_put("/_upload/{signature}", self.upload)
        app.router.add_put("/_upload/{signature}/{number}", self.upload)
        app.router.add_post("/_complete/{signature}", self.complete)
        app.router.add_get(f"{files}/resolve/{{revision}}/{{path:.+}}", self.resolve)
        app.router.add_get(f"{files}/raw/{{revision}}/{{path:.+}}", self.resolve, name="raw")
        return app


def token(text: str) -> tuple[str, Token]:
    role, secret, orgs, user = [*text.split(":"), "", ""][:4]
    if role not in ("read", "write", "fineGrained") or not secret:
        raise argparse.ArgumentTypeError("ROLE:SECRET[:ORGS[:USER]]")
    return secret, Token(role, tuple(filter(None, orgs.split(","))), user or "user")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", type=token, action="append", default=[], help="ROLE:SECRET[:ORGS[:USER]]")
    parser.add_argument("--multipart-above", type=int, default=5_000_000_000, help="bytes; also the size of a part")
    parser.add_argument("--page", type=int, default=1000, help="entries in a page of a listing")
    parser.add_argument("--commits-per-hour", type=int, help="for each repository")
    parser.add_argument("--commit-window", type=float, default=3600, help="seconds that hour really has")
    parser.add_argument("--quota-bytes", type=int, help="for each namespace, public repositories too")
    parser.add_argument("--quota-status", type=int, default=403, help="users have met 403, and 400 on commits")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests with a fault")
    parser.add_argument("--fault-kinds", type=lambda text: text.split(","), help=",".join(EVERYWHERE + BODY + LOST))
    parser.add_argument("--fault-limit", type=int, help="no more faults than this")
    parser.add_argument("--fault-paths", default="", help="a pattern: only for requests whose path has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hang-share", type=float, default=0.0, help="share of requests answered late")
    parser.add_argument("--hang-seconds", type=float, default=3600.0)
    options = parser.parse_args()
    runner = web.AppRunner(Hub(options).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
