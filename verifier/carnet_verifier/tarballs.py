"""Tarballs that metadata vouches for: fetched, compared with their digest, and read as cargo will unpack them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from carnet.cargo.crate import CrateFile, CrateLimits, read_crate
from carnet.cargo.index_line import compare_line
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import MetadataMismatch
from carnet.made import maker
from carnet.tuf import paths
from carnet.value import value
from carnet_verifier.outcomes import Attributed, VerifiedCrate
from carnet_verifier.provenance.kind import files_beside
from carnet_verifier.releases.signed_releases import find_signed
from carnet_verifier.tuf.repository import TrustedRepository

_verified = maker(VerifiedCrate)
_SMALL = 256 * 1024
"""Bytes of a file beside a tarball that is kept in memory while it waits; the evidence of real releases has fewer."""


@value(eq=False)
class FetchedTarball:
    """The files of one version as they came; what is signed of the tarball is checked when it is read.

    Whoever asks for one after the other has the files of one of them in memory.

    Attributes:
        read: Reads the tarball, which may wait on the disk.
        read_beside: Reads the signed files that say how it came about, by target path; large ones wait on the disk.
    """

    read: Callable[[], bytes]
    read_beside: Mapping[str, Callable[[], bytes]]

    @property
    def data(self) -> bytes:
        """The tarball."""
        return self.read()

    @property
    def beside(self) -> Mapping[str, bytes]:
        """The files beside it, by target path, each with its signed digest."""
        return {path: read() for path, read in self.read_beside.items()}


def fetch_files(
    repository: TrustedRepository, wanted: Sequence[Attributed], kept: Mapping[CrateId, bytes] | None = None
) -> list[FetchedTarball]:
    """Fetch tarballs and the signed files beside them; what is not small waits on the disk until it is read.

    Args:
        repository: The verified view.
        wanted: Of which versions.
        kept: Tarballs that are there already.

    Raises:
        NotFound: A signed file is not listed.
        MetadataMismatch: Other bytes than were signed; of a tarball, whoever reads it is told.
        TransportError: Nothing was decided.
    """
    tarballs: dict[CrateId, Callable[[], bytes]] = {crate: _held(data) for crate, data in (kept or {}).items()}
    missing = {item.crate: item for item in wanted if item.crate not in tarballs}
    beside = {item.crate: _beside(item) for item in wanted}
    signed = {path: sha256 for files in beside.values() for path, sha256 in files.items()}
    claimed = {paths.crate_path(crate): crate for crate, item in missing.items() if _is_target(item)}
    targets = find_signed(repository, signed | {path: missing[crate].sha256 for path, crate in claimed.items()})
    large = [target for target in targets if target.path in claimed or target.length > _SMALL]
    small = [target for target in targets if not (target.path in claimed or target.length > _SMALL)]
    found = dict(zip((target.path for target in large), repository.download_large(large), strict=True))
    found |= zip((target.path for target in small), map(_held, repository.download_many(small)), strict=True)
    tarballs |= {crate: found[path] for path, crate in claimed.items()}
    unlisted = [crate for crate, item in missing.items() if not _is_target(item)]
    places = [paths.download_path(crate) for crate in unlisted]
    most = CrateLimits().compressed
    tarballs |= zip(unlisted, repository.download_unlisted(places, max_bytes=most), strict=True)
    return [FetchedTarball(tarballs[item.crate], {path: found[path] for path in beside[item.crate]}) for item in wanted]


def _is_target(item: Attributed) -> bool:
    """Whether its maintainers list the tarball as a target: not when they adopted it by its checksum."""
    return item.release is not None and not item.release.by_checksum


def _held(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _beside(attributed: Attributed) -> dict[str, str]:
    if attributed.signed is None or attributed.release is None:
        return {}
    return files_beside(attributed.signed.demands, attributed.release)


def fetch_crates(repository: TrustedRepository, wanted: Sequence[Attributed]) -> Iterator[VerifiedCrate]:
    """Fetch tarballs, and see that what was vouched for is what cargo will unpack.

    Returns:
        Each in its turn: one at a time is unpacked, because a small tarball may unpack to half a gigabyte.

    Raises:
        MetadataMismatch: Other bytes than metadata vouches for.
        ArchiveRefused: A rule of the archive format is broken, or the signed line does not say what the manifest says.
        TransportError: Nothing was decided.
    """
    for item, fetched in zip(wanted, fetch_files(repository, wanted), strict=True):
        yield verify_tarball(item, fetched.data, beside=fetched.beside)


def verify_tarball(
    attributed: Attributed, data: bytes, *, beside: Mapping[str, bytes] | None = None, file: CrateFile | None = None
) -> VerifiedCrate:
    """See that these bytes are the tarball that metadata vouches for, and that they hold what the signed line says.

    Args:
        attributed: Whose word for which bytes.
        data: The tarball.
        beside: The signed files that say how it came about: all of them, for a version that has any.
        file: What the tarball holds, when somebody has read these very bytes already.

    Raises:
        MetadataMismatch: Other bytes than metadata vouches for, of the tarball or of a file beside it.
        ArchiveRefused: As `fetch_crates`.
    """
    digest = sha256_hex(data)
    if digest != attributed.sha256:
        raise MetadataMismatch(
            f"the tarball of {attributed.crate} has sha256 {digest}, admitted was {attributed.sha256}",
            hint="the bytes were changed on the way or at the mirror; nothing of them was used",
        )
    if file is None or file.sha256 != digest:
        file = read_crate(data, attributed.crate)
    compare_line(attributed.vouched.line, file, let_in=attributed.let_in)
    beside = beside or {}
    for path, signed in _beside(attributed).items():
        if path not in beside or sha256_hex(beside[path]) != signed:
            raise MetadataMismatch(f"{path} is not the file that was signed for {attributed.crate}")
    return _verified(file, data, beside)
