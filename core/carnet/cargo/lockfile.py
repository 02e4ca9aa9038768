"""`Cargo.lock`, all four versions of it, to the crates that it pins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from carnet import stricttoml
from carnet.cargo.names import CrateId, CrateName, PackageName, Version
from carnet.errors import FormatError
from carnet.value import value

MAX_LOCK = 16 * 1024 * 1024
"""Bytes in a lock file; one with 1,100 packages has 0.3 MB."""

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


@value(order=True)
class LockedPackage:
    """One package of a lock.

    Attributes:
        id: Name and version; the name is a `PackageName` where only git or another registry would take it.
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


@value
class Lockfile:
    """A lock file.

    Attributes:
        version: Its format, 1 to 4.
        packages: Every package, in the order of the file.
        nameless: Names of path packages that no registry would take, such as `_scratch`; they are not in `packages`.
    """

    version: int
    packages: tuple[LockedPackage, ...]
    nameless: tuple[str, ...] = ()

    @property
    def registry_packages(self) -> tuple[LockedPackage, ...]:
        """Those that come from crates-io, directly or through a mirror."""
        return self.of_kind(SourceKind.CRATES_IO)

    def of_kind(self, kind: SourceKind) -> tuple[LockedPackage, ...]:
        """Those of one kind of source."""
        return tuple(package for package in self.packages if package.kind is kind)


_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SOURCE = r"(?:registry|sparse|git)\+[\x21-\x7e]{1,2000}\Z"
_METADATA = "checksum "
_REGENERATE = "restore it from version control, or have cargo write it anew"


def read_lockfile(data: bytes, what: str = "Cargo.lock") -> Lockfile:
    """Read a lock file.

    Args:
        data: Its bytes.
        what: Its path, for messages.

    Raises:
        FormatError: Not a lock file of version 1 to 4, or one that contradicts itself.
    """
    document = stricttoml.parse(data, what, max_bytes=MAX_LOCK, hint=_REGENERATE)
    marked = document.get("version")
    if marked not in (None, 3, 4) or type(marked) is bool:
        raise FormatError(
            f"{what} is of version {str(marked)[:20]!a}; carnet knows 1 to 4",
            hint="use a cargo and a carnet of about the same age",
        )
    old = _metadata_checksums(document, what)
    packages: dict[tuple[str, str, str | None], LockedPackage | None] = {}
    for entry in _entries(document, what):
        name, version = _text(entry, "name", what), _text(entry, "version", what)
        source = _text(entry, "source", what)
        if name is None or version is None:
            raise FormatError(f"{what} has a package without a name or version", hint=_REGENERATE)
        if (name, version, source) in packages:
            raise FormatError(f"{what} has the package {name[:80]!a} {version[:40]!a} twice", hint=_REGENERATE)
        packages[name, version, source] = _package(entry, old, what)
    kept = tuple(package for package in packages.values() if package is not None)
    nameless = tuple(name for (name, _, _), package in packages.items() if package is None)
    new = any("checksum" in entry for entry in _entries(document, what))
    if old and (new or marked):
        raise FormatError(f"{what} has checksums in two places, as after a bad merge", hint=_REGENERATE)
    return Lockfile(marked or (2 if new else 1), kept, nameless)


def _entries(document: Mapping[str, Any], what: str) -> Iterator[Mapping[str, Any]]:
    root, packages = document.get("root"), document.get("package", [])
    if type(packages) is not list:
        raise FormatError(f"{what}: `package` must be an array of tables", hint=_REGENERATE)
    for entry in packages if root is None else [root, *packages]:  # `[root]` until 2017
        if type(entry) is not dict:
            raise FormatError(f"{what}: a package must be a table", hint=_REGENERATE)
        yield entry


def _text(entry: Mapping[str, Any], key: str, what: str) -> str | None:
    value = entry.get(key)
    if value is not None and type(value) is not str:
        raise FormatError(f"{what}: `{key}` must be a string", hint=_REGENERATE)
    return value


def _package(entry: Mapping[str, Any], old: Mapping[str, str], what: str) -> LockedPackage | None:
    name, version = str(entry["name"]), str(entry["version"])
    source, checksum = _text(entry, "source", what), _text(entry, "checksum", what)
    if source is not None and source != CRATES_IO and re.match(_SOURCE, source) is None:
        raise FormatError(f"{what}: {source[:80]!a} is not a source", hint=_REGENERATE)
    if checksum is None and source is not None:
        checksum = old.get(f"{name} {version} ({source})")
    if checksum is not None and _SHA256.match(checksum) is None:
        raise FormatError(f"{what}: the checksum of {name[:80]!a} is not a sha256", hint=_REGENERATE)
    try:
        return LockedPackage(CrateId(_name(name, source), Version(version)), source, checksum)
    except FormatError as error:
        if source is None:
            return None  # the workspace's own; cargo allows more names than a registry does
        raise FormatError(f"{what}: {error}", hint=error.hint) from None


def _name(text: str, source: str | None) -> CrateName:
    """A name that crates-io takes, or, of a package from elsewhere, one that cargo takes."""
    try:
        return CrateName(text)
    except FormatError:
        if source in (None, CRATES_IO):
            raise
        return PackageName(text)


def _metadata_checksums(document: Mapping[str, Any], what: str) -> dict[str, str]:
    """Version 1 keeps checksums apart: `"checksum NAME VERSION (SOURCE)" = "HEX"`, or `<none>`."""
    metadata = document.get("metadata", {})
    if type(metadata) is not dict:
        raise FormatError(f"{what}: `metadata` must be a table", hint=_REGENERATE)
    found = {key: _text(metadata, key, what) for key in metadata if key.startswith(_METADATA)}
    return {key.removeprefix(_METADATA): value for key, value in found.items() if value and value != "<none>"}
