"""`Generate` as pipelines use it: real HTTP, stock datatrove steps around it, ledgers and journals on disk."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import dill
import orjson
import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from blocks.generate.client import ATTEMPTS, Client
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import Rejected, RequestRefused
from blocks.generate.generate import Ask, Generate, _size
from blocks.generate.loop import event_loop, run_on_loop
from blocks.shards.chunk import LINEAGE, Refusal
from blocks.shards.folder import RunError, RunFolder
from blocks.shards.plan import extend_plan, load_plan, save_plan
from blocks.shards.read import ReadUnits
from blocks.shards.source import list_files
from blocks.shards.write import WriteShards
from tests.conftest import MockServer, documents, rejected, samples, write_jsonl
from tests.generate.raw_server import Call, answer, http, ok, server_thread


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocks.generate.generate.Client", partial(Client, delay=0.002))


class Say(Generate):
    """Asks once about each document; the answer is the sample."""

    def __init__(self, url: str, /, **options: Any) -> None:
        super().__init__(Endpoint((url if url.endswith("/v1") else f"{url}/v1",), "mock"), **options)

    async def rollout(self, document: Document, generate: Ask) -> Any:
        said = await generate({"messages": [{"role": "user", "content": document.text}]})
        return [Document(said.text, document.id, metadata=document.metadata)]


class Do(Say):
    """Its rollout is a function, which a lambda in a test can be."""

    def __init__(self, url: str, do: Callable[[Document, Ask], Any], **options: Any) -> None:
        super().__init__(url, **options)
        self.do = do

    async def rollout(self, document: Document, generate: Ask) -> Any:
        return await self.do(document, generate)


def stream(count: int, text: Callable[[int], str] = "text {}".format) -> list[Document]:
    return [Document(text(i), str(i)) for i in range(count)]


def refusals(step: Generate) -> dict[str, int]:
    stats = step.stats.to_dict()["stats"]
    found = {name: value for name, value in stats.items() if name.startswith(("rejected_", "failed_"))}
    return {name: value["total"] if isinstance(value, dict) else value for name, value in found.items()}


async def prompt_of(call: Call) -> str:
    content: str = orjson.loads(call.body)["messages"][0]["content"]
    return content


def echo(latency: Callable[[str], float] = lambda prompt: 0.0) -> Any:
    async def reply(call: Call) -> bytes:
        prompt = await prompt_of(call)
        await asyncio.sleep(latency(prompt))
        return ok(answer(f"<{prompt}>"))

    return reply


# Order and slots.


def test_order_for_random_latencies(start_mock: Callable[..., MockServer]) -> None:
    server = start_mock("--latency", "0.02")
    found = list(Say(server.url, max_in_flight=16).run(stream(200)))
    assert [document.id for document in found] == [str(i) for i in range(200)]
    assert all(document.text.endswith(f": text {document.id}") for document in found)


@pytest.mark.parametrize("requests", [1, 4])
def test_the_server_sees_max_in_flight(requests: int) -> None:
    async def do(document: Document, generate: Ask) -> list[Document]:
        bodies = [{"messages": [{"role": "user", "content": f"{document.id} {i}"}]} for i in range(requests)]
        said = await asyncio.gather(*(generate(body) for body in bodies))
        return [Document(" ".join(one.text for one in said), document.id)]

    with server_thread(echo(lambda prompt: random.Random(prompt).uniform(0.002, 0.02))) as server:
        found = list(Do(server.url, do, max_in_flight=12).run(stream(100)))
        assert server.most_open == 12
        assert [d.text.split(">")[0] for d in found] == [f"<{i} 0" for i in range(100)]


def test_a_resting_request_does_not_keep_others_out() -> None:
    async def reply(call: Call) -> bytes:
        prompt = await prompt_of(call)
        if int(prompt) < 14 and sum(c.body == call.body for c in server.calls) == 1:
            return http(429, b"", "Retry-After: 1")
        return ok(answer(f"<{prompt}>"))

    with server_thread(reply) as server:
        results = Say(server.url, max_in_flight=10).run(stream(60, "{}".format))
        assert [d.text for d in results] == [f"<{i}>" for i in range(60)]
        # More rest than there are slots, and still every other document is asked before the first one comes back.
        assert len({call.body for call in server.calls[:60]}) == 60


def test_a_server_that_goes_away_and_comes_back_costs_nothing() -> None:
    gone = threading.Event()

    async def reply(call: Call) -> bytes | None:
        if call.number == 50:
            gone.set()
            await server.stop()
            asyncio.get_running_loop().call_later(0.2, lambda: asyncio.ensure_future(server.start()))
            return None
        return ok(answer())

    with server_thread(reply) as server:
        step = Say(server.url, max_in_flight=8)
        assert len(list(step.run(stream(200)))) == 200
        assert gone.is_set() and refusals(step) == {}


def test_a_server_that_is_gone_for_good_ends_the_run_with_one_line() -> None:
    with server_thread(echo()) as server:
        url = server.url
    read = 0

    def endless() -> Iterator[Document]:
        nonlocal read
        while True:
            read += 1
            yield Document("text", str(read))

    with pytest.raises(RunError, match=r"cannot be reached for 0\.3 s") as caught:
        list(Say(url, max_in_flight=10, patience=0.3).run(endless()))
    assert "\n" not in str(caught.value)
    assert read < 1000


# What becomes of a document.


def test_whatever_a_rollout_does_ends_only_its_document(mock: MockServer) -> None:
    async def do(document: Document, generate: Ask) -> Any:
        match int(document.id) % 12:
            case 0:
                raise KeyError("lost")
            case 1:
                return None
            case 2:
                return []
            case 3:
                raise Rejected("too_dull", "it is")
            case 4:
                raise asyncio.CancelledError
            case 5:
                document.text = "\ud83d alone"
            case 6:
                document.text.join("\udc00").encode()
                "\udc00".encode()
            case 7:
                document.text = "MOCK-STATUS-400"
            case 8:
                document.text = "MOCK-STATUS-400 CONTEXT"
            case 9:
                document.text = "MOCK-STATUS-500"
            case 10:
                return [Document("one", "1"), Document("two", "2")]
        said = await generate({"messages": [{"role": "user", "content": document.text}]})
        return [Document(said.text, document.id)]

    step = Do(mock.url, do, max_failure_rate=1)
    found = list(step.run(stream(24)))
    assert [d.id for d in found] == ["1", "2", "11", "1", "2", "23"]
    assert refusals(step) == {
        "failed_error_KeyError": 2,
        "failed_error_TypeError": 2,
        "rejected_no_output": 2,
        "rejected_too_dull": 2,
        "failed_error_CancelledError": 2,
        "rejected_invalid_unicode": 4,
        "rejected_bad_request": 2,
        "rejected_too_long": 2,
        "failed_http_500": 2,
    }


@pytest.mark.parametrize("error", [RunError("the disk is full"), SystemExit(3), MemoryError()])
def test_errors_that_stop_everything(error: BaseException) -> None:
    async def do(document: Document, generate: Ask) -> Any:
        if document.id == "20":
            raise error
        await generate({"messages": [{"role": "user", "content": "hang" if int(document.id) > 20 else "go"}]})
        return [document]

    with server_thread(echo(lambda prompt: 3600 if prompt == "hang" else 0)) as server:
        step = Do(server.url, do, max_in_flight=8)
        if isinstance(error, MemoryError):  # an Exception like any other: the document's
            results = step.run(stream(21))
            assert len(list(results)) == 20
        else:
            with pytest.raises(type(error)):
                list(step.run(stream(1000)))
        assert "finemill-feeder" not in {thread.name for thread in threading.enumerate()}


def test_upstream_errors_arrive(mock: MockServer) -> None:
    def documents() -> Iterator[Document]:
        yield from stream(10)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(Say(mock.url).run(documents()))


@pytest.mark.parametrize(
    ("failing", "count", "limit", "stops"),
    [(6, 99, 0.05, False), (6, 100, 0.05, True), (5, 100, 0.05, False), (3, 3, 0.05, True), (120, 120, 1.0, False)],
)
def test_failure_rate(mock: MockServer, failing: int, count: int, limit: float, stops: bool) -> None:
    async def do(document: Document, generate: Ask) -> Any:
        if int(document.id) < failing:
            raise OSError("broken")
        return [document]

    results = Do(mock.url, do, max_failure_rate=limit).run(stream(count))
    if stops:
        with pytest.raises(RunError, match=f"{failing} of {count} documents failed.*error_OSError: broken"):
            list(results)
    else:
        assert len(list(results)) == count - failing


# In pipelines.


@pytest.mark.parametrize("shared", [True, False])
def test_three_steps_in_a_chain_with_stock_steps_between(shared: bool, start_mock: Callable[..., MockServer]) -> None:
    with (
        server_thread(echo(lambda prompt: random.Random(prompt).uniform(0, 0.01))) as one,
        server_thread(echo()) as two,
    ):
        steps = [
            LambdaFilter(lambda document: int(document.id) % 5 != 0),
            Say(one.url, max_in_flight=8),
            LambdaFilter(lambda document: int(document.id) % 5 != 1),
            Say((one if shared else two).url, max_in_flight=4),
            PIIFormatter(),
            Say((one if shared else two).url, max_in_flight=8),
            LambdaFilter(lambda document: int(document.id) % 5 != 2),
        ]
        data: Iterable[Document] = iter(stream(100, "mail {} to someone@corp.com".format))
        for step in steps:
            data = step.run(data, 0, 1)
        found = list(data)
    assert [document.id for document in found] == [str(i) for i in range(100) if i % 5 in (3, 4)]
    assert all(d.text.startswith(f"<<<mail {d.id} to ") and "someone@corp.com" not in d.text for d in found)


def test_an_error_at_the_end_of_a_chain_ends_the_whole_chain() -> None:
    async def stop(document: Document, generate: Ask) -> Any:
        raise RunError("stop")

    asked = 0

    async def reply(call: Call) -> bytes:
        nonlocal asked
        asked += 1
        return ok(answer())

    with server_thread(reply) as server:
        data: Iterable[Document] = (Document("text", str(i)) for i in range(10**9))
        for step in (Say(server.url, max_in_flight=4), Say(server.url, max_in_flight=4), Do(server.url, stop)):
            data = step.run(data)
        with pytest.raises(RunError, match="stop"):
            list(data)
        wait_for(lambda: "finemill-feeder" not in {thread.name for thread in threading.enumerate()})
        before = asked
        time.sleep(0.05)
        assert asked == before


def test_stock_reader_and_writer(mock: MockServer, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in" / "a.jsonl", documents(30))
    data: Any = None
    for step in (
        JsonlReader(str(tmp_path / "in")),
        Say(mock.url),
        JsonlWriter(str(tmp_path / "out"), compression=None, output_filename="${rank}.jsonl"),
    ):
        data = step.run(data, 0, 1)
    assert len(list(data)) == 30
    written = [json.loads(line) for line in (tmp_path / "out" / "00000.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == [f"doc-{i}" for i in range(30)]
    assert LINEAGE not in written[0]["metadata"]


def test_a_step_runs_for_several_ranks_and_travels(mock: MockServer) -> None:
    step = Say(mock.url, max_in_flight=4)
    for rank in range(3):
        assert len(list(deepcopy(step).run(stream(10), rank, 3))) == 10
    assert len(list(step.run(stream(10)))) == 10 == len(list(step.run(stream(10))))
    for travelled in (pickle.loads(pickle.dumps(step)), dill.loads(dill.dumps(step))):
        assert len(list(travelled.run(stream(10)))) == 10


# Seeds and the journal.


def seeds(seed: int | None, shuffle: bool = False) -> dict[str, Any]:
    """The seeds that the server is sent for three requests per document, two of them equal."""

    async def reply(call: Call) -> bytes:
        return ok(answer(str(orjson.loads(call.body).get("seed"))))

    found: dict[str, Any] = {}

    async def do(document: Document, generate: Ask) -> Any:
        body = {"messages": [{"role": "user", "content": document.text}]}
        said = await asyncio.gather(generate(body), generate(body), generate({**body, "max_tokens": 9}))
        found[document.id] = [one.text for one in said]
        return [document]

    data = stream(20, "the same for all".format)
    if shuffle:
        random.Random(3).shuffle(data)
    with server_thread(reply) as server:
        list(Do(server.url, do, seed=seed, max_in_flight=3).run(data))
    return found


def test_seeds_depend_on_what_is_asked_and_nothing_else() -> None:
    once = seeds(7)
    assert seeds(7, shuffle=True) == once
    assert once != seeds(8)
    every = {int(seed) for three in once.values() for seed in three}
    assert len(every) == 60 and max(every) < 2**31


def test_no_seed_is_sent_unless_asked_for() -> None:
    assert {seed for three in seeds(None).values() for seed in three} == {"None"}


SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("text", pa.string())])


def run_in_folder(tmp_path: Path, *steps: Generate, count: int = 30, chunk_size: int = 10) -> Path:
    """Read, ask, write with a ledger and a journal; a second call resumes."""
    source = write_jsonl(tmp_path / "in.jsonl", documents(count))
    folder = RunFolder.at(str(tmp_path / "run"))
    folder.prepare()
    plan = folder.state / "plan.jsonl"
    save_plan(plan, extend_plan(load_plan(plan), list_files(str(source)), chunk_size, None))
    data: Any = None
    for part in (ReadUnits(folder, chunk_size), *steps, WriteShards(folder, SCHEMA)):
        data = part.run(data, 0, 1)
    for _ in data:
        pass
    return tmp_path / "run"


def test_what_was_answered_is_not_asked_again_and_stays_distinct(tmp_path: Path) -> None:
    broken = True

    async def reply(call: Call) -> bytes:
        if broken and "Document 7." in await prompt_of(call):
            while len(server.calls) < 24:  # until its chunk's other documents have been asked
                await asyncio.sleep(0.005)
            return http(401)
        return ok(answer(f"answer {call.number}"))

    async def best_of_3(document: Document, generate: Ask) -> Any:
        body = {"messages": [{"role": "user", "content": document.text}]}
        said = await asyncio.gather(*(generate(body) for _ in range(3)))
        text = " | ".join(one.text for one in said)
        return [Document(text, document.id, metadata=document.metadata)]

    with server_thread(reply) as server:
        with pytest.raises(RunError, match="HTTP 401"):
            run_in_folder(tmp_path, Do(server.url, best_of_3, max_in_flight=6))
        first = Counter(call.body for call in server.calls)
        answered = {f"answer {c.number}" for c in server.calls if b"Document 7." not in c.body}
        broken = False
        folder = run_in_folder(tmp_path, Do(server.url, best_of_3, max_in_flight=6))
        total = Counter(call.body for call in server.calls)
    rows = {row["id"]: row["text"].split(" | ") for row in samples(folder)}
    assert list(rows) == [f"doc-{i}" for i in range(30)]
    assert all(len(set(texts)) == 3 for texts in rows.values())
    settled = [body for body in first if b"Document 7." not in body and first[body] == 3]
    assert len(settled) >= 5
    again = sum(total[body] - 3 for body in settled)
    assert again <= 6  # those on the wire at the moment of the error
    kept = {text for texts in rows.values() for text in texts}
    assert len(answered - kept) <= 6


def test_a_refusal_before_the_first_answer_is_not_kept(tmp_path: Path) -> None:
    strict = True

    async def reply(call: Call) -> bytes:
        return http(400, b"bad option") if strict else ok(answer())

    with server_thread(reply) as server:
        with pytest.raises(RunError, match="refused the first 20 requests"):
            run_in_folder(tmp_path, Say(server.url, max_in_flight=1), count=40, chunk_size=40)
        strict = False
        folder = run_in_folder(tmp_path, Say(server.url, max_in_flight=1), count=40, chunk_size=40)
    assert len(samples(folder)) == 40


def test_a_recorded_answer_vouches_for_the_configuration(tmp_path: Path) -> None:
    broken = True

    async def reply(call: Call) -> bytes:
        prompt = await prompt_of(call)
        if "Document 0." in prompt:
            return ok(answer())
        await asyncio.sleep(0.3 if broken else 0)  # until the first answer is in the journal
        return http(401) if broken else http(400, b"bad")

    with server_thread(reply) as server:
        with pytest.raises(RunError, match="HTTP 401"):
            run_in_folder(tmp_path, Say(server.url, max_in_flight=1), count=40, chunk_size=40)
        broken = False
        folder = run_in_folder(tmp_path, Say(server.url, max_in_flight=1), count=40, chunk_size=40)
    assert (len(samples(folder)), len(rejected(folder))) == (1, 39)


def test_a_refusal_is_kept_once_the_configuration_is_known_to_work(tmp_path: Path) -> None:
    broken = True

    async def reply(call: Call) -> bytes:
        prompt = await prompt_of(call)
        if broken and "Document 9." in prompt:
            await asyncio.sleep(0.05)
            return http(401)
        return http(400, b"bad") if "Document 5." in prompt else ok(answer())

    with server_thread(reply) as server:
        with pytest.raises(RunError, match="HTTP 401"):
            run_in_folder(tmp_path, Say(server.url, max_in_flight=2), count=10)
        broken = False
        folder = run_in_folder(tmp_path, Say(server.url, max_in_flight=2), count=10)
        asked = Counter(call.body for call in server.calls)
    assert sum("Document 5." in body.decode() for body in asked.elements()) == 1
    assert [(row["id"], row["reason"]) for row in rejected(folder)] == [("doc-5", "bad_request")]


def test_children_may_share_their_metadata(tmp_path: Path, mock: MockServer) -> None:
    async def do(document: Document, generate: Ask) -> Any:
        return [Document(name, f"{document.id}/{name}", metadata=document.metadata) for name in "ab"]

    assert len(samples(run_in_folder(tmp_path, Do(mock.url, do)))) == 60


def test_an_answer_that_a_later_step_cannot_be_asked_about_is_kept(tmp_path: Path, mock: MockServer) -> None:
    async def do(document: Document, generate: Ask) -> Any:
        number = int(document.id.partition("-")[2])
        if number == 0:
            raise Rejected("not_worth_asking")
        if "/" not in document.metadata[LINEAGE]:
            said = await generate({"messages": [{"role": "user", "content": document.text}]})
            return [
                Document(f"{said.text}\ud800" if number == 1 else said.text, document.id, metadata=document.metadata)
            ]
        text, document.text = document.text, "shortened"
        if number == 2:
            raise Rejected("too_long_to_judge")
        ask_for = {3: "MOCK-STATUS-400", 4: "MOCK-STATUS-500"}
        await generate({"messages": [{"role": "user", "content": ask_for.get(number, text)}]})
        return [document]

    folder = run_in_folder(tmp_path, Do(mock.url, do), Do(mock.url, do, max_failure_rate=1), count=6)
    refused = {row["id"]: row for row in rejected(folder)}
    assert {name: row["reason"] for name, row in refused.items()} == {
        "doc-0": "not_worth_asking",
        "doc-1": "invalid_unicode",
        "doc-2": "too_long_to_judge",
        "doc-3": "bad_request",
        "doc-4": "http_500",
    }
    assert not refused.pop("doc-0")["raw"]  # nothing was answered
    assert all(row["raw"].startswith("Answer ") for row in refused.values())


# Leaks and ends.


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_fifty_runs_leave_nothing_behind(mock: MockServer, caplog: pytest.LogCaptureFixture) -> None:
    async def do(document: Document, generate: Ask) -> Any:
        kind = {"3": "MOCK-HANG", "4": "MOCK-CLOSE", "5": "MOCK-STATUS-400"}.get(document.id, "go")
        body = {"messages": [{"role": "user", "content": kind}]}
        await asyncio.gather(generate(body), generate(body))
        return [document]

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    caplog.set_level(logging.WARNING)
    list(Say(mock.url).run(stream(3)))
    before, files, threads = run_on_loop(tasks()), descriptors(), threading.active_count()
    for count in range(50):
        results = Do(mock.url, do, max_in_flight=4, max_failure_rate=1).run(stream(3 + count % 10))
        for number, _ in enumerate(results):
            if number == 2:  # before the request that hangs
                break
        results.close()
    gc.collect()
    wait_for(lambda: run_on_loop(tasks()) <= before)  # the first run may have been about to end its last one
    wait_for(lambda: descriptors() <= files + 1)
    assert threading.active_count() == threads
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


SCRIPT = """
import sys
from datatrove.data import Document
from blocks.generate.endpoint import Endpoint
from blocks.generate.generate import Generate

class Say(Generate):
    async def rollout(self, document, generate):
        await generate({"messages": [{"role": "user", "content": document.text}]})
        return [document]

def main():
    texts = ["go", "MOCK-HANG", "go"]
    results = Say(Endpoint((sys.argv[1] + "/v1",), "mock")).run(Document(text, text) for text in texts)
    for document in results:
        print(document.text, flush=True)
        if sys.argv[2] == "raise":
            raise KeyError("downstream")  # its traceback keeps `results` alive until the interpreter ends
        break

main()
"""


def test_requests_that_outlive_their_rollout_are_cancelled(mock: MockServer) -> None:
    left: list[asyncio.Task[Any]] = []

    async def do(document: Document, generate: Ask) -> Any:
        left.append(asyncio.create_task(generate({"messages": [{"role": "user", "content": "MOCK-HANG"}]})))
        await generate({"messages": [{"role": "user", "content": "go"}]})
        return [document]

    assert len(list(Do(mock.url, do, max_in_flight=4).run(stream(6)))) == 6
    wait_for(lambda: all(task.cancelled() for task in left))
    assert len(left) == 6


@pytest.mark.parametrize("end", ["raise", "leave"])
def test_a_process_ends_although_nobody_closed_its_generator(mock: MockServer, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mock.url, end],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "go\n"
    assert done.returncode == (1 if end == "raise" else 0), done.stderr
    assert done.stderr.count("Traceback") == (1 if end == "raise" else 0), done.stderr


def test_a_generator_that_the_loops_own_thread_finalises(mock: MockServer) -> None:
    results = Say(mock.url).run(stream(50))
    next(results)
    holder = [results]
    del results

    async def drop() -> None:
        holder.clear()

    run_on_loop(drop())
    assert len(list(Say(mock.url).run(stream(5)))) == 5
    assert event_loop().is_running()


def test_what_a_model_thought_is_held_as_well() -> None:
    assert 80_000 < _size(Document("short", "a", metadata={"reasoning": "x" * 40_000})) < 90_000
    assert 80_000 < _size(Refusal("truncated", raw="x" * 40_000)) < 90_000


def test_too_few_files(mock: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 300))
    with pytest.raises(RunError, match="--max-in-flight 256 needs 512 open files, the limit is 300"):
        list(Say(mock.url).run(stream(1)))


def test_hard_failures_name_the_attempts(mock: MockServer) -> None:
    step = Say(mock.url, max_failure_rate=1)
    assert list(step.run(stream(1, "MOCK-STATUS-500".format))) == []
    assert len(mock.requests()) == ATTEMPTS


def test_refused_error_reaches_the_rollout(mock: MockServer) -> None:
    async def do(document: Document, generate: Ask) -> Any:
        with pytest.raises(RequestRefused, match="bad_request"):
            await generate({"messages": [{"role": "user", "content": "MOCK-STATUS-422"}]})
        return [document]

    assert len(list(Do(mock.url, do).run(stream(3)))) == 3
