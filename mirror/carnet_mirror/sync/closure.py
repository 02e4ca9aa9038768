"""What a project needs that asks for a few versions by name and requirement: those, and all that they depend on.

For each requirement the newest version that it admits is taken, as cargo does: of what is asked for with every feature,
of what that depends on with the features that are asked of it; for every platform, without what only tests need. Where
two requirements on one crate admit different newest versions, both are taken, so cargo finds the one that suits both.

**A claimed crate's versions are those that its maintainers released here**, and those that they adopted by checksum:
only where some of these are not here yet is the upstream asked for it. What the mirror only lists it does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from carnet.cargo.admitted import AdmittedVersions, admitted
from carnet.cargo.asked import AskedFor
from carnet.cargo.index_line import IndexLine
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.manifest import Dependency
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.releases import SignedRelease
from carnet.errors import FormatError, VerificationError
from carnet.scratch import temporary_folder
from carnet_mirror.state.store import Store
from carnet_mirror.sync.claimed import ClaimedCrates, check_adopted_line
from carnet_mirror.upstream.packages import IndexedUpstream, UpstreamIndex

MOST = 10_000
"""Versions that one closure may have."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something of which no version can be taken.

    Attributes:
        asked: Name and requirement.
        by: What depends on it; None when it was asked for itself.
        reason: Why not, in words.
        decided: Whether that is what the upstream says. Otherwise it said nothing.
    """

    asked: AskedFor
    by: CrateId | None
    reason: str
    decided: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """What is needed.

    Attributes:
        packages: The versions to take from the upstream.
        missing: What there is not.
    """

    packages: tuple[LockedPackage, ...]
    missing: tuple[Missing, ...]


@dataclass(frozen=True, slots=True)
class Taking:
    """What may be taken of an upstream, and how much of what is asked for.

    Attributes:
        why_no_crate: Why a crate is not looked for upstream, in words; empty where it is. What the mirror has of it
            counts all the same.
        why_no_version: Why a version is not taken, in words; empty where it is.
        locked: Whether a whole lock is asked for, so that nothing else is needed, and a yanked version is as good.
        go_on: Raises when it has taken long enough: a crate has a thousand versions, and may be asked for as often.
        ranges: Of how many compatible ranges the newest version is taken, the newest ranges first, of what is asked for
            by itself with any requirement at all.
    """

    why_no_crate: Callable[[CrateName], str] = lambda _: ""
    why_no_version: Callable[[IndexLine], str] = lambda _: ""
    locked: bool = False
    go_on: Callable[[], None] = lambda: None
    ranges: int = 1


EVERYTHING = Taking()
_OURS = CRATES_IO.removeprefix("registry+")
"""How a line of another registry names crates-io, for which this mirror stands."""


@dataclass(frozen=True, slots=True)
class _Edge:
    asked: AskedFor
    by: CrateId | None
    features: frozenset[str]


def close(
    store: Store,
    upstream: IndexedUpstream,
    asked: Sequence[AskedFor],
    *,
    most: int = MOST,
    taking: Taking = EVERYTHING,
) -> Closed:
    """Find out which versions are needed.

    Args:
        store: The mirror: which crates are claimed, and their versions.
        upstream: Whose index says what depends on what.
        asked: What is asked for.
        most: How many versions may be needed.
        taking: What may be taken.

    Raises:
        VerificationError: It is more.
        TransportError: The upstream said nothing at all, or it took longer than it may.
        StorageError: The disk failed.
    """
    with temporary_folder() as scratch:
        search = _Search(store, upstream, scratch, most, taking)
        edges = [_Edge(one, None, frozenset()) for one in asked]
        while edges:
            edges = search.follow(edges)
        return search.found()


def history(store: Store, upstream: IndexedUpstream, asked: Sequence[AskedFor]) -> Closed:
    """Find out every version that these admit, yanked or not, without what they depend on.

    Of a claimed crate that is what was adopted. `*` admits pre-releases here.

    Args:
        store: The mirror: which crates are claimed.
        upstream: Whose index says what there is.
        asked: What is asked for.

    Raises:
        VerificationError: It is too much.
        TransportError: The upstream said nothing at all.
        StorageError: The disk failed.
    """
    with temporary_folder() as scratch:
        search = _Search(store, upstream, scratch, MOST, Taking(locked=True))
        search.follow([_Edge(one, None, frozenset()) for one in asked])
        for one in asked:
            wanted = admitted(one.requirement)
            lines = search.lines[one.name]
            taken = [line for line in lines if one.requirement == "*" or wanted.admits(line.id.version)]
            search.chosen |= {line.id: line for line in taken}
        return search.found()


@dataclass
class _Search:
    store: Store
    upstream: IndexedUpstream
    scratch: Path
    most: int
    taking: Taking
    lines: dict[CrateName, list[IndexLine]] = field(default_factory=dict)
    silent: dict[CrateName, UpstreamIndex] = field(default_factory=dict)
    claimed: set[CrateName] = field(default_factory=set)
    adopted: set[CrateId] = field(default_factory=set)
    unasked: dict[CrateName, str] = field(default_factory=dict)
    chosen: dict[CrateId, IndexLine] = field(default_factory=dict)
    active: dict[CrateId, frozenset[str]] = field(default_factory=dict)
    missing: dict[AskedFor, Missing] = field(default_factory=dict)
    refused: dict[CrateId, str] = field(default_factory=dict)

    def follow(self, edges: Sequence[_Edge]) -> list[_Edge]:
        """Take what these ask for; returns what that depends on and was not asked for before."""
        self._look_up(list(dict.fromkeys(edge.asked.name for edge in edges)))
        grown: dict[CrateId, frozenset[str]] = {}
        for edge in edges:
            self.taking.go_on()
            for line in self._newest(edge):
                self.chosen[line.id] = line
                wanted = edge.features if edge.by is not None else everything(line)
                before = grown.get(line.id, self.active.get(line.id))
                if before is None or not wanted <= before:
                    grown[line.id] = wanted | (before or frozenset())
        if len(self.chosen) > self.most:
            raise VerificationError(
                f"this needs more than {self.most} versions", hint="ask for less at once, or sync by a lock"
            )
        self.active |= grown
        if self.taking.locked:
            return []
        return [
            _Edge(AskedFor.of(dependency.crate, dependency.req), crate, features)
            for crate, active in grown.items()
            for dependency, features in needed(self.chosen[crate], active)
        ]

    def found(self) -> Closed:
        """All of it."""
        packages = [
            LockedPackage(line.id, CRATES_IO, line.cksum) for line in self.chosen.values() if not self._is_ours(line)
        ]
        return Closed(tuple(sorted(packages, key=lambda package: package.id)), tuple(self.missing.values()))

    def _look_up(self, names: Sequence[CrateName]) -> None:
        new = [name for name in names if name not in self.lines]
        claims = ClaimedCrates(self.store, new)
        awaited = {name: claims.awaited(name) for name in new if name in claims}
        self.claimed |= awaited.keys()
        reasons = {name: self.taking.why_no_crate(name) for name in new if awaited.get(name, True)}
        refused = {name: reason for name, reason in reasons.items() if reason}
        self.unasked |= {name: reason for name, reason in refused.items() if name not in claims}
        for name in (self.claimed | self.unasked.keys()).intersection(new):
            self.lines[name] = [version.line for version in self.store.crates.versions(name) if version.is_here]
        asked = [name for name in reasons if name not in refused]
        for name, index in (self.upstream.index(asked, self.scratch) if asked else {}).items():
            listed = list(_read(index.chunks, name, any_case=self.taking.ranges > 1))
            if name in claims:
                self._adopt(awaited[name], listed)
            else:
                self.lines[name] = listed
            if not listed:
                self.silent[name] = index

    def _adopt(self, awaited: Sequence[SignedRelease], listed: Sequence[IndexLine]) -> None:
        """Add the lines of a claimed crate's versions that were adopted by checksum, and are not here."""
        signed = {release.id: release for release in awaited}
        for line in listed:
            release = signed.get(line.id)
            if release is None:
                continue
            with suppress(VerificationError):  # another line than was adopted is nothing that can be taken
                check_adopted_line(release, line)
                self.lines[line.id.name].append(line.with_(yanked=release.yanked))
                self.adopted.add(line.id)

    def _newest(self, edge: _Edge) -> list[IndexLine]:
        """The newest version that is admitted, or those of several ranges; none where there is none, which is noted."""
        wanted: AdmittedVersions = admitted(edge.asked.requirement)
        fitting = [line for line in self.lines[edge.asked.name] if wanted.admits(line.id.version)]
        standing = [line for line in fitting if self.taking.locked or not line.yanked]
        taken = [line for line in standing if self._is_ours(line) or not self._why_no_version(line)]
        if taken:
            newest: dict[str, IndexLine] = {}
            for line in sorted(taken, key=lambda line: line.id.version, reverse=True):
                newest.setdefault(compatible_range(line.id.version), line)
            some = self.taking.ranges if edge.by is None and edge.asked.requirement == "*" else 1
            return list(newest.values())[:some]
        self.missing.setdefault(edge.asked, self._why_not(edge, standing, yanked=bool(fitting)))
        return []

    def _why_no_version(self, line: IndexLine) -> str:
        """Asked once of each: many requirements may be about it."""
        if line.id not in self.refused:
            self.refused[line.id] = self.taking.why_no_version(line)
        return self.refused[line.id]

    def _is_ours(self, line: IndexLine) -> bool:
        """Whether it is the mirror's already, and nothing that an upstream has to give."""
        return line.id not in self.adopted and (line.id.name in self.claimed or line.id.name in self.unasked)

    def _why_not(self, edge: _Edge, standing: Sequence[IndexLine], *, yanked: bool) -> Missing:
        name, silent = edge.asked.name, self.silent.get(edge.asked.name)
        if silent is not None:
            return Missing(edge.asked, edge.by, silent.silence, decided=silent.absent)
        if name in self.unasked:
            reason = self.unasked[name]
        elif standing:
            newest = max(standing, key=lambda line: line.id.version)
            reason = f"{newest.id}: {self._why_no_version(newest)}"
        elif yanked:
            reason = "all versions that this admits were yanked: a lock that pins one has it synced all the same"
        elif name in self.claimed:
            reason = (
                "the crate is claimed, and its maintainers signed no such version: if it is published elsewhere, its "
                f"owners sign it in with `carnet claim adopt {name}@VERSION`"
            )
        else:
            reason = "the upstream lists no such version"
        return Missing(edge.asked, edge.by, reason, decided=True)


def compatible_range(version: Version) -> str:
    """What versions have in common that cargo takes for one another: the numbers up to the first that is not 0."""
    major, minor, patch = str(version).partition("-")[0].partition("+")[0].split(".")
    return major if major != "0" else f"0.{minor}" if minor != "0" else f"0.0.{patch}"


def _read(chunks: Sequence[bytes], name: CrateName, *, any_case: bool = False) -> Iterator[IndexLine]:
    """The lines of a crate that can be read; what cannot is no statement.

    The path of an index file is in lower case: who knows no more of a name takes it in any case.
    """
    for chunk in chunks:
        try:
            line = IndexLine.from_bytes(chunk)
            for dependency in line.deps:
                AskedFor.of(dependency.crate, dependency.req)
        except FormatError:
            continue
        if line.id.name == name or (any_case and line.id.name.text.lower() == name.text):
            yield line


# --- features ---


def everything(line: IndexLine) -> frozenset[str]:
    """Every feature of a version, those among them that are optional dependencies."""
    return frozenset({*line.features, *(f"dep:{one.name}" for one in line.deps if one.optional)})


def needed(line: IndexLine, features: frozenset[str]) -> Iterator[tuple[Dependency, frozenset[str]]]:
    """What a version depends on with some features, and which features it asks of each: cargo's book, "Features"."""
    on, asks = _activated(line, features)
    for dependency in line.deps:
        if dependency.kind == "dev" or dependency.registry not in (None, _OURS):
            continue
        if not dependency.optional or dependency.name in on:
            default = ("default",) if dependency.default_features else ()
            yield dependency, frozenset({*dependency.features, *asks.get(dependency.name, ()), *default})


def _activated(line: IndexLine, features: frozenset[str]) -> tuple[set[str], Mapping[str, set[str]]]:
    """The optional dependencies that features turn on, and the features that they ask of dependencies."""
    on: set[str] = set()
    asks: dict[str, set[str]] = {}
    seen: set[str] = set()
    left = list(features)
    while left:
        said = left.pop()
        if said in seen:
            continue
        seen.add(said)
        name, slash, feature = said.partition("/")
        if slash:
            asks.setdefault(name.removesuffix("?"), set()).add(feature)
            if not name.endswith("?"):
                left.append(name)
                on.add(name)
        elif said.startswith("dep:"):
            on.add(said.removeprefix("dep:"))
        elif said in line.features:
            left += line.features[said]
        else:
            on.add(said)  # an optional dependency is a feature of its name
    return on, asks
