"""Sparse-index lines and files: what cargo resolves with, before it has seen any tarball.

A line is the registry's word. `line_from_crate` writes what a registry writes when cargo publishes a crate;
`compare_line` tells whether a line is the manifest's, because cargo builds with the dependencies and features of the
line and never compares them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import orjson

from carnet import strictjson
from carnet.crate import CrateFile
from carnet.errors import ArchiveRefused, FormatError
from carnet.manifest import KINDS, Dependency
from carnet.names import CrateId, CrateName, Version
from carnet.requirement import meaning, platform
from carnet.strictjson import Json, JsonObject

MAX_FILE = 64 * 1024 * 1024
"""Bytes in an index file; the largest of the public registry is below 10 MB."""
MAX_LINE = 4 * 1024 * 1024
"""Bytes in one line."""
CRATES_IO = "https://github.com/rust-lang/crates.io-index"
"""The name by which cargo knows the registry crates-io, whatever serves it."""
SCHEMA = 2
"""The newest `v` of a line that cargo reads."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PUBTIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
_NOT_IDENTITY = ("yanked", "pubtime")


@dataclass(frozen=True)
class IndexLine:
    """One version of one crate, as the registry tells cargo. Fields that carnet does not know are kept.

    Attributes:
        id: Name and version.
        cksum: sha256 of the `.crate`, in hex.
        deps: Its dependencies, as written.
        features: `features` and `features2` together.
        links: The native library that it links, or None.
        rust_version: The least Rust version, or None.
        yanked: Whether cargo avoids it for new locks.
        pubtime: When it was published, `yyyy-mm-ddThh:mm:ssZ`, or None.
        raw: The object as parsed.
    """

    id: CrateId
    cksum: str
    deps: tuple[Dependency, ...]
    features: Mapping[str, tuple[str, ...]]
    links: str | None
    rust_version: str | None
    yanked: bool
    pubtime: str | None
    raw: JsonObject = field(repr=False)
    _text: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> IndexLine:
        """Read one line, with or without its newline.

        Raises:
            FormatError: Not a line of a sparse index.
        """
        text = data.removesuffix(b"\n")
        if b"\n" in text:
            raise FormatError("an index line has a line break inside")
        return replace(cls.from_object(strictjson.parse_object(text, "an index line", max_bytes=MAX_LINE)), _text=text)

    @classmethod
    def from_object(cls, raw: JsonObject) -> IndexLine:
        """Read the parsed object of a line.

        Raises:
            FormatError: Not a line of a sparse index.
        """
        reader = _Reader(raw, "an index line")
        crate = CrateId.of(reader.text("name"), reader.text("vers"))
        reader = _Reader(raw, f"the index line of {crate}")
        cksum = reader.text("cksum")
        if _SHA256.match(cksum) is None:
            raise FormatError(f"{reader.what}: cksum is not a sha256 in lower-case hex")
        pubtime = reader.optional_text("pubtime")
        if pubtime is not None and _PUBTIME.match(pubtime) is None:
            raise FormatError(f"{reader.what}: pubtime is not of the form 2026-01-31T23:59:59Z")
        return cls(
            id=crate,
            cksum=cksum,
            deps=tuple(_read_dependency(_Reader(dep, reader.what)) for dep in reader.objects("deps")),
            features=_joined(reader.features("features"), reader.features("features2")),
            links=reader.optional_text("links"),
            rust_version=reader.optional_text("rust_version"),
            yanked=raw.get("yanked") is not None and reader.truth("yanked", default=False),
            pubtime=pubtime,
            raw=raw,
        )

    def to_bytes(self) -> bytes:
        """The line as it is served, without its newline: the very bytes it was read from, if it was read."""
        if self._text is not None:
            return self._text
        return json.dumps(self.raw, ensure_ascii=False, separators=(",", ":")).encode()

    def identity(self) -> str:
        """What maintainers sign: the sha256, in hex, of the line's canonical JSON without `yanked` and `pubtime`."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        kept = {key: value for key, value in self.raw.items() if key not in _NOT_IDENTITY}
        return hashlib.sha256(strictjson.canonical(kept, f"the index line of {self.id}")).hexdigest()

    def with_(self, *, yanked: bool | None = None, pubtime: str | None = None) -> IndexLine:
        """The same line with another yank state or publication time; None leaves it as it is.

        Raises:
            FormatError: `pubtime` is not of cargo's form.
        """
        raw = dict(self.raw)
        if yanked is not None:
            raw["yanked"] = yanked
        if pubtime is not None:
            raw["pubtime"] = pubtime
        return self if raw == self.raw else IndexLine.from_object(raw)


class IndexFile:
    """A crate's sparse-index file.

    A build asks for one line of each file, and old crates have hundreds: what is not asked for is only looked at as
    far as its name and version.
    """

    def __init__(self, name: CrateName, lines: Iterable[IndexLine] = ()) -> None:
        """Put lines together.

        Args:
            name: The crate.
            lines: One for each version.

        Raises:
            FormatError: A line is another crate's, or repeats a version.
        """
        self.name = name
        self._held: dict[str, IndexLine | bytes] = {}
        for line in lines:
            self._hold(line.id.name.text, line.id.version.text, line)

    @classmethod
    def from_bytes(cls, data: bytes, name: CrateName) -> IndexFile:
        """Read an index file.

        Raises:
            FormatError: Too large, or a line is no JSON object with a name and a version, is another crate's, or
                repeats a version. All else about a line is checked when it is asked for.
        """
        if len(data) > MAX_FILE:
            raise FormatError(f"the index file of {name} is larger than {MAX_FILE} bytes")
        file = cls(name)
        for line in data.split(b"\n"):
            if line:
                file._hold(*_name_and_version(line, name), line)
        return file

    def _hold(self, name: str, version: str, line: IndexLine | bytes) -> None:
        if name.lower() != self.name.text.lower():
            raise FormatError(f"the index file of {self.name} has a line of {name[:80]!a}")
        if version in self._held:
            raise FormatError(f"the index file of {self.name} has two lines of version {version[:80]!a}")
        self._held[version] = line

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexFile) and (self.name, self.to_bytes()) == (other.name, other.to_bytes())

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"IndexFile({self.name}, {len(self._held)} lines)"

    def to_bytes(self) -> bytes:
        """The file as it is served: each line with its newline."""
        texts = (line if isinstance(line, bytes) else line.to_bytes() for line in self._held.values())
        return b"".join(text + b"\n" for text in texts)

    def line(self, version: Version) -> IndexLine | None:
        """The line of one version.

        Raises:
            FormatError: It does not parse.
        """
        return self._parsed(version.text) if version.text in self._held else None

    @property
    def lines(self) -> tuple[IndexLine, ...]:
        """Every line, in the order of the file.

        Raises:
            FormatError: One does not parse.
        """
        return tuple(self._parsed(version) for version in self._held)

    def _parsed(self, version: str) -> IndexLine:
        line = self._held[version]
        if isinstance(line, bytes):
            line = self._held[version] = IndexLine.from_bytes(line)
        return line


def _name_and_version(line: bytes, crate: CrateName) -> tuple[str, str]:
    """A first look; where a key is there twice it sees the last, and the full reading refuses the line."""
    try:
        match orjson.loads(line):
            case {"name": str(name), "vers": str(version)}:
                return name, version
    except orjson.JSONDecodeError:
        pass
    raise FormatError(f"the index file of {crate} has a line without a name and version: {line[:40]!a}")


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
    reader = _Reader(request, "the publish request")
    deps = []
    for found in reader.objects("deps"):
        dep = _Reader(found, reader.what)
        alias = dep.optional_text("explicit_name_in_toml")
        named = dict(found) | {"req": dep.text("version_req"), "name": alias or dep.text("name")}
        named["package"] = dep.text("name") if alias is not None else None
        deps.append(_read_dependency(_Reader(named, reader.what)))
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


def compare_line(line: IndexLine, crate: CrateFile, *, registry: str = CRATES_IO) -> tuple[str, ...]:
    """Compare a line with the manifest inside the tarball that it is about.

    Args:
        line: The registry's word.
        crate: The tarball.
        registry: The index URL of the registry that the line is from.

    Returns:
        Differences that do no harm, in words; empty when the line says what the manifest says.

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
    warnings: list[str] = []
    warnings += _compare_dependencies(theirs, mine, crate.id)
    _compare_features(line.features, manifest.features, crate.id)
    if Counter(dep.req for dep in theirs) != Counter(dep.req for dep in mine):
        warnings.append("a requirement is not written as cargo publishes it")
    if line.links != manifest.links:
        if line.links is not None:
            raise ArchiveRefused(f"{crate.id}: the index says links {line.links!a}, the manifest {manifest.links!a}")
        warnings.append(f"the index lacks links = {manifest.links!a}")
    if line.rust_version != manifest.rust_version:
        warnings.append(f"the index says rust-version {line.rust_version}, the manifest {manifest.rust_version}")
    return tuple(warnings)


def _meaning(dep: Dependency) -> tuple[object, ...]:
    """Equal for two dependencies that cargo resolves and builds alike, however they are spelled."""
    try:
        req: object = meaning(dep.req)
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
    extra = [dep for dep in theirs if _meaning(dep) in in_line - in_manifest]
    missing = [dep for dep in mine if _meaning(dep) in in_manifest - in_line]
    if not extra and all(dep.kind == "dev" for dep in missing):  # cargo never resolves those of a registry's crate
        return [f"the index lacks {_words(dep)}" for dep in missing[:3]]
    words = [*(f"only the index has {_words(dep)}" for dep in extra[:2])]
    words += [f"only the manifest has {_words(dep)}" for dep in missing[:2]]
    raise ArchiveRefused(
        f"{crate}: the dependencies of its index line are not the manifest's: {'; '.join(words)}",
        hint="cargo would build with the index's; tell the registry",
    )


def _compare_features(
    theirs: Mapping[str, tuple[str, ...]], mine: Mapping[str, tuple[str, ...]], crate: CrateId
) -> None:
    in_line = {name: frozenset(values) for name, values in theirs.items()}
    in_manifest = {name: frozenset(values) for name, values in mine.items()}
    if in_line != in_manifest:
        names = sorted(name for name in {*theirs, *mine} if in_line.get(name) != in_manifest.get(name))
        raise ArchiveRefused(
            f"{crate}: the features of its index line are not the manifest's: {', '.join(names[:5])[:200]!a}",
            hint="cargo would build with the index's; tell the registry",
        )


def _words(dep: Dependency) -> str:
    parts = [dep.kind, f"{dep.name} {dep.req}"]
    parts += [f"package {dep.package}"] if dep.package else []
    parts += [f"for {dep.target}"] if dep.target else []
    parts += [f"features {','.join(dep.features)}"] if dep.features else []
    parts += ["optional"] if dep.optional else []
    parts += [] if dep.default_features else ["no default features"]
    parts += [f"from {dep.registry}"] if dep.registry else []
    return ascii(" ".join(parts)[:200])


# --- reading JSON by type ---


@dataclass(frozen=True, slots=True)
class _Reader:
    raw: JsonObject
    what: str

    def _wrong(self, key: str, words: str) -> FormatError:
        return FormatError(f"{self.what}: `{key}` must be {words}")

    def text(self, key: str) -> str:
        value = self.optional_text(key)
        if value is None:
            raise self._wrong(key, "a string")
        return value

    def optional_text(self, key: str) -> str | None:
        value = self.raw.get(key)
        if value is not None and type(value) is not str:
            raise self._wrong(key, "a string")
        return value

    def truth(self, key: str, *, default: bool) -> bool:
        value = self.raw.get(key, default)
        if type(value) is not bool:
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(_texts(self.raw.get(key, []), self._wrong(key, "a list of strings")))

    def objects(self, key: str) -> list[JsonObject]:
        value = self.raw.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list of objects")
        objects = [item for item in value if isinstance(item, dict)]
        if len(objects) != len(value):
            raise self._wrong(key, "a list of objects")
        return objects

    def features(self, key: str) -> dict[str, tuple[str, ...]]:
        value = self.raw.get(key) or {}
        wrong = self._wrong(key, "an object of lists of strings")
        if not isinstance(value, dict):
            raise wrong
        return {name: tuple(_texts(values, wrong)) for name, values in value.items()}


def _texts(value: Json, wrong: FormatError) -> Iterator[str]:
    if not isinstance(value, list):
        raise wrong
    for item in value:
        if not isinstance(item, str):
            raise wrong
        yield item


def _joined(features: dict[str, tuple[str, ...]], features2: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """As cargo joins them: values of both, one after the other."""
    return features | {name: features.get(name, ()) + values for name, values in features2.items()}


def _read_dependency(reader: _Reader) -> Dependency:
    kind = reader.optional_text("kind") or "normal"
    if kind not in KINDS:
        raise FormatError(f"{reader.what}: a dependency of the unknown kind {kind[:40]!a}")
    return Dependency(
        name=reader.text("name"),
        req=reader.text("req"),
        kind=kind,
        target=reader.optional_text("target"),
        features=reader.texts("features"),
        optional=reader.truth("optional", default=False),
        default_features=reader.truth("default_features", default=True),
        registry=reader.optional_text("registry"),
        package=reader.optional_text("package"),
        artifact=() if reader.raw.get("artifact") is None else reader.texts("artifact"),
        bindep_target=reader.optional_text("bindep_target"),
        lib=reader.truth("lib", default=False),
    )
