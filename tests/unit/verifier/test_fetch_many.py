"""Fetching many files at once, from servers that close, drop, stall or answer badly in the midst of it."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.support.servers.evil import Answer, once, response, serving

from carnet.errors import TransportError
from carnet_verifier.net import http1
from carnet_verifier.net.fetch import HttpFetcher, Limits
from carnet_verifier.net.http1 import Connection, Origin
from carnet_verifier.net.patience import Patience

QUICK = Limits(deadline=0.6, connect=0.5, least_rate=10_000, grace=0.3)
ONCE = Patience(tries=1)


def numbered(connection: socket.socket, head: bytes) -> None:
    path = head.split()[1].rsplit(b"/", 1)[1]
    connection.sendall(response(path) if path != b"7" else response(b"no such file", status="404 Not Found"))


def fetch_numbered(answer: Answer, *, limits: Limits | None = None, close_after: bool = False) -> int:
    """Ask for twelve files, the eighth of which is not there; returns how many connections that took."""
    with (
        serving(answer, close_after=close_after) as server,
        HttpFetcher(server.url, limits=limits or Limits(connections=4, at_once=3)) as fetcher,
    ):
        answers = fetcher.get_many([(f"x/{number}", 100) for number in range(12)])
    assert [data for data in answers if isinstance(data, bytes)] == [b"%d" % n for n in range(12) if n != 7]
    assert isinstance(answers[7], TransportError)
    assert answers[7].status == 404
    return server.connections


def test_many_files_are_fetched_over_several_connections_and_answered_in_order() -> None:
    here = threading.Barrier(4, timeout=5)

    def answer(connection: socket.socket, head: bytes) -> None:
        if int(head.split()[1].rsplit(b"/", 1)[1]) % 3 == 0:  # the first that a connection is asked for
            here.wait()
        numbered(connection, head)

    assert fetch_numbered(answer) == 4


def test_large_files_have_a_connection_each() -> None:
    here = threading.Barrier(4, timeout=5)

    def answer(connection: socket.socket, _: bytes) -> None:
        here.wait()
        connection.sendall(response(b"large"))

    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=4)) as fetcher:
        assert fetcher.get_many([(f"x/{number}", 100) for number in range(8)], large=True) == [b"large"] * 8
    assert server.connections == 4


def test_a_connection_is_asked_for_several_files_before_the_first_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heads: list[bytes] = []

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                asked = b""
                while asked.count(b"\r\n\r\n") < 5:
                    asked += connection.recv(65_536)
                heads.extend(asked.split(b"\r\n\r\n")[:-1])
                connection.sendall(b"".join(response(b"%d" % number) for number in range(5)))

        thread = threading.Thread(target=talk)
        thread.start()
        with HttpFetcher(f"http://127.0.0.1:{listener.getsockname()[1]}/", limits=QUICK) as fetcher:
            answers = fetcher.get_many([(f"x/{number}", 100) for number in range(5)])
        thread.join()
    assert answers == [b"%d" % number for number in range(5)]
    assert [head.split()[1] for head in heads] == [b"/x/%d" % number for number in range(5)]


def test_no_more_is_asked_at_once_than_a_server_can_leave_unread() -> None:
    """A server that answers a lot before it reads on, and a client that asks a lot before it reads, would both wait."""
    asked: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(0.1)
                heads = b""
                while True:
                    with contextlib.suppress(TimeoutError):
                        data = connection.recv(1_000_000)
                        heads += data
                        if data:
                            continue
                    if not heads:
                        return
                    asked.append(len(heads))
                    connection.sendall(response(b"hello") * heads.count(b"\r\n\r\n"))
                    heads = b""

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        limits = Limits(connections=1, at_once=1000)
        with HttpFetcher(f"http://127.0.0.1:{listener.getsockname()[1]}/", limits=limits) as fetcher:
            answers = fetcher.get_many([(f"{'x' * 500}/{number}", 100) for number in range(100)])
    assert answers == [b"hello"] * 100
    assert len(asked) == 3
    assert max(asked) < 33_000


def test_a_server_that_closes_after_each_answer_is_asked_for_one_file_at_a_time() -> None:
    """Without saying so: the files that it was asked for meanwhile are asked for again."""
    limits = Limits(connections=1, at_once=12)
    assert fetch_numbered(numbered, limits=limits, close_after=True) == 12


def test_a_server_that_says_that_it_closes_is_believed() -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        path = head.split()[1].rsplit(b"/", 1)[1]
        status = "404 Not Found" if path == b"7" else "200 OK"
        connection.sendall(response(path, status=status, headers=("connection: close",)))

    assert fetch_numbered(answer, limits=Limits(connections=1, at_once=12)) == 12


def test_a_server_that_drops_what_it_is_asked_meanwhile_is_asked_again() -> None:
    """Some intermediaries read one request and throw away what came with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk(connection: socket.socket) -> None:
            with connection:
                while asked := connection.recv(65_536):
                    connection.sendall(response(asked.split()[1].rsplit(b"/", 1)[1]))

        def accept() -> None:
            for _ in range(2):
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        limits = Limits(deadline=5, grace=0.3, connections=1)
        with HttpFetcher(f"http://127.0.0.1:{listener.getsockname()[1]}/", limits=limits) as fetcher:
            answers = fetcher.get_many([(f"x/{number}", 100) for number in range(12)])
    assert answers == [b"%d" % number for number in range(12)]


@pytest.mark.parametrize("bad", [0, 3, 11])
def test_one_bad_answer_spoils_no_other(bad: int) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        path = head.split()[1].rsplit(b"/", 1)[1]
        connection.sendall(response(bytes(101)) if int(path) == bad else response(path))

    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=1)) as fetcher:
        answers = fetcher.get_many([(f"x/{number}", 100) for number in range(12)])
    assert [data for data in answers if isinstance(data, bytes)] == [b"%d" % n for n in range(12) if n != bad]
    assert "101 bytes" in str(answers[bad])


def test_each_answer_has_its_own_time() -> None:
    """Asked for together, files may come one after the other, each within the limits; one that stalls is given up."""

    def answer(connection: socket.socket, head: bytes) -> None:
        time.sleep(5 if head.split()[1].endswith(b"/5") else 0.2)
        connection.sendall(response(b"hello"))

    start = time.monotonic()
    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(grace=0.5, connections=1)) as fetcher:
        answers = fetcher.get_many([(f"x/{number}", 100) for number in range(6)])
    assert answers[:5] == [b"hello"] * 5
    assert "gave up" in str(answers[5])
    assert time.monotonic() - start < 4


def test_a_server_that_is_silent_on_a_connection_that_was_idle_is_given_up_once() -> None:
    """Silence is no sign of a closed connection: asking over each idle one would multiply the limit."""
    here = threading.Barrier(4, timeout=5)

    def answer(connection: socket.socket, head: bytes) -> None:
        if b"/warm" in head:
            here.wait()
            connection.sendall(response(b"hello"))
        else:
            time.sleep(5)

    limits = Limits(grace=0.5, connections=4)
    with serving(answer) as server, HttpFetcher(server.url, limits=limits) as fetcher:
        assert fetcher.get_many([(f"warm/{number}", 100) for number in range(4)], large=True) == [b"hello"] * 4
        start = time.monotonic()
        with pytest.raises(TransportError, match="gave up"):
            fetcher.get("silent", max_bytes=100)
    assert time.monotonic() - start < 0.9


def sends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files each connection is asked for at once, as it happens."""
    asked: list[int] = []
    real = Connection.get

    def get(self: Connection, requests: Sequence[tuple[str, int]]) -> Iterator[http1.Answer]:
        asked.append(len(requests))
        return real(self, requests)

    monkeypatch.setattr(Connection, "get", get)
    return asked


@pytest.mark.parametrize(
    "bad", [response(bytes(101)), b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nx"]
)
def test_one_bad_answer_slows_no_other_down(bad: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        path = head.split()[1].rsplit(b"/", 1)[1]
        connection.sendall(bad if path == b"3" else response(path))
        if path == b"3":
            raise OSError

    asked = sends(monkeypatch)
    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=1), patience=ONCE) as fetcher:
        answers = fetcher.get_many([(f"x/{number}", 100) for number in range(12)])
    assert [data for data in answers if isinstance(data, bytes)] == [b"%d" % n for n in range(12) if n != 3]
    assert isinstance(answers[3], TransportError)
    assert asked == [12, 8]


def test_a_server_that_closes_after_some_answers_is_asked_for_as_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many servers close a connection after a hundred files or so, and say so."""
    given: dict[int, int] = {}

    def answer(connection: socket.socket, head: bytes) -> None:
        given[id(connection)] = count = given.get(id(connection), 0) + 1
        last = count % 5 == 0
        path = head.split()[1].rsplit(b"/", 1)[1]
        connection.sendall(response(path, headers=("connection: close",) if last else ()))
        if last:
            raise OSError

    asked = sends(monkeypatch)
    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=1)) as fetcher:
        answers = fetcher.get_many([(f"x/{number}", 100) for number in range(17)])
    assert answers == [b"%d" % number for number in range(17)]
    assert asked == [17, 5, 5, 2]


@pytest.mark.parametrize("then", [b"", response(bytes(101)), b"nonsense"])
def test_answers_count_whatever_comes_after_them(then: bytes) -> None:
    """In one segment with the end of the connection, or with an answer that is bad."""

    def talk() -> None:
        connection, _ = listener.accept()
        with connection:
            asked = b""
            while asked.count(b"\r\n\r\n") < 5:
                asked += connection.recv(65_536)
            last = () if then else ("connection: close",)
            connection.sendall(response(b"0") + response(b"1") + response(b"2", headers=last) + then)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        origin = Origin(False, "127.0.0.1", listener.getsockname()[1])
        connection = Connection(origin, QUICK)
        got: list[bytes] = []
        try:
            with contextlib.suppress(TransportError) if then else contextlib.nullcontext():
                got.extend(answer.body for answer in connection.get([(f"/{number}", 100) for number in range(5)]))
        finally:
            connection.close()
        thread.join()
    assert got == [b"0", b"1", b"2"]


@pytest.mark.parametrize("notice", [(), ("connection: close",)])
def test_files_that_have_to_be_asked_for_one_by_one_are_asked_for_in_parallel(notice: tuple[str, ...]) -> None:
    here = threading.Barrier(4, timeout=5)
    first = threading.Event()

    def answer(connection: socket.socket, head: bytes) -> None:
        if first.is_set():
            here.wait()
        first.set()
        connection.sendall(response(b"hello", headers=notice))

    limits = Limits(connections=4)
    with serving(answer, close_after=True) as server, HttpFetcher(server.url, limits=limits) as fetcher:
        assert fetcher.get_many([(f"x/{number}", 100) for number in range(13)]) == [b"hello"] * 13


def test_a_server_that_is_not_there_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = sends(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with HttpFetcher(f"http://127.0.0.1:{port}/", limits=QUICK) as fetcher:
        answers = fetcher.get_many([(f"x/{number}", 100) for number in range(12)])
    assert [str(answer).rpartition(": ")[2] for answer in answers] == ["connection refused"] * 12
    assert asked == [12]


def test_what_ends_one_thread_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, say: nothing more is asked for, what is waited for ends, and no thread is left."""

    def answer(connection: socket.socket, head: bytes) -> None:
        time.sleep(0.2)
        if head.split()[1].endswith(b"/0"):
            connection.sendall(response(b"hello"))
        else:
            time.sleep(5)

    real = HttpFetcher._ask

    def ask(*args: Any) -> list[int]:
        left = real(*args)
        if args[1] == [0]:
            raise KeyboardInterrupt
        return left

    monkeypatch.setattr(HttpFetcher, "_ask", ask)
    start = time.monotonic()
    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=4)) as fetcher:
        with pytest.raises(KeyboardInterrupt):
            fetcher.get_many([(f"x/{number}", 100) for number in range(40)], large=True)
        assert [thread.name for thread in threading.enumerate() if "_work" in thread.name] == []
    assert time.monotonic() - start < 1.5
    assert len(server.heads) <= 4


def test_ctrl_c_while_the_threads_are_waited_for_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        if head.split()[1].endswith(b"/0"):
            taken.set()
            time.sleep(5)
        connection.sendall(response(b"hello"))

    taken = threading.Event()
    real_start, real = threading.Thread.start, threading.Thread.join
    interrupted: list[threading.Thread] = []

    def start(self: threading.Thread) -> None:
        real_start(self)
        if "_work" in self.name:
            assert taken.wait(5)  # the caller's thread gets the other file

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        if not interrupted:
            interrupted.append(self)
            raise KeyboardInterrupt
        real(self, timeout)

    began = time.monotonic()
    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=2)) as fetcher:
        monkeypatch.setattr(threading.Thread, "start", start)
        monkeypatch.setattr(threading.Thread, "join", join)
        with pytest.raises(KeyboardInterrupt):
            fetcher.get_many([("x/0", 100), ("x/1", 100)], large=True)
    assert time.monotonic() - began < 1.5
    assert not interrupted[0].is_alive()


def test_a_system_that_gives_no_more_threads_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start
    started: list[threading.Thread] = []

    def start(self: threading.Thread) -> None:
        if "_work" in self.name:
            if len(started) == 1:
                raise RuntimeError("can't start new thread")
            started.append(self)
        real(self)

    with serving(once(response(b"hello"))) as server, HttpFetcher(server.url) as fetcher:
        monkeypatch.setattr(threading.Thread, "start", start)
        assert fetcher.get_many([(f"x/{number}", 100) for number in range(20)], large=True) == [b"hello"] * 20
    assert len(started) == 1
    assert not started[0].is_alive()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_ctrl_c_in_the_midst_of_an_answer_is_no_answer(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_body(*_: object) -> None:
        raise error

    monkeypatch.setattr(http1._Answers, "on_body", on_body)
    with (
        serving(once(response(b"hello"))) as server,
        HttpFetcher(server.url, limits=QUICK) as fetcher,
        pytest.raises(error),
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=1000)


def test_a_failed_fetch_keeps_no_memory() -> None:
    """Without waiting for a collection of garbage, which comes rarely; tarballs are large."""
    size = 2_000_000

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size - 1))
        raise OSError

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=2), patience=ONCE) as fetcher:
            answers = fetcher.get_many([(f"x/{number}", size) for number in range(10)], large=True)
            assert ["half-way" in str(answer) for answer in answers] == [True] * 10
            kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept < 2 * size + 1_000_000  # what the server's threads may still hold


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """A port that takes no connection any more, and does not refuse one either."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(3):
        one = socket.socket()
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(listener.getsockname())
        waiting.append(one)
    return listener, waiting


def resolving_to(addresses: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_the_time_to_connect_is_for_all_addresses_together(monkeypatch: pytest.MonkeyPatch) -> None:
    listener, waiting = full_listener()
    resolving_to([listener.getsockname()] * 12, monkeypatch)
    start = time.monotonic()
    with (
        HttpFetcher("http://mirror.example/", limits=Limits(connect=0.5)) as fetcher,
        pytest.raises(TransportError, match="gave up"),
    ):
        fetcher.get("x", max_bytes=100)
    assert time.monotonic() - start < 0.9
    for one in [listener, *waiting]:
        one.close()


def test_an_address_that_does_not_answer_leaves_time_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    listener, waiting = full_listener()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    with serving(once(response(b"hello"))) as server:
        answering = ("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
        resolving_to([refusing, listener.getsockname(), answering], monkeypatch)
        start = time.monotonic()
        with HttpFetcher("http://mirror.example/", limits=Limits(connect=1)) as fetcher:
            assert fetcher.get("x", max_bytes=100) == b"hello"
        assert time.monotonic() - start < 0.8
    for one in [listener, *waiting]:
        one.close()
