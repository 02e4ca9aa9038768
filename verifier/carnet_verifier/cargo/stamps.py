"""What the system tells of a file without reading it, and where that is proof that nothing was written.

Every write moves the time of a file's last change (ctime), which no user can set. Three things get around that, and
each has its answer:

* who has mapped the file shared and wrote once already, writes on without moving anything, until the system has written
  the page to the disk: so that is waited for, before the file is hashed (`write_back`);
* some file systems never write back (tmpfs), or nobody looked at how they do: there a stamp proves nothing (`tells`);
* the clock of such times stands still for some milliseconds, and two writes in them look like one: so a stamp counts
  only if it was old already when the file was read (`TICK`).

Root can write around all this, and set the clock.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import struct
import sys
from collections.abc import Callable

Stamp = tuple[int, int, int, int, int, int, int]
"""Device, inode, permissions and kind, names, length, time of the last write and of the last change in nanoseconds."""

TICK = 20_000_000
"""Nanoseconds: more than two steps of the clock that stamps files, on any kernel."""

_WRITE = 2
_WAIT_BEFORE_WRITE_WAIT_AFTER = 7
_WRITES_BACK = frozenset((0xEF53, 0x58465342, 0x9123683E))
"""The numbers of ext4 (and 2, 3), XFS and Btrfs: in `struct statfs`."""


stamp: Callable[[os.stat_result], Stamp] = operator.attrgetter(
    "st_dev", "st_ino", "st_mode", "st_nlink", "st_size", "st_mtime_ns", "st_ctime_ns"
)
"""All that a change of a file or folder, be it of its name, leaves in its status."""


def write_back(descriptor: int) -> None:
    """Have what mappings of a file hold written to the disk: the next write through one of them then moves its times.

    A mapping's pages are made read-only for that; `fsync` would do the same, and empty the disk's cache for each file.

    Raises:
        OSError: The disk failed.
    """
    function = _libc_function("sync_file_range")
    if function is None:
        os.fsync(descriptor)
    elif function(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WAIT_BEFORE_WRITE_WAIT_AFTER) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def begin_write_back(descriptor: int) -> None:
    """Have the same begun, where the system can, without waiting for it: the disk then writes many files at once.

    It proves nothing: `write_back` waits.
    """
    function = _libc_function("sync_file_range")
    if function is not None:
        function(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE)


def tells(folder: str) -> bool:
    """Whether stamps of what lies in a folder's file system tell every write: elsewhere nothing is remembered."""
    function = _libc_function("statfs")
    if function is None or not sys.platform.startswith("linux"):
        return False
    answer = ctypes.create_string_buffer(256)
    if function(os.fsencode(folder), answer) != 0:
        return False
    (kind,) = struct.unpack_from("@l", answer)
    return kind & 0xFFFFFFFF in _WRITES_BACK


@functools.cache
def _libc_function(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None, use_errno=True), name, None)
