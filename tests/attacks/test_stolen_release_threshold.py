"""A stolen threshold of release keys: a version that satisfies the owners' layout, or none; and the owners end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, people, person, refusal, sign
from tests.support.worlds.release import WHO, HonestRelease, layout_for, synthetic

from carnet import strictjson
from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateId
from carnet.claims.releases import Demands, Digest, Releases
from carnet.errors import CarnetError, FormatError, LayoutRefused, MetadataError, PolicyRefused, ProvenanceError
from carnet.intoto.bundle import Bundle
from carnet.level import Level
from carnet.tuf import paths
from carnet.tuf.structure import role_field
from carnet_signer.metadata import role_files
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Proposal, draft
from carnet_verifier.provenance.kind import PROVENANCE

HONEST = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))
NEXT = synthetic(crate=CrateId.of(str(NAME), "0.2.0"))
THIEVES = ("rita", "sven")


def layout_of(release: HonestRelease) -> ownership.NewLayout:
    return ownership.NewLayout(release.layout_file, release.terms)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.claim(layout=layout_of(HONEST))
    world.release(tarball=HONEST.tarball, bundle=HONEST.bundle())
    return world


def publish_as_the_thieves(world: World, proposal: Proposal) -> None:
    """Past the intake, with the registry's online keys: only clients are left to refuse."""
    world.publish_roles({role: draft.raw for role, draft in proposal.drafts.items()}, dict(proposal.targets))
    lines = [IndexLine.from_bytes(data) for data in proposal.lines.values()]
    world.publish_index(lambda index: [*index.lines, *lines])


def forged(world: World, tarball: bytes, bundle: Bundle | None) -> Proposal:
    return sign(world.release_proposal(tarball=tarball, bundle=bundle), map(person, THIEVES))


def test_an_honest_release_reaches_provenance(world: World) -> None:
    assert world.admit("0.1.0").level is Level.REPRODUCED
    world.release(tarball=NEXT.tarball, bundle=NEXT.bundle())
    admission = world.admit("0.2.0")
    assert admission.level is Level.REPRODUCED
    assert admission.evidence.of(PROVENANCE) is not None


def test_a_release_without_evidence(world: World) -> None:
    proposal = forged(world, NEXT.tarball, None)
    error = refusal(lambda: world.submit(proposal))
    assert isinstance(error, PolicyRefused)
    assert "its owners ask for provenance" in str(error)
    publish_as_the_thieves(world, proposal)
    assert isinstance(refusal(lambda: world.admit("0.2.0")), PolicyRefused)
    assert world.admit("0.1.0")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda release: release.without("review"), id="no review"),
        pytest.param(lambda release: release.signed_by("tag", "mallory"), id="tagged by a stranger"),
        pytest.param(lambda release: release.signed_by("package", "alice"), id="tagged and packaged by one person"),
        pytest.param(lambda release: release.without("test"), id="no test"),
    ],
)
def test_evidence_that_does_not_hold(world: World, change: Callable[[HonestRelease], HonestRelease]) -> None:
    proposal = forged(world, NEXT.tarball, change(NEXT).bundle())
    assert isinstance(refusal(lambda: world.submit(proposal)), ProvenanceError)
    publish_as_the_thieves(world, proposal)
    assert isinstance(refusal(lambda: world.admit("0.2.0")), ProvenanceError)


def test_another_tarball_with_the_evidence_of_the_tagged_one(world: World) -> None:

    evil = honest_crate(str(NAME), "0.2.0", source="pub fn evil() {}\n")
    proposal = forged(world, evil, NEXT.bundle())
    assert isinstance(refusal(lambda: world.submit(proposal)), CarnetError)
    publish_as_the_thieves(world, proposal)
    assert isinstance(refusal(lambda: world.admit("0.2.0")), CarnetError)


def test_a_layout_weakened_with_release_keys(world: World) -> None:
    """The thieves make a layout that asks for little, and put it into the bundle."""
    weak_layout, weak_terms = layout_for("minimal")
    weak = replace(NEXT, layout=weak_layout, terms=weak_terms)
    weak = weak.without("review").without("test").without("rebuild")
    proposal = forged(world, NEXT.tarball, weak.bundle())
    assert isinstance(refusal(lambda: world.submit(proposal)), ProvenanceError)
    publish_as_the_thieves(world, proposal)
    assert isinstance(refusal(lambda: world.admit("0.2.0")), ProvenanceError)


def test_the_layout_target_cannot_be_listed_by_the_crate_role(world: World) -> None:
    proposal = world.release_proposal(tarball=NEXT.tarball, bundle=NEXT.bundle())
    role = paths.crate_role(NAME)

    signed = strictjson.parse_object(proposal.drafts[role].message, role, max_bytes=10**7)
    listed = signed["targets"]
    assert isinstance(listed, dict)
    listed[paths.layout_path(NAME, 9)] = {"length": 1, "hashes": {"sha256": "0" * 64}}
    bad = sign(replace(proposal, drafts={role: draft(role, signed)}), map(person, THIEVES))
    assert isinstance(refusal(lambda: world.submit(bad)), FormatError)
    assert isinstance(refusal(lambda: world.publish_roles({role: bad.drafts[role].raw})), MetadataError)


def test_evidence_is_taken_away_from_a_version(world: World) -> None:
    """Dropping the bundle of a good version does not turn it into one that needs none."""
    proposal = world.release_proposal(tarball=NEXT.tarball, bundle=NEXT.bundle())
    role = paths.crate_role(NAME)

    before = Releases.of(NAME, world.fresh().role(role).signed)
    bare = Releases(before.name, {version: replace(one, bundle=None) for version, one in before.versions.items()})
    signed = role_files.targets(
        proposal.drafts[role].signed.version,
        world.now + role_files.CLAIM_LIFE,
        listed=bare.to_targets(),
        extra=role_field(role),
    )
    stripped = sign(replace(proposal, drafts={role: draft(role, signed)}, targets={}, lines={}), map(person, THIEVES))
    assert isinstance(refusal(lambda: world.submit(stripped)), PolicyRefused)
    world.publish_roles({role: stripped.drafts[role].raw})
    assert isinstance(refusal(lambda: world.admit("0.1.0")), PolicyRefused)


def test_they_change_a_version_that_stands(world: World) -> None:

    role = paths.crate_role(NAME)
    before = Releases.of(NAME, world.fresh().role(role).signed)
    changed = {version: replace(one, tarball=Digest(1, "0" * 64)) for version, one in before.versions.items()}
    signed = role_files.targets(
        3, world.now + role_files.CLAIM_LIFE, listed=Releases(before.name, changed).to_targets(), extra=role_field(role)
    )
    proposal = replace(
        world.release_proposal(tarball=NEXT.tarball, bundle=NEXT.bundle()),
        drafts={role: draft(role, signed)},
        targets={},
        lines={},
    )
    error = refusal(lambda: world.submit(sign(proposal, map(person, THIEVES))))
    assert "stays as it is" in str(error)


def test_the_owners_end_it_alone_within_one_refresh(world: World) -> None:
    changes = ownership.OwnerChanges(releasers=people(("uma", "vic"), 2))
    proposal = sign(world.owner_proposal(changes), map(person, ("alice", "bob", "uma", "vic")))
    assert not any(role.startswith("claims-") for role in proposal.drafts), "the registry is not asked"
    world.submit(proposal)
    assert world.admit("0.1.0").level is Level.REPRODUCED
    error = refusal(lambda: world.release(tarball=NEXT.tarball, bundle=NEXT.bundle(), by=THIEVES))
    assert isinstance(error, CarnetError)
    world.release(tarball=NEXT.tarball, bundle=NEXT.bundle(), by=("uma", "vic"))


def test_a_replaced_layout_vouches_for_its_own_releases_only(world: World) -> None:
    """The owners ask for more from now on: what was released stays; the old layout makes nothing new."""
    people_now = {"tag": ("alice", "bob"), "review": ("carol", "dave"), "test": ("ci",), "package": ("packager",)}

    stricter, terms = layout_for("release", {**WHO, **people_now})
    newer = replace(NEXT, layout=stricter, terms=terms)
    proposal = world.owner_proposal(ownership.OwnerChanges(layout=layout_of(newer)))
    world.submit(sign(proposal, map(person, ("alice", "bob"))))
    demands = Demands.of(NAME, world.fresh().role(paths.owner_role(NAME)).signed)
    assert len(demands.layouts) == 2
    assert world.admit("0.1.0").level is Level.REPRODUCED
    under_the_old = forged(world, NEXT.tarball, NEXT.bundle())
    assert isinstance(refusal(lambda: world.submit(under_the_old)), ProvenanceError)
    publish_as_the_thieves(world, under_the_old)
    assert isinstance(refusal(lambda: world.admit("0.2.0")), ProvenanceError)


def test_under_the_new_layout_it_is_admitted(world: World) -> None:
    stricter, terms = layout_for("release", now=world.now.replace(hour=13))
    newer = replace(NEXT, layout=stricter, terms=terms)
    assert newer.layout_file != HONEST.layout_file
    proposal = world.owner_proposal(ownership.OwnerChanges(layout=layout_of(newer)))
    world.submit(sign(proposal, map(person, ("alice", "bob"))))
    world.release(tarball=newer.tarball, bundle=newer.bundle())
    assert world.admit("0.2.0").level is Level.REPRODUCED
    assert world.admit("0.1.0").level is Level.REPRODUCED


def test_versions_from_before_the_layout_stand_and_no_others(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    world.release(tarball=HONEST.tarball)
    assert world.admit("0.1.0").level is Level.MAINTAINER
    proposal = world.owner_proposal(ownership.OwnerChanges(layout=layout_of(HONEST)))
    world.submit(sign(proposal, map(person, ("alice", "bob"))))
    assert world.admit("0.1.0").level is Level.MAINTAINER, "the owners let it stand"
    assert isinstance(refusal(lambda: world.release(tarball=NEXT.tarball)), PolicyRefused)
    world.release(tarball=NEXT.tarball, bundle=NEXT.bundle())
    assert world.admit("0.2.0", client="c").level is Level.REPRODUCED
    assert world.admit("0.1.0", client="c").level is Level.MAINTAINER, "older than the layout: no downgrade"


def test_a_layout_that_expired_accepts_no_release_and_forgets_none(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    ends = world.now + timedelta(days=10)
    old, new = HONEST.with_layout(expires=ends), NEXT.with_layout(expires=ends)
    world.claim(layout=layout_of(old))
    world.release(tarball=old.tarball, bundle=old.bundle())
    world.later(days=20)
    world.publish_roles({})  # signed again: an old timestamp would be refused first
    assert world.admit("0.1.0").level is Level.REPRODUCED
    error = refusal(lambda: world.submit(forged(world, new.tarball, new.bundle())))
    assert isinstance(error, LayoutRefused)
    assert "expired" in str(error)
