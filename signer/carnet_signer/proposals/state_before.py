"""The state before a proposal: its drafts are compared with what the signer verified, not with what the folder says.

::

    drafted roles       the folder's copy of what is published is, byte for byte, the one that the signer verified
    who signs them      every role above a drafted one names the same signers in both; whatever else it says
    adopted versions    what a claim adopts is what the signer's verified index lists, or by checksum the history
    anything else       is the signer's own, whatever the folder has

From here on the folder's `base/` is out of the game: what is linted, shown and signed stands on the signer's own roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from carnet.claims.adoption import Adopted, check_adopted, check_adopted_later
from carnet.claims.releases import Releases
from carnet.digests import sha256_hex
from carnet.errors import VerificationError
from carnet.made import made_by, maker
from carnet.tuf import paths
from carnet.tuf.roles import RoleFile, RoleKeys, Targets
from carnet.tuf.tree import roles_of
from carnet_signer.own_view import OwnView
from carnet_signer.proposals.ownership import read_published
from carnet_signer.proposals.proposal import Proposal

UNCOMPARED = "NOT COMPARED WITH WHAT IS PUBLISHED"
_ANEW = (
    "somebody changed the folder, or something was published since it was made: make it anew from what is published "
    "now (`carnet release assemble`, `carnet claim new`), and ask whoever made this one"
)


@made_by("compare or believe_folder")
@dataclass(frozen=True)
class Compared:
    """A proposal whose state before is known.

    Attributes:
        proposal: Its `base` is what the drafts are compared with.
        said: With what it is compared, for the first line of what a signer reads.
        alarm: Whether nobody should overlook that line.
        notes: What of the folder's copy is another version than the signer's own, which does not matter.
        view: The signer's own view; None when the folder is believed.
    """

    proposal: Proposal
    said: str
    alarm: bool
    notes: tuple[str, ...]
    view: OwnView | None


_compared = maker(Compared)


def compare(proposal: Proposal, view: OwnView) -> Compared:
    """Put the signer's own verified roles in the place of the folder's copy of them.

    Raises:
        VerificationError: The drafts were made from another state than the one that is published, or a first claim
            adopts something else than what is published.
        TransportError: A role could not be fetched, or the index that a first claim is held against.
    """
    name = proposal.crate
    shard = paths.claims_shard_role(name.shard)
    published = read_published(view, name, neighbours=shard in proposal.drafts)
    own = published.by_role(name)
    _, owner, _ = roles_of(name)
    if published.given_up and owner in proposal.drafts:
        raise VerificationError(f"{name} was claimed and given up: nobody claims such a name again")
    for role in sorted(proposal.drafts):
        _check_drafted(role, proposal.base.get(role), own.get(role))
    for delegator, role in _delegations(proposal):
        _check_signers(delegator, role, proposal.base.get(delegator), own.get(delegator))
    notes = [
        f"{role} in the folder is not the one that you verified, which counts: its version is "
        f"{folder.signed.version} there, and {own[role].signed.version} here"
        if role in own
        else f"{role} in the folder is not published, and is passed over"
        for role, folder in sorted(proposal.base.items())
        if role not in own or folder.raw != own[role].raw
    ]
    adopted = _check_adopted(proposal, published.crate, view)
    mine = replace(proposal, base=own, holders=view.holders, adopted=adopted)
    return _compared(mine, view.said, view.aged, tuple(notes), view)


def believe_folder(proposal: Proposal) -> Compared:
    """Take the folder's word for what is published: for those who have nothing of their own, and were told so."""
    said = f"{UNCOMPARED}: whoever made this folder says what was there before"
    return _compared(proposal, said, True, (), None)


def _check_adopted(proposal: Proposal, published: RoleFile[Targets] | None, view: OwnView) -> Adopted | None:
    """Every version that a draft adopts is published, or listed by the upstream: of a first claim, every version."""
    name = proposal.crate
    draft = proposal.drafts.get(paths.crate_role(name))
    if draft is None:
        return None
    after = Releases.of(name, draft.signed)
    before = None if published is None else Releases.of(name, published.signed)
    if before is not None and not any(one.by_checksum and one.id.version not in before.versions for one in after):
        return None
    index = view.index_file(name)
    lines = {} if index is None else {line.id: line for line in index.readable}
    history = view.history(name)
    listed = {} if history is None else {one.id: one for one in history}
    return check_adopted(after, lines, listed) if before is None else check_adopted_later(before, after, lines, listed)


def _delegations(proposal: Proposal) -> Iterator[tuple[str, str]]:
    """Each role above a drafted one that is not drafted itself, and the role on the way down from it."""
    way = (paths.TARGETS, paths.CLAIMS, *roles_of(proposal.crate))
    lowest = max(way.index(role) for role in proposal.drafts)
    for delegator, role in pairwise(way[: lowest + 1]):
        if delegator not in proposal.drafts:
            yield delegator, role


def _check_drafted(role: str, folder: RoleFile[Targets] | None, own: RoleFile[Targets] | None) -> None:
    if folder is None and own is None:
        return
    if folder is None or own is None:
        there = f"has version {folder.signed.version} of it" if folder is not None else "says that there is none"
        here = f"version {own.signed.version} is published" if own is not None else "none is published"
        raise VerificationError(
            f"the folder's copy of {role} is not what you verified: it {there}, and {here}", hint=_ANEW
        )
    if folder.raw != own.raw:
        raise VerificationError(
            f"the folder's copy of {role} is not what you verified: version {folder.signed.version} with sha256 "
            f"{sha256_hex(folder.raw)}, and published is version {own.signed.version} with {sha256_hex(own.raw)}",
            hint=_ANEW,
        )


def _check_signers(delegator: str, role: str, folder: RoleFile[Targets] | None, own: RoleFile[Targets] | None) -> None:
    theirs, ours = _signers_of(folder, role), _signers_of(own, role)
    if folder is not None and not (theirs is ours is None or (theirs and ours and theirs.same_as(ours))):
        raise VerificationError(
            f"the folder's copy of {delegator} names other signers of {role} than the {delegator} that you verified",
            hint=_ANEW,
        )


def _signers_of(delegator: RoleFile[Targets] | None, role: str) -> RoleKeys | None:
    delegations = None if delegator is None else delegator.signed.delegations
    return None if delegations is None else delegations.signers_of(role)
