"""One HTTP/1.1 connection that only asks for files: GET, bounded in time, rate and size at every byte.

httptools (llhttp, which Node.js reads HTTP with) parses answers and never touches a socket. The clients that do wait
for each gap, not for the whole; what bounds the whole (deadline, least rate, size) has to sit where the socket is read,
which is here. Several files are asked for at once, without waiting for the first answer (RFC 9112, 9.3.2): a look at a
lock needs hundreds of small ones, and most of what each costs is the way there and back.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import httptools

from carnet.errors import TransportError
from carnet.value import value

_MAX_HEAD = 32_768
_MAX_INTERIM = 8
_DRAIN = 65_536
_ONCE = (b"content-length", b"transfer-encoding", b"content-encoding")
_ACCEPT = "accept: */*\r\naccept-encoding: gzip\r\n"
_TUNNEL = -1
"""In place of the most bytes of an answer: what follows its head is no part of it."""


@value
class Limits:
    """What an HTTP fetch may cost.

    Attributes:
        deadline: Seconds for one file, from connecting, or from the answer before it, to the last byte received.
        connect: Seconds to reach the server, as part of the deadline.
        least_rate: Bytes a second, on average after `grace` seconds; slower is an error, silence included.
        grace: Seconds before the least rate counts.
        connections: At the same time.
        at_once: Small files that a connection is asked for before the first of them is there.
    """

    deadline: float = 300.0
    connect: float = 15.0
    least_rate: int = 1024
    grace: float = 20.0
    connections: int = 8
    at_once: int = 128


@value
class Origin:
    """Whom to connect to."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As a `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@value
class Answer:
    """A complete response.

    Attributes:
        status: The HTTP status.
        body: Decoded; empty unless the status is 200.
    """

    status: int
    body: bytes


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
        self._answers = _Answers()
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
    def usable(self) -> bool:
        """Whether it may be asked again: everything was answered, nothing more came, and the server keeps it open."""
        if self._socket is None or not self._answers.idle:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def get(self, requests: Sequence[tuple[str, int]]) -> Iterator[Answer]:
        """Ask for files, all at once, and hand out the answers in the same order.

        Args:
            requests: Pairs of path and the most bytes that its answer may have; the paths are fit for a request line.

        Yields:
            The answers; fewer than requests when the server ended the connection after one of them. Then the others
            were not answered, and another connection may be asked.

        Raises:
            TransportError: There is no proper answer to the next request within the limits; the connection is of no use
                any more.
        """
        self._restart()
        try:
            if self._socket is None:
                self._socket = self._connect()
            prefix = f"http://{self._origin.authority}" if self._proxy is not None and not self._origin.tls else ""
            self._answers.expect(most for _, most in requests)
            self._send("".join(_ask("GET", prefix + path, self._origin.authority, _ACCEPT) for path, _ in requests))
            for _ in requests:
                answer = self._next()
                yield answer
                if not self._answers.open:
                    return
                self._restart()
        except TimeoutError:
            raise self._late() from None
        except OSError as error:
            reason = (error.strerror or str(error) or type(error).__name__).lower()
            raise TransportError(reason, hint="is the address right, and is the server up?") from None

    # --- opening ---

    def _connect(self) -> socket.socket:
        to = self._proxy or self._origin
        # As bytes: a text would be encoded for IDNA, whose tables take longer to load than a file to fetch.
        address = (to.host.encode("ascii"), to.port)
        opened = socket.create_connection(address, timeout=min(self._limits.connect, self._left()))  # type: ignore[arg-type]
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._origin.tls:
                return opened
            if self._proxy is not None:
                self._socket = opened
                authority = f"{self._origin.host}:{self._origin.port}"
                self._answers.expect([_TUNNEL])
                self._send(_ask("CONNECT", authority, authority))
                status = self._next().status
                if status != 200 or not self._answers.idle:
                    raise TransportError(f"the proxy answered {status}", status=None)
                self._answers = _Answers()  # what follows is between us and the origin
            import ssl

            context = ssl.create_default_context(cafile=self._ca_file)
            opened.settimeout(self._left())
            return context.wrap_socket(opened, server_hostname=self._origin.host)
        except BaseException:
            self._socket = None
            opened.close()
            raise

    # --- time ---

    def _restart(self) -> None:
        """The clock of the next answer starts."""
        self._start = time.monotonic()
        self._received = 0
        self.unanswered = not self._answers.begun

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

    def _send(self, requests: str) -> None:
        connected = self._connected()
        connected.settimeout(self._left())
        connected.sendall(requests.encode("ascii"))

    def _next(self) -> Answer:
        """The next answer; the only place where the socket is read."""
        while (answer := self._answers.take()) is None:
            connected = self._connected()
            try:
                connected.settimeout(self._left())
                data = connected.recv(65_536)
            except OSError:
                if not self._answers.give_up():
                    raise
                continue
            self._received += len(data)
            if data:
                self.unanswered = False
            elif self.unanswered:
                raise TransportError("the server closed the connection")
            self._answers.feed(data)
        return answer

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise TransportError("the connection is closed")
        return self._socket


class _Answers:
    """Puts answers together from what llhttp finds in the bytes of a connection; it calls the `on_` methods.

    Attributes:
        open: Whether the server keeps the connection for more.
        begun: Whether a part of the next answer is there.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._expected: deque[int] = deque()
        self._done: deque[tuple[int, bytearray, int, bool]] = deque()
        self._failure: TransportError | None = None
        self._overhead = 0
        self._interim = 0
        self.open = True
        self._next_message()

    def _next_message(self) -> None:
        self.begun = False
        self._headers: dict[bytes, bytes] = {}
        self._status = 0  # until the head is complete
        self._body = bytearray()

    def expect(self, most: Iterable[int]) -> None:
        """Say how many bytes each of the next answers may have."""
        self._expected.extend(most)

    @property
    def idle(self) -> bool:
        """Whether every answer was taken, nothing came that nobody asked for, and the connection stays open."""
        return self.open and not (self._expected or self._done or self.begun or self._failure)

    def take(self) -> Answer | None:
        """The next answer, or None when more bytes are needed.

        Raises:
            TransportError: What came is not an answer.
        """
        if self._done:
            status, body, most, zipped = self._done.popleft()
            if status != 200:
                return Answer(status, b"")
            return Answer(status, _unzip(body, most) if zipped else bytes(body))
        if self._failure is not None:
            raise self._failure
        return None

    def feed(self, data: bytes) -> None:
        """Read what was received; empty when the server closed the connection."""
        if not data:
            self._end()
            return
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(TransportError("the server switched to another protocol, unasked"))
        except httptools.HttpParserError as error:
            cause = error.__context__
            if not isinstance(cause, TransportError):
                cause = TransportError(f"the answer is not proper HTTP/1.1: {ascii(str(error)[:100])[1:-1]}")
            self._fail(cause)
        if self._overhead > _MAX_HEAD:
            self._fail(TransportError("the answer is not proper HTTP/1.1: its head is too long"))

    def give_up(self) -> bool:
        """Nothing more will come; whether the answer is known all the same: a refusal, whatever its body is."""
        self.open = False
        if self._status in (0, 200):
            return False
        self._complete()
        return True

    def _end(self) -> None:
        # Without a length, the end of the connection is the end of the answer.
        if self._status == 200 and not {b"content-length", b"transfer-encoding"} & self._headers.keys():
            self._complete()
        elif not self.give_up():
            self._fail(TransportError("the server closed the connection half-way"))
        self.open = False

    def _fail(self, error: TransportError) -> None:
        if not self.give_up() and self._failure is None:
            self._failure = error

    def _complete(self) -> None:
        most = self._expected.popleft()
        zipped = self._status == 200 and self._headers.get(b"content-encoding", b"identity").lower() != b"identity"
        self._done.append((self._status, self._body, most, zipped))
        self._interim = 0
        self._next_message()

    # --- what llhttp calls; an error raised here ends the parsing ---

    def on_message_begin(self) -> None:
        # Bytes after the last answer are none that were asked for, and would pass for the next one.
        if not self._expected:
            raise TransportError("the server answered unasked")
        self.begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # a trailer
        name = name.lower()
        # Two lengths, or two codings, are how one answer is read as two.
        if name in self._headers and name in _ONCE:
            raise TransportError(f"the answer has two headers {name.decode('ascii', 'replace')}")
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        self._overhead = 0
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._status = status
        most = self._expected[0]
        if most == _TUNNEL:
            self._complete()
        elif status == 200:
            self._check_head(most)

    def _check_head(self, most: int) -> None:
        coding = self._headers.get(b"transfer-encoding", b"chunked").lower()
        if coding != b"chunked":
            raise TransportError(f"the server sent the transfer-encoding {coding[:40].decode('latin-1')!a}, unasked")
        encoding = self._headers.get(b"content-encoding", b"identity").lower()
        if encoding not in (b"identity", b"gzip", b"x-gzip"):
            raise TransportError(f"the server sent the encoding {encoding[:40].decode('latin-1')!a}, unasked")
        most = _most_encoded(most, encoding)
        length = int(self._headers.get(b"content-length", b"0"))  # llhttp has seen that it is one
        if length > most:
            raise TransportError(f"the answer has {length} bytes, and at most {most} were asked for")

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        if not self._status:
            raise TransportError("the server sent more than the tunnel that was asked for")
        if self._status != 200:
            most = _DRAIN
        else:
            most = _most_encoded(self._expected[0], self._headers.get(b"content-encoding", b"identity"))
        if len(self._body) + len(data) > most:
            raise TransportError(f"the answer is longer than the {most} bytes that were asked for")
        self._body += data

    def on_message_complete(self) -> None:
        if self._status == 0:
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise TransportError("the server sent interim answers without end")
            self._next_message()
            return
        self.open = self.open and self._parser.should_keep_alive()
        self._complete()


def _ask(method: str, target: str, authority: str, headers: str = "") -> str:
    return f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: carnet\r\n{headers}\r\n"


def _most_encoded(most: int, encoding: bytes) -> int:
    # Deflate can only grow by a few bytes in 16 kB, so the encoded body is bounded too.
    return most if encoding.lower() == b"identity" else most + (most >> 10) + 1024


def _unzip(data: bytearray, max_bytes: int) -> bytes:
    import zlib

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
