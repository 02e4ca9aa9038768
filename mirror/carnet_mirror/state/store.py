"""What a mirror keeps: state in SQLite, and files that never change once they are published.

::

    DIR/mirror.db            versions, index lines, where each came from, timestamp.json
    DIR/metadata/            <N>.<role>.json
    DIR/targets/             index/se/rd/<sha256>.serde, and what claimed crates publish
    DIR/blobs/<hh>/<sha256>  tarballs of unclaimed crates

Files are written first, under names that nothing refers to yet. With the snapshot, all that a publish brings is
committed as *staged*: neither served nor counted, and durable before the online signer is asked for a timestamp. With
`timestamp.json` it becomes what is published, in one transaction. A crash leaves the old publication or the new one;
what is staged is then completed or dropped by the next writer, depending on whether its timestamp was ever signed (see
`carnet_mirror.writing`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from carnet import durable
from carnet.cargo.index_line import IndexFile
from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.errors import ConfigError, FormatError, StorageError, VerificationError
from carnet.tuf.paths import METADATA_PREFIX, TARGETS_PREFIX, check_target_path, index_path, metadata_name
from carnet_mirror.state import schema
from carnet_mirror.state.records import RawVersion, StoredFile, StoredVersion, stored_version

DATABASE = "mirror.db"
BLOBS = "blobs"
_TIMESTAMP = METADATA_PREFIX + metadata_name("timestamp", None)
_HASHED = re.compile(r"([0-9a-f]{64})\.")
_FILE = re.compile(r"(?:metadata|targets|blobs)/[A-Za-z0-9_.+/-]+\Z")
_SNAPSHOT = re.compile(r"metadata/([1-9][0-9]{0,18})\.snapshot\.json\Z")
_METADATA = re.compile(r"metadata/[1-9][0-9]{0,18}\.[A-Za-z0-9_.-]{1,100}\.json\Z")
_SELECT_VERSIONS = "SELECT line, length, path, upstream, pubtime_source, first_seen FROM versions WHERE canonical = ?"
_STAGED = "staged"
"""The setting that holds version and sha256 of the snapshot that was staged last."""
_PUT_VERSION = """
INSERT OR REPLACE INTO staged_versions
    (canonical, version, checksum, length, path, line, upstream, pubtime_source, first_seen, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_CRATE = """
INSERT OR REPLACE INTO staged_crates (canonical, name, index_sha256) VALUES (?, ?, ?)
"""
_PUBLISH_STAGED = (
    "INSERT INTO crates SELECT * FROM staged_crates WHERE true"
    " ON CONFLICT (canonical) DO UPDATE SET index_sha256 = excluded.index_sha256",
    "INSERT OR REPLACE INTO versions SELECT * FROM staged_versions",
    "UPDATE files SET published = 1 WHERE published = 0",
)
_CLEAR_STAGED = (
    "DELETE FROM staged_versions",
    "DELETE FROM staged_crates",
    "DELETE FROM settings WHERE key = 'staged'",
)
_DROP_STAGED = ("DELETE FROM files WHERE published = 0", *_CLEAR_STAGED)
_LOCK_WAIT = 10.0
"""Seconds that a writer waits for another one: longer than a re-signing, shorter than a person's patience."""


class Store:
    """A mirror's directory. Implements `carnet_signer.metadata.publish.Publication`.

    Reading needs no lock: what is published changes in one transaction. Writing happens inside `change`.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self.directory = directory
        self._connection = connection
        self._changing = False
        self._revealed = False

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
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise ConfigError(f"{directory} is not empty", hint="a new mirror needs an empty directory of its own")
            for folder in ("metadata", "targets", BLOBS):
                (directory / folder).mkdir()
        except OSError as error:
            raise StorageError(f"cannot make {directory}: {error.strerror}") from None
        return cls(directory, schema.create(directory / DATABASE))

    @classmethod
    def open(cls, directory: Path, *, write: bool = False) -> Store:
        """Open a mirror that `create` made.

        Raises:
            ConfigError: There is none.
            StorageError: Its database is damaged, or not kept durably.
        """
        return cls(directory, schema.connect(directory / DATABASE, write=write))

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one writer, one transaction ---

    @contextmanager
    def change(self, *, wait: float = _LOCK_WAIT) -> Iterator[None]:
        """Be the only writer. What is not yet committed when an error leaves the block is undone.

        Args:
            wait: Seconds to wait for another writer.

        Raises:
            StorageError: Another process is writing to this mirror, or the disk failed.
        """
        lock = FileLock(self.directory / "lock", timeout=wait)
        try:
            lock.acquire()
        except Timeout:
            raise StorageError(
                f"another process is writing to the mirror in {self.directory}",
                hint="wait until it has finished, then try again",
            ) from None
        except OSError as error:
            raise StorageError(f"cannot lock {self.directory}: {error.strerror}") from None
        try:
            self._execute("BEGIN IMMEDIATE")
            self._changing, self._revealed = True, False
            try:
                yield
                self._commit()
                # All is durable. Emptying the log is for the database file to be whole by itself.
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._changing = False
                if self._connection.in_transaction:
                    self._connection.rollback()
        finally:
            lock.release()

    def _commit(self) -> None:
        if self._connection.in_transaction:
            self._execute("COMMIT")

    def staged_snapshot(self) -> tuple[int, str] | None:
        """Version and sha256 of the snapshot of a publish that was interrupted, or None."""
        version, _, sha256 = (self.setting(_STAGED) or "").partition(" ")
        return (int(version), sha256) if version.isdecimal() else None

    def drop_staged(self) -> None:
        """Forget what is staged, inside a `change`; its files stay on the disk, where nothing refers to them."""
        for statement in _DROP_STAGED:
            self._execute(statement)

    # --- Publication ---

    def read(self, path: str) -> bytes | None:
        """What is published, or staged, under a path of the repository, or None.

        Raises:
            StorageError: It should be there and cannot be read.
        """
        if path == _TIMESTAMP:
            row = self._row("SELECT body FROM documents WHERE path = ?", path)
            return None if row is None else bytes(row[0])
        row = self._row("SELECT path, sha256, length FROM files WHERE path = ?", path)
        return None if row is None else self.read_file(StoredFile(*row))

    def write(self, path: str, data: bytes) -> None:
        """Keep a file of the repository, durably; it is published with the next timestamp.

        Raises:
            StorageError: The disk failed, or a published file would change.
            FormatError: The path is none of a repository's.
        """
        if not self._changing:
            raise StorageError("nothing is written to a mirror outside of a change")
        if path == _TIMESTAMP:
            self._execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", path, data)
            for statement in (*_PUBLISH_STAGED, *_CLEAR_STAGED):
                self._execute(statement)
            self._commit()
            self._execute("BEGIN IMMEDIATE")
            self._revealed = True  # a new root may follow, and counts at once
            return
        self._check_path(path, data)
        self._keep({path: data})
        snapshot = _SNAPSHOT.match(path)
        if snapshot is not None:
            self.put_setting(_STAGED, f"{snapshot[1]} {sha256_hex(data)}")
            self._commit()  # the next thing that happens is that somebody signs a timestamp for it
            self._execute("BEGIN IMMEDIATE")

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Keep several files, as `write`."""
        single = {path: data for path, data in files.items() if path == _TIMESTAMP}
        for path, data in single.items():
            self.write(path, data)
        rest = {path: data for path, data in files.items() if path not in single}
        for path, data in rest.items():
            self._check_path(path, data)
        if rest and not self._changing:
            raise StorageError("nothing is written to a mirror outside of a change")
        self._keep(rest)

    def add_tarballs(self, tarballs: Iterable[bytes]) -> None:
        """Keep tarballs under their sha256 (see `blob_path`); they are published with the next timestamp."""
        self._keep({blob_path(sha256_hex(data)): data for data in tarballs})

    def _keep(self, files: Mapping[str, bytes]) -> None:
        folders: dict[str, dict[str, bytes]] = {}
        rows: list[StoredFile] = []
        for path, data in files.items():
            file = StoredFile(path, sha256_hex(data), len(data))
            row = self._row("SELECT path, sha256, length FROM files WHERE path = ?", path)
            if row is not None and StoredFile(*row) != file:
                raise StorageError(f"{path} is published already, with other bytes")
            if row is None:
                folder, _, name = path.rpartition("/")
                folders.setdefault(folder, {})[name] = data
                rows.append(file)
        for folder, group in folders.items():
            durable.make_folder(self.directory / folder)
            durable.write_files(self.directory / folder, group)
        for file in rows:
            self._execute(
                "INSERT INTO files VALUES (?, ?, ?, ?)", file.path, file.sha256, file.length, int(self._revealed)
            )

    @staticmethod
    def _check_path(path: str, data: bytes) -> None:
        if path.startswith(METADATA_PREFIX):
            if _METADATA.match(path) is None:
                raise FormatError(f"{path[:80]!a} is not the path of a role's metadata")
        elif path.startswith(TARGETS_PREFIX):
            check_target_path(path.removeprefix(TARGETS_PREFIX))
            named = _HASHED.match(path.rpartition("/")[2])
            if named is None or named[1] != sha256_hex(data):
                raise FormatError(f"{path[:80]!a} does not carry the sha256 of its bytes")
        else:
            raise FormatError(f"{path[:80]!a} is not a path of a repository")

    # --- files ---

    def file(self, path: str) -> StoredFile | None:
        """The immutable file at a path below the mirror's directory, when it is published."""
        row = self._row("SELECT path, sha256, length FROM files WHERE path = ? AND published = 1", path)
        return None if row is None else StoredFile(*row)

    def files(self) -> list[StoredFile]:
        """Every immutable file that is published, by path."""
        rows = self._rows("SELECT path, sha256, length FROM files WHERE published = 1 ORDER BY path")
        return [StoredFile(*row) for row in rows]

    def read_file(self, file: StoredFile) -> bytes:
        """The bytes of a file, as they are on the disk: `fsck` and clients check them, serving does not.

        Raises:
            StorageError: It cannot be read.
        """
        try:
            return self.place(file).read_bytes()
        except OSError as error:
            raise StorageError(
                f"{file.path} cannot be read: {(error.strerror or '').lower()}",
                hint="`carnet mirror fsck` lists what is damaged",
            ) from None

    def place(self, file: StoredFile) -> Path:
        """Where a file is on the disk.

        Raises:
            StorageError: The row leads out of the mirror's directory: somebody has edited the database.
        """
        if _FILE.match(file.path) is None or any(part in ("", ".", "..") for part in file.path.split("/")):
            raise StorageError(
                f"the database names the file {file.path[:80]!a}", hint="`carnet mirror fsck` lists what is damaged"
            )
        return self.directory / file.path

    # --- crates ---

    def spelling(self, name: CrateName) -> str | None:
        """How this mirror spells a crate, or None when it does not have it."""
        row = self._row("SELECT name FROM crates WHERE canonical = ?", name.canonical)
        return None if row is None else str(row[0])

    def crate_names(self) -> list[CrateName]:
        """Every crate, by canonical name."""
        return [CrateName(row[0]) for row in self._rows("SELECT name FROM crates ORDER BY canonical")]

    def versions(self, name: CrateName) -> list[StoredVersion]:
        """The versions of one crate, oldest first as semantic versions order them."""
        rows = self._rows(_SELECT_VERSIONS, name.canonical)
        return sorted((stored_version(row) for row in rows), key=lambda version: version.id.version)

    def version(self, crate: CrateId) -> StoredVersion | None:
        """One version, or None."""
        row = self._row(
            _SELECT_VERSIONS + " AND version = ?",
            crate.name.canonical,
            str(crate.version),
        )
        return None if row is None else stored_version(row)

    def count(self) -> tuple[int, int]:
        """How many crates and how many versions there are."""
        row = self._row("SELECT (SELECT count(*) FROM crates), (SELECT count(*) FROM versions)")
        return (row[0], row[1]) if row is not None else (0, 0)

    def published_index(self, path: str) -> StoredFile | None:
        """The sparse-index file that cargo gets under `index/<prefix>/<name>`, or None."""
        folder, _, name = path.rpartition("/")
        try:
            crate = CrateName(name)
        except FormatError:
            return None
        row = self._row("SELECT name, index_sha256 FROM crates WHERE canonical = ?", crate.canonical)
        # The path is cargo's own, in lower case, for the one spelling that this crate has.
        if row is None or index_path(CrateName(row[0])) != f"{folder}/{name}":
            return None
        return self.file(f"{TARGETS_PREFIX}{folder}/{row[1]}.{name}")

    def index_file(self, name: CrateName, versions: list[StoredVersion]) -> bytes:
        """The sparse-index file that these versions make."""
        ordered = sorted(versions, key=lambda version: version.id.version)
        return IndexFile(name, tuple(version.line for version in ordered)).to_bytes()

    def put_crate(self, name: CrateName, versions: list[StoredVersion]) -> bytes:
        """Stage these as the versions of a crate, inside a `change`; the next timestamp publishes them.

        Returns:
            The bytes of its sparse-index file, which the change has to publish.

        Raises:
            VerificationError: The mirror has this crate under another spelling, or a version would disappear.
        """
        spelling = self.spelling(name)
        if spelling is not None and spelling != str(name):
            raise VerificationError(f"{name} is this mirror's {spelling} in another spelling")
        gone = {version.id for version in self.versions(name)} - {version.id for version in versions}
        if gone:
            raise VerificationError(f"{min(gone)} would disappear from the index")
        data = self.index_file(name, versions)
        self._execute(
            _PUT_CRATE,
            name.canonical,
            str(name),
            sha256_hex(data),
        )
        for version in versions:
            row = RawVersion(
                name.canonical,
                str(version.id.version),
                version.line.cksum,
                version.length,
                version.path,
                version.line.to_bytes(),
                version.upstream,
                "upstream" if version.pubtime_is_upstreams else "first-seen",
                version.first_seen,
            )
            self._execute(_PUT_VERSION, *astuple(row)[:-1], row.recomputed())
        return data

    # --- settings ---

    def setting(self, key: str) -> str | None:
        """One of the mirror's settings, or None."""
        row = self._row("SELECT value FROM settings WHERE key = ?", key)
        return None if row is None else str(row[0])

    def put_setting(self, key: str, value: str) -> None:
        """Remember a setting, inside a `change`."""
        self._execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", key, value)

    # --- what fsck asks ---

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Read one state of the database throughout, whatever is published meanwhile."""
        self._execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    def found_on_disk(self) -> set[str]:
        """Every file below the folders of immutable files."""
        return {
            path.relative_to(self.directory).as_posix()
            for folder in ("metadata", "targets", BLOBS)
            for path in (self.directory / folder).rglob("*")
            if not path.is_dir()
        }

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the database file; empty when it is sound."""
        try:
            rows = self._connection.execute("PRAGMA integrity_check").fetchall()
            rows += [
                (f"row of {row[0]} without its crate",) for row in self._connection.execute("PRAGMA foreign_key_check")
            ]
        except sqlite3.Error as error:
            return [str(error)]
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def raw_versions(self) -> list[RawVersion]:
        """The rows of all versions as they are; `fsck` trusts none of them."""
        rows = self._rows(
            "SELECT canonical, version, checksum, length, path, line, upstream, pubtime_source, first_seen, digest"
            " FROM versions ORDER BY 1, 2"
        )
        return [RawVersion(*row) for row in rows]

    def raw_crates(self) -> list[tuple[str, str, str]]:
        """Rows as they are: canonical name, name, sha256 of the index file."""
        return [
            (str(row[0]), str(row[1]), str(row[2]))
            for row in self._rows("SELECT canonical, name, index_sha256 FROM crates ORDER BY 1")
        ]

    # --- SQLite ---

    def _row(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        with schema.failures(self.directory / DATABASE):
            row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
            return row

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with schema.failures(self.directory / DATABASE):
            return self._connection.execute(sql, values).fetchall()

    def _execute(self, sql: str, *values: object) -> None:
        with schema.failures(self.directory / DATABASE):
            self._connection.execute(sql, values)


def blob_path(sha256: str) -> str:
    """Where the tarball of an unclaimed crate is, below the mirror's directory."""
    return f"{BLOBS}/{sha256[:2]}/{sha256}"
