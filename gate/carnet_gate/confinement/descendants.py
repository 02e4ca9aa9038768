"""Nothing that a command started outlives it: what may write to sources is gone before they are compared.

A process whose parent has ended gets another one: init, or the nearest ancestor that asked for such. carnet asks; so
whatever detaches itself, by whatever number of forks and sessions, becomes a child of carnet's, and can be ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from carnet.errors import StorageError

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 10.0
"""Seconds for all of them to end: who starts new ones faster than they are ended is not waited for."""
_PAUSE = 0.002


@contextmanager
def none_left() -> Iterator[None]:
    """End every process that was started in the block, by the processes that it started, and so on, when it ends.

    Elsewhere than on Linux there is no way to find them, nor a confinement that they could have been granted more in.

    Raises:
        StorageError: One cannot be ended.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    before = _children()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise StorageError(f"the kernel does not hand detached processes over: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        _end_all_but(before)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _end_all_but(kept: frozenset[int]) -> None:
    end = time.monotonic() + _PATIENCE
    while left := _children() - kept:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > end:
            raise StorageError(
                f"cargo left processes behind that do not end: {', '.join(map(str, sorted(left)))}",
                hint="end them; a credential provider or git may have started them",
            )


def _children() -> frozenset[int]:
    """The processes whose parent is this one, ended or not."""
    try:
        listed = [task.joinpath("children").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:  # a kernel without it, or a thread that just ended
        return frozenset(_found())
    return frozenset(int(pid) for line in listed for pid in line.split())


def _found() -> Iterator[int]:
    own = os.getpid()
    try:
        listed = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        raise StorageError("/proc cannot be read, which lists processes", hint="mount it") from None
    for name in listed:
        with suppress(OSError):
            status = Path("/proc", name, "stat").read_bytes()  # `pid (name) state parent ...`; a name may hold anything
            if int(status.rpartition(b")")[2].split()[1]) == own:
                yield int(name)
