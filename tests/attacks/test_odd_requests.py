"""Whoever speaks HTTP in ways that cost a server much: honest people are answered beside sixteen of them, and beside
sixteen hundred.
"""

from __future__ import annotations

import http.client
import resource
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.hostile.documents import role_of_keys
from tests.support.registries.live import LiveRegistry, live_registry
from tests.support.worlds.claims import NAME

from carnet.claims.submission import PROPOSALS_PATH, URL_PATH, Submission
from carnet.tuf.tree import roles_of

HOST = b"host: localhost\r\n"
POST = f"POST /{URL_PATH} HTTP/1.1\r\n".encode() + HOST
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
GET = b"GET /metadata/timestamp.json HTTP/1.1\r\n" + HOST

KINDS: dict[str, bytes] = {
    "requests in a pipeline, whose answers nobody reads": (GET + b"\r\n") * 500,
    "submissions in a pipeline": (POST + b"content-length: 1\r\n\r\nx") * 100,
    "chunks of one byte": POST + CHUNKED + b"1\r\nx\r\n" * 10_000,
    "chunks of one byte, for a file": GET + CHUNKED + b"1\r\nx\r\n" * 10_000,
    "a chunk's extension without end": POST + CHUNKED + b"1;" + b"a" * 100_000,
    "a chunk's length without end": GET + CHUNKED + b"0" * 100_000,
    "very many header lines": GET + b"a: b\r\n" * 10_000,
    "one header without end": GET + b"a: " + b"b" * 200_000,
    "a body that stops in the middle": POST + b"content-length: 100000\r\n\r\n" + b"x" * 50_000,
    "a proposal that stops in the middle": (
        f"POST /{PROPOSALS_PATH} HTTP/1.1\r\n".encode() + HOST + b"content-length: 100000\r\n\r\n" + b"x" * 50_000
    ),
    "a body for a file, which never comes": GET + b"content-length: 1000000000\r\n\r\n",
    "a body that waits to be asked for": POST + b"expect: 100-continue\r\ncontent-length: 100000\r\n\r\n",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    with live_registry(tmp_path_factory.mktemp("odd"), trusted=False) as registry:
        yield registry


def honest(live: LiveRegistry) -> float:
    """Hand something in, which is judged, and read a file; returns how long that took."""
    host, port = live.url.removeprefix("http://").split(":")
    small = Submission(NAME, {roles_of(NAME)[1]: role_of_keys(1000)}, {}, {}).to_bytes()
    started = time.monotonic()
    for method, path, body, status in (("POST", URL_PATH, small, 422), ("GET", "metadata/timestamp.json", None, 200)):
        for _ in range(5):
            connection = http.client.HTTPConnection(host, int(port), timeout=30)
            connection.request(method, f"/{path}", body=body)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status != 503:
                break
            time.sleep(int(answer.headers["retry-after"]))  # as our client does
        assert answer.status == status, answer.status
    return time.monotonic() - started


def memory_of(pid: int) -> float:
    """Megabytes that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def test_positive_control_honest_people_are_answered(live: LiveRegistry) -> None:
    honest(live)


def beside(live: LiveRegistry, sent: bytes, count: int, *, trickle: bool = False) -> float:
    """What honest people wait beside so many connections that send this.

    Args:
        live: The registry.
        sent: What each sends, as much of it as the server takes.
        count: Of connections.
        trickle: Whether each goes on, a byte at a time.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        pytest.skip(f"this system lets a process have only {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    host, port = live.url.removeprefix("http://").split(":")
    opened: list[socket.socket] = []
    with ExitStack() as stack:
        for _ in range(count):
            hostile = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            hostile.setblocking(False)
            with suppress(OSError):
                hostile.send(sent)
            opened.append(hostile)
        if trickle:
            stack.enter_context(_trickling(opened))
        return honest(live)


@contextmanager
def _trickling(connections: Sequence[socket.socket]) -> Iterator[None]:
    """Send a byte over each of these now and then, while the block runs."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.1):
            for connection in connections:
                with suppress(OSError):
                    connection.send(b"x")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("sent", KINDS.values(), ids=KINDS)
def test_beside_sixteen(live: LiveRegistry, sent: bytes) -> None:
    before = memory_of(live.mirror.process.pid)
    assert beside(live, sent, 16) < 20
    assert memory_of(live.mirror.process.pid) - before < 50


def test_beside_sixteen_hundred(live: LiveRegistry) -> None:
    """One kind of them; `make hostile` tries all (`sixteen_hundred.py`)."""
    assert beside(live, KINDS["very many header lines"], 1600) < 30


def test_beside_senders_of_one_byte_now_and_then(live: LiveRegistry) -> None:
    assert beside(live, KINDS["a body that stops in the middle"], 64, trickle=True) < 20
