"""Whoever drafts a first claim: it adopts what is published, and no version that only its drafter knows.

An adopted version needs no tarball in the folder and no evidence, so nobody looks at it. The drafter adds one to the
drafts before the others sign, and brings its tarball only when they have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, person, refusal, sign, with_dependency

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.releases import Digest, Releases, SignedRelease
from carnet.claims.submission import Submission
from carnet.errors import CarnetError, MetadataMismatch, NotFound
from carnet.tuf import paths
from carnet_mirror.intake import take_submission
from carnet_signer.metadata.role_files import CLAIM_LIFE
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Proposal

ROLE = paths.crate_role(NAME)
EVIL = honest_crate(str(NAME), "0.9.1")
LINE = line_from_crate(read_crate(EVIL, strict=True), pubtime=None)
STRANGE = SignedRelease(LINE.id, Digest(len(EVIL), LINE.cksum), LINE.identity(), False, "crates-io")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    return world


def with_releases(proposal: Proposal, edit: Callable[[Releases], Releases]) -> Proposal:
    """The folder's claim with other versions than it was made with."""
    draft = proposal.drafts[ROLE].signed
    releases = edit(Releases.of(NAME, draft))
    made = ownership.crate_draft(NAME, draft.version, releases, draft.expires - CLAIM_LIFE)
    return replace(proposal, drafts={**proposal.drafts, ROLE: made})


def edit_first(**fields: object) -> Callable[[Releases], Releases]:
    def edit(releases: Releases) -> Releases:
        first = replace(next(iter(releases)), **fields)  # type: ignore[arg-type]
        return Releases(releases.name, {**releases.versions, first.id.version: first})

    return edit


LIES: dict[str, Callable[[Releases], Releases]] = {
    "a version that nobody published": lambda releases: releases.with_release(STRANGE),
    "another index line": edit_first(index=with_dependency(LINE).identity()),
    "another tarball": edit_first(tarball=STRANGE.tarball),
    "a version left out": lambda releases: Releases(NAME, {}),
}


def hand_in(world: World, proposal: Proposal, targets: dict[str, bytes], lines: dict[str, IndexLine]) -> None:
    """Everybody signs; the drafter adds what only they have."""
    keys = [*map(person, ("alice", "bob", "rita", "sven")), *world.ceremony.holders[:2]]
    files = {role: draft.raw for role, draft in sign(proposal, keys).drafts.items()}
    written = {stem: line.to_bytes() for stem, line in lines.items()}
    body = Submission(NAME, files, {**proposal.targets, **targets}, written).to_bytes()
    take_submission(world.store, world.online, body, now=world.now)


@pytest.mark.parametrize("lie", LIES)
def test_a_mirror_takes_no_claim_that_adopts_what_it_does_not_list(world: World, lie: str) -> None:
    before = world.fresh().trusted.timestamp.raw
    proposal = with_releases(world.claim_proposal(), LIES[lie])
    why = refusal(lambda: hand_in(world, proposal, {}, {}))
    assert isinstance(why, CarnetError)
    assert "demo-lib@0.9." in str(why)
    assert world.fresh().trusted.timestamp.raw == before


@pytest.mark.parametrize("published", [True, False], ids=["a crate of the mirror's", "a name that it does not list"])
def test_a_tarball_comes_with_no_first_claim(tmp_path: Path, published: bool) -> None:
    world = World.make(tmp_path)
    if published:
        world.add(honest_crate(str(NAME), "0.9.0"))
    proposal = with_releases(world.claim_proposal(), LIES["a version that nobody published"])
    brought = {paths.crate_path(LINE.id): EVIL}
    why = refusal(lambda: hand_in(world, proposal, brought, {LINE.id.stem: LINE}))
    assert isinstance(why, MetadataMismatch)
    assert why.hint is not None
    assert "release assemble" in why.hint
    assert isinstance(refusal(lambda: world.admit("0.9.1")), NotFound)


def test_a_length_that_is_not_the_tarballs(world: World) -> None:
    listed = world.index().lines[0]
    proposal = with_releases(world.claim_proposal(), edit_first(tarball=Digest(1, listed.cksum)))
    assert isinstance(refusal(lambda: hand_in(world, proposal, {}, {})), MetadataMismatch)


def test_the_honest_claim_is_taken(world: World) -> None:
    world.claim()
    assert world.admit("0.9.0").crate == CrateId(CrateName(str(NAME)), Version("0.9.0"))
