"""Which model servers fit on the GPUs of this node, and which GPUs each of them gets.

Decided before anything starts: a server that finds out by itself that it has too little memory does so after minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from blocks.generate.servers import Server


class ServerError(RuntimeError):
    """A model server cannot be placed, started or kept alive; the message says why, with the end of its log if any."""


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as `CUDA_VISIBLE_DEVICES` names them; an empty list if there are none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [line.split(":")[0].removeprefix("GPU ") for line in listing.splitlines() if line.startswith("GPU ")]


def check_gpu_memory(servers: Sequence[Server]) -> None:
    """Refuse servers that together want more memory than a GPU has.

    Args:
        servers: all servers that will run on this node at the same time. Each is placed on every GPU of the node, so
            their shares add up.

    Raises:
        ServerError: the shares add up to more than 1.
    """
    sharing = [server for server in servers if server.gpus_per_server]
    total = sum(server.gpu_memory_share for server in sharing)
    if total > 1.000001:
        each = ", ".join(f"{server.model} {server.gpu_memory_share:.2f}" for server in sharing)
        raise ServerError(
            f"servers on one GPU would take {total:.2f} of its memory ({each}): lower their gpu_memory_utilization to "
            "at most 1.0 together, or run them one after the other"
        )


def place(server: Server, replicas: int | None) -> list[list[str]]:
    """The GPUs of each server process: one group for each process.

    Args:
        server: what is to run.
        replicas: how many processes; None for as many as the visible GPUs allow, or one for a CPU server.

    Raises:
        ServerError: there are too few GPUs, or too little memory on them.
    """
    size = server.gpus_per_server
    if size == 0:
        return [[] for _ in range(replicas or 1)]
    check_gpu_memory([server])
    gpus = visible_gpus()
    wanted = replicas or max(1, len(gpus) // size)
    if wanted * size > len(gpus):
        raise ServerError(
            f"{wanted} server(s) of {server.model} need {wanted * size} GPU(s), but {len(gpus)} are visible: run on a "
            "node with GPUs, check CUDA_VISIBLE_DEVICES, or use --server transformers (slow) or --server endpoint"
        )
    if replicas is None and len(gpus) % size:
        logger.warning(f"{len(gpus) % size} of {len(gpus)} GPUs stay unused, as a server takes {size}")
    return [gpus[start : start + size] for start in range(0, wanted * size, size)]
