"""A mirror as one file, while it serves and syncs run.

1. the database is copied as it stands at one moment (SQLite's backup API); what is not published leaves the copy, and
   so does what is superseded: it may be taken away at any time, and a mirror that is restored signs all of it anew
2. what the online signer remembers is read after that: so it knows of everything that the copy holds; and so is what
   was seen of mirrors that are upstreams
3. every file that the copy lists is written into the archive, and compared with the sha256 that the copy says
4. the archive gets its name once all of it is on the disk

No private key is in it: the mirror has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from carnet import durable
from carnet.errors import ConfigError
from carnet.progress import Progress
from carnet.scratch import temporary_folder
from carnet_mirror.backup.archive import HEADER, MEMORY, ArchiveWriter, BackupHeader, contents
from carnet_mirror.backup.upstreams import seen_of_upstreams
from carnet_mirror.pruning import leave_out
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.records import StoredFile
from carnet_mirror.state.store import DATABASE, Store

_MOST = (8 << 30) - 1
"""Bytes of a database: a plain tar header says no more."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What was written.

    Attributes:
        header: What the back-up says of itself.
        crates: How many crates it holds.
        versions: And how many versions.
        size: Its length in bytes.
    """

    header: BackupHeader
    crates: int
    versions: int
    size: int


def backup(
    store: Store,
    file: Path,
    memory: Callable[[], Mapping[str, bytes]] | None,
    *,
    now: datetime,
    progress: Progress,
) -> BackedUp:
    """Write a back-up.

    Args:
        store: The mirror; others may read and write it meanwhile.
        file: The archive, which must not exist yet.
        memory: Reads what the online signer remembers, by file name; None when that is kept apart.
        now: The time.
        progress: Makes the progress bars.

    Raises:
        ConfigError: The file exists.
        StorageError: A file of the mirror cannot be read, or the disk failed; there is no new file.
        FormatError: A file of the mirror is damaged; there is no new file.
    """
    taken = ConfigError(f"{file} exists", hint="name a new file: a back-up never takes another one's place")
    if file.exists() or file.is_symlink():
        raise taken
    with temporary_folder() as scratch, store.copied(scratch) as copy:  # 1.
        leave_out(copy, store)
        remembered = {} if memory is None else {MEMORY + name: data for name, data in memory().items()}  # 2.
        remembered |= seen_of_upstreams(store.directory)
        database = durable.read_file(scratch / DATABASE, "database", max_bytes=_MOST)
        files = copy.files.all_published()
        timestamp = UnverifiedView(copy).timestamp
        own = {DATABASE: database}
        header = BackupHeader(
            now,
            timestamp.snapshot.version,
            timestamp.version,
            len(files),
            (*contents(own), *contents(remembered)),
        )
        try:
            with durable.creating(file) as target:  # 4.
                archive = ArchiveWriter(target, now)
                first = header.to_bytes()
                archive.add(StoredFile.of(HEADER, first), first)
                for one in header.inside:
                    archive.add(one, {**own, **remembered}[one.path])
                with progress("copying files", len(files)) as count:  # 3.
                    for one in files:
                        archive.add(one, store.files.read(one))
                        count(1)
                archive.finish()
                size = target.tell()
        except FileExistsError:
            raise taken from None
        crates, versions = copy.crates.count()
    return BackedUp(header, crates, versions, size)
