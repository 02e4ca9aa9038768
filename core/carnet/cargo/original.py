"""The manifest as the maintainer wrote it: workspace inheritance resolved, and what of it decides how the crate builds.

cargo rewrites `Cargo.toml` when it packages: it resolves what is inherited from the workspace, drops paths, writes out
targets that it discovered, sorts. The same reading of the original and of the rewritten manifest, each brought to a
`Meaning`, can be compared; everything that changes what is compiled, or what is depended on, is in there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from carnet import stricttoml
from carnet.cargo.names import CrateId
from carnet.errors import FormatError

MAX_MANIFEST = 4 * 1024 * 1024

Table = dict[str, Any]

_KINDS = (("normal", "dependencies"), ("dev", "dev-dependencies"), ("build", "build-dependencies"))
_LOCATION = frozenset(("path", "git", "branch", "tag", "rev", "workspace", "base"))
"""Where a dependency is found on the maintainer's machine; cargo drops these when it packages."""
_IN_DEPENDENCY = {"default_features": "default-features"}
_SHAPE = ("name", "version", "edition", "links", "rust-version")
_REWRITTEN = frozenset(
    (
        *("name", "version", "edition", "links", "build", "workspace", "readme", "license-file", "autolib", "metadata"),
        *("autobins", "autoexamples", "autotests", "autobenches", "resolver", "include", "exclude", "publish"),
    )
)


def read_toml(data: bytes, what: str) -> Table:
    """Read TOML that someone else wrote.

    Raises:
        FormatError: Too large, not UTF-8, or not TOML.
    """
    return stricttoml.parse(data, what, max_bytes=MAX_MANIFEST)


def workspace_manifest(folder: str, manifest: Table, read: Callable[[str], bytes | None]) -> str | None:
    """Find the manifest of the workspace that a package belongs to, as cargo looks for it.

    Args:
        folder: The package's folder in the repository; empty at its top.
        manifest: The package's own manifest.
        read: A file of the repository by its path, or None.

    Returns:
        The path of a manifest with a `[workspace]`, or None.
    """
    package = _table(manifest, "package")
    named = package.get("workspace")
    if isinstance(named, str):
        folders = [posixpath.normpath(posixpath.join(folder, named))]
    else:
        folders = [folder]
        while folders[-1]:
            folders.append(posixpath.dirname(folders[-1]))
    for candidate in folders:
        path = posixpath.join("" if candidate == "." else candidate, "Cargo.toml")
        data = None if path.startswith(("../", "/")) else read(path)
        if data is not None and isinstance(read_toml(data, path).get("workspace"), dict):
            return path
    return None


def inherits(value: Any) -> bool:
    """Whether anything in a manifest says `workspace = true`."""
    if isinstance(value, dict):
        return value.get("workspace") is True or any(inherits(part) for part in value.values())
    return isinstance(value, list) and any(inherits(part) for part in value)


def resolve(manifest: Table, workspace: Table | None) -> Table:
    """Fill in what a package inherits from its workspace.

    Raises:
        FormatError: It inherits something that the workspace does not have.
    """
    shared = _table(workspace or {}, "workspace")
    resolved = dict(manifest)
    package = _table(manifest, "package")
    resolved["package"] = {
        key: _inherited(_table(shared, "package"), key, f"package.{key}") if is_inherited(value) else value
        for key, value in package.items()
    }
    if is_inherited(manifest.get("lints")):
        resolved["lints"] = shared.get("lints", {})
    pool = _table(shared, "dependencies")
    for holder in _dependency_holders(resolved):
        for key, table in list(holder.items()):
            if _kind_of(key) is not None and isinstance(table, dict):
                holder[key] = {name: _with_workspace(name, value, pool) for name, value in table.items()}
    return resolved


def _dependency_holders(manifest: Table) -> Iterator[Table]:
    yield manifest
    targets = manifest.get("target")
    if isinstance(targets, dict):
        manifest["target"] = {name: dict(part) for name, part in targets.items() if isinstance(part, dict)}
        yield from manifest["target"].values()


def _with_workspace(name: str, value: Any, pool: Table) -> Any:
    if not is_inherited(value):
        return value
    base = _inherited(pool, name, f"dependency {name}")
    if not isinstance(base, str | dict):
        raise FormatError(f"the workspace's dependency {name[:80]!a} is neither a requirement nor a table")
    merged: Table = {"version": base} if isinstance(base, str) else dict(base)
    if "features" in value:
        merged["features"] = [*_listed_features(merged, name), *_listed_features(value, name)]
    if "optional" in value:
        merged["optional"] = value["optional"]
    merged.update({key: part for key, part in value.items() if key in ("public", "artifact", "lib", "target")})
    # A member can switch default features back on; it cannot switch off what the workspace has on.
    if _default_features(value) is True and "default_features" in _plain(value):
        merged["default-features"] = True
    return merged


def _listed_features(value: Table, name: str) -> list[Any]:
    found = value.get("features", [])
    if not isinstance(found, list):
        raise FormatError(f"the manifest's features of the dependency {name[:80]!a} are not a list")
    return found


def _plain(value: Table) -> frozenset[str]:
    return frozenset(key.replace("-", "_") for key in value)


def _default_features(value: Table) -> bool:
    return value.get("default-features", value.get("default_features", True)) is not False


def is_inherited(value: Any) -> bool:
    """Whether this value of a manifest is `{ workspace = true }`."""
    return isinstance(value, dict) and value.get("workspace") is True


def _inherited(table: Table, key: str, what: str) -> Any:
    if key not in table:
        raise FormatError(f"{what[:80]!a} is inherited, and the workspace does not have it")
    return table[key]


def _table(value: Mapping[str, Any], key: str) -> Table:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


# --- what a manifest means ---


@dataclass(frozen=True, slots=True)
class Meaning:
    """What of a manifest decides how the crate builds, in a form that two manifests can be compared in.

    Attributes:
        facts: Name of the fact -> its value: `name`, `version`, `dependencies`, `features`, `build` and so on.
        rest: Everything else of `[package]`, for findings.
    """

    facts: Mapping[str, Any]
    rest: Mapping[str, Any]


def crate_id(manifest: Table) -> CrateId:
    """Name and version of a resolved manifest; a manifest without a version is version 0.0.0.

    Raises:
        FormatError: No package, or not a crate name or version.
    """
    package = _table(manifest, "package") or _table(manifest, "project")
    name, version = package.get("name"), package.get("version", "0.0.0")
    if not isinstance(name, str) or not isinstance(version, str):
        raise FormatError("the manifest has no package with a name and a version")
    return CrateId.of(name.strip(), version.strip())


def meaning(manifest: Table, files: Collection[str]) -> Meaning:
    """Bring a resolved manifest to the form in which an original and cargo's rewriting of it are the same.

    Args:
        manifest: Resolved with `resolve`.
        files: The files of the package: cargo discovers targets and `build.rs` by them.

    Raises:
        FormatError: A part that matters is of the wrong type.
    """
    package = _table(manifest, "package") or _table(manifest, "project")
    dropped = {name for kind, _, name, value in dependencies(manifest) if kind == "dev" and is_local(value)}
    # One dependency may stand twice, under two spellings of its table or platform: every entry counts.
    kept: dict[tuple[str, str, str], tuple[tuple[tuple[str, str], ...], ...]] = {}
    for kind, target, name, value in dependencies(manifest):
        if not (kind == "dev" and is_local(value)):
            key = (kind, target, name)
            kept[key] = tuple(sorted({*kept.get(key, ()), _dependency(name, value)}))
    kept_names = {name for _, _, name in kept}
    library = _table(manifest, "lib")
    has_library = bool(library) or "src/lib.rs" in files
    facts: dict[str, Any] = {key: package.get(key) for key in _SHAPE}
    facts["edition"] = package.get("edition", "2015")
    facts["dependencies"] = kept
    facts["features"] = _features(manifest, dropped - kept_names)
    facts["build"] = _build(package.get("build"), files)
    facts["proc-macro"] = library.get("proc-macro", library.get("proc_macro", False)) is True
    crate_type = library.get("crate-type", library.get("crate_type"))
    if crate_type is None:
        crate_type = ["proc-macro"] if facts["proc-macro"] else ["lib"]
    facts["crate-type"] = sorted(map(str, crate_type)) if isinstance(crate_type, list) else [str(crate_type)]
    facts["library path"] = _clean(library.get("path", "src/lib.rs")) if has_library else None
    default_name = str(package.get("name", "")).replace("-", "_")
    facts["library name"] = library.get("name", default_name) if has_library else None
    rest = {key: value for key, value in package.items() if key not in _REWRITTEN}
    return Meaning(facts, rest)


def _kind_of(key: str) -> str | None:
    return next((kind for kind, name in _KINDS if key.replace("_", "-") == name), None)


def dependencies(manifest: Table) -> Iterator[tuple[str, str, str, Table]]:
    """Every dependency: kind (`normal`, `dev` or `build`), target, name in the code, its table.

    Raises:
        FormatError: One is neither a requirement nor a table, or a platform has no name.
    """
    tables = [("", manifest), *_table(manifest, "target").items()]
    if not all("".join(target.split()) for target, _ in tables[1:]):
        raise FormatError("the manifest has a platform without a name")
    for target, holder in tables:
        for key, table in holder.items() if isinstance(holder, dict) else ():
            kind = _kind_of(key)
            if kind is None or not isinstance(table, dict):
                continue
            for name, value in table.items():
                if not isinstance(value, (str, dict)):
                    raise FormatError(f"dependency {name[:64]!a} is neither a requirement nor a table")
                yield kind, "".join(target.split()), name, {"version": value} if isinstance(value, str) else value


def is_local(value: Table) -> bool:
    """A dependency that only exists on the maintainer's disk or in git: cargo drops it from a published crate."""
    return "version" not in value and ("path" in value or "git" in value)


def _dependency(name: str, value: Table) -> tuple[tuple[str, str], ...]:
    parts = {_IN_DEPENDENCY.get(key, key): part for key, part in value.items() if key not in _LOCATION}
    parts["package"] = parts.get("package", name)
    parts["version"] = "".join(str(parts.get("version", "*")).split())
    parts["features"] = sorted(set(map(str, parts.get("features") or [])))
    parts["optional"] = parts.get("optional", False) is True
    parts["default-features"] = _default_features(value)
    if "registry-index" in parts:
        parts["registry"] = parts.pop("registry-index")
    if parts.get("public") is False:
        del parts["public"]
    return tuple(sorted((key, str(part)) for key, part in parts.items()))


def _features(manifest: Table, dropped: Collection[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, values in _table(manifest, "features").items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise FormatError(f"feature {name[:64]!a} is not a list of names")
        found[name] = tuple(sorted({value for value in values if _feature_of(value) not in dropped}))
    return found


def _feature_of(value: str) -> str:
    """Whose feature `dep:x`, `x/f` or `x?/f` asks for; empty for a feature of the crate's own."""
    if value.startswith("dep:"):
        return value[4:]
    return value.partition("/")[0].removesuffix("?") if "/" in value else ""


def _build(value: Any, files: Collection[str]) -> tuple[str, ...]:
    """The build script; one that is not in the package is none (cargo warns and leaves it out)."""
    if value is False:
        return ()
    scripts = [value] if isinstance(value, str) else value if isinstance(value, list) else ["build.rs"]
    return tuple(path for path in (_clean(script) for script in scripts) if path in files)


def _clean(path: Any) -> str:
    return posixpath.normpath(str(path).replace("\\", "/"))


def outside_files(manifest: Table) -> dict[str, str]:
    """Files that cargo copies from outside the package's folder to its top.

    Args:
        manifest: Resolved; `readme` and `license-file` are relative to the package's folder.

    Returns:
        Name in the package -> the path that the manifest gives.
    """
    package = _table(manifest, "package")
    found: dict[str, str] = {}
    for key in ("readme", "license-file"):
        value = package.get(key)
        if isinstance(value, str) and _clean(value).startswith("../"):
            found[posixpath.basename(_clean(value))] = _clean(value)
    return found


def inherited_files(own: Table, workspace: Table | None, folder: str, workspace_folder: str) -> Table:
    """The package's own table with an inherited `readme` or `license-file` made relative to the package's folder."""
    shared = _table(_table(workspace or {}, "workspace"), "package")
    package = dict(_table(own, "package"))
    for key in ("readme", "license-file"):
        if is_inherited(package.get(key)) and isinstance(shared.get(key), str):
            package[key] = posixpath.relpath(posixpath.join("/", workspace_folder, shared[key]), f"/{folder}")
    return {**own, "package": package}
