"""All TUF metadata of a publication is made here, in one order.

1. `read_published_state`: what is published now, its signatures checked again (an insider with the disk adds nothing);
2. `add_release`: new files of offline roles, each checked against its delegator as a client will (TUF 5.3.4, 5.6.3);
   who publishes may have them judged a second time, before anything is signed for them;
3. `roll_bins`: the hash bins whose index files changed, and those that are due (`carnet_signer.metadata.due`);
4. `roll_snapshot`: one consistent view (TUF 4.4); names never leave it;
5. `seal`: everything that the timestamp will name is durable, as one, before the timestamp is signed;
6. `roll_timestamp`: the pointer to it (TUF 4.6);
7. `reveal`: clients see the timestamp, and with it the new state.

A crash at any point leaves the old state or the new one. Once a timestamp was signed, the next run completes its state
even if it was never written. What was signed for a state that was given up keeps its version number for ever: the next
run goes past it, because the online signer signs no second content for one number, and a cache may have seen the first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from carnet import strictjson
from carnet.digests import sha256_hex
from carnet.errors import MetadataMismatch, SigningError
from carnet.strictjson import JsonObject
from carnet.tuf import keys, paths
from carnet.tuf.keys import Signature
from carnet.tuf.roles import MetaFile, RoleFile, RoleKeys, Root, Signed, Snapshot, TargetFile
from carnet.tuf.structure import role_field
from carnet_signer.metadata import role_files
from carnet_signer.metadata.due import due_bins, missed_bins
from carnet_signer.metadata.new_roles import Accepted, Change, add_release
from carnet_signer.metadata.publication import Publication
from carnet_signer.metadata.published_state import PublishedState, metadata_path, read_published_state, target_path

__all__ = [
    "Change",
    "OnlineSigner",
    "Publication",
    "PublishResult",
    "SignerAbove",
    "name_again",
    "publish",
    "refresh_due",
]


class OnlineSigner(Protocol):
    """The process that holds the online keys, as seen from here."""

    def last_version(self, role: str) -> int:
        """The highest version that was ever signed for a role; 0 when none was."""

    def named_snapshot(self) -> tuple[int, str] | None:
        """Version and sha256 of the snapshot that the newest signed timestamp names; None when none was signed."""

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        """Sign several roles.

        Args:
            payloads: Role name to the canonical bytes of its `signed` part.

        Raises:
            SigningError: One of them may not be signed: none was.
        """


@dataclass(frozen=True, slots=True)
class SignerAbove:
    """An online signer, where somebody knows of versions that it does not remember: what follows goes past those too.

    Attributes:
        signer: The signer itself.
        seen: The highest versions that anybody may have seen, by role.
    """

    signer: OnlineSigner
    seen: Mapping[str, int]

    def last_version(self, role: str) -> int:
        """See `OnlineSigner`: the highest that was ever signed, or seen."""
        return max(self.signer.last_version(role), self.seen.get(role, 0))

    def named_snapshot(self) -> tuple[int, str] | None:
        """See `OnlineSigner`."""
        return self.signer.named_snapshot()

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        """See `OnlineSigner`."""
        return self.signer.sign(payloads)


@dataclass(frozen=True)
class PublishResult:
    """What a publish did; clients see it from now on.

    Attributes:
        snapshot: The snapshot's version.
        timestamp: The timestamp's version.
        expires: When the timestamp ends, unless it is signed again before.
        roles: Every role that got a new version, with it; only the timestamp when there was nothing else to do.
        bytes_written: Over all files.
        warnings: What a person should know, in words.
        left: The bins that are to be signed again and were not, because that is a bounded number in one publish.
    """

    snapshot: int
    timestamp: int
    expires: datetime
    roles: Mapping[str, int]
    bytes_written: int
    warnings: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


MOST_BINS = 1024
"""Bins that are signed again in one publish: a token may take a second for each."""

SecondOpinion = Callable[[Accepted], None]
"""Raises when somebody else's judgement of the accepted files is another one."""


def publish(
    publication: Publication,
    online: OnlineSigner,
    change: Change,
    *,
    now: datetime,
    second_opinion: SecondOpinion | None = None,
    look_first: Callable[[PublishedState], None] | None = None,
    whole: bool = False,
) -> PublishResult:
    """Publish a change; with an empty one, sign the timestamp again.

    The first publish brings root, targets, claims, its shards and index in `change.roles`.

    Args:
        publication: Where the repository's files are kept.
        online: Signs what the online keys sign.
        change: What is new.
        now: The time.
        second_opinion: Asked about what was accepted before the online signer signs anything.
        look_first: Looks at what is published before the change is, and raises to refuse it.
        whole: Whether every bin gets a new version, whatever is due.

    Raises:
        MetadataError: A new role file is not what its delegator demands, or what is published is not what was signed.
        FormatError: A new role file does not parse.
        OpinionsDiffer: The second opinion is another one; nothing was signed.
        SigningError: The online signer refused.
        StorageError: The disk failed; the old state stands, or the new one without a promise. Run it again.
    """
    current = read_published_state(publication, online.named_snapshot(), change.roles.get(paths.ROOT))  # 1
    if look_first is not None:
        look_first(current)
    bins = current.bins() if whole else None
    due = due_bins(current, now) if bins is None else []
    signed = due[:MOST_BINS] if bins is None else list(bins.names())
    result = _publish(current, online, change, now, due=signed, second_opinion=second_opinion)
    return replace(result, left=tuple(name for name in due if name not in result.roles))


def refresh_due(
    publication: Publication, online: OnlineSigner, *, now: datetime, most: int = MOST_BINS, left: Sequence[str] = ()
) -> PublishResult:
    """Sign again what is due: the timestamp always, the snapshot from half-life on, and bins.

    Args:
        publication: As for `publish`.
        online: As for `publish`.
        now: The time.
        most: So many bins are signed again at most, those first that have missed their turn, and end first.
        left: Bins that a publish before left.

    Raises:
        MetadataError: As `publish`, and so on.
    """
    current = read_published_state(publication, online.named_snapshot())  # 1
    due = list(dict.fromkeys([*missed_bins(current, now), *left, *due_bins(current, now)]))
    result = _publish(current, online, Change(), now, due=due[:most])
    return replace(result, left=tuple(due[most:]))


def _publish(
    current: PublishedState,
    online: OnlineSigner,
    change: Change,
    now: datetime,
    due: Collection[str],
    second_opinion: SecondOpinion | None = None,
) -> PublishResult:
    accepted = add_release(current, change, now)  # 2
    if second_opinion is not None:
        second_opinion(accepted)
    bins = roll_bins(accepted, online, change.index_files, now, due, change.custom)  # 3
    snapshot = roll_snapshot(accepted, online, bins, now)  # 4
    sealed = seal(accepted, bins, snapshot)  # 5
    timestamp = roll_timestamp(accepted, online, snapshot, now)  # 6
    return reveal(accepted, sealed, snapshot, timestamp, now)  # 7


@dataclass(frozen=True)
class Rolled:
    """One role's newest file: freshly signed, or the published one where nothing changed.

    Attributes:
        role: Its name.
        version: Its version.
        data: The whole file.
        message: What was signed.
        signatures: By whom.
        fresh: Whether it is still to be written.
    """

    role: str
    version: int
    data: bytes = field(repr=False)
    message: bytes = field(repr=False)
    signatures: tuple[Signature, ...] = field(repr=False)
    fresh: bool = True

    @classmethod
    def published(cls, role: str, envelope: RoleFile[Signed]) -> Rolled:
        """The file as it stands."""
        return cls(role, envelope.signed.version, envelope.raw, envelope.message, envelope.signatures, fresh=False)

    def signed_by(self, signers: RoleKeys) -> bool:
        """Whether these keys' threshold signed it."""
        return len(keys.signers(signers.keys, self.signatures, self.message)) >= signers.threshold


@dataclass(frozen=True)
class RolledBins:
    """The bins that got a new version, and the index files that they name newly, by path."""

    bins: tuple[Rolled, ...]
    index_files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is durable for the timestamp to name: versions by role, and bytes over all files."""

    versions: Mapping[str, int]
    size: int


def roll_bins(
    accepted: Accepted,
    online: OnlineSigner,
    index_files: Mapping[str, bytes],
    now: datetime,
    due: Collection[str],
    custom: Mapping[str, JsonObject] | None = None,
) -> RolledBins:
    """Make the next version of each bin that has a changed index file, is due, or has no valid version yet."""
    after, before = accepted.bins, accepted.current.bins()
    changed: dict[str, dict[str, bytes]] = {}
    for path, data in index_files.items():
        changed.setdefault(after.bin_of(_check_index_path(path)), {})[path] = data
    # A delegated role must exist, and be signed by the keys that are in charge now.
    everything = before is None or not before.signers.same_as(after.signers)
    files: dict[str, bytes] = {}
    payloads: dict[str, JsonObject] = {}
    for name in after.names() if everything else sorted({*changed, *due}):
        listed = {} if before is None else dict(accepted.current.bin(name, before.signers).signed.targets)
        added = _new_targets(listed, changed.get(name, {}), custom or {})
        if added or everything or name in due:
            listed |= {path: target for path, (target, _) in added.items()}
            files |= {target_path(path, target.sha256): data for path, (target, data) in added.items()}
            payloads[name] = role_files.targets(
                _next_version(accepted, online, name),
                now + role_files.BIN_LIFE,
                listed={
                    path: role_files.target(target.length, target.sha256, target.custom or None)
                    for path, target in listed.items()
                },
                extra=role_field(name),
            )
    return RolledBins(_sign(online, payloads, after.signers), files)


def roll_snapshot(accepted: Accepted, online: OnlineSigner, bins: RolledBins, now: datetime) -> Rolled:
    """Make the next snapshot: versions only for bins; version, length and sha256 for everything else."""
    current, signers = accepted.current.snapshot, accepted.root.roles[paths.SNAPSHOT]
    meta = dict(current.signed.meta) if current is not None else {}
    for role, envelope in accepted.new.items():
        meta[role] = _meta_file(envelope.signed.version, envelope.raw)
    for rolled in bins.bins:
        meta[rolled.role] = MetaFile(rolled.version)
    if (
        current is not None
        and meta == current.signed.meta
        and current.signed.expires - now > role_files.SNAPSHOT_LIFE / 2
    ):
        unchanged = Rolled.published(paths.SNAPSHOT, current)
        if unchanged.signed_by(signers):
            return unchanged
    version = _next_version(accepted, online, paths.SNAPSHOT)
    payload = role_files.snapshot(version, now + role_files.SNAPSHOT_LIFE, meta)
    return _sign(online, {paths.SNAPSHOT: payload}, signers)[0]


def roll_timestamp(accepted: Accepted, online: OnlineSigner, snapshot: Rolled, now: datetime) -> Rolled:
    """Make the next timestamp, which names the snapshot by version, length and sha256."""
    version = _next_version(accepted, online, paths.TIMESTAMP)
    payload = role_files.timestamp(
        version, now + role_files.TIMESTAMP_LIFE, _meta_file(snapshot.version, snapshot.data)
    )
    return _sign(online, {paths.TIMESTAMP: payload}, accepted.root.roles[paths.TIMESTAMP])[0]


def name_again(online: OnlineSigner, root: Root, snapshot: RoleFile[Snapshot], above: int, now: datetime) -> Rolled:
    """Make a timestamp for a snapshot that was published, where the timestamp that named it is lost.

    Args:
        online: Signs it.
        root: The newest root.
        snapshot: The snapshot, verified by the caller.
        above: The highest version of a timestamp that anybody may have seen.
        now: The time.

    Raises:
        SigningError: The online signer refused, or its key is not the root's.
    """
    version = max(above, online.last_version(paths.TIMESTAMP)) + 1
    named = _meta_file(snapshot.signed.version, snapshot.raw)
    payload = role_files.timestamp(version, now + role_files.TIMESTAMP_LIFE, named)
    return _sign(online, {paths.TIMESTAMP: payload}, root.roles[paths.TIMESTAMP])[0]


def seal(accepted: Accepted, bins: RolledBins, snapshot: Rolled) -> Sealed:
    """Stage everything but the root and the timestamp, each file after those that it names; seal it with the snapshot.

    An unchanged snapshot was sealed already, and names nothing that is new.
    """
    publication = accepted.current.publication
    publication.stage(bins.index_files)
    named = dict(accepted.files) | {metadata_path(bin_.role, bin_.version): bin_.data for bin_ in bins.bins}
    publication.stage(named)
    versions = {rolled.role: rolled.version for rolled in bins.bins}
    versions |= {role: envelope.signed.version for role, envelope in accepted.new.items()}
    size = sum(map(len, bins.index_files.values())) + sum(map(len, named.values()))
    if snapshot.fresh:
        publication.seal(snapshot.version, snapshot.data)
        versions[paths.SNAPSHOT] = snapshot.version
        size += len(snapshot.data)
    return Sealed(versions, size)


def reveal(accepted: Accepted, sealed: Sealed, snapshot: Rolled, timestamp: Rolled, now: datetime) -> PublishResult:
    """Let clients see the timestamp, and the new root when there is one.

    Where the predecessor of a new root accepts the new timestamp, snapshot and targets as well, every client sees one
    valid state throughout. Where it does not (keys were lost, not handed over), a client that has asked for the root
    just before is refused until it asks again.
    """
    warnings = []
    versions = dict(sealed.versions) | {paths.TIMESTAMP: timestamp.version}
    size = sealed.size + len(timestamp.data)
    new_root: tuple[int, bytes] | None = None
    if accepted.new_root is not None:
        new_root = (accepted.new_root.signed.version, accepted.new_root.raw)
        versions[paths.ROOT] = accepted.new_root.signed.version
        size += len(accepted.new_root.raw)
        if accepted.current.timestamp is not None and not _valid_under_old_root(accepted, snapshot, timestamp):
            warnings.append("the root before does not accept the new keys: clients were refused for a moment")
    accepted.current.publication.reveal(timestamp.data, new_root)
    expires = now + role_files.TIMESTAMP_LIFE
    return PublishResult(snapshot.version, timestamp.version, expires, versions, size, tuple(warnings))


def _check_index_path(path: str) -> str:
    paths.check_target_path(path)
    if not any(paths.matches(pattern, path) for pattern in paths.INDEX_PATTERNS):
        raise MetadataMismatch(f"{path} is not the path of an index file")
    return path


def _new_targets(
    listed: Mapping[str, TargetFile], offered: Mapping[str, bytes], custom: Mapping[str, JsonObject]
) -> dict[str, tuple[TargetFile, bytes]]:
    found = {}
    for path, data in offered.items():
        said = custom.get(path, listed[path].custom if path in listed else {})
        target = TargetFile(len(data), {"sha256": sha256_hex(data)}, said)
        if listed.get(path) != target:
            found[path] = (target, data)
    return found


def _meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": sha256_hex(data)})


def _next_version(accepted: Accepted, online: OnlineSigner, role: str) -> int:
    """Past what is published, past what was ever signed, and past a file that a crash left behind."""
    current = accepted.current
    if role == paths.TIMESTAMP:
        published = current.timestamp.signed.version if current.timestamp is not None else 0
        return max(published, online.last_version(role)) + 1
    if role == paths.SNAPSHOT:
        published = current.snapshot.signed.version if current.snapshot is not None else 0
    else:
        published = current.version(role)
    version = max(published, online.last_version(role)) + 1
    while current.publication.read(metadata_path(role, version)) is not None:
        version += 1
    return version


def _sign(online: OnlineSigner, payloads: Mapping[str, JsonObject], signers: RoleKeys) -> tuple[Rolled, ...]:
    if not payloads:
        return ()
    messages = {role: strictjson.canonical(signed, role) for role, signed in payloads.items()}
    signed = online.sign(messages)
    rolled = []
    for role, message in messages.items():
        version = payloads[role]["version"]
        data = role_files.file_bytes(message, signed[role])
        rolled.append(Rolled(role, version if isinstance(version, int) else 0, data, message, tuple(signed[role])))
        if not rolled[-1].signed_by(signers):
            raise SigningError(
                f"the online key is not one that the delegator of {role} names",
                hint="use the key that was given to `carnet root init --online`; while a new root replaces it, both",
            )
    return tuple(rolled)


def _valid_under_old_root(accepted: Accepted, snapshot: Rolled, timestamp: Rolled) -> bool:
    old = accepted.current.roots[-1].signed.roles
    targets = accepted.role(paths.TARGETS)
    return (
        timestamp.signed_by(old[paths.TIMESTAMP])
        and snapshot.signed_by(old[paths.SNAPSHOT])
        and targets is not None
        and Rolled.published(paths.TARGETS, targets).signed_by(old[paths.TARGETS])
    )
