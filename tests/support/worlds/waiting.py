"""A registry in which claims wait: who signs, how days pass, what a holder sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.support.worlds.claims import World, person, sign

from carnet import strictjson
from carnet.claims.receipt import SignedReceipt
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root
from carnet_mirror.upkeep import sign_again
from carnet_signer.own_view import OwnView
from carnet_signer.proposals import state_before, waiting
from carnet_signer.proposals.proposal import Proposal, draft
from carnet_signer.proposals.waiting import Waited


def signed(world: World, proposal: Proposal, *more: str) -> Proposal:
    """By the people of a claim and by two holders."""
    keys = [person(name) for name in ("alice", "bob", "rita", "sven", *more)]
    for key in (*keys, *world.ceremony.holders[:2]):
        if any(key.public_key.material == one.material for q in proposal.quorums() for one in q.signers.keys):
            proposal = sign(proposal, [key])
    return proposal


def later(world: World, days: int) -> None:
    """Days pass, and the mirror signs again what would expire."""
    world.later(days=days)
    sign_again(world.store, world.online, now=world.now)


def root_of(world: World) -> Root:
    return parse_role(world.ceremony.root, Root, what="root").signed


def seen(world: World, proposal: Proposal, receipt: SignedReceipt | None) -> Waited:
    """What a holder is shown before signing."""
    found = waiting.look(proposal, receipt, root_of(world), now=world.now)
    assert found is not None
    return found


def compared(world: World, proposal: Proposal) -> Proposal:
    """As a holder has it before them: on what they verified themselves."""
    view = world.fresh()
    return state_before.compare(proposal, OwnView(view.trusted.root, "compared", "test", view)).proposal


def edited(proposal: Proposal, role: str, edit: Callable[[dict[str, object]], object]) -> Proposal:
    value = strictjson.parse_object(proposal.drafts[role].message, role, max_bytes=10**8)
    edit(value)  # type: ignore[arg-type]
    return replace(proposal, drafts={**proposal.drafts, role: draft(role, value)})


def claimed(world: World) -> None:
    """The honest way: public, a week later signed and submitted."""
    proposal = world.claim_proposal()
    world.propose(proposal)
    later(world, days=7)
    world.submit(signed(world, proposal))
