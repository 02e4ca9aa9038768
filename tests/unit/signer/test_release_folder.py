"""Putting a release together: the owners' layout, the links, the line; what is missing is said before anybody signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, person, refusal, sign, with_dependency
from tests.support.worlds.release import HonestRelease, synthetic

from carnet import strictjson
from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.releases import Releases
from carnet.errors import ArchiveRefused, CarnetError, ConfigError, FormatError, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.structure import role_field
from carnet_signer.metadata import role_files
from carnet_signer.proposals import ownership, release, review
from carnet_signer.proposals.proposal import Proposal, draft
from carnet_signer.steps.record import SignedLink

HONEST = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))
NEXT = synthetic(crate=CrateId.of(str(NAME), "0.2.0"))
ROLE = paths.crate_role(NAME)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World.make(tmp_path_factory.mktemp("world"))
    world.claim(layout=ownership.NewLayout(HONEST.layout_file, HONEST.terms))
    world.release(tarball=HONEST.tarball, bundle=HONEST.bundle())
    return world


@pytest.fixture(scope="module")
def without_layout(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World.make(tmp_path_factory.mktemp("bare"))
    world.claim()
    return world


def read(tarball: bytes) -> CrateFile:
    return read_crate(tarball, strict=True)


def links(of: HonestRelease) -> list[SignedLink]:
    return [SignedLink.from_envelope(envelope) for found in of.bundle().links.values() for envelope in found]


def test_an_honest_release_is_put_together(world: World) -> None:
    published = world.published()
    bundle = release.gather(published, NAME, NEXT.layout_file, links(NEXT))
    assembled = release.assemble_release(published, NAME, read(NEXT.tarball), bundle)
    assert (assembled.crate, assembled.evidence) == (NEXT.crate, bundle)
    proposal = release.propose(published, assembled, now=world.now)
    review.lint(proposal, now=world.now)
    assert list(proposal.drafts) == [ROLE], "the owners and the registry are not asked"
    assert list(proposal.lines) == [NEXT.crate.id.stem]
    line = IndexLine.from_bytes(proposal.lines[NEXT.crate.id.stem])
    assert line.identity() == line_from_crate(NEXT.crate, pubtime=None).identity()
    text = str(review.describe(proposal, now=world.now))
    assert "new: demo-lib@0.2.0" in text
    assert "with its evidence" in text
    assert not any(words.alarm for words in review.describe(proposal, now=world.now))
    again = release.gather(published, NAME, NEXT.layout_file, links(NEXT))
    assert again is not None
    assert bundle is not None
    assert again.to_bytes() == bundle.to_bytes()


def test_what_is_missing_is_said(world: World, without_layout: World) -> None:
    published, bare = world.published(), without_layout.published()
    for call in (
        lambda: release.gather(published, NAME, NEXT.layout_file, []),
        lambda: release.gather(published, NAME, None, links(NEXT)),
        lambda: release.gather(published, NAME, NEXT.layout_file + b" ", links(NEXT)),
        lambda: release.gather(bare, NAME, None, links(NEXT)),
        lambda: release.gather(bare, NAME, NEXT.layout_file, []),
        lambda: release.assemble_release(published, NAME, read(honest_crate("other", "1.0.0")), None),
    ):
        assert isinstance(refusal(call), ConfigError)
    assert release.gather(bare, NAME, None, []) is None
    error = refusal(lambda: release.gather(published, NAME, NEXT.layout_file, links(NEXT) * 99))
    assert isinstance(error, FormatError), "what no client reads is not put together"


def test_an_unclaimed_crate_is_not_released(world: World) -> None:
    other = CrateName("other")
    published = world.published(other)
    for call in (
        lambda: release.gather(published, other, None, []),
        lambda: release.assemble_release(published, other, read(honest_crate("other", "1.0.0")), None),
        lambda: release.yank(published, other, [Version("1.0.0")], yanked=True, now=world.now),
    ):
        assert isinstance(refusal(call), ConfigError)


def test_a_version_is_released_once(world: World) -> None:
    error = refusal(lambda: world.release_proposal(tarball=HONEST.tarball, bundle=HONEST.bundle()))
    assert isinstance(error, FormatError)
    assert "yank" in error.hint


def _registry(proposal: Proposal) -> Proposal:
    signed = strictjson.parse_object(proposal.drafts[ROLE].message, ROLE, max_bytes=10**8)
    listed = signed["targets"]
    assert isinstance(listed, dict)
    entry = listed[paths.crate_path(NEXT.crate.id)]
    assert isinstance(entry, dict)
    assert isinstance(entry["custom"], dict)
    entry["custom"]["registry"] = "internal"
    return replace(proposal, drafts={ROLE: draft(ROLE, signed)})


def _lost(proposal: Proposal) -> Proposal:
    signed = strictjson.parse_object(proposal.drafts[ROLE].message, ROLE, max_bytes=10**8)
    listed = signed["targets"]
    assert isinstance(listed, dict)
    del listed[paths.crate_path(HONEST.crate.id)], listed[paths.bundle_path(HONEST.crate.id)]
    return replace(proposal, drafts={ROLE: draft(ROLE, signed)})


def _line(proposal: Proposal) -> Proposal:
    stem = NEXT.crate.id.stem
    other = with_dependency(IndexLine.from_bytes(proposal.lines[stem]))
    return replace(proposal, lines={stem: other.to_bytes()})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_registry, id="signed for another registry"),
        pytest.param(_lost, id="a version is gone"),
        pytest.param(_line, id="another line"),
        pytest.param(lambda one: replace(one, lines={**one.lines, "demo-lib-9.0.0": b"{}"}), id="a line of no version"),
        pytest.param(
            lambda one: replace(one, targets={**one.targets, paths.crate_path(HONEST.crate.id): b""}), id="another file"
        ),
        pytest.param(
            lambda one: replace(one, targets={**one.targets, paths.layout_path(NAME, 9): b""}), id="a file of no use"
        ),
    ],
)
def test_a_folder_that_was_changed_on_the_way(world: World, change: Callable[[Proposal], Proposal]) -> None:
    proposal = world.release_proposal(tarball=NEXT.tarball, bundle=NEXT.bundle())
    review.lint(proposal, now=world.now)
    assert isinstance(refusal(lambda: review.lint(change(proposal), now=world.now)), CarnetError)


def test_too_few_signatures_are_not_sent(world: World) -> None:
    proposal = sign(world.release_proposal(tarball=NEXT.tarball, bundle=NEXT.bundle()), [person("rita")])
    assert isinstance(refusal(proposal.submission), ThresholdNotMet)
    assert sign(proposal, [person("tara")]).submission().roles.keys() == {ROLE}


def test_a_release_that_yanks_others_is_an_alarm_to_those_who_sign(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    for version in ("0.1.0", "0.2.0"):
        world.release(version)
    quiet = world.release_proposal("0.3.0")
    assert not any(words.alarm for words in review.describe(quiet, now=world.now))
    releases = Releases.of(NAME, quiet.drafts[ROLE].signed)
    for version in ("0.1.0", "0.2.0"):
        releases = releases.with_yank(Version(version), yanked=True)
    signed = role_files.targets(
        quiet.drafts[ROLE].signed.version,
        world.now + role_files.CLAIM_LIFE,
        listed=releases.to_targets(),
        extra=role_field(ROLE),
    )
    loud = replace(quiet, drafts={ROLE: draft(ROLE, signed)})
    assert any("YANKS" in words.title for words in review.describe(loud, now=world.now) if words.alarm)


def test_the_tarball_is_read_strictly(world: World) -> None:
    for data in (b"", NEXT.tarball[:-9], NEXT.tarball + b"x"):
        error = refusal(partial(read, data))
        assert isinstance(error, CarnetError)
    assert read_crate(NEXT.tarball).id == NEXT.crate.id
    published = world.published()
    error = refusal(lambda: release.assemble_release(published, NAME, read_crate(NEXT.tarball), None))
    assert isinstance(error, ArchiveRefused)
    assert "not read strictly" in str(error)


def test_a_release_comes_out_of_its_assembly_alone(world: World) -> None:
    published = world.published()
    assembled = release.assemble_release(published, NAME, read(NEXT.tarball), NEXT.bundle())
    with pytest.raises(TypeError, match="only assemble_release makes a Release"):
        release.Release(NEXT.crate, assembled.line, None, assembled.releases)
    with pytest.raises(TypeError, match="only assemble_release makes a Release"):
        replace(assembled, evidence=None)


def test_a_signed_link_is_recorded_or_read_and_says_what_was_signed() -> None:
    signed = links(NEXT)[0]
    assert SignedLink.from_bytes(signed.to_bytes()) == signed
    assert signed.envelope.payload == signed.link.to_payload()
    with pytest.raises(TypeError, match="only record_step"):
        replace(signed, link=replace(signed.link, products={}))
    with pytest.raises(FormatError, match="needs name, materials"):
        SignedLink.from_envelope(replace(signed.envelope, payload=b"{}"))
