"""What a ceremony takes over from the repository that has published its former versions."""

from __future__ import annotations

from collections.abc import Mapping

from carnet.errors import SigningError
from carnet.tuf import paths
from carnet.tuf.roles import RoleFile, Root, Signed, Targets
from carnet_signer.ceremony.ceremony import Ceremony
from carnet_signer.ceremony.claim_files import ClaimFiles


def take_published(
    ceremony: Ceremony, root: RoleFile[Root], published: Mapping[str, RoleFile[Targets]], claims: ClaimFiles
) -> dict[str, bytes]:
    """The published files that a ceremony lacks, by file name; next versions that nobody has signed give way.

    Args:
        ceremony: Ours.
        root: The newest root, verified.
        published: The other offline roles by name, verified.
        claims: What was published of the claimed crates.

    Raises:
        SigningError: Holders have signed another file of a version than the one that was published.
    """
    made = ceremony.claims.missing_from(claims)
    files: dict[str, RoleFile[Signed]] = {paths.ROOT: root, **published}
    for role, envelope in files.items():
        version = envelope.signed.version
        known = ceremony.files.get(role, {}).get(version)
        if known is None or (known.message != envelope.message and not known.signatures):
            made[paths.metadata_name(role, version)] = envelope.raw
        elif known.message != envelope.message:
            raise SigningError(
                f"version {version} of {role} was published with other content than what is signed here",
                hint="delete it with its signatures, update again, and make the next version from that",
            )
    return made
