"""A dataset repository on the Hugging Face Hub, written by one process at a time and with patience.

Everything goes through huggingface_hub. What it does not do is added here: waiting as long as the Hub asks for, telling
what can be tried again from what cannot, a limit of commits per hour, and errors of one line.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # public, but re-exported without __all__
from loguru import logger

from blocks.shards.folder import RunError

T = TypeVar("T")

PER_HOUR = 60
"""Commits per hour; the Hub's limit for a repository is 128."""

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

SILENCE = 300.0
"""Seconds of `Repository.silence`; huggingface_hub would wait for ever."""

LONGEST_PAUSE = 120.0
"""Seconds between two attempts, unless the Hub asks for more."""


class Conflict(Exception):
    """Somebody else has committed since."""


@dataclass
class Repository:
    """A dataset repository.

    Args:
        name: `org/name`.
        patience: seconds after which a request that keeps failing is given up.
        per_hour: commits per hour at the most.
        silence: seconds after which a Hub that says nothing is given up for this attempt.
        committed: times of the commits of the last hour, seconds since the epoch.
        token: as in huggingface_hub; None is the one that `hf auth login` or HF_TOKEN gave.
    """

    name: str
    patience: float = 3600.0
    per_hour: int = PER_HOUR
    silence: float = SILENCE
    committed: list[float] = field(default_factory=list)
    token: str | None = None

    def __post_init__(self) -> None:
        self.api = HfApi(token=self.token)
        self._failing: tuple[str, float, float] = ("", 0.0, 1.0)  # on top of which commit, since when, next pause

    def check(self, private: bool = True) -> None:
        """Make sure that this account can write to the repository, which is created if there is none.

        Raises:
            RunError: it cannot, and why.
        """
        account = self._patiently(self.api.whoami, "the account")
        token = account.get("auth", {}).get("accessToken", {})
        if token.get("role") == "read":
            raise RunError(
                f"the token {token.get('displayName', '')!r} may only read: publishing wants one that may write"
            )
        self._patiently(
            lambda: self.api.create_repo(self.name, repo_type="dataset", private=private, exist_ok=True),
            "the repository",
        )
        if not private and self._patiently(lambda: self.api.dataset_info(self.name).private, "the repository"):
            raise RunError(
                f"{self.name} is there already and private: make it public in its settings on the Hub, which --public "
                f"cannot do"
            )
        # Only an upload tells whether there is room left; an object that is never committed is nowhere to be seen.
        probe = CommitOperationAdd("finemill-probe.parquet", b"finemill")
        self._patiently(lambda: self.upload([probe]), "room in the repository")

    def head(self) -> str:
        """The hash of the newest commit."""
        return str(self._patiently(lambda: self.api.dataset_info(self.name).sha, "the newest commit"))

    def read(self, path: str, revision: str) -> bytes | None:
        """A small file at a commit; None when there is none."""

        def load() -> bytes | None:
            try:
                found = self.api.hf_hub_download(self.name, path, repo_type="dataset", revision=revision)
            except RemoteEntryNotFoundError:
                return None
            return Path(found).read_bytes()

        return self._patiently(load, path)

    def files(self, revision: str) -> dict[str, tuple[int, str | None]]:
        """Size and SHA-256 of every file at a commit, by path; the Hub knows no SHA-256 of small ones."""

        def load() -> dict[str, tuple[int, str | None]]:
            entries = self.api.list_repo_tree(self.name, recursive=True, repo_type="dataset", revision=revision)
            found = (entry for entry in entries if isinstance(entry, RepoFile))
            return {entry.path: (entry.size, entry.lfs.sha256 if entry.lfs else None) for entry in found}

        return self._patiently(load, "the list of files")

    def upload(self, files: Sequence[CommitOperationAdd]) -> None:
        """Upload contents ahead of their commit; what the Hub has already is not sent again."""
        self.api.preupload_lfs_files(self.name, files, repo_type="dataset", free_memory=False)

    def commit(self, operations: Iterable[CommitOperationAdd], message: str, parent: str) -> None:
        """Make one commit on top of `parent`; it waits when there were enough in the last hour.

        Raises:
            Conflict: `parent` is not the newest commit any more, maybe because this very commit has been made and the
                answer was lost.
            RunError: the Hub refuses.
        """
        operations = list(operations)
        for one in operations:
            self._patiently(partial(self.upload, [one]), one.path_in_repo)
        self._wait_for_quota()
        self.committed.append(time.time())  # it may have been made although the answer is an error
        if self._failing[0] != parent:  # the last one was made, then
            self._failing = (parent, time.monotonic(), 1.0)
        get_session().timeout = self.silence
        try:
            self.api.create_commit(
                self.name, operations, commit_message=message, repo_type="dataset", parent_commit=parent
            )
        except Exception as error:
            pause = _pause(error, self.name)
            _, since, delay = self._failing
            if time.monotonic() - since > self.patience:
                raise RunError(f"no commit to {self.name} succeeds: {_said(error)}") from error
            if pause is not None:
                logger.info(f"a commit to {self.name} failed: {_said(error)}; looking whether it was made all the same")
            asked = pause or 0.0
            time.sleep(max(asked, delay * random.uniform(0.5, 1.5)))
            self._failing = (parent, since + asked, min(2 * delay, LONGEST_PAUSE))
            raise Conflict from error

    def _wait_for_quota(self) -> None:
        now = time.time()
        self.committed[:] = [at for at in self.committed if at > now - 3600]
        if len(self.committed) >= self.per_hour:
            pause = self.committed[-self.per_hour] + 3600 - now
            logger.info(f"{self.per_hour} commits in the last hour; the next one in {pause:,.0f} s")
            time.sleep(pause)

    def _patiently(self, call: Callable[[], T], what: str) -> T:
        """Call until it succeeds, is refused for good, or patience is at its end.

        Raises:
            RunError: it was refused, or kept failing.
            Conflict: the repository has moved on.
        """
        deadline = time.monotonic() + self.patience
        delay = 1.0
        while True:
            get_session().timeout = self.silence  # of a session that is made anew after errors
            try:
                return call()
            except Exception as error:
                pause = _pause(error, self.name)
                if pause is None:
                    raise Conflict from error
                pause = max(pause, delay * random.uniform(0.5, 1.5))  # a hundred publishers must not come back at once
                if time.monotonic() + pause > deadline:
                    raise RunError(f"{what} of {self.name}: the Hub keeps failing: {_said(error)}") from error
                logger.info(f"{what} of {self.name}: {_said(error)}; again in {pause:.0f} s")
                time.sleep(pause)
                delay = min(2 * delay, LONGEST_PAUSE)


def _pause(error: Exception, name: str) -> float | None:
    """Seconds to wait before a failed request is tried again, as far as the Hub says; None after a conflict.

    Raises:
        RunError: it will not succeed.
        Exception: it has nothing to do with the Hub.
    """
    if isinstance(error, OfflineModeIsEnabled):
        raise RunError("the Hub is switched off (HF_HUB_OFFLINE), so nothing can be published") from error
    # "Error while uploading", without more; a 400 is both an error of the Hub and a ValueError.
    if isinstance(error, (RuntimeError, ValueError)) and not isinstance(error, HfHubHTTPError):
        if isinstance(error.__cause__, Exception):
            return _pause(error.__cause__, name)
        if isinstance(error, RuntimeError):  # of Xet, or a connection that was closed under the request
            return 0.0
    if isinstance(error, LocalTokenNotFoundError):
        raise RunError("there is no token for the Hub: run `hf auth login`, or set HF_TOKEN") from error
    if isinstance(error, HFValidationError):
        raise RunError(f"{name!r} is no name of a repository: {_said(error)}") from error
    if isinstance(error, HfHubHTTPError):
        status, headers = error.response.status_code, error.response.headers
        if status == 412:
            return None
        if status in AGAIN:
            # The Hub says it in the second way: `"api";r=0;t=55`.
            asked = re.fullmatch(r"(\d+)", headers.get("Retry-After", ""))
            asked = asked or (re.search(r";t=(\d+)", headers.get("RateLimit", "")) if status == 429 else None)
            return float(asked[1]) if asked else 0.0
        if status == 401 and not isinstance(error, RepositoryNotFoundError):
            raise RunError("the Hub does not know this token: run `hf auth login`, or set HF_TOKEN") from error
        raise RunError(f"the Hub refuses {name}: {_said(error)}") from error
    # A page of HTML where JSON should be, and the errors of whichever HTTP library it is.
    passing = (
        json.JSONDecodeError,
        LocalEntryNotFoundError,
        ConnectionError,
        TimeoutError,
        HfHubHTTPError.__bases__[0],
    )
    if isinstance(error, passing):
        return 0.0
    raise error


def _said(error: Exception) -> str:
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return " ".join(str(said).split())[:300]
