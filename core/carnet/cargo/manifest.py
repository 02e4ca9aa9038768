"""The manifest inside a tarball: what of a `Cargo.toml` decides how a crate resolves and builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from carnet import stricttoml
from carnet.cargo.names import CrateId
from carnet.errors import FormatError
from carnet.value import field, value

MAX_MANIFEST = 1024 * 1024
"""Bytes in a `Cargo.toml`; the largest of 2,000 popular crates has 68 kB."""

KINDS = {"normal": "dependencies", "build": "build-dependencies", "dev": "dev-dependencies"}
"""The kinds of dependency, each with its table in a manifest."""


@value
class Dependency:
    """One dependency, as an index line writes it.

    Attributes:
        name: What the code calls it: the alias of a renamed dependency, otherwise the crate's name.
        req: The requirement, such as `^1.0` or `>=1, <2`.
        kind: `normal`, `build` or `dev`.
        target: The platform it is limited to, such as `cfg(unix)`, or None.
        features: Features asked for.
        optional: Whether it is only built when a feature asks.
        default_features: Whether its default features are on.
        registry: The index URL of the registry it is from, or None: in a manifest for crates-io, in an index line for
            the same registry.
        package: The crate's real name when it is renamed, or None.
        artifact: What cargo's unstable artifact dependencies build from it; empty for all others.
        bindep_target: The target those are built for, or None.
        lib: Whether it is a library as well as an artifact.
    """

    name: str
    req: str
    kind: str = "normal"
    target: str | None = None
    features: tuple[str, ...] = ()
    optional: bool = False
    default_features: bool = True
    registry: str | None = None
    package: str | None = None
    artifact: tuple[str, ...] = ()
    bindep_target: str | None = None
    lib: bool = False

    @property
    def crate(self) -> str:
        """The real name of the crate that is depended on."""
        return self.package or self.name


@value
class Manifest:
    """A published `Cargo.toml`.

    Attributes:
        id: Name and version.
        dependencies: Each with its requirement and platform as cargo publishes them.
        features: The `[features]` table, as written.
        links: The native library that it links, or None.
        rust_version: The least Rust version, or None.
        document: The whole parsed TOML.
    """

    id: CrateId
    dependencies: tuple[Dependency, ...]
    features: Mapping[str, tuple[str, ...]]
    links: str | None
    rust_version: str | None
    document: Mapping[str, Any] = field(repr=False)


def read_manifest(data: bytes, what: str = "Cargo.toml") -> Manifest:
    """Read the manifest that cargo wrote into a tarball.

    A requirement or platform that cargo of today does not read is kept as it is written: very old crates have them.

    Args:
        data: The bytes of `Cargo.toml`.
        what: What it is, for messages.

    Raises:
        FormatError: Not TOML, not a package, or a field of the wrong type.
    """
    document = stricttoml.parse(data, what, max_bytes=MAX_MANIFEST)
    table = _Table(document, what)
    package = table.table("package")
    if not package.values:
        package = table.table("project")  # what cargo read before 2015 and still does
    name, version = package.text("name"), package.text("version")
    if name is None or version is None:
        raise FormatError(f"{what} has no package name and version")
    features = table.table("features")
    return Manifest(
        id=CrateId.of(name, version.strip()),
        dependencies=dependencies_of(document, what),
        features={feature: features.texts(feature) for feature in sorted(features.values)},
        links=package.text("links"),
        rust_version=package.text("rust-version"),
        document=document,
    )


def dependencies_of(document: Mapping[str, Any], what: str) -> tuple[Dependency, ...]:
    """The dependencies that a manifest names, of every kind and for every platform.

    Args:
        document: The parsed manifest; nothing in it is inherited from a workspace.
        what: What it is, for messages.

    Raises:
        FormatError: A field has the wrong type, or is inherited.
    """
    table = _Table(document, what)
    dependencies = list(_dependencies(table, None))
    targets = table.table("target")
    for target in sorted(targets.values):
        dependencies.extend(_dependencies(targets.table(target), target))
    return tuple(dependencies)


@value
class _Table:
    """A TOML table whose fields are asked for by type."""

    values: Mapping[str, Any]
    what: str

    def _typed(self, key: str, kind: type, words: str) -> Any:
        value = self.values.get(key)
        if value is not None and type(value) is not kind:
            raise FormatError(f"{self.what}: `{key[:60]}` must be {words}")
        return value

    def text(self, key: str) -> str | None:
        value: str | None = self._typed(key, str, "a string")
        return value

    def truth(self, key: str) -> bool | None:
        value: bool | None = self._typed(key, bool, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._typed(key, list, "a list of strings") or []
        if any(type(item) is not str for item in value):
            raise FormatError(f"{self.what}: `{key[:60]}` must be a list of strings")
        return tuple(value)

    def table(self, key: str) -> _Table:
        return _Table(self._typed(key, dict, "a table") or {}, f"{self.what}: {key[:80]}")


def _dependencies(table: _Table, target: str | None) -> Iterator[Dependency]:
    for kind, section in KINDS.items():
        old = section.replace("-", "_")
        found = table.table(section if section in table.values else old)
        for name in sorted(found.values):
            yield _dependency(found, name, kind, target)


def _dependency(section: _Table, name: str, kind: str, target: str | None) -> Dependency:
    from carnet.cargo.requirement import platform, requirement  # most who need a `Dependency` read no manifest

    written = section.values[name]
    entry = _Table({"version": written}, section.what) if type(written) is str else section.table(name)
    if "workspace" in entry.values:
        raise FormatError(f"{section.what}: `{name[:60]}` is inherited from a workspace, which no published crate has")
    default_features = entry.truth("default-features")
    if default_features is None:
        default_features = entry.truth("default_features")
    artifact = entry.values.get("artifact")
    version = entry.text("version")
    return Dependency(
        name=name,
        req="*" if version is None else _or_as_written(requirement, version),
        kind=kind,
        target=None if target is None else _or_as_written(platform, target),
        features=entry.texts("features"),
        optional=bool(entry.truth("optional")),
        default_features=default_features is not False,
        registry=entry.text("registry-index") or entry.text("registry"),
        package=entry.text("package"),
        artifact=(artifact,) if type(artifact) is str else entry.texts("artifact"),
        bindep_target=entry.text("target"),
        lib=bool(entry.truth("lib")),
    )


def _or_as_written(normal: Callable[[str], str], text: str) -> str:
    try:
        return normal(text)
    except FormatError:
        return text
