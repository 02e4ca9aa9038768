"""New files of offline roles: what holders, owners and releasers signed, checked before it is published.

A publication that names a file which clients refuse is broken for all of them. So each file must be the next version,
unexpired, of the trust model's form, and signed as its delegator demands; and whoever is named by a new delegator must
satisfy it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carnet import times
from carnet.cargo.names import CrateName
from carnet.claims.standing import claimed
from carnet.digests import sha256_hex
from carnet.errors import FormatError, MetadataMismatch
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.least import least_of
from carnet.tuf.next_version import check_role, check_root, check_shard, check_unexpired
from carnet.tuf.read import check_read_as, parse_role
from carnet.tuf.roles import RoleFile, RoleKeys, Root, SuccinctRoles, TargetFile, Targets
from carnet.tuf.tree import Place, RoleKind, parent_of, place_of
from carnet_signer.metadata.first_published import first_published
from carnet_signer.metadata.published_state import (
    PublishedState,
    metadata_path,
    succinct_of,
    target_path,
)
from carnet_signer.metadata.role_files import OFFLINE_LIFE

_BEHIND = timedelta(days=14)
"""How long before the draft of a shard a version may have been published that it does not know: longer than the files
that holders draft from may be old."""


@dataclass(frozen=True)
class Change:
    """What is new.

    Attributes:
        index_files: Target path (`index/se/rd/serde`) to the sparse-index file's bytes. Files that are equal to the
            published ones are skipped.
        roles: Role name to the signed file of its next version: `root`, `targets`, `claims`, `claims-0a`, `index`,
            `owner.serde`, `crate.serde`. A file that is published already is skipped.
        parsed: Role name to more of these files, parsed already: targets roles, none that is in `roles` too.
        targets: Target path to bytes that the new roles name: layouts, tarballs, bundles. Those that are published
            already may be left out.
        about: The crate whose owners may change; None when nobody's may.
        custom: Target path of an index file to what its bin says of it beside length and digest; of one that is left
            out it says what it said before.
    """

    index_files: Mapping[str, bytes] = field(default_factory=dict)
    roles: Mapping[str, bytes] = field(default_factory=dict)
    parsed: Mapping[str, RoleFile[Targets]] = field(default_factory=dict)
    targets: Mapping[str, bytes] = field(default_factory=dict)
    about: CrateName | None = None
    custom: Mapping[str, JsonObject] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = self.parsed.keys() & {*self.roles, paths.ROOT}
        if twice:
            raise FormatError(f"{min(twice)} is given twice, or is no targets role")


@dataclass(frozen=True)
class Accepted:
    """The published state with the checked new files on top.

    Attributes:
        current: What is published.
        new_root: The next root, when there is one.
        new: Role name to the checked file of its next version.
        files: Path to bytes of everything that is to be written for them, but the root.
    """

    current: PublishedState
    new_root: RoleFile[Root] | None
    new: Mapping[str, RoleFile[Targets]]
    files: Mapping[str, bytes]

    @property
    def root(self) -> Root:
        """The root that clients will have."""
        return (self.new_root or self.current.roots[-1]).signed

    def role(self, role: str) -> RoleFile[Targets] | None:
        """A role's file: the new one, else the published one."""
        return self.new.get(role) or self.current.role(role)

    def version(self, role: str) -> int:
        """The version of a role in the snapshot that is about to be made; 0 when it lists none."""
        return self.new[role].signed.version if role in self.new else self.current.version(role)

    @property
    def bins(self) -> SuccinctRoles:
        """How the index is split."""
        index = self.role(paths.INDEX)
        if index is None:
            raise MetadataMismatch(
                "there is no index role", hint="the first publish brings every role that `carnet root init` made"
            )
        return succinct_of(index.signed)


def add_release(current: PublishedState, change: Change, now: datetime) -> Accepted:
    """Check the new role files and the targets that they name.

    Raises:
        MetadataError: A file is not the next version, expired, not of the trust model's form, or not signed as its
            delegator demands; or a delegation or a target would lead to nothing.
        FormatError: A file does not parse.
    """
    new_root = _next_root(current, change.roles.get(paths.ROOT), now)
    if new_root is None and not current.roots:
        raise MetadataMismatch(
            "there is no root", hint="the first publish brings every role that `carnet root init` made"
        )
    new: dict[str, RoleFile[Targets]] = {}
    accepted = Accepted(current, new_root, new, files := {})
    for role in sorted((*change.roles, *change.parsed), key=lambda role: _place(role).depth):
        envelope = _next_role(accepted, role, change, now) if role != paths.ROOT else None
        if envelope is not None:
            new[role] = envelope
            files[metadata_path(role, envelope.signed.version)] = envelope.raw
    _check_shards(accepted, change.about)
    _check_delegates(accepted)
    files |= _named_targets(accepted, change.targets)
    return accepted


def _place(role: str) -> Place:
    place = place_of(role)
    if place.online:
        raise MetadataMismatch(f"{role} is signed by the online keys, and by nobody else")
    return place


def _next_root(current: PublishedState, data: bytes | None, now: datetime) -> RoleFile[Root] | None:
    if data is None:
        return None
    envelope = parse_role(data, Root)
    last = current.roots[-1] if current.roots else None
    if last is not None and last.message == envelope.message:
        return None
    check_root(last.signed if last is not None else None, envelope)
    check_unexpired(paths.ROOT, envelope.signed, now)
    return envelope


def _next_role(accepted: Accepted, role: str, change: Change, now: datetime) -> RoleFile[Targets] | None:
    if role in change.parsed:
        envelope = check_read_as(change.parsed[role], role)
    else:
        envelope = parse_role(change.roles[role], Targets, what=role)
    published = accepted.current.role(role)
    if published is not None and published.message == envelope.message:
        return None
    before = None if published is None else published.signed
    check_role(role, before, envelope.signed, now=now)
    _signers(accepted, role).check(envelope, role, "5.6.3")
    return envelope


def _signers(accepted: Accepted, role: str) -> RoleKeys:
    """Who must sign a role, as its delegator says: the new version of it, where there is one."""
    delegator = parent_of(role)
    if delegator == paths.ROOT:
        return accepted.root.roles[role]
    envelope = accepted.role(delegator)
    signers = (
        envelope.signed.delegations.signers_of(role)
        if envelope is not None and envelope.signed.delegations is not None
        else None
    )
    if signers is None:
        raise MetadataMismatch(f"{delegator} does not delegate to {role}")
    return signers


def _check_shards(accepted: Accepted, about: CrateName | None) -> None:
    """After all roles are in: a shard may demand versions that come with it."""
    for role, envelope in accepted.new.items():
        if place_of(role).kind == RoleKind.SHARD:
            published = accepted.current.role(role)
            before = None if published is None else published.signed
            check_shard(role, before, envelope.signed, about=about, version=accepted.version)
            _check_not_behind(accepted, role, envelope.signed)


def _check_not_behind(accepted: Accepted, shard: str, signed: Targets) -> None:
    """A shard that people sign anew lets nobody believe for 90 days more what owners replaced long before it.

    Holders' tools draft it from the owners' files of the last days. Whoever drafted it otherwise is told here.
    """
    drafted = times.moved(signed.expires, -OFFLINE_LIFE)
    for name in claimed(signed):
        least = least_of(signed, name)
        for role, lowest in () if least is None else least.by_role(name.canonical):
            since = first_published(accepted.current, role, lowest + 1)
            if since is not None and since < times.moved(drafted, -_BEHIND):
                raise MetadataMismatch(
                    f"the next {shard} lets version {lowest} of {role} be believed, and version {lowest + 1} is "
                    f"published since {since:%Y-%m-%d}: the shard was made without it",
                    hint="`carnet root update` brings the owners' files; then `carnet root rotate`, and sign again",
                )


def _check_delegates(accepted: Accepted) -> None:
    """Whoever a new delegator names differently than before must exist, and satisfy it."""
    for delegator, role, signers in _changed_delegations(accepted):
        envelope = accepted.role(role)
        if envelope is None:
            raise MetadataMismatch(f"{delegator} delegates to {role}, and there is no such file")
        if role not in accepted.new:  # new files were checked when they were accepted
            signers.check(envelope, f"{role} (as {delegator} now delegates to it)", "5.6.3")


def _changed_delegations(accepted: Accepted) -> Iterator[tuple[str, str, RoleKeys]]:
    if accepted.new_root is not None:
        yield paths.ROOT, paths.TARGETS, accepted.root.roles[paths.TARGETS]
    for delegator, envelope in accepted.new.items():
        published = accepted.current.role(delegator)
        before = published.signed.delegations if published is not None else None
        after = envelope.signed.delegations
        for role, entry in after.roles.items() if after is not None else ():
            known = before.signers_of(role) if before is not None else None
            if known is None or not known.same_as(entry.signers):
                yield delegator, role, entry.signers


def _named_targets(accepted: Accepted, offered: Mapping[str, bytes]) -> dict[str, bytes]:
    """Every target that a new role names newly must be there, and every one that is offered must be named."""
    files: dict[str, bytes] = {}
    used: set[str] = set()
    for role, envelope in accepted.new.items():
        published = accepted.current.role(role)
        for path, target in envelope.signed.targets.items():
            before = published.signed.targets.get(path) if published is not None else None
            if before is not None and (before.length, before.sha256) == (target.length, target.sha256):
                continue
            _check_digests(role, path, target)
            place = target_path(path, target.sha256)
            data = offered.get(path)
            if data is None:
                data = accepted.current.publication.read(place)
            else:
                used.add(path)
                files[place] = data
            if data is None:
                raise MetadataMismatch(f"{role} names the target {path}, and there is no such file")
            if len(data) != target.length or sha256_hex(data) != target.sha256:
                raise MetadataMismatch(f"the target {path} is not the file that {role} names")
    unnamed = sorted(offered.keys() - used)
    if unnamed and not _are_published(accepted, offered, unnamed):
        raise MetadataMismatch(f"the target {unnamed[0]} is named by no new role")
    return files


def _check_digests(role: str, path: str, target: TargetFile) -> None:
    """A client compares every digest that is listed: one that nobody compared here would keep it from the file."""
    if target.hashes.keys() != {"sha256"}:
        raise MetadataMismatch(
            f"{role} lists the target {path} with other digests than sha256", hint="carnet lists sha256 alone"
        )


def _are_published(accepted: Accepted, offered: Mapping[str, bytes], listed: list[str]) -> bool:
    """Whether these bytes are published already: a change that is handed in again after a crash is no mistake."""
    return all(
        accepted.current.publication.read(target_path(path, sha256_hex(offered[path]))) is not None for path in listed
    )
