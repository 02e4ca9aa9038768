"""A crate whose owners did nothing for three years, and one that was given up: who may follow, and who may not.

Owner and crate roles live three years. Once one has ended, builds refuse the crate; those who signed it can still renew
it, with the same thresholds, and nobody else finds a way in. A name that was given up is nobody's for ever.
"""

from __future__ import annotations

import copy
import shutil
import weakref
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.changes import signed_of
from tests.support.worlds.claims import NAME, World, people, person, refusal, sign
from tests.support.worlds.claims import facts as team

from carnet.errors import ConfigError, ExpiredMetadata, MetadataMismatch, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.least import Least
from carnet.tuf.structure import shard_field
from carnet.tuf.tree import roles_of
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.store import Store
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import Change, publish, refresh_due
from carnet_signer.own_view import OwnView
from carnet_signer.proposals import ownership, review, state_before
from carnet_signer.proposals.proposal import Proposal, draft
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules import takeover

SHARD, OWNER, CRATE = roles_of(NAME)
LIFE = role_files.CLAIM_LIFE
OFFLINE = (paths.ROOT, paths.TARGETS, paths.CLAIMS, paths.INDEX, SHARD)
RENEWAL = ownership.OwnerChanges()


def move(world: World, by: timedelta) -> None:
    """Let time pass, in which the registry's holders and its online keys did their work and the crate's people none."""
    world.now += by
    roles = {}
    for role in OFFLINE:
        published = world.store.read(f"metadata/{2 if role == SHARD else 1}.{role}.json")
        assert published is not None
        signed: dict[str, Any] = signed_of(published)
        life = role_files.ROOT_LIFE if role == paths.ROOT else role_files.OFFLINE_LIFE
        signed |= {"version": signed["version"] + 1, "expires": role_files.at(world.now + life)}
        if role == SHARD:
            signed |= shard_field([NAME.shard], {NAME.canonical: Least(1, 2)})
        roles[role] = world.ceremony.sign(signed)
    with world.store.change():
        publish(world.store, world.online, Change(roles=roles), now=world.now)
    upkeep(world)


def upkeep(world: World) -> None:
    with world.store.change():
        refresh_due(world.store, world.online, now=world.now)


def claimed(folder: Path) -> World:
    world = World.make(folder)
    world.claim()
    world.release("1.0.0")
    assert world.admit(client="build")
    return world


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = claimed(tmp_path_factory.mktemp("ended"))
    move(world, LIFE + timedelta(days=1))
    return world


def copy_of(world: World, folder: Path) -> World:
    """A registry that tests change, as it stands after three years."""
    shutil.copytree(world.folder / "mirror", folder / "mirror")
    shutil.copytree(world.folder / "build", folder / "build")
    store = Store.open(folder / "mirror", write=True)
    weakref.finalize(made := replace(world, folder=folder, store=store, clients={}), store.close)
    made.online = copy.deepcopy(world.online)
    made.clients["build"] = TrustDirectory.open(folder / "build")
    return made


@pytest.fixture
def world(ended: World, tmp_path: Path) -> World:
    return copy_of(ended, tmp_path)


def reviewed(world: World, proposal: Proposal) -> Proposal:
    """What a signer is left with who compares it with what they verified themselves."""
    view = world.fresh()
    own = OwnView(view.trusted.root, "verified just now", "r", view)
    compared = state_before.compare(proposal, own)
    review.lint(compared.proposal, now=world.now)
    assert review.describe(compared.proposal, now=world.now)
    return compared.proposal


def test_nobody_is_served_what_has_ended_and_everybody_is_told_what_helps(world: World) -> None:
    for client in (None, "build"):
        error = refusal(lambda client=client: world.admit(client=client))  # type: ignore[misc]
        assert isinstance(error, ExpiredMetadata)
        assert f"`carnet claim handover {NAME.canonical} -o DIR`" in str(error.hint)


def test_owners_and_release_keys_renew_what_has_ended(world: World) -> None:
    proposal = reviewed(world, world.owner_proposal(RENEWAL))
    assert proposal.drafts.keys() == {OWNER, CRATE}
    signed = sign(proposal, map(person, ("alice", "bob", "rita", "sven")))
    assert world.submit(signed).roles == {OWNER: 2, CRATE: 3}
    for client in (None, "build"):
        assert world.admit(client=client).level
    assert fsck(world.store, now=world.now, progress=quiet).problems == []
    world.release("1.1.0")
    assert world.admit("1.1.0", client="build")


@pytest.mark.parametrize("who", [("alice", "rita", "sven"), ("alice", "bob", "rita")])
def test_no_fewer_renew_it(world: World, who: tuple[str, ...]) -> None:
    assert isinstance(
        refusal(lambda: world.submit(sign(world.owner_proposal(RENEWAL), map(person, who)))), ThresholdNotMet
    )


def test_the_owners_alone_do_not_bring_back_what_release_keys_let_end(world: World) -> None:
    proposal = world.owner_proposal(RENEWAL)
    owner = replace(proposal, drafts={OWNER: proposal.drafts[OWNER]})
    error = refusal(lambda: world.submit(sign(owner, map(person, ("alice", "bob")))))
    assert isinstance(error, ExpiredMetadata)
    assert CRATE in str(error)


def test_a_release_does_not_bring_back_what_owners_let_end(world: World) -> None:
    proposal = reviewed(world, world.release_proposal("1.1.0"))
    error = refusal(lambda: world.submit(sign(proposal, map(person, ("rita", "sven")))))
    assert isinstance(error, ExpiredMetadata)
    assert OWNER in str(error)


def test_a_replaced_owner_takes_over_what_has_ended(world: World) -> None:
    """Whose keys are lost after three years is in no other place than who lost them before."""
    changes = ownership.OwnerChanges(owners=people(("dave", "erin"), 2), releasers=people(("uma", "vic"), 2))
    proposal = reviewed(world, world.owner_proposal(changes, takeover=True))
    keys = [*map(person, ("dave", "erin", "uma", "vic")), *world.ceremony.holders[:2]]
    assert world.submit(sign(proposal, keys)).takeover
    assert world.admit(policy=Policy(rules={takeover.RULE: Action.WARN}))


def test_a_name_is_given_up_without_those_who_let_it_end_and_nobody_brings_it_back(world: World) -> None:
    published = world.published()
    proposal = reviewed(world, ownership.give_up(published, world.claim_request("give-up"), now=world.now))
    world.submit(sign(proposal, world.ceremony.holders[:2]))
    assert world.fresh().released(NAME)
    # With everybody's signatures, the holders' too, and versions above the old ones: no signer and no mirror takes it.
    view = world.published()
    forgetful = draft(SHARD, {**view.shard.body, **shard_field([NAME.shard], {})})
    ended = replace(view, shard=forgetful, given_up=False)
    again = ownership.new_claim(ended, world.claim_request("claim"), team(), adopted=None, layout=None, now=world.now)
    drafts = {
        role: draft(role, {**file.body, "version": (world.fresh().version(role) or 0) + 1})
        for role, file in again.drafts.items()
    }
    least = {NAME.canonical: Least(drafts[OWNER].signed.version, drafts[CRATE].signed.version)}
    drafts[SHARD] = draft(SHARD, {**drafts[SHARD].body, **shard_field([NAME.shard], least)})
    again = replace(again, drafts=drafts, base=view.by_role(NAME))
    keys = [*map(person, ("alice", "bob", "rita", "sven")), *world.ceremony.holders[:2]]
    again = sign(again, keys)
    assert isinstance(refusal(lambda: review.lint(again, now=world.now)), MetadataMismatch)
    assert isinstance(refusal(lambda: world.submit(again)), MetadataMismatch)


def test_in_the_last_year_nothing_else_needs_to_change(tmp_path: Path) -> None:
    world = claimed(tmp_path)
    published, ends = world.published(), world.now + LIFE
    asked = world.claim_request("owners")
    with pytest.raises(ConfigError, match="nothing would change") as refused:
        ownership.next_owner(published, asked, RENEWAL, now=ends - ownership.RENEWABLE - timedelta(seconds=1))
    assert "365 days before it ends" in str(refused.value.hint)
    renewed = ownership.next_owner(published, asked, RENEWAL, now=ends - ownership.RENEWABLE)
    assert renewed.drafts.keys() == {OWNER, CRATE}

    move(world, LIFE - timedelta(days=30))
    handover = world.owner_proposal(ownership.OwnerChanges(owners=people(("alice", "dave"), 2)))
    assert CRATE not in handover.drafts, "who changes something else asks release keys for nothing before it is over"
    # Whoever releases now and then: the owner role alone is left to end.
    world.release("1.1.0")
    world.later(days=31)
    upkeep(world)
    assert isinstance(refusal(lambda: world.admit("1.1.0", client="build")), ExpiredMetadata)
    proposal = reviewed(world, world.owner_proposal(RENEWAL))
    assert proposal.drafts.keys() == {OWNER}
    world.submit(sign(proposal, map(person, ("alice", "bob"))))
    assert world.admit("1.1.0", client="build")
