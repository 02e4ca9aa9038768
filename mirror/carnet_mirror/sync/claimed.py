"""Claimed crates in a sync: which of their versions still come from upstream, and what appears there meanwhile.

::

    signed, with its length      came with its release, or was here when the crate was claimed: never from upstream
    adopted by checksum          comes from upstream whenever somebody asks for it, with the checksum and the index line
                                 that were signed, or not at all
    neither                      is published by nobody but the crate's owners. What of it an upstream lists is noted in
                                 the crate's history, so that they see it

A crate that never came from upstream is never looked for there: its name may be nobody else's to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carnet.cargo.index_line import IndexLine
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.releases import Releases, SignedRelease
from carnet.errors import VerificationError
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.sync.outcome import Refused

CLAIMED = "this crate is claimed here: its versions come from its maintainers, not from upstream"
MAINTAINERS = "maintainers"
"""Where a version came from that was released here."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What of the packages that are asked for is looked for upstream.

    Attributes:
        wanted: To be fetched; of claimed crates with the checksum that was signed.
        here: How many of claimed crates are here.
        refused: What is wrong with others of claimed crates.
        unsigned: Versions of claimed crates that nobody signed.
    """

    wanted: tuple[LockedPackage, ...]
    here: int
    refused: tuple[Refused, ...]
    unsigned: tuple[CrateId, ...]


class ClaimedCrates:
    """Which of some crates are claimed, and what their release keys signed, at one moment.

    Args:
        store: The mirror.
        names: The crates.
    """

    def __init__(self, store: Store, names: Iterable[CrateName]) -> None:
        self._store = store
        self._view = UnverifiedView(store)
        self._releases: dict[str, Releases] = {}
        self.names = self._view.claimed(names)

    def __contains__(self, name: CrateName) -> bool:
        return name.canonical in self.names

    def releases(self, name: CrateName) -> Releases:
        """What is signed of one of them."""
        if name.canonical not in self._releases:
            self._releases[name.canonical] = self._view.releases(name)
        return self._releases[name.canonical]

    def adopted(self, crate: CrateId) -> SignedRelease | None:
        """A version as it was adopted by its checksum; None when it was not."""
        release = self.releases(crate.name).get(crate.version)
        return release if release is not None and release.by_checksum and release.id == crate else None

    def awaited(self, name: CrateName) -> list[SignedRelease]:
        """The versions that were adopted by checksum, and are not here yet."""
        listed = [release for release in self.releases(name) if release.by_checksum]
        here = {one.id for one in self._store.crates.versions(name) if one.is_here} if listed else set()
        return [release for release in listed if release.id not in here]

    def came_from_upstream(self, name: CrateName) -> bool:
        """Whether an upstream knows of the crate already, so that it may be asked about it again."""
        return self._view.history(name) is not None or any(
            version.upstream != MAINTAINERS for version in self._store.crates.versions(name)
        )


def check_adopted_line(release: SignedRelease, line: IndexLine) -> None:
    """Demand that an upstream's line is the one that was adopted.

    Raises:
        VerificationError: It is of another tarball, or says something else of it.
    """
    if line.cksum != release.tarball.sha256:
        raise VerificationError(
            f"the upstream now has a tarball with sha256 {line.cksum} for it, its owners adopted "
            f"{release.tarball.sha256}"
        )
    if line.identity() != release.index:
        raise VerificationError(
            "the upstream changed its index line: dependencies or features differ from what its owners adopted"
        )


def not_claimed(store: Store, packages: Sequence[LockedPackage]) -> Sorted:
    """Which packages to ask an upstream for: of claimed crates those that were adopted by checksum, and are not here.

    Args:
        store: The mirror.
        packages: All packages of a lock.
    """
    claimed = ClaimedCrates(store, {package.id.name for package in packages})
    wanted: list[LockedPackage] = []
    here = 0
    refused: list[Refused] = []
    unsigned: list[CrateId] = []
    for package in packages:
        crate = package.id
        if crate.name not in claimed:
            wanted.append(package)
            continue
        stored, adopted = store.crates.version(crate), claimed.adopted(crate)
        stored = stored if stored is not None and stored.is_here else None
        if stored is None and adopted is None:
            unsigned.append(crate)
            continue
        signed = stored.line.cksum if stored is not None else adopted.tarball.sha256 if adopted is not None else ""
        if package.checksum not in (None, signed):
            said = "released" if adopted is None else "adopted"
            refused.append(Refused(crate, f"its maintainers {said} {signed}, the lock demands another"))
        elif stored is None:
            wanted.append(LockedPackage(crate, package.source, signed))
        else:
            here += 1
    return Sorted(tuple(wanted), here, tuple(refused), tuple(unsigned))


def why_unsigned(crate: CrateId, appeared: Iterable[CrateId]) -> Refused:
    """Why a version of a claimed crate is not taken that nobody signed, and who can do something about it."""
    if crate in appeared:
        return Refused(crate, f"{CLAIMED}. Upstream lists it: its owners sign it in with `carnet claim adopt {crate}`")
    return Refused(crate, CLAIMED)
