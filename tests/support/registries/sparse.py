"""A tiny registry in this process: a sparse index and downloads over plain HTTP, honest or not."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.lockfile import CRATES_IO
from carnet.cargo.names import CrateName
from carnet.tuf.paths import index_prefix

Script = Callable[[socket.socket], None]
"""Sends whatever it likes; then the connection ends."""


def says(status: str, body: bytes = b"", *headers: str) -> Script:
    """A whole answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers])
    return lambda connection: connection.sendall(head.encode() + b"\r\n\r\n" + body)


def cut(body: bytes, *, after: int) -> Script:
    """An answer that ends too early."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    return lambda connection: connection.sendall(head + body[:after])


def slowly(body: bytes, seconds: float) -> Script:
    """An answer that comes a byte at a time, its head as well."""

    def send(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body:
            connection.sendall(bytes([byte]))
            time.sleep(seconds)

    return send


def reset(connection: socket.socket) -> None:
    """No answer, and the hardest end that a connection has."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@dataclass
class SparseRegistry:
    """What it serves; change it while it runs.

    Attributes:
        url: Its base URL, without a slash at its end.
        lines: Index lines by crate, as objects.
        tarballs: By `name-version`.
        refused: `name-version` to the status that a download gets instead.
        requests: The paths that were asked for.
        scripts: By path, what is sent instead: one for each request, the last one for all that follow.
        token: What whoever asks has to show; nothing when empty.
    """

    url: str = ""
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tarballs: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    token: str = ""

    def script(self, path: str) -> Script | None:
        """What is sent for this request instead of an answer, if something is."""
        left = self.scripts.get(path, [])
        return left.pop(0) if len(left) > 1 else left[0] if left else None

    def index_path(self, name: str) -> str:
        """Where a crate's index file is."""
        return f"/index/{index_prefix(CrateName(name))}/{name.lower()}"

    @property
    def index_url(self) -> str:
        return f"sparse+{self.url}/index/"

    def add(self, tarball: bytes, *, pubtime: str | None = "2020-02-02T02:02:02Z", **changes: Any) -> None:
        """Publish a crate; `changes` overwrite fields of its index line."""
        crate = read_crate(tarball)
        line = json.loads(line_from_crate(crate, pubtime=pubtime).to_bytes()) | changes
        others = [one for one in self.lines.get(str(crate.id.name), []) if one["vers"] != line["vers"]]
        self.lines[str(crate.id.name)] = [*others, line]
        self.tarballs[crate.id.stem] = tarball

    def lock(self, *crates: str, checksums: bool = True) -> bytes:
        """A `Cargo.lock` that pins `name-version`s."""
        text = ["version = 4\n"]
        for stem in crates:
            crate = read_crate(self.tarballs[stem])
            text.append(f'[[package]]\nname = "{crate.id.name}"\nversion = "{crate.id.version}"\n')
            text.append(f'source = "{CRATES_IO}"\n' + (f'checksum = "{crate.sha256}"\n' if checksums else ""))
        return "".join(text).encode()

    def cargo_home(self, path: Path) -> Path:
        """A user's cargo home whose configuration sends cargo here."""
        path.mkdir(parents=True)
        (path / "config.toml").write_text(
            f'[source.crates-io]\nreplace-with = "here"\n[source.here]\nregistry = "{self.index_url}"\n'
        )
        return path

    def answer(self, path: str) -> tuple[int, bytes]:
        self.requests.append(path)
        if path == "/index/config.json":
            demands = {"auth-required": True} if self.token else {}
            return 200, json.dumps({"dl": f"{self.url}/dl/{{crate}}-{{version}}"} | demands).encode()
        if path.startswith("/dl/"):
            stem = path.removeprefix("/dl/").replace("%2B", "+")
            status = self.refused.get(stem, 200 if stem in self.tarballs else 404)
            return status, self.tarballs[stem] if status == 200 else b"no such crate here\n"
        for name, lines in self.lines.items():
            if path == self.index_path(name):
                return 200, b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return 404, b""


@contextlib.contextmanager
def sparse_registry() -> Iterator[SparseRegistry]:
    """Serve an empty registry on a port of its own."""
    registry = SparseRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer in two parts would wait 40 ms for an acknowledgement

        def do_GET(self) -> None:
            if (script := registry.script(self.path)) is not None:
                registry.requests.append(self.path)
                self.close_connection = True
                with contextlib.suppress(OSError):
                    script(self.connection)
                return
            status, body = registry.answer(self.path)
            if registry.token and self.headers.get("authorization") != registry.token:
                status, body = 401, b"who are you?\n"
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
