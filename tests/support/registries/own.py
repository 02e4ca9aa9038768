"""A registry of the test's own on loopback: sparse index, downloads, and cargo's publish request, kept as it came."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import CRATES_IO, IndexFile, IndexLine, line_from_crate, line_from_publish
from carnet.cargo.names import CrateName
from carnet.tuf.paths import index_prefix


@dataclass
class Registry:
    """What the registry holds.

    Attributes:
        url: The index URL, as cargo's configuration wants it.
        lines: Index lines by crate.
        tarballs: By `<name>/<version>`.
        published: The JSON and the tarball of every publish request.
    """

    url: str
    lines: dict[str, list[IndexLine]] = field(default_factory=dict)
    tarballs: dict[str, bytes] = field(default_factory=dict)
    published: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)

    def add(self, crate: bytes, *, registry: str = CRATES_IO) -> IndexLine:
        """Hold a crate, with the line that its manifest gives."""
        line = line_from_crate(read_crate(crate), pubtime="2026-01-02T03:04:05Z", registry=registry)
        self._hold(line, crate)
        return line

    def publish(self, body: bytes) -> None:
        """Take what `cargo publish` sends."""
        size = int.from_bytes(body[:4], "little")
        request, crate = json.loads(body[4 : 4 + size]), body[8 + size :]
        self.published.append((request, crate))
        self._hold(line_from_publish(request, hashlib.sha256(crate).hexdigest(), pubtime=None), crate)

    def _hold(self, line: IndexLine, crate: bytes) -> None:
        self.lines.setdefault(line.id.name.text.lower(), []).append(line)
        self.tarballs[f"{line.id.name}/{line.id.version}"] = crate

    def answer(self, path: str) -> bytes | None:
        """The body of a GET, or None."""
        base = self.url.removeprefix("sparse+").removesuffix("index/")
        if path == "/index/config.json":
            return json.dumps({"dl": f"{base}dl/{{crate}}/{{version}}", "api": base.removesuffix("/")}).encode()
        if path.startswith("/dl/"):
            return self.tarballs.get(path.removeprefix("/dl/"))
        name = path.rpartition("/")[2]
        if name in self.lines and path == f"/index/{index_prefix(CrateName(name))}/{name}":
            return IndexFile(CrateName(name), self.lines[name]).to_bytes()
        return None


@contextmanager
def running_registry() -> Iterator[Registry]:
    """Serve an empty registry until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer in two parts would wait 40 ms for an acknowledgement

        def do_GET(self) -> None:
            self._reply(registry.answer(self.path))

        def do_PUT(self) -> None:
            registry.publish(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(b'{"warnings":{"invalid_categories":[],"invalid_badges":[],"other":[]}}')

        def _reply(self, body: bytes | None) -> None:
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(f"sparse+http://127.0.0.1:{server.server_port}/index/")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def cargo(home: Path, folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run cargo with a home of its own and nothing of this machine's configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(("CARGO_", "HTTP"))}
    done = subprocess.run(
        ["cargo", *arguments],
        cwd=folder,
        env=kept | {"CARGO_HOME": str(home), "NO_PROXY": "127.0.0.1", "CARGO_TERM_COLOR": "never"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if check and done.returncode:
        raise AssertionError(f"cargo {' '.join(arguments)} failed:\n{done.stderr}")
    return done
