"""What a client keeps only to be fast: files of delegated roles, and which signatures it has verified.

One file holds both, because a lock needs hundreds of roles and a warm run should open one file for them. It is written
atomically and without waiting for the disk; when it is missing, torn or of another making, everything is fetched and
verified again.

A *proof* is the digest of a role file together with the keys and the threshold that its delegator demanded. That these
bytes meet that demand never changes, so it is not worked out twice. Everything else (length and hash, version, expiry,
structure, who delegates) is checked at every run. Proofs are as safe as the root beside them: whoever can write here
can replace that too. See docs/adr/0003-tuf-client.md.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from carnet.errors import StorageError
from carnet.tuf import paths
from carnet_verifier.memory.metadata_store import MetadataDirectory

_HEAD = b"carnet pack 1\n"
"""Another number makes older packs unread: raise it when what a proof stands for changes."""
_MAX_PACK = 256_000_000
_MAX_PROOFS = 100_000
_MAX_FILES = 64_000_000
"""Bytes of files in a pack; far more than a lock needs."""
_FILES_ALWAYS, _LEAST_FILE = 4096, 64
"""Files that any pack may have, and bytes for each further one: four bytes make one, as costly as a role."""
_LEFTOVER = r"\.pack-[0-9a-f]{16}\Z"
_DURABLE = (paths.ROOT, paths.TIMESTAMP, paths.SNAPSHOT)


class PackedDirectory(MetadataDirectory):
    """A folder for root, timestamp and snapshot, and one file in it for all other roles.

    Attributes:
        proofs: Digests of verified signatures, those of earlier runs included.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pack = f"{path}/delegated.pack"
        self._changed = False
        self.proofs, self._roles = _read(self._pack)
        self._known = frozenset(self.proofs)

    def read(self, role: str) -> bytes | None:
        """See `MetadataStore.read`."""
        return super().read(role) if role in _DURABLE else self._roles.get(role)

    def cache(self, files: Mapping[str, bytes]) -> None:
        """See `MetadataStore.cache`."""
        self._roles.update(files)
        self._changed = self._changed or bool(files)

    def flush(self) -> None:
        """See `MetadataStore.flush`."""
        if not self._changed and self.proofs == self._known:
            return
        if len(self.proofs) > _MAX_PROOFS:
            self.proofs.clear()
        _write(self._pack, self.proofs, self._roles)
        self._known, self._changed = frozenset(self.proofs), False


class FileCache:
    """Files by their sha256, kept in one pack: index files, which a warm run would otherwise fetch again.

    Whoever asks hashes them again, so nothing here has to be believed.

    Args:
        place: The pack.
    """

    def __init__(self, place: Path) -> None:
        self._place = str(place)
        self._files: dict[str, bytes] | None = None

    def get(self, sha256: str) -> bytes | None:
        """The bytes that were kept under a digest, or None."""
        return self._load().get(sha256)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Keep files by their digest.

        Raises:
            StorageError: The disk failed or is full.
        """
        self._files = {**self._load(), **files}
        _write(self._place, set(), self._files)

    def _load(self) -> dict[str, bytes]:
        if self._files is None:
            self._files = _read(self._place)[1]
        return self._files


def _read(place: str) -> tuple[set[bytes], dict[str, bytes]]:
    try:
        with open(place, "rb") as file:  # noqa: PTH123  -- start-up time counts
            return _unpack(file.read(_MAX_PACK))
    except (OSError, ValueError):
        return set(), {}


def _write(place: str, proofs: set[bytes], files: dict[str, bytes]) -> None:
    """Write a pack; the files that came first go when it grows too large."""
    size = sum(map(len, files.values()))
    while size > _MAX_FILES:
        size -= len(files.pop(next(iter(files))))
    together: dict[bytes, list[str]] = {}
    for name, data in files.items():
        together.setdefault(data, []).append(name)
    parts = [_HEAD, b"%d\n" % len(proofs), *proofs]
    for data, names in together.items():
        parts += [f"{len(data)} {' '.join(names)}\n".encode(), data, b"\n"]
    replace_file(place, b"".join(parts))


def _unpack(data: bytes) -> tuple[set[bytes], dict[str, bytes]]:
    """Read a pack; ValueError when it is not whole."""
    if not data.startswith(_HEAD):
        raise ValueError
    at = len(_HEAD)
    end = data.index(b"\n", at)
    count = int(data[at:end])
    at = end + 1 + 32 * count
    if not 0 <= count <= _MAX_PROOFS or at > len(data):
        raise ValueError
    proofs = {data[place : place + 32] for place in range(end + 1, at, 32)}
    roles: dict[str, bytes] = {}
    left = _FILES_ALWAYS + len(data) // _LEAST_FILE
    while at < len(data):
        left -= 1
        if left < 0:  # no file of a role is this small
            raise ValueError
        end = data.index(b"\n", at)
        length, *names = data[at:end].decode("ascii").split(" ")
        at = end + 1 + int(length)
        if int(length) < 0 or data[at : at + 1] != b"\n":
            raise ValueError
        roles.update(dict.fromkeys(names, data[end + 1 : at]))
        at += 1
    return proofs, roles


def replace_file(place: str, data: bytes) -> None:
    """Replace a file's content atomically, without waiting for the disk.

    Raises:
        StorageError: The disk failed or is full; the file is as it was.
    """
    temporary = f"{place}-{os.urandom(8).hex()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)
        os.replace(temporary, place)  # noqa: PTH105
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise StorageError(f"{place}: {(error.strerror or 'cannot be written').lower()}") from error


def remove_leftovers(folder: str) -> None:
    """Remove what writes that were killed left behind; one that is still going on is younger than an hour."""
    oldest = time.time() - 3600
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (
                ".pack-" in entry.name
                and re.search(_LEFTOVER, entry.name)
                and entry.stat(follow_symlinks=False).st_mtime < oldest
            ):
                os.unlink(entry.path)  # noqa: PTH108
