"""A TCP connection, with TLS or without, that never waits longer than its clock allows.

TLS is computed in memory (`ssl.MemoryBIO`), and this module moves the bytes. `SSLSocket` goes on reading inside one
call while records come that hold no data, such as requests to say hello again, or tickets for later sessions: as long
as they come faster than it reads them, it looks at no timeout, and at no Ctrl-C. Here 64 kB at most are read at a time,
under the clock.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from carnet.errors import TransportError

if TYPE_CHECKING:
    import ssl

    from carnet_verifier.net.route import Identity, Route

T = TypeVar("T")

_READ = 65_536


class Clock:
    """How long one answer may still take.

    Args:
        deadline: Seconds for all of it.
        grace: Seconds before the least rate counts.
        least_rate: Bytes a second, on average after `grace` seconds.

    Attributes:
        received: Bytes that came since the clock was started.
    """

    def __init__(self, deadline: float, grace: float, least_rate: int) -> None:
        self._deadline = deadline
        self._grace = grace
        self._least_rate = least_rate
        self.restart()

    def restart(self) -> None:
        """Start it for the next answer."""
        self.received = 0
        self._start = time.monotonic()

    def count(self, received: int) -> None:
        """Say that so many bytes came."""
        self.received += received

    @property
    def elapsed(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._start

    def left(self) -> float:
        """Seconds until the deadline, or until the least rate would be missed with what has come so far.

        Raises:
            TimeoutError: There are none.
        """
        allowed = min(self._deadline, self._grace + self.received / self._least_rate)
        left = self._start + allowed - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Wire:
    """A connection: opened once, with TLS if wanted, and closed.

    Args:
        clock: Bounds every wait. Only what `receive` returns counts for the least rate, never what TLS needs for
            itself.

    Attributes:
        truncated: Whether the connection ended without the end that TLS has for it: somebody else may have cut it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._socket: socket.socket | None = None
        self._tls: _Tls | None = None
        self.truncated = False

    def connect(self, host: str, port: int, within: float) -> None:
        """Connect to the first of the host's addresses that answers.

        Args:
            host: A name or an address.
            port: The port.
            within: Seconds for all addresses together. Each gets its share of what is left, so that one that does not
                answer leaves some to the others.

        Raises:
            OSError: None can be reached, or the time is over (TimeoutError).
        """
        # As bytes: a text would be encoded for IDNA, whose tables take longer to load than a file to fetch.
        found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
        end = time.monotonic() + within
        for others, (family, kind, protocol, _, address) in zip(range(len(found) - 1, -1, -1), found, strict=True):
            try:
                self._socket = socket.socket(family, kind, protocol)
                share = (end - time.monotonic()) / (others + 1)
                self._socket.settimeout(min(self._clock.left(), max(share, 0.001)))
                self._socket.connect(address)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return
            except OSError:
                self.close()
                if not others:
                    raise
        raise OSError("the name has no address")

    def start_tls(self, host: str, route: Route) -> None:
        """Speak TLS from now on, with whom a trusted authority knows as `host`.

        Args:
            host: A name or an address.
            route: The authorities to trust, and the client certificate to show.

        Raises:
            ConfigError: A file of the route cannot be used.
            OSError: They do not agree, or the time is over (TimeoutError).
        """
        tls = _Tls(host, route)
        self._through(tls, tls.engine.do_handshake)
        self._tls = tls

    def certificate(self, host: str) -> bytes:
        """The certificate that a server shows, in DER, trusted or not: to say what is wrong with it, for nothing else.

        Raises:
            OSError: It shows none, or the time is over (TimeoutError).
        """
        tls = _Tls(host)
        self._through(tls, tls.engine.do_handshake)
        return tls.engine.getpeercert(binary_form=True) or b""

    def send(self, data: bytes) -> None:
        """Send all of it; whether it arrived is known by what is received next.

        Raises:
            OSError: The time is over (TimeoutError), or TLS does not go on.
        """
        if (tls := self._tls) is None:
            self._write(data)
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._through(tls, lambda: tls.engine.write(rest)) :]  # noqa: B023  -- called at once

    def receive(self) -> bytes:
        """Wait for some bytes; none are the end of the connection.

        Raises:
            OSError: The connection is broken, or the time is over (TimeoutError).
        """
        data = self._read() if self._tls is None else self._receive_tls(self._tls)
        self._clock.count(len(data))
        return data

    @property
    def quiet(self) -> bool:
        """Whether the connection is open and nothing came that was not received; never waits."""
        if self._socket is None:
            return False
        if self._tls is None:
            return not _readable(self._socket)
        return self._quiet_tls(self._socket, self._tls)

    def abort(self) -> None:
        """End the connection under whoever waits for it in another thread, which still has to close it."""
        if (connected := self._socket) is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it, if it is open."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = self._tls = None

    # --- bytes of the socket; nothing else waits ---

    def _read(self) -> bytes:
        connected = self._connected()
        connected.settimeout(self._clock.left())
        return connected.recv(_READ)

    def _write(self, data: bytes) -> None:
        connected = self._connected()
        connected.settimeout(self._clock.left())
        # A server that refuses says why, and ends the connection: then writing fails, and the reason waits to be read.
        with contextlib.suppress(ConnectionError):
            connected.sendall(data)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise TransportError("the connection is closed")
        return self._socket

    # --- TLS ---

    def _through(self, tls: _Tls, step: Callable[[], T]) -> T:
        """Do one step of TLS, and move the bytes that it needs moved."""
        import ssl

        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush(tls)
                if data := self._read():
                    tls.incoming.write(data)
                else:
                    tls.incoming.write_eof()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush(tls)  # why, for the server
                raise
            else:
                self._flush(tls)
                return done

    def _flush(self, tls: _Tls) -> None:
        if tls.outgoing.pending:
            self._write(tls.outgoing.read())

    def _receive_tls(self, tls: _Tls) -> bytes:
        import ssl

        try:
            return self._through(tls, lambda: tls.engine.read(_READ))
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            # Python up to 3.11.3 has no class of its own for it.
            if not isinstance(error, ssl.SSLEOFError) and error.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            self.truncated = True
            return b""

    def _quiet_tls(self, connected: socket.socket, tls: _Tls) -> bool:
        import ssl

        try:
            # Once more after a read, for tickets that came late; who sends without end is not quiet.
            for _ in range(2):
                try:
                    tls.engine.read(1)
                    return False  # bytes that nobody asked for, or the end
                except ssl.SSLWantReadError:
                    pass
                if not _readable(connected):
                    return True
                connected.settimeout(0)
                data = connected.recv(_READ)
                if not data:
                    return False
                tls.incoming.write(data)
        except OSError:
            pass
        return False


class _Tls:
    """TLS in memory: what comes from the socket is put in, what has to go there is taken out.

    Args:
        host: Whose certificate counts.
        route: By whose word, and who one is oneself; without one, any certificate counts.
    """

    def __init__(self, host: str, route: Route | None = None) -> None:
        import ssl  # takes longer to load than a file to fetch without it

        context = tls_context(route)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        # As bytes for the same reason as in `connect`.
        self.engine: ssl.SSLObject = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=host.encode("ascii")
        )


def tls_context(route: Route | None) -> ssl.SSLContext:
    """A client's side of TLS.

    Args:
        route: The authorities to trust, and the client certificate to show; without one, any certificate counts.

    Raises:
        ConfigError: A file of the route cannot be used.
    """
    import ssl

    # Not the default context of the standard library: it writes session keys where the environment says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python up to 3.11.3, which Debian 12 has, lets OpenSSL 3 take an end that anybody can make for the peer's own.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if route is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _load(context, route)
    return context


def _load(context: ssl.SSLContext, route: Route) -> None:
    """Let a context trust the route's authorities, and show its client certificate."""
    if route.ca_file is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(route.ca_file)
        except OSError as error:
            from carnet_verifier.net.reasons import unusable_authorities

            raise unusable_authorities(error, route) from None
    if route.identity is not None:
        _show(context, route.identity)


def _show(context: ssl.SSLContext, identity: Identity) -> None:
    """Let a context show somebody's client certificate, if there is one.

    Raises:
        ConfigError: It cannot be used.
    """
    if identity.certificate is None:
        return
    try:
        # With no passphrase rather than a prompt: an encrypted key is an error, and nobody waits for an answer.
        context.load_cert_chain(identity.certificate, identity.private_key, password=b"")
    except (OSError, ValueError) as error:
        from carnet_verifier.net.reasons import unusable_certificate

        raise unusable_certificate(error, identity) from None


def require_usable(identity: Identity) -> None:
    """Demand that a client certificate, if there is one, can be shown to a server.

    Raises:
        ConfigError: It cannot be used.
    """
    import ssl  # as everywhere here: 5 ms that only TLS needs

    _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), identity)


def _readable(connected: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))
