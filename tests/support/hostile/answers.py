"""HTTP answers that cost as much as they can: headers, chunks of one byte, interim answers, compressed bodies."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
from collections.abc import Callable

from tests.support.hostile.measure import Hostile

from carnet.errors import TransportError
from carnet_verifier.net.http1 import Connection, Limits, Origin

_MOST = 16_000_000


def _fetch(data: bytes) -> object:
    """What our client makes of this as an answer, over a real socket; the sender is a thread that sends all at once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(data)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    connection = Connection(Origin(False, "127.0.0.1", listener.getsockname()[1]), Limits())
    try:
        found: object = f"{sum(len(answer.body) for answer in connection.get([('/x', _MOST)]))} bytes"
    except TransportError as error:
        found = f"{type(error).__name__}: {error}"
    connection.close()
    listener.close()
    thread.join()
    return found


def _chunks(piece: bytes) -> Callable[[int], bytes]:
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return lambda size: head + chunk * (size // len(chunk)) + b"0\r\n\r\n"


def _zipped(size: int) -> bytes:
    body = gzip.compress(bytes(min(size * 900, 900_000_000)), 9)
    return b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body


INPUTS = (
    Hostile("HTTP: chunks of one byte", _chunks(b"x"), _fetch),
    Hostile("HTTP: chunks of a hundred bytes", _chunks(b"x" * 100), _fetch),
    Hostile("HTTP: headers", lambda size: b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (size // 6), _fetch),
    Hostile("HTTP: interim answers", lambda size: b"HTTP/1.1 103 \r\n\r\n" * (size // 17), _fetch),
    Hostile("HTTP: gzip", _zipped, _fetch),
)
