"""What a registry gave for the packages of a lock file, before anything of it is believed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from carnet.cargo.index_line import IndexLine
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateName
from carnet.errors import FormatError

_VERSION_FIELD = re.compile(rb'"vers"\s*:\s*"([^"\\]{1,128})"')


@dataclass(frozen=True, slots=True)
class UpstreamCrate:
    """One locked package, as an upstream answered.

    Attributes:
        package: The package.
        tarball: A file that holds its tarball, or None when the upstream did not give one.
        reason: Why not, in words.
        index: The crate's lines of the upstream's index, unparsed; empty when they could not be had.
    """

    package: LockedPackage
    tarball: Path | None
    reason: str = ""
    index: tuple[bytes, ...] = field(default=(), repr=False)


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


def wanted_lines(chunks: Sequence[bytes], name: CrateName, versions: Collection[str]) -> dict[str, IndexLine]:
    """The lines of some versions, out of all that an upstream's index has of a crate.

    Only these are parsed: popular crates have hundreds. Lines that do not parse are left out, as cargo leaves them out.
    """
    found: dict[str, IndexLine] = {}
    for chunk in chunks:
        if not any(match.decode("utf-8", "replace") in versions for match in _VERSION_FIELD.findall(chunk)):
            continue
        try:
            line = IndexLine.from_bytes(chunk)
        except FormatError:
            continue
        if line.id.name == name and str(line.id.version) in versions:
            found[str(line.id.version)] = line
    return found
