"""A folder that passes from one person to the next, read so that nothing in it leads anywhere else.

Whoever had the folder before may have put into it what they liked: a symbolic link to the next signer's own files, a
pipe that never answers, a device that never ends. The folder that a person names may be reached by a link; inside it
every folder and file is opened below the one that holds it, never through a link, and is looked at once it is open.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from carnet.errors import ConfigError, StorageError

MOST_ENTRIES = 100_000
_MOST_BYTES = 1 << 30
_DEEPEST = 16
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_PLAIN = "these folders hold plain files and folders only"


def read_folder(
    folder: Path, *, max_bytes: int, wanted: Callable[[str], bool] = lambda path: True, deep: bool = True
) -> dict[str, bytes]:
    """Read the files of a folder, and of the folders in it.

    Args:
        folder: The folder; it may be named by way of a symbolic link.
        max_bytes: What one file may have.
        wanted: Which files, by their path below the folder; the others are passed over unopened.
        deep: Whether to look into the folders in it; else they are passed over.

    Returns:
        Their content by the path below the folder, with `/`, in the order of paths.

    Raises:
        ConfigError: There is no such folder, something that is wanted is no plain file, a folder in it is a symbolic
            link, or there are too many files, or too large ones.
        StorageError: Something cannot be read.
    """
    found: dict[str, bytes] = {}
    with _reading(folder):
        try:
            # The one link that is followed is in the path that a person typed.
            top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(
                f"there is no folder {folder}", hint="check the path: it is looked for from the folder that you are in"
            ) from None
    left = _Left()
    for name, data in _walk(top, folder, "", (wanted, deep, max_bytes), left):
        found[name] = data
    return dict(sorted(found.items()))


class _Left:
    """How much may still be read."""

    def __init__(self) -> None:
        self.entries = MOST_ENTRIES
        self.bytes = _MOST_BYTES


def _walk(
    descriptor: int, folder: Path, prefix: str, what: tuple[Callable[[str], bool], bool, int], left: _Left
) -> Iterator[tuple[str, bytes]]:
    """Read below a folder that is open already, and close it."""
    wanted, deep, max_bytes = what
    try:
        with _reading(folder):
            names = os.listdir(descriptor)
        left.entries -= len(names)
        if left.entries < 0 or prefix.count("/") > _DEEPEST:
            raise ConfigError(f"{folder} holds more files and folders than such a folder has", hint=_PLAIN)
        for name in names:
            place = folder / name
            with _reading(place):
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    if deep:
                        below = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=descriptor)
                        yield from _walk(below, place, f"{prefix}{name}/", what, left)
                    continue
                linked = stat.S_ISLNK(mode)
                if linked and (wanted(prefix + name) or (deep and _leads_to_a_folder(name, descriptor))):
                    raise _link(place)
                if linked or not wanted(prefix + name):
                    continue
                yield prefix + name, _read(os.open(name, _OPEN, dir_fd=descriptor), place, max_bytes, left)
    finally:
        os.close(descriptor)


def _read(descriptor: int, place: Path, max_bytes: int, left: _Left) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{place} is not a regular file", hint=_PLAIN)
        most = min(max_bytes, left.bytes)
        data = file.read(most + 1) if status.st_size <= most else b""
    left.bytes -= len(data)
    if len(data) > most or status.st_size > most:
        raise ConfigError(f"{place} is larger than a file of such a folder", hint=_PLAIN)
    return data


def _leads_to_a_folder(name: str, descriptor: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=descriptor).st_mode)
    except OSError:  # to nowhere
        return False


def _link(place: Path) -> ConfigError:
    return ConfigError(f"{place} is a symbolic link", hint=_PLAIN)


@contextmanager
def _reading(place: Path) -> Iterator[None]:
    try:
        yield
    except ValueError:  # a NUL in what a person typed
        raise ConfigError(f"{str(place)[:200]!a} is no path", hint="look at what you typed") from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # it became one after it was listed
            raise _link(place) from None
        raise StorageError(f"{place}: {(error.strerror or 'cannot be read').lower()}") from error
