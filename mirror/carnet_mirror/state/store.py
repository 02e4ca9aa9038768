"""What a mirror keeps: state in a database, and files that never change once they are published.

::

    DIR/mirror.db            versions, index lines, where each came from, timestamp.json
    DIR/metadata/            <N>.<role>.json
    DIR/targets/             index/se/rd/<sha256>.serde, and what claimed crates publish
    DIR/blobs/<hh>/<sha256>  tarballs of unclaimed crates

A publish has three phases. *Staged* files are on the disk under names that nothing refers to; when the change fails,
their rows go. *Sealed* with their snapshot they are committed: neither served nor counted, but durable before a
timestamp is signed. *Revealed* with the timestamp they become what is published, in one transaction. A crash leaves the
old publication or the new one; what is sealed is then completed or dropped by the next writer, depending on whether its
timestamp was ever signed (see `carnet_mirror.writing`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from carnet import durable, strictjson
from carnet.cargo.names import CrateName
from carnet.digests import sha256_hex
from carnet.errors import ConfigError, StorageError
from carnet.lock import locked, take_folder
from carnet.tuf.paths import METADATA_PREFIX, ROOT, SNAPSHOT, TIMESTAMP, metadata_name
from carnet_mirror.state.crates import Crates
from carnet_mirror.state.disk import Disk, DiskRules
from carnet_mirror.state.files import FOLDERS, Files, blob_path, check_path
from carnet_mirror.state.pending import Pending
from carnet_mirror.state.records import StoredFile, StoredVersion
from carnet_mirror.state.schema import SETTINGS
from carnet_mirror.state.sqlite import Database
from carnet_mirror.state.superseded import Superseded

DATABASE = "mirror.db"
_TIMESTAMP = METADATA_PREFIX + metadata_name(TIMESTAMP, None)
_SEALED = "staged"
"""The setting that holds version and sha256 of the snapshot that was sealed last, until it is revealed or dropped."""
WITHHELD = "withheld"
"""The setting that holds, as JSON, the files that are kept and not served, each with the reason."""
_LOCK_WAIT = 10.0
"""Seconds that a writer waits for another one: longer than a re-signing, shorter than a person's patience."""
REBUILD = "`carnet mirror fsck DIR --rebuild` makes it anew from the files"


class Store:
    """A mirror's directory. Implements `carnet_signer.metadata.publication.Publication`.

    Reading needs no lock: what is published changes in one transaction. Writing happens inside `change`.

    Attributes:
        directory: Where it is.
        files: Its immutable files.
        crates: Its crates and their versions.
        pending: Claims and takeovers that wait.
        superseded: Files that the newest snapshot does not lead to.
        disk: How much room there is, and what is kept for how long.
    """

    def __init__(
        self, directory: Path, database: Database, held: int | None = None, rules: DiskRules | None = None
    ) -> None:
        """Bring the parts together.

        Args:
            directory: Where it is.
            database: Its database.
            held: The directory's descriptor, on which this store has a lock; closed with it.
            rules: What the operator says of the disk.
        """
        self.directory = directory
        self._held = held
        self.files = Files(directory, database)
        self.crates = Crates(database)
        self.pending = Pending(database)
        self.superseded = Superseded(database)
        self.disk = Disk(directory, rules or DiskRules())
        self._database = database
        self._changing = False

    @classmethod
    def create(cls, directory: Path) -> Store:
        """Make an empty mirror.

        Raises:
            ConfigError: Something is there already.
            StorageError: The disk failed.
        """
        if (directory / DATABASE).exists():
            raise ConfigError(f"{directory} holds a mirror already", hint="choose another directory")
        try:
            durable.make_folder(directory)
            if any(directory.iterdir()):
                raise ConfigError(f"{directory} is not empty", hint="a new mirror needs an empty directory of its own")
            for folder in FOLDERS:
                durable.make_folder(directory / folder)
        except OSError as error:
            raise StorageError(f"cannot make {directory}: {error.strerror}") from None
        with _in_use(directory) as held:
            return cls(directory, Database.create(directory / DATABASE), held)

    @classmethod
    def open(cls, directory: Path, *, write: bool = False, rules: DiskRules | None = None) -> Store:
        """Open a mirror that `create` made; until it is closed nobody makes its database anew.

        Args:
            directory: Where it is.
            write: Whether it may be changed.
            rules: What its operator says of the disk.

        Raises:
            ConfigError: There is none.
            StorageError: Its database is lost, damaged, or not kept durably, or is being made anew.
        """
        check_there(directory)
        with _in_use(directory) as held:
            return cls(directory, Database.open(directory / DATABASE, write=write), held, rules)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one writer ---

    @contextmanager
    def change(self, *, wait: float = _LOCK_WAIT) -> Iterator[None]:
        """Be the only writer. What is neither sealed nor revealed when an error leaves the block is undone.

        Args:
            wait: Seconds to wait for another writer.

        Raises:
            StorageError: Another process is writing to this mirror, or the disk failed.
        """
        busy = StorageError(
            f"another process is writing to the mirror in {self.directory}",
            hint="wait until it has finished, then try again",
        )
        with locked(self.directory / "lock", timeout=wait, busy=busy), self._database.change():
            self._changing = True
            try:
                yield
            finally:
                self._changing = False

    def sealed(self) -> tuple[int, str] | None:
        """Version and sha256 of the snapshot of a publish that was interrupted, or None."""
        version, _, sha256 = (self.setting(_SEALED) or "").partition(" ")
        return (int(version), sha256) if version.isdecimal() else None

    def drop(self) -> None:
        """Forget what is staged or sealed, inside a `change`; its files stay on the disk: nothing refers to them."""
        self.files.drop()
        self.crates.drop()
        self._unseal()

    def _unseal(self) -> None:
        self._database.execute("DELETE FROM settings WHERE key = ?", _SEALED)

    # --- Publication ---

    def read(self, path: str) -> bytes | None:
        """What is published, staged or sealed under a path of the repository, or None.

        Raises:
            StorageError: It should be there and cannot be read.
        """
        if path == _TIMESTAMP:
            row = self._database.row("SELECT body FROM documents WHERE path = ?", path)
            return None if row is None else bytes(row[0])
        file = self.files.known(path)
        return None if file is None else self.files.read(file)

    def served(self, path: str) -> bytes | None:
        """What clients get under a path of the repository: what is staged and not published yet is not there for them.

        Raises:
            StorageError: It should be there and cannot be read.
        """
        if path == _TIMESTAMP:
            return self.read(path)
        file = self.files.published(path)
        return None if file is None else self.files.read(file)

    def stage(self, files: Mapping[str, bytes]) -> None:
        """Keep files of the repository, durably and not visible yet.

        Raises:
            StorageError: The disk failed, or a name has other bytes already.
            FormatError: A path is none of a repository's.
        """
        for path, data in files.items():
            check_path(path, data)
        self._demand_change()
        self.files.stage(files)

    def stage_tarballs(self, tarballs: Iterable[bytes]) -> None:
        """Keep tarballs of unclaimed crates under their sha256 (see `blob_path`), as `stage` does."""
        self._demand_change()
        self.files.stage({blob_path(sha256_hex(data)): data for data in tarballs})

    def seal(self, version: int, snapshot: bytes) -> None:
        """Commit the snapshot and all that is staged, as one; somebody signs a timestamp for it next.

        Raises:
            StorageError: The disk failed, or the snapshot has other bytes already.
        """
        self.stage({METADATA_PREFIX + metadata_name(SNAPSHOT, version): snapshot})
        self.put_setting(_SEALED, f"{version} {sha256_hex(snapshot)}")
        self._database.commit()

    def reveal(self, timestamp: bytes, new_root: tuple[int, bytes] | None = None) -> None:
        """Let clients see the timestamp, the new root, and all that is staged or sealed, in one transaction.

        Raises:
            StorageError: The disk failed, or the root has other bytes already: clients see what they saw before.
        """
        self._demand_change()
        if new_root is not None:
            version, data = new_root
            self.stage({METADATA_PREFIX + metadata_name(ROOT, version): data})
        self._database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", _TIMESTAMP, timestamp)
        self.files.publish()
        self.crates.publish()
        self._unseal()
        self._database.commit()

    def enter(self, files: Iterable[StoredFile], crates: Iterable[tuple[CrateName, list[StoredVersion]]]) -> None:
        """Enter what lies on the disk already and was verified by the caller, into a database that is made anew.

        Raises:
            StorageError: SQLite failed.
        """
        self._demand_change()
        self.files.enter(files)
        for name, versions in crates:
            self.crates.stage(name, versions)

    def prune(self, paths: Sequence[str]) -> None:
        """Take files away that nobody can ask for any more, inside a change with nothing staged: rows, then files.

        Killed between the two, they are still superseded, and go the next time.

        Raises:
            StorageError: The disk failed: some files may lie there that nothing refers to.
        """
        self._demand_change()
        places = [self.files.place(StoredFile(path, "", 0)) for path in paths]
        self.files.forget(paths)
        self._database.commit()
        for place in places:
            with durable.as_storage_error(place):
                place.unlink(missing_ok=True)
        self.superseded.forget(paths)

    def settle(self) -> None:
        """Let the database file be whole by itself, without a log beside it; the store is closed next."""
        self._database.settle()

    def _demand_change(self) -> None:
        if not self._changing:
            raise StorageError("nothing is written to a mirror outside of a change")

    # --- the rest ---

    def lies_there(self, path: str, sha256: str) -> bool:
        """Whether a file of this sha256 is on the disk, whatever the database says of it."""
        try:
            return sha256_hex((self.directory / path).read_bytes()) == sha256
        except OSError:
            return False

    def withheld(self, path: str) -> str | None:
        """Why a file below the mirror's directory is kept and not served, or None."""
        files = self.setting(WITHHELD)
        if files is None or f'"{path}"' not in files:
            return None
        return str(strictjson.parse_object(files.encode(), WITHHELD, max_bytes=len(files.encode())).get(path))

    def published_index(self, path: str) -> StoredFile | None:
        """The sparse-index file that cargo gets under `index/<prefix>/<name>`, or None."""
        place = self.crates.index_place(path)
        return None if place is None else self.files.published(place)

    def setting(self, key: str) -> str | None:
        """One of the mirror's settings, or None."""
        row = self._database.row("SELECT value FROM settings WHERE key = ?", key)
        return None if row is None else str(row[0])

    def put_setting(self, key: str, value: str) -> None:
        """Remember a setting, inside a `change`; each key stands in `carnet_mirror.state.schema.SETTINGS`."""
        if key not in SETTINGS:
            raise StorageError(f"{key!a} is no setting of a mirror")
        self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", key, value)

    def forget_setting(self, key: str) -> None:
        """Remember one of the settings no longer, inside a `change`."""
        self._database.execute("DELETE FROM settings WHERE key = ?", key)

    @contextmanager
    def copied(self, directory: Path) -> Iterator[Store]:
        """A copy of the database, in a folder of its own and without what is not published; files are not copied.

        Args:
            directory: An empty folder.

        Raises:
            StorageError: SQLite or the disk failed.
        """
        self._database.copy_to(directory / DATABASE)
        with Store(directory, Database.open(directory / DATABASE, write=True)) as copy:
            with copy.change():
                copy.drop()
            copy.settle()
            yield copy

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Read one state of the database throughout, whatever is published meanwhile."""
        with self._database.frozen():
            yield

    def was_pruned(self, path: str) -> bool:
        """Whether a file is not published any more, by the newest state and not the one that is `frozen`."""
        with closing(Database.open(self._database.path, write=False)) as newest:
            return Files(self.directory, newest).published(path) is None

    def integrity(self) -> list[str]:
        """What is wrong with the database file by its own account; empty when it is sound."""
        return self._database.integrity()


def check_there(directory: Path) -> None:
    """Demand a mirror's database.

    Raises:
        ConfigError: Nothing of a mirror is there.
        StorageError: Only its files are there.
    """
    if (directory / DATABASE).is_file():
        return
    if not any((directory / folder).is_dir() for folder in FOLDERS):
        raise ConfigError(f"{directory} holds no mirror", hint="`carnet mirror init` makes one")
    if (directory / METADATA_PREFIX / metadata_name(ROOT, 1)).is_file():
        raise StorageError(
            f"{directory} holds the files of a mirror, and its database {DATABASE} is gone",
            hint=f"put it back from a backup, or {REBUILD}",
        )
    raise StorageError(
        f"{directory} holds a part of a mirror: its database {DATABASE} and its folder {METADATA_PREFIX[:-1]} are gone",
        hint="put both back from a backup; where another copy of the mirror has the folder, that one and then "
        "`carnet mirror fsck DIR --rebuild`",
    )


@contextmanager
def _in_use(directory: Path) -> Iterator[int]:
    """Keep others from making the database anew; the lock outlives the block unless an error leaves it."""
    busy = StorageError(
        f"the database of the mirror in {directory} is being made anew",
        hint="wait for `carnet mirror fsck --rebuild` to end, then try again",
    )
    held = take_folder(directory, alone=False, timeout=_LOCK_WAIT, busy=busy)
    try:
        yield held
    except BaseException:
        os.close(held)
        raise
