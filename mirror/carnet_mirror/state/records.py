"""What the mirror's database says of files and versions, as values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One immutable file.

    Attributes:
        path: Below the mirror's directory.
        sha256: Of its bytes, in hex.
        length: In bytes.
    """

    path: str
    sha256: str
    length: int

    @classmethod
    def of(cls, path: str, data: bytes) -> StoredFile:
        """What is said of a file with these bytes."""
        return cls(path, sha256_hex(data), len(data))


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of one crate.

    Attributes:
        line: Its line of the sparse index, as it is published.
        length: Bytes of its tarball; the checksum is the line's. 0 where it is only listed, and is not here yet.
        path: Where the tarball is or will be, below the mirror's directory.
        upstream: Where it came from.
        pubtime_is_upstreams: Whether the line's `pubtime` is the upstream's word; otherwise it is when this mirror
            first saw the version.
        first_seen: When that was, as `pubtime` is written.
    """

    line: IndexLine
    length: int
    path: str
    upstream: str
    pubtime_is_upstreams: bool
    first_seen: str

    @property
    def id(self) -> CrateId:
        """Which crate and version."""
        return self.line.id

    @property
    def is_here(self) -> bool:
        """Whether the mirror has its tarball, and does not only list it."""
        return self.length > 0


@dataclass(frozen=True, slots=True)
class RawVersion:
    """A row of the table of versions, as it stands there."""

    canonical: str
    version: str
    checksum: str
    length: int
    path: str
    line: bytes
    upstream: str
    pubtime_source: str
    first_seen: str
    digest: str = ""

    @property
    def values(self) -> list[Any]:
        """All but the digest, in order."""
        return [getattr(self, name) for name in _DIGESTED]

    def recomputed(self) -> str:
        """What `digest` has to be: it shows a damaged disk. Against people there are signatures."""
        return sha256_hex(repr(self.values).encode())


_DIGESTED = tuple(one.name for one in fields(RawVersion) if one.name != "digest")


def stored_version(row: tuple[Any, ...]) -> StoredVersion:
    """A version from the columns that the store selects."""
    line, length, path, upstream, source, first_seen = row
    return StoredVersion(IndexLine.from_bytes(bytes(line)), length, path, upstream, source == "upstream", first_seen)
