"""What a registry gave for the packages of a lock file, before anything of it is believed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from carnet.cargo.index_line import IndexLine
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateName
from carnet.cargo.takedown import Takedown
from carnet.errors import FormatError

_VERSION_FIELD = re.compile(rb'"vers"\s*:\s*"([^"\\]{1,128})"')


@dataclass(frozen=True, slots=True)
class UpstreamCrate:
    """One locked package, as an upstream answered.

    Attributes:
        package: The package.
        tarball: A file that holds its tarball, or None when the upstream did not give one.
        reason: Why not, in words.
        has_none: Whether the upstream said that it has none. Otherwise it said nothing, and nothing is decided.
        index: The crate's lines of the upstream's index, unparsed; empty when they could not be had.
        silence: Why there are no lines, in words.
        taken_down: Versions that the upstream's operator took down, if it is one that says so.
        origin: How the mirror remembers the upstream that gave it; empty for the only one there is.
    """

    package: LockedPackage
    tarball: Path | None
    reason: str = ""
    has_none: bool = False
    index: tuple[bytes, ...] = field(default=(), repr=False)
    silence: str = "nothing of its index could be had"
    taken_down: Mapping[str, Takedown] = field(default_factory=dict, repr=False)
    origin: str = ""


class Upstream(Protocol):
    """Where crates come from: the user's own cargo, or a sparse index read directly.

    Attributes:
        name: How the mirror remembers it.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        """Fetch every package, in the order given; one that fails does not stop the others.

        Args:
            packages: What to fetch.
            scratch: An empty private directory for the tarballs.
            progress: Called with a number of packages each time so many more are there.

        Raises:
            TransportError: Nothing could be fetched at all.
            ConfigError: The upstream cannot be used as it is configured.
        """
        ...


@dataclass(frozen=True, slots=True)
class UpstreamIndex:
    """One crate's index file, as an upstream answered.

    Attributes:
        chunks: Its lines, unparsed; empty when they could not be had.
        silence: Why there are none, in words.
        absent: Whether the upstream said that there is no such crate. Otherwise it said nothing.
        taken_down: Versions that its operator took down, if it is an upstream that says so.
    """

    chunks: tuple[bytes, ...]
    silence: str = ""
    absent: bool = False
    taken_down: Mapping[str, Takedown] = field(default_factory=dict, repr=False)


class IndexedUpstream(Upstream, Protocol):
    """An upstream whose index can be asked by names, before anything is fetched."""

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        """The index files of these crates, and of no others.

        Args:
            names: The crates.
            scratch: A private directory, the same at each call.

        Raises:
            TransportError: Nothing could be had at all.
            ConfigError: The upstream cannot be used as it is configured.
        """
        ...


def without(chunks: Sequence[bytes], versions: Collection[str]) -> tuple[bytes, ...]:
    """The lines of an index file that are of none of these versions."""
    unwanted = frozenset(versions)
    return tuple(chunk for chunk in chunks if not _versions_in(chunk) & unwanted)


class Listing:
    """What an upstream's index says of some versions of a crate. What it does not say is no statement.

    Only the lines of these versions are parsed: popular crates have hundreds.

    Args:
        chunks: All that the index has of the crate, one line each.
        name: The crate, as the lock spells it.
        versions: The versions.
        silence: Why there are no lines, in words.

    Attributes:
        lines: The lines of the versions that it lists in a way that can be read.
        heard: Whether it lists anything of this crate at all, so that a version which is missing is not listed.
    """

    def __init__(self, chunks: Sequence[bytes], name: CrateName, versions: Collection[str], silence: str = "") -> None:
        self._silence = silence
        self._name = name
        self._chunks = chunks
        self._unread: dict[str, str] = {}
        self._otherwise: dict[str, CrateName] = {}
        self.lines: dict[str, IndexLine] = {}
        wanted = frozenset(versions)
        for chunk in chunks:
            for version in _versions_in(chunk) & wanted:
                self._read(chunk, version)
        self.heard = bool(self.lines) or any(map(self._is_line, chunks))

    def _read(self, chunk: bytes, version: str) -> None:
        try:
            line = IndexLine.from_bytes(chunk)
        except FormatError as error:
            self._unread[version] = f"the upstream's index line of it cannot be read: {error}"
            return
        if str(line.id.version) != version:
            return
        if line.id.name != self._name:
            self._otherwise[version] = line.id.name
        elif self.lines.get(version, line) != line:
            self._unread[version] = "the upstream's index has two lines of it that differ"
        else:
            self.lines[version] = line
        if version in self._unread:
            self.lines.pop(version, None)

    def _is_line(self, chunk: bytes) -> bool:
        try:
            return IndexLine.from_bytes(chunk).id.name == self._name
        except FormatError:
            return False

    def unread(self, version: str) -> bool:
        """Whether it says something of a version that cannot be read, or under another name."""
        return version in self._unread or version in self._otherwise

    def missing(self, version: str) -> str:
        """Why there is no line of a version, in words."""
        if not self._chunks:
            return self._silence
        if version in self._unread:
            return self._unread[version]
        if version in self._otherwise:
            return f"the upstream's index calls the crate {self._otherwise[version]}"
        if self.heard:
            return "the upstream's index does not list it"
        return f"what the upstream sent is no index of the crate: {beginning(self._chunks[0])}"


def beginning(data: bytes) -> str:
    """How an answer begins that is not what was asked for: often a page for people."""
    return f"it begins with {data[:40]!a}" if data else "it is empty"


def _versions_in(chunk: bytes) -> set[str]:
    return {match.decode("utf-8", "replace") for match in _VERSION_FIELD.findall(chunk)}
