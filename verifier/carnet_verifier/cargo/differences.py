"""How a folder differs from the tarball that it was unpacked from: every difference, not the first one alone.

The gate stops at the first difference, in a folder that is carnet's own (`carnet_verifier.cargo.localregistry`). Here
folders are looked at that others wrote, and a person wants to know all that was done to them. Nothing in such a folder
is followed, waited for, or read beyond what it should hold.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from carnet.value import field, value

MOST = 1000
"""Differences of one copy that are told; more of them say no more."""
_MOST_ENTRIES = 300_000
"""Files and folders that are looked at in one tree; no tarball that is read brings as many."""
_CHUNK = 1 << 20
_SET_ID = 0o7000


@value
class Difference:
    """One difference.

    Attributes:
        path: The file, below the folder; empty for the folder itself.
        change: `changed`, `missing`, `added`, `link` (a link, device or pipe in a file's place), `permissions`, or
            `unchecked` (cargo was told not to check it).
        said: The same for people, in one line.
    """

    path: str
    change: str
    said: str


@value
class TreeLayout:
    """What cargo makes of a tarball's files when it puts them into a folder.

    Attributes:
        own: Files at the top that cargo adds, which somebody else looks at.
        leaves_out: Whether a file of the tarball need not be there.
        keeps_executable: Whether what is executable in the tarball is so there.
        unfinished: Whether unpacking was broken off, so that files may be missing or cut off: cargo unpacks again, over
            what lies there.
    """

    own: frozenset[str] = frozenset()
    leaves_out: Callable[[str], bool] = field(default=lambda path: False)
    keeps_executable: bool = True
    unfinished: bool = False


def tree_differences(
    tree: Path, crate: object, files: Mapping[str, tuple[int, bytes, bool]], layout: TreeLayout
) -> Iterator[Difference]:
    """Find every way in which a folder is not what a tarball's files make.

    Args:
        tree: The folder.
        crate: Which crate it is, for messages.
        files: Path to length, sha256, and whether it is executable (`Kept.files`).
        layout: What cargo makes of them there.
    """
    missing = set(files)
    folded = {path.casefold(): path for path in files}
    for path, place, status in _walk(tree):
        if isinstance(status, str):
            yield Difference(path, "changed", f"{crate}: {path!a} {status}: {tree}")
        elif path in layout.own:
            yield from _open_to_others(path, status, crate, tree)
        elif path in files:
            missing.discard(path)
            yield from _file_differences(path, place, status, files[path], layout, f"{crate}: {path!a}", tree)
        elif stat.S_ISREG(status.st_mode):
            twin = folded.get(path.casefold())
            also = "" if twin is None else f", beside {twin!a}, from which it differs by case alone"
            yield Difference(path, "added", f"{crate}: {path!a} was added{also}: {tree}")
        elif stat.S_ISDIR(status.st_mode):  # an empty one brings nothing in, and a tarball may have it
            yield from _open_to_others(path, status, crate, tree)
        else:
            yield Difference(path, "added", f"{crate}: {path!a} was added, a link, device or pipe: {tree}")
    for path in sorted(missing):
        if not layout.unfinished and not layout.leaves_out(path):
            yield Difference(path, "missing", f"{crate}: {path!a} is missing: {tree}")


def file_differences(folder: Path, name: str, expected: tuple[int, bytes, bool], what: object) -> Iterator[Difference]:
    """Find every way in which one file of a folder is not what it should be.

    Args:
        folder: The folder.
        name: The file's name.
        expected: Its length, sha256, and whether it is executable.
        what: What it is, for messages.
    """
    place = folder / name
    try:
        status = place.lstat()
    except OSError as error:
        yield Difference(name, "missing", f"{what}: {name!a}: {(error.strerror or 'failed').lower()}: {folder}")
    else:
        yield from _file_differences(name, str(place), status, expected, TreeLayout(), f"{what}: {name!a}", folder)


def _file_differences(
    path: str,
    place: str,
    status: os.stat_result,
    expected: tuple[int, bytes, bool],
    layout: TreeLayout,
    what: str,
    tree: Path,
) -> Iterator[Difference]:
    length, digest, executable = expected
    if not stat.S_ISREG(status.st_mode):
        yield Difference(path, "link", f"{what} is no plain file any more, but {_kind(status.st_mode)}: {tree}")
        return
    found = file_digest(place, length)
    if isinstance(found, str):
        yield Difference(path, "changed", f"{what} {found}: {tree}")
    elif found != digest and not (layout.unfinished and status.st_size < length):
        yield Difference(path, "changed", f"{what} is not what the tarball has: {tree}")
    if status.st_nlink != 1:
        yield Difference(path, "link", f"{what} can be written to by another name, a hard link: {tree}")
    is_executable = bool(status.st_mode & 0o111)
    if is_executable != executable and (is_executable or (layout.keeps_executable and not layout.unfinished)):
        how = "was made executable" if is_executable else "is not executable any more"
        yield Difference(path, "permissions", f"{what} {how}: {tree}")
    yield from _open_to_others(path, status, what.partition(":")[0], tree)


def _open_to_others(path: str, status: os.stat_result, crate: object, tree: Path) -> Iterator[Difference]:
    if status.st_mode & stat.S_IWOTH and not stat.S_ISLNK(status.st_mode):
        yield Difference(path, "permissions", f"{crate}: {path or '.'!a} can be written to by everybody: {tree}")
    if status.st_mode & _SET_ID and stat.S_ISREG(status.st_mode):
        yield Difference(path, "permissions", f"{crate}: {path!a} runs as its owner or group: {tree}")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "a folder" if stat.S_ISDIR(mode) else "a device or pipe"


def _walk(tree: Path) -> Iterator[tuple[str, str, os.stat_result | str]]:
    """Everything in a folder and the folder itself: its path there, its path, and what it is or why nobody can say."""
    todo = [("", str(tree))]
    left = _MOST_ENTRIES
    while todo:
        below, folder = todo.pop()
        try:
            yield below, folder, os.lstat(folder)
            with os.scandir(folder) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        yield below, folder, f"holds more than {_MOST_ENTRIES} files and folders"
                        return
                    path = f"{below}/{entry.name}" if below else entry.name
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        yield path, entry.path, f"cannot be looked at: {(error.strerror or 'failed').lower()}"
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        todo.append((path, entry.path))
                    else:
                        yield path, entry.path, status
        except OSError as error:
            yield below, folder, f"cannot be looked into: {(error.strerror or 'failed').lower()}"


def file_digest(place: str, most: int) -> bytes | str:
    """The sha256 of a plain file, read no further than it should be long; or why it cannot be had, for a sentence.

    Args:
        place: Its path; a link there is not followed, and a pipe not waited for.
        most: Bytes that it should have.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        return f"cannot be read: {(error.strerror or 'failed').lower()}"
    digest, left = hashlib.sha256(), most + 1
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "is no plain file"
        while left and (data := os.read(descriptor, min(left, _CHUNK))):
            digest.update(data)
            left -= len(data)
    except OSError as error:
        return f"cannot be read: {(error.strerror or 'failed').lower()}"
    finally:
        os.close(descriptor)
    return digest.digest()
