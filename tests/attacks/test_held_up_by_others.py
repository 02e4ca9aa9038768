"""Whoever would keep others waiting: by what is gathered, by what waits on the disk, by a clock."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, body, person, sign
from tests.unit.mirror.test_submissions import ask, behind

from carnet.claims.submission import Submission
from carnet.errors import CarnetError, NoRoom
from carnet_mirror.gathering import Gathering
from carnet_mirror.intake import Receipt, published_already, take_submissions
from carnet_mirror.pace import APART, SAVED, Pace
from carnet_mirror.state.disk import RESERVE
from carnet_mirror.upkeep import sign_again
from carnet_mirror.web.submissions import Submissions


@dataclass
class Server:
    """What `serve` puts together for submissions, on a clock of its own."""

    world: World
    now: float = 0.0
    batches: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pace = Pace(lambda: self.now)

    def post(self, data: bytes) -> int:
        gathering = Gathering(self._take, lambda receipt: receipt.snapshot is not None, self.pace)
        status, _ = ask(Submissions(behind, self._look, gathering=gathering), [data])
        return status

    def _look(self, data: bytes) -> Receipt | None:
        return published_already(self.world.store, data, now=self.world.now)

    def _take(self, bodies: Sequence[bytes]) -> list[Receipt | CarnetError]:
        self.batches.append(len(bodies))
        return take_submissions(self.world.store, self.world.online, bodies, now=self.world.now)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    server = Server(world)

    async def in_this_thread(call: object) -> object:  # the database's connection is this one's
        return call()  # type: ignore[operator]

    monkeypatch.setattr("asyncio.to_thread", in_this_thread)
    return server


def released(world: World, version: str, by: Sequence[str] = ("rita", "sven")) -> bytes:
    return body(sign(world.release_proposal(version), map(person, by)))


def test_who_has_no_key_is_answered_at_once_and_makes_nobody_wait(server: Server) -> None:
    """What was published is public, signatures and all: anybody can hand it in again, as often as they like."""
    world = server.world
    published, unsigned = released(world, "1.0.0"), released(world, "1.1.0", by=("rita",))
    assert server.post(published) == 200
    for _ in range(SAVED):  # and now all that was saved is spent
        server.pace.published()
    server.now += APART
    for data, status in ((published, 200), (unsigned, 422), (b"x", 400), (Submission(NAME).to_bytes(), 422)):
        assert server.post(data) == status
    assert server.batches == [1]
    server.now += 3600
    assert server.post(released(world, "1.2.0")) == 200  # the control: what is new and signed is gathered
    assert server.batches == [1, 1]


def test_strangers_who_make_a_mirror_publish_do_not_spend_what_is_for_people_with_keys(server: Server) -> None:
    """One pull after another, each of another crate: whoever releases is not kept waiting by it."""
    while server.pace.wait(1, "anybody") <= APART:
        server.now += APART
        server.pace.published()
    server.now += APART
    assert server.pace.wait(1, "anybody") > 5 * APART  # the control
    assert server.pace.wait(1, "signed") == 0


def test_a_clock_that_jumps_makes_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace()
    pace.published()
    for jump in (-86_400 * 400, 86_400 * 400):
        monkeypatch.setattr(time, "time", lambda jump=jump: time.monotonic() + jump)
        assert pace.wait(1, "signed") <= APART


def test_who_fills_the_disk_does_not_end_the_mirrors_life(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    world = server.world
    full = SimpleNamespace(f_bavail=RESERVE - 1, f_frsize=1, f_files=10, f_favail=10**6)
    signed = released(world, "1.0.0")
    with monkeypatch.context() as disk:
        disk.setattr(os, "statvfs", lambda _: full)
        assert server.post(signed) == 507
        with pytest.raises(NoRoom):
            world.submit(world.release_proposal("1.0.0"))
        world.later(hours=13)
        before = world.store.read("metadata/timestamp.json")
        sign_again(world.store, world.online, now=world.now)
        assert world.store.read("metadata/timestamp.json") != before
    assert server.post(signed) == 200  # the control
