"""A mirror's clock that cannot be right is told before anything is signed, and by whoever looks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.ceremony import NOW, make_ceremony, make_key
from tests.support.worlds.claims import NAME, World, refusal

from carnet.claims.receipt import SignedReceipt, message
from carnet.claims.waiting import Waiting
from carnet.errors import ConfigError
from carnet_mirror.clock import clock_problem
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.upkeep import make_mirror, sign_again


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path, waits=Waiting())


def test_a_clock_that_is_about_right_is_not_spoken_of(world: World) -> None:
    for moment in (NOW, NOW - timedelta(minutes=4), NOW + timedelta(days=29), NOW + timedelta(days=89)):
        assert clock_problem(world.store, now=moment) is None
    world.now -= timedelta(minutes=4)
    sign_again(world.store, world.online, now=world.now)


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        (NOW - timedelta(minutes=6), "signed its timestamp at 2026-11-23T12:00:00Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), "root was made on 2026-11-23T12:00:00Z"),
        (NOW + timedelta(days=91), "targets has ended since"),
        (datetime(9999, 12, 31, tzinfo=UTC), "root has ended since"),
    ],
)
def test_an_absurd_clock_signs_nothing_and_is_told(world: World, moment: datetime, says: str) -> None:
    before = UnverifiedView(world.store).timestamp
    world.now = moment
    attempts: tuple[Callable[[], object], ...] = (
        lambda: sign_again(world.store, world.online, now=moment),
        lambda: sign_again(world.store, world.online, now=moment, roles={"index": world.ceremony.files["index"]}),
    )
    for attempt in attempts:
        error = refusal(attempt)
        assert isinstance(error, ConfigError)
        assert says in str(error)
        assert "clock" in error.hint
    assert says in str(clock_problem(world.store, now=moment))
    found = fsck(world.store, now=moment, progress=quiet)
    assert any(problem.where == "clock" and says in problem.what for problem in found.problems)
    assert UnverifiedView(world.store).timestamp == before


def test_a_mirror_that_signed_while_its_clock_was_ahead_finds_back(world: World) -> None:
    """The operator has to say so: clients that saw the wrong timestamp go on when they see the next one."""
    ahead = NOW + timedelta(days=20)
    sign_again(world.store, world.online, now=ahead)
    assert "--clock-is-right" in refusal(lambda: sign_again(world.store, world.online, now=NOW)).hint
    sign_again(world.store, world.online, now=NOW, clock_is_right=True)
    assert UnverifiedView(world.store).timestamp.expires == NOW + timedelta(days=1)
    assert clock_problem(world.store, now=NOW) is None


def test_no_mirror_is_made_by_a_clock_of_long_ago(tmp_path: Path) -> None:
    ceremony = make_ceremony(bit_length=1)

    def make(now: datetime) -> object:
        return make_mirror(
            tmp_path / "mirror", ceremony.files, lambda: nullcontext(ceremony.signer()), lambda _: None, now=now
        )

    assert "was made on" in str(refusal(lambda: make(datetime(1970, 1, 1, tzinfo=UTC))))
    assert not (tmp_path / "mirror").exists()
    assert make(NOW)


def test_a_receipt_of_a_clock_that_was_ahead_or_of_a_replaced_key_is_given_anew(world: World) -> None:
    world.add(honest_crate(str(NAME), "0.9.0"))
    proposal = world.claim_proposal()
    first = world.propose(proposal)
    with world.store.change():
        entry = world.store.pending.entry(first.said.proposed.digest)
        assert entry is not None
        other = SignedReceipt(first.receipt.payload, (make_key("another").sign(message(first.receipt.payload)),))
        world.store.pending.add(replace(entry, receipt=other.to_bytes()), now=world.now)
    world.later(hours=1)
    again = world.propose(proposal)
    assert again.said.time == NOW + timedelta(hours=1)
    world.later(hours=-1)
    assert world.propose(proposal).said.time == NOW
    assert len(world.store.pending.entries(world.now)) == 1
