"""What clients would see: the current view of a repository, with roles laid on top that nobody has published yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from carnet.cargo.names import CrateName
from carnet.digests import sha256_hex
from carnet.tuf.next_version import check_version
from carnet.tuf.roles import Delegations, MetaFile, RoleFile, RoleKeys, Targets
from carnet_verifier.tuf.repository import TrustedRepository

if TYPE_CHECKING:
    from carnet.claims.holders import SeenOwners


def preview(
    current: TrustedRepository, roles: Mapping[str, RoleFile[Targets]], targets: Mapping[str, bytes] | None = None
) -> TrustedRepository:
    """The current view with submitted files laid on top: what clients would see once they are published.

    Each submitted role must be the next version (current + 1, or 1 for a new role), unexpired and signed by the
    threshold that its delegator names; the delegator may be submitted as well. A role that is not submitted but whose
    keys a submitted one changes must still verify. In the claims of the result, `handover` compares with the claims of
    the current view.

    Args:
        current: The view to lay them on; it stays as it is.
        roles: Role name to file, parsed; targets roles only.
        targets: Target path to bytes that `download` is to find, beside those that are published.

    Raises:
        MetadataError: A submitted role is not what may follow, or fails a check.
        FormatError: A submitted role was parsed with another profile.
        TransportError: A role of the current view could not be fetched.
    """
    meta = dict(current.trusted.snapshot.signed.meta)
    for role, parsed in roles.items():
        check_version(role, parsed.signed.version, current.version(role) or 0)
        meta[role] = MetaFile(parsed.signed.version, len(parsed.raw), {"sha256": sha256_hex(parsed.raw)})
    proposed = current.laid_on_top(meta, roles, targets or {}, _CurrentOwners(current))
    for role in roles:
        before = current.role(role).signed.delegations if current.version(role) is not None else None
        after = proposed.role(role).signed.delegations
        for child in _changed(before, after, meta):
            proposed.role(child)
    return proposed


def _changed(before: Delegations | None, after: Delegations | None, meta: Mapping[str, MetaFile]) -> Iterable[str]:
    """The roles whose keys are not what they were."""
    if after is None:
        return
    if after.succinct is not None:
        same = before is not None and before.succinct is not None
        if not same or before is None or before.succinct is None or not _same(before.succinct.signers, after):
            yield from (name for name in after.succinct.names() if name in meta)
        return
    for role in after.roles.values():
        known = before.signers_of(role.name) if before is not None else None
        if known is None or not known.same_as(role.signers):
            yield role.name


def _same(signers: RoleKeys, after: Delegations) -> bool:
    return after.succinct is not None and signers.same_as(after.succinct.signers)


class _CurrentOwners:
    """The owners of the current view, as a memory for the proposed one."""

    carried = None

    def __init__(self, current: TrustedRepository) -> None:
        self._current = current

    def owners(self, names: Iterable[CrateName]) -> dict[CrateName, SeenOwners]:
        return {name: claim.seen for name, claim in self._current.claims(names).items() if claim is not None}

    def remember_owners(self, owners: Mapping[CrateName, SeenOwners]) -> None:
        pass
