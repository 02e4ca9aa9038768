"""A stolen token of the upstream registry: what it publishes there does not reach a claimed crate here."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import Tarballs, quiet
from tests.support.worlds.claims import NAME, World, person, refusal, sign

from carnet.cargo.names import CrateName
from carnet.claims.submission import Submission
from carnet.errors import NotFound, VerificationError
from carnet_mirror.intake import take_submission
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_signer.metadata import role_files
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Request


def sync_from_upstream(world: World, *tarballs: bytes) -> SyncReport:
    upstream = Tarballs(tarballs)
    return sync(world.store, world.online, upstream, upstream.packages, now=world.now, progress=quiet)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    world.release("1.0.0")
    return world


EVIL = honest_crate(str(NAME), "1.0.1", source="pub fn steal() {}\n")


def test_an_unclaimed_crate_is_synced(world: World) -> None:
    report = sync_from_upstream(world, honest_crate("other", "1.0.0"))
    assert [str(crate) for crate in report.added] == ["other@1.0.0"]


def test_a_new_version_at_the_upstream_stays_there(world: World) -> None:
    before = world.index().to_bytes()
    report = sync_from_upstream(world, EVIL)
    assert not report.added
    assert "claimed" in report.refused[0].reason
    assert world.index().to_bytes() == before
    assert isinstance(refusal(lambda: world.admit("1.0.1")), NotFound)
    assert world.admit("1.0.0")


@pytest.mark.parametrize("spelling", ["demo_lib", "Demo-Lib"])
def test_another_spelling_at_the_upstream_is_the_same_crate(world: World, spelling: str) -> None:
    report = sync_from_upstream(world, honest_crate(spelling, "1.0.1"))
    assert not report.added
    assert len(report.refused) == 1


def test_a_replaced_version_at_the_upstream_changes_nothing(world: World) -> None:
    """Dependency confusion: a claimed name is never looked for upstream, not even to refresh what is there."""
    other = honest_crate(str(NAME), "1.0.0", source="pub fn steal() {}\n")
    before = world.index().to_bytes()
    report = sync_from_upstream(world, other)
    assert report.refused
    assert world.index().to_bytes() == before


def test_a_claim_without_versions_is_not_filled_from_upstream(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    assert sync_from_upstream(world, EVIL).refused
    assert world.store.crates.versions(NAME) == []


def test_a_submission_without_signatures(world: World) -> None:
    proposal = world.release_proposal(tarball=EVIL)
    files = {role: draft.raw for role, draft in proposal.drafts.items()}
    body = Submission(NAME, files, proposal.targets, proposal.lines).to_bytes()
    assert isinstance(
        refusal(lambda: take_submission(world.store, world.online, body, now=world.now)), VerificationError
    )
    empty = Submission(NAME, {}, proposal.targets, proposal.lines).to_bytes()
    assert isinstance(
        refusal(lambda: take_submission(world.store, world.online, empty, now=world.now)), VerificationError
    )
    assert isinstance(refusal(lambda: world.admit("1.0.1")), NotFound)


def test_nobody_gives_a_claim_up_with_a_file_that_is_public(tmp_path: Path) -> None:
    """The empty shard of a crate that was given up is signed by the right keys, and anybody may post it."""
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    other = CrateName("other")
    assert other.shard != NAME.shard
    keys = [person(name) for name in ("alice", "bob", "rita", "sven")]
    holders = world.ceremony.holders[:2]
    world.submit(sign(world.claim_proposal(name=other), [*keys, *holders]))
    request = Request("give-up", other, role_files.at(world.now))
    world.submit(sign(ownership.give_up(world.published(other), request, now=world.now), holders))
    assert world.fresh().claim(other) is None
    public = world.store.read(f"metadata/3.claims-{other.shard}.json")
    assert public is not None
    before = world.fresh().version(f"claims-{NAME.shard}")
    assert before == 2, "so that version 3 is the next one"
    post = Submission(NAME, {f"claims-{NAME.shard}": public}).to_bytes()
    with pytest.raises(VerificationError, match="does not say that it speaks for that shard"):
        take_submission(world.store, world.online, post, now=world.now)
    assert world.fresh().claim(NAME) is not None
