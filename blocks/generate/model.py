"""Which model a run asks, and how to get at it.

`--model`, `--server`, `--endpoint` and `--tokenizer` decide that together. Every name is resolved here, in the
launching process and before a server starts.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from loguru import logger

from blocks.generate.endpoint import Endpoint
from blocks.generate.generate import OTHER_FILES
from blocks.generate.pins import model_json, pin_model, tokenizer_hash
from blocks.generate.probe import resolve
from blocks.generate.servers import VLLM, Server, Transformers, serve
from blocks.generate.spending import Spending, parse_price
from blocks.generate.tokenizer import TokenCounter, load_tokenizer
from blocks.shards.folder import RunError

ServerKind = Literal["vllm", "transformers", "endpoint"]
Watch = Callable[[], Exception | None] | None

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-1.7B-Instruct"
"""The generator of the released FinePhrase dataset."""

DEFAULT_CONTEXT = 8192
"""Tokens of prompt and answer together in FinePhrase's production run."""


SLOWEST_DISK = 50e6
"""Bytes per second at which weights are downloaded or read at the least, with many nodes on one disk."""

SPEED_ONLY = frozenset(
    {
        *("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens", "optimization_level", "start_timeout"),
        *("tensor_parallel_size", "pipeline_parallel_size", "speculative_config", "enable_prefix_caching"),
    }
)
"""Server options that do not change what a model answers (but for rounding), so that a run may change them."""


@dataclass(frozen=True)
class Model:
    """A model that a run has settled on.

    Args:
        name: as the user named it, or as the endpoint lists it.
        revision: commit hash, digest of a local folder, or None for an endpoint that does not tell.
        context: tokens of prompt and answer together.
        tokenizer: counts the model's tokens.
        tokenizer_id: name and digest of the tokenizer, for the fingerprint.
        generation_config: the model's own sampling defaults, as far as they can be seen.
        server_options: of the server, as they were given.
        server: what to start, None for an endpoint.
        endpoint: where it answers, None before a server is started.
    """

    name: str
    revision: str | None
    context: int
    tokenizer: TokenCounter
    tokenizer_id: str
    generation_config: Mapping[str, Any]
    server_options: Mapping[str, Any]
    server: Server | None
    endpoint: Endpoint | None

    @property
    def at(self) -> Endpoint:
        """Where it answers, or before a server is started, an endpoint without an address, to try a step out with."""
        return self.endpoint or Endpoint((), self.name)

    def in_flight(self, at: Endpoint, workers: int) -> int:
        """Open requests per worker when nobody says: as many as each vLLM runs at a time, 2,048 by default; else 64.

        Fewer where a process may not open as many files.
        """
        if not isinstance(self.server, VLLM):
            return 64
        wanted = max(64, self.server.max_num_seqs * len(at.urls) // workers)
        _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY or wanted <= limit - OTHER_FILES:
            return wanted
        logger.warning(
            f"a worker asks for {max(1, limit - OTHER_FILES):,} answers at a time instead of {wanted:,}, since it may "
            f"open only {limit:,} files: raise the hard limit (`ulimit -Hn`), or take more --workers"
        )
        return max(1, limit - OTHER_FILES)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What of the model shapes its answers."""
        return {
            "model": self.name,
            "model_revision": self.revision,
            "tokenizer": self.tokenizer_id,
            "context": self.context,
            "server_options": {name: value for name, value in self.server_options.items() if name not in SPEED_ONLY},
        }

    def taking(self, fields: Mapping[str, Any]) -> Model:
        """The same model, whose server can take requests with these fields.

        Raises:
            RunError: as in `VLLM.taking`.
        """
        if not isinstance(self.server, VLLM):
            return self
        return replace(self, server=self.server.taking(fields, self.generation_config))

    def priced(self, price: str | None, limit: float | None, state: Path) -> Model:
        """The same model, at a price.

        Args:
            price: as `parse_price` takes it; None where nobody counts.
            limit: what the run may spend.
            state: the run's state folder.

        Raises:
            RunError: there is a limit and no price of this endpoint, or the run starts the server itself.
        """
        if price is None:
            if limit is not None and self.endpoint is not None:
                raise RunError(f"--max-spending needs the price of {self.name}: --price, or 'price' of a judge")
            return self
        if self.endpoint is None:
            raise RunError("--price is for an --endpoint: a server that the run starts is not paid by the token")
        spending = Spending(parse_price(price), limit, state)
        return replace(self, endpoint=replace(self.endpoint, spending=spending))

    @contextmanager
    def running(self, state: Path) -> Iterator[tuple[Endpoint, Watch]]:
        """The endpoint, with a function that tells when its server cannot be kept alive.

        Raises:
            ServerError: a server did not come up.
        """
        if self.server is None:
            assert self.endpoint is not None
            yield self.endpoint, None
            return
        with serve(self.server, state) as up:
            yield up.endpoint, lambda: up.failed


@contextmanager
def running(models: Iterable[Model], state: Path) -> Iterator[tuple[tuple[Endpoint, ...], tuple[Watch, ...]]]:
    """The endpoints of several models, and what tells when the server of one cannot be kept alive.

    Raises:
        ServerError: a server did not come up; those that did are stopped again.
    """
    with ExitStack() as servers:
        started = [servers.enter_context(model.running(state)) for model in models]
        yield tuple(at for at, _ in started), tuple(watch for _, watch in started)


def choose_model(
    kind: ServerKind,
    name: str | None,
    revision: str | None,
    url: str | None = None,
    api_key_env: str | None = None,
    tokenizer: str | None = None,
    context: int | None = None,
    server_options: Mapping[str, Any] | None = None,
    pinned: str | None = None,
) -> Model:
    """Settle on a model.

    Args:
        kind: start vLLM or `transformers serve`, or use the endpoint at `url`.
        name: Hub name or local folder; None is the default model, or the only one that the endpoint serves.
        revision: as typed; a branch or tag becomes a commit hash.
        url: the endpoint.
        api_key_env: environment variable with the endpoint's key.
        tokenizer: Hub name or path; None is the model's own, "none" an estimate of 3 characters per token.
        context: tokens; None is 8192, or what the model's config or the endpoint allows if that is less.
        server_options: options of the started server; "-" and "_" in their names are the same.
        pinned: the revision that an earlier launch of this run resolved; nothing is resolved then.

    Raises:
        RunError: options that contradict each other, or something that is not there.
    """
    if (kind == "endpoint") != (url is not None):
        raise RunError("--server endpoint and --endpoint URL go together")
    if kind == "endpoint" and server_options:
        raise RunError("--server-options are for servers that the run starts; see --extra-body for requests")
    options = {option.replace("-", "_"): value for option, value in (server_options or {}).items()}
    endpoint = resolve(url, name, api_key_env) if url is not None else None
    name = endpoint.model if endpoint else name or DEFAULT_MODEL
    if pinned is None or pinned.startswith("local-"):  # a folder may have changed since
        pinned = revision if endpoint else pin_model(name, revision)
    commit = pinned
    on_hub = None if commit is None or commit.startswith("local-") else commit
    source, source_revision = (tokenizer, None) if tokenizer else (name, on_hub)
    try:
        counter = load_tokenizer(None if source == "none" else source, source_revision)
        tokenizer_id = "none" if source == "none" else f"{source} {tokenizer_hash(source, source_revision)}"
    except ValueError as error:
        hint = "; for an endpoint, say --tokenizer NAME_OR_PATH, or none for an estimate" if endpoint else ""
        raise RunError(f"{error}{hint}") from error
    known = {} if source == "none" else model_json(source, source_revision, "config.json")
    told = endpoint.context if endpoint else None
    if told and context and context > told:
        raise RunError(
            f"--context {context}: what {url} serves as {name} takes {told} tokens, prompt and answer together"
        )
    longest = int(known.get("max_position_embeddings") or DEFAULT_CONTEXT)
    context = context or min(DEFAULT_CONTEXT, longest, told or DEFAULT_CONTEXT)
    server: Server | None = None
    if kind == "vllm":
        server = _vllm(name, on_hub, context, {"start_timeout": start_seconds(_weights(name, on_hub)), **options})
    elif kind == "transformers":
        names = ("trust_remote_code", "start_timeout")
        fields = {field: options[field] for field in names if field in options}
        others = {option: value for option, value in options.items() if option not in fields}
        server = Transformers(name, on_hub, options=others, **fields)
    own = {} if endpoint else model_json(name, on_hub, "generation_config.json")
    return Model(name, commit, context, counter, tokenizer_id, own, options, server, endpoint)


def _weights(name: str, revision: str | None) -> int:
    """Bytes of a model's weights; 0 for those in one file, and where nobody can be asked."""
    try:
        index = model_json(name, revision, "model.safetensors.index.json")
    except RunError:
        return 0
    return int(index.get("metadata", {}).get("total_size", 0))


def start_seconds(weights: int) -> float:
    """Seconds that the start of a server may take: half an hour, and more for large weights.

    Args:
        weights: bytes of weights; 0 for what fits into one file, which is not told beforehand.
    """
    return 1800.0 + weights / SLOWEST_DISK


def _vllm(name: str, revision: str | None, context: int, options: dict[str, Any]) -> VLLM:
    """A vLLM with the user's options; those that are fields of the description go there."""
    if "max_model_len" in options:
        raise RunError("--server-options: give max_model_len as --context, which the token budget follows, too")
    names = ("tensor_parallel_size", "pipeline_parallel_size", "trust_remote_code", "start_timeout")
    fields = {field: options.pop(field) for field in names if field in options}
    return VLLM(name, revision, options={"max_model_len": context, **options}, **fields)
