"""The targets roles below the top of one view: each verified for whoever delegates to it, and fetched with the others.

A look-up is a pure walk over roles that are already there. When it needs one that is not, it says which; all roles that
any of the walks of one call need are then read or fetched at the same time, and the walks start over. So the rules do
not know about fetching, and 500 look-ups cost a handful of round trips.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from carnet.errors import CarnetError, FormatError, MetadataError, ThresholdNotMet, TransportError
from carnet.tuf import least, paths
from carnet.tuf.keys import Profile
from carnet.tuf.roles import MetaFile, RoleFile, Targets
from carnet.tuf.structure import check_structure
from carnet.tuf.tree import RoleKind, place_of
from carnet_verifier.memory.metadata_store import MetadataStore
from carnet_verifier.net.fetch import Fetcher
from carnet_verifier.tuf.workflow import OTHER_BYTES, TrustedRoles

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")


class _Missing(Exception):  # noqa: N818  -- not an error: a walk saying what it needs to go on
    def __init__(self, roles: Iterable[str]) -> None:
        super().__init__()
        self.roles = tuple(roles)


class RoleTree:
    """Roles as walks come to them. Threads may share it.

    Args:
        trusted: The top-level roles, accepted.
        store: Where verified roles are kept and looked for first.
        fetcher: The repository.
    """

    def __init__(self, trusted: TrustedRoles, store: MetadataStore, fetcher: Fetcher) -> None:
        self._trusted = trusted
        self._store = store
        self._fetcher = fetcher
        # Length, hash, version, expiry and structure are checked before a role comes in here; whether the right keys
        # signed it depends on who delegates to it, and is checked for each delegator.
        self._roles: dict[str, RoleFile[Targets]] = {}
        self._signed: set[tuple[str | None, str]] = set()
        self._files: dict[bytes, tuple[MetaFile, RoleFile[Targets]]] = {}
        self._stored: set[str] = set()
        self._looked_for: set[str] = set()
        self._failed: dict[str, CarnetError] = {}
        self._walked: dict[str, Targets] = {}
        self._lock = threading.RLock()

    def run(
        self,
        look_ups: Mapping[_Key, Callable[[], _Found]],
        note: Callable[[_Key, _Found, Mapping[str, Targets]], None] | None = None,
        first: Iterable[str] = (),
    ) -> dict[_Key, _Found]:
        """Do all look-ups, supplying together what any of them needs, until none needs more.

        Args:
            look_ups: Walks, which ask `role` for every role that they look at.
            note: Called with what each of them found, and the roles that it walked over, in order.
            first: Roles that most of them will come to: supplied first, they spare each walk one start in vain.

        Raises:
            MetadataError: A role that a walk came to failed a check.
            FormatError: It does not parse.
            TransportError: It could not be fetched.
        """
        with self._lock:
            # What could not be fetched may be there by now. What failed a check stays bad for this view, which is
            # short-lived; else a mirror that serves one bad file would be asked again for every crate.
            self._failed = {name: why for name, why in self._failed.items() if not isinstance(why, TransportError)}
            found: dict[_Key, _Found] = {}
            listed = self._trusted.snapshot.signed.meta
            missing = dict.fromkeys(
                name for name in first if name in listed and name not in self._roles and name not in self._failed
            )
            while True:
                if missing:
                    self._supply(list(missing))
                    missing = {}
                for key, look_up in look_ups.items():
                    if key not in found:
                        self._walked = {}
                        try:
                            found[key] = look_up()
                            if note is not None:
                                note(key, found[key], self._walked)
                        except _Missing as needs:
                            missing.update(dict.fromkeys(needs.roles))
                if not missing:
                    self._store.flush()
                    return {key: found[key] for key in look_ups}

    def role(self, name: str, delegator: str | None, hints: Sequence[str] = ()) -> Targets:
        """A role, verified by what its delegator says; for walks only.

        Args:
            name: The role.
            delegator: The verified role that delegates to it; None for the top-level targets.
            hints: Roles that will probably be needed next, worth fetching at the same time.
        """
        envelope = self._roles.get(name) or self._from_store(name)
        if envelope is None:
            if name in self._failed:
                raise self._failed[name]
            listed = self._trusted.snapshot.signed.meta
            raise _Missing([name, *(hint for hint in hints if hint in listed and hint not in self._roles)])
        if (delegator, name) not in self._signed:
            try:
                self._trusted.check_targets(
                    name, envelope, None if delegator is None else self._roles[delegator].signed
                )
            except ThresholdNotMet:
                if name not in self._stored:
                    raise
                # What lies on disk was signed by keys that have been replaced since: fetch it.
                self._forget(name)
                raise _Missing([name]) from None
            self._check_held_back(name, delegator)
            if name not in self._stored:
                self._store.cache({name: envelope.raw})
                self._stored.add(name)
            self._signed.add((delegator, name))
        self._walked[name] = envelope.signed
        return envelope.signed

    def _check_held_back(self, name: str, delegator: str | None) -> None:
        """Owners' and crates' files live for years: the shard above them says below which version none is believed."""
        if delegator is None or self._trusted.profile is not Profile.PRODUCT:
            return
        place = place_of(name)
        if place.kind == RoleKind.OWNER and place.crate is not None:
            least.check_listed(delegator, self._roles[delegator].signed, place.crate, self._trusted.version)

    def file(self, name: str) -> RoleFile[Targets]:
        """The file of a role that a walk has come to."""
        return self._roles[name]

    def files(self) -> dict[str, bytes]:
        """The files of all roles that are there, by name."""
        with self._lock:
            return {name: envelope.raw for name, envelope in self._roles.items()}

    def files_of(self, names: Sequence[str]) -> dict[str, RoleFile[Targets]]:
        """The files of roles as the snapshot promises them, fetched together; nothing else about them is checked.

        Raises:
            MetadataError: The snapshot does not list one, or it is another file.
            FormatError: One does not parse.
            TransportError: One could not be fetched.
        """
        answers = self._fetcher.get_many([(self._role_url(name), self._most(name)) for name in names])
        found = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, TransportError):
                raise answer
            found[name] = self._trusted.read_promised(name, answer, self._trusted.meta(name))
        return found

    def url(self, name: str, version: int) -> str:
        """Where a version of a role is to be fetched from."""
        consistent = self._trusted.root.signed.consistent_snapshot
        return paths.METADATA_PREFIX + paths.metadata_name(name, version if consistent else None)

    def _supply(self, names: Sequence[str]) -> None:
        """Read or fetch roles; what is wrong with one is raised when a look-up comes to it, which may be never."""
        to_fetch: dict[object, list[str]] = {}
        for name in names:
            if self._from_store(name) is not None:
                continue
            # Roles that the snapshot gives the same digest are the same file (most shards of claims are empty, and
            # signed together): it is fetched once.
            meta = self._trusted.meta(name)
            to_fetch.setdefault((meta.version, *meta.hashes.items()) if meta.hashes else name, []).append(name)
        groups = list(to_fetch.values())
        answers = self._fetcher.get_many([(self._role_url(group[0]), self._most(group[0])) for group in groups])
        for group, answer in zip(groups, answers, strict=True):
            for name in group:
                if isinstance(answer, TransportError):
                    self._failed[name] = answer
                    continue
                try:
                    self.accept(name, answer, self._trusted.meta(name))
                except (FormatError, MetadataError) as error:
                    error.hint = error.hint or OTHER_BYTES
                    self._failed[name] = error

    def _from_store(self, name: str) -> RoleFile[Targets] | None:
        """A role as an earlier run kept it, if the snapshot still names it. Each is looked for once."""
        meta = self._trusted.meta(name)
        if name in self._looked_for:
            return None
        self._looked_for.add(name)
        stored = self._store.read(name)
        if stored is None:
            return None
        try:
            envelope = self.accept(name, stored, meta)
        except (FormatError, MetadataError):
            return None  # an older version, or damaged: it is only a cache
        self._stored.add(name)
        return envelope

    def accept(self, name: str, data: bytes, meta: MetaFile) -> RoleFile[Targets]:
        """Take a role's file in, after the checks that do not depend on its delegator.

        Raises:
            MetadataError: Not what `meta` promises, expired, or not of the trust model's structure.
            FormatError: It does not parse.
        """
        known = self._files.get(data)
        if known is not None and known[0] == meta:
            envelope = known[1]
            self._trusted.check_unended(name, envelope.signed)  # a view that took it may be less strict
        else:
            envelope = self._trusted.read_targets(name, data, meta)
            self._files[data] = (meta, envelope)
        if self._trusted.profile is Profile.PRODUCT:
            check_structure(name, envelope.signed)
        self._forget(name)
        self._roles[name] = envelope
        return envelope

    def accept_parsed(self, name: str, parsed: RoleFile[Targets], meta: MetaFile) -> RoleFile[Targets]:
        """Take a role in that was parsed already, after the same checks.

        Raises:
            MetadataError: As `accept`.
            FormatError: It was parsed with another profile.
        """
        self._files[parsed.raw] = (meta, self._trusted.check_parsed(name, parsed, meta))
        return self.accept(name, parsed.raw, meta)

    def share(self, other: RoleTree) -> None:
        """Take over what another tree with the same clock and profile has read: it is not parsed again."""
        if (other._trusted.now, other._trusted.profile) == (self._trusted.now, self._trusted.profile):
            self._files |= other._files

    def _forget(self, name: str) -> None:
        """Another file is to take a role's place: what delegators were satisfied with does not go for that one."""
        if self._roles.pop(name, None) is not None:
            self._stored.discard(name)
            self._signed = {pair for pair in self._signed if name not in pair}

    def _most(self, name: str) -> int:
        length = self._trusted.meta(name).length
        return Targets.MAX_BYTES if length is None else min(length, Targets.MAX_BYTES)

    def _role_url(self, name: str) -> str:
        return self.url(name, self._trusted.meta(name).version)
