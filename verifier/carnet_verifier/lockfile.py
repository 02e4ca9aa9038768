"""`Cargo.lock`, all four versions of it, to the crates that it pins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from carnet.names import CrateId

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
"""How every lock file names the public registry, whichever protocol or mirror cargo used."""


class SourceKind(Enum):
    """Where a locked package comes from."""

    CRATES_IO = "crates-io"
    REGISTRY = "registry"
    """Another registry."""
    GIT = "git"
    PATH = "path"
    """The workspace itself, or a path dependency: the lock names no source."""


@dataclass(frozen=True, slots=True, order=True)
class LockedPackage:
    """One package of a lock.

    Attributes:
        id: Name and version.
        source: The source as the lock writes it, or None for a path.
        checksum: sha256 of its `.crate` in hex; None for a path, git, and registries without checksums.
    """

    id: CrateId
    source: str | None
    checksum: str | None

    @property
    def kind(self) -> SourceKind:
        """Where it comes from."""
        if self.source is None:
            return SourceKind.PATH
        if self.source == CRATES_IO:
            return SourceKind.CRATES_IO
        return SourceKind.GIT if self.source.startswith("git+") else SourceKind.REGISTRY


@dataclass(frozen=True, slots=True)
class Lockfile:
    """A lock file.

    Attributes:
        version: Its format, 1 to 4.
        packages: Every package, in the order of the file.
    """

    version: int
    packages: tuple[LockedPackage, ...]

    @property
    def registry_packages(self) -> tuple[LockedPackage, ...]:
        """Those that come from crates-io, directly or through a mirror."""
        return self.of_kind(SourceKind.CRATES_IO)

    def of_kind(self, kind: SourceKind) -> tuple[LockedPackage, ...]:
        """Those of one kind of source."""
        return tuple(package for package in self.packages if package.kind is kind)


def read_lockfile(data: bytes, what: str = "Cargo.lock") -> Lockfile:
    """Read a lock file.

    Args:
        data: Its bytes.
        what: Its path, for messages.

    Raises:
        FormatError: Not a lock file of version 1 to 4, or one that contradicts itself.
    """
    raise NotImplementedError
