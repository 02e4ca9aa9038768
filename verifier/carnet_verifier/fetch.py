"""How bytes come to the verifier: the Fetcher protocol, and fetching over HTTP with limits of our own.

What a fetcher returns is untrusted. It promises only that it ends: within a deadline, at no less than a least rate,
and with no more bytes than were asked for (trap 5).
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol
from urllib.parse import urlsplit

from carnet.errors import ConfigError, TransportError
from carnet.value import value
from carnet_verifier.http1 import Connection, Limits, Origin

__all__ = ["Fetcher", "HttpFetcher", "Limits"]

_PATH = re.compile(r"[A-Za-z0-9._~%/+@:,;=!$&'()*-]+\Z")
_REQUEST = 256
"""Bytes of a request beside its path, with a long host name."""
_MOST_UNREAD = 32_768
"""Bytes of requests that a server may leave unread."""
_HINTS = {
    401: "the repository wants to know who you are, which carnet does not tell",
    403: "the repository does not give this file out",
    429: "the repository is asked too often: try again later",
}


class Fetcher(Protocol):
    """Where a repository's files come from.

    Paths are below the repository's base URL and quoted as in a URL (`carnet.paths.url_path`), such as
    `metadata/2.root.json` or `targets/index/se/rd/<sha256>.serde`.
    """

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """Fetch one file.

        Raises:
            TransportError: It could not be had; `status` is 404 when it does not exist. More than `max_bytes` bytes
                are an error as well, and never returned in part.
        """
        ...

    def get_many(self, requests: Sequence[tuple[str, int]], *, large: bool = False) -> list[bytes | TransportError]:
        """Fetch several files at once: pairs of path and `max_bytes`, answered in the same order.

        One that fails does not stop the others: its place in the answer holds the error.

        Args:
            requests: The files.
            large: Whether each is worth a connection of its own, as tarballs are.
        """
        ...


@value
class _Base:
    origin: Origin
    path: str
    url: str


class HttpFetcher:
    """Fetches over HTTP/1.1 with reused connections.

    It follows no redirect, decodes only gzip and only up to the asked size, and uses no proxy unless one is given.
    Threads may share it.

    Args:
        base_url: `https://...` or `http://...`, the folder that holds `metadata/` and `targets/`.
        limits: What one fetch may cost.
        proxy: URL of an HTTP proxy, or None; nothing is read from the environment.
        ca_file: PEM file of certificate authorities to trust instead of the system's.

    Raises:
        ConfigError: A URL is not one.
    """

    def __init__(
        self, base_url: str, *, limits: Limits | None = None, proxy: str | None = None, ca_file: str | None = None
    ) -> None:
        self._base = _parse_url(base_url, "repository")
        self._limits = limits or Limits()
        self._proxy = _parse_proxy(proxy) if proxy is not None else None
        self._ca_file = ca_file
        self._idle: list[Connection] = []
        self._at_once = self._limits.at_once
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The base URL, with a slash at its end."""
        return self._base.url

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """See `Fetcher.get`.

        Raises:
            TransportError: As there.
        """
        (answer,) = self.get_many([(path, max_bytes)])
        if isinstance(answer, TransportError):
            raise answer
        return answer

    def get_many(self, requests: Sequence[tuple[str, int]], *, large: bool = False) -> list[bytes | TransportError]:
        """See `Fetcher.get_many`; a connection is asked for many small files at once."""
        answers: dict[int, bytes | TransportError] = {}
        failures: list[BaseException] = []
        waiting = deque(range(len(requests)))

        at_once = 1 if large else self._at_once

        def work() -> None:
            try:
                while True:
                    with self._lock:
                        batch = deque(waiting.popleft() for _ in range(min(at_once, len(waiting))))
                    if not batch:
                        return
                    self._ask(batch, requests, answers)
            except BaseException as error:  # noqa: BLE001  -- carried to the caller's thread and raised there
                failures.append(error)

        workers = min(self._limits.connections, -(-len(requests) // at_once))
        others = [threading.Thread(target=work, daemon=True) for _ in range(workers - 1)]
        for thread in others:
            thread.start()
        work()
        for thread in others:
            thread.join()
        if failures:
            raise failures[0]
        return [answers[number] for number in range(len(requests))]

    def _ask(
        self, batch: deque[int], requests: Sequence[tuple[str, int]], answers: dict[int, bytes | TransportError]
    ) -> None:
        """Ask for some of the requests over one connection, and over others when that one ends before the last.

        Each turn answers one at least, ends an idle connection, or is the last one that asks for several at once.
        """
        for number in list(batch):
            path = requests[number][0]
            if _PATH.match(path) is None:
                answers[number] = TransportError(f"{path[:80]!a} is not a path of a repository")
                batch.remove(number)
        while batch:
            asked = self._together(batch, requests)
            connection = self._take()
            used = connection is not None
            if connection is None:
                connection = Connection(self._base.origin, self._limits, proxy=self._proxy, ca_file=self._ca_file)
            try:
                for answer in connection.get([(self._base.path + requests[n][0], requests[n][1]) for n in asked]):
                    number = batch.popleft()
                    refused = answer.status != 200
                    answers[number] = self._refusal(requests[number][0], answer.status) if refused else answer.body
            except TransportError as error:
                # A server may close a connection that was idle at the very moment it is used again.
                if used and connection.unanswered and batch[0] == asked[0]:
                    continue
                # What a server does not manage with several requests in its hand, it may with one.
                if len(asked) == 1:
                    number = batch.popleft()
                    reason = f"{self.url}{requests[number][0]}: {error}"
                    answers[number] = TransportError(reason, hint=error.hint, status=error.status)
            finally:
                if connection.usable:
                    with self._lock:
                        self._idle.append(connection)
                else:
                    connection.close()
            if batch and batch[0] in asked:
                self._at_once = 1

    def _together(self, batch: Sequence[int], requests: Sequence[tuple[str, int]]) -> list[int]:
        """How many of the first requests to send before an answer is read: no more than any server's buffer holds.

        Who is still sending does not read, and a server that cannot send need not read either.
        """
        asked: list[int] = []
        size = 0
        for number in islice(batch, self._at_once):
            size += len(self._base.path) + len(requests[number][0]) + _REQUEST
            if asked and size > _MOST_UNREAD:
                break
            asked.append(number)
        return asked

    def _take(self) -> Connection | None:
        """An idle connection, if there is one that can be used."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()

    def _refusal(self, path: str, status: int) -> TransportError:
        if 300 <= status < 400:
            return TransportError(
                f"{self.url}{path}: answered {status}: redirects are not followed",
                hint="use the repository's final URL",
                status=status,
            )
        return TransportError(f"{self.url}{path}: answered {status}", hint=_HINTS.get(status, ""), status=status)

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> HttpFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse_url(url: str, what: str) -> _Base:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"the {what} URL {url[:200]!a} is not one") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"the {what} URL {url[:200]!a} does not start with https:// or http:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"the {what} URL holds a user name or password, which carnet does not send")
    if parts.query or parts.fragment:
        raise ConfigError(f"the {what} URL {url[:200]!a} holds a query or a fragment")
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    if _PATH.match(path) is None or re.search(r"[^A-Za-z0-9.:_-]", parts.hostname):
        raise ConfigError(f"the {what} URL {url[:200]!a} has characters that a URL does not have")
    origin = Origin(parts.scheme == "https", parts.hostname, port or (443 if parts.scheme == "https" else 80))
    return _Base(origin, path, f"{parts.scheme}://{parts.netloc}{path}")


def _parse_proxy(url: str) -> Origin:
    origin = _parse_url(url if "://" in url else f"http://{url}", "proxy").origin
    if origin.tls:
        raise ConfigError(f"the proxy URL {url[:200]!a} is not http://")
    return origin
