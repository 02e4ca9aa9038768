"""Files of an upstream over HTTP: bounded at every byte, redirected within https, asked for again with patience.

The connections are those of the verifier (`carnet_verifier.net.http1`): a server that sends one byte a second is given
up by its rate, however long each byte is waited for.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

from carnet.errors import TransportError
from carnet_verifier.net.http1 import Answer, Connection, Limits, Origin
from carnet_verifier.net.patience import PASSING, Patience, retry_after
from carnet_verifier.net.route import DIRECT, Network

LIMITS = Limits(deadline=120.0)
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_ALTOGETHER = 60.0
"""Seconds after which a server that gave no proper answer in all that time is not asked any more."""
_TARGET = re.compile(r"/[!-~]*\Z")
_HOST = re.compile(r"[A-Za-z0-9.:_-]+\Z")


@dataclass
class _Server:
    """One server, as all threads find it.

    Attributes:
        idle: Connections that may be used again.
        not_before: When it may be asked again, because it said so.
        failing_since: When it began to give no proper answer at all; None when the last one was proper.
    """

    idle: list[Connection] = field(default_factory=list)
    not_before: float = 0.0
    failing_since: float | None = None


class Downloads:
    """Fetches files, with connections that are used again. Threads may share it.

    Args:
        limits: What one answer may cost.
        patience: How often and after how long is asked again.
        sleep: Waits for some seconds.
        network: How servers are reached.
        known: The URL that a person named. Its server alone is told who asks, and none that it leads to.
    """

    def __init__(
        self,
        limits: Limits = LIMITS,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        *,
        network: Network = DIRECT,
        known: str = "",
    ) -> None:
        self._limits = limits
        self._patience = patience or Patience()
        self._sleep = sleep
        self._network = network
        self._known = _parsed(known)[0] if known else None
        self._servers: dict[Origin, _Server] = {}
        self._asking: set[Connection] = set()
        self._aborted = False
        self._lock = threading.Lock()

    def get(self, url: str, max_bytes: int) -> bytes:
        """Fetch one file whole.

        Raises:
            TransportError: It could not be had; `status` is the answer's, where there was one.
        """
        tried = 0
        while True:
            try:
                return self._follow(url, max_bytes)
            except TransportError as error:
                tried += 1
                pause = self._patience.pause_after(error, tried)
                if pause is None or self._aborted:
                    raise _told(error, tried) from None
                self._sleep(pause)

    def _follow(self, url: str, max_bytes: int) -> bytes:
        first, deadline = url, time.monotonic() + self._limits.deadline
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._ask(url, max_bytes)
            if answer.status == 200:
                return answer.body
            location = answer.headers.get(b"location", b"").decode("latin-1")
            if answer.status not in _REDIRECTS or not location:
                raise TransportError(
                    f"{url} answered {answer.status}",
                    status=answer.status,
                    passing=answer.status in PASSING,
                    retry_after=retry_after(answer.headers.get(b"retry-after", b"")),
                )
            url = redirected(url, location)
            if time.monotonic() > deadline:
                raise TransportError(f"{first} led on for more than {self._limits.deadline:.0f} seconds")
        raise TransportError(f"{first} redirects more than {_MAX_REDIRECTS} times")

    def _ask(self, url: str, max_bytes: int) -> Answer:
        """Ask one server once, or not at all when it is no use."""
        origin, target = _parsed(url)
        server = self._server_of(origin, url)
        while True:
            connection, used = self._connection(server, origin)
            self._begin(connection)
            try:
                (answer,) = connection.get([(target, max_bytes)])
            except TransportError as error:
                connection.close()
                # A server may close a connection that was idle at the very moment it is used again.
                if used and connection.unanswered and not connection.late:
                    continue
                self._failed(server, None)
                raise TransportError(f"{url}: {error}", hint=error.hint, passing=error.passing) from None
            finally:
                with self._lock:
                    self._asking.discard(connection)
            if connection.usable:
                with self._lock:
                    server.idle.append(connection)
            else:
                connection.close()
            if answer.status in PASSING:
                self._failed(server, retry_after(answer.headers.get(b"retry-after", b"")))
            else:
                server.failing_since = None
            return answer

    def _server_of(self, origin: Origin, url: str) -> _Server:
        """The server that a file is on, when it may be asked."""
        with self._lock:
            server = self._servers.setdefault(origin, _Server())
            now = time.monotonic()
            failing, wait = server.failing_since, server.not_before - now
        if failing is not None and now - failing > _ALTOGETHER:
            raise TransportError(f"{url} is not asked for: its server failed for {now - failing:.0f} seconds")
        if wait > 0:
            self._sleep(wait)
        return server

    def _failed(self, server: _Server, pause: float | None) -> None:
        with self._lock:
            now = time.monotonic()
            if server.failing_since is None:
                server.failing_since = now
            if pause is not None and pause <= self._patience.longest:
                server.not_before = max(server.not_before, now + pause)

    def _connection(self, server: _Server, origin: Origin) -> tuple[Connection, bool]:
        while True:
            with self._lock:
                connection = server.idle.pop() if server.idle else None
            if connection is None:
                route = self._network.route_to(origin, anonymous=origin != self._known)
                return Connection(origin, self._limits, route), False
            if connection.usable:
                return connection, True
            connection.close()

    def _begin(self, connection: Connection) -> None:
        with self._lock:
            if self._aborted:
                raise TransportError("nothing is asked for any more")
            self._asking.add(connection)

    def abort(self) -> None:
        """End what waits in other threads, and ask for nothing more."""
        with self._lock:
            self._aborted = True
            for connection in self._asking:
                connection.abort()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            idle = [connection for server in self._servers.values() for connection in server.idle]
            self._servers.clear()
        for connection in idle:
            connection.close()

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _told(error: TransportError, tried: int) -> TransportError:
    text = str(error) if tried == 1 else f"{error} (asked {tried} times)"
    hint = error.hint
    if error.retry_after is not None:
        hint = f"it asks to be left alone for {error.retry_after:.0f} seconds: try again then"
    return TransportError(text, hint=hint, status=error.status, passing=error.passing, retry_after=error.retry_after)


# --- URLs ---


def split(url: str) -> SplitResult | None:
    """A URL's parts; None for what cannot be one, such as half an IPv6 address, a port of letters."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_http(parts: SplitResult | None) -> bool:
    """Whether it can be asked for."""
    return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)


def redirected(url: str, location: str) -> str:
    """Where a redirect leads.

    Raises:
        TransportError: It is no URL, or leads from https to http.
    """
    try:
        target = urljoin(url, location)
    except ValueError:  # as in `split`
        target = ""
    parts = split(target)
    if parts is None or not is_http(parts):
        raise TransportError(f"{url} redirects to {location[:200]!a}, which is no URL")
    if parts.scheme != urlsplit(url).scheme and parts.scheme != "https":
        raise TransportError(f"{url} redirects to {target[:200]!a}, which is less safe")
    return target


def _parsed(url: str) -> tuple[Origin, str]:
    parts = split(url)
    if parts is None or not is_http(parts):
        raise TransportError(f"{url[:200]!a} is no URL")
    host, tls = parts.hostname or "", parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _HOST.match(host) or not _TARGET.match(target):
        raise TransportError(f"{url[:200]!a} has characters that a URL does not have")
    return Origin(tls, host, parts.port or (443 if tls else 80)), target
