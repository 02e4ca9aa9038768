"""Several upstreams, of which each crate comes from one: a rule says which, and there is no second to fall back to.

Whoever can publish a name in one registry would otherwise be taken for whoever has it in another (dependency
confusion). So a name that a rule is about is asked for where the rule says and nowhere else, whether it is there or
not, whether that registry answers or not; and a name that two rules are about comes from neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.errors import StorageError, TransportError
from carnet_mirror.upstream.cargo import CargoUpstream
from carnet_mirror.upstream.packages import IndexedUpstream, UpstreamCrate, UpstreamIndex
from carnet_verifier.policy.policy import Pattern

_ANY = Version("0.0.0")
_Thing = TypeVar("_Thing", CrateName, LockedPackage)


@dataclass(frozen=True, slots=True)
class FromThere:
    """Crates that come from one upstream, and from no other.

    Attributes:
        label: How `mirror.toml` calls it.
        crates: Which: patterns of whole names.
        upstream: Where they are.
    """

    label: str
    crates: tuple[Pattern, ...]
    upstream: IndexedUpstream

    def covers(self, name: CrateName) -> bool:
        """Whether a crate comes from there."""
        return covers(self.crates, name)


def covers(patterns: Iterable[Pattern], name: CrateName) -> bool:
    """Whether a rule with these patterns of whole names is about a crate, however that is spelled."""
    crate = CrateId(name, _ANY)
    return any(pattern.covers(crate) for pattern in patterns)


def with_room(upstream: IndexedUpstream, size: int) -> IndexedUpstream:
    """The same upstream, where a program that is told everything at once is ended when it has fetched more than this.

    Args:
        upstream: Any one.
        size: Bytes of tarballs.
    """
    if isinstance(upstream, CargoUpstream):
        return replace(upstream, room=max(0, size))
    if isinstance(upstream, RoutedUpstream):
        routes = tuple(replace(one, upstream=with_room(one.upstream, size)) for one in upstream.routes)
        return RoutedUpstream(with_room(upstream.otherwise, size), routes)
    return upstream


@dataclass(frozen=True, slots=True)
class RoutedUpstream:
    """Several upstreams as one.

    Attributes:
        otherwise: Where crates come from that no rule is about.
        routes: The rules; their order means nothing.
    """

    otherwise: IndexedUpstream
    routes: tuple[FromThere, ...]

    @property
    def name(self) -> str:
        """How the mirror remembers what no rule is about; each crate is remembered with its own."""
        return self.otherwise.name

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        """See `IndexedUpstream.index`: where one of several gives nothing at all, its crates alone are not told of."""
        found: dict[CrateName, UpstreamIndex] = {}
        failures: list[TransportError] = []
        parts, contested = self._divided(names, lambda name: name)
        for number, part in parts.items():
            try:
                found |= self._upstream(number).index(part, _folder(scratch, number))
            except TransportError as error:
                failures.append(error)
                found |= {name: UpstreamIndex((), str(error)) for name in part}
        if failures and len(failures) == len(parts) and not contested:
            raise failures[0]
        found |= {name: UpstreamIndex((), reason, absent=True) for name, reason in contested.items()}
        return {name: found[name] for name in names}

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        """See `Upstream.fetch`; as for `index`."""
        found: dict[LockedPackage, UpstreamCrate] = {}
        failures: list[TransportError] = []
        parts, contested = self._divided(packages, lambda package: package.id.name)
        for number, part in parts.items():
            upstream = self._upstream(number)
            try:
                fetched = upstream.fetch(part, _folder(scratch, number), progress)
            except TransportError as error:
                failures.append(error)
                fetched = [UpstreamCrate(package, None, str(error), silence=str(error)) for package in part]
            found |= {one.package: replace(one, origin=one.origin or upstream.name) for one in fetched}
        if failures and len(failures) == len(parts) and not contested:
            raise failures[0]
        for package, reason in contested.items():
            found[package] = UpstreamCrate(package, None, reason, has_none=True, silence=reason)
        return [found[package] for package in packages]

    def _upstream(self, number: int) -> IndexedUpstream:
        return self.routes[number].upstream if number >= 0 else self.otherwise

    def _divided(
        self, things: Sequence[_Thing], name_of: Callable[[_Thing], CrateName]
    ) -> tuple[dict[int, list[_Thing]], dict[_Thing, str]]:
        """What is asked of each upstream, by the number of its rule, -1 for none; and what comes from none, and why."""
        parts: dict[int, list[_Thing]] = {}
        contested: dict[_Thing, str] = {}
        for thing in things:
            routes = [number for number, route in enumerate(self.routes) if route.covers(name_of(thing))]
            if len(routes) > 1:
                labels = " and ".join(self.routes[number].label for number in routes)
                contested[thing] = f"mirror.toml lets it come from {labels}: one name comes from one registry"
            else:
                parts.setdefault(routes[0] if routes else -1, []).append(thing)
        return parts, contested


def _folder(scratch: Path, number: int) -> Path:
    """A folder of its own for each upstream: the same at each call."""
    folder = scratch / f"upstream-{number + 1}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}") from None
    return folder
