"""Packages from git: every file that cargo checked out is compared with the objects of the commit that the lock names.

A commit's id is the digest of an object that names a tree by its digest, which names files and folders by theirs. So
the id in the lock is all that is trusted, not cargo's copy of the repository; objects are read once, and hashed then.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from carnet.cargo.lockfile import LockedPackage, SourceKind
from carnet.durable import read_file
from carnet.errors import FormatError
from carnet.git.objects import COMMIT, MAX_BLOB, GitObjects, tree_entries, tree_of
from carnet_verifier.cargo.localregistry import MARKER, Poisoned, Stamp, require_untouched, stamp_of

_DEEPEST = 100
_LONGEST = 4096
"""Letters of a path: no system opens a longer one."""
_LEAST_PREFIX = 7
_CHUNK = 1 << 20
_FOLDER, _LINK, _SUBMODULE, _FILE = 0o040000, 0o120000, 0o160000, 0o100000
_OWN = frozenset((".git", MARKER))
"""What is in a checkout and in no commit: git's and cargo's own."""


def _poisoned(message: str) -> Poisoned:
    return Poisoned(message, hint="somebody wrote to it: find out who; `carnet trust clean` then fetches it again")


@dataclass
class Checkout:
    """What a folder has to hold, from a commit's objects alone.

    Attributes:
        path: The folder.
        commit: The id in the lock.
        entries: Path in it to git's mode and the id of the object; a submodule that is not there, and is not needed, is
            left out.
        repositories: The folders that are repositories, itself (empty) and its submodules, and what stands in the mark
            that cargo left in each.
        stamps: What tells one state of each entry from another, since `compare` was called first.
    """

    path: Path
    commit: str
    entries: dict[str, tuple[int, str]] = field(default_factory=dict)
    repositories: dict[str, bytes] = field(default_factory=dict)
    stamps: dict[str, Stamp] | None = None

    def read(self, commit: str, below: str) -> None:
        """Read a commit's objects, and those of the commits of its submodules."""
        self.repositories[below] = self._mark(below)
        git_dir = self.path / below / ".git"
        if not stat.S_ISDIR(git_dir.lstat().st_mode):
            raise _poisoned(f"{git_dir} is not a folder")
        submodules: list[tuple[str, str]] = []
        with GitObjects(git_dir) as objects:
            level, depth = [(below, tree_of(objects.get(commit, b"commit")))], 0
            while level:
                trees = objects.get_all([oid for _, oid in level], b"tree")
                folders, level = level, []
                for (folder, _), data in zip(folders, trees, strict=True):
                    for mode, name, oid in tree_entries(data, objects.width):
                        path = f"{folder}/{name}" if folder else name
                        self._add(path, name, mode, oid)
                        most = objects.limits.entries
                        if len(self.entries) > most or depth > _DEEPEST:
                            raise FormatError(
                                f"the commit has more than {most} entries, or folders below {_DEEPEST} others"
                            )
                        if mode == _FOLDER:
                            level.append((path, oid))
                        elif mode == _SUBMODULE:
                            submodules.append((path, oid))
                depth += 1
        for path, oid in submodules:
            if _names(self.path / path):
                self.read(oid, path)

    def _add(self, path: str, name: str, mode: int, oid: str) -> None:
        if name in ("", ".", "..") or "/" in name or name.lower() == ".git" or path in self.entries:
            raise FormatError(f"the commit has an entry {path[:120]!a}, which git itself refuses")
        if len(path) > _LONGEST:
            raise FormatError(f"the commit has a path of {len(path)} letters: {path[:120]!a}")
        self.entries[path] = mode, oid

    def compare(self) -> None:
        """Demand that the folder holds exactly that, and that nothing was done to it since the first call, nor undone.

        Raises:
            Poisoned: A file, folder or link differs, is missing, was added, or has another name somewhere else.
        """
        stamps: dict[str, Stamp] = {}
        for _, difference in self.differences(stamps):
            raise difference
        if self.stamps is not None:
            require_untouched(self.stamps, stamps)
        self.stamps = stamps

    def differences(self, stamps: dict[str, Stamp]) -> Iterator[tuple[str, Poisoned]]:
        """Find every way in which the folder holds something else: the path in it, and what is wrong there.

        Args:
            stamps: Is given what tells one state of each entry from another.
        """
        stamps[str(self.path)] = stamp_of(self.path.lstat())
        for repository, mark in self.repositories.items():
            if self._mark(repository) != mark:
                yield (
                    f"{repository}/{MARKER}".lstrip("/"),
                    _poisoned(f"the mark {MARKER!a} was changed in the checkout of {self.commit[:12]}: {self.path}"),
                )
        missing = set(self.entries)
        todo = [""]
        while todo:
            below = todo.pop()
            for name in _names(self.path / below):
                path = f"{below}/{name}" if below else name
                try:
                    if name in _OWN and below in self.repositories:
                        self._compare_own(path)
                        continue
                    if path not in self.entries:
                        raise _poisoned(f"{path!a} was added to the checkout of {self.commit[:12]}: {self.path}")
                    missing.discard(path)
                    stamps[str(self.path / path)] = stamp_of((self.path / path).lstat())
                    todo += self._compare_entry(path)
                except Poisoned as difference:
                    yield path, difference
        for path in sorted(missing):
            if self.entries[path][0] != _SUBMODULE:
                yield (
                    path,
                    _poisoned(f"{path!a} was removed from the checkout of {self.commit[:12]}: {self.path}"),
                )

    def _mark(self, repository: str) -> bytes:
        try:
            return read_file(self.path / repository / MARKER, "cargo's mark", max_bytes=1000)
        except FileNotFoundError:
            raise _poisoned(f"{self.path / repository / MARKER} is not there") from None

    def _compare_own(self, path: str) -> None:
        mode = (self.path / path).lstat().st_mode
        if not (stat.S_ISDIR(mode) if path.endswith(".git") else stat.S_ISREG(mode)):
            raise _poisoned(f"{path!a} in the checkout of {self.commit[:12]} is a link or device: {self.path}")

    def _compare_entry(self, path: str) -> list[str]:
        """Compare one entry; returns it where it is a folder to be looked into."""
        mode, oid = self.entries[path]
        file = self.path / path
        status = file.lstat()
        changed = _poisoned(f"{path!a} is not what the commit {self.commit} has: {self.path}")
        if mode in (_FOLDER, _SUBMODULE):
            if not stat.S_ISDIR(status.st_mode):
                raise changed
            return [path]
        if mode == _LINK:
            if not stat.S_ISLNK(status.st_mode) or _blob(oid, os.fsencode(file.readlink())) != oid:
                raise changed
        elif mode & 0o170000 == _FILE:
            if not stat.S_ISREG(status.st_mode) or bool(status.st_mode & 0o100) != bool(mode & 0o100):
                raise changed
            self._compare_file(file, oid, changed)
        else:
            raise changed
        return []

    def _compare_file(self, file: Path, oid: str, changed: Poisoned) -> None:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            raise changed from None
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if status.st_nlink != 1:
                raise _poisoned(f"{file} can be written to by another name, a hard link")
            if status.st_size > MAX_BLOB:
                raise changed
            digest = _hashing(oid, status.st_size)
            crlf = False
            for chunk in iter(lambda: opened.read(_CHUNK), b""):
                digest.update(chunk)
                crlf = crlf or b"\r\n" in chunk
            if digest.hexdigest() == oid:
                return
            opened.seek(0)
            # `.gitattributes` and git's configuration may ask for the line ends of another system, for all of a file.
            data = opened.read(status.st_size) if crlf else b""
        if not crlf or _blob(oid, data.replace(b"\r\n", b"\n")) != oid:
            raise changed


def read_checkouts(home: Path, packages: Iterable[LockedPackage]) -> tuple[Checkout, ...]:
    """Find cargo's checkouts of the packages of a lock that come from git, and compare them.

    Args:
        home: A private CARGO_HOME.
        packages: Those of the lock.

    Returns:
        What each has to hold, to be compared again.

    Raises:
        Poisoned: One is not what its commit has, or is not there.
        FormatError: A commit has what git itself refuses.
        StorageError: Objects are missing, or are not what their ids say.
    """
    commits = {_commit_of(package) for package in packages if package.kind is SourceKind.GIT}
    found = []
    for commit in sorted(commits):
        folders = [*_folders(home, commit)]
        if not folders:
            raise _poisoned(f"cargo has no checkout of {commit} where the gate looks for it")
        for folder in folders:
            checkout = Checkout(folder, commit)
            try:
                checkout.read(commit, "")
                checkout.compare()
            except OSError as error:
                raise _poisoned(f"{error.filename or folder}: {(error.strerror or 'cannot be read').lower()}") from None
            found.append(checkout)
    return tuple(found)


def compare_checkouts(home: Path, checkouts: Iterable[Checkout]) -> None:
    """Compare checkouts again.

    Args:
        home: The private CARGO_HOME.
        checkouts: What they have to be.

    Raises:
        Poisoned: One is not what its commit has.
    """
    for checkout in checkouts:
        try:
            if checkout.path not in _folders(home, checkout.commit):
                raise _poisoned(f"the checkout of {checkout.commit[:12]} was removed: {checkout.path}")
            checkout.compare()
        except OSError as error:
            where = error.filename or checkout.path
            raise _poisoned(f"{where}: {(error.strerror or 'cannot be read').lower()}") from None


def _commit_of(package: LockedPackage) -> str:
    commit = (package.source or "").rpartition("#")[2]
    if COMMIT.match(commit) is None:
        raise FormatError(
            f"the lock names no commit of {package.id}", hint="write the lock anew: `cargo carnet update`"
        )
    return commit


def _folders(home: Path, commit: str) -> Iterator[Path]:
    """Every checkout that cargo may take for a commit: it calls them by the beginning of its id."""
    parents = home / "git" / "checkouts"
    for folder in (home / "git", parents):
        if not os.path.lexists(folder):
            return
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise _poisoned(f"{folder} is not a folder")
    for name in _names(parents):
        if not stat.S_ISDIR((parents / name).lstat().st_mode):
            if name == "CACHEDIR.TAG":
                continue
            raise _poisoned(f"{parents / name} is not a folder")
        for short in _names(parents / name):
            folder = parents / name / short
            if len(short) >= _LEAST_PREFIX and commit.startswith(short):
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    raise _poisoned(f"{folder} is not a folder")
                yield folder


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return []


def _hashing(oid: str, size: int) -> hashlib._Hash:
    hashing = hashlib.sha256 if len(oid) == 64 else hashlib.sha1
    return hashing(b"blob %d\0" % size, usedforsecurity=len(oid) == 64)


def _blob(oid: str, data: bytes) -> str:
    digest = _hashing(oid, len(data))
    digest.update(data)
    return digest.hexdigest()
