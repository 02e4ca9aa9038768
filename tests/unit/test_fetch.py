"""Fetching over real sockets, from servers that mean no good (trap 5)."""

from __future__ import annotations

import contextlib
import gc
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.evil_server import Answer, once, response, serving

from carnet.errors import ConfigError, TransportError
from carnet_verifier import http1
from carnet_verifier.fetch import HttpFetcher, Limits
from carnet_verifier.http1 import Connection, Origin
from carnet_verifier.wire import Clock, Wire

QUICK = Limits(deadline=0.6, connect=0.5, least_rate=10_000, grace=0.3)


def fetch(answer: Answer, *, max_bytes: int = 1000, limits: Limits = QUICK, close_after: bool = False) -> bytes:
    with serving(answer, close_after=close_after) as server, HttpFetcher(server.url, limits=limits) as fetcher:
        return fetcher.get("metadata/timestamp.json", max_bytes=max_bytes)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{headers}\r\n".encode()
    return head + b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks) + end


HONEST: dict[str, bytes] = {
    "length": response(b"hello"),
    "chunks": chunked(b"hel", b"lo"),
    "chunks with extensions and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\ntrailer: x\r\n\r\n"
    ),
    "gzip": response(gzip.compress(b"hello"), headers=("Content-Encoding: gzip",)),
    "gzip in chunks": chunked(gzip.compress(b"hello"), headers="content-encoding: gzip\r\n"),
    "an interim answer first": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + response(b"hello"),
    "no reason": b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_answers_are_read(name: str) -> None:
    assert fetch(once(HONEST[name])) == b"hello"


def test_an_answer_that_ends_with_the_connection_is_read() -> None:
    assert fetch(once(b"HTTP/1.0 200 OK\r\n\r\nhello"), close_after=True) == b"hello"


BOMB = gzip.compress(bytes(5_000_000))
EVIL: dict[str, tuple[bytes, str]] = {
    "a redirect": (response(status="302 Found", headers=("location: http://127.0.0.1:1/",)), "redirects"),
    "a redirect for good": (response(status="308 Permanent Redirect", headers=("location: /x",)), "redirects"),
    "more than promised": (response(bytes(1001)), "1001 bytes"),
    "more in chunks": (chunked(bytes(600), bytes(600)), "longer than"),
    "a huge chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n", "gave up"),
    "a huge length": (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "99999999999 bytes"),
    "a gzip bomb": (response(BOMB, headers=("content-encoding: gzip",)), "bytes"),
    "a small gzip bomb": (response(gzip.compress(bytes(1001)), headers=("content-encoding: gzip",)), "unpacks to more"),
    "gzip, cut off": (response(gzip.compress(b"hello")[:-4], headers=("content-encoding: gzip",)), "cut off"),
    "gzip, and more": (response(gzip.compress(b"hello") + b"x", headers=("content-encoding: gzip",)), "after it"),
    "gzip twice": (
        response(gzip.compress(b"hello") + gzip.compress(b"!"), headers=("content-encoding: gzip",)),
        "after it",
    ),
    "no gzip": (response(b"hello", headers=("content-encoding: gzip",)), "not the gzip"),
    "another encoding": (response(b"hello", headers=("content-encoding: br",)), "unasked"),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello", "Content-Length"),
    "two encodings": (response(b"hello", headers=("content-encoding: gzip", "content-encoding: br")), "two headers"),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding can't be present with Content-Length",
    ),
    "a negative length": (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello", "Content-Length"),
    "a length in words": (b"HTTP/1.1 200 OK\r\ncontent-length: 5 bytes\r\n\r\nhello", "Content-Length"),
    "another coding": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "transfer-encoding"),
    "a bad chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", "chunk"),
    "a chunk without its end": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX0\r\n0\r\n\r\n",
        "chunk",
    ),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", "Expected HTTP/"),
    "HTTP/2": (b"HTTP/2 200 OK\r\n\r\n", "not proper HTTP/1.1"),
    "a header with a space": (b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello", "header field"),
    "a folded header": (b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 5\r\n\r\nhello", "whitespace"),
    "another protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n" + response(b"hello"),
        "another protocol",
    ),
    "a long head": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "too long"),
    "interim answers without end": (b"HTTP/1.1 102 Processing\r\n\r\n" * 20, "without end"),
    "trailers without end": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 20_000,
        "too long",
    ),
    "nothing there": (response(b"no such file", status="404 Not Found"), "404"),
    "an error": (response(b"", status="500 Internal Server Error"), "500"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
    "a part": (response(b"hello", status="206 Partial Content"), "206"),
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_answers_are_refused(name: str) -> None:
    data, why = EVIL[name]
    with pytest.raises(TransportError, match=why) as refused:
        fetch(once(data))
    assert "\n" not in str(refused.value)


def test_absence_has_its_status() -> None:
    with pytest.raises(TransportError) as refused:
        fetch(once(response(status="404 Not Found")))
    assert refused.value.status == 404


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"])
def test_a_connection_closed_half_way_is_an_error(data: bytes) -> None:
    with pytest.raises(TransportError, match="closed the connection"):
        fetch(once(data), close_after=True)


def test_a_gzip_bomb_takes_no_memory() -> None:
    body = gzip.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(TransportError, match="unpacks to more"):
            fetch(
                once(response(body, headers=("content-encoding: gzip",))),
                max_bytes=len(body),
                limits=Limits(deadline=10),
            )
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def drip(first: bytes, gap: float, step: bytes = b"x") -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(first)
        while True:
            time.sleep(gap)
            connection.sendall(step)

    return answer


SLOW: dict[str, Answer] = {
    "silence": lambda connection, _: time.sleep(5),
    "a dripping status line": drip(b"HTTP/1.1 200 O", 0.02),
    "dripping headers": drip(b"HTTP/1.1 200 OK\r\n", 0.02, b"a: b\r\n"),
    "a dripping body": drip(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", 0.02),
    "a dripping endless body": drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.02),
    "dripping chunks": drip(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 0.02, b"1\r\nx\r\n"),
    "dripping interim answers": drip(b"", 0.02, b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_answers_are_given_up(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(TransportError, match=r"gave up|without end|too long"):
        fetch(SLOW[name], max_bytes=1_000_000)
    assert time.monotonic() - start < 1.5


def test_a_fast_enough_answer_still_has_to_meet_the_deadline() -> None:
    limits = Limits(deadline=0.4, least_rate=1, grace=0.2)
    start = time.monotonic()
    with pytest.raises(TransportError, match="gave up"):
        fetch(
            drip(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", 0.01, bytes(100)),
            max_bytes=1_000_000,
            limits=limits,
        )
    assert time.monotonic() - start < 1.2


def test_a_refusal_with_an_endless_body_is_given_up_too() -> None:
    start = time.monotonic()
    with pytest.raises(TransportError, match="404"):
        fetch(drip(b"HTTP/1.1 404 Not Found\r\ncontent-length: 1000\r\n\r\n", 0.02))
    assert time.monotonic() - start < 1.5


def test_a_server_that_does_not_answer_the_door() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        HttpFetcher(f"http://127.0.0.1:{port}/", limits=QUICK) as fetcher,
        pytest.raises(TransportError, match="refused") as refused,
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
    assert refused.value.hint


def test_a_connection_is_used_again() -> None:
    with serving(once(response(b"hello"))) as server, HttpFetcher(server.url) as fetcher:
        for _ in range(5):
            assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
        assert server.connections == 1
    head = server.heads[0]
    assert head.startswith(b"GET /repo/metadata/timestamp.json HTTP/1.1\r\nhost: 127.0.0.1:")


def test_a_connection_that_was_closed_while_idle_is_opened_again() -> None:
    with serving(once(response(b"hello")), close_after=True) as server, HttpFetcher(server.url) as fetcher:
        for _ in range(3):
            assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
            time.sleep(0.02)
        assert server.connections == 3


@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_what_a_server_sends_unasked_is_not_the_next_answer(gap: float) -> None:
    """Bytes after an answer would be read as the answer to the next request."""

    def answer(connection: socket.socket, _: bytes) -> None:
        if not gap:
            connection.sendall(response(b"hello") + response(b"smuggled"))
            return
        connection.sendall(response(b"hello"))
        time.sleep(gap)
        connection.sendall(response(b"smuggled"))

    with serving(answer) as server, HttpFetcher(server.url) as fetcher:
        for _ in range(4):
            assert fetcher.get("a", max_bytes=100) == b"hello"
            time.sleep(2 * gap)
    assert server.connections == 4


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
    with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=1)) as fetcher:
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
    with pytest.raises(error):
        fetch(once(response(b"hello")))


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
        with serving(answer) as server, HttpFetcher(server.url, limits=Limits(connections=2)) as fetcher:
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


@pytest.mark.parametrize("answer", [response(status="204 No Content"), b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_connection_that_was_not_opened_to_the_end_is_not_kept(answer: bytes) -> None:
    """Refused by the proxy, or silent when TLS should begin."""
    with (
        serving(once(answer)) as proxy,
        HttpFetcher("https://mirror.example/", proxy=proxy.url, limits=QUICK) as fetcher,
    ):
        for _ in range(2):
            with pytest.raises(TransportError, match=r"the proxy answered 204|gave up"):
                fetcher.get("x", max_bytes=100)
            assert fetcher._idle == []
    assert proxy.connections == 2


def test_a_tunnel_to_an_address_has_brackets_and_a_port() -> None:
    with (
        serving(once(response(status="403 Forbidden"))) as proxy,
        HttpFetcher("https://[::1]/", proxy=proxy.url) as fetcher,
        pytest.raises(TransportError, match="the proxy answered 403"),
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
    assert proxy.heads[0].startswith(b"CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_no_proxy_is_taken_from_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1/")
    assert fetch(once(response(b"hello"))) == b"hello"


def test_a_proxy_that_is_asked_for_gets_the_whole_url() -> None:
    with (
        serving(once(response(b"hello"))) as proxy,
        HttpFetcher("http://mirror.example/repo", proxy=proxy.url) as fetcher,
    ):
        assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
    assert proxy.heads[0].startswith(
        b"GET http://mirror.example/repo/metadata/timestamp.json HTTP/1.1\r\nhost: mirror.example\r\n"
    )


def test_https_goes_through_a_proxy_in_a_tunnel_only() -> None:
    with (
        serving(once(response(status="403 Forbidden"))) as proxy,
        HttpFetcher("https://mirror.example/", proxy=proxy.url) as fetcher,
        pytest.raises(TransportError, match="the proxy answered 403"),
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
    assert proxy.heads[0].startswith(b"CONNECT mirror.example:443 HTTP/1.1\r\n")


@pytest.mark.parametrize("path", ["", "a b", "a\r\nx: y", "a\n", "\u00e4", "a?b", "a#b", 'a"'])
def test_paths_that_would_change_the_request_are_refused(path: str) -> None:
    with (
        serving(once(response(b"hello"))) as server,
        HttpFetcher(server.url) as fetcher,
        pytest.raises(TransportError, match="not a path"),
    ):
        fetcher.get(path, max_bytes=10)
    assert server.heads == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mirror.example",
        "ftp://mirror.example/",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@mirror.example/",
        "http://mirror.example/?x=y",
        "http://mirror.example/#x",
        "http://mirror.example:99999/",
        "http://mirror.example:x/",
        "http://mirror.example/a b/",
        "http://mir\u00e4ror.example/",
        "http://[::1/",
        "http://.mirror.example/",
        "http://mirror..example/",
        "http://./",
        "http://" + "m" * 64 + ".example/",
    ],
)
def test_urls_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        HttpFetcher(url)


@pytest.mark.parametrize(
    "url", ["http://mirror.example", "https://mirror.example/a/b", "http://[::1]:8080/", "http://mirror.example./"]
)
def test_urls_are_taken(url: str) -> None:
    assert HttpFetcher(url).url == (url if url.endswith("/") else url + "/")


def certificate(host: str, folder: Path) -> tuple[Path, Path]:
    """A key and a certificate that signs itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(("host", "trusted"), [("localhost", True), ("localhost", False), ("other.example", True)])
def test_https_is_for_the_named_host_and_a_trusted_authority(host: str, trusted: bool, tmp_path: Path) -> None:
    cert, private = certificate(host, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    with serving(once(response(b"hello")), tls=context) as server:
        port = server.url.rsplit(":", 1)[1].split("/")[0]
        with HttpFetcher(
            f"https://localhost:{port}/", ca_file=str(cert) if trusted else None, limits=Limits(deadline=5)
        ) as fetcher:
            if trusted and host == "localhost":
                for _ in range(3):
                    assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
            else:
                with pytest.raises(TransportError, match="certificate verify failed"):
                    fetcher.get("metadata/timestamp.json", max_bytes=10)


@pytest.fixture
def localhost(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS as localhost, and the file of the authority behind it."""
    cert, private = certificate("localhost", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    return context, str(cert)


def secure(url: str) -> str:
    return url.replace("http://127.0.0.1", "https://localhost")


def test_large_files_come_whole_over_tls_and_through_a_tunnel(localhost: tuple[ssl.SSLContext, str]) -> None:
    context, authority = localhost
    body = bytes(range(256)) * 4000

    with serving(once(response(body)), tls=context) as server:

        def tunnel(connection: socket.socket, _: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            port = int(server.url.split(":")[2].split("/")[0])
            with socket.create_connection(("127.0.0.1", port)) as onward:
                there = threading.Thread(target=copy, args=(connection, onward), daemon=True)
                there.start()
                copy(onward, connection)
            there.join()

        with serving(tunnel) as proxy:
            for through in (None, proxy.url):
                with HttpFetcher(secure(server.url), ca_file=authority, proxy=through) as fetcher:
                    for _ in range(2):
                        assert fetcher.get_many([("x", len(body))] * 3) == [body] * 3
        assert server.connections == 2


def copy(from_one: socket.socket, to_other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := from_one.recv(65_536):
            to_other.sendall(data)
        to_other.shutdown(socket.SHUT_WR)


def test_records_without_data_do_not_hold_up_the_deadline_of_a_handshake() -> None:
    """Anybody on the way can send them: requests to say hello again, which TLS ignores meanwhile."""
    flood = b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" * 5000

    def talk() -> None:
        connection, _ = listener.accept()
        end = time.monotonic() + 3
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            while time.monotonic() < end:
                connection.sendall(flood)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        start = time.monotonic()
        with (
            HttpFetcher(f"https://127.0.0.1:{listener.getsockname()[1]}/", limits=QUICK) as fetcher,
            pytest.raises(TransportError, match="gave up after 0 seconds and 0 bytes"),
        ):
            fetcher.get("x", max_bytes=100)
        assert time.monotonic() - start < 1.2
        thread.join()


def in_memory(context: ssl.SSLContext, connection: socket.socket) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """Shake hands as a server that has its records in its own hand; those that it did not send are in the last."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        incoming.write(connection.recv(65_536))
        try:
            engine.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
        else:
            return engine, incoming, outgoing


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection, on localhost and with TLS."""

    def accept() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/"
        thread.join()


def test_tickets_for_later_sessions_are_no_answer_that_comes_fast_enough(localhost: tuple[ssl.SSLContext, str]) -> None:
    context, authority = localhost
    context.num_tickets = 400
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        _, _, outgoing = in_memory(context, connection)
        tickets = outgoing.read()
        assert len(tickets) > 50_000
        for start in range(0, len(tickets), 200):
            connection.sendall(tickets[start : start + 200])
            if ended.wait(0.005):
                return

    limits = Limits(deadline=5, grace=0.5, least_rate=10_000)
    start = time.monotonic()
    with talking(talk) as url, HttpFetcher(url, ca_file=authority, limits=limits) as fetcher:
        with pytest.raises(TransportError, match="and 0 bytes"):
            fetcher.get("x", max_bytes=100)
        ended.set()
    assert time.monotonic() - start < 1.2


@pytest.mark.parametrize("unasked", ["in its own time", "with an answer"])
def test_an_idle_connection_may_bring_tickets_and_nothing_else(
    unasked: str, localhost: tuple[ssl.SSLContext, str]
) -> None:
    context, authority = localhost
    steps = [threading.Event() for _ in range(3)]

    def talk(connection: socket.socket) -> None:
        engine, _, outgoing = in_memory(context, connection)
        for step in steps:
            assert step.wait(5)
            if step is not steps[0]:
                engine.write(b"hello")
            if step is steps[1] and unasked == "with an answer":
                engine.write(b"smuggled")
            connection.sendall(outgoing.read())

    with talking(talk) as url:
        clock = Clock(5, 5, 1)
        wire = Wire(clock)
        wire.connect("localhost", int(url.split(":")[2].strip("/")), 1)
        wire.start_tls("localhost", authority)
        assert wire.quiet
        steps[0].set()
        time.sleep(0.05)
        assert wire.quiet
        steps[1].set()
        assert wire.receive() == b"hello"
        assert clock.received == 5
        assert wire.quiet == (unasked != "with an answer")
        steps[2].set()
        time.sleep(0.05)
        assert not wire.quiet
        wire.close()
        assert not wire.quiet


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("length", [False, True])
def test_an_end_that_anybody_can_make_is_no_end_of_an_answer(
    ragged: bool, length: bool, localhost: tuple[ssl.SSLContext, str]
) -> None:
    """TLS has an end of its own; without it, an answer that only ends with the connection may be half of one."""
    context, authority = localhost

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(response(b"hello") if length else b"HTTP/1.0 200 OK\r\n\r\nhello")
        if not ragged:
            assert isinstance(connection, ssl.SSLSocket)
            connection.unwrap()
        raise OSError

    with (
        serving(answer, tls=context) as server,
        HttpFetcher(secure(server.url), ca_file=authority, limits=Limits(deadline=5)) as fetcher,
        pytest.raises(TransportError, match="half-way") if ragged and not length else contextlib.nullcontext(),
    ):
        assert fetcher.get("x", max_bytes=100) == b"hello"


def test_session_keys_are_not_written_where_the_environment_says(
    localhost: tuple[ssl.SSLContext, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = localhost
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with (
        serving(once(response(b"hello")), tls=context) as server,
        HttpFetcher(secure(server.url), ca_file=authority) as fetcher,
    ):
        assert fetcher.get("x", max_bytes=100) == b"hello"
    assert not keys.exists()


def test_nothing_is_loaded_that_a_fetch_does_not_need(localhost: tuple[ssl.SSLContext, str]) -> None:
    """Each of these takes longer to load than a file to fetch."""
    context, authority = localhost
    script = """
import sys
sys.path[:] = sys.argv[4].split(":")
from carnet_verifier.fetch import HttpFetcher
before = set(sys.modules)
with HttpFetcher(sys.argv[1]) as fetcher:
    assert fetcher.get("x", max_bytes=100) == b"hello"
assert not {"ssl", "encodings.idna", "stringprep"} & sys.modules.keys()
assert "zlib" in before or "zlib" not in sys.modules
with HttpFetcher(sys.argv[2], ca_file=sys.argv[3]) as fetcher:
    assert fetcher.get("x", max_bytes=100) == b"hello"
assert not {"encodings.idna", "stringprep"} & sys.modules.keys()
"""
    with serving(once(response(b"hello"))) as plain, serving(once(response(b"hello")), tls=context) as server:
        arguments = [plain.url, secure(server.url), authority, ":".join(sys.path)]
        ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False)
    assert ended.stderr == b""
