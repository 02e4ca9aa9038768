"""The tarballs of admitted crates: fetched, compared with what was admitted, and read as cargo will unpack them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from carnet.cargo.crate import CrateFile, CrateLimits, read_crate
from carnet.cargo.index_line import compare_line
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import MetadataMismatch, TransportError
from carnet.tuf import paths
from carnet_verifier.net.fetch import Fetcher
from carnet_verifier.outcomes import Admission
from carnet_verifier.tuf.repository import TrustedRepository


def fetch_crate(repository: TrustedRepository, fetcher: Fetcher, admission: Admission) -> tuple[bytes, CrateFile]:
    """Fetch the tarball of one admitted crate; see `fetch_crates`."""
    return next(fetch_crates(repository, fetcher, [admission]))


def fetch_crates(
    repository: TrustedRepository, fetcher: Fetcher, admissions: Sequence[Admission]
) -> Iterator[tuple[bytes, CrateFile]]:
    """Fetch the tarballs of admitted crates, and see that what was checked is what cargo will unpack.

    Returns:
        For each its bytes, and what they hold: one at a time, because a small tarball may unpack to half a gigabyte.

    Raises:
        MetadataMismatch: Other bytes than were admitted.
        ArchiveRefused: A rule of the archive format is broken, or the signed line does not say what the manifest says.
        TransportError: Nothing was decided.
    """
    claimed = [admission for admission in admissions if admission.proven.attributed.release is not None]
    others = [admission for admission in admissions if admission.proven.attributed.release is None]
    targets = [repository.find_target(paths.crate_path(admission.crate)) for admission in claimed]
    found: dict[CrateId, bytes] = {}
    for admission, data in zip(claimed, repository.download_many(targets, large=True), strict=True):
        found[admission.crate] = data
    most = CrateLimits().compressed
    answers = fetcher.get_many([(paths.download_path(admission.crate), most) for admission in others], large=True)
    for admission, answer in zip(others, answers, strict=True):
        if isinstance(answer, TransportError):
            raise answer
        found[admission.crate] = answer
    for admission in admissions:
        yield found[admission.crate], check_tarball(found[admission.crate], admission)


def check_tarball(data: bytes, admission: Admission) -> CrateFile:
    """See that these bytes are the admitted tarball, and that they hold what the signed line says.

    Raises:
        MetadataMismatch: Other bytes than were admitted.
        ArchiveRefused: As `fetch_crate`.
    """
    digest = sha256_hex(data)
    if digest != admission.sha256:
        raise MetadataMismatch(
            f"the tarball of {admission.crate} has sha256 {digest}, admitted was {admission.sha256}",
            hint="the bytes were changed on the way or at the mirror; nothing of them was used",
        )
    crate = read_crate(data, admission.crate)
    compare_line(admission.line, crate)
    return crate
