"""A local stand-in for the Hugging Face Hub, enough for huggingface_hub to list, pin and read repositories.

    python tests/fake_hub.py ROOT    # ROOT/models/<org>/<name>/… and ROOT/datasets/<org>/<name>/…

It prints its URL, for HF_ENDPOINT. A repository's commit hash is made of its name and of what stands in its file
`.commit`, if there is one: writing there moves `main` on. Commits of the past stay valid.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

ROOT = Path(sys.argv[1])


def commit_of(kind: str, repo: str) -> str:
    moved = ROOT / kind / repo / ".commit"
    return hashlib.sha1(f"{kind}/{repo}{moved.read_text() if moved.exists() else ''}".encode()).hexdigest()


def found(kind: str, repo: str, revision: str = "main") -> Path | None:
    folder = ROOT / kind / repo
    return folder if folder.is_dir() and re.fullmatch("main|[0-9a-f]{40}", revision) else None


def missing(error: str) -> web.Response:
    return web.json_response({"error": error}, status=404, headers={"X-Error-Code": error, "X-Error-Message": error})


def entry(folder: Path, path: Path) -> dict[str, Any]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
    return {
        "type": "file",
        "path": name,
        "size": path.stat().st_size,
        "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
    }


async def info(request: web.Request) -> web.Response:
    kind, repo = request.match_info["kind"], request.match_info["repo"]
    revision = request.match_info.get("revision", "main")
    if found(kind, repo) is None:
        return missing("RepoNotFound")
    if found(kind, repo, revision) is None:
        return missing("RevisionNotFound")
    return web.json_response({"id": repo, "sha": commit_of(kind, repo), "private": False, "siblings": [], "tags": []})


async def tree(request: web.Request) -> web.Response:
    folder = found(request.match_info["kind"], request.match_info["repo"], request.match_info["revision"])
    if folder is None:
        return missing("RevisionNotFound")
    start = folder / request.match_info.get("path", "").strip("/")
    if not start.is_dir():
        return missing("EntryNotFound")
    deep = request.query.get("recursive", "").lower() == "true"
    paths = sorted(start.rglob("*") if deep else start.iterdir())
    return web.json_response([entry(folder, path) for path in paths])


async def paths_info(request: web.Request) -> web.Response:
    folder = found(request.match_info["kind"], request.match_info["repo"], request.match_info["revision"])
    if folder is None:
        return missing("RevisionNotFound")
    asked = await (request.json() if request.content_type == "application/json" else request.post())
    names = asked["paths"] if isinstance(asked["paths"], list) else [asked["paths"]]
    return web.json_response([entry(folder, folder / name) for name in names if (folder / name).exists()])


async def resolve(request: web.Request) -> web.StreamResponse:
    kind = "datasets" if "kind" in request.match_info else "models"
    repo = request.match_info["repo"]
    folder = found(kind, repo, request.match_info["revision"])
    if folder is None:
        return missing("RepoNotFound")
    path = folder / request.match_info["path"]
    if not path.is_file():
        return missing("EntryNotFound")
    etag = hashlib.sha1(path.read_bytes()).hexdigest()
    return web.FileResponse(path, headers={"X-Repo-Commit": commit_of(kind, repo), "X-Linked-Etag": f'"{etag}"'})


async def main() -> None:
    app = web.Application()
    repo = "{kind:models|datasets}/{repo:[^/]+/[^/]+}"
    app.router.add_get(f"/api/{repo}", info)
    app.router.add_get(f"/api/{repo}/revision/{{revision}}", info)
    app.router.add_get(f"/api/{repo}/tree/{{revision}}", tree)
    app.router.add_get(f"/api/{repo}/tree/{{revision}}/{{path:.*}}", tree)
    app.router.add_post(f"/api/{repo}/paths-info/{{revision}}", paths_info)
    app.router.add_get("/{kind:datasets}/{repo:[^/]+/[^/]+}/resolve/{revision}/{path:.+}", resolve)
    app.router.add_get("/{repo:[^/]+/[^/]+}/resolve/{revision}/{path:.+}", resolve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
