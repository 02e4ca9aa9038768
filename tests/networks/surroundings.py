"""A network as companies have it: a mirror behind TLS of a private authority, which only a forward proxy reaches."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.cli.test_wrong_mirrors import authority, certificate, copy

HOST = "mirror.corp.example"
"""A name that nobody knows but the proxy."""


@dataclass
class PrivateAuthority:
    """Certificates of an authority that no system knows.

    Attributes:
        folder: Where its files are.
        file: Its own certificate.
    """

    folder: Path
    file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._above = authority("Example Corp Root", self.folder)
        self.file = self.folder / "authority.pem"

    def certify(self, name: str) -> Path:
        """A certificate and its key, in one file."""
        private = ec.generate_private_key(ec.SECP256R1())
        file = self.folder / f"{name}.pem"
        file.write_bytes(
            certificate(name, private, self._above).public_bytes(serialization.Encoding.PEM)
            + private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return file


@dataclass
class Front:
    """TLS in front of a server, which may ask who one is.

    Attributes:
        port: Where it listens, on loopback.
        host: What its certificate is for.
        wants: The `authorization` that it asks for; empty: none.
        told: The `authorization` of each request that came, empty where there was none.
    """

    port: int
    host: str
    wants: str = ""
    told: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def target(self) -> str:
        return f"{self.host}:{self.port}"


@contextlib.contextmanager
def tls_front(
    back: str, authority: PrivateAuthority, host: str = HOST, *, clients: bool = False, wants: str = ""
) -> Iterator[Front]:
    """Speak TLS as `host` in front of a server, until the block ends.

    Args:
        back: The server's base URL.
        authority: Whose certificate is shown.
        host: What it is for.
        clients: Whether whoever connects has to show one of the same authority.
        wants: The `authorization` that a request needs; empty: none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certify(host))
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    behind = ("127.0.0.1", int(back.rstrip("/").rsplit(":", 1)[1]))

    def talk(raw: socket.socket) -> None:
        with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as connection:
            connection.settimeout(20)
            first = connection.recv(65_536)
            heads = [head for head in first.decode("latin-1").split("\r\n\r\n") if head]
            said = [_header(head, "authorization") for head in heads]
            front.told += said
            if wants and any(one != wants for one in said):
                connection.sendall(
                    b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" * len(said)
                )
                return
            with socket.create_connection(behind) as onward:
                onward.sendall(first)
                there = threading.Thread(target=copy, args=(connection, onward), daemon=True)
                there.start()
                copy(onward, connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        front = Front(listener.getsockname()[1], host, wants)
        threading.Thread(target=accept, daemon=True).start()
        yield front
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _header(head: str, name: str) -> str:
    found = (line.partition(": ") for line in head.split("\r\n"))
    return next((value for key, _, value in found if key.lower() == name), "")
