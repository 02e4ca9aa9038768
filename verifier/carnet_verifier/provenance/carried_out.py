"""The owners' layout, carried out or not, for a release that its maintainers have signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from carnet.cargo.crate import CrateFile
from carnet.claims.releases import OwnedLayoutFile, SignedRelease
from carnet.errors import FormatError
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.tuf import paths
from carnet_verifier.provenance.provenance import OwnedLayout, Provenance, check_provenance


def prove(
    crate: CrateFile,
    release: SignedRelease,
    layouts: Sequence[OwnedLayout],
    beside: Mapping[str, bytes],
    *,
    accepted_at: datetime | None = None,
    late: Sequence[Envelope] = (),
) -> Provenance:
    """Check the provenance of a release (`carnet_verifier.provenance.provenance`).

    Args:
        crate: The tarball, which is the one that was signed.
        release: What the release keys signed.
        layouts: The owners' layouts that it may have been made under.
        beside: The signed files that came with it, by path; its bundle is one of them.
        accepted_at: The time, when a mirror is accepting the release: the layout's expiry counts then.
        late: Rebuilders' links that arrived after the release.

    Raises:
        VerificationError: The evidence does not hold.
        FormatError: The bundle or layout does not parse.
    """
    bundle = Bundle.from_bytes(beside[paths.bundle_path(release.id)])
    return check_provenance(crate, layouts, bundle, accepted_at=accepted_at, late=late)


def owned_layout(listed: OwnedLayoutFile, data: bytes) -> OwnedLayout:
    """A layout that the owners list, once its bytes are there.

    Raises:
        FormatError: Its path is not one of a layout.
    """
    return OwnedLayout(data, listed.terms, layout_version(listed))


def layout_version(layout: OwnedLayoutFile) -> int:
    """The version of the owner role that brought a layout: the number in its path.

    Raises:
        FormatError: Its path is not one of a layout.
    """
    number = layout.path.rpartition("/")[2].removesuffix(".layout.json")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise FormatError(f"{layout.path[:120]!a} is not the path of a layout")
    return int(number)
