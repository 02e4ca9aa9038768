"""How bytes come to the verifier: the Fetcher protocol, and fetching over HTTP with limits of our own.

What a fetcher returns is untrusted. It promises only that it ends: within a deadline, at no less than a least rate,
and with no more bytes than were asked for (trap 5).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from carnet.errors import ConfigError, TransportError
from carnet_verifier.http1 import Connection, Limits, Origin

__all__ = ["Fetcher", "HttpFetcher", "Limits"]

_PATH = re.compile(r"[A-Za-z0-9._~%/+@:,;=!$&'()*-]+\Z")
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

    def get_many(self, requests: Sequence[tuple[str, int]]) -> list[bytes | TransportError]:
        """Fetch several files at once: pairs of path and `max_bytes`, answered in the same order.

        One that fails does not stop the others: its place in the answer holds the error.
        """
        ...


class _Base(NamedTuple):
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
        if _PATH.match(path) is None:
            raise TransportError(f"{path[:80]!a} is not a path of a repository")
        while True:
            connection = self._take()
            fresh = connection is None
            if connection is None:
                connection = Connection(self._base.origin, self._limits, proxy=self._proxy, ca_file=self._ca_file)
            try:
                answer = connection.get(self._base.path + path, max_bytes=max_bytes)
            except TransportError as error:
                connection.close()
                # A server may close a connection that was idle at the very moment it is used again.
                if connection.unanswered and not fresh:
                    continue
                raise TransportError(f"{self.url}{path}: {error}", hint=error.hint, status=error.status) from None
            except BaseException:
                connection.close()
                raise
            if answer.reusable:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()
            if answer.status == 200:
                return answer.body
            raise self._refusal(path, answer.status)

    def _take(self) -> Connection | None:
        """An idle connection, if there is one that can be used."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.stale:
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

    def get_many(self, requests: Sequence[tuple[str, int]]) -> list[bytes | TransportError]:
        """See `Fetcher.get_many`."""
        answers: list[bytes | TransportError | BaseException | None] = [None] * len(requests)
        numbers = iter(range(len(requests)))

        def work() -> None:
            while True:
                with self._lock:
                    number = next(numbers, None)
                if number is None:
                    return
                path, max_bytes = requests[number]
                try:
                    answers[number] = self.get(path, max_bytes=max_bytes)
                except BaseException as error:  # noqa: BLE001  -- carried to the caller's thread and raised there
                    answers[number] = error

        others = [
            threading.Thread(target=work, daemon=True) for _ in range(min(self._limits.connections, len(requests)) - 1)
        ]
        for thread in others:
            thread.start()
        work()
        for thread in others:
            thread.join()
        found: list[bytes | TransportError] = []
        for answer in answers:
            if isinstance(answer, (bytes, TransportError)):
                found.append(answer)
            elif answer is not None:
                raise answer
        return found

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
