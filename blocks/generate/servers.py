"""Model servers that a run starts by itself: vLLM on GPUs, `transformers serve` on a CPU.

A `Server` is a small value that can be pickled: which program to start, how, and how to tell that it answers. What
keeps it running is `blocks.generate.supervise`, and all of it together is used as `with serve(VLLM(...), state) as
running:`. Steps only ever see `running.endpoint`.
"""

from __future__ import annotations

import functools
import http.client
import importlib.util
import json
import os
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from loguru import logger

from blocks.generate.placement import ServerError, check_gpu_memory, visible_gpus
from blocks.generate.supervise import Running, serve
from blocks.shards.folder import RunError

__all__ = ["VLLM", "Running", "Server", "ServerError", "Transformers", "check_gpu_memory", "serve", "visible_gpus"]


SCRATCH = "FINEMILL_SCRATCH"
"""Environment variable that names a folder on the node's own disk, for caches that processes must not share."""

_COUNTERS = re.compile(rb"^vllm:(?:prompt|generation)_tokens_total(?:\{.*\})? ([0-9.e+]+)", re.MULTILINE)
"""The tokens that a vLLM has read and written, as it tells Prometheus."""

NOT_SPECULATED = ("min_p", "logit_bias")
"""What vLLM answers with 400 while it speculates, also as the model's own default (vllm-project/vllm#42744)."""


def _executable(name: str, extra: str) -> str:
    """A program beside this Python (of the same virtual environment), else on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        where = "on the GPU node" if extra == "vllm" else "here"
        raise ServerError(
            f"`{name}` is not installed: pip install -e '.[{extra}]' {where}, in finemill's folder, or use "
            f"--server endpoint"
        )
    return found


def _ask(
    port: int, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float = 30
) -> tuple[int, bytes]:
    """One request to a server of this host; status 0 if there was no proper answer. Never goes through a proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as the command line wants them."""
    arguments = []
    for key, value in options.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, (dict, list)):
            arguments += [f"--{name}", json.dumps(value)]
        elif value is not None:
            arguments += [f"--{name}", str(value)]
    return arguments


@dataclass(frozen=True)
class Server(ABC):
    """A model server that a run can start.

    Args:
        model: name on the Hugging Face hub, or folder.
        revision: commit, branch or tag on the hub; None for the newest.
        trust_remote_code: whether code that comes with the model may run.
        start_timeout: seconds that a start may take, with download and compilation.
        options: options of the program by name, without the leading dashes; `_` and `-` are the same. True gives
            `--name`, False `--no-name`, a dict or list is passed as JSON, None removes a default. They win over the
            defaults.

    Raises:
        ValueError: an option that this class sets by itself.
    """

    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    start_timeout: float = 1800.0
    options: Mapping[str, Any] = field(default_factory=dict)

    # Defaults of the command line, and options that are fields or that `serve` decides.
    defaults: ClassVar[Mapping[str, Any]] = {}
    reserved: ClassVar[frozenset[str]] = frozenset({"host", "port", "model", "revision", "trust_remote_code"})

    def __post_init__(self) -> None:
        taken = self.reserved & {key.replace("-", "_") for key in self.options}
        if taken:
            raise ValueError(
                f"not an option but a field of {type(self).__name__}, or chosen by the run: {', '.join(sorted(taken))}"
            )

    @property
    def served_name(self) -> str:
        """The name that requests must carry as `model`."""
        return self.model

    @property
    def gpus_per_server(self) -> int:
        """How many GPUs one server process takes; 0 for a CPU server."""
        return 0

    @property
    def gpu_memory_share(self) -> float:
        """The part of each of its GPUs' memory that a server takes, 0 to 1."""
        return 0.0

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """What to execute to serve on this port of the loopback interface.

        Raises:
            ServerError: the program is not installed.
        """

    def environment(self, gpus: Sequence[str]) -> dict[str, str]:
        """Environment variables to add for a server on these GPUs."""
        return {}

    @abstractmethod
    def answers(self, port: int) -> bool:
        """Whether a server on this port is up and serves this model, rather than being somebody else's."""

    def tokens(self, port: int) -> float | None:
        """How many tokens a server on this port has read and written; None where it does not count."""
        return None

    def replies(self, port: int, timeout: float) -> bool:
        """Whether a server on this port answers a request for one token within so many seconds, in whatever way."""
        request = {"model": self.served_name, "prompt": "a", "max_tokens": 1}
        return _ask(port, "POST", "/v1/completions", request, timeout)[0] != 0

    def _options(self) -> dict[str, Any]:
        chosen = {key.replace("-", "_"): value for key, value in self.options.items()}
        return {**self.defaults, **chosen}


@dataclass(frozen=True)
class VLLM(Server):
    """`vllm serve`, one process per GPU, with the settings of FinePhrase's production run as defaults.

    These are a context of 8,192 tokens, 2,048 sequences and 16,384 tokens per batch, 0.9 of the GPU's memory, bfloat16,
    and speculative decoding from the text itself (arXiv 2604.13977 and its published pipeline). Larger batches and 0.95
    of the memory were faster in their benchmark, but ran out of memory in production.

    Args:
        model: name on the Hugging Face hub, or folder.
        revision: as in `Server`, and so are `trust_remote_code`, `start_timeout` and `options`.
        tensor_parallel_size: GPUs that share each layer.
        pipeline_parallel_size: groups of GPUs that share the layers.
    """

    model: str = "HuggingFaceTB/SmolLM2-1.7B-Instruct"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1

    defaults: ClassVar[Mapping[str, Any]] = {
        "max_model_len": 8192,
        "max_num_seqs": 2048,
        "max_num_batched_tokens": 16384,
        "gpu_memory_utilization": 0.9,
        "dtype": "bfloat16",
        "optimization_level": 3,
        "disable_uvicorn_access_log": True,  # a line per request would fill the disk
    }
    reserved: ClassVar[frozenset[str]] = Server.reserved | {
        "api_key",
        "pipeline_parallel_size",
        "served_model_name",
        "tensor_parallel_size",
        "uds",
    }

    @property
    def gpus_per_server(self) -> int:
        """Tensor times pipeline parallel size."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def gpu_memory_share(self) -> float:
        """`gpu_memory_utilization`; 1.0 where that option was removed, as vLLM then decides."""
        share = self._options()["gpu_memory_utilization"]
        return 1.0 if share is None else float(share)

    @property
    def max_num_seqs(self) -> int:
        """Sequences that it runs at a time."""
        return int(self._options()["max_num_seqs"] or self.defaults["max_num_seqs"])

    def command(self, port: int) -> list[str]:
        """As in `Server`."""
        vllm = _executable("vllm", "vllm")
        own = {
            "host": "127.0.0.1",
            "port": port,
            "served_model_name": self.model,
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code or None,
            "tensor_parallel_size": self.tensor_parallel_size,
            "pipeline_parallel_size": self.pipeline_parallel_size,
        }
        options = self._options()
        if "speculative_config" not in options:
            options["speculative_config"] = _speculation(Path(vllm).parent)
        return [vllm, "serve", self.model, *_arguments({**own, **options})]

    def taking(self, fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> VLLM:
        """The same server, or one that does not speculate, where it could not take these requests otherwise.

        Args:
            fields: of the requests.
            defaults: the model's own `generation_config.json`.

        Raises:
            RunError: the options ask for speculation.
        """
        options = self._options()
        own = defaults if options.get("generation_config", "auto") == "auto" else {}
        over = options.get("override_generation_config")
        sent = {**own, **(over if isinstance(over, Mapping) else {}), **fields}
        refused = [name for name in NOT_SPECULATED if sent.get(name)]
        if not refused or ("speculative_config" in options and options["speculative_config"] is None):
            return self
        said = f"{self.model} is asked with {' and '.join(refused)}, which vLLM refuses when it speculates"
        if "speculative_config" in options:
            raise RunError(f"{said}: set --server-options '{{\"speculative_config\": null}}'")
        logger.info(f"{said}; so it does not, and is slower")
        return replace(self, options={**self.options, "speculative_config": None})

    def environment(self, gpus: Sequence[str]) -> dict[str, str]:
        """Pins the GPUs; spares the import of TensorFlow; drops a key that would lock out the run itself.

        Servers that compile into one cache at the same time have corrupted it, so each has its own where there is a
        folder for it. The next life of a job finds it again.
        """
        chosen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "USE_TF": "0", "VLLM_API_KEY": ""}
        if scratch := os.environ.get(SCRATCH):
            slot = "-".join([os.environ.get("SLURM_ARRAY_TASK_ID", "0"), *gpus])
            chosen["VLLM_CACHE_ROOT"] = f"{scratch}/finemill-vllm/{slot}"
        return chosen

    def answers(self, port: int) -> bool:
        """As in `Server`: it is healthy and lists the model."""
        if _ask(port, "GET", "/health")[0] != 200:
            return False
        status, body = _ask(port, "GET", "/v1/models")
        try:
            return status == 200 and self.served_name in [model["id"] for model in json.loads(body)["data"]]
        except (ValueError, KeyError, TypeError):
            return False

    def tokens(self, port: int) -> float | None:
        """As in `Server`, from what it tells Prometheus."""
        counted = _COUNTERS.findall(_ask(port, "GET", "/metrics", timeout=10)[1])
        return sum(map(float, counted)) if counted else None


@functools.cache
def _speculation(programs: Path) -> dict[str, Any]:
    """Suffix decoding where its package is installed beside vLLM, else n-gram lookup, which needs none."""
    if programs == Path(sys.executable).parent and importlib.util.find_spec("arctic_inference") is not None:
        return {"method": "suffix", "num_speculative_tokens": 32}
    logger.info("arctic-inference is not installed beside vLLM: n-gram instead of suffix speculation (a little slower)")
    return {"method": "ngram", "num_speculative_tokens": 6, "prompt_lookup_max": 6}


@dataclass(frozen=True)
class Transformers(Server):
    """`transformers serve` on the CPU: for demos and tests with tiny models, not for data.

    Continuous batching stays off unless it is asked for: its attention has no fast path on a CPU, so it pays only with
    a dozen requests at a time. Arguments as in `Server`.
    """

    @property
    def served_name(self) -> str:
        """The model as it was started: the server refuses any other name, and takes the revision after an @."""
        return f"{self.model}@{self.revision}" if self.revision and not self._local else self.model

    def command(self, port: int) -> list[str]:
        """As in `Server`."""
        own = {
            "device": "cpu",
            "host": "127.0.0.1",
            "port": port,
            "trust_remote_code": self.trust_remote_code or None,
        }
        program = _executable("transformers", "cpu")
        return [program, "serve", self.served_name, *_arguments({**own, **self._options()})]

    def environment(self, gpus: Sequence[str]) -> dict[str, str]:
        """A model in a folder needs no hub: no request may hang behind a firewall.

        Threads that wait for each other sleep: when they spin, as is the default, another program on the same cores
        makes the server six times as slow, and on idle cores it is no faster for it.
        """
        policy = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        return {**policy, "HF_HUB_OFFLINE": "1"} if self._local else policy

    def answers(self, port: int) -> bool:
        """As in `Server`: it completes a token. Its list of models shows the hub's cache, not what is served."""
        request = {"model": self.served_name, "prompt": "a", "max_tokens": 1}
        return _ask(port, "GET", "/health")[0] == 200 and _ask(port, "POST", "/v1/completions", request)[0] == 200

    @property
    def _local(self) -> bool:
        return Path(self.model).is_dir()
