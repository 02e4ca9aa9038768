"""Files that are either the old ones or the new ones, whatever happens, and that last once a call has returned.

A file is written beside its place, forced to the disk, renamed over its place, and the folder is forced to the disk: a
rename alone may be lost in a power cut. After a failed `fsync` the kernel may have dropped the data and calls the next
`fsync` a success, so nothing here tries again: it raises, nothing was acknowledged, and the process should end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import ConfigError, FormatError, MalformedFile, StorageError, UnfitFile

if TYPE_CHECKING:
    from typing import BinaryIO

_LEFTOVER = ".carnet-"
_BATCH = 64
"""Files that are open at once: many enough to share a journal's commit, few enough for any limit."""
_HINTS = {
    errno.ENOSPC: "the disk is full (`df -h {path}`); nothing was changed",
    errno.EDQUOT: "your quota is used up (`quota`); nothing was changed",
    errno.EACCES: "check who owns the folder and who may write to it (`ls -ld {path}`)",
    errno.EPERM: "check who owns the folder and who may write to it (`ls -ld {path}`)",
    errno.ENOTDIR: "a part of the path is a file",
    errno.ELOOP: "its links lead in a circle",
    errno.ENAMETOOLONG: "look for it where that path is written down",
    errno.EFBIG: "a limit on the size of files stands in the way (`ulimit -f`); nothing was changed",
    errno.EMFILE: "this process may not open as many files as it needs: raise the limit (`ulimit -n`)",
    errno.EROFS: "the file system is mounted read-only (`findmnt -T {path}`)",
}


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content, or create it: atomic, and durable when this returns.

    Args:
        path: The file; a symbolic link there is replaced, never followed.
        data: Its whole new content.
        mode: Permission bits, narrowed by the umask.

    Raises:
        StorageError: The disk failed or is full. The file holds the old content, or the new one without a promise.
    """
    write_files(path.parent, {path.name: data}, mode=mode)


def write_files(folder: Path, files: Mapping[str, bytes], *, mode: int = 0o644) -> None:
    """Write several files of one folder, each atomic, all durable when this returns, in one go.

    Args:
        folder: An existing folder.
        files: Content by plain file name. No file is in place before the bytes of all of them are on the disk.
        mode: Permission bits, narrowed by the umask.

    Raises:
        StorageError: As `write_file`; some files may be new and others old.
    """
    written: list[tuple[Path, Path]] = []
    try:
        with as_storage_error(folder):
            for batch in _batches(list(files.items())):
                new = {_temporary(folder): (name, data) for name, data in batch}
                written += [(temporary, folder / name) for temporary, (name, _) in new.items()]
                _write_new({temporary: data for temporary, (_, data) in new.items()}, mode)
            while written:
                os.rename(*written[0])  # noqa: PTH104  -- Path.rename would hide which call a fault was injected into
                del written[0]
            sync_folder(folder)
    finally:
        _remove(temporary for temporary, _ in written)


def create_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Create a file that must not exist yet: atomic, durable when this returns, and never over another file.

    Raises:
        FileExistsError: Something is there already, be it a dangling symbolic link.
        StorageError: The disk failed or is full; there is no file, or the whole one without a promise.
    """
    temporary = _temporary(path.parent)
    try:
        with as_storage_error(path, but=FileExistsError):
            _write_new({temporary: data}, mode)
            os.link(temporary, path)  # unlike a rename, this fails when the name is taken
            temporary.unlink()
            sync_folder(path.parent)
    finally:
        _remove([temporary])


@contextlib.contextmanager
def creating(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Create a large file that must not exist yet, as `create_file` does, from what the block writes.

    Raises:
        FileExistsError: Something is there already.
        StorageError: The disk failed or is full; there is no file, or the whole one without a promise.
    """
    temporary = _temporary(path.parent)
    try:
        with as_storage_error(path, but=FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
            temporary.unlink()
            sync_folder(path.parent)
    finally:
        _remove([temporary])


def make_folder(path: Path, *, mode: int = 0o755) -> None:
    """Create a folder and the ones above it that are missing, durably. One that is there already stays as it is.

    Raises:
        StorageError: It cannot be created, or something else stands there.
    """
    with as_storage_error(path):
        missing = []
        while not path.is_dir():
            missing.append(path)
            if path == path.parent:
                break
            path = path.parent
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another process was faster
                folder.mkdir(mode=mode)
            sync_folder(folder.parent)
        for folder in missing:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def private_folder(path: Path) -> Path:
    """Create a folder that nobody else may look into, and refuse one that somebody else can write to.

    One of the user's own that others may only look into, or the user no longer, gets its permissions back.

    Raises:
        ConfigError: It is a symbolic link, another user's, or open for others to write.
        StorageError: It cannot be created.
    """
    make_folder(path, mode=0o700)
    with as_storage_error(path):
        status = path.lstat()
        mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if mine and stat.S_IMODE(status.st_mode) != 0o700:
            path.chmod(0o700)
    if not mine:
        raise ConfigError(
            f"{path} can be written by somebody else",
            hint="it must be a folder of your own with permissions 0700, not a link; or set CARNET_HOME",
        )
    return path


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, so that renames and removals in it last.

    Raises:
        StorageError: The disk failed; do not try again.
    """
    with as_storage_error(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what writes that were killed left behind in a folder. Nobody else may be writing to it meanwhile."""
    with as_storage_error(folder):
        _remove(folder / entry.name for entry in os.scandir(folder) if entry.name.startswith(_LEFTOVER))


def read_file(path: Path, what: str, *, max_bytes: int, check: Callable[[os.stat_result], None] | None = None) -> bytes:
    """Read a regular file with a bound, without hanging on a pipe or a device that stands in its place.

    Args:
        path: The file; a symbolic link is followed.
        what: What it is, for the message.
        max_bytes: Refused above this size.
        check: Looks at the *opened* file's owner and permissions, and raises to refuse it.

    Raises:
        ConfigError: Its path cannot be one.
        FileNotFoundError: There is no such file.
        UnfitFile: It is not a regular file, or is too large.
        StorageError: It cannot be read.
    """
    with as_storage_error(path, but=FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnfitFile(f"{what} {path} is not a regular file")
            if check is not None:
                check(status)
            # A file without end, such as a large hole, is not read to see that it is one.
            data = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
    if len(data) > max_bytes or status.st_size > max_bytes:
        raise UnfitFile(f"{what} {path} is larger than {max_bytes} bytes")
    return data


def read_named_file(path: Path, what: str, *, max_bytes: int) -> bytes:
    """Read a file that a person named on a command line or in a file of theirs.

    Args:
        path: The file.
        what: What it is, for messages.
        max_bytes: A longer file is refused.

    Raises:
        ConfigError: It is not there, is no regular file, or is too large.
        StorageError: It cannot be read.
    """
    with users_file(path, what):
        return read_file(path, what, max_bytes=max_bytes)


@contextlib.contextmanager
def users_file(path: Path, what: str) -> Iterator[None]:
    """Let what is wrong with a file that the user wrote or named come out of the block as the user's to mend.

    A command reads such a file within this block, and parses it there: the same bytes from a mirror are refused with
    exit status 1, and a file of the user's is wrong with exit status 2, whoever parses it.

    Args:
        path: The file or folder.
        what: What it is meant to be, for messages.

    Raises:
        MalformedFile: It is not of that format.
        ConfigError: It is not there, is no regular file, or is too large.
    """
    try:
        yield
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {what} {path}", hint="check the path: it is looked for from the folder that you are in"
        ) from None
    except (FormatError, UnfitFile) as error:
        where = "" if str(path) in str(error) else f"{path}: "
        hint = error.hint or f"name another {what}, or mend this one"
        kind = MalformedFile if isinstance(error, FormatError) else ConfigError
        raise kind(f"{where}{error}", hint=hint) from error


@contextlib.contextmanager
def as_storage_error(path: Path, *, but: type[OSError] | None = None) -> Iterator[None]:
    """Let what the system says about a path come out of the block as an error of carnet's.

    Args:
        path: What the block works with.
        but: Errors of the system that the caller waits for; they come out as they are.

    Raises:
        ConfigError: It cannot be a path.
        StorageError: The system refused.
    """
    try:
        yield
    except OSError as error:
        if but is not None and isinstance(error, but):
            raise
        reason = (error.strerror or type(error).__name__).lower()
        raise StorageError(f"{path}: {reason}", hint=_hint(path, error.errno or 0)) from error
    except ValueError:  # with a NUL in it, or half a character: paths also come out of files that others wrote
        raise ConfigError(f"{str(path)[:200]!a} is no path", hint="look for it in the file that names it") from None


def _hint(path: Path, number: int) -> str:
    """What to look at, with the place to look at where there is one."""
    if number == errno.ENOTDIR:
        files = [place for place in path.parents if not place.is_dir() and os.path.lexists(place)]
        return f"{files[-1]} is a file: name another folder, or move it away" if files else _HINTS[number]
    there = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
    return _HINTS.get(number, "").format(path=there)


def _temporary(folder: Path) -> Path:
    return folder / f"{_LEFTOVER}{os.urandom(8).hex()}"  # `secrets` takes longer to import than a file to write


def _batches(items: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _write_new(files: Mapping[Path, bytes], mode: int) -> None:
    """Write files that must not exist: all of them, before the first is forced to the disk and takes the rest along."""
    with contextlib.ExitStack() as stack:
        descriptors = []
        for path, data in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, mode)
            stack.callback(os.close, descriptor)
            descriptors.append(descriptor)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        for descriptor in descriptors:
            os.fsync(descriptor)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
