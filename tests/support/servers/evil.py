"""A server on a real socket that answers with whatever bytes a test hands it, at whatever pace."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Answer = Callable[[socket.socket, bytes], None]
"""Gets the connection and the request's head; what it sends is the answer. Raising OSError ends the connection."""


def response(body: bytes = b"", *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def once(data: bytes) -> Answer:
    return lambda connection, _: connection.sendall(data)


@dataclass
class EvilServer:
    """`url` while it runs; `heads` are the requests, `connections` how many were opened."""

    url: str
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0


@contextlib.contextmanager
def serving(answer: Answer, *, close_after: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[EvilServer]:
    """Serve on loopback until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = EvilServer(f"http://127.0.0.1:{listener.getsockname()[1]}/repo/")
    open_now: list[socket.socket] = []

    def talk(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), tls.wrap_socket(plain, server_side=True) if tls else plain as connection:
            pending = b""
            while True:
                while b"\r\n\r\n" not in pending:
                    data = connection.recv(65_536)
                    if not data:
                        return
                    pending += data
                head, _, pending = pending.partition(b"\r\n\r\n")
                server.heads.append(head)
                answer(connection, head)
                if close_after:
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                server.connections += 1
                open_now.append(connection)
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
