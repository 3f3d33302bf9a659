"""The clients that benchmarks compare, each run in a process of its own so that CPU time and memory are its own.

    python tests/bench/clients.py finemill --url http://127.0.0.1:8000 --input docs.jsonl --work DIR --in-flight 64

Prints one JSON line: `documents` answered and (where the client writes any) read back from disk, `seconds` from the run
call to files on disk without imports, `cpu_seconds` of this process and its children, `rss_mb` at its peak. Every
client asks for the same instruction and document, one request per document.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

ROOT = Path(__file__).parents[2]
MAX_TOKENS = 2048


def rows_in(folder: Path) -> int:
    """Rows with a non-empty answer in the Parquet files below a folder."""
    import pyarrow.parquet as pq

    count = 0
    for path in folder.rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            answer = row["rollout_results"][0]["text"] if "rollout_results" in row else row["text"]
            count += bool(answer)
    return count


def finemill(options: argparse.Namespace, counting: bool = False) -> Callable[[], int]:
    """Journal, commits and Parquet shards; with `counting`, the tokenizer has to look at every document."""
    from blocks.execute.launch import plan_run
    from blocks.execute.local import NEEDED_LATER
    from blocks.generate.endpoint import Endpoint
    from blocks.generate.prompts import load_prompt
    from blocks.generate.tokenizer import load_tokenizer
    from blocks.rephrase.rephrase import Rephrase
    from blocks.rephrase.schema import REPHRASED_SCHEMA
    from blocks.shards.folder import RunFolder
    from blocks.shards.read import ReadUnits
    from blocks.shards.write import WriteShards

    for name in NEEDED_LATER:  # as a worker is forked with it
        importlib.import_module(name)

    @dataclass(frozen=True)
    class SlowFolder(RunFolder):
        """A run folder behind a slow store: moving a file into the output takes its time."""

        close_seconds: float = 0.0

        def place(self, staged: Path, name: str) -> None:
            time.sleep(self.close_seconds)
            super().place(staged, name)

    sys.path.insert(0, str(ROOT))
    from tests.generate.small_tokenizers import make_tokenizer

    folder = SlowFolder(str(options.work / "run"), options.work / "run" / "state", close_seconds=options.close_seconds)
    tokenizer = load_tokenizer(make_tokenizer(options.work / "tokenizer", "plain") if counting else None)
    endpoint = Endpoint((f"{options.url}/v1",), "m")
    step = Rephrase(
        [load_prompt("faq")],
        endpoint,
        tokenizer,
        context=8192,
        max_in_flight=options.in_flight,
        request_timeout=options.timeout,
    )
    if counting:  # less room than the bytes of a document, more than its tokens: each one must be counted
        step.context -= step.room - 2900
        del step.room

    def run() -> int:
        plan_run(folder, str(options.input), options.chunk_size)
        stream: Any = None
        for part in (ReadUnits(folder, options.chunk_size), step, WriteShards(folder, REPHRASED_SCHEMA)):
            stream = part.run(stream)
        return sum(1 for _ in stream)

    return run


def finemill_counting(options: argparse.Namespace) -> Callable[[], int]:
    """The same with every document counted."""
    return finemill(options, counting=True)


def datatrove(options: argparse.Namespace, checkpoints: bool = False) -> Callable[[], int]:
    """The stock `InferenceRunner`, as its examples use it."""
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.readers.jsonl import JsonlReader
    from datatrove.pipeline.writers import ParquetWriter

    from blocks.generate.prompts import load_prompt

    prompt = load_prompt("faq")

    async def rollout(document: Any, generate: Any) -> Any:
        content = prompt.render(document.text)
        return await generate({"messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS})

    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="m",
        endpoint_url=options.url,
        max_concurrent_generations=options.in_flight,
        metric_interval=9999,
    )

    class SlowWriter(ParquetWriter):
        """Closing a file takes its time, as an upload does."""

        def close_file(self, original_filename: str) -> None:
            time.sleep(options.close_seconds)
            super().close_file(original_filename)

    name = "${rank}_${chunk_index}.parquet" if checkpoints else "${rank}.parquet"
    runner = InferenceRunner(
        rollout_fn=rollout,
        config=config,
        output_writer=SlowWriter(str(options.work / "out"), output_filename=name),
        checkpoints_local_dir=str(options.work / "checkpoints") if checkpoints else None,
        records_per_chunk=options.chunk_size,
    )
    reader = JsonlReader(str(options.input.parent), glob_pattern=options.input.name)

    def run() -> int:
        runner.run(reader.run(None, 0, 1), 0, 1)
        return -1

    return run


def datatrove_checkpoints(options: argparse.Namespace) -> Callable[[], int]:
    """The same with its crash safety on."""
    return datatrove(options, checkpoints=True)


def _bodies(options: argparse.Namespace) -> list[dict[str, Any]]:
    from blocks.generate.prompts import load_prompt

    prompt = load_prompt("faq")
    contents = (prompt.render(json.loads(line)["text"]) for line in options.input.open())
    return [
        {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS}
        for content in contents
    ]


def openai(options: argparse.Namespace) -> Callable[[], int]:
    """A loop over the official client; writes nothing."""
    from openai import AsyncOpenAI

    bodies = _bodies(options)

    async def ask_all() -> int:
        answered = 0
        todo = iter(bodies)
        async with AsyncOpenAI(api_key="none", base_url=f"{options.url}/v1") as client:

            async def work() -> None:
                nonlocal answered
                for body in todo:
                    reply = await client.chat.completions.create(**body)
                    answered += bool(reply.choices[0].message.content)

            await asyncio.gather(*(work() for _ in range(options.in_flight)))
        return answered

    return lambda: asyncio.run(ask_all())


def floor(options: argparse.Namespace) -> Callable[[], int]:
    """The least that a client does with aiohttp: encode, post, decode; writes nothing."""
    import aiohttp
    import orjson
    from yarl import URL

    bodies = _bodies(options)
    url = URL(f"{options.url}/v1/chat/completions")

    async def ask_all() -> int:
        answered = 0
        todo = iter(bodies)
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

            async def work() -> None:
                nonlocal answered
                for body in todo:
                    async with session.post(url, data=orjson.dumps(body)) as response:
                        reply = orjson.loads(await response.read())
                    answered += bool(reply["choices"][0]["message"]["content"])

            await asyncio.gather(*(work() for _ in range(options.in_flight)))
        return answered

    return lambda: asyncio.run(ask_all())


CLIENTS = {
    "floor": floor,
    "openai": openai,
    "datatrove": datatrove,
    "datatrove_checkpoints": datatrove_checkpoints,
    "finemill": finemill,
    "finemill_counting": finemill_counting,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--chunk-size", type=int, default=5000, help="finemill's default; 6000 is that of datatrove")
    parser.add_argument("--close-seconds", type=float, default=0.0, help="what closing a shard takes")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for a request, where the client has one")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    run = CLIENTS[options.client](options)
    pa.array([1])  # pyarrow imports pandas at its first conversion, where it is installed
    before, started = cpu(), time.monotonic()
    answered = run()
    seconds, used = time.monotonic() - started, cpu() - before
    written = {"finemill": "run/shards", "datatrove": "out"}.get(options.client.partition("_")[0])
    documents = rows_in(options.work / written) if written else answered  # counted on disk where there is something
    result = {
        "documents": documents,
        "seconds": seconds,
        "cpu_seconds": used,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result))


def cpu() -> float:
    """CPU seconds of this process and of its finished children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
