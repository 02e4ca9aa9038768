"""A crate's claim, and whether its owners are the ones that were seen before or were appointed by them.

Who owns a crate is said by the registry's offline keys. What limits them is memory: a client that saw owners before
follows a chain from those owners to the current ones, each change signed by the threshold of the owners before it, as
TUF does for roots (5.3.4). A change outside that chain is a takeover by the registry, and is called one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Protocol

from carnet.cargo.names import CrateName
from carnet.claims.holders import ClaimFacts, SeenOwners
from carnet.claims.takeover import told
from carnet.errors import FormatError, MetadataMismatch
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import DelegatedRole, RoleFile, RoleKeys, Targets
from carnet.tuf.structure import check_structure
from carnet.value import value

if TYPE_CHECKING:
    from carnet_verifier.memory.carried import Carried

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
    """Remembers whose signatures ruled a crate.

    Attributes:
        carried: What a project carries of it besides, or None.
    """

    @property
    def carried(self) -> Carried | None:
        """See the class."""
        ...

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
        seen_in: The file of the project's that remembers others than these, when that alone makes it a takeover.
    """

    name: CrateName
    owner: Targets
    owner_delegation: DelegatedRole
    crate: Targets
    crate_delegation: DelegatedRole
    facts: ClaimFacts
    handover: Handover
    seen_in: str = ""

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


def followed(
    claims: Mapping[CrateName, Claim],
    memory: OwnerMemory,
    file: Callable[[str], RoleFile[Targets]],
    earlier: Callable[[str, int], bytes | None],
) -> dict[CrateName, Claim]:
    """Say of claims how their owners follow those that were seen before, and remember them unless it is a takeover.

    What a project carries is a second memory: owners have to follow those of either.

    Args:
        claims: As they are published.
        memory: The client's own, and what it carries.
        file: The verified file of a role.
        earlier: The file of an earlier version of a role; None when it is not to be had.

    Raises:
        MetadataMismatch: A project carries owners that no version of the role names.
        TransportError: An earlier version could not be fetched: nothing was decided.
    """
    found: dict[CrateName, Claim] = {}
    seen = memory.owners(claims)
    for name, claim in claims.items():
        role, signers = paths.owner_role(name), claim.owner_delegation.signers
        owner, before = file(role), partial(earlier, role)
        handover, seen_in = follow(role, seen.get(name), owner, signers, before), ""
        if memory.carried is not None and handover is not Handover.TAKEOVER:
            carried = memory.carried.owners(name, owner, signers, before)
            second = follow(role, carried, owner, signers, before)
            if second is Handover.TAKEOVER or handover is Handover.FIRST_SEEN:
                handover, seen_in = second, memory.carried.FILE if second is Handover.TAKEOVER else ""
        found[name] = replace(claim, handover=handover, seen_in=seen_in)
    memory.remember_owners({name: claim.seen for name, claim in found.items() if not claim.takeover})
    return found


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
