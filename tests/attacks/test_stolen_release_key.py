"""A stolen release key below the threshold: nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.worlds.ceremony import make_key
from tests.support.worlds.claims import NAME, World, body, person, refusal, sign

from carnet.errors import MetadataError, NotFound, ThresholdNotMet
from carnet.tuf import paths
from carnet_mirror.intake import take_submission
from carnet_signer.proposals.proposal import Proposal


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.claim()
    return world


def test_two_of_three_release_keys_release(world: World) -> None:
    world.release("1.0.0", by=("rita", "tara"))
    assert str(world.admit("1.0.0").level) == "maintainer"


def _refused(world: World, proposal: Proposal) -> None:
    before = world.store.read(f"{paths.METADATA_PREFIX}timestamp.json")
    with pytest.raises(ThresholdNotMet):
        take_submission(world.store, world.online, body(proposal), now=world.now)
    # A mirror that would not check, or online keys in the thief's hands: the signer refuses, and clients would.
    with pytest.raises(MetadataError):
        world.publish_roles({role: draft.raw for role, draft in proposal.drafts.items()}, dict(proposal.targets))
    assert world.store.read(f"{paths.METADATA_PREFIX}timestamp.json") == before
    assert isinstance(refusal(lambda: world.admit("1.0.0")), NotFound)


def test_one_key_does_not_release(world: World) -> None:
    _refused(world, sign(world.release_proposal(), [person("rita")]))


def test_one_key_and_a_made_up_one_do_not_release(world: World) -> None:
    proposal = sign(world.release_proposal(), [person("rita")])
    role = paths.crate_role(NAME)
    draft = proposal.drafts[role]
    stranger = make_key("stranger")
    raw = draft.raw.replace(
        b'"signatures":[',
        b'"signatures":[{"keyid":"%s","sig":"%s"},'
        % (
            person("sven").public_key.keyid.encode(),
            stranger.sign(draft.message).sig.hex().encode(),
        ),
    )
    forged = Proposal(
        proposal.request,
        {role: replace(draft, raw=raw)},
        proposal.base,
        proposal.targets,
        proposal.lines,
    )
    _refused(world, forged)


def test_an_owners_key_beside_it_does_not_help(world: World) -> None:
    proposal = world.release_proposal()
    role = paths.crate_role(NAME)
    draft = proposal.drafts[role]
    owner, thief = person("alice"), person("rita")
    from dataclasses import replace

    from carnet_signer.metadata import role_files

    signatures = (owner.sign(draft.message), thief.sign(draft.message))
    forged = replace(draft, raw=role_files.file_bytes(draft.message, signatures), signatures=signatures)
    _refused(world, replace(proposal, drafts={role: forged}))


def test_one_key_does_not_yank(world: World) -> None:
    world.release("1.0.0")
    assert isinstance(refusal(lambda: world.yank("1.0.0", by=("rita",))), ThresholdNotMet)
    assert not world.admit("1.0.0").line.yanked
    world.yank("1.0.0")
    assert world.admit("1.0.0").line.yanked
