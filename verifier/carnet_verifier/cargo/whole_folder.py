"""A folder that is replaced as a whole: whoever looks, and whatever happens, sees the old one or the new one.

The new one is made beside the old one, forced to the disk, and takes its place in one step. Where the file system knows
no such step (`RENAME_EXCHANGE`; Linux has it, and its usual file systems), there are two, and what was broken off
between them is brought to its end by the next call.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from carnet.durable import as_storage_error, make_folder, sync_folder
from carnet.errors import ConfigError, StorageError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Make the new content of a folder in the block; when it ends without an error, it stands in the folder's place.

    Args:
        target: The folder; it need not be there.

    Returns:
        An empty folder beside it, to be filled.

    Raises:
        StorageError: The disk failed, or another process is replacing the same folder; the old one is there.
    """
    make_folder(target.parent)
    new, old = _beside(target, "new"), _beside(target, "old")
    with as_storage_error(target):
        recover(target)
        new.mkdir()
        descriptor = _hold(new, target)
        try:
            yield new
            os.sync()  # one for all of a great many small files
            _put_in_place(new, target, old)
            sync_folder(target.parent)
        finally:
            os.close(descriptor)
            recover(target)


def recover(target: Path) -> None:
    """Bring to its end, or take back, what a process that was killed left beside a folder.

    Raises:
        StorageError: The disk failed, or the process is still there.
    """
    new, old = _beside(target, "new"), _beside(target, "old")
    with as_storage_error(target):
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        if os.path.lexists(new):
            os.close(_hold(new, target))
        _remove(new)
        _remove(old)


def _beside(target: Path, which: str) -> Path:
    place = Path(os.path.abspath(target))  # noqa: PTH100  -- `.` has no name, and a link in it is not followed
    if not place.name:
        raise ConfigError(f"{target} cannot be replaced", hint="name a folder in it")
    return place.with_name(f".{place.name}.carnet-{which}")


def _hold(new: Path, target: Path) -> int:
    """Keep other processes from replacing the same folder."""
    descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StorageError(f"another process is writing {target}", hint="wait for it, or end it") from None
    return descriptor


def _put_in_place(new: Path, target: Path, old: Path) -> None:
    if not os.path.lexists(target):
        new.rename(target)
        return
    try:
        _exchange(new, target)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        target.rename(old)
        new.rename(target)


def _exchange(one: Path, other: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _remove(folder: Path) -> None:
    """Remove a folder of ours, and what is read-only in it."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
        return
    for below, _, _ in os.walk(folder):
        with suppress(OSError):
            os.chmod(below, 0o700)  # noqa: PTH101  -- os.walk gives texts
    shutil.rmtree(folder)
