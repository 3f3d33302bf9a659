"""What `--endpoint` may look like, and what a user is told when nothing useful answers there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from blocks.generate.endpoint import Endpoint
from blocks.generate.probe import resolve
from blocks.shards.folder import RunError
from tests.conftest import MockServer


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def message(*arguments: str | None) -> str:
    with pytest.raises(RunError) as caught:
        resolve(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/v1", "{}/v1/", "{}/v1//"])
def test_with_and_without_version(form: str, mock: MockServer) -> None:
    assert resolve(form.format(mock.url), None, None) == Endpoint((f"{mock.url}/v1",), "mock")
    assert resolve(form.format(mock.url.removeprefix("http://")), "mock", None) == Endpoint((f"{mock.url}/v1",), "mock")


@pytest.mark.parametrize(
    ("prefix", "typed"),
    [
        ("/api/openai/v1", "/api/openai"),
        ("/api/openai/v1", "/api/openai/v1"),
        ("/v1beta/openai", "/v1beta/openai/"),
        ("/v2", "/v2"),
        ("/vllm", "/vllm"),
        ("/vllm/v1", "/vllm"),
        ("", ""),
    ],
)
def test_other_prefixes(prefix: str, typed: str, start_mock: Callable[..., MockServer]) -> None:
    server = start_mock("--prefix", prefix)
    assert resolve(server.url + typed, None, None).urls == (server.url + prefix,)


def test_a_host_whose_name_begins_with_v(mock: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    find = socket.getaddrinfo
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda host, *rest, **more: find(host.replace("vllm-node", "127.0.0.1"), *rest, **more)
    )
    url = mock.url.replace("127.0.0.1", "vllm-node")
    assert resolve(url, None, None).urls == (f"{url}/v1",)


def test_several_models(start_mock: Callable[..., MockServer]) -> None:
    url = start_mock("--models", "small,large").url
    assert resolve(url, "large", None).model == "large"
    assert "small, large" in message(url, None, None)
    assert "does not serve --model 'huge'" in message(url, "huge", None)


def test_keys(start_mock: Callable[..., MockServer], monkeypatch: pytest.MonkeyPatch) -> None:
    url = start_mock("--key", "sk-right").url
    assert "--api-key-env NAME" in message(url, None, None)
    assert "--api-key-env MY_KEY: there is no such" in message(url, None, "MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-wrong")
    assert "does not accept the key in MY_KEY: invalid api key" in message(url, None, "MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-right\n")  # as `export MY_KEY="$(…)"` and editors leave it
    assert resolve(url, None, "MY_KEY") == Endpoint((f"{url}/v1",), "mock", "MY_KEY")


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "http://", "http:///v1", "", "http://host:port/v1", "http://host:99999", "http://h/v1?a=b"]
)
def test_no_url(url: str) -> None:
    assert "is no plain http:// or https:// URL" in message(url, None, None)


def test_a_key_in_the_url_is_not_repeated() -> None:
    said = message("https://user:sk-secret@host/v1", None, None)
    assert "--api-key-env" in said and "sk-secret" not in said


def test_nothing_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said = message(f"http://127.0.0.1:{taken.getsockname()[1]}", None, None)
    assert "no OpenAI-compatible server answers" in said and "refused" in said


@pytest.mark.parametrize(
    ("reply", "hint"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no list of models"),
        (b"", "closed connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "no list of models"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", "no list of models"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"data": [1]}', "no list of models"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", "no list of models"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
    ],
)
def test_something_else_there(reply: bytes, hint: str) -> None:
    assert hint in message(_one_reply(reply)[0], None, None)


def test_a_redirect_is_named_and_the_key_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    elsewhere, asked_there = _one_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    redirect = f"HTTP/1.1 308 X\r\nLocation: {elsewhere}/v1/models\r\nContent-Length: 0\r\n\r\n"
    said = message(_one_reply(redirect.encode())[0], None, "MY_KEY")
    assert f"HTTP 308 to {elsewhere}/v1/models" in said
    assert asked_there == []


def _one_reply(reply: bytes) -> tuple[str, list[bytes]]:
    """A server that says the same to everyone; its URL and what it was told."""
    listening = socket.create_server(("127.0.0.1", 0))
    told: list[bytes] = []

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                told.append(connection.recv(65536))
                connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}", told
