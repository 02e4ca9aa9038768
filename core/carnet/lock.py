"""The lock that processes keep one another out with: `flock`, which the kernel lets go of however a process ends.

It is held on a file that is never removed: a lock on a file that somebody replaces would be two locks.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carnet.errors import CarnetError, StorageError


@contextmanager
def locked(path: Path, *, timeout: float, busy: CarnetError, mode: int = 0o600) -> Iterator[None]:
    """Hold a lock.

    Args:
        path: The file; made when it is missing.
        timeout: Seconds to wait for whoever holds it; 0 asks once.
        busy: What to raise when it is held for longer than that: only the caller knows by whom, and what to do.
        mode: Of the file, when it is made.

    Raises:
        CarnetError: `busy`.
        StorageError: The file cannot be opened or locked.
    """
    descriptor = take(path, timeout=timeout, busy=busy, mode=mode)
    try:
        yield
    finally:
        os.close(descriptor)


def take(path: Path, *, timeout: float, busy: CarnetError, mode: int = 0o600) -> int:
    """Take a lock and keep it until the descriptor is closed, or the process ends; see `locked`.

    Raises:
        CarnetError: `busy`.
        StorageError: See `locked`.
    """
    return _take(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, fcntl.LOCK_EX, timeout=timeout, busy=busy, mode=mode)


def take_folder(path: Path, *, alone: bool, timeout: float, busy: CarnetError) -> int:
    """Take a lock on a folder itself, until the descriptor is closed or the process ends: nothing is written for it.

    Whoever may look into the folder can take it, also where nothing can be written.

    Args:
        path: The folder.
        alone: Whether nobody else may hold it meanwhile; otherwise it is shared with all who take it so.
        timeout: As for `locked`.
        busy: As for `locked`.

    Raises:
        CarnetError: `busy`.
        StorageError: The folder cannot be opened or locked.
    """
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    return _take(path, os.O_RDONLY | os.O_DIRECTORY, kind, timeout=timeout, busy=busy)


def _take(path: Path, flags: int, kind: int, *, timeout: float, busy: CarnetError, mode: int = 0) -> int:
    end = time.monotonic() + timeout
    pause = 0.002
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
    except OSError as error:
        raise StorageError(f"{path}: {(error.strerror or 'cannot be opened').lower()}") from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise busy from None
            except OSError as error:
                raise StorageError(f"{path}: {(error.strerror or 'cannot be locked').lower()}") from error
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
    except BaseException:
        os.close(descriptor)
        raise
