"""Landlock: a process gives up the right to write below some folders, for itself and all that it will ever start.

Rights are granted, never taken: so everything beside the folders is granted, on each level of their paths. What is
granted nowhere, such as making an entry in one of the folders above them, nobody in there can do: an ancestor cannot be
renamed and another folder put in its place. It needs no privilege, no namespace and no other program, and holds for
root too.

The kernel's numbers are the same on every architecture. See `Documentation/userspace-api/landlock.rst` of Linux.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from carnet.errors import StorageError
from carnet_gate.confinement import terminal

LEAST_ABI = 3
"""Linux 6.2. Version 1 forbids every rename between folders; below 3 a file can be cut off by its name."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

_WRITE_FILE = 1 << 1
_REMOVE = 1 << 4 | 1 << 5  # folders, files
_MAKE = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12  # folders, files, sockets, pipes, symbolic links
_MAKE_DEVICE = 1 << 6 | 1 << 11
_REFER = 1 << 13  # rename and link between folders
_TRUNCATE = 1 << 14
_FOR_FOLDERS = _WRITE_FILE | _REMOVE | _MAKE | _REFER | _TRUNCATE
_FOR_FILES = _WRITE_FILE | _TRUNCATE
_HANDLED = _FOR_FOLDERS | _MAKE_DEVICE
"""What is forbidden unless it is granted; devices nobody may make: a disk's would lead around every path."""

_ROOTS_WAYS_OUT = ("/proc", "/sys")
"""Where root tells the kernel which programs to start (`core_pattern`, `release_agent`), outside every confinement."""
_RAW_MEMORY = ("/dev/mem", "/dev/kmem", "/dev/port")
_CAPABILITIES = (2, 9, 16, 17, 19, 21, 22, 25, 26, 27, 32, 33, 38, 39)
"""What root loses too: opening files by handle, making files immutable, modules, raw input and output, tracing,
administration, booting another kernel, the clock, terminals (what a key types), making devices, the rules of other
security modules, performance monitoring, BPF."""


def abi() -> int:
    """The version of the kernel's Landlock; 0 where there is none, or it is switched off."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)))


def read_only(folders: Sequence[Path], writable: Sequence[Path] = ()) -> tuple[int, Callable[[], None]]:
    """Prepare what keeps a process from writing below some folders.

    Args:
        folders: Absolute and without links; one that is not there cannot be made. What is made beside them, or beside
            one of their ancestors, later than now, cannot be written to either.
        writable: Folders below them that can be written to nevertheless; they are there.

    Returns:
        The descriptor of the prepared rules, for the caller to close, and what a new process calls between `fork` and
        `exec`: it only makes system calls.

    Raises:
        StorageError: The kernel refused.
    """
    libc = _libc()
    rules = os.dup(_granting.rules([*_beside(folders), *((str(path), 0) for path in writable)]))
    is_root = os.geteuid() == 0
    filters = terminal.program()
    steps = ctypes.create_string_buffer(filters, len(filters))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(filters) // 8, ctypes.addressof(steps)))

    def enter(_kept: object = steps) -> None:  # the program only has their address
        if is_root:
            for capability in _CAPABILITIES:
                libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # one that it has not, it cannot drop either
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.syscall(_RESTRICT_SELF, rules, 0) != 0:
            raise _refused("confine cargo")
        if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) != 0:
            raise _refused("confine cargo")

    return rules, enter


class _Granting:
    """The rules that were prepared last: a run starts several commands with the same ones."""

    def __init__(self) -> None:
        self._granted: list[tuple[str, int]] = []
        self._rules: int | None = None

    def rules(self, granted: list[tuple[str, int]]) -> int:
        """The descriptor of rules that grant these paths; the inodes tell others that have their names by now."""
        if self._rules is not None and granted == self._granted:
            return self._rules
        attributes = ctypes.create_string_buffer(struct.pack("=Q", _HANDLED), 8)
        libc = _libc()
        rules: int = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(8), 0)
        if rules < 0:
            raise _refused("create rules")
        try:
            for path, _ in granted:
                _grant(libc, rules, path)
        except BaseException:
            os.close(rules)
            raise
        if self._rules is not None:
            os.close(self._rules)
        self._granted, self._rules = granted, rules
        return rules


_granting = _Granting()


def _beside(folders: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """Everything that lies in one of the ancestors of the folders, and is neither a link nor on the way to them.

    Returns:
        Paths, and their inodes.
    """
    outermost = [folder for folder in folders if not any(other in folder.parents for other in folders)]
    above_them = {str(above): None for folder in outermost for above in reversed(folder.parents)}
    spared = {*map(str, outermost), *above_them, *_RAW_MEMORY}
    looked_into = list(above_them)
    if os.geteuid() == 0:
        spared.update((*_ROOTS_WAYS_OUT, "/dev"))
        looked_into.append("/dev")
    for above in looked_into:
        try:
            with os.scandir(above) as entries:
                yield from (
                    (entry.path, entry.inode())
                    for entry in entries
                    if entry.path not in spared and not entry.is_symlink()
                )
        except OSError:
            continue  # what cannot be listed is not granted


def _grant(libc: ctypes.CDLL, rules: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode) or stat.S_ISBLK(mode):
            return
        rights = _FOR_FOLDERS if stat.S_ISDIR(mode) else _FOR_FILES
        libc.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
        # What cannot be granted stays forbidden.
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _refused(what: str) -> StorageError:
    number = ctypes.get_errno()
    return StorageError(f"the kernel's Landlock did not {what}: {os.strerror(number).lower()}")
