"""Sparse-index lines and files: what cargo resolves with."""

from __future__ import annotations

from dataclasses import dataclass, field

from carnet.crate import CrateFile
from carnet.manifest import Dependency
from carnet.names import CrateId, CrateName, Version
from carnet.strictjson import JsonObject

MAX_FILE = 64 * 1024 * 1024
"""Bytes in an index file; the largest of the public registry is below 10 MB."""
MAX_LINE = 4 * 1024 * 1024
"""Bytes in one line."""


@dataclass(frozen=True)
class IndexLine:
    """One version of one crate, as the registry tells cargo. Fields that carnet does not know are kept.

    Attributes:
        id: Name and version.
        cksum: sha256 of the `.crate`, in hex.
        deps: Its dependencies.
        features: `features` and `features2` together.
        links: The native library that it links, or None.
        rust_version: The least Rust version, or None.
        yanked: Whether cargo avoids it for new locks.
        pubtime: When it was published, `yyyy-mm-ddThh:mm:ssZ`, or None.
        raw: The object as parsed.
    """

    id: CrateId
    cksum: str
    deps: tuple[Dependency, ...]
    features: dict[str, tuple[str, ...]]
    links: str | None
    rust_version: str | None
    yanked: bool
    pubtime: str | None
    raw: JsonObject = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> IndexLine:
        """Read one line, with or without its newline.

        Raises:
            FormatError: Not a line of a sparse index.
        """
        raise NotImplementedError

    @classmethod
    def from_object(cls, raw: JsonObject) -> IndexLine:
        """Read the parsed object of a line.

        Raises:
            FormatError: Not a line of a sparse index.
        """
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The line as it is served, without its newline; the bytes it was read from when it was read."""
        raise NotImplementedError

    def identity(self) -> str:
        """The sha256, in hex, of the canonical JSON of the line without `yanked` and `pubtime`: what maintainers sign."""
        raise NotImplementedError

    def with_(self, *, yanked: bool | None = None, pubtime: str | None = None) -> IndexLine:
        """The same line with another yank state or publication time; None leaves it as it is."""
        raise NotImplementedError


@dataclass(frozen=True)
class IndexFile:
    """A crate's sparse-index file.

    Attributes:
        name: The crate.
        lines: One for each version, in the order of the file.
    """

    name: CrateName
    lines: tuple[IndexLine, ...]

    @classmethod
    def from_bytes(cls, data: bytes, name: CrateName) -> IndexFile:
        """Read an index file.

        Raises:
            FormatError: Too large, a line that does not parse, is another crate's, or repeats a version.
        """
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The file as it is served: each line with its newline."""
        raise NotImplementedError

    def line(self, version: Version) -> IndexLine | None:
        """The line of one version."""
        raise NotImplementedError


def line_from_crate(
    crate: CrateFile, *, pubtime: str | None, yanked: bool = False, registry: str | None = None
) -> IndexLine:
    """Build the line that a registry would write for a crate that cargo published.

    Args:
        crate: The tarball.
        pubtime: When it was published.
        yanked: Its yank state.
        registry: The index URL of the registry it is published to; None for crates-io.

    Raises:
        FormatError: The manifest cannot be published.
    """
    raise NotImplementedError


def compare_line(line: IndexLine, crate: CrateFile, *, registry: str | None = None) -> tuple[str, ...]:
    """Compare a line with the manifest inside the tarball that it is about.

    Args:
        line: The registry's word.
        crate: The tarball.
        registry: The index URL of the registry that the line is from; None for crates-io.

    Returns:
        Differences that do no harm, in words; empty when the line says what the manifest says.

    Raises:
        ArchiveRefused: Another checksum or crate, or the line would make cargo resolve or build something else than the
            manifest says: dependencies, features or `links` differ.
    """
    raise NotImplementedError
