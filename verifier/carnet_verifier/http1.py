"""One HTTP/1.1 connection that only asks for files: GET, bounded in time, rate and size at every byte.

h11 speaks HTTP and never touches a socket. The clients that do wait for each gap, not for the whole; what bounds the
whole (deadline, least rate, size) has to sit where the socket is read, which is here.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
import zlib
from collections.abc import Iterable
from typing import NamedTuple, cast

import h11

from carnet.errors import TransportError

_MAX_HEAD = 32_768
_MAX_INTERIM = 8
_DRAIN = 65_536
_ONCE = (b"content-length", b"transfer-encoding", b"content-encoding")


class Limits(NamedTuple):
    """What an HTTP fetch may cost.

    Attributes:
        deadline: Seconds for one file, from connecting to the last byte received.
        connect: Seconds to reach the server, as part of the deadline.
        least_rate: Bytes a second, on average after `grace` seconds; slower is an error, silence included.
        grace: Seconds before the least rate counts.
        connections: At the same time.
    """

    deadline: float = 300.0
    connect: float = 15.0
    least_rate: int = 1024
    grace: float = 20.0
    connections: int = 8


class Origin(NamedTuple):
    """Whom to connect to."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As a `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Answer(NamedTuple):
    """A complete response.

    Attributes:
        status: The HTTP status.
        body: Decoded; empty unless the status is 200.
        reusable: Whether the connection may be asked again.
    """

    status: int
    body: bytes
    reusable: bool


class Connection:
    """A connection to one server, opened at the first request.

    Attributes:
        unanswered: Whether the last request ended without a single byte of an answer.
    """

    def __init__(
        self, origin: Origin, limits: Limits, *, proxy: Origin | None = None, ca_file: str | None = None
    ) -> None:
        self._origin = origin
        self._limits = limits
        self._proxy = proxy
        self._ca_file = ca_file
        self._socket: socket.socket | None = None
        self._http = _client()
        self._received = 0
        self._ended = False
        self._start = 0.0
        self.unanswered = False

    def close(self) -> None:
        """Close it; it cannot be used again."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    @property
    def stale(self) -> bool:
        """Whether an idle connection was closed by the server, or holds bytes that nobody asked for."""
        if self._socket is None:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def get(self, path: str, *, max_bytes: int) -> Answer:
        """Ask for a file.

        Raises:
            TransportError: No complete answer within the limits; the connection is of no use any more.
        """
        self._start = time.monotonic()
        self._received = 0
        self._ended = False
        self.unanswered = True
        try:
            if self._socket is None:
                self._socket = self._connect()
            target = path
            if self._proxy is not None and not self._origin.tls:
                target = f"http://{self._origin.authority}{path}"
            self._ask("GET", target, self._origin.authority, ("accept", "*/*"), ("accept-encoding", "gzip"))
            return self._answer(max_bytes)
        except TimeoutError:
            raise self._late() from None
        except h11.RemoteProtocolError as error:
            if self._ended:
                raise TransportError("the server closed the connection half-way") from None
            reason = (
                "its head is too long" if error.error_status_hint == 431 else str(error).partition(": bytearray")[0]
            )
            raise TransportError(f"the answer is not proper HTTP/1.1: {ascii(reason[:100])[1:-1]}") from None
        except OSError as error:
            reason = (error.strerror or str(error) or type(error).__name__).lower()
            raise TransportError(reason, hint="is the address right, and is the server up?") from None

    # --- opening ---

    def _connect(self) -> socket.socket:
        to = self._proxy or self._origin
        opened = socket.create_connection((to.host, to.port), timeout=min(self._limits.connect, self._left()))
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._origin.tls:
                return opened
            if self._proxy is not None:
                self._socket = opened
                authority = f"{self._origin.host}:{self._origin.port}"
                self._ask("CONNECT", authority, authority)
                status = self._head().status_code
                if status != 200 or self._http.trailing_data[0]:
                    raise TransportError(f"the proxy answered {status}", status=None)
                self._http = _client()  # what follows is between us and the origin
            import ssl

            context = ssl.create_default_context(cafile=self._ca_file)
            opened.settimeout(self._left())
            return context.wrap_socket(opened, server_hostname=self._origin.host)
        except BaseException:
            self._socket = None
            opened.close()
            raise

    # --- time ---

    def _left(self) -> float:
        """Seconds until the deadline, or until the least rate would be missed with what has come so far."""
        limits = self._limits
        allowed = min(limits.deadline, limits.grace + self._received / limits.least_rate)
        left = self._start + allowed - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _late(self) -> TransportError:
        elapsed = time.monotonic() - self._start
        return TransportError(
            f"gave up after {elapsed:.0f} seconds and {self._received} bytes",
            hint="the server is too slow or holds the answer back; nothing was decided, try again",
        )

    # --- asking and answers ---

    def _ask(self, method: str, target: str, host: str, *headers: tuple[str, str]) -> None:
        request = h11.Request(
            method=method, target=target, headers=[("host", host), ("user-agent", "carnet"), *headers]
        )
        connected = self._connected()
        connected.settimeout(self._left())
        connected.sendall((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))

    def _next(self) -> h11.Event | type[h11.PAUSED]:
        """What comes next in the answer; the only place where the socket is read."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            connected = self._connected()
            connected.settimeout(self._left())
            data = connected.recv(65_536)
            self._received += len(data)
            if data:
                self.unanswered = False
            elif self.unanswered:
                raise TransportError("the server closed the connection")
            self._ended = not data
            self._http.receive_data(data)
        return cast("h11.Event | type[h11.PAUSED]", event)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise TransportError("the connection is closed")
        return self._socket

    def _answer(self, max_bytes: int) -> Answer:
        head = self._head()
        headers = _single(head.headers)
        if head.status_code != 200:
            return Answer(head.status_code, b"", self._drain())
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding not in (b"identity", b"gzip", b"x-gzip"):
            raise TransportError(f"the server sent the encoding {encoding[:40].decode('latin-1')!a}, unasked")
        zipped = encoding != b"identity"
        # Deflate can only grow by a few bytes in 16 kB, so the encoded body is bounded too.
        most = max_bytes + (max_bytes >> 10) + 1024 if zipped else max_bytes
        length = int(headers.get(b"content-length", b"0"))
        if length > most:
            raise TransportError(f"the answer has {length} bytes, and at most {most} were asked for")
        body = self._body(most)
        return Answer(200, _unzip(body, max_bytes) if zipped else body, self._reusable())

    def _head(self) -> h11.Response:
        for _ in range(_MAX_INTERIM):
            event = self._next()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise TransportError("the server closed the connection half-way")
        raise TransportError("the server sent interim answers without end")

    def _body(self, most: int) -> bytes:
        body = bytearray()
        while isinstance(event := self._next(), h11.Data):
            body += event.data
            if len(body) > most:
                raise TransportError(f"the answer is longer than the {most} bytes that were asked for")
        if not isinstance(event, h11.EndOfMessage):
            raise TransportError("the server closed the connection half-way")
        return bytes(body)

    def _drain(self) -> bool:
        """Read a refusal's short body away, so that the connection stays usable; else give it up."""
        try:
            self._body(_DRAIN)
        except (TransportError, OSError, h11.RemoteProtocolError):
            return False
        return self._reusable()

    def _reusable(self) -> bool:
        """Whether the connection may be asked again; it is made ready for that."""
        # Bytes after the answer are none that were asked for, and would pass for the next one.
        if (
            self._http.trailing_data[0]
            or self._http.our_state is not h11.DONE
            or self._http.their_state is not h11.DONE
        ):
            return False
        self._http.start_next_cycle()
        return True


def _client() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)


def _single(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        # Two lengths, or two codings, are how one answer is read as two.
        if name in found and name in _ONCE:
            raise TransportError(f"the answer has two headers {name.decode()}")
        found[name] = value
    if b"content-length" in found and b"transfer-encoding" in found:
        raise TransportError("the answer's length is not clear")
    return found


def _unzip(data: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        body = inflater.decompress(data, max_bytes + 1)
    except zlib.error:
        raise TransportError("the answer is not the gzip it says it is") from None
    if len(body) > max_bytes:
        raise TransportError(f"the answer unpacks to more than the {max_bytes} bytes that were asked for")
    if not inflater.eof or inflater.unused_data:
        raise TransportError("the answer's gzip is cut off, or has something after it")
    return body
