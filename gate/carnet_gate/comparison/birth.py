"""What tells a folder from any other: an inode number is given away again when it is free, with a later birth."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_AT_FDCWD = -100
_STATX_BTIME = 0x800
_SIZE = 256
_BIRTH = 80  # of `stx_btime` in `struct statx`: seconds, nanoseconds

Identity = tuple[int, int, int]
"""Device, inode and birth of a folder, which it keeps when it is moved."""


def identity_of(path: Path) -> Identity | None:
    """What tells a folder from any other one; None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, born(path)


def born(path: Path) -> int:
    """The birth of a file or folder in nanoseconds since 1970; 0 where the system does not tell.

    Python has no `statx` before 3.15.
    """
    told = getattr(path.stat(), "st_birthtime", None)  # macOS, BSD
    if told is not None:
        return int(told * 1_000_000_000)
    statx = getattr(ctypes.CDLL(None), "statx", None)
    buffer = ctypes.create_string_buffer(_SIZE)
    if statx is None or statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer) != 0:
        return 0
    (mask,) = struct.unpack_from("=I", buffer)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BIRTH)
    return seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else 0
