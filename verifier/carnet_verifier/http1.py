"""One HTTP/1.1 connection that only asks for files: GET, bounded in time, rate and size at every byte.

The standard library's client waits for each gap, not for the whole; what bounds the whole has to sit where the socket
is read. It is small enough to be read in full, and a third of the start-up time.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
import zlib
from typing import NamedTuple

from carnet.errors import TransportError

_MAX_HEAD = 32_768
_MAX_INTERIM = 8
_DRAIN = 65_536
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*\Z")
_LENGTH = re.compile(rb"[0-9]{1,15}\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\x00\r\n]*)?\Z")


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
        self._buffer = bytearray()
        self._received = 0
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
        self.unanswered = True
        try:
            if self._socket is None:
                self._socket = self._connect()
            target = path
            if self._proxy is not None and not self._origin.tls:
                target = f"http://{self._origin.authority}{path}"
            self._send(
                f"GET {target} HTTP/1.1\r\nhost: {self._origin.authority}\r\nuser-agent: carnet\r\n"
                "accept: */*\r\naccept-encoding: gzip\r\n\r\n"
            )
            return self._answer(max_bytes)
        except TimeoutError:
            raise self._late() from None
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
                self._send(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")
                status, _, _ = self._head()
                if status != 200:
                    raise TransportError(f"the proxy answered {status}", status=None)
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

    def _send(self, text: str) -> None:
        connected = self._connected()
        connected.settimeout(self._left())
        connected.sendall(text.encode("ascii"))

    def _more(self) -> bool:
        """Read what is there into the buffer; False at the end of the stream."""
        connected = self._connected()
        connected.settimeout(self._left())
        data = connected.recv(65_536)
        self._received += len(data)
        self._buffer += data
        if data:
            self.unanswered = False
        return bool(data)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise TransportError("the connection is closed")
        return self._socket

    # --- answers ---

    def _answer(self, max_bytes: int) -> Answer:
        for _ in range(_MAX_INTERIM):
            status, keeps, headers = self._head()
            if status >= 200:
                break
        else:
            raise TransportError("the server sent interim answers without end")
        keeps = keeps and headers.get(b"connection", b"").lower() != b"close"
        if status != 200:
            return Answer(status, b"", keeps and self._drain(status, headers) and not self._buffer)
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding not in (b"identity", b"gzip", b"x-gzip"):
            raise TransportError(f"the server sent the encoding {encoding[:40].decode('latin-1')!a}, unasked")
        zipped = encoding != b"identity"
        # Deflate can only grow by a few bytes in 16 kB, so the encoded body is bounded too.
        body, ended = self._body(headers, max_bytes + (max_bytes >> 10) + 1024 if zipped else max_bytes)
        # Bytes after the answer are none that were asked for, and would pass for the next one.
        return Answer(status, _unzip(body, max_bytes) if zipped else body, keeps and ended and not self._buffer)

    def _head(self) -> tuple[int, bool, dict[bytes, bytes]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise TransportError("the answer's head is too long")
            if not self._more():
                raise TransportError("the server closed the connection" + (" half-way" if self._buffer else ""))
        if end > _MAX_HEAD:
            raise TransportError("the answer's head is too long")
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        first = _STATUS.match(lines[0])
        if first is None:
            raise TransportError("the answer is not HTTP/1.1")
        headers: dict[bytes, bytes] = {}
        for line in lines[1:]:
            match = _HEADER.match(line)
            if match is None:
                raise TransportError("the answer has a malformed header")
            name, value = match[1].lower(), match[2]
            # Two lengths, or two codings, are how one answer is read as two.
            if name in headers and name in (b"content-length", b"transfer-encoding", b"content-encoding"):
                raise TransportError(f"the answer has two headers {name.decode()}")
            headers[name] = value
        return int(first[2]), first[1] == b"1", headers

    def _length(self, headers: dict[bytes, bytes]) -> int | None:
        text = headers.get(b"content-length")
        if text is None:
            return None
        if _LENGTH.match(text) is None or b"transfer-encoding" in headers:
            raise TransportError("the answer's length is not clear")
        return int(text)

    def _body(self, headers: dict[bytes, bytes], most: int) -> tuple[bytes, bool]:
        """The body as sent, and whether its end is certain, so that another answer may follow."""
        length = self._length(headers)
        if length is not None:
            if length > most:
                raise TransportError(f"the answer has {length} bytes, and at most {most} were asked for")
            return self._exactly(length), True
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise TransportError("the answer has a transfer coding that was not asked for")
            return self._chunks(most), True
        while len(self._buffer) <= most:
            if not self._more():
                body = bytes(self._buffer)
                self._buffer.clear()
                return body, False
        raise TransportError(f"the answer is longer than the {most} bytes that were asked for")

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            if not self._more():
                raise TransportError("the server closed the connection half-way")
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _chunks(self, most: int) -> bytes:
        body = bytearray()
        while True:
            match = _CHUNK.match(self._line())
            if match is None:
                raise TransportError("the answer has a malformed chunk")
            size = int(match[1], 16)
            if size == 0:
                break
            if len(body) + size > most:
                raise TransportError(f"the answer is longer than the {most} bytes that were asked for")
            body += self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise TransportError("the answer has a malformed chunk")
        for _ in range(64):  # trailers mean nothing to us
            if not self._line():
                return bytes(body)
        raise TransportError("the answer has trailers without end")

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > 4096:
                raise TransportError("the answer has a line that is too long")
            if not self._more():
                raise TransportError("the server closed the connection half-way")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _drain(self, status: int, headers: dict[bytes, bytes]) -> bool:
        """Read a refusal's short body away, so that the connection stays usable; else give it up."""
        if status in (204, 304):
            return True
        try:
            _, ended = self._body(headers, _DRAIN)
        except (TransportError, OSError):
            return False
        return ended


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
