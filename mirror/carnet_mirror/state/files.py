"""Files that never change once they are published, in folders, and the table that says which ones count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from carnet import durable
from carnet.digests import sha256_hex
from carnet.errors import FormatError, StorageError
from carnet.tuf.paths import METADATA_PREFIX, TARGETS_PREFIX, check_target_path
from carnet_mirror.state.records import StoredFile
from carnet_mirror.state.sqlite import Database

BLOBS = "blobs"
FOLDERS = ("metadata", "targets", BLOBS)
_HASHED = re.compile(r"([0-9a-f]{64})\.")
_FILE = re.compile(r"(?:metadata|targets|blobs)/[A-Za-z0-9_.+/-]+\Z")
_METADATA = re.compile(r"metadata/[1-9][0-9]{0,18}\.[A-Za-z0-9_.-]{1,100}\.json\Z")
_SELECT = "SELECT path, sha256, length FROM files"
_SIZES = "SELECT substr(path, 1, instr(path, '/') - 1), sum(length), count(*) FROM files WHERE published = 1 GROUP BY 1"


class Files:
    """The immutable files below a mirror's directory: staged first, published all at once.

    Args:
        directory: The mirror's.
        database: Its database.
    """

    def __init__(self, directory: Path, database: Database) -> None:
        self._directory = directory
        self._database = database

    # --- reading ---

    def published(self, path: str) -> StoredFile | None:
        """The file at a path below the mirror's directory, when it is published."""
        row = self._database.row(f"{_SELECT} WHERE path = ? AND published = 1", path)
        return None if row is None else StoredFile(*row)

    def all_published(self) -> list[StoredFile]:
        """Every file that is published, by path."""
        return [StoredFile(*row) for row in self._database.rows(f"{_SELECT} WHERE published = 1 ORDER BY path")]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Bytes and number of the files that are published, by folder."""
        rows = self._database.rows(_SIZES)
        return {str(folder): (int(size), int(count)) for folder, size, count in rows}

    def paths(self, prefix: str) -> list[str]:
        """The paths of the published files below a folder, such as `metadata/`."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        rows = self._database.rows("SELECT path FROM files WHERE published = 1 AND path >= ? AND path < ?", prefix, end)
        return [str(path) for (path,) in rows]

    def known(self, path: str) -> StoredFile | None:
        """The file at a path, published or staged."""
        row = self._database.row(f"{_SELECT} WHERE path = ?", path)
        return None if row is None else StoredFile(*row)

    def read(self, file: StoredFile) -> bytes:
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
        return self._directory / file.path

    def found_on_disk(self) -> set[str]:
        """Every file below the folders of immutable files, whatever the table says."""
        return {
            path.relative_to(self._directory).as_posix()
            for folder in FOLDERS
            for path in (self._directory / folder).rglob("*")
            if not path.is_dir()
        }

    def left_over(self, prefix: str) -> set[str]:
        """The files of a folder, such as `metadata/`, that no row names."""
        folder = self._directory / prefix
        with durable.as_storage_error(folder):
            there = {f"{prefix}{path.name}" for path in folder.iterdir()}
        return there - {str(path) for (path,) in self._database.rows("SELECT path FROM files")}

    # --- writing: the store calls these, inside a change ---

    def stage(self, files: Mapping[str, bytes]) -> None:
        """Keep files durably, under names that nothing refers to yet.

        Raises:
            StorageError: The disk failed, or a name has other bytes already.
        """
        folders: dict[str, dict[str, bytes]] = {}
        rows: list[StoredFile] = []
        for path, data in files.items():
            file = StoredFile.of(path, data)
            known = self.known(path)
            if known is not None and known != file:
                raise StorageError(f"{path} is published already, with other bytes")
            if known is None:
                folder, _, name = path.rpartition("/")
                folders.setdefault(folder, {})[name] = data
                rows.append(file)
        for folder, group in folders.items():
            durable.make_folder(self._directory / folder)
            durable.write_files(self._directory / folder, group)
        self.enter(rows)

    def enter(self, files: Iterable[StoredFile]) -> None:
        """Let files that are on the disk already be staged."""
        for file in files:
            self._database.execute("INSERT INTO files VALUES (?, ?, ?, 0)", file.path, file.sha256, file.length)

    def forget(self, paths: Iterable[str]) -> None:
        """Let files be published no more; they stay on the disk."""
        for path in paths:
            self._database.execute("DELETE FROM files WHERE path = ? AND published = 1", path)

    def publish(self) -> None:
        """Let everything that is staged count."""
        self._database.execute("UPDATE files SET published = 1 WHERE published = 0")

    def drop(self) -> None:
        """Forget what is staged; the files stay on the disk, where nothing refers to them."""
        self._database.execute("DELETE FROM files WHERE published = 0")


def check_path(path: str, data: bytes) -> None:
    """Demand a path that a repository has, and for a target one that carries its digest.

    Raises:
        FormatError: Another path.
    """
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


def blob_path(sha256: str) -> str:
    """Where the tarball of an unclaimed crate is, below the mirror's directory."""
    return f"{BLOBS}/{sha256[:2]}/{sha256}"
