"""What is kept for how long: superseded snapshots, bins and index files go after a week, and nobody can tell.

From one snapshot to the next it is seen what the next one does not lead to any more, and since when: its own time, and
bins and index files that it left behind. It is written down (`carnet_mirror.state.superseded`), and what is listed
again comes off. Both are in proportion to what was published, so publishes do it as well, and the disk is bounded
however many there are:

    snapshots    all but the newest
    bins         of older versions than it names
    index files  that none of its bins lists

Roots, offline roles, owners' and crates' roles, their targets and all tarballs stay for ever: they are few, or
`fsck --rebuild` and whoever signs next need them. Rows go first, all of a batch in one transaction, then the files,
then the note that they are superseded: killed in between, the next run does the rest.

Time is counted by what the mirror signed, and no faster than it can have passed. A mirror signs at least twice a day,
so a longer step counts for a day at most, because it may be a clock that jumped; what is behind then catches up at
twice the pace of the clock. So for a day at least nothing goes that a timestamp of before can lead to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from carnet import strictjson, times
from carnet.errors import CarnetError
from carnet.tuf.paths import (
    METADATA_PREFIX,
    SNAPSHOT,
    SPARSE_INDEX_PREFIX,
    TARGETS_PREFIX,
    hashed_path,
    metadata_name,
)
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Snapshot, Targets
from carnet.tuf.tree import is_bin
from carnet_mirror import log
from carnet_mirror.state.disk import LEAST_KEEP
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_signer.metadata.role_files import SNAPSHOT_LIFE, TIMESTAMP_LIFE

_PRUNED = "pruned"
"""The setting that says how far it is."""
_BATCH = 256
"""Files that go in one transaction."""
_MOST = 16_384
"""Files that go in one run of upkeep, and ..."""
_MOST_SNAPSHOTS = 256
"""... snapshots that it looks at, so that signing again never waits for long."""
_EVERY = 16
"""Snapshots after which a publish takes away what is due."""
_STEP = int(TIMESTAMP_LIFE.total_seconds()) // 2
_NUMBERED = re.compile(r"metadata/([1-9][0-9]*)\.([^/]+)\.json\Z")


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far it is.

    Attributes:
        snapshot: The newest snapshot of which it is known what it superseded.
        clock: The time that counts, in seconds since 1970.
        signed: When the newest timestamp was signed, at the last run.
    """

    snapshot: int
    clock: int
    signed: int

    @classmethod
    def of(cls, store: Store) -> _Progress | None:
        """As it was left, or None."""
        said = store.setting(_PRUNED)
        if said is None:
            return None
        match strictjson.parse_object(said.encode(), _PRUNED, max_bytes=1000):
            case {"snapshot": int(snapshot), "clock": int(clock), "signed": int(signed)}:
                return cls(snapshot, clock, signed)
        return None

    def keep(self, store: Store) -> None:
        """Remember it, inside a change."""
        said: strictjson.JsonObject = {"snapshot": self.snapshot, "clock": self.clock, "signed": self.signed}
        store.put_setting(_PRUNED, strictjson.encode(said).decode())


def prune(store: Store, *, most: int = _MOST, snapshots: int = _MOST_SNAPSHOTS) -> int:
    """Take away what nobody can ask for any more.

    Args:
        store: The mirror, inside a change with nothing staged. Its rules say how long what was superseded stays.
        most: At most so many files go.
        snapshots: At most so many snapshots are looked at; while there are more, no index file goes.

    Returns:
        How many files went.

    Raises:
        StorageError: The disk failed, or a file is missing.
        FormatError: What is published does not parse.
    """
    timestamp = UnverifiedView(store).timestamp
    signed = _seconds(times.moved(timestamp.expires, -TIMESTAMP_LIFE))
    done = _Progress.of(store)
    if done is None or not _is_there(store, done.snapshot):
        done = _begin(store, signed)
    snapshot, moments = _follow(store, done.snapshot, timestamp.snapshot.version, snapshots)
    clock = min(signed, done.clock + _passed(sorted([done.signed, *moments, signed])))
    _Progress(snapshot, clock, signed).keep(store)
    until = clock - int(max(store.disk.rules.keep, LEAST_KEEP).total_seconds())
    due = store.superseded.due(until, most)
    if snapshot < timestamp.snapshot.version:
        # A later snapshot may list an index file again; snapshots and bins have numbers, which never come again.
        due = [path for path in due if path.startswith(METADATA_PREFIX)]
    for start in range(0, len(due), _BATCH):
        store.prune(due[start : start + _BATCH])
    return len(due)


def prune_after_publish(store: Store) -> None:
    """Take away what is due, now and then, inside a change in which something was just published.

    Nothing is due to be signed again where others publish often, so upkeep never comes.
    """
    with _told():
        done, newest = _Progress.of(store), UnverifiedView(store).timestamp.snapshot.version
        behind = newest if done is None else newest - done.snapshot
        if behind and behind % _EVERY == 0:
            prune(store, most=_MOST // 4, snapshots=4 * _EVERY)


def prune_in_upkeep(store: Store) -> None:
    """Take away what is due, and what lies there of publishes that were given up, inside a change."""
    with _told():
        prune(store)
        _sweep(store)


def leave_out(copy: Store, original: Store) -> None:
    """Let a copy of a mirror's database list nothing that is superseded: of what it lists nothing is taken away soon.

    Args:
        copy: The copy, as `Store.copied` makes it.
        original: The mirror, which has the files.

    Raises:
        StorageError: A disk failed, or a file is missing.
        FormatError: What is published does not parse.
    """
    snapshot = UnverifiedView(copy).timestamp.snapshot.version
    named = _snapshot(original, snapshot).meta
    versions = {role: meta.version for role, meta in named.items() if is_bin(role)} | {SNAPSHOT: snapshot}
    kept = {_path(role, version) for role, version in versions.items()}
    for role, version in versions.items():
        kept |= _index_files(original, role, version) if is_bin(role) else set()
    online = {_path(role, one) for role, all_ in _metadata(copy).items() if role in versions for one in all_}
    with copy.change():
        copy.files.forget(sorted({*online, *copy.files.paths(TARGETS_PREFIX + SPARSE_INDEX_PREFIX)} - kept))
        copy.superseded.forget(copy.superseded.paths())
    copy.settle()


@contextmanager
def _told() -> Iterator[None]:
    """What is damaged keeps nobody from publishing or signing again: it is told."""
    try:
        yield
    except CarnetError as error:
        log.warn(f"what was superseded stays: {error}", "`carnet mirror fsck DIR` looks at every file")


# --- what a snapshot does not lead to any more ---


def _begin(store: Store, signed: int) -> _Progress:
    """With the oldest snapshot that is there: for a mirror that was never pruned, or whose database was made anew."""
    versions = _metadata(store)
    oldest = _snapshot(store, min(versions[SNAPSHOT]))
    for role, meta in oldest.meta.items():
        if is_bin(role):
            older = [version for version in versions.get(role, ()) if version < meta.version]
            store.superseded.add((_path(role, version) for version in older), _signed(oldest))
    return _Progress(oldest.version, signed, signed)


def _passed(moments: list[int]) -> int:
    """Seconds that have passed for certain, between things that were signed, and as many again to catch up with."""
    return sum(2 * min(later - earlier, _STEP) for earlier, later in pairwise(moments))


def _follow(store: Store, version: int, newest: int, most: int) -> tuple[int, list[int]]:
    """Write down what each snapshot superseded, from one on.

    Returns:
        The version of the last one that was looked at, and when each was signed.
    """
    moments: list[int] = []
    before: Snapshot | None = None
    for _ in range(most):
        following = next((one for one in range(version + 1, newest + 1) if _is_there(store, one)), None)
        if following is None:
            break
        before = _snapshot(store, version) if before is None else before
        after = _snapshot(store, following)
        moments.append(_signed(after))
        _supersede(store, before, after, moments[-1])
        version, before = following, after
    return version, moments


def _supersede(store: Store, before: Snapshot, after: Snapshot, since: int) -> None:
    left, came = _other_bins(before, after), _other_bins(after, before)
    listed = set().union(*(_index_files(store, role, version) for role, version in came))
    dropped = set().union(*(_index_files(store, role, version) for role, version in left)) - listed
    store.superseded.forget(sorted(listed))
    paths = [_path(SNAPSHOT, before.version), *(_path(role, version) for role, version in left), *sorted(dropped)]
    store.superseded.add(paths, since)


def _other_bins(one: Snapshot, other: Snapshot) -> list[tuple[str, int]]:
    """The bins of one snapshot, with their versions, that another one does not have in these."""
    found = []
    for role, meta in one.meta.items():
        there = other.meta.get(role)
        if (there is None or there.version != meta.version) and is_bin(role):
            found.append((role, meta.version))
    return found


def _index_files(store: Store, role: str, version: int) -> set[str]:
    path = _path(role, version)
    targets = parse_role(store.served(path) or b"", Targets, what=path).signed.targets
    return {TARGETS_PREFIX + hashed_path(name, target.sha256) for name, target in targets.items()}


def _snapshot(store: Store, version: int) -> Snapshot:
    path = _path(SNAPSHOT, version)
    return parse_role(store.served(path) or b"", Snapshot, what=path).signed


def _is_there(store: Store, version: int) -> bool:
    return store.files.published(_path(SNAPSHOT, version)) is not None


def _metadata(store: Store) -> dict[str, list[int]]:
    """The versions of each role that are published."""
    found: dict[str, list[int]] = {SNAPSHOT: []}
    for path in store.files.paths(METADATA_PREFIX):
        if (named := _NUMBERED.match(path)) is not None:
            found.setdefault(named[2], []).append(int(named[1]))
    return found


def _sweep(store: Store) -> None:
    """Take away the metadata that lies there of publishes that were given up, and is older than all that is kept."""
    left = store.files.left_over(METADATA_PREFIX)
    if not left:
        return
    versions = _metadata(store)
    for path in left:
        named = _NUMBERED.match(path)
        role = "" if named is None else named[2]
        if named is not None and (role == SNAPSHOT or is_bin(role)) and int(named[1]) < min(versions.get(role, [0])):
            store.prune([path])


def _path(role: str, version: int) -> str:
    return METADATA_PREFIX + metadata_name(role, version)


def _signed(snapshot: Snapshot) -> int:
    """When a snapshot was signed."""
    return _seconds(times.moved(snapshot.expires, -SNAPSHOT_LIFE))


def _seconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp())
