"""The HTTP client against real servers that misbehave in every way we could think of."""

from __future__ import annotations

import asyncio
import pickle
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson
import pytest

from blocks.generate.answer import Answer, parse_answer
from blocks.generate.client import ATTEMPTS, LOST, SUSPICIOUS_REFUSALS, Client, _retry_after
from blocks.generate.endpoint import Endpoint
from blocks.generate.errors import RequestFailed, RequestRefused
from blocks.generate.supervise import MAX_RESTARTS
from blocks.shards.folder import RunError
from tests.generate.raw_server import Call, RawServer, Reply, answer, http, ok, script


@asynccontextmanager
async def serving(reply: Reply, managed: bool = False, **options: Any) -> AsyncIterator[tuple[RawServer, Client]]:
    server = RawServer(reply)
    await server.start()
    client = Client(Endpoint((server.url,), "m", managed=managed), **{**QUICK, **options})
    try:
        yield server, client
    finally:
        await client.close()
        await server.stop()


QUICK: dict[str, Any] = {"max_in_flight": 8, "timeout": 5.0, "patience": 20.0, "delay": 0.005}
BODY = b'{"messages": []}'


def run(work: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work, 30)

    return asyncio.run(bounded())


async def outcome(reply: Reply, **options: Any) -> tuple[Any, RawServer]:
    """What one request comes to: its answer or its error."""
    async with serving(reply, **options) as (server, client):
        try:
            return await client.ask("chat/completions", BODY), server
        except (RequestRefused, RequestFailed, RunError) as error:
            return error, server


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refusal_is_final(status: int) -> None:
    error, server = run(outcome(script(http(status, b'{"error": {"message": "no such\\noption"}}'))))
    assert isinstance(error, RequestRefused)
    assert error.reason == ("too_long" if status == 413 else "bad_request")
    assert error.detail == "no such option"
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "Requested token count exceeds the model's maximum context length of 4096 tokens",
        "the request exceeds the available context size: context window exceeded",
    ],
)
def test_too_long(message: str) -> None:
    error, _ = run(outcome(script(http(400, orjson.dumps({"message": message})))))
    assert error.reason == "too_long"


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "is not accepted"), (402, "credit"), (403, "may not do this"), (404, "--model 'm'"), (405, "URL")],
)
def test_configuration_error_stops_the_run(status: int, hint: str) -> None:
    error, server = run(outcome(script(http(status, b'{"detail": "nope"}'))))
    assert isinstance(error, RunError)
    assert hint in str(error) and "nope" in str(error) and "\n" not in str(error)
    assert len(server.calls) == 1


def test_redirect_stops_the_run() -> None:
    error, server = run(outcome(script(http(301, b"", "Location: https://elsewhere/v1/chat/completions"))))
    assert isinstance(error, RunError) and "https://elsewhere" in str(error)
    assert len(server.calls) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_transient_status_is_retried(status: int) -> None:
    result, server = run(outcome(script(http(status), http(status), ok(answer()))))
    assert result.text == "fine"
    assert len(server.calls) == 3


@pytest.mark.parametrize("status", [408, 500])
def test_server_error_for_ever_fails_the_request(status: int) -> None:
    error, server = run(outcome(script(http(status, b"<html>broken</html>"))))
    assert isinstance(error, RequestFailed)
    assert (error.reason, error.detail) == (f"http_{status}", "<html>broken</html>")
    assert len(server.calls) == ATTEMPTS


def test_a_server_of_our_own_dies_with_500() -> None:
    error, server = run(outcome(script(http(500)), managed=True))
    assert isinstance(error, RequestFailed) and error.reason == "http_500"
    assert len(server.calls) == LOST < MAX_RESTARTS


def test_what_kills_the_server_dies_alone() -> None:
    async def work() -> None:
        async def reply(call: Call) -> bytes | None:
            if b"poison" not in call.body:
                await asyncio.sleep(0.05)
                return ok(answer())
            await asyncio.sleep(0.02)
            await server.stop()
            await server.start()
            return None

        async with serving(reply, max_in_flight=100) as (server, client):
            poison = asyncio.create_task(client.ask("completions", b'{"prompt": "poison"}'))
            others = [asyncio.create_task(client.ask("completions", BODY)) for _ in range(60)]
            assert [(await other).text for other in others] == ["fine"] * 60
            with pytest.raises(RequestFailed, match="connection_lost"):
                await poison
            assert sum(b"poison" in call.body for call in server.calls) == LOST
            assert client.resting == client.waiting == 0

    run(work())


def test_busy_for_longer_than_patience_fails_the_request() -> None:
    error, server = run(outcome(script(http(503)), patience=0.3))
    assert isinstance(error, RequestFailed) and error.reason == "http_503"
    assert len(server.calls) > 2


def test_busy_now_and_again_is_not_busy_all_the_time() -> None:
    """Patience is for a server that stays busy: here it was at work for longer than that in between."""
    replies = script(http(503), http(500), http(503), ok(answer()))

    async def slowly(call: Call) -> bytes | None:
        if call.number == 1:
            await asyncio.sleep(1.2)
        return await replies(call)

    result, server = run(outcome(slowly, patience=0.6))
    assert isinstance(result, Answer) and len(server.calls) == 4


@pytest.mark.parametrize(
    "refusal",
    [
        *(http(status) for status in (429, 502, 503, 504, 520, 521, 522, 523, 529, 530)),
        ok(b'{"error": {"code": 429, "message": "slow down"}}'),
        ok(b'{"error": {"code": 502, "message": "no provider"}, "choices": []}'),
    ],
)
def test_being_busy_costs_no_attempt(refusal: bytes) -> None:
    busy = [refusal] * (2 * ATTEMPTS)
    result, server = run(outcome(script(*busy, None, *busy[:2], http(500), ok(answer())), delay=1e-6))
    assert isinstance(result, Answer)
    assert len(server.calls) == len(busy) + 5


@pytest.mark.parametrize("header", ["1", "0.9", formatdate(time.time() + 3600, usegmt=True)], ids=["s", "part", "date"])
def test_retry_after(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await sleep(0)

    monkeypatch.setattr("blocks.generate.client.asyncio.sleep", nap)
    result, _ = run(outcome(script(http(429, b"", f"Retry-After: {header}"), ok(answer()))))
    assert result.text == "fine"
    assert 0.9 <= naps[0] <= 1.1 if len(header) < 4 else 600 <= naps[0] <= 601


@pytest.mark.parametrize("header", ["soon", "", "-5", "1e", "Thu, 99 Foo 0000", "1" * 400])
def test_senseless_retry_after(header: str) -> None:
    assert _retry_after({"Retry-After": header}) in (0.0, 600.0)


def test_hang_is_a_timeout() -> None:
    async def hang(call: Call) -> bytes | None:
        await asyncio.sleep(3600)
        return None

    error, server = run(outcome(hang, timeout=0.03))
    assert isinstance(error, RequestFailed) and error.reason == "timeout"
    assert len(server.calls) == ATTEMPTS


def test_a_slow_body_is_a_timeout_too() -> None:
    async def drip(call: Call) -> bytes | None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            call.writer.write(b" ")
            await asyncio.sleep(0.01)

    error, _ = run(outcome(drip, timeout=0.05))
    assert error.reason == "timeout"


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices": [',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
)
def test_broken_connection(reply: bytes | None) -> None:
    async def broken(call: Call) -> bytes | None:
        call.writer.write(reply or b"")
        return None

    error, server = run(outcome(broken))
    assert isinstance(error, RequestFailed) and error.reason == "connection_lost"
    assert len(server.calls) == LOST


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>not json",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": {"content": ["a"]}}]}',
        b'{"choices": [{"text": null}]}',
        b'{"error": "overloaded"}',
        b'{"error": {"code": "rate_limited"}}',
        b'{"error": {"code": 17}}',
        b'{"error": {"code": true}}',
    ],
)
def test_malformed_answer_is_retried_then_fails(body: bytes) -> None:
    error, server = run(outcome(script(ok(body))))
    assert isinstance(error, RequestFailed) and error.reason == "malformed_answer"
    assert len(server.calls) == ATTEMPTS


def test_an_error_with_status_200_is_what_its_code_says() -> None:
    error, server = run(outcome(script(ok(b'{"error": {"code": 400, "message": "no such option"}}'))))
    assert isinstance(error, RequestRefused) and (error.reason, error.detail) == ("bad_request", "no such option")
    assert len(server.calls) == 1
    error, server = run(outcome(script(ok(b'{"error": {"code": 402, "message": "pay"}}'))))
    assert isinstance(error, RunError) and "credit" in str(error)


def test_answers_that_servers_give() -> None:
    assert run(outcome(script(ok(answer()))))[0] == Answer(
        "fine", "stop", {"prompt_tokens": 3, "completion_tokens": 2}, None
    )
    assert parse_answer(b'{"choices": [{"message": {"content": null}}]}') == Answer("")
    assert parse_answer(b'{"choices": [{"text": "a", "finish_reason": "length"}]}') == Answer("a", "length")
    for name in ("reasoning", "reasoning_content"):
        message = {"content": "b", name: "thought"}
        assert parse_answer(orjson.dumps({"choices": [{"message": message}]})) == Answer("b", reasoning="thought")
    inline = {"content": "<think>thought</think>b"}
    assert parse_answer(orjson.dumps({"choices": [{"message": inline}]})) == Answer("b", reasoning="thought")


def test_odd_fields_cannot_break_a_shard() -> None:
    message = {"content": "b", "reasoning": [{"text": "x"}]}
    choice = {"message": message, "finish_reason": {"type": "stop"}}
    for usage in ([], "many", {"prompt_tokens": "3", "completion_tokens": None}):
        parsed = parse_answer(orjson.dumps({"choices": [choice], "usage": usage}))
        assert (parsed.finish_reason, parsed.reasoning) == (None, None)
        assert (parsed.prompt_tokens, parsed.completion_tokens) == (None, None)


def test_chunked_answer() -> None:
    body = answer("in pieces")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert run(outcome(script(head + chunks + b"0\r\n\r\n")))[0].text == "in pieces"


def test_kept_alive_connections_that_the_server_closes() -> None:
    async def work() -> None:
        async def reply(call: Call) -> bytes | None:
            call.writer.write(ok(answer(str(call.number))))
            return None

        async with serving(reply) as (server, client):
            said = [(await client.ask("chat/completions", BODY)).text for _ in range(20)]
            # A connection that turns out to be closed costs a retry, never an answer.
            assert sorted(set(said), key=int) == said
            assert len(server.calls) == 20

    run(work())


def test_server_that_starts_late_and_restarts() -> None:
    async def work() -> None:
        dying = asyncio.Event()

        async def reply(call: Call) -> bytes | None:
            if call.number == 20:
                dying.set()
            if dying.is_set():
                await asyncio.sleep(3600)
            return ok(answer(call.body.decode()))

        server = RawServer(reply)
        await server.start()
        await server.stop()  # its port is known, and nobody listens there
        client = Client(Endpoint((server.url,), "m"), **QUICK)
        asked = [
            asyncio.create_task(client.ask("chat/completions", orjson.dumps({"prompt": str(i)}))) for i in range(100)
        ]
        await asyncio.sleep(0.1)
        assert client.resting + client.waiting == 100 and not server.calls
        await server.start()
        await dying.wait()
        await server.stop()
        await asyncio.sleep(0.05)
        dying.clear()
        await server.start()
        answers = await asyncio.gather(*asked)
        assert [orjson.loads(found.text)["prompt"] for found in answers] == [str(i) for i in range(100)]
        await client.close()
        await server.stop()

    run(work())


def test_nobody_asks_a_server_that_is_down() -> None:
    async def work() -> None:
        refused = 0
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
            client = Client(Endpoint((f"http://127.0.0.1:{taken.getsockname()[1]}/v1",), "m"), **QUICK)
            attempt = client._attempt

            async def counting(path: str, body: bytes) -> Any:
                nonlocal refused
                refused += 1
                return await attempt(path, body)

            client._attempt = counting
            asked = [asyncio.create_task(client.ask("completions", BODY)) for _ in range(50)]
            await asyncio.sleep(0.3)
            assert refused == 50 and len(client._down) == 1
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            assert (client.waiting, client.resting) == (0, 0)
        await client.close()

    run(work())


def test_server_that_is_down_for_good() -> None:
    async def work() -> list[Any]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
            client = Client(Endpoint((url,), "m"), **{**QUICK, "patience": 0.2})
            found = await asyncio.gather(*(client.ask("completions", BODY) for _ in range(20)), return_exceptions=True)
        await client.close()
        return found

    for error in run(work()):
        assert isinstance(error, RunError)
        assert "cannot be reached for 0.2 s" in str(error) and "\n" not in str(error)


def test_one_of_several_servers_is_down() -> None:
    async def work() -> None:
        async def reply(call: Call) -> bytes | None:
            await asyncio.sleep(0.005)
            return ok(answer())

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            down = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
            up = [RawServer(reply), RawServer(reply)]
            for server in up:
                await server.start()
            client = Client(Endpoint((down, *(server.url for server in up)), "m"), **{**QUICK, "patience": 0.1})
            found = []
            for _ in range(10):  # for longer than the patience
                found += await asyncio.gather(*(client.ask("completions", BODY) for _ in range(20)))
                await asyncio.sleep(0.02)
            assert len(found) == 200
            assert all(len(server.calls) >= 50 for server in up)  # both have a fair share
            await client.close()
            for server in up:
                await server.stop()

    run(work())


def test_rest_gives_the_slot_away() -> None:
    async def work() -> None:
        async def reply(call: Call) -> bytes | None:
            return http(429, b"", "Retry-After: 600") if b"rest" in call.body else ok(answer())

        async with serving(reply, max_in_flight=1) as (_, client):
            resting = asyncio.create_task(client.ask("completions", b'{"prompt": "rest"}'))
            while not client.resting:
                await asyncio.sleep(0.001)
            assert (await client.ask("completions", BODY)).text == "fine"
            resting.cancel()

    run(work())


def test_never_more_than_max_in_flight_on_the_wire() -> None:
    async def work() -> None:
        async def reply(call: Call) -> bytes | None:
            await asyncio.sleep(0.002)
            return http(500) if call.number % 3 == 0 else ok(answer())

        async with serving(reply, max_in_flight=5) as (server, client):
            await asyncio.gather(*(client.ask("completions", BODY) for _ in range(100)))
            assert server.most_open == 5

    run(work())


def test_refusals_without_an_answer_stop_the_run() -> None:
    async def work() -> None:
        async with serving(script(http(400, b'{"error": "max_tokens is too large"}'))) as (_, client):
            for number in range(1, SUSPICIOUS_REFUSALS + 1):
                with pytest.raises(RunError if number == SUSPICIOUS_REFUSALS else RequestRefused) as caught:
                    await client.ask("completions", BODY)
            assert "max_tokens is too large" in str(caught.value) and "--max-tokens" in str(caught.value)

    run(work())


def test_refusals_while_answers_take_their_time_are_no_reason_to_stop() -> None:
    async def work() -> None:
        async def reply(call: Call) -> bytes | None:
            if b"bad" in call.body:
                return http(400)
            await asyncio.sleep(0.3)
            return ok(answer())

        async with serving(reply, max_in_flight=100) as (_, client):
            slow = [asyncio.create_task(client.ask("completions", BODY)) for _ in range(60)]
            while client._open[client.endpoint.urls[0]] < 60:
                await asyncio.sleep(0.001)
            for _ in range(2 * SUSPICIOUS_REFUSALS):
                with pytest.raises(RequestRefused):
                    await client.ask("completions", b'{"prompt": "bad"}')
            await asyncio.gather(*slow)

    run(work())


def test_refusals_after_an_answer_are_no_reason_to_stop() -> None:
    async def work() -> None:
        async with serving(script(ok(answer()), http(400))) as (_, client):
            await client.ask("completions", BODY)
            for _ in range(2 * SUSPICIOUS_REFUSALS):
                with pytest.raises(RequestRefused):
                    await client.ask("completions", BODY)

    run(work())


def test_a_forbidden_document_is_no_reason_to_stop() -> None:
    """Moderation of an endpoint says no at once, before the first answer or after it."""

    async def work() -> None:
        go = asyncio.Event()

        async def reply(call: Call) -> bytes | None:
            if b"bad" in call.body:
                return http(403, b'{"error": {"message": "flagged"}}')
            await go.wait()
            return ok(answer())

        async with serving(reply) as (_, client):
            slow = asyncio.create_task(client.ask("completions", BODY))
            while not any(client._open.values()):
                await asyncio.sleep(0.001)
            for _ in range(2 * SUSPICIOUS_REFUSALS):
                with pytest.raises(RequestRefused) as caught:
                    await client.ask("completions", b'{"prompt": "bad"}')
                assert (caught.value.reason, caught.value.detail) == ("forbidden", "flagged")
                go.set()
                await slow
                await client.ask("completions", BODY)

    run(work())


def test_a_key_that_may_not_ask_any_more_stops_the_run() -> None:
    async def work() -> None:
        async with serving(script(ok(answer()), http(403, b"no more"))) as (_, client):
            await client.ask("completions", BODY)
            for number in range(1, SUSPICIOUS_REFUSALS + 1):
                with pytest.raises(RunError if number == SUSPICIOUS_REFUSALS else RequestRefused, match="no more"):
                    await client.ask("completions", BODY)

    run(work())


def test_self_signed_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", *made, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def work() -> Any:
        server = RawServer(script(ok(answer())))
        await server.start(ssl=context)
        client = Client(Endpoint((f"https://localhost:{server.port}/v1",), "m"), **QUICK)
        try:
            return await client.ask("completions", BODY)
        except RunError as error:
            return error
        finally:
            await client.close()
            await server.stop()

    error = run(work())
    assert isinstance(error, RunError)
    assert "certificate" in str(error) and "SSL_CERT_FILE" in str(error)


def test_the_key_is_sent_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-very-secret"
    monkeypatch.setenv("MY_KEY", key + "\n")

    async def work() -> None:
        async def reply(call: Call) -> bytes | None:
            return [ok(key.encode()), http(400, key.encode()), http(401, key.encode())][call.number // ATTEMPTS]

        server = RawServer(reply)
        await server.start()
        endpoint = Endpoint((server.url,), "m", "MY_KEY")
        client = Client(endpoint, **QUICK)
        with pytest.raises(RequestFailed) as failed:
            await client.ask("completions", BODY)
        assert f"Authorization: Bearer {key}\r\n".encode() in server.calls[0].head
        errors = [failed]
        for kind in [RequestRefused] * ATTEMPTS + [RunError]:
            with pytest.raises(kind) as caught:
                await client.ask("completions", BODY)
            errors.append(caught)
        assert all(key not in str(error.value) and "***" in str(error.value) for error in errors)
        assert key.encode() not in pickle.dumps(endpoint) and key not in repr(endpoint)
        await client.close()
        await server.stop()

    run(work())


@pytest.mark.parametrize("value", [None, "", " \n", "two\nlines-secret", "schlüssel-secret"])
def test_a_key_that_is_none(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(RunError, match="--api-key-env MY_KEY") as caught:
        Endpoint(("http://127.0.0.1:1/v1",), "m", "MY_KEY").headers()
    assert "secret" not in str(caught.value)
