"""When a mirror signs again, and what it says about expiry."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.registries.mirror_process import make_mirror
from tests.support.worlds.ceremony import NOW
from tests.support.worlds.claims import NAME, World
from tests.support.worlds.release import synthetic

from carnet.errors import SigningError
from carnet_mirror.schedule import (
    Expiry,
    Reminders,
    bin_count,
    claims_that_end,
    expiries,
    keep_fresh,
    timestamp_due,
)
from carnet_signer.metadata.role_files import TIMESTAMP_LIFE
from carnet_signer.proposals.ownership import NewLayout


def test_the_timestamp_is_due_from_half_of_its_life_on() -> None:
    expires = NOW + TIMESTAMP_LIFE
    assert not timestamp_due(expires, NOW + TIMESTAMP_LIFE / 2 - timedelta(seconds=1))
    assert timestamp_due(expires, NOW + TIMESTAMP_LIFE / 2)
    assert timestamp_due(expires, NOW + 3 * TIMESTAMP_LIFE)


@pytest.mark.parametrize(
    ("days", "online", "warning"),
    [
        (31, False, ""),
        (30, False, "expires in 30 days"),
        (1, False, "expires in 1 day"),
        (0, False, "expired"),
        (-5, True, "expired"),
        (23, True, ""),
        (22, True, "should have been signed again"),
    ],
)
def test_people_are_warned_a_month_ahead(days: int, online: bool, warning: str) -> None:
    role = "index-*" if online else "targets"
    assert Expiry(role, 1, NOW + timedelta(days=days), online).warning(NOW) == warning


def test_a_reader_of_the_log_is_told_a_month_two_weeks_and_a_week_ahead_and_at_the_end() -> None:
    reminders = Reminders()
    ends = NOW + timedelta(days=40)
    told = []
    for hours in range(0, 24 * 42, 6):
        now = NOW + timedelta(hours=hours)
        told += [(hours / 24, one.role) for one in reminders.due([Expiry("targets", 1, ends, False)], now=now)]
    assert told == [(day, "targets") for day in (10, 26, 33, 40)]
    assert not reminders.due([Expiry("targets", 2, ends + timedelta(days=90), False)], now=ends), "it was signed again"
    assert Reminders().due([Expiry("targets", 1, ends, False)], now=ends), "who starts anew tells it anew"


def test_every_role_is_listed_once(tmp_path: Path) -> None:
    with make_mirror(tmp_path / "mirror").open() as store:
        listed = expiries(store)
        assert bin_count(store) == 4
    names = [one.role for one in listed]
    assert names[:3] == ["root", "timestamp", "snapshot"]
    assert sorted(names[3:]) == ["claims", "claims-*", "index", "index-*", "targets"]
    assert [one.role for one in listed if one.online] == ["timestamp", "snapshot", "index-*"]


def test_signing_again_goes_on_after_a_failure() -> None:
    said: list[str] = []
    signed: list[str] = []

    def sign() -> None:
        if not said:
            raise SigningError("the signer is away")
        signed.append("again")
        raise KeyboardInterrupt  # ends the endless loop of this test

    async def run() -> None:
        await keep_fresh(lambda: True, sign, said.append, tick=0.001)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run())
    assert (said, signed) == (["signing again failed: the signer is away"], ["again"])


def test_nothing_is_signed_before_it_is_due() -> None:
    def never() -> None:
        pytest.fail("nothing was due")

    async def run() -> None:
        await asyncio.wait_for(keep_fresh(lambda: False, never, print, tick=0.001), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def test_owner_and_crate_roles_and_layouts_that_end_are_told(tmp_path: Path) -> None:
    """Years later nobody remembers: each is told of a month ahead, by name."""
    world, made = World.make(tmp_path), synthetic()
    world.claim(layout=NewLayout(made.layout_file, made.terms))
    ends = made.layout.expires
    assert claims_that_end(world.store, now=world.now) == []
    soon = claims_that_end(world.store, now=ends - timedelta(days=10))
    assert [(one.role, one.expires) for one in soon] == [(f"layout of {NAME.canonical}", ends)]
    late = claims_that_end(world.store, now=world.now + timedelta(days=4 * 365))
    assert [one.role for one in late if not one.role.startswith("layout")] == [
        f"crate.{NAME.canonical}",
        f"owner.{NAME.canonical}",
    ]
    assert {one.warning(world.now + timedelta(days=4 * 365)) for one in late} == {"expired"}
