"""python-tuf's opinion on role files: what it reads in them, and whether it takes their signatures.

Its `Metadata` and `verify_delegate` are asked about the bytes themselves; no client of its runs here, and nothing is
fetched. A difference in what the two parsers understood is refused even where both take the signatures: that is how
one file says two things to two readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from tuf.api.metadata import Delegations, Metadata, MetaFile, Targets

from carnet.errors import OpinionsDiffer
from carnet.tuf import paths, roles
from carnet.tuf.tree import parent_of
from carnet_mirror.second_opinion.agreement import agreeing, demand_same
from carnet_mirror.second_opinion.role_readings import Reading, as_carnet_reads, as_python_tuf_reads
from carnet_signer.metadata.new_roles import Accepted
from carnet_signer.metadata.published_state import metadata_path, target_path

LIBRARY = "python-tuf"


def judge_roles(accepted: Accepted, now: datetime) -> None:
    """Let python-tuf judge the new offline roles of a publication, their delegators and whom they delegate to.

    Args:
        accepted: What carnet takes: the bytes that are about to be published.
        now: The time.

    Raises:
        OpinionsDiffer: python-tuf refuses a file, or reads something else in it.
    """
    readings = _Readings(accepted)
    if accepted.new_root is not None:
        _judge_next_root(accepted, readings.root, now)
    for role, envelope in accepted.new.items():
        path = metadata_path(role, envelope.signed.version)
        reading, before = readings.of(role), readings.published(role)
        demand_next(path, before, reading, now)
        delegated(readings.delegator(role), role, path, reading)
        _judge_targets(readings.delegator(role), role, path, reading, accepted.files)
        for child in _delegates(reading):
            standing = accepted.role(child) if child not in accepted.new else None
            if standing is not None and _delegates_otherwise(before, reading, child):
                delegated(reading, child, metadata_path(child, standing.signed.version), readings.of(child))
    if accepted.new_root is not None and paths.TARGETS not in accepted.new:
        standing_targets = accepted.role(paths.TARGETS)
        if standing_targets is not None:
            path = metadata_path(paths.TARGETS, standing_targets.signed.version)
            delegated(readings.root, paths.TARGETS, path, readings.of(paths.TARGETS))


def read(path: str, envelope: roles.RoleFile[roles.Signed], data: bytes | None = None) -> Reading:
    """Let python-tuf read a file, and demand that it reads what carnet read.

    Args:
        path: The file, for messages.
        envelope: carnet's reading.
        data: The bytes that will be published under the path, when they are not the envelope's own.

    Raises:
        OpinionsDiffer: It does not parse there, or says something else.
    """
    with agreeing(path, "form", ours="it is well-formed", library=LIBRARY):
        reading: Reading = Metadata.from_bytes(envelope.raw if data is None else data)
        theirs = as_python_tuf_reads(reading)
    demand_same(path, as_carnet_reads(envelope), theirs, library=LIBRARY)
    return reading


def demand_next(path: str, before: Reading | None, reading: Reading, now: datetime) -> None:
    """Demand that a file is the next version of its role, and not expired, as python-tuf reads it.

    Raises:
        OpinionsDiffer: It is another version, or has expired.
    """
    expected = 1 if before is None else before.signed.version + 1
    if reading.signed.version != expected:
        theirs = f"version {reading.signed.version}, where {expected} is next"
        raise OpinionsDiffer(path, "signed.version", ours="it is the next one", theirs=theirs, library=LIBRARY)
    if reading.signed.is_expired(now):
        theirs = f"it expired at {reading.signed.expires}"
        raise OpinionsDiffer(path, "signed.expires", ours="it has not expired", theirs=theirs, library=LIBRARY)


def delegated(delegator: Reading, role: str, path: str, reading: Reading) -> None:
    """Demand that a file carries the signatures that its delegator asks for (TUF 5.3.4, 5.6.3).

    Raises:
        OpinionsDiffer: Too few of them are good.
    """
    signed: Any = delegator.signed
    with agreeing(path, "signatures", ours="the threshold signed it", library=LIBRARY):
        signed.verify_delegate(role, reading.signed_bytes, reading.signatures)


def names_file(reading: Reading, entry: str, path: str, data: bytes) -> None:
    """Demand that an entry of a timestamp or a snapshot is about exactly these bytes (TUF 5.5.2, 5.6.2).

    Raises:
        OpinionsDiffer: Another length or digest.
    """
    signed: Any = reading.signed
    with agreeing(path, "length and hashes", ours="they are what was promised", library=LIBRARY):
        meta: MetaFile = signed.snapshot_meta if entry == paths.SNAPSHOT else signed.meta[f"{entry}.json"]
        meta.verify_length_and_hashes(data)


class _Readings:
    """python-tuf's reading of each role that a publication is about, made once: as it will be, and as it is."""

    def __init__(self, accepted: Accepted) -> None:
        self._accepted = accepted
        self._known: dict[str, Reading] = {}
        self._published: dict[str, Reading] = {}

    @cached_property
    def root(self) -> Reading:
        """The root that clients will have."""
        root = self._accepted.new_root or self._accepted.current.roots[-1]
        return read(metadata_path(paths.ROOT, root.signed.version), root)

    def of(self, role: str) -> Reading:
        """A targets role, as it will be."""
        if role not in self._accepted.new:
            return self.standing(role)
        if role not in self._known:
            envelope = self._accepted.new[role]
            path = metadata_path(role, envelope.signed.version)
            self._known[role] = read(path, envelope, self._accepted.files.get(path, b""))
        return self._known[role]

    def published(self, role: str) -> Reading | None:
        """A targets role as it is, or None when it is new."""
        return None if self._accepted.current.role(role) is None else self.standing(role)

    def standing(self, role: str) -> Reading:
        """A targets role that is published."""
        if role not in self._published:
            envelope = self._accepted.current.role(role)
            if envelope is None:
                theirs = "nothing is published under that name"
                raise OpinionsDiffer(role, "delegation", ours="it is there", theirs=theirs, library=LIBRARY)
            self._published[role] = read(metadata_path(role, envelope.signed.version), envelope)
        return self._published[role]

    def delegator(self, role: str) -> Reading:
        """The role that names another one's keys, as it will be."""
        delegator = parent_of(role)
        return self.root if delegator == paths.ROOT else self.of(delegator)


def _judge_next_root(accepted: Accepted, reading: Reading, now: datetime) -> None:
    path = metadata_path(paths.ROOT, reading.signed.version)
    before: Reading | None = None
    if accepted.current.roots:
        last = accepted.current.roots[-1]
        before = read(metadata_path(paths.ROOT, last.signed.version), last)
        delegated(before, paths.ROOT, path, reading)
    demand_next(path, before, reading, now)
    delegated(reading, paths.ROOT, path, reading)


def _judge_targets(
    delegator: Reading, role: str, path: str, reading: Metadata[Targets], files: Mapping[str, bytes]
) -> None:
    """Each target must be one that python-tuf's client would look for in this role, and its bytes what it lists."""
    for target in reading.signed.targets.values():
        field = f"signed.targets.{target.path}"
        if role != paths.TARGETS and not _covers(delegator.signed, role, target.path):
            theirs = f"it is no path that {role} may list"
            raise OpinionsDiffer(path, field, ours="it is the role's to list", theirs=theirs, library=LIBRARY)
        place = target_path(target.path, target.hashes.get("sha256", ""))
        if place in files:
            with agreeing(path, field, ours="the file is the one that is listed", library=LIBRARY):
                target.verify_length_and_hashes(files[place])


def _covers(delegator: Targets, role: str, path: str) -> bool:
    named = None if delegator.delegations is None else delegator.delegations.roles
    return named is not None and role in named and named[role].is_delegated_path(path)


def _delegates(reading: Metadata[Targets]) -> Iterable[str]:
    """Whom a role delegates to by name; bins are the online signer's, and are signed after this."""
    delegations = reading.signed.delegations
    return () if delegations is None or delegations.roles is None else delegations.roles


def _delegates_otherwise(before: Metadata[Targets] | None, after: Metadata[Targets], role: str) -> bool:
    if before is None or before.signed.delegations is None or after.signed.delegations is None:
        return True
    old, new = (_entry(one.signed.delegations, role) for one in (before, after))
    return old != new


def _entry(delegations: Delegations | None, role: str) -> object:
    named = None if delegations is None else delegations.roles
    if delegations is None or named is None or role not in named:
        return None
    return named[role], [delegations.keys.get(keyid) for keyid in named[role].keyids]
