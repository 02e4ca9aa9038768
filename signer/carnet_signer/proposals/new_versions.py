"""The new versions that a folder brings: each is there, is what would be signed of it, and may be published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import IndexLine, compare_line
from carnet.claims.releases import Releases, SignedRelease
from carnet.errors import VerificationError
from carnet.publishable.checks import Destination, check_tarball
from carnet.tuf import paths
from carnet_signer.proposals.proposal import Proposal


def check_brought(
    proposal: Proposal, after: Releases, lines: Mapping[str, IndexLine], added: Iterable[SignedRelease]
) -> tuple[str, ...]:
    """Demand the tarball and the index line of every new version, and that cargo and the registry would publish it.

    Args:
        proposal: The folder.
        after: The versions of the crate as they would be.
        lines: Its index lines, by `<name>-<version>`.
        added: The versions that are new.

    Returns:
        Remarks, for whoever signs.

    Raises:
        Unpublishable: cargo or the registry would refuse one.
        VerificationError: One cannot be looked at, or its line is not its manifest's.
    """
    return tuple(_remarks(proposal, after, lines, added))


def _remarks(
    proposal: Proposal, after: Releases, lines: Mapping[str, IndexLine], added: Iterable[SignedRelease]
) -> Iterator[str]:
    versions = tuple(release.id for release in after)
    for release in added:
        tarball, line = proposal.targets.get(paths.crate_path(release.id)), lines.get(release.id.stem)
        if tarball is None or line is None:
            raise VerificationError(
                f"the folder lacks the tarball or the index line of {release.id}",
                hint="nobody signs a version that cannot be looked at: make the folder with `carnet release assemble`",
            )
        crate = _read(proposal, release, tarball)
        differences = compare_line(line, crate)
        if differences:
            raise VerificationError(f"the index line of {release.id} is not the manifest's: {differences[0]}")
        yield from check_tarball(crate, Destination(release.registry, versions))


def _read(proposal: Proposal, release: SignedRelease, tarball: bytes) -> CrateFile:
    """The tarball of a release: as it was read when the proposal was made from these bytes, or read now."""
    crate = proposal.crates.get(paths.crate_path(release.id))
    if crate is not None and crate.strict and crate.id == release.id and crate.raw == tarball:
        return crate
    return read_crate(tarball, release.id, strict=True)
