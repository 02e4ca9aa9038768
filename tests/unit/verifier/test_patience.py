"""A mirror that is busy, or breaks off, is asked again; what stays open is undecided, and nothing waits for ever."""

from __future__ import annotations

import socket

import pytest
from tests.support.servers.evil import Answer, response, serving

from carnet.errors import TransportError
from carnet_verifier.net.fetch import HttpFetcher, Limits
from carnet_verifier.net.patience import Patience, retry_after

PATIENT = Patience(tries=4, pause=0.01)


def busy(status: str, *headers: str) -> bytes:
    return response(b"<html>busy</html>", status=status, headers=headers)


def in_turn(*answers: bytes) -> Answer:
    """These answers, each with the end of the connection when it is cut, and the last one for all that follow."""
    left = list(answers)

    def answer(connection: socket.socket, _: bytes) -> None:
        data = left.pop(0) if len(left) > 1 else left[0]
        connection.sendall(data)
        if not data.endswith((b"hello", b"</html>")):
            raise OSError

    return answer


CUT = response(b"hello")[:-2]


@pytest.mark.parametrize(
    "first",
    [busy("503 Busy"), busy("429 Slow down"), busy("502 Bad Gateway"), busy("503 Busy", "retry-after: 0"), CUT, b""],
)
def test_a_busy_mirror_is_asked_again(first: bytes) -> None:
    with serving(in_turn(first, first, response(b"hello"))) as server:
        with HttpFetcher(server.url, patience=PATIENT) as fetcher:
            assert fetcher.get("metadata/timestamp.json", max_bytes=100) == b"hello"
        assert len(server.heads) == 3


@pytest.mark.parametrize(
    ("always", "asked", "told"),
    [
        (busy("503 Busy"), 4, "answered 503"),
        (CUT, 4, "half-way"),
        (busy("503 Busy", "retry-after: 30"), 1, "answered 503"),  # longer than a file may take
        (busy("404 Not Found"), 1, "answered 404"),
        (busy("403 Forbidden"), 1, "answered 403"),
        (busy("302 Found", "location: https://login.example/"), 1, "redirects are not followed"),
    ],
)
def test_it_ends_undecided(always: bytes, asked: int, told: str) -> None:
    with serving(in_turn(always)) as server:
        with (
            HttpFetcher(server.url, limits=Limits(deadline=20), patience=PATIENT) as fetcher,
            pytest.raises(TransportError, match=told) as caught,
        ):
            fetcher.get("x", max_bytes=100)
        assert len(server.heads) == asked
    assert caught.value.exit_code == 3


def test_only_what_is_missing_is_asked_for_again() -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        first = head not in seen
        seen.append(head)
        connection.sendall(busy("503 Busy") if first and b"/5 " in head else response(b"hello"))

    seen: list[bytes] = []
    with serving(answer) as server, HttpFetcher(server.url, patience=PATIENT) as fetcher:
        assert fetcher.get_many([(str(number), 100) for number in range(8)]) == [b"hello"] * 8
        assert len(server.heads) == 9


def test_a_server_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: float) -> None:
        raise AssertionError

    monkeypatch.setattr("time.sleep", never)
    with HttpFetcher("http://127.0.0.1:9/") as fetcher, pytest.raises(TransportError, match="refused"):
        fetcher.get("x", max_bytes=100)


def test_a_busy_mirror_is_not_waited_for_beyond_the_deadline() -> None:
    with serving(in_turn(busy("503 Busy"))) as server:
        limits = Limits(deadline=0.3)
        with HttpFetcher(server.url, limits=limits) as fetcher, pytest.raises(TransportError, match="503"):
            fetcher.get("x", max_bytes=100)
        assert len(server.heads) == 1, "half a second later would be too late"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(b"0", 0.0), (b"120", 120.0), (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0), (b"soon", None), (b"", None),
     (b"-5", None), (b"9" * 400, None), (b"Thu, 99 Jan 9999 99:00:00 GMT", None), ("\u0661".encode(), None)],
)  # fmt: skip
def test_how_long_a_server_wants_to_be_left_alone(said: bytes, seconds: float | None) -> None:
    assert retry_after(said) == seconds


def test_patience_ends() -> None:
    patience = Patience(tries=3, pause=1.0, longest=5.0)
    busy = TransportError("busy", status=503, passing=True)
    pauses = [patience.pause_after(busy, tried) for tried in (1, 2, 3)]
    assert [None if pause is None else int(pause) for pause in pauses] == [1, 2, None]
    assert patience.pause_after(TransportError("gone", status=404), 1) is None
    assert int(patience.pause_after(TransportError("", passing=True, retry_after=4.0), 1) or 0) == 4
    assert patience.pause_after(TransportError("", passing=True, retry_after=6.0), 1) is None
