"""Attacker: whoever fills the list of what waits, so that somebody else's claim finds no place or nobody sees it.

What must hold: however many networks they come from, they close no name to others while the list has room; who is given
a wide network is one sender; and what the operator drops of it stays public, and ends nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, facts, refusal
from tests.support.worlds.waiting import later, seen, signed

from carnet.claims.waiting import Waiting
from carnet.errors import ConfigError
from carnet_mirror.state.pending import MAX_REASON, PendingEntry
from carnet_mirror.waiting import Public, drop_pending

REASON = "300 names in one night"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.make(tmp_path, waits=Waiting(claim=7, takeover=30))
    made.add(honest_crate(str(NAME), "0.9.0"))
    return made


@pytest.fixture
def junk(world: World) -> PendingEntry:
    """An entry to be sent again and again, under other digests."""
    said = world.propose(world.claim_proposal(who=facts(owners=("junk", "bob", "carol"))), source="192.0.2.0/24")
    found = world.store.pending.entry(said.said.proposed.digest)
    assert found is not None
    with world.store.change():
        world.store.pending.forget(NAME)
    return found


def sent(world: World, junk: PendingEntry, number: int, source: str) -> None:
    """What a mirror does with one more proposal, without the signature over its receipt."""
    entry = replace(junk, digest=f"{number:064x}", asked=world.now, source=source)
    with world.store.change():
        world.store.pending.add(entry, now=world.now)


def honest(world: World) -> Public:
    return world.propose(world.claim_proposal(), source="203.0.113.0/24")


def digests(world: World) -> set[str]:
    return {entry.digest for entry in world.store.pending.entries(world.now)}


def test_no_number_of_networks_closes_a_name(world: World, junk: PendingEntry) -> None:
    for number in range(40):
        sent(world, junk, number, f"10.{number}.0.0/24")
    mine = honest(world).said.proposed.digest
    for number in range(40, 80):
        sent(world, junk, number, f"10.{number}.0.0/24")
    assert mine in digests(world), "who has one entry loses none to those who have one"
    assert "too many" in str(refusal(partial(sent, world, junk, 99, "203.0.113.0/24"))), "a second is no newcomer's"


@pytest.mark.parametrize(
    "network", ["2001:db8:{:x}::/48", "10.0.{}.0/24"], ids=["48 bits within 32", "24 bits within 16"]
)
@pytest.mark.parametrize("bound", ["MAX_OF_CRATE", "MAX_ENTRIES"])
def test_who_is_given_a_wide_network_is_one_sender(
    world: World, junk: PendingEntry, monkeypatch: pytest.MonkeyPatch, network: str, bound: str
) -> None:
    monkeypatch.setattr(f"carnet_mirror.state.pending.{bound}", 4)
    for number in range(4):
        sent(world, junk, number, network.format(number))
    assert "too many" in str(refusal(partial(sent, world, junk, 4, network.format(4))))
    assert honest(world).said.proposed.digest in digests(world)
    assert len(digests(world)) == 4


def test_what_is_dropped_holds_no_place_and_counts_against_who_sent_it(
    world: World, junk: PendingEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carnet_mirror.state.pending.MAX_ENTRIES", 4)
    for number in range(4):
        sent(world, junk, number, f"10.{number}.0.0/24")
    assert "too many" in str(refusal(partial(honest, world)))
    assert len(drop_pending(world.store, [str(NAME)], REASON, now=world.now)) == 4
    mine = honest(world).said.proposed.digest
    for number in range(4, 8):
        sent(world, junk, number, f"10.{number}.0.0/24") if number < 7 else refusal(
            partial(sent, world, junk, number, "10.0.0.0/24")
        )
    assert mine in digests(world)
    assert f"{0:064x}" in digests(world), "it is listed still"


def test_what_the_operator_drops_stays_public_and_waits_all_the_same(world: World) -> None:
    proposal = world.claim_proposal()
    public = world.propose(proposal)
    digest = public.said.proposed.digest
    (dropped,) = drop_pending(world.store, [digest], REASON, now=world.now)
    assert dropped.dropped is not None
    later(world, days=7)
    drop_pending(world.store, [NAME.canonical], "another word, later", now=world.now)
    (listed,) = world.store.pending.entries(world.now)
    assert (listed.dropped, listed.receipt) == (dropped.dropped, public.receipt.to_bytes())
    assert world.propose(proposal).receipt == public.receipt
    assert seen(world, proposal, public.receipt).problem is None
    assert world.submit(signed(world, proposal)).snapshot is not None, "holders decide"


@pytest.mark.parametrize("reason", ["", " ", "x" * (MAX_REASON + 1), "two\nlines", "\x1b[2J", "back\u202ewards"])
def test_a_reason_is_one_plain_line(world: World, reason: str) -> None:
    world.propose(world.claim_proposal())
    assert isinstance(refusal(lambda: drop_pending(world.store, [str(NAME)], reason, now=world.now)), ConfigError)
    assert not any(entry.dropped for entry in world.store.pending.entries(world.now))


def test_nothing_is_dropped_where_one_of_several_is_not_there(world: World) -> None:
    world.propose(world.claim_proposal())
    wanted = [str(NAME), "0" * 64]
    assert isinstance(refusal(lambda: drop_pending(world.store, wanted, REASON, now=world.now)), ConfigError)
    assert not any(entry.dropped for entry in world.store.pending.entries(world.now))
