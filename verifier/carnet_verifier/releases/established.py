"""How much stands behind a release that a mirror is about to publish, in the view with it laid on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from carnet.cargo.crate import CrateFile, read_crate
from carnet.claims.releases import SignedRelease
from carnet.errors import MetadataMismatch
from carnet.intoto.dsse import Envelope
from carnet.level import Level
from carnet.tuf import paths
from carnet_verifier.provenance.carried_out import prove
from carnet_verifier.provenance.kind import files_beside, vouching_layouts
from carnet_verifier.provenance.provenance import Provenance
from carnet_verifier.releases.signed_releases import SignedReleases, find_signed
from carnet_verifier.tuf.repository import TrustedRepository


@dataclass(frozen=True, slots=True)
class Established:
    """How much stands behind one version of a claimed crate.

    Attributes:
        release: What was signed.
        level: `maintainer`, `provenance` or `reproduced`.
        least_level: What the owners ask of it.
        provenance: The evidence, from level `provenance` on.
        crate: The tarball, when it was read.
    """

    release: SignedRelease
    level: Level
    least_level: Level
    provenance: Provenance | None = None
    crate: CrateFile | None = None


def establish(
    repository: TrustedRepository,
    signed: SignedReleases,
    release: SignedRelease,
    *,
    accepted_at: datetime | None = None,
    late: Sequence[Envelope] = (),
    crate: CrateFile | None = None,
) -> Established:
    """See whether the owners' layout was carried out for a version that was signed.

    A version without evidence is at level `maintainer`, whatever its owners ask: the caller compares. Evidence that is
    there and does not hold is refused, not ignored.

    Args:
        repository: Where its files are.
        signed: The claim that the release is of.
        release: What `carnet_verifier.releases.signed_releases.attest` returned.
        accepted_at: The time, when a mirror is accepting the release: the layout's expiry counts then.
        late: Rebuilders' links that arrived after the release.
        crate: The tarball, when the caller has read it already (`carnet.cargo.crate.read_crate`).

    Raises:
        VerificationError: The tarball breaks a rule, or the evidence does not hold.
        FormatError: The bundle or layout does not parse.
        TransportError: A file could not be fetched.
    """
    least = signed.demands.least_level(release)
    beside = files_beside(signed.demands, release)
    if not beside:
        return Established(release, Level.MAINTAINER, least)
    tarball = paths.crate_path(release.id)
    targets = find_signed(repository, {tarball: release.tarball.sha256} | beside)
    wanted = [target for target in targets if crate is None or target.path != tarball]
    files = dict(zip((target.path for target in wanted), repository.download_many(wanted), strict=True))
    if crate is None:
        crate = read_crate(files[tarball], release.id)
    if (crate.id, crate.sha256, crate.length) != (release.id, release.tarball.sha256, targets[0].length):
        raise MetadataMismatch(f"the tarball of {release.id} is not the one that its maintainers signed")
    layouts = [signed.layout(layout, files[layout.path]) for layout in vouching_layouts(signed.demands, release)]
    provenance = prove(crate, release, layouts, files, accepted_at=accepted_at, late=late)
    return Established(release, provenance.level, least, provenance, crate)
