"""The verifying registry on its socket: for whom it answers, and which connections it keeps."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import World

from carnet_gate import connections
from carnet_gate.loopback import serve
from carnet_verifier.cargo.proxy import Gatekeeper
from carnet_verifier.policy.policy import Policy

SOON = 0.4


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "ASKED_WITHIN", SOON)
    world = World.make(tmp_path)
    world.add(honest_crate("plain", "1.0.0"))
    view = world.fresh()
    with serve(Gatekeeper(lambda: view, Policy(), None, lambda: world.now)) as url:
        yield int(url.rpartition(":")[2])


def ask(connection: socket.socket, host: str = "127.0.0.1") -> bytes:
    connection.sendall(f"GET /index/config.json HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith((b"}", b"answers for\n")):
        answer += connection.recv(65536)
    return answer


def closed_after(connection: socket.socket) -> float:
    """Seconds until the other side ends the connection."""
    started = time.monotonic()
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - started


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8790", "[::1]"])
def test_loopback_is_answered(port: int, host: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert b" 200 " in ask(connection, host)
        assert b" 200 " in ask(connection, host), "a connection is used again"


@pytest.mark.parametrize("host", ["evil.example", f"127.0.0.1.evil.example:{80}", "192.0.2.1"])
def test_a_name_that_was_bound_to_loopback_is_not(port: int, host: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert b" 421 " in ask(connection, host)


@pytest.mark.parametrize("begun", [b"", b"GET /index/config.json HTTP/1.1\r\nhost: 127"], ids=["nothing", "half"])
def test_who_asks_for_nothing_is_cut(port: int, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(begun)
        assert closed_after(connection) < 5


def test_who_asks_no_more_is_cut(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert b" 200 " in ask(connection)
        assert closed_after(connection) < 4, "before uvicorn's own five seconds"


def test_who_sends_a_byte_now_and_then_is_cut(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        started = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012  -- whichever of the bytes it is
            for byte in b"GET /index/config.json HTTP/1.1\r\nx: " + b"x" * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - started < 5
