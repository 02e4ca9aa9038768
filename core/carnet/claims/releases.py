"""What a crate's release keys sign, and what its owners demand of it (docs/formats.md, "A claim").

The signer writes these parts of `crate.<name>` and `owner.<name>`, the mirror and the verifier read them: they stand
here once, and nothing here trusts anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.history import by_checksum, read_by_checksum
from carnet.errors import FormatError
from carnet.intoto.duties import Terms
from carnet.level import Level
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import is_keyid
from carnet.tuf.roles import TargetFile, Targets

OWNER_FIELD = "carnet"
"""The signed field of an owner role that holds what TUF has no field for."""
_CUSTOM = ("index", "yanked", "registry", "bundle")
_TARBALL, _BUNDLE = ".crate", ".bundle.json"
_HISTORY = "history"
"""Beside `role` in `carnet` of a crate role: the versions that were adopted by checksum."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A file by what it must be.

    Attributes:
        length: In bytes; None for a tarball that was adopted by its checksum, before anybody here had it.
        sha256: In hex.
    """

    length: int | None
    sha256: str

    @property
    def known_length(self) -> int:
        """Its length.

        Raises:
            FormatError: Nobody knows it.
        """
        if self.length is None:
            raise FormatError("the length of a tarball that was adopted by its checksum is not known")
        return self.length

    @classmethod
    def of(cls, target: TargetFile) -> Digest:
        """What a role says of a target."""
        return cls(target.length, target.sha256)


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """One version of a claimed crate, as its release keys signed it.

    Attributes:
        id: Name, in the spelling it was published with, and version.
        tarball: The `.crate`.
        index: The identity of its index line (`carnet.cargo.index_line.IndexLine.identity`).
        yanked: Whether its maintainers took it back.
        registry: The registry it belongs to.
        bundle: Its bundle of evidence, or None.
        extra: Other words of the signers; kept.
    """

    id: CrateId
    tarball: Digest
    index: str
    yanked: bool
    registry: str
    bundle: Digest | None = None
    extra: Mapping[str, Json] = field(default_factory=dict, hash=False)

    @property
    def by_checksum(self) -> bool:
        """Whether it was adopted by its checksum: the mirror may have its tarball by now, or bring it at any time."""
        return self.tarball.length is None

    def published_as(self, other: SignedRelease) -> bool:
        """Whether it is the same publication as one before: everything but the yank state and the evidence.

        A length that was not known before may be known now.
        """
        return (self.id, self.tarball.sha256, self.index, self.registry) == (
            other.id,
            other.tarball.sha256,
            other.index,
            other.registry,
        ) and other.tarball.length in (None, self.tarball.length)

    def to_targets(self) -> JsonObject:
        """Its entries in the role's `targets`; none for one that was adopted by checksum: TUF's need a length."""
        if self.by_checksum:
            return {}
        custom: JsonObject = dict(self.extra) | {
            "index": self.index,
            "yanked": self.yanked,
            "registry": self.registry,
        }
        found: JsonObject = {}
        if self.bundle is not None:
            custom["bundle"] = paths.bundle_path(self.id)
            found[paths.bundle_path(self.id)] = _entry(self.bundle)
        found[paths.crate_path(self.id)] = _entry(self.tarball) | {"custom": custom}
        return found


@dataclass(frozen=True)
class Releases:
    """Every version of a claimed crate.

    Attributes:
        name: The crate, in the one spelling that its versions have; the claim's own when there is no version.
        versions: Oldest first, as semantic versions order them.
    """

    name: CrateName
    versions: Mapping[Version, SignedRelease]

    def __post_init__(self) -> None:
        for version, release in self.versions.items():
            if release.id != CrateId(self.name, version):
                raise FormatError(f"{release.id} stands among the versions of {self.name}")

    def __iter__(self) -> Iterator[SignedRelease]:
        return iter(self.versions.values())

    @classmethod
    def of(cls, name: CrateName, crate: Targets) -> Releases:
        """Read a parsed crate role.

        Raises:
            FormatError: A target that is neither a version's tarball nor its bundle, two spellings of the name, or a
                field that is missing or of another type.
        """
        role = paths.crate_role(name)
        found: dict[Version, SignedRelease] = {}
        bundles: set[str] = set()
        spelling: CrateName | None = None
        for path, target in crate.targets.items():
            if not path.endswith(_TARBALL):
                continue
            release = _release(name, path, target, crate.targets)
            if spelling is not None and release.id.name != spelling:
                raise FormatError(f"{role} spells its crate {spelling} and {release.id.name}")
            spelling = release.id.name
            found[release.id.version] = release
            if release.bundle is not None:
                bundles.add(paths.bundle_path(release.id))
        for release in _adopted_by_checksum(name, crate):
            if release.id.version in found or (spelling is not None and release.id.name != spelling):
                raise FormatError(f"{role} says of {release.id} two things")
            spelling = release.id.name
            found[release.id.version] = release
        for path in crate.targets:
            if not path.endswith(_TARBALL) and path not in bundles:
                raise FormatError(f"{role} lists {path[:120]!a}, which is neither a version nor the bundle of one")
        return cls(spelling or name, {version: found[version] for version in sorted(found)})

    def get(self, version: Version) -> SignedRelease | None:
        """One version, or None when it was never signed."""
        return self.versions.get(version)

    def with_release(self, release: SignedRelease) -> Releases:
        """The same versions with one more.

        Raises:
            FormatError: It is there already, or of another spelling.
        """
        if release.id.version in self.versions:
            raise FormatError(
                f"{release.id} was released already: a version never changes",
                hint="raise the version in Cargo.toml; to take a version back, `carnet release yank`",
            )
        if self.versions and release.id.name != self.name:
            raise FormatError(
                f"{release.id} spells the name otherwise than {self.name}, as it was published before",
                hint=f'write `name = "{self.name}"` in Cargo.toml',
            )
        found = {**self.versions, release.id.version: release}
        return Releases(release.id.name, {version: found[version] for version in sorted(found)})

    def with_yank(self, version: Version, *, yanked: bool) -> Releases:
        """The same versions, one of them taken back or given again.

        Raises:
            FormatError: There is no such version, or it is in that state already.
        """
        release = self.versions.get(version)
        if release is None:
            raise FormatError(f"{self.name}@{version} was never released")
        if release.yanked == yanked:
            raise FormatError(f"{release.id} is {'yanked already' if yanked else 'not yanked'}")
        return Releases(self.name, {**self.versions, version: replace(release, yanked=yanked)})

    def to_targets(self) -> JsonObject:
        """The role's `targets`."""
        found: JsonObject = {}
        for release in self:
            found |= release.to_targets()
        return found

    def to_words(self) -> JsonObject:
        """What the role says in `carnet` beside its own name: the versions that were adopted by checksum, if any.

        Raises:
            FormatError: They are of several registries.
        """
        listed = [release for release in self if release.by_checksum]
        if not listed:
            return {}
        registries = {release.registry for release in listed}
        if len(registries) != 1:
            raise FormatError(f"the history of {self.name} is of several registries")
        versions: JsonObject = {
            str(one.id.version): by_checksum(one.tarball.sha256, one.index, yanked=one.yanked) for one in listed
        }
        return {_HISTORY: {"name": str(self.name), "registry": registries.pop(), "versions": versions}}


@dataclass(frozen=True)
class Differences:
    """How the next version of a crate role differs from the one before.

    Attributes:
        added: Versions that are new.
        yanked: Versions that were taken back.
        unyanked: Versions that were given again.
        evidence: Versions whose bundle is another one now.
        lost: Versions that are gone, or whose tarball, index line or registry changed: never allowed.
    """

    added: tuple[SignedRelease, ...]
    yanked: tuple[SignedRelease, ...]
    unyanked: tuple[SignedRelease, ...]
    evidence: tuple[SignedRelease, ...]
    lost: tuple[CrateId, ...]

    @classmethod
    def between(cls, before: Releases, after: Releases) -> Differences:
        """Compare two versions of one crate's role."""
        pairs = [(old, after.get(old.id.version)) for old in before]
        kept = [(old, new) for old, new in pairs if new is not None and new.published_as(old)]
        same = {new.id for _, new in kept}
        return cls(
            added=tuple(new for new in after if new.id.version not in before.versions),
            yanked=tuple(new for old, new in kept if new.yanked and not old.yanked),
            unyanked=tuple(new for old, new in kept if old.yanked and not new.yanked),
            evidence=tuple(new for old, new in kept if new.bundle != old.bundle),
            lost=tuple(old.id for old, _ in pairs if old.id not in same),
        )


@dataclass(frozen=True, slots=True)
class OwnedLayoutFile:
    """A layout that the owners list in their role.

    Attributes:
        path: Its target path.
        file: What it must be.
        terms: What the owners demand beside it.
        custom: As signed.
        releases: For a layout that was replaced: the sha256 of the tarballs that it still vouches for. None for the one
            that is in force.
    """

    path: str
    file: Digest
    terms: Terms
    custom: JsonObject
    releases: frozenset[str] | None

    def vouches_for(self, sha256: str) -> bool:
        """Whether a release with this tarball may have been made under it."""
        return self.releases is None or sha256 in self.releases

    def stands_as(self, before: OwnedLayoutFile) -> bool:
        """Whether it is what an owner role listed before, under the same terms, and no more in force than it was."""
        return (self.path, self.file, self.terms) == (before.path, before.file, before.terms) and (
            before.releases is None or self.releases is not None
        )


@dataclass(frozen=True)
class Demands:
    """What the owners ask of their crate's releases.

    Attributes:
        layouts: The one in force and those that were replaced; empty when none was ever given.
        adopted: sha256 of the tarballs that need no evidence: they were published before there was a layout. The owners
            list them, because release keys that could would not need the layout at all.
    """

    layouts: tuple[OwnedLayoutFile, ...]
    adopted: frozenset[str]

    @property
    def in_force(self) -> OwnedLayoutFile | None:
        """The layout that new releases are made under."""
        return next((layout for layout in self.layouts if layout.releases is None), None)

    @classmethod
    def of(cls, name: CrateName, owner: Targets) -> Demands:
        """Read a parsed owner role.

        Raises:
            FormatError: Two layouts are in force, or a field is of another type.
        """
        role = paths.owner_role(name)
        layouts = tuple(_layout(path, target) for path, target in owner.targets.items())
        if sum(layout.releases is None for layout in layouts) > 1:
            raise FormatError(f"{role} has two layouts in force")
        words = owner.extra.get(OWNER_FIELD)
        adopted = words.get("adopted", []) if isinstance(words, dict) else []
        return cls(layouts, _digests(adopted, f"{role}: adopted"))

    def least_level(self, release: SignedRelease) -> Level:
        """The level that the owners ask of one release."""
        sha256 = release.tarball.sha256
        if sha256 in self.adopted:
            return Level.MAINTAINER
        replaced = [layout for layout in self.layouts if layout.releases is not None and sha256 in layout.releases]
        governing = replaced or [layout for layout in self.layouts if layout.releases is None]
        return max((layout.terms.least_level for layout in governing), default=Level.MAINTAINER)


def _release(name: CrateName, path: str, target: TargetFile, listed: Mapping[str, TargetFile]) -> SignedRelease:
    crate = _crate_of(name, path)
    match target.custom:
        case {"index": str(index), "yanked": bool(yanked), "registry": str(registry)} if is_keyid(index):
            pass
        case _:
            raise FormatError(f"{path[:120]!a} needs index (a sha256), yanked and registry in its custom")
    bundle_path = target.custom.get("bundle")
    if bundle_path is not None and (bundle_path != paths.bundle_path(crate) or bundle_path not in listed):
        raise FormatError(f"{path[:120]!a} names a bundle that is not its own, or is not listed")
    bundle = None if bundle_path is None else Digest.of(listed[paths.bundle_path(crate)])
    extra = {key: value for key, value in target.custom.items() if key not in _CUSTOM}
    return SignedRelease(crate, Digest.of(target), index, yanked, registry, bundle, extra)


def _adopted_by_checksum(name: CrateName, crate: Targets) -> Iterator[SignedRelease]:
    said: Any = crate.carnet.get(_HISTORY)
    match said:
        case None:
            return
        case {"name": str(spelled), "registry": str(registry), "versions": dict(versions), **more} if not more:
            pass
        case _:
            raise FormatError(f"{paths.crate_role(name)} needs name, registry and versions in its history")
    if CrateName(spelled).canonical != name.canonical or not versions:
        raise FormatError(f"the history in {paths.crate_role(name)} is empty, or another crate's")
    for version, entry in versions.items():
        release = CrateId.of(spelled, str(version))
        cksum, index, yanked = read_by_checksum(entry, f"{release} in the history")
        yield SignedRelease(release, Digest(None, cksum), index, yanked, registry)


def _crate_of(name: CrateName, path: str) -> CrateId:
    """Name and version of a tarball's path; the spelling has as many characters as the canonical name."""
    stem = path.rpartition("/")[2].removesuffix(_TARBALL)
    size = len(name.canonical)
    crate = CrateId(CrateName(stem[:size]), Version(stem[size + 1 :]))
    if crate.name.canonical != name.canonical or paths.crate_path(crate) != path:
        raise FormatError(f"{path[:120]!a} is not the path of a version of {name}")
    return crate


def _layout(path: str, target: TargetFile) -> OwnedLayoutFile:
    releases = target.custom.get("releases")
    return OwnedLayoutFile(
        path,
        Digest.of(target),
        Terms.from_custom(target.custom),
        target.custom,
        None if releases is None else _digests(releases, f"{path[:120]}: releases"),
    )


def _digests(value: Any, what: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and is_keyid(item) for item in value):
        raise FormatError(f"{what} is not a list of sha256")
    return frozenset(value)


def _entry(file: Digest) -> JsonObject:
    return {"length": file.length, "hashes": {"sha256": file.sha256}}
