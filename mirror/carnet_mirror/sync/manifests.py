"""What a workspace asks for that has no lock: its manifests are read as data, and nothing of it is executed.

::

    root        the manifest that is named: a package, a workspace's root, or both
    members     what `workspace.members` says, without `exclude`, and what path dependencies lead to
    asked for   each dependency of the root and of its members: normal, build and dev, of every target, optional or not

What is inherited is looked up in the root. **Nothing outside of the root's folder is read**, whatever a manifest says:
links are followed before that is decided. A dependency from git, another registry or outside of the folder is none of
this registry's, and is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from carnet import stricttoml
from carnet.cargo.asked import AskedFor
from carnet.cargo.manifest import KINDS, MAX_MANIFEST, dependencies_of
from carnet.durable import read_file, users_file
from carnet.errors import ConfigError, FormatError

_FILE = "Cargo.toml"
_MOST = 10_000
"""Folders that the patterns of one workspace may match."""
_SECTIONS = frozenset({*KINDS.values(), *(section.replace("-", "_") for section in KINDS.values())})


@dataclass(frozen=True, slots=True)
class Asks:
    """What a workspace asks for.

    Attributes:
        asked: Of this registry, each once, by name.
        notes: What is of no concern to it or was not read, in words.
    """

    asked: tuple[AskedFor, ...]
    notes: tuple[str, ...]


def read_workspace(manifest: Path) -> Asks:
    """Read a manifest, and those of the workspace of which it is the root.

    Args:
        manifest: The root's `Cargo.toml`.

    Raises:
        ConfigError: A manifest is missing, or is not of this form (`carnet.errors.MalformedFile`).
        StorageError: One cannot be read.
    """
    folder = _real(manifest).parent
    reading = _Reading(folder, {folder: _read(manifest)})
    root = reading.documents[folder]
    with users_file(manifest, "manifest"):
        reading.follow(folder, manifest.name)
        for member in _members(folder, _table(root, "workspace")):
            reading.member(member)
    while reading.left:
        member = reading.left.pop()
        with users_file(member / _FILE, "manifest"):
            if not _real(member / _FILE).is_relative_to(folder):
                raise FormatError("it is a link that leads out of the workspace's folder", hint="put a file there")
        reading.documents[member] = _read(member / _FILE)
        with users_file(member / _FILE, "manifest"):
            reading.follow(member, str((member / _FILE).relative_to(folder)))
    return Asks(tuple(sorted(reading.asked)), tuple(sorted(reading.notes)))


@dataclass
class _Reading:
    root: Path
    documents: dict[Path, Mapping[str, Any]]
    left: list[Path] = field(default_factory=list)
    asked: set[AskedFor] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)

    def member(self, folder: Path) -> bool:
        """Read a folder's manifest too, once; whether it is within the root's folder."""
        found = _real(folder)
        inside = found.is_relative_to(self.root)
        if inside and found not in self.documents and found not in self.left:
            self.left.append(found)
        return inside

    def follow(self, folder: Path, what: str) -> None:
        """Take what one manifest asks for."""
        document = self.documents[folder]
        tables = {"target": {name: self._sections(found, folder, what) for name, found in _targets(document)}}
        for one in dependencies_of({**self._sections(document, folder, what), **tables}, what):
            if one.registry not in (None, "crates-io"):
                self.notes.add(f"{what}: {one.name} comes from the registry {one.registry}, which is another one")
            else:
                self.asked.add(AskedFor.of(one.crate, one.req))

    def _sections(self, table: Mapping[str, Any], folder: Path, what: str) -> dict[str, Any]:
        """The dependencies of a manifest or of one target of it: inherited ones filled in, local ones left out."""
        return {
            section: dict(self._from_registries(_table(table, section), folder, what))
            for section in _SECTIONS & table.keys()
        }

    def _from_registries(self, table: Mapping[str, Any], folder: Path, what: str) -> Iterator[tuple[str, Any]]:
        for name, written in table.items():
            entry, base = written, folder
            if isinstance(written, dict) and "workspace" in written:
                entry, base = self._inherited(name, what), self.root
            if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                if not self.member(base / entry["path"]):
                    self.notes.add(f"{what}: {name} lies outside of the workspace, and was not read")
            elif isinstance(entry, dict) and "git" in entry:
                self.notes.add(f"{what}: {name} comes from git, which a mirror of a registry does not stand for")
            else:
                yield name, entry

    def _inherited(self, name: str, what: str) -> Any:
        shared = _table(_table(self.documents[self.root], "workspace"), "dependencies")
        if name not in shared:
            raise FormatError(
                f"{what}: `{name[:60]}` is inherited, and {self.root / _FILE} has no such workspace dependency",
                hint="name the manifest of the workspace's root",
            )
        return shared[name]


def _members(root: Path, workspace: Mapping[str, Any]) -> Iterator[Path]:
    excluded = [_real(root / text) for text in _texts(workspace, "exclude")]
    found = 0
    for pattern in _texts(workspace, "members"):
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            raise FormatError(
                f"the member {pattern[:80]!a} lies outside of the workspace's folder",
                hint="sync it by its own manifest",
            )
        literal = not set(pattern) & set("*?[")
        matching = [root / pattern] if literal else list(islice(root.glob(pattern), _MOST + 1))
        found += len(matching)
        if found > _MOST:
            raise FormatError(f"the members match more than {_MOST} folders", hint="name them less broadly")
        for member in matching:
            place = _real(member)
            if literal or ((member / _FILE).is_file() and not any(place.is_relative_to(one) for one in excluded)):
                if not place.is_relative_to(root):
                    raise FormatError(f"the member {pattern[:80]!a} is a link that leads out of the workspace's folder")
                yield member


def _real(path: Path) -> Path:
    """Where a path leads, links followed; a loop of links leads nowhere, and reading it says so."""
    return Path(os.path.realpath(path))


def _targets(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    targets = _table(document, "target")
    for name in targets:
        yield name, _table(targets, name)


def _read(manifest: Path) -> Mapping[str, Any]:
    with users_file(manifest, "manifest"):
        data = read_file(manifest, "the manifest", max_bytes=MAX_MANIFEST)
        document = stricttoml.parse(data, str(manifest), max_bytes=MAX_MANIFEST)
        if not document.keys() & {"package", "project", "workspace"}:
            raise ConfigError(f"{manifest} is neither a package's manifest nor a workspace's", hint="name a Cargo.toml")
        return document


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise FormatError(f"`{key[:60]}` must be a table")
    return value


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise FormatError(f"`{key}` must be a list of strings")
    return value
