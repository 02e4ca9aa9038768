"""What a whole run may cost: a repository that keeps within the bounds of each file does not keep a build for days."""

from __future__ import annotations

import socket
import time

import pytest
from tests.support.servers.evil import once, response, serving

from carnet.errors import TransportError
from carnet_verifier.net.budget import Budget, RunBounds
from carnet_verifier.net.fetch import HttpFetcher, Limits


def slowly(connection: socket.socket, head: bytes) -> None:
    time.sleep(0.2 if b"slow" in head else 0.05)
    connection.sendall(response(b"x" * 100))


def test_a_run_that_takes_too_long_ends_and_says_what_was_slow() -> None:
    limits = Limits(connections=1, at_once=1)
    with (
        serving(slowly) as server,
        HttpFetcher(server.url, limits=limits, budget=Budget(RunBounds(seconds=0.5))) as fetcher,
    ):
        started = time.monotonic()
        answers = fetcher.get_many([("a", 100), ("slow", 100), *[(f"x/{n}", 100) for n in range(100)]])
        assert time.monotonic() - started < 4, "of more than five"
        assert answers[:2] == [b"x" * 100] * 2
        last = answers[-1]
    assert isinstance(last, TransportError)
    assert "gave up on the whole run" in str(last)
    assert "the slowest was slow" in str(last)
    assert last.hint


def test_a_run_that_fetches_too_much_ends() -> None:
    data = response(b"x" * 1000)
    with serving(once(data)) as server, HttpFetcher(server.url, budget=Budget(RunBounds(size=2500))) as fetcher:
        assert [fetcher.get("a", max_bytes=1000) for _ in range(2)] == [b"x" * 1000] * 2
        with pytest.raises(TransportError, match="3000 bytes"):
            fetcher.get("a", max_bytes=1000)
        with pytest.raises(TransportError, match="whole run"):
            fetcher.get("b", max_bytes=1000)


def test_without_a_budget_there_is_no_end() -> None:
    with serving(once(response(b"x"))) as server, HttpFetcher(server.url) as fetcher:
        assert all(fetcher.get("a", max_bytes=10) == b"x" for _ in range(50))
