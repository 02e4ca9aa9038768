"""What is kept for how long: superseded snapshots, bins and index files go after a week, and nobody can tell.

When a snapshot was superseded, the next one says, which was signed then: its expiry less a snapshot's life. The newest
snapshot that was there a week ago is the oldest that anybody may still ask for: no timestamp lives longer than a day,
and clients that begin with one finish within it. What only older snapshots lead to goes:

    snapshots    older than that one
    bins         of older versions than it names
    index files  that those bins list, and none from then on

Roots, offline roles, owners' and crates' roles, their targets and all tarballs stay for ever: they are few, or
`fsck --rebuild` and whoever signs next need them. The rows go first, all of a batch in one transaction, then the files.
Killed in between, files lie there that nothing refers to, as after a publish that was given up; of them the metadata,
which is large, goes with the next run.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import datetime, timedelta

from carnet import times
from carnet.tuf.paths import METADATA_PREFIX, SNAPSHOT, TARGETS_PREFIX, hashed_path, metadata_name
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Snapshot, Targets
from carnet.tuf.tree import is_bin
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_signer.metadata.role_files import SNAPSHOT_LIFE, TIMESTAMP_LIFE

KEEP = timedelta(days=7)
"""How long what was superseded stays; a timestamp's life is the least."""
_BATCH = 256
"""Files that go in one transaction."""
_MOST = 16_384
"""Files that go in one run, so that signing again never waits for long."""
_NUMBERED = re.compile(r"metadata/([1-9][0-9]*)\.([^/]+)\.json\Z")


def prune(store: Store, *, keep: timedelta = KEEP, most: int = _MOST) -> int:
    """Take away what nobody can ask for any more.

    Args:
        store: The mirror, inside a change with nothing staged.
        keep: How long what was superseded stays. It counts back from the newest timestamp and not from a clock, so that
            a clock that jumps ahead takes nothing away.
        most: At most so many files.

    Returns:
        How many files went.

    Raises:
        StorageError: The disk failed, or a file is missing.
        FormatError: What is published does not parse.
    """
    timestamp = UnverifiedView(store).timestamp
    now = times.moved(timestamp.expires, -TIMESTAMP_LIFE)
    metadata = _metadata(store)
    oldest = _oldest_kept(store, metadata[SNAPSHOT], times.moved(now, -max(keep, 2 * TIMESTAMP_LIFE)))
    before = [version for version in metadata[SNAPSHOT] if version < oldest.version]
    _sweep(store, oldest)
    gone = 0
    # What old snapshots lead to goes before them: while one is there, what it leads to is found again.
    for role, versions in metadata.items():
        if gone < most and is_bin(role) and role in oldest.meta:
            gone += _prune_bin(store, role, versions, oldest.meta[role].version, most - gone)
    paths = [METADATA_PREFIX + metadata_name(SNAPSHOT, version) for version in before]
    for start in range(0, min(len(paths), most - gone), _BATCH):
        batch = paths[start : min(start + _BATCH, most - gone)]
        store.prune(batch)
        gone += len(batch)
    return gone


def _sweep(store: Store, oldest: Snapshot) -> None:
    """Take away the metadata that a run left which was killed: as old, and in no row any more."""
    for path in store.files.left_over(METADATA_PREFIX):
        named = _NUMBERED.match(path)
        first = 0 if named is None else oldest.version if named[2] == SNAPSHOT else 0
        if named is not None and is_bin(named[2]) and named[2] in oldest.meta:
            first = oldest.meta[named[2]].version
        if named is not None and int(named[1]) < first:
            store.prune([path])


def _metadata(store: Store) -> dict[str, list[int]]:
    """The versions of each role that lie there, in order."""
    found: dict[str, list[int]] = {SNAPSHOT: []}
    for path in store.files.paths(METADATA_PREFIX):
        if (named := _NUMBERED.match(path)) is not None:
            found.setdefault(named[2], []).append(int(named[1]))
    return {role: sorted(versions) for role, versions in found.items()}


def _oldest_kept(store: Store, versions: list[int], since: datetime) -> Snapshot:
    """The newest snapshot that was signed by then, or the oldest there is; few are read."""

    def signed(version: int) -> datetime:
        return times.moved(_snapshot(store, version).expires, -SNAPSHOT_LIFE)

    return _snapshot(store, versions[max(bisect_right(versions, since, key=signed) - 1, 0)])


def _snapshot(store: Store, version: int) -> Snapshot:
    path = METADATA_PREFIX + metadata_name(SNAPSHOT, version)
    return parse_role(store.served(path) or b"", Snapshot, what=path).signed


def _prune_bin(store: Store, role: str, versions: list[int], first: int, most: int) -> int:
    """Take away the versions of one bin before `first`, with the index files that none from then on lists."""
    old = [version for version in versions if version < first]
    if not old:
        return 0
    listed = set().union(*(_index_files(store, role, version) for version in versions if version >= first))
    gone = 0
    for version in old:
        batch = sorted(_index_files(store, role, version) - listed)
        if gone and gone + len(batch) >= most:
            break
        batch = [path for path in batch if store.files.published(path) is not None]
        store.prune([*batch, METADATA_PREFIX + metadata_name(role, version)])
        gone += len(batch) + 1
    return gone


def _index_files(store: Store, role: str, version: int) -> set[str]:
    path = METADATA_PREFIX + metadata_name(role, version)
    targets = parse_role(store.served(path) or b"", Targets, what=path).signed.targets
    return {TARGETS_PREFIX + hashed_path(name, target.sha256) for name, target in targets.items()}
