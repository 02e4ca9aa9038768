"""One HTTP/1.1 connection that asks for files, or posts one body: bounded in time, rate and size at every byte.

httptools (llhttp, which Node.js reads HTTP with) parses answers and never touches a socket. The clients that do wait
for each gap, not for the whole; what bounds the whole (deadline, least rate, size) has to sit where the socket is read,
which is in `carnet_verifier.net.wire` and here. Several files are asked for at once, without waiting for the first
answer (RFC 9112, 9.3.2): a look at a lock needs hundreds of small ones, and most of what each costs is the way there
and back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress

import httptools

from carnet.errors import TransportError
from carnet.value import field, value
from carnet_verifier.net.encoded import most_encoded, unzip
from carnet_verifier.net.route import Origin, Route
from carnet_verifier.net.spool import Spool
from carnet_verifier.net.wire import Clock, Wire

__all__ = ["Answer", "Connection", "Limits", "Origin"]

_MAX_HEAD = 32_768
_MAX_INTERIM = 8
_DRAIN = 65_536
_LOOK = 5.0
"""Seconds for a look at a certificate that is not trusted."""
_ONCE = (b"content-length", b"transfer-encoding", b"content-encoding")
_ACCEPT = "accept: */*\r\naccept-encoding: gzip\r\n"
_ACCEPT_PLAIN = "accept: */*\r\naccept-encoding: identity\r\n"
_PLAIN_ROUTE = Route()
_AGAIN = "nothing was decided: try again in a minute"
_TUNNEL = None
"""In place of the most bytes of an answer: what follows its head is no part of it."""


@value
class Limits:
    """What an HTTP fetch may cost.

    Attributes:
        deadline: Seconds for one file, from connecting, or from the answer before it, to the last byte received.
        connect: Seconds to reach the server at one of its addresses, as part of the deadline.
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
class Answer:
    """A complete response.

    Attributes:
        status: The HTTP status.
        body: Decoded; empty unless the status is 200.
        spooled: The body of a plain answer, which may wait on the disk; `body` is empty then.
        headers: What came with a refusal, by name in lower case; empty when the status is 200.
    """

    status: int
    body: bytes
    spooled: Spool | None = None
    headers: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.spooled is None else len(self.spooled)


class Connection:
    """A connection to one server, opened at the first request.

    Args:
        origin: The server.
        limits: What an answer may cost.
        route: How the server is reached, and as whom.

    Attributes:
        opened: Whether the server was reached, and TLS agreed upon.
        answered: How many answers it gave.
        unanswered: Whether the next answer did not begin at all: the connection ended, or there was silence.
        late: Whether the time was over.
        plain: Whether answers may be large: then no encoding is taken, and bodies wait on the disk. May be changed
            between two calls.
    """

    def __init__(self, origin: Origin, limits: Limits, route: Route = _PLAIN_ROUTE) -> None:
        self._origin = origin
        self._limits = limits
        self._route = route
        self._proxy = None if route.proxy is None else route.proxy.origin
        self._headers = _headers(origin, route)
        self._clock = Clock(limits.deadline, limits.grace, limits.least_rate)
        self._wire = Wire(self._clock)
        self._answers = _Answers()
        self.opened = False
        self.answered = 0
        self.unanswered = False
        self.late = False
        self.plain = False

    def close(self) -> None:
        """Close it; it cannot be used again."""
        self._wire.close()
        self._answers.close()

    def abort(self) -> None:
        """End it under whoever waits for it in another thread, which still has to close it."""
        self._wire.abort()

    @property
    def usable(self) -> bool:
        """Whether it may be asked again: everything was answered, nothing more came, and the server keeps it open."""
        return self.opened and self._answers.idle and self._wire.quiet

    def get(self, requests: Sequence[tuple[str, int]]) -> Iterator[Answer]:
        """Ask for files, all at once, and hand out the answers in the same order.

        Args:
            requests: Pairs of path and the most bytes that its answer may have; the paths are fit for a request line.

        Yields:
            The answers; fewer than requests when the server ended the connection with one of them. Then the others
            were not answered, and another connection may be asked.

        Raises:
            TransportError: There is no proper answer to the next request within the limits; the connection is of no use
                any more.
        """
        self._clock.restart()
        try:
            prefix = self._ready()
            self._answers.expect((most for _, most in requests), plain=self.plain)
            headers = self._headers + (_ACCEPT_PLAIN if self.plain else _ACCEPT)
            self._send("".join(_ask("GET", prefix + path, self._origin.authority, headers) for path, _ in requests))
            for _ in requests:
                answer = self._next()
                self.answered += 1
                yield answer
                if not self._answers.open and self._answers.over:
                    return
                self._clock.restart()
        except OSError as error:
            self.unanswered = self.opened and not self._answers.begun
            self.late = isinstance(error, TimeoutError)
            raise self._late() if self.late else self._broken(error) from None

    def post(self, path: str, body: bytes, media_type: str, most: int) -> Iterator[bytes | Answer]:
        """Post a body, and hand out that of the answer as it comes.

        Args:
            path: Fit for a request line.
            body: What is posted.
            media_type: What that is.
            most: The most bytes that the answer may have.

        Yields:
            The bytes of the answer's body, in parts, where its status is 200; at last the answer, whose `body` is not
            to be looked at.

        Raises:
            TransportError: As `get`.
        """
        self._clock.restart()
        told = 0
        try:
            prefix = self._ready()
            self._answers.expect([most])
            said = f"{_field('content-type', media_type)}content-length: {len(body)}\r\n"
            head = _ask("POST", prefix + path, self._origin.authority, self._headers + _ACCEPT_PLAIN + said)
            self._wire.send(head.encode("ascii") + body)
            while (answer := self._answers.take()) is None:
                self._receive()
                if part := self._answers.so_far[told:]:
                    told += len(part)
                    yield bytes(part)
            self.answered += 1
            if rest := answer.body[told:]:
                yield rest
            yield answer
        except OSError as error:
            self.late = isinstance(error, TimeoutError)
            raise self._late() if self.late else self._broken(error) from None

    # --- opening ---

    def _ready(self) -> str:
        """Open the connection if it is not; what stands before the path in a request."""
        if not self.opened:
            self._open()
            self.opened = True
        return f"http://{self._origin.authority}" if self._proxy is not None and not self._origin.tls else ""

    def _open(self) -> None:
        to = self._proxy or self._origin
        try:
            self._wire.connect(to.host, to.port, self._limits.connect)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._unreached(error, to) from None
        if not self._origin.tls:
            return
        if self._route.proxy is not None:
            target = self._origin.target
            self._answers.expect([_TUNNEL])
            self._send(_ask("CONNECT", target, target, _field("proxy-authorization", self._route.proxy.authorization)))
            status = self._next().status
            if status != 200:
                from carnet_verifier.net.reasons import why_no_tunnel

                raise why_no_tunnel(status, self._route.proxy, target)
            self._answers.take()  # raises when the proxy sent more than its answer: it would pass for the origin's
            self._answers.close()
            self._answers = _Answers()  # what follows is between us and the origin
        try:
            self._wire.start_tls(self._origin.host, self._route)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._unreached(error, self._origin) from None

    def _unreached(self, error: OSError, to: Origin) -> TransportError:
        from carnet_verifier.net.reasons import issuer_of, why_not_reached

        issuer = ""
        if "CERTIFICATE_VERIFY_FAILED" in str(error) and self._proxy is None:
            # A second look, at which nothing is asked: Python shows no certificate that it did not take.
            with suppress(OSError), closing(Wire(Clock(_LOOK, _LOOK, 1))) as look:
                look.connect(to.host, to.port, _LOOK)
                issuer = issuer_of(look.certificate(to.host))
        return why_not_reached(error, to.target, self._route, issuer=issuer, proxied=to is self._proxy)

    def _broken(self, error: OSError) -> TransportError:
        from carnet_verifier.net.reasons import why_broken

        return why_broken(error, self._origin, self._route, passing=self.opened)

    # --- asking and answers ---

    def _send(self, requests: str) -> None:
        self._wire.send(requests.encode("ascii"))

    def _next(self) -> Answer:
        """The next answer."""
        while (answer := self._answers.take()) is None:
            self._receive()
        return answer

    def _receive(self) -> None:
        """Receive more of the next answer; the only place where answers are received."""
        try:
            data = self._wire.receive()
        except OSError:
            if not self._answers.give_up():
                raise
            return
        if data:
            self._answers.feed(data)
        elif self._answers.begun:
            self._answers.end(truncated=self._wire.truncated)
        else:
            self.unanswered = self.opened
            raise TransportError("the server closed the connection", hint=_AGAIN, passing=self.opened)

    def _late(self) -> TransportError:
        return TransportError(
            f"gave up after {self._clock.elapsed:.0f} seconds and {self._clock.received} bytes",
            hint="the server is too slow or holds the answer back; nothing was decided, try again",
        )


class _Answers:
    """Puts answers together from what llhttp finds in the bytes of a connection; it calls the `on_` methods.

    Attributes:
        open: Whether the server keeps the connection for more.
        begun: Whether a part of the next answer is there, if only of an interim one.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._expected: deque[int | None] = deque()
        self._done: deque[tuple[int, bytearray | Spool, int | None, bool, dict[bytes, bytes]]] = deque()
        self._plain = False
        self._failure: TransportError | None = None
        self._overhead = 0
        self._interim = 0
        self.open = True
        self.begun = False
        self._next_message()

    def _next_message(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._status = 0  # until the head is complete
        self._body: bytearray | Spool = Spool() if self._plain else bytearray()

    def close(self) -> None:
        """Let go of what came; nothing more can be read.

        The parser knows this object and this object the parser: both, with a body of many megabytes, would stay until
        a collection of garbage, which comes rarely.
        """
        self._parser = httptools.HttpResponseParser(None)
        self._failure = None  # its traceback leads here
        self._expected.clear()
        self._done.clear()
        self.open = False
        self._next_message()

    def expect(self, most: Iterable[int | None], *, plain: bool = False) -> None:
        """Say how many bytes each of the next answers may have, and whether they wait on the disk."""
        self._expected.extend(most)
        if plain != self._plain:
            self._plain = plain
            self._next_message()

    @property
    def so_far(self) -> bytes | bytearray:
        """What there is of the body of an answer that has begun, as it came; empty where its body is not looked at."""
        zipped = self._headers.get(b"content-encoding", b"identity").lower() != b"identity"
        return b"" if self._status != 200 or zipped or isinstance(self._body, Spool) else self._body

    @property
    def idle(self) -> bool:
        """Whether every answer was taken, nothing came that nobody asked for, and the connection stays open."""
        return self.open and not (self._expected or self._done or self.begun or self._failure)

    @property
    def over(self) -> bool:
        """Whether every answer was taken and the server properly said, or showed, that no more will come."""
        return not (self.open or self._done or self._failure)

    def take(self) -> Answer | None:
        """The next answer, or None when more bytes are needed.

        Raises:
            TransportError: What came is not an answer.
        """
        if self._done:
            status, body, most, zipped, headers = self._done.popleft()
            if status != 200 or most is None:
                return Answer(status, b"", None, headers)
            if isinstance(body, Spool):
                return Answer(status, b"", body)
            return Answer(status, unzip(body, most) if zipped else bytes(body))
        if self._failure is not None:
            raise self._failure
        return None

    def feed(self, data: bytes) -> None:
        """Read what was received."""
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(TransportError("the server switched to another protocol, unasked"))
        except httptools.HttpParserError as error:
            cause = error.__context__
            # The parser catches everything, Ctrl-C too if it comes while it calls.
            if isinstance(cause, MemoryError) or not isinstance(cause, Exception | None):
                raise cause from None
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

    def end(self, *, truncated: bool) -> None:
        """Say that the connection ended after a part of an answer; `truncated` when anybody may have cut it."""
        # Without a length, the end of the connection is the end of the answer.
        whole = not {b"content-length", b"transfer-encoding"} & self._headers.keys()
        if self._status == 200 and whole and not truncated:
            self._complete()
        else:
            told = "the server closed the connection half-way"
            self._fail(TransportError(told, hint=_AGAIN, passing=True))
        self.open = False

    def _fail(self, error: TransportError) -> None:
        # What follows an answer that is the last one is no answer, and no failure of one.
        if self.open and not self.give_up():
            self._failure = error

    def _complete(self) -> None:
        most = self._expected.popleft()
        zipped = self._status == 200 and self._headers.get(b"content-encoding", b"identity").lower() != b"identity"
        self._done.append((self._status, self._body, most, zipped, self._headers))
        self._interim = 0
        self.begun = False
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
        if most is _TUNNEL:
            self._complete()
        elif status == 200:
            self._check_head(most)

    def _check_head(self, most: int) -> None:
        coding = self._headers.get(b"transfer-encoding", b"chunked").lower()
        if coding != b"chunked":
            raise TransportError(f"the server sent the transfer-encoding {coding[:40].decode('latin-1')!a}, unasked")
        encoding = self._headers.get(b"content-encoding", b"identity").lower()
        if encoding not in ((b"identity",) if self._plain else (b"identity", b"gzip", b"x-gzip")):
            raise TransportError(f"the server sent the encoding {encoding[:40].decode('latin-1')!a}, unasked")
        most = most_encoded(most, encoding)
        length = int(self._headers.get(b"content-length", b"0"))  # llhttp has seen that it is one
        if length > most:
            raise TransportError(f"the answer has {length} bytes, and at most {most} were asked for")

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        if not self._status:
            raise TransportError("the proxy sent more than the tunnel that was asked for")
        most = self._expected[0]
        if self._status != 200 or most is None:
            most = _DRAIN
        else:
            most = most_encoded(most, self._headers.get(b"content-encoding", b"identity"))
        if len(self._body) + len(data) > most:
            raise TransportError(f"the answer is longer than the {most} bytes that were asked for")
        if isinstance(self._body, Spool):
            self._body.write(data)
        else:
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


def _headers(origin: Origin, route: Route) -> str:
    """What every request says: who one is to the server, and where a proxy reads it, to that."""
    proxy, identity = route.proxy, route.identity
    told = _field("authorization", "" if identity is None else identity.authorization)
    return told + ("" if origin.tls or proxy is None else _field("proxy-authorization", proxy.authorization))


def _field(name: str, value: str) -> str:
    return f"{name}: {value}\r\n" if value else ""
