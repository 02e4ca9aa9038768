"""The `.crate` reader: a tarball in memory to a checked list of files, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from carnet.names import CrateId

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CrateLimits:
    """How much a tarball may bring.

    Attributes:
        compressed: Bytes of the `.crate` itself; above `usual` it is only warned of, above this refused.
        usual: Bytes that the public registry accepts from everybody.
        unpacked: Bytes of the tar archive inside.
        entries: Files and directories.
    """

    compressed: int = 128 * MIB
    usual: int = 10 * MIB
    unpacked: int = 512 * MIB
    entries: int = 100_000


@dataclass(frozen=True, slots=True)
class CrateEntry:
    """One regular file.

    Attributes:
        path: Relative to `<name>-<version>/`, with `/`.
        executable: Whether the owner may execute it (git's mode 100755).
        data: Its content.
    """

    path: str
    executable: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class CrateFile:
    """A `.crate` whose every byte has its place. Only `read_crate` makes one.

    Attributes:
        id: Name and version: the folder's, and the manifest's.
        sha256: Hex digest of the `.crate`; what an index line calls `cksum`.
        length: Bytes of the `.crate`.
        entries: Its files, in the order of the archive.
        warnings: What is unusual and does no harm, one line each.
    """

    id: CrateId
    sha256: str
    length: int
    entries: tuple[CrateEntry, ...]
    warnings: tuple[str, ...] = ()

    def file(self, path: str) -> bytes | None:
        """The content of one file, or None when there is none of that name."""
        entry = self._by_path.get(path)
        return None if entry is None else entry.data

    @cached_property
    def _by_path(self) -> dict[str, CrateEntry]:
        return {entry.path: entry for entry in self.entries}


def read_crate(data: bytes, expected: CrateId | None = None, *, limits: CrateLimits | None = None) -> CrateFile:
    """Read a `.crate` from memory.

    Args:
        data: The whole file.
        expected: The crate it must be; None takes what the manifest says.
        limits: How much it may bring; the defaults when None.

    Raises:
        ArchiveRefused: A rule of the archive format is broken, or it is another crate.
        FormatError: The manifest inside does not parse.
    """
    raise NotImplementedError
