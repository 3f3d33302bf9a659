"""What is tried before jobs wait for days in a queue: disks, and the very command on a few documents.

The trial runs in a fresh interpreter, as a job does, with the options of the job; only its model is a small server in
this process that says the same thing to everybody. So an import that is missing, a column that is not there, a step
that cannot be sent to a worker shows now.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from blocks.shards.folder import RunError

if TYPE_CHECKING:
    from blocks.execute.cluster import Cluster
    from blocks.generate.servers import Server

ROWS = 20
"""Rows that the trial reads."""

FREE = 5 << 30
"""Bytes that must be free where state and shards go."""

SAID = "**Q: What is this?**\nA: It is what a server says that stands in for the model."


def check_disks(folders: Sequence[Path], free: int = FREE) -> None:
    """Look whether there is room, and whether it may be used: a quota may be smaller than the disk.

    Raises:
        RunError: there is too little.
    """
    for folder in folders:
        left = shutil.disk_usage(folder).free
        if left < free:
            raise RunError(f"{folder} has {left / 1e9:.1f} GB left, a run needs at least {free / 1e9:.0f} GB")
        try:
            with tempfile.NamedTemporaryFile(dir=folder) as file:
                file.write(bytes(1 << 20))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"cannot write to {folder}: {error.strerror}") from error


def check_gpus(cluster: Cluster, servers: Sequence[Server]) -> None:
    """Look whether jobs get as many GPUs as a server takes: a job that does not, fails after days in the queue.

    Raises:
        RunError: they do not.
    """
    needed = max((server.gpus_per_server for server in servers), default=0)
    # Whoever asks for them in another way knows what comes of it.
    own = any(name.startswith(("gpu", "gres", "tres", "exclusive")) for name in cluster.sbatch)
    if needed > cluster.gpus and not own and "CUDA_VISIBLE_DEVICES" not in cluster.setup:
        raise RunError(
            f"a server of this run takes {needed} GPU(s), and jobs of this profile get {cluster.gpus}: say `gpus` in "
            f"the profile, or use --server endpoint"
        )


def check_programs(python: Sequence[str], servers: Sequence[Server]) -> None:
    """Look whether the programs of the servers are where jobs look for them.

    Args:
        python: what runs the interpreter as a job does.
        servers: what jobs start.

    Raises:
        RunError: one is missing.
    """
    for kind in dict.fromkeys(type(server).__name__ for server in servers):
        code = f"from blocks.generate.servers import {kind}; {kind}('model').command(1)"
        done = subprocess.run([*python, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip().rpartition("\n")[2].partition("ServerError: ")
            raise RunError(
                f"a job could not start its server: {said[2] or said[0]}. If it is only this node that lacks it, say "
                f"`preflight: false` in the profile"
            )


def try_out(command: Sequence[str], options: Mapping[str, Any], model: str | None) -> None:
    """Run a pipeline on its first rows as a job would, against a server that stands in for the model.

    Args:
        command: what runs the pipeline, without options.
        options: of the job, as `--config` takes them.
        model: the model's name; None for a pipeline without one.

    Raises:
        RunError: it failed; the message holds what it said.
    """
    with tempfile.TemporaryDirectory(prefix="finemill-trial") as folder, _standing_in(model or "") as url:
        tried = {**options, "output": f"{folder}/run", "state": f"{folder}/run/state", "limit": ROWS, "workers": 1}
        # What the trial makes is nobody's: it goes into no repository and no report.
        for name in ("server-options", "judge", "api-key-env", "samples", "publish", "report"):
            tried.pop(name, None)
        if model is not None:
            tried |= {"server": "endpoint", "endpoint": url, "model": model}
            tried.setdefault("tokenizer", model)
        config = Path(folder) / "options.yaml"
        config.write_text(yaml.safe_dump(tried, allow_unicode=True))
        done = subprocess.run([*command, "--config", str(config)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RunError(
                f"a trial of this run on {ROWS} rows failed, nothing was submitted:\n"
                f"{(done.stdout + done.stderr).strip()[-3000:]}"
            )


@contextmanager
def _standing_in(model: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say({"object": "list", "data": [{"id": model, "object": "model"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            message = {"role": "assistant", "content": SAID}
            choice = {"index": 0, "finish_reason": "stop", "message": message, "text": SAID}
            self._say({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

        def _say(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
