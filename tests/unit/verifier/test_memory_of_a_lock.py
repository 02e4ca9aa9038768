"""What verifying a lock has in memory: one crate's tarball at a time, however many crates there are."""

from __future__ import annotations

import gc
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from tests.support.servers.evil import response, serving
from tests.support.worlds.claims import World
from tests.support.worlds.release import MANIFEST, HonestRelease, synthetic

from carnet.cargo.names import CrateId
from carnet.level import Level
from carnet_signer.proposals import ownership
from carnet_verifier import tarballs
from carnet_verifier.admit import Wanted, admit_all
from carnet_verifier.net import spool
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.outcomes import Admission
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.refresh import read_repository

LARGE = 700_000
"""Bytes of each tarball: more than waits in memory here."""
FEW, MANY = 2, 9


def large_release(number: int) -> HonestRelease:
    source = {
        "Cargo.toml": MANIFEST.replace(b"0.1.0", b"0.%d.0" % number),
        "README.md": os.urandom(LARGE),
        "src/lib.rs": b"pub fn hello() {}\n",
        "run.sh": b"#!/bin/sh\n",
    }
    return synthetic(source, crate=CrateId.of("demo-lib", f"0.{number}.0"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A claimed crate of many large versions, whose owners ask for all of the evidence."""
    world = World.make(tmp_path_factory.mktemp("lock"))
    first = synthetic(crate=CrateId.of("demo-lib", "0.0.1"))
    world.claim(layout=ownership.NewLayout(first.layout_file, first.terms))
    for number in range(1, MANY + 1):
        release = large_release(number)
        world.release(tarball=release.tarball, bundle=release.bundle())
    return world


@pytest.fixture
def fetcher(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpFetcher]:
    monkeypatch.setattr(spool, "IN_MEMORY", 64 * 1024)
    one_at_a_time = threading.Lock()  # the server's memory is this process' as well

    def answer(connection: socket.socket, head: bytes) -> None:
        path = unquote(head.split()[1].decode()).removeprefix("/repo/")
        with one_at_a_time:
            body = world.store.read(path)
            connection.sendall(response(status="404 Not Found") if body is None else response(body))

    with serving(answer) as server, HttpFetcher(server.url) as fetcher:
        yield fetcher


def peak(world: World, fetcher: HttpFetcher, count: int) -> int:
    """Bytes at the peak while so many crates are verified, as `carnet verify` does: what was decided is kept."""
    wanted = [Wanted(CrateId.of("demo-lib", f"0.{number}.0")) for number in range(1, count + 1)]
    view = read_repository(world.ceremony.root, fetcher, now=world.now)
    gc.collect()
    tracemalloc.start()
    try:
        levels = []
        for outcome in admit_all(view, wanted, Policy(), None, now=world.now):
            assert isinstance(outcome.result, Admission), outcome.result
            levels.append(outcome.result.level)
        assert levels == [Level.REPRODUCED] * count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_crates(world: World, fetcher: HttpFetcher) -> None:
    few = peak(world, fetcher, FEW)
    many = peak(world, fetcher, MANY)
    assert few > LARGE, "one of them is in memory"
    assert many < few + 4 * LARGE, f"{FEW} crates took {few / 1e6:.1f} MB, and {MANY} of them {many / 1e6:.1f} MB"


def test_evidence_that_is_large_waits_on_the_disk_as_tarballs_do(
    world: World, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may release may sign a bundle of 64 MiB: sixteen of them would wait in memory."""
    monkeypatch.setattr(tarballs, "_SMALL", 1000)
    view = read_repository(world.ceremony.root, fetcher, now=world.now)
    waiting: list[str] = []
    large = type(view).download_large

    def counting(self: object, targets: object) -> object:
        waiting.extend(target.path for target in targets)  # type: ignore[attr-defined]
        return large(self, targets)  # type: ignore[arg-type]

    monkeypatch.setattr(type(view), "download_large", counting)
    (outcome,) = admit_all(view, [Wanted(CrateId.of("demo-lib", "0.1.0"))], Policy(), None, now=world.now)
    assert isinstance(outcome.result, Admission), outcome.result
    assert sorted(path.rpartition(".")[2] for path in waiting) == ["crate", "json", "json"]
