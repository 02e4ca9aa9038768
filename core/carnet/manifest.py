"""The manifest inside a tarball: what of a `Cargo.toml` decides how a crate resolves and builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carnet.names import CrateId


@dataclass(frozen=True, slots=True, order=True)
class Dependency:
    """One dependency, as an index line writes it.

    Attributes:
        name: What the code calls it: the alias of a renamed dependency, otherwise the crate's name.
        req: The requirement, as cargo writes it (`^1.0`, `>=1, <2`, `*`).
        kind: `normal`, `build` or `dev`.
        target: The platform it is limited to, such as `cfg(unix)`, or None.
        features: Features asked for.
        optional: Whether it is only built when a feature asks.
        default_features: Whether its default features are on.
        registry: The index URL of another registry than the crate's own, or None.
        package: The crate's real name when it is renamed, or None.
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


@dataclass(frozen=True)
class Manifest:
    """A published `Cargo.toml`.

    Attributes:
        id: Name and version.
        dependencies: In cargo's order.
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

    Args:
        data: The bytes of `Cargo.toml`.
        what: What it is, for messages.

    Raises:
        FormatError: Not TOML, not a package, or a field of the wrong type.
    """
    raise NotImplementedError
