"""What a mirror's answer to a submission means for whoever handed it in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from carnet.errors import CarnetError, TransportError, VerificationError
from carnet_mirror.web.client import submit


class Mirror(ThreadingHTTPServer):
    """Answers what a test put into it, and keeps what was sent."""

    answer: tuple[int, bytes] = (200, b"")
    sent: tuple[str, bytes, str | None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def will_say(self, status: int, answer: Any) -> None:
        self.answer = (status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.sent = (self.path, body, self.headers["content-type"])
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.send_header("location", "/elsewhere")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_was_taken_is_answered(mirror: Mirror) -> None:
    mirror.will_say(200, {"ok": True, "detail": "owner.demo is version 1", "receipt": {"takeover": False}})
    assert submit(mirror.url + "/", b"body")["detail"] == "owner.demo is version 1"
    assert mirror.sent is not None
    assert mirror.sent[:2] == ("/api/v1/carnet/submissions", b"body")


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_a_refusal_is_the_mirrors_and_final(mirror: Mirror, status: int) -> None:
    mirror.will_say(status, {"errors": [{"detail": "1 of its 3 keys", "hint": "sign once more"}]})
    with pytest.raises(VerificationError, match="did not take it: 1 of its 3 keys") as refused:
        submit(mirror.url, b"body")
    assert refused.value.hint == "sign once more"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (503, {"errors": [{"detail": "another process is writing", "hint": 5}]}),
        (500, b"<html>"),
        (302, b""),
        (200, b"{}"),
        (200, {"ok": "yes"}),
        (200, b"[" * 2000),
        (200, b" " * (1024 * 1024 + 1)),
    ],
)
def test_anything_else_decides_nothing_and_may_be_tried_again(mirror: Mirror, status: int, answer: Any) -> None:
    mirror.will_say(status, answer)
    with pytest.raises(TransportError, match="did not take it") as failed:
        submit(mirror.url, b"body")
    assert "submitting again is safe" in failed.value.hint


def test_a_mirror_that_is_away_is_told_in_one_line() -> None:
    with pytest.raises(CarnetError, match="cannot be reached") as failed:
        submit("http://127.0.0.1:1", b"body")
    assert "\n" not in str(failed.value)
