"""Answers whose length nobody has signed wait on the disk: a hostile mirror fills no memory."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path

import pytest
from tests.support.servers.evil import once, response, serving

from carnet.errors import TransportError
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.net.spool import Spool

MIB = 1024 * 1024


def test_what_goes_in_comes_out() -> None:
    small, large = Spool(), Spool()
    pieces = [os.urandom(300_000) for _ in range(10)]
    small.write(b"abc")
    for piece in pieces:
        large.write(piece)
    assert (small.read(), len(small)) == (b"abc", 3)
    assert large.read() == large.read() == b"".join(pieces)
    assert len(large) == 3_000_000


def test_it_has_no_name_on_the_disk_and_is_gone_with_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened = len(list(Path("/proc/self/fd").iterdir()))
    kept = Spool()
    kept.write(bytes(2 * MIB))
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == opened + 1
    del kept
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.write", full)
    with pytest.raises(TransportError, match="no space left") as refused:
        Spool().write(bytes(2 * MIB))
    monkeypatch.undo()
    assert "TMPDIR" in refused.value.hint


def test_many_large_answers_are_not_in_memory_at_once() -> None:
    body = response(b"x" * 24 * MIB)
    with serving(once(body)) as server, HttpFetcher(server.url) as fetcher:
        tracemalloc.start()
        try:
            answers = fetcher.get_many([(f"t/{n}", 25 * MIB) for n in range(8)], large=True)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 48 * MIB, "of 192 that were sent"
        assert [isinstance(each, bytes) and len(each) == 24 * MIB for each in answers] == [True] * 8


def test_a_large_answer_in_an_encoding_is_not_taken() -> None:
    """It would have to be unpacked in memory, and nobody asked for one."""
    zipped = response(b"abc", headers=("content-encoding: gzip",))
    with serving(once(zipped)) as server, HttpFetcher(server.url) as fetcher:
        (found,) = fetcher.get_many([("t/1", 100)], large=True)
    assert isinstance(found, TransportError)
    assert "unasked" in str(found)
