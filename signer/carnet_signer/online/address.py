"""The address of a unix socket: a path of any length, though the system has room for about a hundred bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from carnet.errors import StorageError

_ROOM = 103
"""Bytes that every system takes (Linux 107, macOS 103)."""
_DESCRIPTORS = Path("/proc/self/fd")


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """What to bind or connect to for the socket at a path, while the block runs.

    Raises:
        OSError: Its folder cannot be opened.
        StorageError: The path is too long, and this system has no way round.
    """
    if len(os.fsencode(path)) <= _ROOM:
        yield str(path)
        return
    if not _DESCRIPTORS.is_dir():
        raise StorageError(
            f"the path of the socket {path} is longer than {_ROOM} bytes", hint="choose a shorter one, such as in /run"
        )
    # A descriptor of the folder has a short name: Linux has this way round.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield str(_DESCRIPTORS / str(folder) / path.name)
    finally:
        os.close(folder)
