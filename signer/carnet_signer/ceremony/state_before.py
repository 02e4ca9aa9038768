"""The state before a ceremony: it is compared with what the holder verified, not with what the folder says.

A folder that holds the version before brings it from whoever made the folder. Here the holder's own verified roles take
its place: of a role that is drafted, the folder's copy of the published version must say the same (what is signed is
compared; a copy may have more signatures, or fewer, than were published); of a role above it, who signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from carnet.errors import MetadataError, SigningError, VerificationError
from carnet.made import made_by, maker
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.next_version import check_version
from carnet.tuf.roles import RoleFile, RoleKeys, Root, Signed
from carnet.tuf.tree import RoleKind, parent_of, place_of
from carnet_signer.ceremony.ceremony import OFFLINE_ROLES, Ceremony, as_root, as_targets
from carnet_signer.ceremony.claim_files import ClaimFiles
from carnet_signer.own_view import OwnView

FIRST = "THE FIRST VERSION: nothing is published yet, so there is nothing to compare it with"
UNCOMPARED = "NOT COMPARED WITH WHAT IS PUBLISHED: whoever made this folder says what was there before"
_ANEW = (
    "bring the folder up to what is published: `carnet root update`, then `carnet root rotate`; ask who made this one"
)


@made_by("compare, first_version or believe_folder")
@dataclass(frozen=True)
class ComparedCeremony:
    """A ceremony whose state before is known.

    Attributes:
        ceremony: Of each role what is published, and the next version where there is one.
        said: With what it is compared, for the first line of what a holder reads.
        alarm: Whether nobody should overlook that line.
        view: The holder's own view; None for a first version, and when the folder is believed.
    """

    ceremony: Ceremony
    said: str
    alarm: bool
    view: OwnView | None


_compared = maker(ComparedCeremony)


def is_first_version(ceremony: Ceremony) -> bool:
    """Whether every file of a ceremony is the first of its role: then no repository comes before it."""
    return all(max(versions) == 1 for versions in ceremony.files.values())


def first_version(ceremony: Ceremony) -> ComparedCeremony:
    """Take a ceremony that begins a repository.

    Raises:
        VerificationError: It does not.
    """
    if not is_first_version(ceremony):
        raise VerificationError("the ceremony holds more than first versions: something comes before it", hint=_ANEW)
    return _compared(ceremony, FIRST, False, None)


def believe_folder(ceremony: Ceremony) -> ComparedCeremony:
    """Take the folder's word for what is published: for those who have nothing of their own, and were told so."""
    return _compared(ceremony, UNCOMPARED, True, None)


def check_new_keys(compared: ComparedCeremony, key: PublicKey, trusted: Mapping[str, RoleFile[Root]]) -> None:
    """Demand that who signs a first version does it with a key that signs for no repository that they trust.

    A signature does not say which repository it is for. Under the root of the other one, whoever holds its online keys
    could show these first versions to clients without a memory: an empty registry, signed by enough holders.

    Args:
        compared: What would be signed.
        key: Whose signature.
        trusted: The newest root of each trusted repository, by its id.

    Raises:
        SigningError: It is a first version, and one of the roots names the key.
    """
    if compared.view is not None or not is_first_version(compared.ceremony):
        return
    for repository, root in trusted.items():
        if any(key.material == one.material for signers in root.signed.roles.values() for one in signers.keys):
            raise SigningError(
                f"key {key.keyid} signs for the repository {repository} that you trust, and this is the first version "
                "of another one",
                hint="these files could be shown there in place of the newer ones: a new registry wants new keys "
                "(`carnet key generate`); if it shall share yours all the same, --sign-again",
            )


def compare(ceremony: Ceremony, view: OwnView) -> ComparedCeremony:
    """Put the holder's own verified roles in the place of the folder's copies of them.

    Raises:
        VerificationError: A next version does not follow what is published, or was made from something else.
        FormatError: The folder lacks a role.
        TransportError: A role could not be fetched.
    """
    own = {role: _own(view, role) for role in OFFLINE_ROLES}
    files: dict[str, dict[int, RoleFile[Signed]]] = {}
    for role, published in own.items():
        newest, version = ceremony.latest(role), published.signed.version
        copy = ceremony.files[role].get(version)
        files[role] = {version: published}
        if newest.signed.version < version:
            continue  # nothing of it is to be signed; whom it names is looked at below
        if copy is not None and copy.message != published.message:
            raise VerificationError(
                f"version {version} of {role} in the folder is not the one that is published, as you verified it",
                hint=_ANEW,
            )
        if newest.signed.version > version:
            try:
                check_version(role, newest.signed.version, version)
            except MetadataError as error:
                raise VerificationError(str(error), hint=_ANEW) from None
            files[role][newest.signed.version] = newest
    drafted = [role for role, versions in files.items() if len(versions) > 1]
    for role in drafted:
        delegator = parent_of(role) if role != paths.ROOT else role
        if delegator not in drafted and not _same(_signers(ceremony.latest(delegator), role), own[delegator], role):
            raise VerificationError(
                f"{delegator} in the folder names other signers of {role} than the {delegator} that is published",
                hint=_ANEW,
            )
    shards = [role for role in drafted if place_of(role).kind == RoleKind.SHARD]
    # The folder's files of owners may be old ones: the holder sees by their own which versions a shard should demand.
    claims = ceremony.claims.with_newer(ClaimFiles(view.claimed_files(shards)))
    return _compared(Ceremony(files, claims), view.said, view.aged, view)


def _own(view: OwnView, role: str) -> RoleFile[Signed]:
    if role == paths.ROOT:
        root = view.root
        return RoleFile(root.raw, root.body, root.signatures, root.signed, root.profile)
    file = view.role(role)
    return RoleFile(file.raw, file.body, file.signatures, file.signed, file.profile)


def _signers(delegator: RoleFile[Signed], role: str) -> RoleKeys | None:
    if delegator.signed.TYPE == paths.ROOT:
        return as_root(delegator).roles[role]
    delegations = as_targets(delegator).delegations
    return None if delegations is None else delegations.signers_of(role)


def _same(theirs: RoleKeys | None, own: RoleFile[Signed], role: str) -> bool:
    ours = _signers(own, role)
    return theirs is ours is None or (theirs is not None and ours is not None and theirs.same_as(ours))
