"""A forward proxy on a real socket: CONNECT and whole URLs, with or without a name and a password."""

from __future__ import annotations

import contextlib
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit


@dataclass
class ForwardProxy:
    """A proxy, and what it was asked.

    Attributes:
        port: Where it listens, on loopback.
        login: `USER:PASSWORD` that it asks for; empty: it asks for nothing.
        known: Names that only the proxy knows, and where they lead: `host:port` to an address.
        heads: The requests that came, from their first line on.
    """

    port: int
    login: str = ""
    known: dict[str, tuple[str, int]] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """As a person who may use it writes it."""
        return f"http://{quote(self.login, safe=':')}@{self.place}" if self.login else f"http://{self.place}"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        """The method and the target of each request."""
        return [head.partition("\r\n")[0].rpartition(" ")[0] for head in self.heads]

    def _lets_in(self, head: str) -> bool:
        wanted = f"\r\nproxy-authorization: basic {b64encode(self.login.encode()).decode()}\r\n".lower()
        return not self.login or wanted in f"{head}\r\n".lower()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            connection.settimeout(20)
            pending = b""
            while True:
                while b"\r\n\r\n" not in pending:
                    data = connection.recv(65_536)
                    if not data:
                        return
                    pending += data
                raw, _, pending = pending.partition(b"\r\n\r\n")
                head = raw.decode("latin-1")
                self.heads.append(head)
                method, target, _ = head.partition("\r\n")[0].split(" ")
                if not self._lets_in(head):
                    connection.sendall(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=x\r\n"
                        b"content-length: 0\r\nconnection: close\r\n\r\n"
                    )
                    return
                if method == "CONNECT":
                    with self._reach(target) as onward:
                        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        _join(connection, onward)
                    return
                pending = self._pass_on(connection, head, target, pending)

    def _pass_on(self, connection: socket.socket, head: str, target: str, pending: bytes) -> bytes:
        """One request with a whole URL; what it says to the proxy alone stays here."""
        parts = urlsplit(target)
        lines = [line for line in head.split("\r\n")[1:] if not line.lower().startswith("proxy-")]
        lines = [line for line in lines if not line.lower().startswith("connection:")]
        length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        first = f"{head.split(' ', maxsplit=1)[0]} {path} HTTP/1.1"
        with self._reach(parts.netloc if ":" in parts.netloc else f"{parts.netloc}:80") as onward:
            onward.sendall("\r\n".join([first, *lines, "connection: close", "", ""]).encode("latin-1"))
            while len(pending) < length:
                pending += connection.recv(65_536)
            onward.sendall(pending[:length])
            while data := onward.recv(65_536):
                connection.sendall(data)
        return pending[length:]

    def _reach(self, target: str) -> socket.socket:
        host, _, port = target.rpartition(":")
        return socket.create_connection(self.known.get(target, (host.strip("[]"), int(port))), timeout=20)


def _join(one: socket.socket, other: socket.socket) -> None:
    there = threading.Thread(target=_copy, args=(one, other), daemon=True)
    there.start()
    _copy(other, one)
    there.join()


def _copy(from_one: socket.socket, to_other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := from_one.recv(65_536):
            to_other.sendall(data)
        to_other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def forward_proxy(login: str = "") -> Iterator[ForwardProxy]:
    """Run one until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = ForwardProxy(listener.getsockname()[1], login)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=proxy._talk, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield proxy
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
