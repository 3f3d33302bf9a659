"""Finds out, before anything starts, whether an endpoint answers, under which model name, and how much it can take.

A user may type `http://host:8000`, `http://host:8000/v1` or `https://host/some/prefix/v1`; requests need the URL with
the version.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import orjson

from blocks.generate.answer import error_message
from blocks.generate.endpoint import Endpoint
from blocks.shards.folder import RunError

_VERSION = re.compile(r"/v\d+[a-z0-9]*/*$")


def resolve(url: str, model: str | None = None, api_key_env: str | None = None) -> Endpoint:
    """The endpoint at `url`.

    Args:
        url: base URL with or without the version.
        model: the name to ask for; None takes the only model that the server lists.
        api_key_env: name of the environment variable that holds the key.

    Raises:
        RunError: nothing answers, the key is not accepted, or the model is not there.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment:
        raise RunError(f"--endpoint {url} is no plain http:// or https:// URL, such as http://host:8000/v1")
    if parts.username is not None:
        raise RunError("--endpoint holds a user name or password: give the key with --api-key-env NAME instead")
    typed = parts.geturl().rstrip("/")
    with_version = [typed] if _VERSION.search(parts.path) else [f"{typed}/v1", typed]
    asked = Endpoint((typed,), "", api_key_env)
    headers = asked.headers()
    troubles = []
    for base in with_version:
        try:
            contexts = _models(base, headers)
        except urllib.error.HTTPError as error:
            said = asked.conceal(error_message(error.read()))
            if error.code in (401, 403):
                raise RunError(
                    f"{base} does not accept the key in {api_key_env or '(none given: use --api-key-env NAME)'}: {said}"
                ) from error
            moved = f" to {error.headers['Location']}" if error.headers["Location"] else ""
            troubles.append(f"{base}/models: HTTP {error.code}{moved}")
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            troubles.append(f"{base}/models: {_why(error)}")
        else:
            chosen = _choose(list(contexts), model, base)
            return Endpoint((base,), chosen, api_key_env, context=contexts.get(chosen))
    raise RunError(f"no OpenAI-compatible server answers at {url} ({'; '.join(troubles)})")


def _models(base: str, headers: dict[str, str]) -> dict[str, int | None]:
    """The context of each model that the server lists, where it tells."""
    request = urllib.request.Request(f"{base}/models", headers=headers)
    with _opener.open(request, timeout=30) as response:
        entries = orjson.loads(response.read())["data"]
    told = {str(entry["id"]): entry.get("max_model_len") for entry in entries}
    return {name: size if type(size) is int and size > 0 else None for name, size in told.items()}


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(getattr(error, "reason", error))
    return f"what answers there is no list of models ({type(error).__name__})"


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go along to wherever it points, and requests could not follow anyway."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_StayHere)


def _choose(names: list[str], model: str | None, base: str) -> str:
    if model is not None:
        if names and model not in names:
            raise RunError(f"{base} does not serve --model {model!r}; it has {', '.join(names[:20])}")
        return model
    if len(names) != 1:
        raise RunError(f"{base} serves {len(names)} models; choose one with --model: {', '.join(names[:20])}")
    return names[0]
