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
from carnet.errors import CarnetError, MetadataMismatch, NotFound, TransportError
from carnet.tuf import paths
from carnet_mirror.intake import take_submission
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.metadata.role_files import CLAIM_LIFE
from carnet_signer.own_view import OwnView
from carnet_signer.proposals import ownership, review, state_before
from carnet_signer.proposals.proposal import Proposal
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.saved_view import read_saved_view_from, roles_to_save, save_view
from carnet_verifier.tuf.view import View

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


# --- what signers are shown ---


def looking(world: World) -> OwnView:
    view = world.fresh()
    return OwnView(view.trusted.root, "compared", "test", view)


def offline(world: World, *names: CrateName) -> OwnView:
    """The view of a machine without a network, from a file that was written for these crates."""
    there = world.fresh()
    view = View(there, ReadFetcher(world.store.read), "http://registry.test/")
    data = save_view(view, roles_to_save(there, names), names)
    found = read_saved_view_from(data, world.ceremony.root, now=world.now).repository
    return OwnView(found.trusted.root, "compared", "test", found)


def read(world: World, proposal: Proposal, view: OwnView | None) -> str:
    """What a signer reads, after all that could be refused."""
    compared = state_before.believe_folder(proposal) if view is None else state_before.compare(proposal, view)
    review.lint(compared.proposal, now=world.now)
    shown = (review.opening(compared), *review.describe(compared.proposal, now=world.now))
    return "\n".join(line for words in shown for line in (words.title, *words.lines))


@pytest.mark.parametrize("where", ["network", "file"])
@pytest.mark.parametrize("lie", LIES)
def test_nobody_is_told_that_what_is_not_published_is(world: World, lie: str, where: str) -> None:
    view = looking(world) if where == "network" else offline(world, NAME)
    proposal = with_releases(world.claim_proposal(), LIES[lie])
    why = refusal(lambda: read(world, proposal, view))
    assert isinstance(why, MetadataMismatch)
    assert "demo-lib@0.9." in str(why)


def test_a_name_that_the_mirror_does_not_list_adopts_nothing(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.add(honest_crate("other-lib", "1.0.0"))
    honest = world.claim_proposal()
    for view in (looking(world), offline(world, NAME)):
        assert "no version changes" in read(world, honest, view)
        lie = with_releases(honest, LIES["a version that nobody published"])
        assert isinstance(refusal(lambda view=view, lie=lie: read(world, lie, view)), MetadataMismatch)  # type: ignore[misc]


def test_a_folder_with_a_claim_and_a_tarball_is_signed_by_nobody(world: World) -> None:
    proposal = with_releases(world.claim_proposal(), LIES["a version that nobody published"])
    brings = replace(proposal, targets={paths.crate_path(LINE.id): EVIL}, lines={LINE.id.stem: LINE.to_bytes()})
    for view in (looking(world), None):
        assert isinstance(refusal(lambda view=view: read(world, brings, view)), MetadataMismatch)  # type: ignore[misc]


def test_a_file_without_the_crates_index_compares_nothing(world: World) -> None:
    """One that was written for other crates, or for none: then a claim cannot be compared, and is not signed."""
    proposal = world.claim_proposal()
    why = refusal(lambda: read(world, proposal, offline(world)))
    assert isinstance(why, TransportError)
    assert "cannot be compared" in str(why)
    assert why.hint is not None
    assert "carnet trust export -o FILE demo-lib" in why.hint
    assert "1 versions that are published already" in read(world, proposal, offline(world, NAME))


def test_who_believes_the_folder_reads_that_nobody_checked(world: World) -> None:
    text = read(world, with_releases(world.claim_proposal(), LIES["a version that nobody published"]), None)
    assert "2 versions, OF WHICH NOBODY CHECKED THAT THEY ARE PUBLISHED" in text
    assert "published already" not in text


@pytest.mark.parametrize("there", [True, False], ids=["yanked in the index", "yanked by the claim"])
def test_another_yank_state_is_shown(world: World, there: bool) -> None:
    if there:
        versions = [replace(one, line=one.line.with_(yanked=True)) for one in world.store.crates.versions(NAME)]
        with world.store.change():
            files = {paths.index_path(NAME): world.store.crates.stage(NAME, versions)}
            publish(world.store, world.online, Change(index_files=files), now=world.now)
    honest = world.claim_proposal()
    assert "YANKED OTHERWISE" not in read(world, honest, looking(world))
    text = read(world, with_releases(honest, edit_first(yanked=not there)), looking(world))
    said = "is yanked in the index, and the claim gives it again" if there else "and the claim yanks it"
    assert "YANKED OTHERWISE THAN IT IS PUBLISHED" in text
    assert said in text


def test_the_honest_claim_is_taken(world: World) -> None:
    assert "1 versions that are published already are adopted" in read(world, world.claim_proposal(), looking(world))
    world.claim()
    assert world.admit("0.9.0").crate == CrateId(CrateName(str(NAME)), Version("0.9.0"))
