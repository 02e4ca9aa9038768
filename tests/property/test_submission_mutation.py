"""One changed byte in an honest submission: a refusal of ours, or the very same publication."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.worlds.claims import NAME, World, body, person, sign
from tests.support.worlds.release import synthetic

from carnet.cargo.names import CrateId
from carnet.errors import CarnetError
from carnet_mirror.intake import take_submission
from carnet_signer.proposals import ownership

RELEASE = synthetic(crate=CrateId.of(str(NAME), "1.0.0"))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    """One claimed registry; another takes its place when a submission was taken."""

    def fresh() -> World:
        world = World.make(tmp_path_factory.mktemp("world"))
        world.claim(layout=ownership.NewLayout(RELEASE.layout_file, RELEASE.terms))
        return world

    return [fresh() for _ in range(3)]


def honest(world: World) -> bytes:
    proposal = world.release_proposal(tarball=RELEASE.tarball, bundle=RELEASE.bundle())
    return body(sign(proposal, map(person, ("rita", "sven"))))


def test_untouched_it_is_taken(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim(layout=ownership.NewLayout(RELEASE.layout_file, RELEASE.terms))
    assert take_submission(world.store, world.online, honest(world), now=world.now).added == ("1.0.0",)
    assert str(world.admit("1.0.0").level) == "reproduced"


@settings(max_examples=80)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), region=st.sampled_from(["any", "roles"]))
def test_one_changed_byte_publishes_nothing_else(worlds: list[World], place: float, change: int, region: str) -> None:
    world = worlds[0]
    data = bytearray(honest(world))
    # Most bytes are the tarball's and the bundle's: half of the tries go to what comes before them.
    at = int(place * (len(data) if region == "any" else min(len(data), 6000)))
    data[at] ^= change
    before = world.store.crates.versions(NAME)
    try:
        take_submission(world.store, world.online, bytes(data), now=world.now)
    except CarnetError:
        assert world.store.crates.versions(NAME) == before
        return
    admission = world.admit("1.0.0")
    assert admission.sha256 == RELEASE.crate.sha256
    assert str(admission.level) == "reproduced"
    worlds.pop(0)
