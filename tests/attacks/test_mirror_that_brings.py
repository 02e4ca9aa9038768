"""Attacker: a mirror that is asked to bring something, and lies: says that it did, never ends, steers the terminal.

What must hold: nothing that it answers is believed, so a lie costs one more look at what is signed; time, memory,
rounds and lines on the terminal are bounded; it is asked by the way and as the person that everything else is.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from tests.support.servers.evil import Answer, once, response, serving

from carnet.cargo.asked import AskedFor
from carnet.cargo.names import CrateId
from carnet.cargo.pull import MAX_ANSWER, NotBrought, PullAsk, PullEnd, PullProgress
from carnet_cli.report.gate import TerminalReporter
from carnet_gate.args import parse
from carnet_gate.mirror_asks import MirrorAsks
from carnet_verifier.net import post
from carnet_verifier.net.route import DIRECT

LEAF = AskedFor.parse("leaf@1")
END = json.dumps(PullEnd(published=("leaf@1.0.0",), snapshot=7).to_object()).encode() + b"\n"
STEP = json.dumps(PullProgress("fetching", 1, 2).to_object()).encode() + b"\n"


def streaming(*parts: bytes, status: str = "200 OK") -> bytes:
    """An answer without a length, which the end of the connection ends."""
    return f"HTTP/1.1 {status}\r\nconnection: close\r\n\r\n".encode() + b"".join(parts)


def asked(
    answer: Answer, *, seconds: float = 20.0, command: Sequence[str] = ("build",), wanted: Sequence[AskedFor] = (LEAF,)
) -> tuple[int, list[bytes]]:
    """How often everything is tried, where the mirror never brings what is asked for; and what it was asked."""
    attempts = 0
    with serving(answer, close_after=True) as server:
        asks = MirrorAsks(server.url, DIRECT, seconds, invocation=parse(command), reporter=TerminalReporter())

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            asks.ask(wanted)

        asks.trying(attempt)
        return attempts, server.heads


def test_a_mirror_that_says_that_it_brought_it_is_looked_at_once_more(capsys: pytest.CaptureFixture[str]) -> None:
    """As is one that did: the second attempt asks for nothing, and tells what is missing."""
    attempts, (head,) = asked(once(streaming(STEP, END)))
    assert attempts == 2
    assert head.startswith(b"POST /repo/api/v1/carnet/pull HTTP/1.1\r\n")
    err = capsys.readouterr().err
    assert "Asking the mirror for leaf@^1\n" in err
    assert "says that it has brought 1 version\n" in err


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("404 Not Found", ""),
        ("405 Method Not Allowed", ""),
        ("403 Forbidden", ""),
        ("501 Not Implemented", ""),
        ("302 Found", "could not be asked"),
        ("500 Oh", "could not be asked"),
        ("429 Too Many\r\nretry-after: 3600", "it may be asked again in 60 minutes"),
        ("429 Too Many\r\nretry-after: 99999999999999999999", "it may be asked again in 2778 hours"),
        ("429 Too Many\r\nretry-after: soon", "brings nothing more for this network for now\n"),
    ],
)
def test_a_mirror_that_does_not_take_the_ask_is_asked_once(
    status: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts, heads = asked(once(response(b"<html>", status=status, headers=("location: http://192.0.2.1/",))))
    assert (attempts, len(heads)) == (1, 1)
    err = capsys.readouterr().err
    assert ("warning" in err) == bool(says)
    assert says in err


def test_a_mirror_that_is_busy_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter((response(status="503 Busy", headers=("retry-after: 0",)), streaming(END)))
    attempts, heads = asked(lambda connection, _: connection.sendall(next(answers)))
    assert (attempts, len(heads)) == (2, 2)
    assert "warning" not in capsys.readouterr().err


def test_an_answer_without_an_end_is_cut_and_fills_neither_memory_nor_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent = 0

    def endless(connection: socket.socket, part: bytes) -> None:
        nonlocal sent
        sent = 0
        connection.sendall(streaming())
        while sent < 64 * MAX_ANSWER:
            connection.sendall(part)
            sent += len(part)

    two = (
        STEP[:-1]
        + b" " * 4000
        + b"\n"
        + json.dumps(PullProgress("checking", 2**60, -1).to_object()).encode()
        + b" " * 4000
        + b"\n"
    )
    for part in (two * 20, b'{"phase": "' + b"x" * 65_536, b"\n" * 65_536):
        attempts, _ = asked(lambda connection, _, part=part: endless(connection, part))  # type: ignore[misc]
        assert attempts in (1, 2)
        assert sent < 16 * MAX_ANSWER  # what the system's buffers hold comes on top of what is read
        err = capsys.readouterr().err
        assert err.count("\n") < 40
        assert len(err) < 4000


@pytest.mark.parametrize("pause", [0.02, 5.0])
def test_a_mirror_that_takes_its_time_has_no_more_than_it_is_given(pause: float) -> None:
    def trickle(connection: socket.socket, _: bytes) -> None:
        connection.sendall(streaming())
        for byte in itertools.cycle(STEP):
            connection.sendall(bytes([byte]))
            time.sleep(pause)

    begun = time.monotonic()
    attempts, heads = asked(trickle, seconds=0.3)
    assert attempts in (1, 2)
    assert len(heads) == 1
    assert time.monotonic() - begun < 5.0


def test_what_it_says_does_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = NotBrought("\x1b]0;owned\x07leaf\n    Admitted 9 crates", "\x1b[2J\r\u202egood\nerror: all is well")
    end = PullEnd(refused=(evil,) * 900, missing=(evil,) * 900, snapshot=1)
    odd = {"phase": "\x1b[2Jfetching", "done": 1, "of": 2}
    asked(once(streaming(json.dumps(odd).encode() + b"\n", json.dumps(end.to_object()).encode() + b"\n")))
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\u202e" not in err
    assert "did not bring 1780 more" in err
    lines = err.splitlines()
    assert len(lines) < 30
    assert all(line.startswith("      ") for line in lines)


@pytest.mark.parametrize(
    "lines",
    [
        b"<html>\n",
        b'{"done": true}\n',
        b"[" * 100_000 + b"\n",
        b'{"done": true, "published": [1], "snapshot": 1}\n',
        b'{"phase": "fetching", "done": 1e9, "of": 1}\n',
        STEP,  # and then nothing
        END[:-1],
        b"",
    ],
)
def test_nonsense_ends_as_if_nothing_had_been_asked(lines: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    attempts, heads = asked(once(streaming(lines)))
    assert attempts in (1, 2)
    assert len(heads) == 1


def test_rounds_are_few_and_each_asks_for_something_new() -> None:
    names = (AskedFor.parse(f"crate-{number}") for number in itertools.count())
    with serving(once(streaming(END)), close_after=True) as server:
        asks = MirrorAsks(server.url, DIRECT, 60.0, invocation=parse(["build"]), reporter=TerminalReporter())
        asks.trying(lambda: asks.ask([next(names)]))
        assert len(server.heads) == 8


@pytest.mark.parametrize("flag", ["--offline", "--frozen"])
def test_who_forbids_the_network_asks_nobody(flag: str) -> None:
    assert asked(once(streaming(END)), command=("build", flag)) == (1, [])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (response(status="405 No"), ""),
        (response(status="500 Oh"), ""),
        (response(status="429 Too Many"), "brings nothing more"),
        (streaming(END), "Asking the mirror for leaf@^1"),
    ],
)
def test_what_is_asked_ahead_stops_nothing_and_is_told_where_it_was_taken(
    answer: bytes, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(once(answer), close_after=True) as server:
        asks = MirrorAsks(server.url, DIRECT, 20.0, invocation=parse(["update"]), reporter=TerminalReporter())
        asks.ask_ahead([LEAF])
        asks.ask_ahead([LEAF])
        assert len(server.heads) == 1
    err = capsys.readouterr().err
    assert told in err
    assert bool(err) == bool(told)


def test_a_lock_is_asked_for_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2,000 packages, exactly those versions, and nothing of what they depend on."""
    bodies: list[bytes] = []

    def posted(url: str, path: str, body: bytes, **_: object) -> Iterator[bytes]:
        bodies.append(body)
        yield END.strip()

    monkeypatch.setattr(post, "post", posted)
    crates = [CrateId.parse(f"crate-{number}@1.{number}.0+build") for number in range(2000)]
    asks = MirrorAsks("http://127.0.0.1", DIRECT, 60.0, invocation=parse(["build"]), reporter=TerminalReporter())
    asks.trying(lambda: asks.ask_for_versions(crates))
    (body,) = bodies
    ask = PullAsk.from_bytes(body)
    assert (ask.locked, len(ask.asked)) == (True, 2000)
    assert str(ask.asked[7]) == "crate-7@=1.7.0"
