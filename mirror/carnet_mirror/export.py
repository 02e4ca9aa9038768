"""A mirror as a tree of files, each under the path that clients ask for: what any web server serves.

What stands in the tree under a name that never changes is copied once. The timestamp, which makes the rest count, is
replaced last, when everything that it leads to lies there: whoever reads the tree meanwhile sees the state of before.

Nothing of it has to be believed. Clients verify a static tree as they verify a mirror that answers by itself; what is
missing in it is what somebody does: listing what waits, taking what people hand in.
"""

from __future__ import annotations

import gzip
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from carnet import strictjson
from carnet.digests import sha256_hex
from carnet.durable import as_storage_error, make_folder, read_file, write_files
from carnet.errors import ConfigError, StorageError
from carnet.tuf.paths import (
    DOWNLOAD_PREFIX,
    METADATA_PREFIX,
    ROOT,
    SPARSE_INDEX_PREFIX,
    TARGETS_PREFIX,
    TIMESTAMP,
    index_path,
    metadata_name,
)
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.records import StoredFile
from carnet_mirror.state.store import Store

KEPT_FOR = 7 * 86_400
"""Seconds for which `prune` leaves what is published no more: clients may be in the midst of it."""
_FOLDERS = (METADATA_PREFIX, TARGETS_PREFIX, SPARSE_INDEX_PREFIX, DOWNLOAD_PREFIX)
_TIMESTAMP = METADATA_PREFIX + metadata_name(TIMESTAMP, None)
_ROOT = METADATA_PREFIX + metadata_name(ROOT, 1)
_CONFIG = f"{SPARSE_INDEX_PREFIX}config.json"
_GZIP = ".gz"
_AT_ONCE = 64 * 1024 * 1024
_MAX_ROOT = 10_000_000


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        snapshot: The version that the tree has now.
        files: How many files the tree has for it, without compressed forms.
        written: How many of them were not there, or were others.
        removed: How many were removed: what was taken down, and with `prune` what is published no more.
    """

    snapshot: int
    files: int
    written: int
    removed: int


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of the tree: its path there, and where its bytes are; `changes` when the name may get other ones."""

    path: str
    file: StoredFile
    changes: bool = False


def export(
    store: Store,
    to: Path,
    url: str,
    *,
    compressed: bool = False,
    prune: bool = False,
    counting: Callable[[int], None] = lambda count: None,
) -> Exported:
    """Write what is published into a folder, or bring the folder up to it.

    Args:
        store: The mirror; it may be served and published to meanwhile.
        to: The folder: new, empty, or from an earlier export of this mirror.
        url: Where the folder will be served, for plain cargo: its `config.json` says where to download.
        compressed: Whether a gzip form of each text lies beside it, for servers that send such files.
        prune: Whether to remove what is published no more, and was so a week ago already.
        counting: Is told that so many more files are there.

    Raises:
        ConfigError: The folder holds something else, or a folder in it is a link or somebody else's.
        StorageError: The disk failed, or a file of the mirror is damaged: the tree's timestamp is the old one.
    """
    _require_ours(store, to)
    with store.frozen():
        timestamp = store.read(_TIMESTAMP)
        if timestamp is None:
            raise StorageError("nothing is published", hint="`carnet mirror init` makes and publishes a mirror")
        snapshot = UnverifiedView(store).timestamp.snapshot.version
        withheld, parts = _divided(store)
        tree = _Tree(to, compressed=compressed)
        for part in parts:
            if part.changes or tree.length(part.path) != part.file.length:
                try:
                    data = store.files.read(part.file)
                except StorageError:
                    if not store.was_pruned(part.file.path):
                        raise
                    continue  # it was superseded long ago, and was taken away since this began
                if sha256_hex(data) != part.file.sha256:
                    raise StorageError(
                        f"{part.file.path} is damaged", hint="`carnet mirror fsck` lists what is damaged"
                    )
                tree.put(part.path, data)
            counting(1)
        config = strictjson.encode({"dl": f"{url.rstrip('/')}/{DOWNLOAD_PREFIX.rstrip('/')}"})
        for path, data in ((_CONFIG, config), (_TIMESTAMP, timestamp)):
            tree.flush()
            tree.put(path, data)
        tree.flush()
    removed = _remove(to, withheld)  # the index in the tree says by now why it is gone
    wanted = {*(part.path for part in parts), _CONFIG, _TIMESTAMP}
    removed += _remove_others(to, wanted) if prune else 0
    return Exported(snapshot, len(wanted), tree.written, removed)


def part_count(store: Store) -> int:
    """How many files `export` looks at: what `counting` counts up to."""
    return len(_divided(store)[1])


def _divided(store: Store) -> tuple[list[_Part], list[_Part]]:
    """What the mirror withholds, because it was taken down, and what it serves."""
    withheld: list[_Part] = []
    served: list[_Part] = []
    for part in _parts(store):
        (served if store.withheld(part.file.path) is None else withheld).append(part)
    return withheld, served


def _require_ours(store: Store, to: Path) -> None:
    here, there = store.directory.resolve(), to.resolve()
    if there == here or here in there.parents or there in here.parents:
        raise ConfigError(f"{to} is the mirror's own folder, or within it", hint="export into another folder")
    with as_storage_error(to):
        if not to.exists():
            return
        if not any(to.iterdir()):
            _require_own(to)
            return
    with suppress(FileNotFoundError):
        if read_file(to / _ROOT, "the root of the tree", max_bytes=_MAX_ROOT) == store.read(_ROOT):
            _require_own(to)
            return
    raise ConfigError(
        f"{to} is not empty, and holds no earlier export of this mirror", hint="export into a new or an empty folder"
    )


def _require_own(to: Path) -> None:
    """Refuse a tree in which what is written, opened to everybody or removed may lie elsewhere.

    Raises:
        ConfigError: A folder of it is a link, another user's, or open for others to write: they could make it a link at
            any moment.
        StorageError: It cannot be looked at.
    """
    todo = [to.resolve()]
    with as_storage_error(to):
        while todo:
            place = todo.pop()
            status = place.lstat()
            if not stat.S_ISDIR(status.st_mode):
                problem = "is a link, or no folder"
            elif status.st_uid != os.geteuid():
                problem = "is another user's"
            elif status.st_mode & 0o022:
                problem = "can be written by other users"
            else:
                with os.scandir(place) as inside:
                    todo += [Path(one.path) for one in inside if one.is_dir(follow_symlinks=False) or one.is_symlink()]
                continue
            raise ConfigError(
                f"{place} {problem}: what is exported there could land elsewhere",
                hint="export as the user who owns the tree, with folders that nobody else writes to; or into a new one",
            )


def _parts(store: Store) -> Iterator[_Part]:
    """Every file that a client may ask for, those that never change first."""
    for file in store.files.all_published():
        if file.path.startswith((METADATA_PREFIX, TARGETS_PREFIX)):
            yield _Part(file.path, file)
    names = store.crates.names()
    for name in names:
        for version in store.crates.versions(name):
            stored = store.files.published(version.path) if version.is_here else None
            if stored is not None:
                yield _Part(f"{DOWNLOAD_PREFIX}{version.id.name}/{version.id.version}/download", stored)
    for name in names:
        index = store.published_index(index_path(name))
        if index is not None:
            yield _Part(index_path(name), index, changes=True)


class _Tree:
    """The folder, to which files go some at a time: forcing each one to the disk by itself takes long."""

    def __init__(self, to: Path, *, compressed: bool) -> None:
        self._to = to
        self._compressed = compressed
        self._waiting: dict[str, dict[str, bytes]] = {}
        self._size = 0
        self.written = 0

    def length(self, path: str) -> int:
        """Bytes of what is there; -1 where nothing is."""
        try:
            return os.lstat(self._to / path).st_size
        except OSError:
            return -1

    def put(self, path: str, data: bytes) -> None:
        """Let a file have this content, at the next `flush` at the latest."""
        with suppress(FileNotFoundError):
            if self.length(path) == len(data) and (self._to / path).read_bytes() == data:
                return
        self.written += 1
        self._put(path, data)
        if self._compressed and not path.startswith(DOWNLOAD_PREFIX) and not path.endswith(".crate"):
            # Of a short text, too: an earlier, longer one must not be sent in its place.
            self._put(f"{path}{_GZIP}", gzip.compress(data, 9, mtime=0))
        if self._size > _AT_ONCE:
            self.flush()

    def _put(self, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        self._waiting.setdefault(folder, {})[name] = data
        self._size += len(data)

    def flush(self) -> None:
        """Write what waits, durably; it is public, whatever files are that this user makes elsewhere."""
        for folder, files in self._waiting.items():
            place = self._to / folder
            make_folder(place)
            write_files(place, files)
            with as_storage_error(place):
                for name in files:
                    (place / name).chmod(0o644)
                while place != self._to:
                    place.chmod(0o755)
                    place = place.parent
        self._waiting, self._size = {}, 0


def _remove(to: Path, parts: Iterable[_Part]) -> int:
    removed = 0
    for part in parts:
        with as_storage_error(to / part.path), suppress(FileNotFoundError):
            (to / part.path).unlink()
            removed += 1
    return removed


def _remove_others(to: Path, wanted: set[str]) -> int:
    removed, before = 0, time.time() - KEPT_FOR
    for folder in _FOLDERS:
        for place in sorted((to / folder).rglob("*"), reverse=True):
            path = place.relative_to(to).as_posix()
            if place.is_dir() and not place.is_symlink():
                with suppress(OSError):  # it is not empty
                    place.rmdir()
            elif path.removesuffix(_GZIP) not in wanted and place.lstat().st_mtime < before:
                with as_storage_error(place):
                    place.unlink()
                removed += not path.endswith(_GZIP)
    return removed
