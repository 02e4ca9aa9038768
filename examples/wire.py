"""The network between a build and its mirror, in the hands of whoever owns it.

A plain HTTP relay on loopback. It passes everything on unchanged until a `Tamper` is laid over a path.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from examples.stage import DemoError

Tamper = Callable[[str, int, bytes], tuple[int, bytes]]
"""Takes a path, and the status and body that the mirror answered; gives the status and body that the client sees."""

_PASSED_ON = ("content-type", "etag", "cache-control", "last-modified")
_ASKED = ("accept", "if-none-match", "user-agent")


@dataclass
class Wire:
    """A relay to a mirror.

    Attributes:
        url: Where the relay listens; clients take it for the mirror.
        requests: Every path that was asked for, in order.
        tamper: What is done to the answers; None passes them on.
        tampered: How many answers it changed.
    """

    mirror: str
    url: str = ""
    requests: list[str] = field(default_factory=list)
    tamper: Tamper | None = None
    tampered: int = 0

    @contextmanager
    def tampering(self, tamper: Tamper) -> Iterator[None]:
        """Change the answers for as long as the block runs.

        Raises:
            DemoError: Nothing was changed: an attack that did not happen proves nothing.
        """
        self.tamper, self.tampered = tamper, 0
        try:
            yield
        finally:
            self.tamper = None
            if self.tampered == 0:
                raise DemoError("the network changed nothing")

    def fetch(
        self, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask the mirror itself, or hand it a body."""
        target = urlsplit(self.mirror)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data
        finally:
            connection.close()


@contextmanager
def wire(mirror: str) -> Iterator[Wire]:
    """Relay to the mirror at the URL `mirror` until the block ends."""
    relay = Wire(mirror)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer in two parts would wait 40 ms for an acknowledgement

        def do_GET(self) -> None:
            relay.requests.append(self.path)
            asked = {name: value for name in _ASKED if (value := self.headers.get(name))}
            status, headers, body = relay.fetch(self.path, asked)
            tampered = status, body
            if relay.tamper is not None:
                tampered = relay.tamper(self.path, status, body)
                relay.tampered += tampered != (status, body)
            self.send_response(tampered[0])
            for name in _PASSED_ON:
                if name in headers and (name != "etag" or tampered == (status, body)):
                    self.send_header(name, headers[name])
            if tampered[0] != 304:
                self.send_header("content-length", str(len(tampered[1])))
            self.end_headers()
            if tampered[0] != 304:
                self.wfile.write(tampered[1])

        def do_POST(self) -> None:
            relay.requests.append(self.path)
            given = {name: value for name in ("content-type", "accept") if (value := self.headers.get(name))}
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            status, headers, answer = relay.fetch(self.path, given, body)
            self.send_response(status)
            self.send_header("content-type", headers.get("content-type", "application/json"))
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        relay.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            server.shutdown()
            thread.join()
