"""What an index line must say: built from the tarball that it is about, and compared with it.

A line is the registry's word. `line_from_crate` writes what a registry writes when cargo publishes a crate;
`compare_line` tells whether a line is the manifest's, because cargo builds with the dependencies and features of the
line and never compares them.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from carnet.cargo.admitted import admitted
from carnet.cargo.index_file import MAX_FILE, MAX_LINE, Fields, IndexFile, IndexLine, read_dependency
from carnet.cargo.manifest import KINDS, Dependency
from carnet.cargo.names import CrateId
from carnet.cargo.requirement import platform
from carnet.errors import ArchiveRefused, FormatError
from carnet.strictjson import JsonObject

if TYPE_CHECKING:
    from carnet.cargo.crate import CrateFile
    from carnet.cargo.let_in import LetIn

__all__ = [
    "CRATES_IO",
    "MAX_FILE",
    "MAX_LINE",
    "IndexFile",
    "IndexLine",
    "compare_line",
    "line_from_crate",
    "line_from_publish",
]

CRATES_IO = "https://github.com/rust-lang/crates.io-index"
"""The name by which cargo knows the registry crates-io, whatever serves it."""
SCHEMA = 2
"""The newest `v` of a line that cargo reads."""


# --- writing a line ---


def line_from_crate(
    crate: CrateFile, *, pubtime: str | None, yanked: bool = False, registry: str = CRATES_IO
) -> IndexLine:
    """Build the line that a registry writes for a crate that cargo published.

    Args:
        crate: The tarball.
        pubtime: When it was published.
        yanked: Its yank state.
        registry: The index URL of the registry that the line is for.

    Raises:
        FormatError: The manifest cannot be published.
    """
    manifest = crate.manifest
    deps = [replace(dep, registry=_in_line(dep.registry, registry)) for dep in manifest.dependencies]
    raw = _line_object(crate.id, crate.sha256, deps, manifest.features)
    return _finished(raw, manifest.links, manifest.rust_version, pubtime, yanked)


def line_from_publish(request: JsonObject, cksum: str, *, pubtime: str | None) -> IndexLine:
    """Build the line for the JSON part of cargo's publish request, as a registry does.

    Args:
        request: What `PUT /api/v1/crates/new` brought.
        cksum: sha256 of the tarball that came with it, in hex.
        pubtime: When it was published.

    Raises:
        FormatError: A field is missing or of the wrong type.
    """
    reader = Fields(request, "the publish request")
    deps = []
    for found in reader.objects("deps"):
        dep = Fields(found, reader.what)
        alias = dep.optional_text("explicit_name_in_toml")
        named = dict(found) | {"req": dep.text("version_req"), "name": alias or dep.text("name")}
        named["package"] = dep.text("name") if alias is not None else None
        deps.append(read_dependency(Fields(named, reader.what)))
    crate = CrateId.of(reader.text("name"), reader.text("vers"))
    raw = _line_object(crate, cksum, deps, reader.features("features"))
    return _finished(raw, reader.optional_text("links"), reader.optional_text("rust_version"), pubtime, yanked=False)


def _line_object(
    crate: CrateId, cksum: str, deps: Iterable[Dependency], features: Mapping[str, tuple[str, ...]]
) -> JsonObject:
    old, new = _split(features)
    raw: JsonObject = {
        "name": crate.name.text,
        "vers": crate.version.text,
        "deps": [_write_dependency(dep) for dep in sorted(deps, key=_order)],
        "cksum": cksum,
        "features": old,
    }
    if new:
        raw |= {"features2": new, "v": SCHEMA}
    return raw


def _finished(
    raw: JsonObject, links: str | None, rust_version: str | None, pubtime: str | None, yanked: bool
) -> IndexLine:
    for key, value in (("links", links), ("rust_version", rust_version), ("pubtime", pubtime)):
        if value is not None:
            raw[key] = value
    return IndexLine.from_object(raw | {"yanked": yanked})


def _in_line(registry: str | None, own: str) -> str | None:
    """In a manifest no registry means crates-io; in a line it means the line's own."""
    absolute = registry or CRATES_IO
    return None if absolute == own else absolute


def _order(dep: Dependency) -> tuple[object, ...]:
    """The public registry's order: old versions of cargo want normal before build and dev of one name."""
    kind = tuple(KINDS).index(dep.kind)
    target = (dep.target is not None, dep.target or "")
    return (dep.name, kind, dep.req, dep.optional, dep.default_features, target, dep.package or "", dep.features)


def _write_dependency(dep: Dependency) -> JsonObject:
    raw: JsonObject = {
        "name": dep.name,
        "req": dep.req,
        "features": list(dep.features),
        "optional": dep.optional,
        "default_features": dep.default_features,
        "target": dep.target,
        "kind": dep.kind,
    }
    if dep.registry is not None:
        raw["registry"] = dep.registry
    if dep.package is not None:
        raw["package"] = dep.package
    if dep.artifact:
        raw |= {"artifact": list(dep.artifact), "bindep_target": dep.bindep_target, "lib": dep.lib}
    return raw


def _split(features: Mapping[str, tuple[str, ...]]) -> tuple[JsonObject, JsonObject]:
    """Features of before 1.60, and those with `dep:` or `?`, with whatever leads to them: old cargos skip these."""
    new = {name for name, values in features.items() if any(v.startswith("dep:") or "?/" in v for v in values)}
    while more := {name for name, values in features.items() if name not in new and not new.isdisjoint(values)}:
        new |= more
    return (
        {name: list(values) for name, values in sorted(features.items()) if name not in new},
        {name: list(values) for name, values in sorted(features.items()) if name in new},
    )


# --- comparing a line with the manifest ---


def compare_line(
    line: IndexLine, crate: CrateFile, *, registry: str = CRATES_IO, let_in: LetIn | None = None
) -> tuple[str, ...]:
    """Compare a line with the manifest inside the tarball that it is about.

    Args:
        line: The registry's word.
        crate: The tarball.
        registry: The index URL of the registry that the line is from.
        let_in: What a mirror's operator says of a version whose line differs; whoever passes it has seen that it is
            in force.

    Returns:
        Differences that do no harm or are let in, in words; empty when the line says what the manifest says.

    Raises:
        ArchiveRefused: Another checksum or crate, or the line would make cargo resolve or build something else than the
            manifest says: dependencies, features or `links` differ.
    """
    if line.id != crate.id:
        raise ArchiveRefused(f"the index line is of {line.id}, the archive is {crate.id}")
    if line.cksum != crate.sha256:
        raise ArchiveRefused(f"{crate.id}: the index promises sha256 {line.cksum}, the archive has {crate.sha256}")
    manifest = crate.manifest
    mine = [replace(dep, registry=_in_line(dep.registry, registry)) for dep in manifest.dependencies]
    theirs = [replace(dep, registry=_in_line(dep.registry or registry, registry)) for dep in line.deps]
    comparisons: tuple[Callable[[], list[str]], ...] = (
        lambda: _compare_dependencies(theirs, mine, crate.id),
        lambda: _compare_features(line.features, manifest.features, crate.id),
        lambda: _compare_links(line.links, manifest.links, crate.id),
    )
    warnings: list[str] = []
    for compare in comparisons:
        try:
            warnings += compare()
        except ArchiveRefused as difference:
            if let_in is None or let_in.sha256 != crate.sha256:
                raise
            warnings.append(f"{difference}; {let_in}")
    if Counter(dep.req for dep in theirs) != Counter(dep.req for dep in mine):
        warnings.append("a requirement is not written as cargo publishes it")
    if line.rust_version != manifest.rust_version:
        warnings.append(f"the index says rust-version {line.rust_version}, the manifest {manifest.rust_version}")
    return tuple(warnings)


def _compare_links(theirs: str | None, mine: str | None, crate: CrateId) -> list[str]:
    if theirs == mine:
        return []
    if theirs is not None:
        raise ArchiveRefused(f"{crate}: the index says links {theirs!a}, the manifest {mine!a}")
    return [f"the index lacks links = {mine!a}"]


def _meaning(dep: Dependency) -> tuple[object, ...]:
    """Equal for two dependencies that cargo resolves and builds alike, however they are spelled."""
    try:
        req: object = admitted(dep.req)
    except FormatError:
        req = dep.req  # cargo does not read it either; then only the same text is the same
    target = dep.target
    with contextlib.suppress(FormatError):
        target = target and platform(target)
    features = frozenset(feature for feature in dep.features if feature)  # cargo drops empty ones
    return (
        dep.crate, dep.name, req, dep.kind, target, features, dep.optional, dep.default_features, dep.registry,
        frozenset(dep.artifact), dep.bindep_target, dep.lib,
    )  # fmt: skip


def _compare_dependencies(theirs: list[Dependency], mine: list[Dependency], crate: CrateId) -> list[str]:
    in_line, in_manifest = Counter(map(_meaning, theirs)), Counter(map(_meaning, mine))
    too_many, too_few = in_line - in_manifest, in_manifest - in_line
    if not too_many and not too_few:
        return []
    extra = [dep for dep in theirs if _meaning(dep) in too_many]
    missing = [dep for dep in mine if _meaning(dep) in too_few]
    if all(dep.kind == "dev" for dep in (*extra, *missing)):  # cargo never resolves those of a registry's crate
        return [
            *(f"only the index has {_words(dep)}" for dep in extra[:3]),
            *(f"the index lacks {_words(dep)}" for dep in missing[:3]),
        ]
    words = [*(f"only the index has {_words(dep)}" for dep in extra if dep.kind != "dev")][:2]
    words += [*(f"only the manifest has {_words(dep)}" for dep in missing if dep.kind != "dev")][:2]
    raise ArchiveRefused(
        f"{crate}: the dependencies of its index line are not the manifest's: {'; '.join(words)}",
        hint="cargo would build with the index's; tell the registry",
    )


def _compare_features(
    theirs: Mapping[str, tuple[str, ...]], mine: Mapping[str, tuple[str, ...]], crate: CrateId
) -> list[str]:
    in_line = {name: frozenset(values) for name, values in theirs.items()}
    in_manifest = {name: frozenset(values) for name, values in mine.items()}
    if in_line != in_manifest:
        names = sorted(name for name in {*theirs, *mine} if in_line.get(name) != in_manifest.get(name))
        raise ArchiveRefused(
            f"{crate}: the features of its index line are not the manifest's: {', '.join(names[:5])[:200]!a}",
            hint="cargo would build with the index's; tell the registry",
        )
    return []


def _words(dep: Dependency) -> str:
    parts = [dep.kind, f"{dep.name} {dep.req}"]
    parts += [f"package {dep.package}"] if dep.package else []
    parts += [f"for {dep.target}"] if dep.target else []
    parts += [f"features {','.join(dep.features)}"] if dep.features else []
    parts += ["optional"] if dep.optional else []
    parts += [] if dep.default_features else ["no default features"]
    parts += [f"from {dep.registry}"] if dep.registry else []
    return ascii(" ".join(parts)[:200])
