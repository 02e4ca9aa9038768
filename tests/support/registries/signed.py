"""A signed repository that answers on loopback from this process: quick to make, and easy to tamper with.

Unlike a real mirror (`tests.support.registries.mirror_process`) it serves whatever a test puts in front of its files.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.support.worlds.ceremony import Ceremony, DirectOnlineSigner, make_ceremony
from tests.support.worlds.publication import MemoryPublication

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, line_from_crate
from carnet.cargo.names import CrateName
from carnet.tuf import paths
from carnet_signer.metadata.publish import Change, publish

PUBTIME = "2026-01-01T00:00:00Z"


@functools.cache
def _first_publish(name: str, bit_length: int) -> tuple[Ceremony, dict[str, bytes], DirectOnlineSigner]:
    before = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    ceremony = make_ceremony(bit_length=bit_length, now=before, name=name)
    publication, signer = MemoryPublication(), ceremony.signer()
    publish(publication, signer, ceremony.change, now=ceremony.now)
    return ceremony, publication.files, signer


class SignedRegistry:
    """A repository with the real keys, roles and files of the trust model.

    Args:
        name: What its roots are called.
        bit_length: Its index has 2 to the power of this many bins.

    Attributes:
        url: Its base URL, while it is served.
        served: What is answered instead of a file: bytes, or a function of the true bytes; None answers 404.
        faults: What answers in the server's place when a path is asked for, on the connection itself.
        requests: The paths that were asked for, in order.
    """

    def __init__(self, name: str = "", bit_length: int = 2) -> None:
        self.ceremony, files, signer = _first_publish(name, bit_length)
        self.publication = MemoryPublication(dict(files))
        self.online = DirectOnlineSigner(signer.key)
        self.online.versions, self.online.named = dict(signer.versions), signer.named
        self.url = ""
        self.served: dict[str, bytes | Callable[[bytes], bytes] | None] = {}
        self.faults: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.requests: list[str] = []
        self.index: dict[str, IndexFile] = {}

    @property
    def root(self) -> bytes:
        """The root that a client pins."""
        return self.ceremony.root

    def add(self, *tarballs: bytes, change: Callable[[IndexLine], IndexLine] = lambda line: line) -> None:
        """Publish crates, with the index lines that their manifests give, or what `change` makes of them."""
        for data in tarballs:
            crate = read_crate(data)
            line = change(line_from_crate(crate, pubtime=PUBTIME))
            path = paths.index_path(crate.id.name)
            old = self.index.get(path)
            kept = [one for one in old.lines if one.id != crate.id] if old else []
            self.index[path] = IndexFile(crate.id.name, (*kept, line))
            self.publication.files[unquote(paths.download_path(crate.id))] = data
        self.publish()

    def yank(self, name: str, version: str) -> None:
        """Take one version back."""
        path = paths.index_path(CrateName(name))
        lines = tuple(
            line.with_(yanked=True) if str(line.id.version) == version else line for line in self.index[path].lines
        )
        self.index[path] = IndexFile(self.index[path].name, lines)
        self.publish()

    def publish(self) -> None:
        files = {path: index.to_bytes() for path, index in self.index.items()}
        now = datetime.now(UTC).replace(microsecond=0)
        publish(self.publication, self.online, Change(index_files=files), now=now)

    def answer(self, path: str) -> bytes | None:
        true = self.publication.read(path)
        if path not in self.served:
            return true
        instead = self.served[path]
        return instead(true or b"") if callable(instead) else instead

    @contextmanager
    def serving(self) -> Iterator[SignedRegistry]:
        """Answer HTTP requests while the block runs."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # an answer in two parts would wait 40 ms for an acknowledgement

            def do_GET(self) -> None:
                path = unquote(self.path).removeprefix("/")
                registry.requests.append(path)
                if path in registry.faults:
                    registry.faults[path](self)
                    return
                body = registry.answer(path)
                self.send_response(404 if body is None else 200)
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128  # more connections at once would wait for a second

        server = Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
