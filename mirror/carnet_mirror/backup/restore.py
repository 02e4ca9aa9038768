"""A mirror out of a back-up, which goes on above everything that anybody has seen.

1. the folder is new or empty; nobody else has it open
2. whoever runs this says what clients have seen since, unless the online signer's own memory is newer than the archive
3. every file of the archive is written, with the sha256 that is said of it; nothing counts as a mirror yet; what was
   seen of upstreams comes back as far as their pinned roots prove it (`carnet_mirror.backup.upstreams`)
4. what `fsck` finds refuses it
5. what a copy of the published files has of later is taken up (`carnet_mirror.backup.later`), and newer files of
   offline roles from a ceremony; what the signer has named and is still missing refuses it
6. every bin, the snapshot and the timestamp are signed once, with versions above all of those; `fsck` looks again
7. the database takes its place: from now on there is a mirror

An older back-up is a rollback, as clients see it, and they are right: signing past what they have seen is what makes it
a newer state. What people signed since cannot be made here; it has to be brought.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from carnet import durable
from carnet.errors import ConfigError, SigningError, StorageError
from carnet.lock import take_folder
from carnet.progress import Progress
from carnet.tuf.paths import ROOT, SNAPSHOT, TIMESTAMP
from carnet.tuf.tree import is_bin
from carnet_mirror.backup.archive import MEMORY, ArchiveReader, BackupHeader, reading
from carnet_mirror.backup.later import Later, take_later
from carnet_mirror.backup.upstreams import put_back
from carnet_mirror.fsck.fsck import FsckReport, fsck
from carnet_mirror.state.anew import made_anew
from carnet_mirror.state.files import FOLDERS
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.sqlite import Database
from carnet_mirror.state.store import DATABASE, Store
from carnet_mirror.upstream.index_folder import MEMORY as WHOLE_INDEX
from carnet_mirror.upstream.mirror import MEMORIES
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner, PublishResult, SignerAbove
from carnet_verifier.net.fetch import Fetcher

MARK = "restoring"
"""The file that says that a folder's restore has not ended: what lies there is nobody's yet."""
GIVEN_UP = 1_000
"""A bin's version grows by one with a snapshot's, and by one more each time a publish was given up: so many at most."""
_BATCH = 64 << 20
_BESIDE = (*FOLDERS, MEMORIES, WHOLE_INDEX)
_OURS = frozenset((MARK, "lock", *_BESIDE, *(f"{DATABASE}.new{end}" for end in ("", "-wal", "-shm", "-journal"))))
"""All that a restore may leave where it is killed."""


@dataclass(frozen=True, slots=True)
class OnlineMeans:
    """What a mirror is restored with, beside the archive.

    Attributes:
        connect: Reaches the online signer, whose memory may be a new one.
        remember: Is called with the mirror, inside a change, to keep its settings.
        versions: The highest version of each role in the signer's own memory; None where only the signer reads that.
    """

    connect: Callable[[], AbstractContextManager[OnlineSigner]]
    remember: Callable[[Store], None]
    versions: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody says that clients have seen, or that holders have signed since.

    Attributes:
        versions: The highest version of timestamp, snapshot or root; both of the first two or none.
        ceremonies: Newer files of offline roles, by role, in the order in which they are published.
        copy: Opens a copy of the published files that is newer than the back-up.
    """

    versions: Mapping[str, int]
    ceremonies: Sequence[Mapping[str, bytes]] = ()
    copy: Callable[[], AbstractContextManager[Fetcher]] | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it.

    Attributes:
        header: What the back-up says of itself.
        report: What `fsck` found.
        published: What was signed.
        later: What was taken from a copy, when there was one.
    """

    header: BackupHeader
    report: FsckReport
    published: PublishResult
    later: Later | None = None


def restore(
    file: Path,
    directory: Path,
    means: Callable[[Store], OnlineMeans],
    remembered: Callable[[Mapping[str, bytes]], Mapping[str, int]],
    seen: Seen,
    *,
    now: datetime,
    progress: Progress,
) -> Restored:
    """Restore a mirror; see the module.

    Args:
        file: The archive.
        directory: Where; it must not exist, or be empty. What a restore that was killed left there is begun again.
        means: Asked once the database is there, whose settings may say where the online signer is.
        remembered: Reads the versions out of the files of a memory.
        seen: What somebody knows.
        now: The time.
        progress: Makes the progress bars.

    Raises:
        ConfigError: The folder is in use for something else, the archive is none, or it must be said what was seen.
        StorageError: The mirror is damaged, the disk failed, or what people signed is missing. Nothing is left behind.
        SigningError: The online signer refused, or its memory is older than the back-up.
        MetadataError: A newer file of an offline role is not what its delegator demands.
    """
    with (
        reading(file) as archive,
        _room(directory),
        made_anew(directory, lambda path: _database(archive, path)) as store,  # 7.
    ):
        header = archive.header
        inside = {one.path: archive.read(one) for one in header.inside[1:]}
        of_signer = {path: data for path, data in inside.items() if path.startswith(MEMORY)}
        kept = remembered({path.removeprefix(MEMORY): data for path, data in of_signer.items()})
        told = means(store)
        if told.versions is not None:  # before anybody looks for a passphrase
            _demand_seen(store, _words(header), told.versions.get(TIMESTAMP, 0), seen)
        with told.connect() as online:
            _demand_seen(store, _words(header), online.last_version(TIMESTAMP), seen)  # 2.
            _unpack(archive, store, progress)  # 3.
            put_back(directory, {path: data for path, data in inside.items() if path not in of_signer})
            report = _demand_sound(store, f"{file} holds", now, progress)  # 4.
            later = None
            if seen.copy is not None:  # 5.
                with seen.copy() as fetcher:
                    later = take_later(store, fetcher, now=now, progress=progress)
                _demand_seen(store, "the copy", online.last_version(TIMESTAMP), seen)
            _check_roles(UnverifiedView(store), told.versions or {}, seen)
            published = _sign_past(store, online, kept, told.remember, seen, now)  # 6.
            if later is not None:
                report = _demand_sound(store, "back-up and copy make", now, progress)
            if UnverifiedView(store).lists_only():  # a rebuild knows by it that tarballs may never have come
                durable.private_folder(directory / WHOLE_INDEX)
    return Restored(header, report, published, later)


def _words(header: BackupHeader) -> str:
    return f"the back-up of {header.made:%Y-%m-%d %H:%M} UTC"


def _database(archive: ArchiveReader, path: Path) -> Database:
    durable.create_file(path, archive.read(archive.header.inside[0]), mode=0o600)
    database = Database.open(path, write=True)
    try:
        database.demand_own_tables()
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _room(directory: Path) -> Iterator[None]:
    """Make the folder and keep others out of it; what was put there is taken away when an error leaves the block."""
    existed = directory.exists()
    durable.make_folder(directory)
    busy = StorageError(f"{directory} is in use", hint="wait for the other restore to end, or name another folder")
    held = take_folder(directory, alone=True, timeout=1.0, busy=busy)
    try:
        _claim(directory)
        try:
            for folder in FOLDERS:
                durable.make_folder(directory / folder)
            yield
        except BaseException:
            if not (directory / DATABASE).exists():
                _clear(directory)
                if not existed:
                    directory.rmdir()
            raise
        (directory / MARK).unlink()
        durable.sync_folder(directory)
    finally:
        os.close(held)


def _claim(directory: Path) -> None:
    """Demand a folder that is empty but for what a restore that was killed left there, and mark it."""
    if (directory / MARK).exists():
        durable.sweep(directory)
    there = {path.name for path in directory.iterdir()}
    if DATABASE in there:
        raise ConfigError(f"{directory} holds a mirror already", hint="restore into a new folder, and compare the two")
    if there and (MARK not in there or there - _OURS):
        raise ConfigError(f"{directory} is not empty", hint="restore into a new folder, or an empty one")
    if there:
        _clear(directory)
    with durable.as_storage_error(directory):
        (directory / MARK).touch(mode=0o600)  # in one call: nothing else may be left where this is killed
    durable.sync_folder(directory)


def _clear(directory: Path) -> None:
    with durable.as_storage_error(directory):
        for name in (*sorted(_OURS - {MARK}), MARK):  # the mark last: until then, the rest is known for what it is
            path = directory / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _unpack(archive: ArchiveReader, store: Store, progress: Progress) -> None:
    """Write exactly the files that the database lists; each path is one that a mirror's file may have."""
    files = store.files.all_published()
    batch: dict[str, bytes] = {}
    folder, size = Path(), 0
    with progress("writing files", len(files)) as count:
        for file in files:
            place, data = store.files.place(file), archive.read(file)
            if batch and (place.parent != folder or size > _BATCH):
                durable.make_folder(folder)
                durable.write_files(folder, batch)
                count(len(batch))
                batch, size = {}, 0
            folder, size = place.parent, size + len(data)
            batch[place.name] = data
        if batch:
            durable.make_folder(folder)
            durable.write_files(folder, batch)
            count(len(batch))
    archive.finish()


def _demand_seen(store: Store, what: str, signed: int, seen: Seen) -> None:
    """Demand to know what clients have seen: from a signer that has signed more than is there, or a person."""
    timestamp = UnverifiedView(store).timestamp
    if 0 < signed < timestamp.version:
        raise SigningError(
            f"the online signer remembers timestamp {signed}, and {what} has {timestamp.version}: its memory is an "
            "older copy",
            hint="move that memory away, so that another one begins, and say what clients have seen with --seen",
        )
    if signed <= timestamp.version and not {TIMESTAMP, SNAPSHOT} <= seen.versions.keys():
        raise ConfigError(
            f"say what clients have seen: {what} ends with timestamp {timestamp.version} and snapshot "
            f"{timestamp.snapshot.version}, and the online signer remembers nothing newer",
            hint="--seen timestamp=N --seen snapshot=N, the highest of any client: `carnet trust status` says them",
        )


def _demand_sound(store: Store, what: str, now: datetime, progress: Progress) -> FsckReport:
    report = fsck(store, now=now, progress=progress)
    if report.problems:
        first = report.problems[0]
        raise StorageError(
            f"{what} no sound mirror: {first.where}: {first.what}"
            + (f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""),
            hint="nothing was restored; take another back-up, or another copy",
        )
    return report


def _sign_past(
    store: Store,
    online: OnlineSigner,
    kept: Mapping[str, int],
    remember: Callable[[Store], None],
    seen: Seen,
    now: datetime,
) -> PublishResult:
    past = SignerAbove(online, _floors(UnverifiedView(store), online, kept, seen))
    with writing(store, online, now=now, memory_lost=online.last_version(TIMESTAMP) == 0):
        remember(store)
        first, *later = [Change(roles=roles) for roles in seen.ceremonies] or [Change()]
        published = publish(store, past, first, now=now, whole=True)
        for change in later:
            published = publish(store, past, change, now=now)
    return published


def _floors(view: UnverifiedView, online: OnlineSigner, kept: Mapping[str, int], seen: Seen) -> dict[str, int]:
    """What was seen of each role that the online keys sign: of bins nobody says it, and snapshots bound it."""
    before = {TIMESTAMP: view.timestamp.version, SNAPSHOT: view.timestamp.snapshot.version}
    floors = {role: max(kept.get(role, 0), version, seen.versions.get(role, 0)) for role, version in before.items()}
    later = floors[SNAPSHOT] - before[SNAPSHOT]
    unknown = floors[SNAPSHOT] > online.last_version(SNAPSHOT)  # else it remembers the bins too
    for role, meta in view.snapshot.meta.items():
        if is_bin(role):
            floors[role] = max(kept.get(role, 0), meta.version) + (later + GIVEN_UP if unknown else 0)
    return floors


def _check_roles(view: UnverifiedView, named: Mapping[str, int], seen: Seen) -> None:
    """Demand every file that people signed and the online signer has named: nobody else can make it again."""
    brought: dict[str, int] = {}
    for roles in seen.ceremonies:
        brought |= dict.fromkeys(roles, 1)
    roots = len(view.root_versions()) + sum(ROOT in roles for roles in seen.ceremonies)
    if seen.versions.get(ROOT, 0) > roots:
        raise StorageError(
            f"root {seen.versions[ROOT]} was seen, and the back-up ends with root {len(view.root_versions())}",
            hint="--from FOLDER_OR_URL brings them from a copy of what was published, and --ceremony FOLDER as the "
            "holders signed them; repeatable",
        )
    lacking = [
        f"{role} {version}"
        for role, version in sorted(named.items())
        if role not in (TIMESTAMP, SNAPSHOT)
        and not is_bin(role)
        and role not in brought
        and version > (view.snapshot.meta[role].version if role in view.snapshot.meta else 0)
    ]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise StorageError(
            f"the back-up is older than what people signed since and clients may have seen: {', '.join(lacking[:5])}"
            f"{more}",
            hint="--from FOLDER_OR_URL brings all of it from an export or a mirror that shows a later state, and "
            "--ceremony FOLDER what holders signed. Where none is to be had, restore with --memory NEWFOLDER and "
            "--seen: clients refuse this mirror until owners and release keys hand theirs in again",
        )
