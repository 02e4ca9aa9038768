"""A stolen owner's key below the threshold: nothing. Owners replaced without the owners: everybody sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.worlds.claims import NAME, World, people, person, refusal, sign

from carnet.cargo.names import CrateId
from carnet.errors import MetadataError, PolicyRefused, ThresholdNotMet
from carnet.tuf import paths
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Proposal
from carnet_verifier.admit import Wanted
from carnet_verifier.claims.owners import Handover
from carnet_verifier.explain import explain
from carnet_verifier.policy.policy import Policy

MALLORY = people(("mallory", "mallet"), 1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.claim()
    world.release("1.0.0")
    world.admit(client="old")  # this client has seen the owners
    return world


def _holders(world: World, proposal: Proposal) -> Proposal:
    return sign(proposal, world.ceremony.holders[:2])


def test_two_of_three_owners_appoint_new_release_keys(world: World) -> None:
    proposal = world.owner_proposal(ownership.OwnerChanges(releasers=people(("uma", "vic"), 2)))
    world.submit(sign(proposal, map(person, ("alice", "carol", "uma", "vic"))))
    world.release("1.1.0", by=("uma", "vic"))
    assert str(world.admit("1.1.0", client="old").level) == "maintainer"
    assert isinstance(refusal(lambda: world.release("1.2.0", by=("rita", "sven"))), Exception)


def test_one_owner_appoints_nobody(world: World) -> None:
    proposal = world.owner_proposal(ownership.OwnerChanges(releasers=MALLORY))
    signed = sign(proposal, map(person, ("alice", "mallory")))
    with pytest.raises(ThresholdNotMet):
        world.submit(signed)
    with pytest.raises(MetadataError):
        world.publish_roles({role: draft.raw for role, draft in signed.drafts.items()})


def test_one_owner_and_the_thief_change_no_owners(world: World) -> None:
    """The shard's holders have not signed: the owners stay."""
    proposal = world.owner_proposal(ownership.OwnerChanges(owners=MALLORY, releasers=MALLORY))
    signed = sign(proposal, map(person, ("alice", "mallory", "mallet")))
    with pytest.raises(ThresholdNotMet):
        world.submit(signed)
    without_shard = replace(
        signed, drafts={role: draft for role, draft in signed.drafts.items() if not role.startswith("claims-")}
    )
    with pytest.raises(MetadataError):
        world.submit(without_shard)
    assert world.admit(client="old").level.name == "MAINTAINER"


def test_new_owners_with_the_old_ones_consent_are_no_takeover(world: World) -> None:
    new = people(("dora", "emil", "carol"), 2)
    proposal = world.owner_proposal(ownership.OwnerChanges(owners=new))
    signed = _holders(world, sign(proposal, map(person, ("alice", "bob", "dora", "emil"))))
    assert signed.final
    receipt = world.submit(signed)
    assert not receipt.takeover
    admission = world.admit(client="old")
    claim = admission.attributed.claim
    assert claim is not None
    assert claim.handover is Handover.HANDED_OVER


def test_an_owner_replaced_without_the_owners_is_a_takeover(world: World) -> None:
    """The registry's own holders were tricked: one stolen owner key is not the threshold before."""
    proposal = world.owner_proposal(ownership.OwnerChanges(owners=MALLORY, releasers=MALLORY), takeover=True)
    signed = _holders(world, sign(proposal, map(person, ("alice", "mallory"))))
    assert signed.final
    receipt = world.submit(signed)
    assert receipt.takeover
    error = refusal(lambda: world.admit(client="old"))
    assert isinstance(error, PolicyRefused)
    assert "[takeover]" in str(error)
    assert "those before them did not sign" in _explained(world, "old")
    assert "seen for the first time" in _explained(world, "newcomer")


def _explained(world: World, client: str) -> str:
    """What `carnet explain` says of the owners."""
    view = world.client(client)
    wanted = Wanted(CrateId.of(str(NAME), "1.0.0"))
    chain = explain(view, wanted, Policy(), world.clients[client], now=world.now)
    return next(fact for link in chain.links for fact in link.facts if fact.startswith("owners: "))


def test_without_the_word_takeover_the_folder_is_not_final(world: World) -> None:
    proposal = world.owner_proposal(ownership.OwnerChanges(owners=MALLORY))
    signed = _holders(world, sign(proposal, map(person, ("alice", "mallory"))))
    assert not signed.final
    assert isinstance(refusal(signed.submission), ThresholdNotMet)


def test_a_chain_of_two_handovers_is_followed(world: World) -> None:
    first, second = people(("dora", "emil"), 2), people(("fred", "gwen"), 2)
    one = world.owner_proposal(ownership.OwnerChanges(owners=first))
    world.submit(_holders(world, sign(one, map(person, ("alice", "bob", "dora", "emil")))))
    two = world.owner_proposal(ownership.OwnerChanges(owners=second))
    world.submit(_holders(world, sign(two, map(person, ("dora", "emil", "fred", "gwen")))))
    claim = world.admit(client="old").attributed.claim
    assert claim is not None
    assert claim.handover is Handover.HANDED_OVER
    assert world.fresh().version(paths.owner_role(NAME)) == 3
