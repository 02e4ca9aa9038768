"""A back-up as one file: an uncompressed tar archive, whose members come in one order only.

::

    carnet-backup.json      what it holds, with the sha256 of the next few
    mirror.db               the database, without what was not published
    memory/...              what the online signer remembered, where that could be read
    upstreams/...           what was seen of other mirrors (`carnet_mirror.backup.upstreams`), where there are any
    metadata/... targets/... blobs/...
                            the files that the database lists, by path

Whoever reads one was perhaps given it: headers are read as strictly as those of crates, nothing but plain files under
exactly these names is taken, and each has the length and the sha256 that the header or the database says. Nothing is
compressed, so it holds no more than it weighs. None of that is a proof: what is signed is proven when it is restored.
"""

from __future__ import annotations

import mmap
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from carnet import durable, strictjson, times
from carnet.cargo.tarball import BLOCK, Member, members
from carnet.digests import sha256_hex
from carnet.errors import ArchiveRefused, FormatError, MalformedFile, UnfitFile
from carnet.strictjson import JsonObject
from carnet_mirror.backup.upstreams import is_of_upstream
from carnet_mirror.state.records import StoredFile
from carnet_mirror.state.store import DATABASE

HEADER, MEMORY = "carnet-backup.json", "memory/"
FORMAT = 1
_MAX_HEADER = 1_000_000
_HINT = "take another back-up; this one was not made by `carnet mirror backup`, or was changed or damaged since"


@dataclass(frozen=True, slots=True)
class BackupHeader:
    """What a back-up says of itself.

    Attributes:
        made: When it was made, by the mirror's clock.
        snapshot: The version of the snapshot that was published then.
        timestamp: The version of the timestamp that was published then.
        files: How many immutable files there are.
        inside: What stands before them: the database, the signer's memory, and what was seen of upstreams.
    """

    made: datetime
    snapshot: int
    timestamp: int
    files: int
    inside: tuple[StoredFile, ...]

    @property
    def memory(self) -> bool:
        """Whether the online signer's memory is inside."""
        return any(file.path.startswith(MEMORY) for file in self.inside)

    def to_bytes(self) -> bytes:
        """It as the archive's first member."""
        inside: list[strictjson.Json] = [
            {"path": file.path, "sha256": file.sha256, "length": file.length} for file in self.inside
        ]
        said: JsonObject = {
            "carnet-backup": FORMAT,
            "made": times.written(self.made),
            "snapshot": self.snapshot,
            "timestamp": self.timestamp,
            "files": self.files,
            "inside": inside,
        }
        return strictjson.encode(said) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> BackupHeader:
        """Read it.

        Raises:
            FormatError: It is none, or of another format.
        """
        match strictjson.parse_object(data, HEADER, max_bytes=_MAX_HEADER):
            case {
                "carnet-backup": int(version), "made": str(made), "snapshot": int(snapshot),
                "timestamp": int(timestamp), "files": int(files), "inside": list(inside),
            }:  # fmt: skip
                if version != FORMAT:
                    raise FormatError(f"{HEADER}: format {version}, this carnet reads format {FORMAT}")
                listed = tuple(map(_entry, inside))
            case _:
                raise FormatError(f"{HEADER} has not the fields of a back-up's header")
        first, *more = [file.path for file in listed] or [""]
        if first != DATABASE or not all(map(_is_remembered, more)) or more != sorted(set(more)):
            raise FormatError(f"{HEADER} lists something else than the database and what was remembered")
        return cls(times.read(made, f"{HEADER}: made"), snapshot, timestamp, files, listed)


def _is_remembered(path: str) -> bool:
    of_signer = path.startswith(MEMORY) and path.count("/") == 1 and len(path) > len(MEMORY)
    return of_signer or is_of_upstream(path)


def _entry(entry: strictjson.Json) -> StoredFile:
    match entry:
        case {"path": str(path), "sha256": str(sha256), "length": int(length)}:
            return StoredFile(path, sha256, length)
    raise FormatError(f"{HEADER} lists something that is no file")


class ArchiveWriter:
    """Writes members one after another, each compared with what is said of it."""

    def __init__(self, target: BinaryIO, made: datetime) -> None:
        self._tar = tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115  -- `finish`
        self._made = int(made.timestamp())

    def add(self, file: StoredFile, data: bytes) -> None:
        """Add a file.

        Raises:
            FormatError: Its bytes are not the ones that were published.
        """
        if len(data) != file.length or sha256_hex(data) != file.sha256:
            raise FormatError(
                f"{file.path}: its bytes are not the ones that were published",
                hint="no back-up was written; `carnet mirror fsck DIR` lists what is damaged, and another copy of the "
                "mirror or an older back-up has it",
            )
        info = tarfile.TarInfo(file.path)
        info.size, info.mode, info.mtime = len(data), 0o600, self._made
        self._tar.addfile(info, BytesIO(data))

    def finish(self) -> None:
        """Write the end mark."""
        self._tar.close()


class ArchiveReader:
    """Reads members in the order in which they must come.

    Attributes:
        header: What the archive says of itself.
    """

    def __init__(self, path: Path, data: memoryview) -> None:
        self._path = path
        self._data = data
        self._members = members(data, max_members=len(data) // BLOCK + 1)
        first = self._next(HEADER)
        if first.size > _MAX_HEADER:
            raise self._odd(f"{HEADER} is larger than {_MAX_HEADER} bytes")
        try:
            self.header = BackupHeader.from_bytes(self._bytes(first))
        except FormatError as error:
            raise self._odd(str(error)) from None

    def read(self, file: StoredFile) -> bytes:
        """The bytes of the next member, which must be this file.

        Raises:
            MalformedFile: It is another one, or has other bytes.
        """
        member = self._next(file.path)
        if member.size != file.length:
            raise self._odd(f"{file.path} has {member.size} bytes, and {file.length} are expected")
        data = self._bytes(member)
        if sha256_hex(data) != file.sha256:
            raise self._odd(f"{file.path} has another sha256 than is expected")
        return data

    def finish(self) -> None:
        """Demand that nothing follows.

        Raises:
            MalformedFile: Something does.
        """
        more = self._following()
        if more is not None:
            raise self._odd(f"{more.name[:80]!a} is there, and nothing asks for it")

    def _next(self, name: str) -> Member:
        member = self._following()
        if member is None or member.directory or member.name != name:
            found = "it ends" if member is None else f"{member.name[:80]!a} stands"
            raise self._odd(f"{found} where {name} is expected")
        return member

    def _following(self) -> Member | None:
        try:
            return next(self._members, None)
        except ArchiveRefused as error:
            raise self._odd(str(error)) from None

    def _bytes(self, member: Member) -> bytes:
        return bytes(self._data[member.start : member.start + member.size])

    def _odd(self, what: str) -> MalformedFile:
        return MalformedFile(f"{self._path}: {what}", hint=_HINT)


@contextmanager
def reading(path: Path) -> Iterator[ArchiveReader]:
    """Open a back-up that a person named.

    Raises:
        ConfigError: It is not there, or is no regular file.
        MalformedFile: It is none.
        StorageError: It cannot be read.
    """
    with durable.users_file(path, "back-up"), durable.as_storage_error(path, but=FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnfitFile(f"back-up {path} is not a regular file")
            data = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) if status.st_size else b"")
        finally:
            os.close(descriptor)
    yield ArchiveReader(path, data)


def contents(files: Mapping[str, bytes]) -> list[StoredFile]:
    """What is said of files by path, in order."""
    return [StoredFile.of(path, data) for path, data in sorted(files.items())]
