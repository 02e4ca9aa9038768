"""The verifying registry on its socket: for whom it answers, and which connections it keeps."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import cast

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import World

from carnet.cargo.names import CrateId
from carnet.errors import ConfigError, StorageError
from carnet_gate import connections, loopback
from carnet_gate.loopback import serve
from carnet_verifier.cargo.proxy import Gatekeeper
from carnet_verifier.policy.policy import Policy

SOON = 0.4
LATER = 1.5  # where a busy machine must not be taken for a slow reader


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Gatekeeper:
    world = World.make(tmp_path_factory.mktemp("world"))
    world.add(honest_crate("plain", "1.0.0"))
    view = world.fresh()
    return Gatekeeper(lambda: view, Policy(), None, lambda: world.now)


@pytest.fixture
def port(keeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "ASKED_WITHIN", SOON)
    with serve(keeper) as url:
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


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", f"127.0.0.1.evil.example:{80}", "192.0.2.1", "localhost.", "127.1", "[::1%eth0]"),
        *("evil.example@localhost", "localhost/evil.example", "localhost?evil.example", "localhost#.evil.example"),
        *("loc\talhost", "[::1].evil.example", "[::1]evil.example:80", "localhost, evil.example", "localhost:x"),
    ],
)
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


class Large:
    """Serves one large tarball, whatever is asked for."""

    SIZE = 32_000_000

    def tarball(self, _: CrateId) -> bytes:
        return bytes(self.SIZE)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection on which two large answers were asked for at once."""
    monkeypatch.setattr(connections, "ASKED_WITHIN", LATER)
    with (
        serve(cast("Gatekeeper", Large())) as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection,
    ):
        connection.sendall(b"GET /api/v1/crates/large/1.0.0/download HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2)
        yield connection


def taken(connection: socket.socket, most: int) -> int:
    """Bytes that were received until there were `most`, or the other side ended the connection."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while count < most and (data := connection.recv(65536)):
            count += len(data)
    return count


def test_who_takes_no_answer_is_cut(large: socket.socket) -> None:
    """Behind an answer that nobody takes waits the next one: it is not worked on, and nobody waits for it."""
    time.sleep(4 * LATER)
    assert taken(large, 2 * Large.SIZE) < Large.SIZE


def test_who_takes_an_answer_slowly_is_not_cut(large: socket.socket) -> None:
    started, count = time.monotonic(), 0
    while time.monotonic() - started < 3 * LATER:
        count += taken(large, 500_000)
        time.sleep(LATER / 10)
    assert count + taken(large, 2 * Large.SIZE - count) >= 2 * Large.SIZE


def test_who_sends_a_byte_now_and_then_is_cut(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        started = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012  -- whichever of the bytes it is
            for byte in b"GET /index/config.json HTTP/1.1\r\nx: " + b"x" * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - started < 5


HEAD = b"GET /index/config.json HTTP/1.1\r\nhost: 127.0.0.1\r\n"


def is_cut(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        HEAD,
        HEAD + b"\r\n",
        (HEAD + b"\r\n") * 20,
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"1;" + b"e" * 4000 + b"\r\nx\r\n",
        HEAD + b"expect: 100-continue\r\ncontent-length: 1000000\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
    ids=["nothing", "a byte", "no end", "no more", "pipelined", "chunks", "expecting", "two lengths"],
)
def test_who_opens_very_many_keeps_nobody_out(keeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "MOST", 20)
    with serve(keeper) as url, ExitStack() as opened:
        port = int(url.rpartition(":")[2])

        def another() -> socket.socket:
            return opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))

        many = [another() for _ in range(100)]
        for number, connection in enumerate(many):
            with suppress(OSError):  # it was cut already
                connection.sendall(sent)
                if number % 2:
                    connection.shutdown(socket.SHUT_WR)
        assert ask(another()).endswith(b"}")
        assert sum(map(is_cut, many)) >= 80


def test_whose_answer_is_worked_out_keeps_the_place(keeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 3)
    with serve(keeper) as url, ExitStack() as opened:
        port = int(url.rpartition(":")[2])
        asking = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        assert ask(asking).endswith(b"}")
        named: tuple[str, int] = asking.getsockname()
        monkeypatch.setattr(connections.AskingConnection, "_is_worked_out", lambda one: one.client == named)
        for _ in range(10):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        assert ask(asking).endswith(b"}")


@pytest.mark.parametrize(("port", "kind"), [(0, StorageError), (8790, ConfigError)])
def test_a_port_that_is_not_to_be_had(port: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, address: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket, "socket", type("Taken", (socket.socket,), {"bind": refuse}))
    with pytest.raises(kind, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
        loopback.bind(port)


def test_an_answer_in_two_parts_does_not_wait_for_an_acknowledgement() -> None:
    """40 ms for each of the hundreds of index files that cargo asks for, one after the other."""

    async def option() -> int:
        connected = asyncio.get_running_loop().create_future()

        class Answering(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                theirs = transport.get_extra_info("socket")
                connected.set_result(theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        listener = loopback.bind()
        async with await asyncio.get_running_loop().create_server(Answering, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            found: int = await connected
            writer.close()
        return found

    assert asyncio.run(option()) != 0
