"""The workspace that a folder belongs to, found as cargo finds it and without running anything.

A member's lock, and the policy beside it, are those of the workspace's root: cargo does not look at any other lock, so
neither does carnet, be there a stale one in the member. `cargo locate-project --workspace` has to say the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from carnet.durable import read_file, users_file
from carnet.errors import ConfigError

MANIFEST = "Cargo.toml"
_MAX = 10_000_000


def workspace_root(folder: Path, cargo_home: Path | None = None) -> Path | None:
    """Find the folder whose `Cargo.lock` cargo uses for what is in `folder`.

    Args:
        folder: Where a command runs, absolute.
        cargo_home: The user's CARGO_HOME, beyond which cargo does not look for a root.

    Returns:
        The root of the workspace, which is the package's own folder where it is in none; None where no folder from
        this one upwards has a `Cargo.toml`.

    Raises:
        ConfigError: A `Cargo.toml` on the way is not one, or names a root that is none.
    """
    for package in (folder, *folder.parents):
        manifest = _read(package)
        if manifest is not None:
            return _root_of(package, manifest, cargo_home)
    return None


def _root_of(package: Path, manifest: Mapping[str, Any], cargo_home: Path | None) -> Path:
    if _workspace(manifest) is not None:
        return package
    named = _named_root(package, manifest)
    if named is not None:
        return named
    for above, document in _above(package, cargo_home):
        workspace = _workspace(document)
        if workspace is not None and not _is_excluded(package, above, workspace):
            return above
        named = _named_root(above, document) if workspace is None else None
        if named is not None:
            return named
    return package


def _above(package: Path, cargo_home: Path | None) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The manifests above a package, up to where cargo stops: what it unpacks to publish, and its own home."""
    for above in package.parents:
        if above.parts[-2:] == ("target", "package"):
            return
        document = _read(above)
        if document is not None:
            yield above, document
        if above == cargo_home:
            return


def _named_root(folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    """The root that `package.workspace` names."""
    package = manifest.get("package", manifest.get("project"))  # cargo's older word for it
    named = package.get("workspace") if isinstance(package, dict) else None
    if not isinstance(named, str):
        return None
    root = Path(os.path.normpath(folder / named))
    document = _read(root)
    if document is None or _workspace(document) is None:
        raise ConfigError(
            f"{folder / MANIFEST} names {root} as its workspace, and there is no root of one",
            hint="cargo reads this file too: mend `package.workspace`, or name the lock to check",
        )
    return root


def _is_excluded(package: Path, root: Path, workspace: Mapping[str, Any]) -> bool:
    """Whether a root leaves out what is below it, in cargo's words: excluded, and not named among the members."""
    manifest = package / MANIFEST

    def names(key: str) -> bool:
        listed = workspace.get(key, [])
        paths = (one for one in listed if isinstance(one, str)) if isinstance(listed, list) else ()
        return any(manifest.is_relative_to(root / path) for path in paths)

    return names("exclude") and not names("members")


def _workspace(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = manifest.get("workspace")
    return found if isinstance(found, dict) else None


def _read(folder: Path) -> Mapping[str, Any] | None:
    """What matters here of a folder's manifest; None where it has none."""
    file = folder / MANIFEST
    try:
        data = read_file(file, "the manifest", max_bytes=_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if b"workspace" not in data and b"\\" not in data:  # and its parser need not be imported
        return {}
    from carnet import stricttoml

    with users_file(file, "manifest"):
        return stricttoml.parse(
            data, str(file), max_bytes=_MAX, hint="cargo reads this file too: mend it, or name the lock to check"
        )
