"""A whole index that lies in a folder: a clone of the git index that is checked out, or a dump in the same form.

::

    FOLDER/se/rd/serde      a crate's lines; 250,000 such files
    FOLDER/config.json      and what else lies there: no crate has a path like it

A name that a rule lets come from one registry is passed over: whoever has it in the index would be taken for whoever
has it there (`carnet_mirror.upstream.routed`).

Files that were read stay known by size and time, so that a next run looks at each name and reads what changed.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from carnet.cargo.names import CrateName
from carnet.digests import sha256_hex
from carnet.durable import as_storage_error, private_folder, read_file, write_file
from carnet.errors import ConfigError, FormatError, StorageError
from carnet.tuf.paths import index_prefix

MEMORY = "whole-index"
"""The folder in a mirror's directory that holds what was read; a mirror that has one lists more than it has."""
_MAX_FILE = 64 * 1024 * 1024
_MAX_MEMORY = 1 << 30
_RECENT = 2_000_000_000
"""Nanoseconds: a file that was written so shortly before it was read may be written again within its time's grain."""


@dataclass(frozen=True, slots=True)
class IndexFound:
    """One file.

    Attributes:
        name: Its crate, as the file is called: in lower case.
        path: Where it is.
        stamp: Its size and time, as they are remembered.
    """

    name: CrateName
    path: Path
    stamp: str


class IndexFolder:
    """The folder, and what a mirror remembers of it.

    Args:
        folder: The index.
        directory: The mirror's.
        comes_from_elsewhere: Whether a rule says which registry a crate comes from.

    Raises:
        ConfigError: It is none.
        StorageError: The memory cannot be read.
    """

    def __init__(
        self, folder: Path, directory: Path, comes_from_elsewhere: Callable[[CrateName], bool] = lambda _: False
    ) -> None:
        self.folder = folder
        self._comes_from_elsewhere = comes_from_elsewhere
        if not folder.is_dir() or not any(is_shard(one.name) for one in _entries(str(folder))):
            raise ConfigError(
                f"{folder} is no index: it has no folders such as 1, 2, 3 or se",
                hint="name the folder of a git index that is checked out, or of a dump of one",
            )
        self._file = private_folder(directory / MEMORY) / sha256_hex(os.fsencode(os.path.realpath(folder)))
        self._known: dict[str, str] = {}
        try:
            data = read_file(self._file, "what was read of the index", max_bytes=_MAX_MEMORY)
        except FileNotFoundError:
            data = b""
        for line in data.decode("utf-8", "replace").splitlines():
            name, _, stamp = line.partition(" ")
            self._known[name] = stamp

    @property
    def origin(self) -> str:
        """How the mirror remembers it."""
        return f"index+{self.folder.resolve().as_uri()}"

    def changed(self) -> tuple[list[IndexFound], int]:
        """The files that are not as they were when they were read; and how many there are in all.

        Nothing that is a link is followed, and what is called as no crate can be is passed over.

        Raises:
            StorageError: The folder cannot be read.
        """
        found: list[IndexFound] = []
        count = 0
        with as_storage_error(self.folder):
            for path, prefix, file, status in _files(self.folder):
                count += 1
                stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
                if self._known.get(file) == stamp:
                    continue
                try:
                    name = CrateName(file)
                except FormatError:
                    continue
                if index_prefix(name) == prefix and not self._comes_from_elsewhere(name):
                    found.append(IndexFound(name, Path(path), stamp))
        return found, count

    def read(self, found: IndexFound) -> tuple[bytes, ...]:
        """The lines of a file, unparsed.

        Raises:
            UnfitFile: It is too large, or no regular file any more.
            StorageError: It cannot be read.
        """
        try:
            data = read_file(found.path, "the index file", max_bytes=_MAX_FILE)
        except FileNotFoundError:
            raise StorageError(f"{found.path} is gone: the index is being changed", hint="try again") from None
        return tuple(line for line in data.split(b"\n") if line.strip())

    def remember(self, taken: Iterable[IndexFound]) -> None:
        """Remember that these were read and published; durable before it returns.

        Raises:
            StorageError: The disk failed.
        """
        now = time.time_ns()
        for one in taken:
            if now - int(one.stamp.split(" ")[1]) > _RECENT:
                self._known[one.path.name] = one.stamp
        write_file(self._file, "".join(f"{name} {stamp}\n" for name, stamp in self._known.items()).encode(), mode=0o600)


def is_shard(name: str) -> bool:
    """Whether a folder of an index is called so: `1`, `2`, `3`, or the first two letters of names."""
    return name in ("1", "2", "3") or (len(name) == 2 and name.isascii() and name[0].isalnum())


def _files(folder: Path) -> Iterator[tuple[str, str, str, os.stat_result]]:
    """Every file that can be a crate's: its path, the folders above it, its name, and its status."""
    for first in _entries(str(folder)):
        if not is_shard(first.name) or not first.is_dir(follow_symlinks=False):
            continue
        for second in _entries(first.path):
            deeper = second.is_dir(follow_symlinks=False)
            prefix = f"{first.name}/{second.name}" if deeper else first.name
            for one in _entries(second.path) if deeper else (second,):
                status = one.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield one.path, prefix, one.name, status


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)
