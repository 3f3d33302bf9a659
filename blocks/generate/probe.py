"""Finds out, before anything starts, whether an endpoint answers and under which model name.

A user may type `http://host:8000`, `http://host:8000/v1` or `https://host/some/prefix/v1`; requests need the URL with
the version.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import orjson

from blocks.generate.client import error_message
from blocks.generate.endpoint import Endpoint
from blocks.shards.folder import RunError


def resolve(url: str, model: str | None = None, api_key_env: str | None = None) -> Endpoint:
    """The endpoint at `url`.

    Args:
        url: base URL with or without the version.
        model: the name to ask for; None takes the only model that the server lists.
        api_key_env: name of the environment variable that holds the key.

    Raises:
        RunError: nothing answers, the key is not accepted, or the model is not there.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RunError(f"--endpoint {url} is no http:// or https:// URL")
    if api_key_env is not None and not os.environ.get(api_key_env):
        raise RunError(f"--api-key-env {api_key_env}: there is no such environment variable here; export it first")
    typed = parts.geturl().rstrip("/")
    with_version = [typed] if typed.rpartition("/")[2].startswith("v") else [f"{typed}/v1", typed]
    headers = Endpoint((typed,), "", api_key_env).headers()
    troubles = []
    for base in with_version:
        try:
            names = _models(base, headers)
        except urllib.error.HTTPError as error:
            said = error_message(error.read())
            if error.code in (401, 403):
                raise RunError(
                    f"{base} does not accept the key in {api_key_env or '(none given: use --api-key-env NAME)'}: {said}"
                ) from error
            troubles.append(f"{base}/models: HTTP {error.code}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            troubles.append(f"{base}/models: {getattr(error, 'reason', error)}")
        else:
            return Endpoint((base,), _choose(names, model, base), api_key_env)
    raise RunError(f"no OpenAI-compatible server answers at {url} ({'; '.join(troubles)})")


def _models(base: str, headers: dict[str, str]) -> list[str]:
    request = urllib.request.Request(f"{base}/models", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return [str(entry["id"]) for entry in orjson.loads(response.read())["data"]]


def _choose(names: list[str], model: str | None, base: str) -> str:
    if model is not None:
        if names and model not in names:
            raise RunError(f"{base} does not serve --model {model!r}; it has {', '.join(names[:20])}")
        return model
    if len(names) != 1:
        raise RunError(f"{base} serves {len(names)} models; choose one with --model: {', '.join(names[:20])}")
    return names[0]
