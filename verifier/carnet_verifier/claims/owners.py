"""A crate's claim, and whether its owners are the ones that were seen before or were appointed by them.

Who owns a crate is said by the registry's offline keys. What limits them is memory: a client that saw owners before
follows a chain from those owners to the current ones, each change signed by the threshold of the owners before it, as
TUF does for roots (5.3.4). A change outside that chain is a takeover by the registry, and is called one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Protocol

from carnet.cargo.names import CrateName
from carnet.claims.holders import ClaimFacts, SeenOwners
from carnet.claims.takeover import told
from carnet.errors import FormatError, MetadataMismatch
from carnet.tuf.read import parse_role
from carnet.tuf.roles import DelegatedRole, RoleFile, RoleKeys, Targets
from carnet.tuf.structure import check_structure
from carnet.value import value

MAX_HANDOVERS = 100
"""Versions of an owner role that a client walks through at most to follow a handover."""


class Handover(Enum):
    """How the owners of a claim follow those that this client saw before."""

    FIRST_SEEN = "first-seen"
    """This client saw no owners of the crate before: it takes the registry's word for them."""
    SAME = "same"
    """The owners' keys and threshold are the ones seen before."""
    HANDED_OVER = "handed-over"
    """They changed, and the threshold of the previous owners signed each change."""
    TAKEOVER = "takeover"
    """They changed, and the previous owners did not sign: the registry alone decided."""


class OwnerMemory(Protocol):
    """Remembers whose signatures ruled a crate."""

    def owners(self, names: Iterable[CrateName]) -> dict[CrateName, SeenOwners]:
        """The owners as seen last, of those names that were seen."""
        ...

    def remember_owners(self, owners: Mapping[CrateName, SeenOwners]) -> None:
        """Remember, in place of what was seen before."""
        ...


@value
class Claim:
    """A claimed crate: who owns it, who releases it, and what they signed, all verified.

    Attributes:
        name: The crate.
        owner: What `owner.<name>` says: the layout, as a target.
        owner_delegation: The owners' keys and threshold, as the claims shard lists them.
        crate: What `crate.<name>` says: every version.
        crate_delegation: The release keys and threshold, as the owners list them.
        facts: Which person holds which key, and the registry.
        handover: How these owners follow the ones seen before.
    """

    name: CrateName
    owner: Targets
    owner_delegation: DelegatedRole
    crate: Targets
    crate_delegation: DelegatedRole
    facts: ClaimFacts
    handover: Handover

    @property
    def takeover(self) -> bool:
        """Whether the registry replaced the owners without their signatures."""
        return self.handover is Handover.TAKEOVER

    def taken_over(self, now: datetime) -> datetime | None:
        """When the registry replaced owners, as the owner role itself says; None when there is nothing to tell of."""
        return told(self.facts, now)

    @property
    def seen(self) -> SeenOwners:
        """What to remember of this claim."""
        return SeenOwners(self.owner.version, self.owner_delegation.signers)


def read_facts(role: str, owner: Targets, delegation: DelegatedRole) -> ClaimFacts:
    """The claim's own fields, held against the shard's entry (docs/formats.md, "A claim").

    Raises:
        FormatError: Missing or malformed.
        MetadataMismatch: The owners that the file names are not the ones that the shard appoints.
    """
    try:
        facts = ClaimFacts.of(owner)
    except FormatError as error:
        raise FormatError(f"role {role}: {error}", hint=error.hint) from None
    listed = {key.keyid for key in facts.owners.signers.keys}
    if listed != {key.keyid for key in delegation.signers.keys} or not facts.owners.signers.same_as(delegation.signers):
        raise MetadataMismatch(f"role {role} names other owners than the claims shard does")
    return facts


def follow(
    role: str,
    seen: SeenOwners | None,
    owner: RoleFile[Targets],
    signers: RoleKeys,
    earlier: Callable[[int], bytes | None],
) -> Handover:
    """Follow the chain of owners from the ones seen before to the current ones.

    Args:
        role: The owner role's name. Each link must be of this crate: people who own two crates sign for each apart.
        seen: The owners seen before, or None.
        owner: The current owner role, verified.
        signers: The current owners.
        earlier: Fetches the file of an earlier version of the owner role; None when it is not to be had.

    Returns:
        How they follow. A chain with a missing or bad link is no chain: `TAKEOVER`.
    """
    if seen is None:
        return Handover.FIRST_SEEN
    if signers.same_as(seen.signers):
        return Handover.SAME
    current, version = seen.signers, owner.signed.version
    if not seen.version < version <= seen.version + MAX_HANDOVERS:
        return Handover.TAKEOVER
    if current.met_by(owner):
        return Handover.HANDED_OVER
    for number in range(seen.version + 1, version):
        data = earlier(number)
        if data is None:
            return Handover.TAKEOVER
        try:
            link = parse_role(data, Targets, what="an earlier owner role")
            check_structure(role, link.signed)
            if link.signed.version != number or not current.met_by(link):
                return Handover.TAKEOVER
            owners = ClaimFacts.of(link.signed).owners.signers
        except (FormatError, MetadataMismatch):
            return Handover.TAKEOVER
        if not owners.met_by(link):
            return Handover.TAKEOVER
        current = owners
    return Handover.HANDED_OVER if current.met_by(owner) else Handover.TAKEOVER
