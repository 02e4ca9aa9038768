"""The versions that there are of claimed crates' roles, from the files themselves: what a shard's draft is made from.

A snapshot says of every role which version is the newest, and the online keys sign it: whoever stole them can say
anything, also numbers that never were. A file can be asked who signed it. So whoever drafts a shard counts the files of
owners and release keys that were verified from the shard down, and no others. When they expire does not matter: a role
that nobody renewed for three years is still the newest that there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from carnet.cargo.names import CrateName
from carnet.errors import MetadataMismatch
from carnet.tuf.least import Least
from carnet.tuf.roles import RoleFile, RoleKeys, Targets
from carnet.tuf.structure import check_structure
from carnet.tuf.tree import RoleKind, place_of, roles_of


def claimed(shard: Targets) -> Iterator[CrateName]:
    """The crates that a shard delegates to their owners.

    Raises:
        MetadataMismatch: It delegates to somebody else.
    """
    for role in () if shard.delegations is None else shard.delegations.roles:
        place = place_of(role)
        if place.kind != RoleKind.OWNER or place.crate is None:
            raise MetadataMismatch(f"a shard of claims delegates to {role}, which is no owner role")
        yield place.crate


def claimed_roles(shard: Targets) -> Iterator[str]:
    """The owner role and the crate role of each of them.

    Raises:
        MetadataMismatch: As `claimed`.
    """
    for name in claimed(shard):
        yield from roles_of(name)[1:]


def read_standing(shard: Targets, files: Mapping[str, RoleFile[Targets]]) -> dict[str, Least]:
    """The versions of every claimed crate's roles, each from a file that was signed by those whom the role above names.

    Args:
        shard: A shard of claims, verified.
        files: Role name to file, nothing about them checked; others than those of this shard's crates are passed over.

    Returns:
        By canonical name.

    Raises:
        MetadataMismatch: A file is missing, or of another form than its role's.
        ThresholdNotMet: One is not signed by those whom the role above it names.
    """
    return {name.canonical: read_standing_of(name, shard, files) for name in claimed(shard)}


def read_standing_of(name: CrateName, shard: Targets, files: Mapping[str, RoleFile[Targets]]) -> Least:
    """The same of one crate.

    Raises:
        MetadataMismatch: It is not claimed, or a file is missing, or of another form than its role's.
        ThresholdNotMet: A file is not signed by those whom the role above it names.
    """
    _, owner_role, crate_role = roles_of(name)
    owner = _verified(owner_role, shard, files)
    return Least(owner.version, _verified(crate_role, owner, files).version)


def _verified(role: str, above: Targets, files: Mapping[str, RoleFile[Targets]]) -> Targets:
    file = files.get(role)
    if file is None:
        raise MetadataMismatch(
            f"the file of {role} is missing: its version cannot be told without it",
            hint="start from the published roles: `carnet root update`, or `carnet claim` anew",
        )
    check_structure(role, file.signed)
    signers: RoleKeys | None = None if above.delegations is None else above.delegations.signers_of(role)
    if signers is None:
        raise MetadataMismatch(f"nobody delegates to {role}")
    signers.check(file, f"the file of {role}", "5.6.3")
    return file.signed
