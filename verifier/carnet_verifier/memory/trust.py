"""What a client remembers: the pinned root, the metadata it trusted last, and what it saw of each crate.

::

    trust.json        the repository's URL
    pinned-root.json  the root that the user chose to trust; never changed
    metadata/         last trusted files, byte for byte: root.json, timestamp.json, snapshot.json; the rest in one pack
    seen.json         time of the last refresh; of each crate the highest level and the last owners
    index.pack        index files of earlier runs, by their digest
    answers.pack      what look-ups of earlier runs found
    lock

Everything that protects against going back (root, timestamp, snapshot, `seen.json`) is durable before it is acted on.
The other roles are a cache (`carnet_verifier.memory.pack`): a version of them counts only as the snapshot names it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet import durable, strictjson, times
from carnet.cargo.names import CrateName
from carnet.errors import CarnetError, ConfigError, FormatError, MalformedFile, StorageError
from carnet.lock import locked
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root
from carnet_verifier.memory.pack import FileCache, PackedDirectory, remove_leftovers

if TYPE_CHECKING:
    from carnet.claims.holders import SeenOwners
    from carnet_verifier.memory.carried import Carried

_MAX_SEEN = 64_000_000


class TrustDirectory:
    """One repository that the user trusts, from one root on. `create` or `open` make it.

    Attributes:
        path: The directory.
        url: The repository's base URL.
        metadata: The files that were trusted last.
        index_files: Index files of earlier runs, by their digest.
        answers_file: Where `carnet_verifier.memory.lookup_memory` keeps what look-ups found.
        carried: What the project that is looked at carries; it counts beside what is remembered, and is not remembered.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self.metadata = PackedDirectory(path / "metadata")
        self.index_files = FileCache(path / "index.pack")
        self.answers_file = str(path / "answers.pack")
        self.carried: Carried | None = None
        self._seen_file = path / "seen.json"
        self._remembered: tuple[object, JsonObject] = (None, {})
        self._depth = 0
        self._thread_lock = threading.RLock()

    @classmethod
    def create(cls, path: Path, root: bytes, url: str) -> TrustDirectory:
        """Pin a root.

        Args:
            path: A directory that does not hold a trust directory yet.
            root: The root file as the user got it, by a way they trust.
            url: The repository's base URL.

        Raises:
            ConfigError: There is one already, or the root is not one, or is not signed by its own threshold.
            StorageError: The disk failed.
        """
        read_pinned(root)
        durable.make_folder(path / "metadata", mode=0o700)
        if (path / "trust.json").exists():
            raise ConfigError(
                f"{path} already trusts a repository",
                hint="choose another directory, or remove this one to forget everything that was seen",
            )
        durable.write_file(path / "metadata" / "root.json", root, mode=0o600)
        durable.write_file(path / "pinned-root.json", root, mode=0o600)
        # Last, because `open` asks for it: a directory that a crash left half made is not one.
        _write_url(path, url)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> TrustDirectory:
        """Open what `create` made.

        Raises:
            ConfigError: There is none, or others than its owner can write to it.
            StorageError: It is damaged, or the disk failed.
        """
        _require_unwritable(path)
        try:
            data = durable.read_file(path / "trust.json", "the file", max_bytes=100_000)
        except FileNotFoundError:
            raise ConfigError(
                f"{path} trusts no repository yet", hint="run `carnet trust add URL --root root.json`"
            ) from None
        try:
            url = strictjson.parse_object(data, "trust.json", max_bytes=100_000).get("url")
        except FormatError as error:
            raise _damaged(path / "trust.json", str(error)) from None
        if not isinstance(url, str):
            raise _damaged(path / "trust.json", "it names no url")
        return cls(path, url)

    def move(self, url: str) -> None:
        """Go on with the same repository at another base URL; everything that was seen stays.

        Raises:
            StorageError: The disk failed.
        """
        with self.locked():
            _write_url(self.path, url)
            self.url = url

    @property
    def root(self) -> bytes:
        """The newest root that was trusted; the pinned one at first.

        Raises:
            StorageError: It is gone, or the disk failed.
        """
        data = self.metadata.read(paths.ROOT)
        if data is None:
            raise _damaged(self.path / "metadata" / "root.json", "it is missing")
        return data

    @property
    def pinned(self) -> bytes:
        """The root that the user chose to trust.

        Raises:
            StorageError: It is gone, or the disk failed.
        """
        try:
            return durable.read_file(self.path / "pinned-root.json", "the pinned root", max_bytes=Root.MAX_BYTES)
        except FileNotFoundError:
            raise _damaged(self.path / "pinned-root.json", "it is missing") from None

    @contextlib.contextmanager
    def locked(self, timeout: float = 60.0) -> Iterator[None]:
        """Keep other processes out (trap 6); the thread that holds it may enter again.

        Raises:
            StorageError: Another process held the lock for longer than `timeout` seconds.
        """
        with self._thread_lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            place = self.path / "lock"
            busy = StorageError(
                f"another carnet process has held {place} for {timeout:.0f} seconds", hint="wait for it, or end it"
            )
            with locked(place, timeout=timeout, busy=busy):
                self._depth = 1
                try:
                    yield
                finally:
                    self._depth = 0

    # --- what was seen ---

    def last_refresh(self) -> datetime | None:
        """The latest time, by its own clock, at which this client completed a refresh; None before the first."""
        text = self._seen().get("refreshed")
        try:
            return times.read(text.replace("+00:00", "Z"), "its time") if isinstance(text, str) else None
        except FormatError as error:
            raise _damaged(self._seen_file, str(error)) from None

    def remember_refresh(self, now: datetime) -> None:
        """Remember a completed refresh, if it is an hour later than the latest one that is remembered.

        An earlier one is not remembered: a clock that went back a little each time could go back as far as it likes.

        Raises:
            StorageError: The disk failed.
        """
        last = self.last_refresh()
        if last is None or (now - last).total_seconds() > 3600:
            with self.locked():
                for folder in (self.path, self.path / "metadata"):
                    remove_leftovers(str(folder))
                self._write({**self._seen(), "refreshed": times.written(now)})

    def highest_levels(self, names: Iterable[CrateName]) -> dict[CrateName, int]:
        """The highest level at which a version of a crate was ever admitted; those never seen are left out.

        What a project carries counts as well.
        """
        seen = self._seen()
        found = {name: self._crate(seen, name).get("level") for name in names}
        highest = {name: level for name, level in found.items() if isinstance(level, int)}
        for name in found if self.carried is not None else ():
            carried = None if self.carried is None else self.carried.level(name)
            if carried is not None:
                highest[name] = max(int(carried), highest.get(name, 0))
        return highest

    def remember_levels(self, levels: Mapping[CrateName, int]) -> None:
        """Remember levels durably; one that is lower than remembered changes nothing.

        Raises:
            StorageError: The disk failed.
        """
        from copy import deepcopy  # only when something new is to be remembered: start-up time counts

        with self.locked():
            seen = deepcopy(self._seen())
            changed = False
            for name, level in levels.items():
                crate = self._crate(seen, name)
                before = crate.get("level")
                if not isinstance(before, int) or before < level:
                    self._put(seen, name, {**crate, "level": int(level)})
                    changed = True
            if changed:
                self._write(seen)

    def owners(self, names: Iterable[CrateName]) -> dict[CrateName, SeenOwners]:
        """The owners of crates as they were seen last; crates whose owners were never seen are left out.

        Raises:
            StorageError: The memory is damaged.
        """
        from carnet.claims.holders import SeenOwners  # with the first claimed crate: start-up time counts

        seen = self._seen()
        known = {name: self._crate(seen, name).get("owners") for name in names}
        try:
            return {name: SeenOwners.from_object(found) for name, found in known.items() if found is not None}
        except FormatError as error:
            raise _damaged(self._seen_file, str(error)) from None

    def remember_owners(self, owners: Mapping[CrateName, SeenOwners]) -> None:
        """Remember owners durably, in place of the ones before.

        Raises:
            StorageError: The disk failed.
        """
        from copy import deepcopy  # only when something new is to be remembered: start-up time counts

        with self.locked():
            seen = deepcopy(self._seen())
            changed = False
            for name, found in owners.items():
                crate = self._crate(seen, name)
                if crate.get("owners") != found.to_object():
                    self._put(seen, name, {**crate, "owners": found.to_object()})
                    changed = True
            if changed:
                self._write(seen)

    def count_of_crates(self) -> int:
        """Of how many crates something was seen."""
        crates = self._seen().get("crates")
        return len(crates) if isinstance(crates, dict) else 0

    def _seen(self) -> JsonObject:
        """What was seen; read again when another process replaced the file. Not to be changed by the caller."""
        try:
            status = self._seen_file.stat()
            identity = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._remembered[0] == identity:
                return self._remembered[1]
            data = durable.read_file(self._seen_file, "the file", max_bytes=_MAX_SEEN)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageError(f"{self._seen_file}: {(error.strerror or 'cannot be read').lower()}") from error
        try:
            seen = strictjson.parse_object(data, "seen.json", max_bytes=_MAX_SEEN)
        except FormatError as error:
            raise _damaged(self._seen_file, str(error)) from None
        self._remembered = (identity, seen)
        return seen

    def _write(self, seen: JsonObject) -> None:
        data = strictjson.encode(seen)
        if len(data) > _MAX_SEEN:  # it could not be read again
            raise StorageError(f"{self._seen_file} would become larger than {_MAX_SEEN} bytes")
        durable.write_file(self._seen_file, data, mode=0o600)
        self._remembered = (None, {})

    @staticmethod
    def _crate(seen: JsonObject, name: CrateName) -> JsonObject:
        crates = seen.get("crates")
        found: Any = crates.get(name.canonical) if isinstance(crates, dict) else None
        return found if isinstance(found, dict) else {}

    @staticmethod
    def _put(seen: JsonObject, name: CrateName, crate: JsonObject) -> None:
        crates = seen.get("crates")
        if not isinstance(crates, dict):
            crates = seen["crates"] = {}
        crates[name.canonical] = crate


def read_pinned(data: bytes) -> Root:
    """A root file that a user means to trust: it has to be one, and signed by its own threshold (TUF 5.2).

    Raises:
        ConfigError: It cannot be trusted.
    """
    try:
        pinned = parse_role(data, Root)
        pinned.signed.roles[paths.ROOT].check(pinned, "root", "5.2")
    except CarnetError as error:
        kind = MalformedFile if isinstance(error, FormatError) else ConfigError
        hint = error.hint or "ask the repository's operator for the root file itself, such as `1.root.json`"
        raise kind(f"this root cannot be trusted: {error}", hint=hint) from error
    return pinned.signed


def _write_url(path: Path, url: str) -> None:
    durable.write_file(path / "trust.json", strictjson.encode({"url": url}) + b"\n", mode=0o600)


def _require_unwritable(path: Path) -> None:
    """Demand that nobody else can write what is remembered: whoever could, would choose what is trusted."""
    for folder in (path, path / "metadata"):
        with durable.as_storage_error(folder), contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for place, status in (
                (str(folder), folder.stat()),
                *((each.path, each.stat(follow_symlinks=False)) for each in entries),
            ):
                if status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode):  # a link has no permissions
                    raise ConfigError(
                        f"{place} can be written by somebody else",
                        hint="find out who changed its permissions; if all in it is as it was, run "
                        f"`chmod -R go-w {path}`, otherwise trust the repository anew",
                    )


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path} is damaged: {why}",
        hint="restore it from a copy, or trust the repository anew (which forgets what protects against going back)",
    )
