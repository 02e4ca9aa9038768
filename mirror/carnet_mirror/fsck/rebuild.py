"""The database of a mirror made anew, from the files that are there and from nothing else.

1. nobody else has the mirror open; a database that `fsck` finds nothing wrong with stays as it is
2. roots and snapshots are verified from the pinned root down (`carnet_mirror.fsck.signed_files`)
3. the current snapshot is the one that the online signer named last. Where its memory is lost too, whoever runs this
   says the highest versions that anybody has seen
4. every file of it is verified, down to the last tarball
5. a timestamp above all that were ever signed names it: that file stood in the database
6. what `fsck` finds in the new database refuses it; then it takes the old one's place

What the database alone knew is told (`carnet_mirror.fsck.decided`). Nothing of an old database is taken over, because
nothing of it is signed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from carnet import times
from carnet.digests import sha256_hex
from carnet.errors import ConfigError, SigningError, StorageError
from carnet.progress import Progress
from carnet.tuf.paths import METADATA_PREFIX, ROOT, SNAPSHOT, TIMESTAMP, metadata_name
from carnet.tuf.roles import RoleFile, Snapshot
from carnet_mirror.fsck.decided import lost
from carnet_mirror.fsck.fsck import FsckReport, fsck
from carnet_mirror.fsck.signed_files import SignedFiles, follow, read_signed_chain, reader
from carnet_mirror.state.anew import alone, kept_aside, made_anew, open_alone
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.sync.takedown import withhold
from carnet_mirror.upstream.index_folder import MEMORY
from carnet_signer.metadata.publish import OnlineSigner, name_again
from carnet_signer.metadata.role_files import SNAPSHOT_LIFE

SEEN = (TIMESTAMP, SNAPSHOT, ROOT)
"""Roles of which a person may say the highest version that anybody has seen."""
_CLOCK = timedelta(minutes=5)
_BOTH = (
    "give --seen timestamp=N --seen snapshot=N, the highest that any client has seen (`carnet trust status` says them)"
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it.

    Attributes:
        report: What `fsck` found in the database that is there now.
        snapshot: The version of the snapshot that is published.
        timestamp: The version of the timestamp that is published.
        made: Whether the database was made anew; otherwise the one that was there is sound.
        lost: What only the old database knew, in words.
        aside: Where the old database is kept, when there was one.
    """

    report: FsckReport
    snapshot: int
    timestamp: int
    made: bool
    lost: tuple[str, ...] = ()
    aside: Path | None = None


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a database is made from, beside the files.

    Attributes:
        root: The first root, as clients pin it.
        connect: Reaches the online signer.
        remember: Is called with the new mirror, inside a change, to keep its settings.
        seen: The highest versions that anybody has seen, of roles in `SEEN`; needed when the signer's memory is lost.
    """

    root: bytes
    connect: Callable[[], AbstractContextManager[OnlineSigner]]
    remember: Callable[[Store], None]
    seen: Mapping[str, int]


def rebuild(
    directory: Path, anchors: Callable[[Store | None], Anchors], *, now: datetime, progress: Progress
) -> Rebuilt:
    """Make the database anew, or find that there is nothing to do.

    Args:
        directory: The mirror's.
        anchors: Asked for when there is something to do; given the old database when that can be opened.
        now: The time.
        progress: Makes the progress bars.

    Raises:
        ConfigError: Nothing of a mirror is there, a newer carnet wrote the database, or something is to be said first.
        StorageError: Somebody has the mirror open, a file is missing or damaged, or the disk failed.
        MetadataError: What is there is not signed from the pinned root on.
        FormatError: A file does not parse.
        SigningError: The online signer refused, or its memory is of another mirror or of another time.
    """
    with alone(directory):
        old = open_alone(directory)
        try:
            sound = None if old is None else _sound(old, now, progress)
            if sound is not None and not _is_behind(directory, sound):
                return sound
            asked = anchors(old)
        finally:
            if old is not None:
                old.close()
        return _make(directory, asked, sound, now, progress)


def _sound(store: Store, now: datetime, progress: Progress) -> Rebuilt | None:
    """What to say of a database that nothing is wrong with by itself; None when something is."""
    report = fsck(store, now=now, progress=progress)
    if report.problems:
        return None
    timestamp = UnverifiedView(store).timestamp
    return Rebuilt(report, timestamp.snapshot.version, timestamp.version, made=False)


def _is_behind(directory: Path, sound: Rebuilt) -> bool:
    """Whether it may have forgotten what was published, as when its log was lost; the online signer can tell."""
    return (directory / METADATA_PREFIX / metadata_name(SNAPSHOT, sound.snapshot + 1)).exists()


def _make(directory: Path, anchors: Anchors, sound: Rebuilt | None, now: datetime, progress: Progress) -> Rebuilt:
    found = read_signed_chain(directory, anchors.root)  # 2.
    with anchors.connect() as online:
        current = _current(found, online, anchors.seen)  # 3.
        if sound is not None and current.signed.version <= sound.snapshot:
            return sound  # what lies there with a higher number was given up, and nobody has seen it
        _check_clock(current, now)
        follow(
            found, reader(directory), current.signed.version, progress, listed_only=(directory / MEMORY).is_dir()
        )  # 4.
        with made_anew(directory) as store:
            root = found.roots[-1].signed
            timestamp = name_again(online, root, current, anchors.seen.get(TIMESTAMP, 0), now)  # 5.
            with store.change():
                store.enter(found.files.values(), found.crates)
                anchors.remember(store)
                store.reveal(timestamp.data)
                withhold(store, UnverifiedView(store).all_taken_down())
            report = fsck(store, now=now, progress=progress)  # 6.
            if report.problems:
                first = report.problems[0]
                raise StorageError(
                    f"the files make no sound mirror: {first.where}: {first.what}"
                    + (f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""),
                    hint="nothing was changed; put the file back from a backup or another copy of the mirror",
                )
            snapshot = current.signed.version
    return Rebuilt(report, snapshot, timestamp.version, made=True, lost=tuple(lost()), aside=kept_aside(directory))


def _current(found: SignedFiles, online: OnlineSigner, seen: Mapping[str, int]) -> RoleFile[Snapshot]:
    """The snapshot that was named last, by the memory of the signer or by the word of whoever runs this."""
    if seen.get(ROOT, 0) > len(found.roots):
        raise StorageError(
            f"root {seen[ROOT]} was seen, and the mirror's files end with root {len(found.roots)}",
            hint="put the newer roots' files back into metadata/, and try again",
        )
    newest = max(found.snapshots, default=0)
    named = online.named_snapshot()
    if named is None:
        if not {TIMESTAMP, SNAPSHOT} <= seen.keys():
            raise ConfigError(
                "the online signer remembers nothing: which versions were signed is not known", hint=_BOTH
            )
        version = newest
        if seen[SNAPSHOT] > newest:
            raise _missing(seen[SNAPSHOT], newest)
    else:
        version, sha256 = named
        ahead = max(seen.get(SNAPSHOT, 0), newest)
        if ahead > max(version, online.last_version(SNAPSHOT)) or seen.get(TIMESTAMP, 0) > online.last_version(
            TIMESTAMP
        ):
            raise SigningError(
                f"the online signer's memory ends with snapshot {version}, and newer versions were signed: it is an "
                "older copy",
                hint=f"put the newest one back; when it is lost for good, move this one away and {_BOTH}",
            )
        if version not in found.snapshots or sha256_hex(found.snapshots[version].raw) != sha256:
            raise _missing(version, newest)
    return found.snapshots[version]


def _missing(version: int, newest: int) -> StorageError:
    return StorageError(
        f"snapshot {version}, the newest that was named, is missing or damaged; the newest that is signed and there "
        f"is {newest}",
        hint="nothing was changed; put metadata/ back from a newer backup or another copy of the mirror (a root that "
        "was being published goes there from its ceremony, as N.root.json)",
    )


def _check_clock(current: RoleFile[Snapshot], now: datetime) -> None:
    made = times.moved(current.signed.expires, -SNAPSHOT_LIFE)
    if now < times.moved(made, -_CLOCK):
        said = times.written(now)
        raise ConfigError(
            f"this machine's clock says {said}, and the newest snapshot was signed at {times.written(made)}",
            hint="compare the clock with another one and set it",
        )
