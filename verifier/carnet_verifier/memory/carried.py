"""What a project carries in its `carnet.lock`, held against what a repository shows: it can refuse, and nothing else.

The rules are those of the client's own memory: no root, timestamp, snapshot or role of a claim in a lower version than
seen (TUF 5.3.5, 5.4.3, 5.5.5), no clock behind the time seen, no lower level of a crate, no owners that those who were
seen did not appoint. What a project remembers never gets into the client's own memory, which other projects rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from carnet import times
from carnet.cargo.names import CrateName
from carnet.digests import sha256_hex
from carnet.errors import ExpiredMetadata, FormatError, MetadataMismatch, RollbackDetected
from carnet.level import Level
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, RoleKeys, Root, Snapshot, Targets, Timestamp
from carnet_verifier.memory.carnet_lock import FILE_NAME, CarnetLock, SeenCrate, SeenOnline, SeenRoot

if TYPE_CHECKING:
    from carnet.claims.holders import ClaimFacts, SeenOwners

CLOCK_SLACK = timedelta(days=1)
ASK = (
    f"if {FILE_NAME} is right, you are shown an old state: ask the mirror's operator. If it is not, ask whoever "
    f"changed it last (`git log {FILE_NAME}`)"
)


class TopRoles(Protocol):
    """What is looked at of a verified view; `carnet_verifier.tuf.workflow.TrustedRoles` is one."""

    now: datetime
    root: RoleFile[Root]
    roots: dict[str, Root]

    @property
    def timestamp(self) -> RoleFile[Timestamp]:
        """The timestamp."""
        ...

    @property
    def snapshot(self) -> RoleFile[Snapshot]:
        """The snapshot."""
        ...

    def version(self, role: str) -> int | None:
        """The version that the snapshot lists of a role; None when it lists none."""
        ...


class VerifiedClaim(Protocol):
    """What is looked at of a claim; `carnet_verifier.claims.owners.Claim` is one."""

    @property
    def owner(self) -> Targets:
        """What its owner role says."""
        ...

    @property
    def crate(self) -> Targets:
        """What its crate role says."""
        ...

    @property
    def facts(self) -> ClaimFacts:
        """Who owns it."""
        ...


class Carried:
    """What a project carries, for as long as one repository is looked at.

    Args:
        lock: What its file says.
        elsewhere: Is called when it turns out to be about another repository; it may raise.
    """

    FILE = FILE_NAME

    def __init__(self, lock: CarnetLock, elsewhere: Callable[[], None] | None = None) -> None:
        self.lock = lock
        self._elsewhere = elsewhere
        self._applies: bool | None = None

    def hold(self, trusted: TopRoles, pinned: bytes) -> None:
        """Demand that a verified view is not older than what was seen.

        Args:
            trusted: The view's top roles.
            pinned: The pinned root's file: which repository this is.

        Raises:
            RollbackDetected: The view is older.
            MetadataMismatch: Another root of the same version was seen, or versions that nobody signed whom it names.
            ExpiredMetadata: This machine's clock is far behind.
        """
        current = SeenRoot(trusted.root.signed.version, sha256_hex(trusted.root.raw))
        roots = {sha256_hex(pinned), *trusted.roots}
        applies = bool(roots & {self.lock.repository, self.lock.root.sha256})
        if not applies:
            if self._applies is None and self._elsewhere is not None:
                self._elsewhere()
            self._applies = False
            return
        self._applies = True
        seen = self.lock.root
        if current.version < seen.version:
            raise RollbackDetected(
                f"root has version {current.version}; {FILE_NAME} has seen version {seen.version} (TUF 5.3.5)", hint=ASK
            )
        seen_root = trusted.roots.get(seen.sha256)
        if seen_root is None and seen.sha256 == sha256_hex(pinned):
            seen_root = parse_role(pinned, Root, what="the pinned root").signed
        if (seen_root is not None and seen_root.version != seen.version) or (
            current.version == seen.version and current != seen
        ):
            raise MetadataMismatch(f"root version {seen.version} is not the one that {FILE_NAME} has seen", hint=ASK)
        signers = trusted.root.signed.roles
        timestamp, snapshot = trusted.timestamp.signed, trusted.snapshot.signed
        if seen_root is not None:  # of one that is not known, nobody knows whom it names
            _require_counted(self.lock.timestamp, seen_root.roles[paths.TIMESTAMP], "timestamp")
            _require_counted(self.lock.snapshot, seen_root.roles[paths.SNAPSHOT], "snapshot")
        _check_online(self.lock.timestamp, timestamp.version, signers[paths.TIMESTAMP], "timestamp", "5.4.3")
        _check_online(self.lock.snapshot, snapshot.version, signers[paths.SNAPSHOT], "snapshot", "5.5.5")
        self._check_roles(trusted)
        if trusted.now < times.moved(self.lock.refreshed, -CLOCK_SLACK):
            raise ExpiredMetadata(
                f"this machine's clock says {trusted.now:%Y-%m-%d %H:%M}, and {FILE_NAME} was written at "
                f"{self.lock.refreshed:%Y-%m-%d %H:%M}",
                hint="set this machine's clock; with a wrong one, old metadata would pass for fresh",
            )

    def _check_roles(self, trusted: TopRoles) -> None:
        for canonical, known in self.lock.crates.items():
            name = CrateName(canonical)
            for role, seen in ((paths.owner_role(name), known.owner), (paths.crate_role(name), known.releases)):
                version = trusted.version(role)
                if version is None or version < seen:
                    shown = "no version" if version is None else f"version {version}"
                    raise RollbackDetected(
                        f"the snapshot lists {shown} of the role {role!a};"
                        f" {FILE_NAME} has seen version {seen} (TUF 5.5.5)",
                        hint=ASK,
                    )

    @property
    def applies(self) -> bool:
        """Whether it is about the repository that is looked at; False before `hold` has found out."""
        return self._applies is True

    def crate(self, name: CrateName) -> SeenCrate | None:
        """What is carried of a crate, where it is about this repository."""
        return self.lock.crates.get(name.canonical) if self.applies else None

    def level(self, name: CrateName) -> Level | None:
        """The level at which a crate was seen."""
        known = self.crate(name)
        return None if known is None else known.level

    def owners(
        self, name: CrateName, role: RoleFile[Targets], signers: RoleKeys, earlier: Callable[[int], bytes | None]
    ) -> SeenOwners | None:
        """The owners that were seen, with their keys, which the role file of that version has.

        Args:
            name: The crate.
            role: Its current owner role, verified.
            signers: Its current owners.
            earlier: Fetches the file of an earlier version of the role.

        Returns:
            None where none were seen.

        Raises:
            MetadataMismatch: The file of that version is not to be had, or is not by those owners.
        """
        from carnet.claims.holders import ClaimFacts, SeenOwners  # with the first claimed crate: start-up time counts

        known = self.crate(name)
        if known is None:
            return None
        if _ids(signers) == set(known.owners) and signers.threshold == known.threshold:
            return SeenOwners(known.owner, signers)
        data = role.raw if known.owner == role.signed.version else earlier(known.owner)
        try:
            file = None if data is None else parse_role(data, Targets, what="an earlier owner role")
            seen = None if file is None else ClaimFacts.of(file.signed).owners.signers
        except FormatError:
            file = seen = None
        if file is None or seen is None or not seen.met_by(file) or file.signed.version != known.owner:
            seen = None
        if seen is None or _ids(seen) != set(known.owners) or seen.threshold != known.threshold:
            raise MetadataMismatch(
                f"the owners of {name} are not those that {FILE_NAME} has seen, and version {known.owner} of the role"
                f" {paths.owner_role(name)!a}, which would show how they follow, does not name those either",
                hint=ASK,
            )
        return SeenOwners(known.owner, seen)


def updated(
    before: CarnetLock | None,
    trusted: TopRoles,
    repository: str,
    claims: Mapping[CrateName, VerifiedClaim],
    levels: Mapping[CrateName, int],
) -> CarnetLock:
    """What to carry from here on, once a lock was verified and let in.

    Args:
        before: What was carried, which was held against this view; None when nothing was.
        trusted: The view's top roles.
        repository: The sha256 of the pinned root, where nothing was carried.
        claims: The claims of the lock's crates, takeovers left out: of those, what was seen before stays.
        levels: The highest level at which each crate was seen.

    Returns:
        Never less than before; `before` itself when nothing but the time has changed.
    """
    crates = {} if before is None else dict(before.crates)
    for name, claim in claims.items():
        facts = claim.facts.owners
        known = crates.get(name.canonical)
        level = max(Level(levels.get(name, Level.REGISTRY)), Level.REGISTRY if known is None else known.level)
        crates[name.canonical] = SeenCrate(
            level,
            claim.owner.version,
            claim.crate.version,
            facts.signers.threshold,
            dict(sorted(facts.people.items())),
        )
    roles = trusted.root.signed.roles
    made = CarnetLock(
        repository if before is None else before.repository,
        SeenRoot(trusted.root.signed.version, sha256_hex(trusted.root.raw)),
        SeenOnline(trusted.timestamp.signed.version, _signed_by(trusted.timestamp, roles[paths.TIMESTAMP])),
        SeenOnline(trusted.snapshot.signed.version, _signed_by(trusted.snapshot, roles[paths.SNAPSHOT])),
        trusted.now.replace(microsecond=0)
        if before is None
        else max(before.refreshed, trusted.now.replace(microsecond=0)),
        crates,
    )
    if before is not None and _apart_from_time(made) == _apart_from_time(before):
        return before
    return made


def _apart_from_time(lock: CarnetLock) -> tuple[object, ...]:
    return lock.repository, lock.root, lock.timestamp, lock.snapshot, lock.crates


def _signed_by(file: RoleFile[Timestamp] | RoleFile[Snapshot], signers: RoleKeys) -> tuple[str, ...]:
    listed = _ids(signers)
    return tuple(sorted({one.keyid for one in file.signatures if one.keyid in listed and one.sig}))


def _check_online(seen: SeenOnline, version: int, signers: RoleKeys, role: str, step: str) -> None:
    """As `TrustedRoles.recall`: what the newest root's keys did not sign is forgotten (TUF 5.3.11)."""
    if _counts(seen, signers) and version < seen.version:
        raise RollbackDetected(
            f"{role} has version {version}; {FILE_NAME} has seen version {seen.version} (TUF {step})", hint=ASK
        )


def _require_counted(seen: SeenOnline, signers: RoleKeys, role: str) -> None:
    """What was seen under a root was signed as that asks; a number that others are said to have signed is forged.

    It would count for nothing, and push the one that counts out wherever two files are joined.
    """
    if not _counts(seen, signers):
        raise MetadataMismatch(
            f"{FILE_NAME} has seen version {seen.version} of {role} under this root, signed by keys that it does not"
            " name",
            hint=ASK,
        )


def _counts(seen: SeenOnline, signers: RoleKeys) -> bool:
    return len({key.material for key in signers.keys if key.keyid in seen.signers}) >= signers.threshold


def _ids(signers: RoleKeys) -> set[str]:
    return {key.keyid for key in signers.keys}
