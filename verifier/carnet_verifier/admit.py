"""The line for one crate and for many: from a trusted repository to admissions, in two phases.

The steps and their order stand in `carnet_verifier.line`. From metadata alone a crate is refused, let in, or found to
need its tarball, because a rule or the owners ask for what only bytes tell. Then the tarball is fetched, becomes a
`VerifiedCrate`, is inspected and judged here, and goes on to whoever needs it next: it is fetched and read once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, TransportError, VerificationError
from carnet.level import Level
from carnet.tuf import paths
from carnet_verifier.line import (
    admit,
    attribute,
    download,
    fetch,
    find_target,
    inspect,
    judge,
    needed,
    open_index,
    parse_index,
    unknown_crate,
    verify,
    vouch,
    vouch_alone,
)
from carnet_verifier.outcomes import (
    Admission,
    Attributed,
    Judged,
    KeptTarballs,
    LevelMemory,
    ListCache,
    Outcome,
    VerifiedCrate,
    Vouched,
    Wanted,
)
from carnet_verifier.policy.evaluate import in_force
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.repository import TrustedRepository, TrustedTarget

if TYPE_CHECKING:
    from carnet.cargo.crate import CrateFile
    from carnet_verifier.claims.owners import Claim
    from carnet_verifier.tarballs import FetchedTarball

__all__ = ["Admission", "LevelMemory", "Outcome", "Wanted", "admit_all", "admit_one", "admit_tarball"]

AT_ONCE = 16
"""Tarballs that are fetched at a time, and wait on the disk."""

_Key = TypeVar("_Key", bound=Hashable)
_Found = TypeVar("_Found")


# --- the whole line, for one crate and for many ---


def admit_one(
    repository: TrustedRepository, wanted: Wanted, policy: Policy, memory: LevelMemory | None, *, now: datetime
) -> Admission:
    """Steps 2 to 9 for one crate; its level is remembered.

    Raises:
        CarnetError: Where it stopped.
    """
    one = _One(repository, policy, memory, now)
    attributed = one.attribute(wanted)
    admission, _ = one.decide(attributed, lambda: download(repository, attributed))
    return admission


def admit_tarball(
    repository: TrustedRepository,
    wanted: Wanted,
    policy: Policy,
    memory: LevelMemory | None,
    *,
    now: datetime,
    read: tuple[bytes, CrateFile] | None = None,
) -> tuple[Admission, VerifiedCrate]:
    """Steps 2 to 9 for one crate, and its tarball, which is fetched and read once.

    Args:
        repository: The verified view.
        wanted: The crate.
        policy: The build's.
        memory: What is remembered of each crate, or None.
        now: The time of the check.
        read: The tarball, when somebody has it, and what it holds.

    Raises:
        CarnetError: Where it stopped. A crate that metadata alone refuses is not fetched.
    """
    one = _One(repository, policy, memory, now)
    attributed = one.attribute(wanted)

    def get() -> VerifiedCrate:
        if read is None:
            return download(repository, attributed)
        data, file = read
        return verify(attributed, fetch(repository, [attributed], _Given(data))[0], file)

    admission, crate = one.decide(attributed, get)
    return admission, get() if crate is None else crate


def admit_all(
    repository: TrustedRepository,
    wanted: Sequence[Wanted],
    policy: Policy,
    memory: LevelMemory | None,
    *,
    now: datetime,
    cache: ListCache | None = None,
    kept: KeptTarballs | None = None,
) -> Iterator[Outcome]:
    """Steps 2 to 9 for many crates, in order; what is needed is fetched concurrently first.

    One crate's refusal does not stop the others. Levels are remembered once the last crate was judged. Of the tarballs
    that have to be read, `AT_ONCE` wait on the disk, and one is in memory.

    Args:
        repository: The verified view.
        wanted: The crates.
        policy: The build's.
        memory: What is remembered of each crate, or None.
        now: The time of the check.
        cache: Index files of earlier runs, or None.
        kept: Tarballs of earlier runs, or None.

    Raises:
        TransportError: Nothing could be decided about some of them: the mirror cannot be reached.
        MetadataError: The view itself failed a check.
        StorageError: The memory is damaged.
    """
    metadata = Metadata(repository, wanted, now=now, cache=cache)
    highest = {} if memory is None else memory.highest_levels(item.id.name for item in wanted)
    levels: dict[CrateName, int] = {}
    judging = in_force(policy)
    kinds = needed(judging)

    def decide(attributed: Attributed, crate: VerifiedCrate | None) -> Judged:
        evidence = inspect(attributed, kinds, now=now, crate=crate)
        return judge(attributed, evidence, policy, highest, now=now, judging=judging)

    def look(item: Wanted) -> Judged:
        """The first phase: from metadata alone."""
        judged = decide(metadata.attribute(metadata.vouch(item)), None)
        judged.verdict.require()
        return judged

    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        looked = [_tried(lambda item=item: look(item)) for item in some]  # type: ignore[misc]
        waiting = [one.attributed for one in looked if isinstance(one, Judged) and one.waits_for_bytes]
        fetched = fetch_each(repository, waiting, kept) if waiting else {}
        for item, judged in zip(some, looked, strict=True):
            crate = None
            try:
                one = _found(judged)
                if one.waits_for_bytes:
                    attributed = one.attributed
                    crate = verify(attributed, _found(fetched[attributed.crate]))
                    one = decide(attributed, crate)
                admission = admit(one)
            except TransportError:
                raise
            except CarnetError as error:
                yield Outcome(item, error)
                continue
            if admission.level > Level.REGISTRY:  # nothing is below it that a memory of it could refuse
                levels[item.id.name] = max(int(admission.level), levels.get(item.id.name, 0))
            yield Outcome(item, admission, crate)
    if memory is not None and levels:
        memory.remember_levels(levels)


class _One:
    """The line for a single crate."""

    def __init__(
        self, repository: TrustedRepository, policy: Policy, memory: LevelMemory | None, now: datetime
    ) -> None:
        self._repository, self._policy, self._memory, self._now = repository, policy, memory, now

    def attribute(self, wanted: Wanted) -> Attributed:
        """2. to 5."""
        name = wanted.id.name
        indexed = open_index(self._repository, name, find_target(self._repository, name))
        vouched = vouch_alone(self._repository, indexed, wanted)
        claim, released = self._repository.claim(name), self._repository.released(name)
        return attribute(vouched, claim, released=released, now=self._now)

    def decide(
        self, attributed: Attributed, get: Callable[[], VerifiedCrate]
    ) -> tuple[Admission, VerifiedCrate | None]:
        """6. to 9., in two phases; the tarball too, when it had to be read."""
        name, crate = attributed.crate.name, None
        highest = {} if self._memory is None else self._memory.highest_levels([name])
        judged = self._judge(attributed, highest, None)
        if judged.waits_for_bytes:
            judged.verdict.require()
            crate = get()
            judged = self._judge(attributed, highest, crate)
        admission = admit(judged)
        if self._memory is not None and admission.level > Level.REGISTRY:
            self._memory.remember_levels({name: int(admission.level)})
        return admission, crate

    def _judge(self, attributed: Attributed, highest: Mapping[CrateName, int], crate: VerifiedCrate | None) -> Judged:
        judging = in_force(self._policy)
        evidence = inspect(attributed, needed(judging), now=self._now, crate=crate)
        return judge(attributed, evidence, self._policy, highest, now=self._now, judging=judging)


# --- parts ---


class Metadata:
    """What signed metadata says of many crates, looked up at once; a refusal is raised for the crate that it is about.

    Args:
        repository: The verified view.
        wanted: The crates.
        now: The time of the check.
        cache: Index files of earlier runs, or None.

    Raises:
        TransportError: Nothing could be decided about some of them.
        MetadataError: The view itself failed a check.
    """

    def __init__(
        self, repository: TrustedRepository, wanted: Iterable[Wanted], *, now: datetime, cache: ListCache | None = None
    ) -> None:
        self._repository, self._now = repository, now
        self._targets, self._claims = _look_up(repository, wanted)
        self._files = _download_indexes(repository, self._targets.values(), cache)

    def vouch(self, item: Wanted) -> Vouched:
        """2. to 4. for one of them.

        Raises:
            NotFound: The registry signed that there is no such version.
            CarnetError: What else stops there.
        """
        name = item.id.name
        target, claim = _found(self._targets[paths.index_path(name)]), self._claims[name.canonical]
        known = None if isinstance(claim, CarnetError) else claim
        if target is None:
            raise unknown_crate(name, item.id, known)
        return vouch(parse_index(name, target, _found(self._files[target.path])), item, known)

    def attribute(self, vouched: Vouched) -> Attributed:
        """5. for one of them.

        Raises:
            CarnetError: Its maintainers did not sign this.
        """
        name = vouched.wanted.id.name
        claim = _found(self._claims[name.canonical])
        return attribute(vouched, claim, released=self._repository.released(name), now=self._now)


class _Given:
    """A tarball that somebody brought, in place of kept ones."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, _: CrateId, __: str) -> bytes:
        return self._data


def _tried(call: Callable[[], _Found]) -> _Found | CarnetError:
    """What a call returns, or its refusal; when nothing could be decided, that is raised."""
    try:
        return call()
    except TransportError:
        raise
    except CarnetError as error:
        return error


def _found(result: _Found | CarnetError) -> _Found:
    if isinstance(result, CarnetError):
        raise result
    return result


# --- many at once; a refusal spoils nothing but the crate that it is about ---


def _look_up(
    repository: TrustedRepository, wanted: Iterable[Wanted]
) -> tuple[Mapping[str, TrustedTarget | CarnetError | None], Mapping[str, Claim | CarnetError | None]]:
    """Index targets by path, and claims by canonical name; None is the signed proof that there is none."""
    names = {item.id.name.canonical: item.id.name for item in wanted}
    wanted_paths = list(dict.fromkeys(paths.index_path(item.id.name) for item in wanted))
    targets: Mapping[str, TrustedTarget | CarnetError | None]
    claims: Mapping[CrateName, Claim | CarnetError | None]
    try:
        targets, claims = repository.look_up(wanted_paths, names.values())
    except (VerificationError, FormatError):
        targets = _one_by_one(wanted_paths, lambda path: repository.find_targets([path])[path])
        claims = _one_by_one(names.values(), repository.claim)
    return targets, {canonical: claims[name] for canonical, name in names.items()}


def _download_indexes(
    repository: TrustedRepository, listed: Iterable[TrustedTarget | CarnetError | None], cache: ListCache | None
) -> dict[str, bytes | CarnetError]:
    """Index files by path, from the cache where it has their bytes."""
    targets = {target.path: target for target in listed if isinstance(target, TrustedTarget)}
    files: dict[str, bytes | CarnetError] = {}
    if cache is not None:
        for path, target in targets.items():
            data = cache.get(target.sha256)
            if data is not None and len(data) == target.length and sha256_hex(data) == target.sha256:
                files[path] = data

    def together(missing: list[str]) -> dict[str, bytes]:
        return dict(zip(missing, repository.download_many([targets[path] for path in missing]), strict=True))

    fresh = _each((path for path in targets if path not in files), together, lambda path: together([path])[path])
    if cache is not None and fresh:
        cache.put({targets[path].sha256: data for path, data in fresh.items() if isinstance(data, bytes)})
    return files | fresh


def fetch_each(
    repository: TrustedRepository, wanted: Sequence[Attributed], kept: KeptTarballs | None
) -> dict[CrateId, FetchedTarball | CarnetError]:
    """As `fetch`, by crate; what is refused is an error in its place.

    Raises:
        TransportError: Nothing was decided.
    """
    by_id = {item.crate: item for item in wanted}

    def together(crates: list[CrateId]) -> dict[CrateId, FetchedTarball]:
        return dict(zip(crates, fetch(repository, [by_id[crate] for crate in crates], kept), strict=True))

    return _each(by_id, together, lambda crate: together([crate])[crate])


def _each(
    keys: Iterable[_Key], together: Callable[[list[_Key]], Mapping[_Key, _Found]], alone: Callable[[_Key], _Found]
) -> dict[_Key, _Found | CarnetError]:
    """Look many things up at once; when one is refused, each alone, so that it spoils nothing but itself."""
    listed = list(dict.fromkeys(keys))
    try:
        return dict(together(listed))
    except (VerificationError, FormatError):
        return _one_by_one(listed, alone)


def _one_by_one(keys: Iterable[_Key], alone: Callable[[_Key], _Found]) -> dict[_Key, _Found | CarnetError]:
    found: dict[_Key, _Found | CarnetError] = {}
    for key in keys:
        try:
            found[key] = alone(key)
        except (VerificationError, FormatError) as error:
            found[key] = error
    return found
