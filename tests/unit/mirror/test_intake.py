"""What a mirror takes: honest submissions, once; anything else changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.claims import NAME, World, facts, people, person, refusal, sign, with_dependency

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.releases import Digest, Releases, SignedRelease
from carnet.claims.submission import Submission, crate_of_stem
from carnet.errors import (
    ArchiveRefused,
    CarnetError,
    FormatError,
    MetadataError,
    MetadataMismatch,
    RollbackDetected,
    VerificationError,
)
from carnet.tuf import paths
from carnet.tuf.structure import role_field, shard_field
from carnet.tuf.tree import roles_of
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.intake import take_submission
from carnet_mirror.state.store import Store
from carnet_mirror.writing import writing
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Proposal, draft

BOTH = ("rita", "sven")
ROLE = paths.crate_role(NAME)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    return world


def state(world: World) -> object:
    """Everything that a submission could change."""
    return (
        world.store.read(f"{paths.METADATA_PREFIX}timestamp.json"),
        [(version.id, version.line.to_bytes()) for version in world.store.crates.versions(NAME)],
        world.store.files.all_published(),
    )


def refused(world: World, call: Callable[[], object]) -> CarnetError:
    before = state(world)
    error = refusal(call)
    assert state(world) == before
    return error


def release_with_line(world: World, tarball: bytes, line: IndexLine) -> Proposal:
    """A release whose index line the release keys made up: both holders sign it."""
    crate = read_crate(tarball)
    published = world.published()
    assert published.crate is not None
    release = SignedRelease(crate.id, Digest(crate.length, crate.sha256), line.identity(), False, "crates-io")
    releases = Releases.of(NAME, published.crate.signed).with_release(release)
    signed = role_files.targets(
        published.crate.signed.version + 1,
        world.now + role_files.CLAIM_LIFE,
        listed=releases.to_targets(),
        extra=role_field(ROLE),
    )
    targets = {paths.crate_path(crate.id): tarball}
    lines = {crate.id.stem: line.to_bytes()}
    proposal = Proposal(world.claim_request(), {ROLE: draft(ROLE, signed)}, published.by_role(NAME), targets, lines)
    return sign(proposal, map(person, BOTH))


TARBALL = honest_crate(str(NAME), "1.0.0")
LINE = line_from_crate(read_crate(TARBALL), pubtime=None)


def test_an_accepted_release_is_in_the_next_snapshot(world: World) -> None:
    before = world.fresh().trusted.snapshot.signed.version
    receipt = world.submit(release_with_line(world, TARBALL, LINE))
    assert receipt.snapshot == before + 1
    assert receipt.added == ("1.0.0",)
    assert world.fresh().trusted.snapshot.signed.version == before + 1
    line = world.index().lines[-1]
    assert line.identity() == LINE.identity()
    assert line.pubtime == "2026-11-23T12:00:00Z", "cargo's minimum age needs it, and the mirror knows it"


def test_handing_in_twice_changes_nothing(world: World) -> None:
    proposal = sign(world.release_proposal(), map(person, BOTH))
    assert world.submit(proposal).snapshot is not None
    before = state(world)
    again = world.submit(proposal)
    assert again.snapshot is None
    assert "already" in again.words
    assert world.submit(sign(proposal, [person("tara")])).snapshot is None, "a signature more is the same content"
    assert state(world) == before


def test_somebody_was_faster(world: World) -> None:
    slow = sign(world.release_proposal("1.1.0"), map(person, BOTH))
    world.release("1.0.0")
    error = refused(world, lambda: world.submit(slow))
    assert isinstance(error, RollbackDetected)
    assert "meanwhile" in str(error)
    assert "assemble" in error.hint


def test_a_line_that_is_not_the_manifests(world: World) -> None:
    proposal = release_with_line(world, TARBALL, with_dependency(LINE))
    assert isinstance(refused(world, lambda: world.submit(proposal)), ArchiveRefused)


def test_a_line_with_more_than_the_manifest_says(world: World) -> None:
    odd = IndexLine.from_object({**LINE.raw, "rust_version": "1.0"})
    proposal = release_with_line(world, TARBALL, odd)
    assert isinstance(refused(world, lambda: world.submit(proposal)), ArchiveRefused)


def test_another_line_than_the_signed_one(world: World) -> None:
    proposal = release_with_line(world, TARBALL, LINE)
    other = {CrateId.of(str(NAME), "1.0.0").stem: IndexLine.from_object({**LINE.raw, "note": "x"}).to_bytes()}
    assert isinstance(refused(world, lambda: world.submit(replace(proposal, lines=other))), VerificationError)
    assert isinstance(refused(world, lambda: world.submit(replace(proposal, lines={}))), VerificationError)


def test_another_tarball_than_the_signed_one(world: World) -> None:
    proposal = release_with_line(world, TARBALL, LINE)
    (path,) = proposal.targets
    other = honest_crate(str(NAME), "1.0.0", source="pub fn evil() {}\n")
    assert isinstance(refused(world, lambda: world.submit(replace(proposal, targets={path: other}))), CarnetError)
    assert isinstance(refused(world, lambda: world.submit(replace(proposal, targets={}))), VerificationError)


def test_a_tarball_that_breaks_a_rule(world: World) -> None:
    evil = TARBALL + b"trailing"
    crate = read_crate(TARBALL)
    line = IndexLine.from_object({**LINE.raw, "cksum": hashlib.sha256(evil).hexdigest()})
    proposal = release_with_line(world, TARBALL, LINE)
    release = SignedRelease(crate.id, Digest(len(evil), line.cksum), line.identity(), False, "crates-io")
    published = world.published()
    assert published.crate is not None
    releases = Releases.of(NAME, published.crate.signed).with_release(release)
    life = world.now + role_files.CLAIM_LIFE
    signed = role_files.targets(2, life, listed=releases.to_targets(), extra=role_field(ROLE))
    bad = replace(
        proposal,
        drafts={ROLE: draft(ROLE, signed)},
        targets={paths.crate_path(crate.id): evil},
        lines={crate.id.stem: line.to_bytes()},
    )
    assert isinstance(refused(world, lambda: world.submit(sign(bad, map(person, BOTH)))), ArchiveRefused)


def test_a_version_that_the_claim_does_not_adopt(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    proposal = world.claim_proposal()
    world.add(honest_crate(str(NAME), "0.9.1"))
    keys = [*map(person, ("alice", "bob", "rita", "sven")), *world.ceremony.holders[:2]]
    error = refused(world, lambda: world.submit(sign(proposal, keys)))
    assert "demo-lib@0.9.1" in str(error)


def test_a_version_that_is_nowhere_cannot_be_adopted(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    elsewhere = ownership.adopt(None, {}, "crates-io")
    assert elsewhere is None
    release = SignedRelease(LINE.id, Digest(len(TARBALL), LINE.cksum), LINE.identity(), False, "crates-io")
    proposal = ownership.new_claim(
        world.published(),
        world.claim_request("claim"),
        facts(),
        adopted=Releases(NAME, {release.id.version: release}),
        layout=None,
        now=world.now,
    )
    keys = [*map(person, ("alice", "bob", "rita", "sven")), *world.ceremony.holders[:2]]
    assert isinstance(refused(world, lambda: world.submit(sign(proposal, keys))), CarnetError)


def test_a_claim_in_pieces_is_refused(tmp_path: Path) -> None:
    """Shard, owner role and crate role appear in one snapshot."""
    world = World.make(tmp_path)
    keys = [*map(person, ("alice", "bob", "rita", "sven")), *world.ceremony.holders[:2]]
    whole = sign(world.claim_proposal(), keys)
    for missing in roles_of(NAME):
        part = replace(whole, drafts={role: file for role, file in whole.drafts.items() if role != missing})
        assert isinstance(refused(world, partial(world.submit, part)), MetadataError), missing
    world.submit(whole)


def test_one_crates_submission_brings_no_other_crate(world: World) -> None:
    other = CrateName("other")
    foreign = world.claim_proposal(name=other, who=facts())
    with pytest.raises(FormatError, match="no place"):
        Submission(NAME, {role: file.raw for role, file in foreign.drafts.items()})
    with pytest.raises(FormatError, match="no place"):
        Submission(NAME, {}, {paths.crate_path(CrateId.of("other", "1.0.0")): b""})
    with pytest.raises(FormatError):
        crate_of_stem(NAME, "other-1.0.0")
    assert crate_of_stem(NAME, "Demo_Lib-1.0.0-rc.1") == CrateId.of("Demo_Lib", "1.0.0-rc.1")


def test_a_bystander_does_not_ride_along_with_giving_up(world: World) -> None:
    given = ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now)
    changes = ownership.OwnerChanges(releasers=people(("mallory",), 1))
    riding = world.owner_proposal(changes)
    signed = sign(given, world.ceremony.holders[:2])
    both = {**signed.drafts, paths.owner_role(NAME): riding.drafts[paths.owner_role(NAME)]}
    assert isinstance(refused(world, lambda: world.submit(replace(signed, drafts=both))), VerificationError)
    assert world.submit(signed).snapshot is not None


@pytest.mark.parametrize("body", [b"", b"carnet-submission 1\n", b"{}", b"\0" * 100])
def test_what_is_no_submission(world: World, body: bytes) -> None:
    error = refused(world, lambda: take_submission(world.store, world.online, body, now=world.now))
    assert isinstance(error, FormatError)


def test_an_empty_mirror_takes_nothing(tmp_path: Path) -> None:
    world = World.make(tmp_path / "a")
    with Store.create(tmp_path / "b") as empty:
        body = Submission(NAME, {ROLE: b"{}"}).to_bytes()
        assert isinstance(refusal(lambda: take_submission(empty, world.online, body, now=world.now)), CarnetError)


def test_the_holders_next_shard_keeps_the_claims(world: World) -> None:
    shard = paths.claims_shard_role(NAME.shard)
    published = world.fresh().role(shard).signed
    field = shard_field([NAME.shard])

    def sign_again(file: bytes) -> None:
        with writing(world.store, world.online, now=world.now):
            publish(world.store, world.online, Change(roles={shard: file}), now=world.now)

    forgetful = role_files.targets(published.version + 1, world.now + role_files.OFFLINE_LIFE, extra=field)
    error = refused(world, lambda: sign_again(world.ceremony.sign(forgetful)))
    assert isinstance(error, MetadataMismatch)
    assert paths.owner_role(NAME) in str(error)
    sign_again(world.fresh().role(shard).raw)  # nothing new


def test_a_shard_changes_one_crate_only(world: World) -> None:
    """Even when the registry's holders have signed it: they looked at a folder about one crate."""
    shard = paths.claims_shard_role(NAME.shard)
    number = next(number for number in range(100_000) if CrateName(f"a{number}").shard == NAME.shard)
    other = CrateName(f"a{number}")
    version = world.fresh().role(shard).signed.version + 1
    empty = world.ceremony.sign(role_files.targets(version, world.now + role_files.OFFLINE_LIFE))
    body = Submission(other, {shard: empty}).to_bytes()
    error = refused(world, lambda: take_submission(world.store, world.online, body, now=world.now))
    assert f"changes {paths.owner_role(NAME)}" in str(error)


def test_an_honest_line_where_another_was_signed(world: World) -> None:
    odd = IndexLine.from_object({**LINE.raw, "rust_version": "1.0"})
    proposal = replace(release_with_line(world, TARBALL, odd), lines={LINE.id.stem: LINE.to_bytes()})
    error = refused(world, lambda: world.submit(proposal))
    assert "is not the one that its maintainers signed" in str(error)


def test_what_was_taken_passes_the_mirrors_own_check(world: World) -> None:
    world.release("1.0.0")
    world.yank("0.9.0")
    assert fsck(world.store, now=world.now, progress=quiet).problems == []
    world.submit(
        sign(
            ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now),
            world.ceremony.holders[:2],
        )
    )
    assert fsck(world.store, now=world.now, progress=quiet).problems == []


def test_a_submission_of_nothing_publishes_nothing(world: World) -> None:
    """Else anybody could make the mirror sign timestamps."""
    body = Submission(NAME).to_bytes()
    assert isinstance(
        refused(world, lambda: take_submission(world.store, world.online, body, now=world.now)), VerificationError
    )


def test_a_body_that_is_too_large_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    body = Submission(NAME, {ROLE: b"x" * 100}).to_bytes()
    assert Submission.from_bytes(body).roles == {ROLE: b"x" * 100}
    monkeypatch.setattr("carnet.claims.submission.MAX_SUBMISSION", len(body) - 1)
    with pytest.raises(FormatError, match="larger than"):
        Submission.from_bytes(body)
